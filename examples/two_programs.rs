//! Two programs that know nothing of each other but a name. Run it twice at once in two terminals, with a name of
//! your own; without one it starts its twin itself.
//!
//! `cargo run --example two_programs -- mail`

use shm_lib::RateLimit;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = std::env::args().nth(1) {
        return send(&name, std::process::id());
    }
    // No name given: show both at once, in a directory that goes away again.
    let dir = tempfile::tempdir()?;
    let twin = || {
        std::process::Command::new(std::env::current_exe()?)
            .arg("mail")
            .env(shm_lib::DIR_VARIABLE, dir.path())
            .spawn()
    };
    let (mut one, mut two) = (twin()?, twin()?);
    let ok = one.wait()?.success() & two.wait()?.success();
    if ok { Ok(()) } else { Err("one of them failed".into()) }
}

fn send(name: &str, me: u32) -> Result<(), Box<dyn std::error::Error>> {
    let limit = RateLimit::open(name, 10, Duration::from_secs(1))?;
    for mail in 1..=8 {
        let admission = limit.wait()?;
        println!(
            "program {me} sends mail {mail}, {:.3} s after the machine started",
            admission.at().as_nanos() as f64 / 1e9
        );
    }
    Ok(())
}

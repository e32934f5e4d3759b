//! Requests of keys.

use crate::common::end_of;
use crate::{admitted, users};
use serde_json::{Value, json};
use shm_lib::KeyedRateLimit;
use std::process::Stdio;

#[test]
fn each_key_has_the_limit_for_itself() {
    let sandbox = users("--rate 3/h --burst 3");
    assert_eq!(admitted(&sandbox, &["--key", "alice"], 5), 3);
    assert_eq!(admitted(&sandbox, &["--key", "bob"], 5), 3);
    // Parts are not a text.
    assert_eq!(admitted(&sandbox, &["--key", "alice", "--key", "/login"], 5), 3);
    assert_eq!(admitted(&sandbox, &["--key", "alice/login"], 5), 3);
    assert_eq!(admitted(&sandbox, &["--key", "/login", "--key", "alice"], 5), 3);
    // An address has one form, also as a text and as a part.
    assert_eq!(admitted(&sandbox, &["--key-ip", "2001:DB8::0:7"], 2), 2);
    assert_eq!(admitted(&sandbox, &["--key", "2001:db8::7"], 2), 1);
    assert_eq!(admitted(&sandbox, &["--key-ip", "2001:db8::7/64"], 2), 2);
    assert_eq!(admitted(&sandbox, &["--key-ip", "2001:db8::9/64"], 2), 1);
    assert_eq!(admitted(&sandbox, &["--key-ip", "192.0.2.7/64", "--key", "x"], 2), 2);
    assert_eq!(admitted(&sandbox, &["--key", "192.0.2.7", "--key", "x"], 2), 1);
    let ran = sandbox.run(&["run", "users", "--try", "--key", "alice", "--", "true"]);
    assert_eq!(ran.status, 75);
    let why =
        "limiter \"users\", key alice: denied by limit 1 per key, so the command was not run; try again in";
    assert!(ran.err.contains(why), "{}", ran.err);
    assert_eq!(sandbox.run(&["run", "users", "--try", "--key=-5", "--", "sh", "-c", "exit 7"]).status, 7);
}

#[test]
fn a_library_and_the_command_share_a_key() {
    let sandbox = users("--rate 3/h --burst 3");
    let limiter = KeyedRateLimit::builder("users").directory(sandbox.path()).attach().unwrap();
    assert!(limiter.key(("alice", 7)).try_acquire(2).unwrap().is_admitted());
    assert_eq!(admitted(&sandbox, &["--key", "alice", "--key", "7"], 3), 1);
}

#[test]
fn several_prefixes_are_one_network_for_each_limit_per_key() {
    let sandbox = users("--rate 2/h --burst 2 --rate 3/h --burst 3");
    assert_eq!(admitted(&sandbox, &["--key-ip", "2001:db8:0:1::1/64,48"], 4), 2);
    assert_eq!(admitted(&sandbox, &["--key-ip", "2001:db8:0:2::1/64,48"], 4), 1, "all of the /48 is used");
    let page = sandbox.ok(&["inspect", "users", "--key-ip", "2001:db8:0:2::1/64,48"]);
    assert!(page.contains("key 2001:db8:0:2::/64 + 2001:db8::/48") && page.contains("0 of 3 free"), "{page}");
    let denied = sandbox.json(&["acquire", "users", "--try", "--key-ip", "2001:db8:0:2::1/64,48", "--json"]);
    assert_eq!((&denied["denied_by"], &denied["denied_limit"]), (&json!("key"), &json!(2)));
    let many = sandbox.run(&["acquire", "users", "--try", "--key-ip", "2001:db8:0:3::1/64,56,48"]);
    assert!(many.status == 2 && many.err.contains("it has 2 limits per key"), "{}", many.err);
}

#[test]
fn limits_of_all_keys_stand_beside_those_of_each_key() {
    let sandbox = users("--rate 3/h --burst 3 --all-rate 4/h --all-burst 4");
    assert_eq!(admitted(&sandbox, &["--key", "alice"], 5), 3);
    let denied = sandbox.json(&["acquire", "users", "--try", "--key", "alice", "--json"]);
    assert_eq!((&denied["denied_by"], &denied["key"]), (&json!("key"), &json!(["alice"])));
    assert_eq!(admitted(&sandbox, &["--key", "bob"], 5), 1);
    let denied = sandbox.json(&["acquire", "users", "--try", "--key", "bob", "--key", "é", "--json"]);
    assert_eq!((&denied["denied_by"], &denied["key"]), (&json!("limits"), &json!(["bob", "é"])));
    let page = sandbox.ok(&["inspect", "users", "--key", "bob"]);
    for words in [
        "key bob",
        "per key   3/h with bursts of 3",
        "2 of 3 free, 1 used, next now",
        "all keys  4/h",
        "0 of 4 free",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let seen = sandbox.json(&["inspect", "users", "--key", "bob", "--json"]);
    assert!(seen["next_in_s"].as_f64().unwrap() > 800.0, "{seen}");
    assert_eq!(sandbox.json(&["inspect", "users", "--json"])["full"], true);
}

#[test]
fn permits_and_the_line_are_those_of_all_keys() {
    let sandbox = users("--rate 9/h --burst 9 --permits 1 --max-waiters 5 --shadow");
    let seen = sandbox.json(&["inspect", "users", "--json"]);
    assert_eq!(
        (&seen["permits"]["max"], &seen["max_waiters"], &seen["shadow"]),
        (&json!(1), &json!(5), &json!(true))
    );
    sandbox.ok(&["set", "users", "--no-shadow"]);
    let mut script = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = script.id().to_string();
    sandbox.ok(&["hold", "users", "--key", "alice", "--pid", &pid]);
    let denied = sandbox.json(&["acquire", "users", "--key", "bob", "--try", "--json"]);
    assert_eq!(denied["denied_by"], "permits");
    let bob = ["inspect", "users", "--key", "bob"];
    assert!(sandbox.ok(&bob).contains("permits   1 of 1 held"), "{}", sandbox.ok(&bob));
    assert_eq!(sandbox.json(&[&bob[..], &["--json"]].concat())["permits"]["held"], 1);
    script.kill().unwrap();
    script.wait().unwrap();
}

#[test]
fn a_key_is_charged_reset_and_shown() {
    let sandbox = users("--rate 60/m --burst 5");
    assert_eq!(
        sandbox.ok(&["charge", "users", "--key", "mallory", "-n", "600"]),
        "users: charged 600 calls to key mallory\n"
    );
    let denied = sandbox.run(&["acquire", "users", "--try", "--key", "mallory"]);
    let after: f64 = denied.out.trim().parse().unwrap();
    assert!(denied.status == 75 && (590.0..=600.0).contains(&after), "{after}");
    let seen = sandbox.json(&["inspect", "users", "--key", "mallory", "--json"]);
    assert_eq!(
        (&seen["known"], &seen["limits"][0]["available"], &seen["limits"][0]["used"]),
        (&json!(true), &json!(0), &json!(5))
    );
    assert_eq!(sandbox.ok(&["reset", "users", "--key", "mallory"]), "users: key mallory reset\n");
    assert_eq!(admitted(&sandbox, &["--key", "mallory"], 1), 1);
    assert_eq!(sandbox.ok(&["reset", "users", "--key", "nobody"]), "users: key nobody had used nothing\n");
    let page = sandbox.ok(&["inspect", "users", "--key", "nobody"]);
    assert!(page.contains("not in the table") && page.contains("5 of 5 free, 0 used, next now"), "{page}");
    // An empty key, which only programs can use, can be looked at and reset.
    assert!(sandbox.ok(&["inspect", "users", "--key", ""]).starts_with("users  key \"\"\n"));
    sandbox.ok(&["reset", "users", "--key", ""]);
}

#[test]
fn a_settlement_charges_a_key_more_and_gives_nothing_back() {
    let sandbox = users("--rate 9/h --burst 9");
    let run = |key: &str, actual: &str| {
        let script = format!("echo calls={actual} >> $SHM_LIMIT_ACTUAL");
        sandbox.run(&[
            "run",
            "users",
            "--key",
            key,
            "-n",
            "2",
            "--settle",
            "--verbose",
            "--",
            "sh",
            "-c",
            &script,
        ])
    };
    let used =
        |key: &str| sandbox.json(&["inspect", "users", "--key", key, "--json"])["limits"][0]["used"].clone();
    let more = run("alice", "5");
    assert!(more.status == 0 && more.err.contains("charged 3 calls more"), "{}", more.err);
    assert_eq!(used("alice"), 5);
    let less = run("bob", "0");
    assert!(less.err.contains("2 calls too many stay charged to key bob"), "{}", less.err);
    assert_eq!(used("bob"), 2);
}

/// As a shell script uses it: parallel jobs, each with the key of its line.
#[test]
fn parallel_jobs_get_each_key_its_limit_and_no_more() {
    let sandbox = users("--rate 4/h --burst 4");
    let script = "for i in 1 2 3 4 5 6 7 8; do echo alice; echo bob; echo carol; done |
        xargs -P 8 -I{} \"$PROGRAM\" run users --key={} --try --quiet --denied-status 0 -- echo {}";
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-euc", script])
        .env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit"))
        .env("SHM_LIMIT_DIR", sandbox.path());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    for key in ["alice", "bob", "carol"] {
        assert_eq!(out.lines().filter(|line| *line == key).count(), 4, "{key}: {out}");
    }
}

/// Two processes that wait for the same key: together they get its rate, and another key is not delayed.
#[test]
fn processes_that_wait_for_one_key_share_its_rate() {
    let sandbox = users("--rate 20/s");
    let mut instants: Vec<u64> = Vec::new();
    for _ in 0..4 {
        let start = |_| {
            sandbox
                .command(&["acquire", "users", "--key", "alice", "--json"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let both: Vec<_> = (0..2).map(start).collect();
        for child in both {
            let said: Value = serde_json::from_str(&end_of(child).out).unwrap();
            assert_eq!(said["outcome"], "admitted", "{said}");
            instants.push(said["at_ns"].as_u64().unwrap());
        }
    }
    instants.sort_unstable();
    assert!(instants.windows(2).all(|pair| pair[1] - pair[0] >= 50_000_000), "{instants:?}");
    sandbox.ok(&["charge", "users", "--key", "alice", "-n", "12000"]);
    let ended = sandbox.run(&["acquire", "users", "--key", "bob", "--timeout", "30s"]);
    assert_eq!(ended.status, 0);
    let late = sandbox.json(&["acquire", "users", "--key", "alice", "--timeout", "1s", "--json"]);
    assert_eq!((&late["outcome"], &late["denied_by"]), (&json!("denied"), &json!("key")));
}

#[test]
fn a_long_wait_for_a_key_is_reported_and_ended_by_a_signal() {
    let sandbox = users("--rate 1/h");
    sandbox.ok(&["acquire", "users", "--key", "alice"]);
    let mut waiting = sandbox.command(&["acquire", "users", "--key", "alice", "--verbose"]);
    let mut child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let err = child.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(err), &mut said).unwrap();
    assert_eq!(said, "shm-limit: limiter \"users\": waiting for key alice\n");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    let seen = sandbox.json(&["inspect", "users", "--key", "alice", "--json"]);
    assert_eq!(seen["limits"][0]["used"], 1, "the caller that left took nothing");
}

#[test]
fn units_are_counted_per_key() {
    let sandbox = users("--rate 5000/h --unit tokens");
    sandbox.ok(&["acquire", "users", "--key", "a", "--take", "tokens=5000"]);
    assert_eq!(admitted(&sandbox, &["--key", "a", "--take", "tokens=5"], 1), 0);
    assert_eq!(admitted(&sandbox, &["--key", "b", "--take", "tokens=5"], 1), 1);
    let wrong = sandbox.run(&["acquire", "users", "--key", "a", "--take", "bytes=5"]);
    assert!(wrong.status == 2 && wrong.err.contains("bytes"), "{}", wrong.err);
}

//! What keeps the crates fit to be published and built elsewhere. Most of it needs a tool; without it a check is skipped, and
//! says how to get the tool.

use crate::{HELP, UNIT, finish, python, run};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The crates that are published, in the order in which they depend on one another.
const PUBLISHED: [&str; 4] = ["shm-core", "shm-lib", "shm-tower", "shm-cli"];
/// The crates whose public interface is kept in `docs/api/`.
const LISTED: [&str; 2] = ["shm-lib", "shm-tower"];
const ALL: [&str; 11] =
    ["package", "sdist", "musl", "deny", "api", "vectors", "msrv", "minimal", "miri", "aarch64", "coverage"];

/// Runs these checks, or all.
pub(crate) fn check(parts: &[&str]) -> Result<(), String> {
    let bless = parts.contains(&"--bless");
    let parts: Vec<&str> = parts.iter().copied().filter(|part| *part != "--bless").collect();
    if let Some(unknown) = parts.iter().find(|part| !ALL.contains(part)) {
        return Err(format!("there is no check {unknown:?}\n{HELP}"));
    }
    for part in ALL.into_iter().filter(|part| parts.is_empty() || parts.contains(part)) {
        match part {
            "package" => package()?,
            "sdist" => python::check_sdist()?,
            "musl" => musl()?,
            "deny" => deny()?,
            "api" => api(bless)?,
            "vectors" => vectors(bless)?,
            "msrv" => msrv()?,
            "minimal" => minimal()?,
            "miri" => miri()?,
            "aarch64" => aarch64()?,
            _ => coverage()?,
        }
    }
    Ok(())
}

fn skip(part: &str, why: &str) -> Result<(), String> {
    println!("SKIPPED {part}: {why}");
    Ok(())
}

/// Whether this command can be run.
fn is_there(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_target(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// Each published crate is complete by itself: what `cargo publish` would upload builds.
fn package() -> Result<(), String> {
    forget_packages()?;
    let packages = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    let args: Vec<&str> = ["package", "--allow-dirty"].into_iter().chain(packages).collect();
    run("package", &[], &args)
}

/// Removes what cargo has unpacked of these packages when they were packaged before, in a checkout at this path: it takes a
/// package of the same version for the same package.
fn forget_packages() -> Result<(), String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.ok_or("there is no home directory")?.join("registry/src");
    for registry in fs::read_dir(sources).into_iter().flatten().flatten() {
        // Registries in a directory have no name before the dash.
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for unpacked in fs::read_dir(registry.path()).map_err(|why| why.to_string())?.flatten() {
            let name = unpacked.file_name().to_string_lossy().into_owned();
            if PUBLISHED.iter().any(|package| name.starts_with(&format!("{package}-"))) {
                fs::remove_dir_all(unpacked.path()).map_err(|why| why.to_string())?;
            }
        }
    }
    Ok(())
}

/// The command as one static file, run once.
fn musl() -> Result<(), String> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    if !has_target(TARGET) {
        return skip("musl", "rustup target add x86_64-unknown-linux-musl");
    }
    run("musl", &[], &["build", "--release", "-p", "shm-cli", "--target", TARGET])?;
    let built = format!("target/{TARGET}/release/shm-limit");
    finish("the static command", Command::new(built).arg("--version"))
}

/// Licences, sources and duplicates of dependencies; known vulnerabilities if the database can be fetched.
fn deny() -> Result<(), String> {
    if !is_there("cargo", &["deny", "--version"]) {
        return skip("deny", "cargo install cargo-deny --locked");
    }
    run("deny", &[], &["deny", "check", "licenses", "bans", "sources"])?;
    if !is_there("cargo", &["deny", "fetch", "db"]) {
        return skip("advisories", "the database of advisories cannot be fetched from here");
    }
    run("deny", &[], &["deny", "check", "advisories"])
}

/// The public interface is the one in `docs/api/`; `--bless` rewrites that.
fn api(bless: bool) -> Result<(), String> {
    if !is_there("cargo", &["public-api", "--version"]) || !is_there("cargo", &["+nightly", "--version"]) {
        return skip("api", "cargo install cargo-public-api --locked, and a nightly toolchain");
    }
    for name in LISTED {
        let args = ["public-api", "-sss", "-p", name, "--all-features"];
        let output = Command::new("cargo").args(args).stderr(Stdio::inherit()).output();
        let output = output.map_err(|why| format!("cargo public-api can't be started: {why}"))?;
        if !output.status.success() {
            return Err(format!("cargo public-api failed: {}", output.status));
        }
        let (found, file) = (String::from_utf8_lossy(&output.stdout), format!("docs/api/{name}.txt"));
        if bless {
            fs::write(&file, found.as_bytes()).map_err(|why| format!("can't write {file}: {why}"))?;
            continue;
        }
        let kept = fs::read_to_string(&file).map_err(|why| format!("can't read {file}: {why}"))?;
        let missing = |of: &str, from: &str, sign: char| {
            of.lines()
                .filter(|line| !from.lines().any(|other| other == *line))
                .for_each(|line| println!("{sign} {line}"));
        };
        if kept != found {
            missing(&kept, &found, '-');
            missing(&found, &kept, '+');
            return Err(format!(
                "the public interface of {name} is not the one in {file}; if that is meant: cargo xtask check api --bless"
            ));
        }
        println!("== api: {name} is as in {file}");
    }
    Ok(())
}

/// The test vectors of the file format are those in `docs/format-vectors.json`; with `--bless` they are written anew.
fn vectors(bless: bool) -> Result<(), String> {
    let environment: &[(&str, &str)] = if bless { &[("SHM_LIMIT_BLESS", "1")] } else { &[] };
    run("vectors", environment, &["test", "-p", "shm-core", "--lib", "vectors::"])
}

/// Everything is checked by the oldest toolchain that is promised, `rust-version`.
fn msrv() -> Result<(), String> {
    let manifest = fs::read_to_string("Cargo.toml").map_err(|why| format!("can't read Cargo.toml: {why}"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let toolchain = format!("+{}", version.ok_or("Cargo.toml has no rust-version")?);
    if !is_there("cargo", &[&toolchain, "--version"]) {
        return skip("msrv", &format!("rustup toolchain install {}", &toolchain[1..]));
    }
    other_cargo(
        "msrv",
        &[&toolchain, "check", "--workspace", "--all-features", "--target-dir", "target/msrv"],
        &[],
    )
}

/// The crates build with the oldest direct dependencies that their manifests allow, in a copy.
fn minimal() -> Result<(), String> {
    if !is_there("cargo", &["+nightly", "--version"]) {
        return skip("minimal", "rustup toolchain install nightly");
    }
    let root = env::current_dir().map_err(|why| why.to_string())?;
    let copy = root.join("target/minimal");
    let _ = fs::remove_dir_all(&copy);
    finish("a copy", Command::new("git").args(["clone", "-q", "."]).arg(&copy))?;
    let within = |args: &[&str]| finish("minimal", Command::new("cargo").args(args).current_dir(&copy));
    within(&["+nightly", "update", "-Z", "direct-minimal-versions"])?;
    let packages = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    let args = ["check", "--all-features", "--target-dir", "../minimal-build"];
    within(&args.into_iter().chain(packages).collect::<Vec<_>>())
}

/// The pure code under Miri: arithmetic, records, policies. (What maps files or sleeps on a futex is not for Miri.)
fn miri() -> Result<(), String> {
    if !is_there("cargo", &["+nightly", "miri", "--version"]) {
        return skip("miri", "rustup component add miri --toolchain nightly");
    }
    let settings = [("PROPTEST_CASES", "2"), ("MIRIFLAGS", "-Zmiri-disable-isolation")];
    // Not those that count through whole days: they take hours there.
    let tests = ["limit::cost", "limit::parse", "limit::policy", "limit::rate", "limit::unit"];
    let args = ["+nightly", "miri", "test", "-p", "shm-core", "--lib", "--target-dir", "target/miri", "--"];
    other_cargo("miri", &[&args[..], &tests].concat(), &settings)
}

/// The tests inside the core, built for aarch64 and run by an emulator.
fn aarch64() -> Result<(), String> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    if !has_target(TARGET)
        || !is_there("aarch64-linux-gnu-gcc", &["--version"])
        || !is_there("qemu-aarch64", &["--version"])
    {
        return skip(
            "aarch64",
            "rustup target add aarch64-unknown-linux-gnu; apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
        );
    }
    let environment = [
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
    ];
    // The emulator wipes no memory of a child that is made by a bare clone(2), as the kernel does.
    let core =
        ["test", "--target", TARGET, "-p", "shm-core", "--lib", "--", "--skip", "cloned_without_fork_hooks"];
    run("aarch64", &environment, &core)
}

/// How much of the code the tests of the crates run: a report on standard output.
fn coverage() -> Result<(), String> {
    if !is_there("cargo", &["llvm-cov", "--version"]) {
        return skip("coverage", "cargo install cargo-llvm-cov --locked; rustup component add llvm-tools");
    }
    let result = run("coverage", &[], &[&["llvm-cov"][..], &UNIT].concat());
    // Processes without an environment write their profile where they are.
    for package in fs::read_dir("crates").map_err(|why| why.to_string())?.flatten() {
        let files = fs::read_dir(package.path()).map_err(|why| why.to_string())?.flatten();
        for file in files.filter(|file| file.path().extension().is_some_and(|end| end == "profraw")) {
            fs::remove_file(file.path()).map_err(|why| why.to_string())?;
        }
    }
    result
}

/// Another toolchain's cargo. The variables with which this one runs would lead it back here.
fn other_cargo(part: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    println!("== {part}: cargo {}", args.join(" "));
    let mut command = Command::new("cargo");
    command.args(args).envs(environment.iter().copied());
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTDOC"] {
        command.env_remove(name);
    }
    finish(part, &mut command)
}

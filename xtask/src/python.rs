//! `cargo xtask test python`: the wheel, in an environment of its own.

use crate::finish;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const CRATE: &str = "crates/shm-py";

/// Builds the wheel, installs it into a new environment, and tests that: what users get, not the sources.
pub(crate) fn test() -> Result<(), String> {
    let begun = Instant::now();
    let root = std::env::current_dir().map_err(|why| why.to_string())?;
    let (tools, clean, wheels) = (
        root.join("target/python/tools"),
        root.join("target/python/clean"),
        root.join("target/python/wheels"),
    );
    let works = Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        println!("SKIPPED python: there is no python3 with venv here (apt-get install python3-venv)");
        return Ok(());
    }
    println!("== python: the wheel, in {}", clean.display());
    for old in [&clean, &wheels] {
        let _ = fs::remove_dir_all(old);
    }
    for environment in [&tools, &clean] {
        if !environment.join("bin/python").exists() {
            finish("python -m venv", Command::new("python3").args(["-m", "venv"]).arg(environment))?;
        }
    }
    let tests = root.join(CRATE).join("tests");
    pip(&tools, &["-r", &tests.join("requirements.txt").display().to_string()])?;
    let mut build = Command::new(tools.join("bin/maturin"));
    build.args(["build", "--profile", "suite", "--manifest-path"]).arg(root.join(CRATE).join("Cargo.toml"));
    finish("maturin build", build.arg("--out").arg(&wheels))?;
    let wheel = fs::read_dir(&wheels).ok().and_then(|mut files| files.next()?.ok());
    let wheel = wheel.ok_or("maturin built no wheel")?.path();
    // The wheel alone is all that a program needs.
    pip(&clean, &["--no-deps", &wheel.display().to_string()])?;
    python(&clean, &root, &["-c", "import shm_limit; assert shm_limit.RateLimit(1).try_acquire()"])?;
    pip(&tools, &["--no-deps", "--force-reinstall", &wheel.display().to_string()])?;
    python(&tools, &tests, &["-m", "pytest", "-q", "-p", "no:cacheprovider"])?;
    // Elsewhere, so that the installed package is checked.
    let away = root.join("target/python");
    python(&tools, &away, &["-m", "mypy", "--strict", "-p", "shm_limit"])?;
    python(&tools, &away, &["-m", "mypy.stubtest", "shm_limit"])?;
    println!("== python: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn pip(environment: &Path, packages: &[&str]) -> Result<(), String> {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]).args(packages);
    finish(&format!("pip install {}", packages.join(" ")), &mut pip)
}

fn python(environment: &Path, dir: &Path, args: &[&str]) -> Result<(), String> {
    let mut python = Command::new(environment.join("bin/python"));
    // The installed package is meant, also where the sources are near.
    finish(
        &format!("python {}", args.join(" ")),
        python.current_dir(dir).env("PYTHONDONTWRITEBYTECODE", "1").args(args),
    )
}

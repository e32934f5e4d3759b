//! The Python package: its wheel is built, and tested and measured in environments of its own.

use crate::finish;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const CRATE: &str = "crates/shm-py";

/// The places of what is built here.
struct Places {
    root: PathBuf,
    /// The environment of maturin, pytest and all that the tests need.
    tools: PathBuf,
    /// An environment with the wheel and nothing else.
    clean: PathBuf,
    wheels: PathBuf,
}

impl Places {
    /// `None`: there is no Python here that can make environments.
    fn find(part: &str) -> Result<Option<Places>, String> {
        let works =
            Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
        if !works.is_ok_and(|status| status.success()) {
            println!("SKIPPED {part}: there is no python3 with venv here (apt-get install python3-venv)");
            return Ok(None);
        }
        let root = std::env::current_dir().map_err(|why| why.to_string())?;
        let of = |name| root.join("target/python").join(name);
        Ok(Some(Places { tools: of("tools"), clean: of("clean"), wheels: of("wheels"), root }))
    }

    fn manifest(&self) -> PathBuf {
        self.root.join(CRATE).join("Cargo.toml")
    }

    fn tests(&self) -> PathBuf {
        self.root.join(CRATE).join("tests")
    }

    /// A command of maturin, which is installed if it is not.
    fn maturin(&self) -> Result<Command, String> {
        environment(&self.tools)?;
        pip(&self.tools, &["maturin>=1.9.4,<2"])?;
        Ok(Command::new(self.tools.join("bin/maturin")))
    }

    /// Builds the wheel with this profile.
    fn wheel(&self, profile: &str) -> Result<String, String> {
        let _ = fs::remove_dir_all(&self.wheels);
        let mut build = self.maturin()?;
        build.args(["build", "--profile", profile, "--manifest-path"]).arg(self.manifest());
        finish("maturin build", build.arg("--out").arg(&self.wheels))?;
        only_file(&self.wheels)
    }
}

/// Builds the wheel, installs it into a new environment, and tests that: what users get, not the sources.
pub(crate) fn test() -> Result<(), String> {
    let begun = Instant::now();
    let Some(places) = Places::find("python")? else { return Ok(()) };
    let Places { root, tools, clean, .. } = &places;
    println!("== python: the wheel, in {}", clean.display());
    let _ = fs::remove_dir_all(clean);
    environment(clean)?;
    environment(tools)?;
    pip(tools, &["-r", &places.tests().join("requirements.txt").display().to_string()])?;
    let wheel = places.wheel("suite")?;
    // The wheel alone is all that a program needs.
    pip(clean, &["--no-deps", &wheel])?;
    python(clean, root, &["-c", "import shm_limit; assert shm_limit.RateLimit(1).try_acquire()"])?;
    pip(tools, &["--no-deps", "--force-reinstall", &wheel])?;
    // Most tests wait most of the time, so several files run at once.
    let several = ["-n", "4", "--dist", "loadfile"];
    let pytest =
        [&["-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations", "5"][..], &several].concat();
    python(tools, &places.tests(), &pytest)?;
    check_types(&places)?;
    println!("== python: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// The types of the installed package, as two checkers see them: inside of it, against what is there when it runs, and in the program
/// of a user.
fn check_types(places: &Places) -> Result<(), String> {
    let tools = &places.tools;
    // Not beside the sources, so that the installed package is meant.
    let away = places.root.join("target/python");
    let usage = places.tests().join("types/usage.py").display().to_string();
    python(tools, &away, &["-m", "mypy", "--strict", "-p", "shm_limit"])?;
    python(tools, &away, &["-m", "mypy", "--strict", &usage])?;
    python(tools, &away, &["-m", "mypy.stubtest", "shm_limit"])?;
    let interpreter = tools.join("bin/python").display().to_string();
    let package = ["-c", "import shm_limit; print(shm_limit.__path__[0])"];
    let found = Command::new(&interpreter).args(package).current_dir(&away).output();
    let package =
        String::from_utf8(found.map_err(|why| why.to_string())?.stdout).map_err(|why| why.to_string())?;
    python(tools, &away, &["-m", "pyright", "--pythonpath", &interpreter, package.trim(), &usage])
}

/// The package of sources is complete: a wheel can be built of it alone.
pub(crate) fn check_sdist() -> Result<(), String> {
    let begun = Instant::now();
    let Some(places) = Places::find("sdist")? else { return Ok(()) };
    let sources = places.root.join("target/python/sdist");
    let _ = fs::remove_dir_all(&sources);
    let mut sdist = places.maturin()?;
    sdist.args(["sdist", "--manifest-path"]).arg(places.manifest()).arg("--out").arg(&sources);
    finish("maturin sdist", &mut sdist)?;
    let mut build = Command::new(places.tools.join("bin/python"));
    build.args(["-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--wheel-dir"]);
    build.arg(&places.wheels).arg(only_file(&sources)?);
    // With the libraries that are compiled already; the project's own crates are compiled from the package.
    build.env("CARGO_TARGET_DIR", places.root.join("target")).env("MATURIN_PEP517_ARGS", "--profile suite");
    finish("pip wheel, from the package of sources", build.current_dir(&sources))?;
    println!("== sdist: a wheel was built of the package of sources, in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// `benches/python`, with a wheel as it is published, beside the current versions of its peers.
pub(crate) fn bench(parts: &[&str]) -> Result<(), String> {
    let Some(places) = Places::find("bench python")? else { return Ok(()) };
    let (own, folder) = (places.root.join("target/python/bench"), places.root.join("benches/python"));
    environment(&own)?;
    pip(&own, &["--upgrade", "-r", &folder.join("requirements.txt").display().to_string()])?;
    pip(&own, &["--no-deps", "--force-reinstall", &places.wheel("release")?])?;
    python(&own, &folder, &[&["bench.py"], parts].concat())
}

fn environment(place: &Path) -> Result<(), String> {
    if place.join("bin/python").exists() {
        return Ok(());
    }
    finish("python -m venv", Command::new("python3").args(["-m", "venv"]).arg(place))
}

fn only_file(folder: &Path) -> Result<String, String> {
    let file = fs::read_dir(folder).ok().and_then(|mut files| files.next()?.ok());
    Ok(file
        .ok_or_else(|| format!("maturin left nothing in {}", folder.display()))?
        .path()
        .display()
        .to_string())
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

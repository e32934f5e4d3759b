//! Completion, by completing: the scripts are loaded into their shells, and asked as the shell asks at a press of Tab.

mod common;

use common::Sandbox;
use std::path::Path;
use std::process::{Command, Stdio};

/// A directory in which the command is called `shm-limit`, as the scripts expect to find it on the PATH.
fn path() -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_shm-limit")).parent().unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["api", "apple", "-dash", "a b", "$(touch evil)"] {
        sandbox.ok(&["create", "--rate", "5/s", "--", name]);
    }
    sandbox
}

fn has(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped: there is no {shell} here");
    }
    found.is_ok()
}

fn output(mut command: Command, sandbox: &Sandbox) -> Vec<String> {
    command.env("PATH", path()).env("SHM_LIMIT_DIR", sandbox.path()).current_dir(sandbox.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(str::to_owned).collect()
}

/// What bash offers for the last of these words, by the function that the script registers.
fn bash(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(shm-limit completions bash)
        registered=$(complete -p shm-limit) || exit 1
        function=${registered#*-F }
        function=${function%% *}
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        COMP_TYPE=9
        "$function" shm-limit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
        for reply in "${COMPREPLY[@]}"; do echo "$reply"; done"#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash"]).args(words);
    output(command, sandbox)
}

fn fish(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let mut command = Command::new("fish");
    command.env("HOME", sandbox.path());
    let line = words.join(" ");
    command.args([
        "--no-config",
        "-c",
        "shm-limit completions fish | source; complete --do-complete $argv[1]",
    ]);
    command.arg(line);
    // Each has its description behind a tab.
    output(command, sandbox).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn offers(offered: &[String], expected: &[&str], not: &[&str]) {
    for word in expected {
        assert!(offered.iter().any(|one| one == word), "{word} is not offered: {offered:?}");
    }
    for word in not {
        assert!(!offered.iter().any(|one| one == word), "{word} is offered: {offered:?}");
    }
}

/// The same questions for each shell.
fn completes(complete: impl Fn(&[&str]) -> Vec<String>) {
    let c = |words: &[&str]| complete(&[&["shm-limit"], words].concat());
    offers(&c(&[""]), &["create", "list", "run", "hold", "help"], &["demo-worker", "api"]);
    offers(&c(&["d"]), &["demo"], &["demo-worker", "create"]);
    offers(&c(&["create", "--r"]), &["--rate", "--replace"], &["--burst"]);
    offers(&c(&["create", "--win"]), &["--window"], &[]);
    offers(&c(&["create", "x", "--window", ""]), &["fixed", "first-use", "calendar", "sliding"], &["api"]);
    offers(
        &c(&["create", "x", "--window=f"]),
        &["--window=fixed", "--window=first-use"],
        &["--window=sliding"],
    );
    offers(&c(&["acquire", "a"]), &["api", "apple"], &["a b", "$(touch evil)"]);
    offers(&c(&["run", "--rate", "5/s", "ap"]), &["api", "apple"], &[]);
    offers(&c(&["inspect", ""]), &["api", "apple"], &["$(touch evil)"]);
    offers(&c(&["list", "--"]), &["--json", "--dir", "--help"], &["--rate"]);
    offers(&c(&["help", "k"]), &["keys"], &["demo-worker"]);
    offers(&c(&["acquire", "--ke"]), &["--key", "--key-ip", "--keyed", "--keep"], &["--capacity"]);
    offers(&c(&["inspect", "--"]), &["--key", "--top"], &["--keyed"]);
    offers(&c(&["reserve", "--"]), &["--rate"], &["--key", "--keyed"]);
    offers(&c(&["help", "c"]), &["create", "charge", "completions"], &["demo-worker"]);
    offers(&c(&["completions", ""]), &["bash", "zsh", "fish", "elvish", "powershell"], &[]);
    offers(&c(&["--dir", "/nowhere", "inspect", ""]), &[], &["api", "apple"]);
}

#[test]
fn bash_completes_commands_options_values_and_names() {
    let sandbox = sandbox();
    completes(|words| bash(&sandbox, words));
    assert!(!sandbox.path().join("evil").exists());
}

/// The same at a real prompt: a shell on a pseudo-terminal is sent the keys.
#[test]
fn bash_completes_at_a_prompt() {
    let sandbox = sandbox();
    let rc = sandbox.path().join(".rc");
    std::fs::write(&rc, "source <(shm-limit completions bash)\nPS1='> '\n").unwrap();
    let shell = format!("bash --noprofile --rcfile {} -i", rc.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &shell, "/dev/null"]);
    command.env("PATH", path()).env("SHM_LIMIT_DIR", sandbox.path()).env("TERM", "dumb");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A command, a name and an option are completed, each by one press of Tab.
    let keys = b"shm-limit insp\tapi --js\t\nexit\n";
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), keys).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"name\": \"api\""), "{said}");
}

#[test]
fn fish_completes_commands_options_values_and_names() {
    if has("fish") {
        let sandbox = sandbox();
        completes(|words| fish(&sandbox, words));
    }
}

/// What zsh offers, by the function that the script registers. It adds candidates by `_describe`, which is replaced by a
/// function that prints them.
fn zsh(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let script = r#"
        autoload -Uz compinit && compinit -u -d $PWD/.zcompdump
        source <(shm-limit completions zsh)
        function _describe() { print -rl -- "${(@P)@[-1]}" }
        function compadd() { print -rl -- "$@" }
        words=("$@")
        CURRENT=$#
        ${_comps[shm-limit]}"#;
    let mut command = Command::new("zsh");
    command.args(["--no-rcs", "-c", script, "zsh"]).args(words);
    // Each has its description behind a colon.
    output(command, sandbox).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn zsh_completes_commands_options_values_and_names() {
    if has("zsh") {
        let sandbox = sandbox();
        completes(|words| zsh(&sandbox, words));
    }
}

/// Nothing of it is said when no shell asks.
#[test]
fn a_script_is_printed_for_each_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.ok(&["completions", shell]);
        assert!(script.contains("shm-limit") && script.contains("SHM_LIMIT_COMPLETE"), "{shell}: {script}");
    }
    assert_eq!(sandbox.run(&["completions", "ksh"]).status, 2);
}

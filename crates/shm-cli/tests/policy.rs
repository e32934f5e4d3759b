//! Several limits, units, shadow mode and policy files: created, changed, shown, and refused if invalid.

mod common;

use common::Sandbox;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

const MODEL: &[&str] = &[
    "create",
    "model",
    "--rate",
    "500/m",
    "--greedy",
    "--guard",
    "50ms",
    "--rate",
    "6000/m",
    "--unit",
    "tokens",
    "--burst",
    "1000",
    "--rate",
    "9/h",
    "--window",
    "first-use",
    "--rate",
    "8/h",
    "--window",
    "sliding",
];

const POLICY: &str = r#"
permits = 2
shadow = true
[[limit]]
rate = "500/m"
kind = "greedy"
guard = "50ms"
[[limit]]
rate = "6000/m"
burst = 1000
unit = "tokens"
"#;

fn limits(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    sandbox.json(&["inspect", name, "--json"])["limits"].as_array().unwrap().clone()
}

#[test]
fn options_of_a_limit_stand_after_its_rate() {
    let sandbox = Sandbox::new();
    sandbox.ok(MODEL);
    let limits = limits(&sandbox, "model");
    let of = |key: &str| limits.iter().map(|limit| limit[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("kind"), ["greedy", "bucket", "fixed-window", "sliding-counter"]);
    assert_eq!(of("unit"), ["calls", "tokens", "calls", "calls"]);
    assert_eq!(of("burst"), [500, 1000, 9, 8]);
    assert_eq!(of("guard_s"), [0.05, 0.0, 0.0, 0.0]);
    assert_eq!(of("start"), [Value::Null, Value::Null, "first-use".into(), Value::Null]);
    assert!(sandbox.ok(MODEL).contains("already exists"));
}

#[test]
fn with_one_rate_the_order_does_not_matter() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--window", "fixed", "--unit", "bytes", "--rate", "5/s"]);
    let limits = limits(&sandbox, "api");
    assert_eq!((&limits[0]["kind"], &limits[0]["unit"]), (&"fixed-window".into(), &"bytes".into()));
}

#[test]
fn the_default_burst_of_a_unit_is_max() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5000/h", "--unit", "tokens"]);
    sandbox.ok(&["acquire", "api", "--try", "--take", "tokens=5000"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--try", "--take", "tokens=5"]).status, 75);
}

#[test]
fn a_request_takes_from_all_limits_or_from_none() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "2/h", "--greedy", "--rate", "100/h", "--unit", "tokens"]);
    sandbox.ok(&["acquire", "api", "--try", "--take", "tokens=60"]);
    let denied = sandbox.run(&["acquire", "api", "--try", "--take", "tokens=60", "--json"]);
    assert_eq!(denied.status, 75);
    let said: Value = serde_json::from_str(&denied.out).unwrap();
    assert_eq!((&said["denied_by"], &said["units"]), (&"limits".into(), &json!({"tokens": 60})));
    let ran = sandbox.run(&["run", "api", "--try", "--take", "tokens=10", "--", "sh", "-c", "exit 5"]);
    assert_eq!(ran.status, 5);
    let used: Vec<u64> = limits(&sandbox, "api").iter().map(|l| l["used"].as_u64().unwrap()).collect();
    assert!(used[0] == 2 && (69..=70).contains(&used[1]), "{used:?}");
    // The tightest limit is full, and shown.
    let seen = sandbox.json(&["inspect", "api", "--json"]);
    assert_eq!((&seen["full"], &seen["tightest"], &seen["available"]), (&true.into(), &1.into(), &0.into()));
    let row = sandbox.ok(&["list"]);
    assert!(row.contains("2/h greedy +1") && row.contains("full"), "{row}");
    let page = sandbox.ok(&["inspect", "api"]);
    for word in ["limit 1   2/h greedy", "0 of 2 free", "limit 2   tokens 100/h with bursts of 100"] {
        assert!(page.contains(word), "{word}: {page}");
    }
}

#[test]
fn a_policy_comes_from_toml_from_json_and_from_standard_input() {
    let sandbox = Sandbox::new();
    let toml = sandbox.path().join(".policy.toml");
    std::fs::write(&toml, POLICY).unwrap();
    let json = sandbox.path().join(".policy.json");
    let text = r#"{"permits": 2, "shadow": true, "limit": [{"rate": "500/m", "kind": "greedy", "guard": "50ms"},
                   {"rate": "6000/m", "burst": 1000, "unit": "tokens"}]}"#;
    std::fs::write(&json, text).unwrap();
    assert!(sandbox.ok(&["create", "api", "--from", toml.to_str().unwrap()]).contains("created"));
    let same = sandbox.ok(&["create", "api", "--from", json.to_str().unwrap()]);
    let all =
        "500/m greedy, guarded by 50ms + tokens 6000/m with bursts of 1000 + at most 2 at a time (shadow)";
    assert!(same.contains("already exists") && same.contains(all), "{same}");
    let mut child = sandbox
        .command(&["create", "api", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(POLICY.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn each_setting_can_be_changed_separately() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[
        "create",
        "api",
        "--rate",
        "50/m",
        "--greedy",
        "--rate",
        "60/m",
        "--unit",
        "tokens",
        "--permits",
        "3",
    ]);
    sandbox.ok(&["set", "api", "--limit", "2", "--rate", "90/m", "--burst", "30"]);
    sandbox.ok(&["set", "api", "--rate", "70/m"]);
    sandbox.ok(&["set", "api", "--permits", "5", "--shadow"]);
    let said = sandbox.ok(&["set", "api", "--no-shadow"]);
    assert!(
        said.contains("70/m greedy + tokens 90/m with bursts of 30 + at most 5 at a time (was"),
        "{said}"
    );
    let said = sandbox.ok(&["set", "api", "--no-permits"]);
    assert!(said.contains("bursts of 30 (was"), "{said}");
    let file = sandbox.path().join(".new.toml");
    std::fs::write(&file, "[[limit]]\nrate = '3/s'\nkind = 'sliding-counter'\n").unwrap();
    let said = sandbox.ok(&["set", "api", "--from", file.to_str().unwrap()]);
    assert!(said.starts_with("api: 3/s by a sliding counter (was 70/m greedy"), "{said}");
}

/// As for one bucket, whose state is stored in another way.
#[test]
fn several_limits_are_paused_reset_and_removed_like_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(MODEL);
    sandbox.ok(&["pause", "model", "1h"]);
    assert_eq!(sandbox.run(&["acquire", "model", "--try", "--take", "tokens=1"]).status, 75);
    sandbox.ok(&["resume", "model"]);
    sandbox.ok(&["acquire", "model", "--take", "tokens=1000"]);
    assert_eq!(sandbox.run(&["acquire", "model", "--try", "--take", "tokens=1000"]).status, 75);
    sandbox.ok(&["reset", "model"]);
    sandbox.ok(&["acquire", "model", "--try", "--take", "tokens=1000"]);
    sandbox.ok(&["remove", "model"]);
}

#[test]
fn in_shadow_mode_no_request_is_denied_and_denials_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h", "--shadow"]);
    sandbox.ok(&["acquire", "api", "--try"]);
    let second = sandbox.json(&["acquire", "api", "--try", "--json"]);
    assert_eq!((&second["outcome"], &second["shadowed"]), (&"admitted".into(), &true.into()));
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["denied"], 1);
    assert!(sandbox.ok(&["list"]).contains("full (shadow)"));
    assert!(sandbox.ok(&["inspect", "api"]).contains("--no-shadow"));
    sandbox.ok(&["set", "api", "--no-shadow"]);
    assert_eq!(sandbox.run(&["acquire", "api", "--try"]).status, 75);
}

#[test]
fn conflicting_options_are_usage_errors() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "two", "--rate", "50/m", "--greedy", "--rate", "60/m", "--unit", "tokens"]);
    sandbox.ok(&["create", "one", "--rate", "5/s"]);
    let create = |rest: &[&'static str]| [&["create", "x"], rest].concat();
    let five = create(&["-r", "1/s", "-r", "2/s", "-r", "3/s", "-r", "4/s", "-r", "5/s"]);
    for (args, why) in [
        (five, "at most 4"),
        (create(&["-r", "1/s", "--permits", "0"]), "choose 1 to"),
        (create(&["-r", "1/s", "--window", "hourly"]), "first-use"),
        (create(&["-r", "1/s", "--guard", "1ms"]), "only a greedy limit"),
        (create(&["-r", "1/s", "--greedy", "--burst", "2"]), "only a bucket has a burst"),
        (create(&["-r", "1/s", "--greedy", "--window", "fixed"]), "choose one"),
        (create(&["--greedy", "-r", "1/s", "-r", "2/s"]), "after the --rate it belongs to"),
        (create(&["-r", "1/s", "--burst", "2", "--burst", "3"]), "given twice"),
        (create(&["-r", "1/s", "--unit", "a b"]), "is not a valid unit"),
        (create(&["-r", "1/s", "--unit", "calls"]), "is not a valid unit"),
        (create(&["-r", "2000000/h", "--greedy"]), "sliding counter"),
        (create(&[]), "--permits"),
        (create(&["--shadow"]), "--permits"),
        (create(&["--max-waiters", "2"]), "--permits"),
        (create(&["--permits", "0"]), "choose 1 to"),
        (create(&["--permits", "2", "--burst", "2"]), "--rate"),
        (create(&["-r", "0.5/s"]), "write 1/2s"),
        (create(&["--from", "x", "--rate", "5/s"]), "cannot be used with"),
        (create(&["--from", "x", "--max-waiters", "5"]), "cannot be used with"),
        (create(&["--from", "x", "--permits", "2"]), "--permits"),
        (vec!["acquire", "two"], "also counts tokens; state the amount, which may be 0: --take tokens=N"),
        (vec!["acquire", "two", "--take", "bytes=1"], "no limit counts bytes"),
        (vec!["acquire", "two", "--take", "tokens"], "write UNIT=AMOUNT"),
        (vec!["acquire", "two", "--take", "tokens=-1"], "write UNIT=AMOUNT"),
        (vec!["acquire", "two", "--take", "tokens=1", "--take", "tokens=2"], "twice"),
        (vec!["acquire", "two", "--take", "tokens=61"], "the maximum is 60"),
        (vec!["acquire", "two", "-n", "0", "--take", "tokens=0"], "at least 1"),
        (vec!["acquire", "one", "--take", "tokens=1"], "no limit counts tokens"),
        (vec!["acquire", "one", "--greedy"], "--rate"),
        (vec!["run", "two", "--take", "tokens=61", "--", "true"], "the maximum is 60"),
        (vec!["set", "two", "--limit", "3", "--rate", "5/s"], "limit 3 does not exist"),
        (vec!["set", "two", "--limit", "2"], "--rate"),
        (vec!["set", "two", "--burst", "2"], "only a bucket has a burst"),
        (vec!["set", "two", "--permits", "2", "--no-permits"], "cannot be used with"),
        (vec!["set", "two", "--from", "x", "--rate", "5/s"], "cannot be used with"),
        (vec!["set", "one", "--permits", "65"], "room for at most 64 permits"),
        (vec!["set", "one", "--no-rate"], "needs a limit or permits"),
        (vec!["set", "one", "--no-rate", "--rate", "5/s"], "cannot be used with"),
        (vec!["set", "one", "--max-waiters", "2", "--no-max-waiters"], "cannot be used with"),
    ] {
        let ended = sandbox.run(&args);
        assert_eq!(ended.status, 2, "{args:?}: {}", ended.err);
        assert!(ended.err.contains(why), "{args:?}: {}", ended.err);
    }
}

#[test]
fn an_invalid_policy_file_is_a_usage_error_with_its_position() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join(".policy.toml");
    for (text, why) in [
        ("shadow = true", "needs a limit or permits"),
        ("permits = 2\nmax_waiters = -1", "max_waiters"),
        ("[[limit]]\nrate = '5/s'\nkind = 'leaky'", "expected one of `bucket`, `greedy`"),
        ("[[limit]]\nrate = '5/s'\nbrust = 2", "unknown field `brust`"),
        ("[[limit]]\nrate = '5'", "write MAX/PER"),
        ("permits = 0\n[[limit]]\nrate = '5/s'", "choose 1 to"),
        ("[[limit]\nrate = '5/s'", "line 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ended = sandbox.run(&["create", "api", "--from", file.to_str().unwrap()]);
        assert_eq!(ended.status, 2, "{text}: {}", ended.err);
        assert!(ended.err.contains(why) && ended.err.contains(".policy.toml"), "{text}: {}", ended.err);
    }
    assert_eq!(sandbox.run(&["create", "api", "--from", "/nowhere/at.all"]).status, 1);
}

#[test]
fn set_reports_the_limits_whose_usage_is_lost() {
    let sandbox = Sandbox::new();
    let file = |text: &str| {
        let path = sandbox.path().join(".policy.toml");
        std::fs::write(&path, text).unwrap();
        sandbox.run(&["set", "api", "--from", path.to_str().unwrap()])
    };
    let available =
        |limit: usize| sandbox.json(&["inspect", "api", "--json"])["limits"][limit]["available"].clone();
    let first = "[[limit]]\nrate = \"100/h\"\nburst = 50\n";
    let second = "[[limit]]\nrate = \"10/day\"\nburst = 5\n";
    let of_a_unit = "[[limit]]\nrate = \"10/day\"\nunit = \"tokens\"\n";
    let create = ["create", "api", "--rate", "100/h", "--burst", "50", "--rate", "10/day", "--burst", "5"];
    sandbox.ok(&create);
    sandbox.ok(&["acquire", "api", "-n", "5"]);

    // A change that keeps both limits keeps their usage, and reports nothing.
    let kept = file(&format!("{first}{}", second.replace("10/", "11/")));
    assert_eq!((kept.status, kept.err.as_str()), (0, ""));
    assert_eq!(available(1), 0);
    assert_eq!(sandbox.run(&["set", "api", "--rate", "101/h"]).err, "");

    // A change that removes the second limit loses its usage: put back, it is unused.
    let removed = file(first);
    let note = "limit 2 (11/day with bursts of 5) is removed, and its usage with it";
    assert_eq!((removed.status, removed.err), (0, format!("shm-limit: note: {note}\n")));
    let put_back = file(&format!("{first}{second}"));
    assert_eq!((put_back.status, put_back.err.as_str()), (0, ""));
    assert_eq!((available(0), available(1)), (45.into(), 5.into()));

    // A limit of another unit in the same place is a new limit.
    sandbox.ok(&["acquire", "api", "-n", "5"]);
    let replaced = file(&format!("{first}{of_a_unit}"));
    assert!(
        replaced.status == 0 && replaced.err.contains("limit 2 (10/day with bursts of 5)"),
        "{}",
        replaced.err
    );
    assert_eq!(available(1), 10);
    assert!(sandbox.ok(&["set", "--help"]).contains("is lost, which standard error\nreports"));
}

/// Usage is kept by the limit in the same place, whatever its rate.
#[test]
fn the_limit_that_moves_up_takes_the_usage_of_a_removed_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "10/day", "--burst", "10", "--rate", "20/day", "--burst", "20"]);
    sandbox.ok(&["acquire", "api", "-n", "10"]);
    let path = sandbox.path().join(".policy.toml");
    std::fs::write(&path, "[[limit]]\nrate = \"20/day\"\nburst = 20\n").unwrap();
    let removed = sandbox.run(&["set", "api", "--from", path.to_str().unwrap()]);
    assert!(removed.err.contains("limit 2 (20/day with bursts of 20) is removed"), "{}", removed.err);
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["limits"][0]["used"], 10);
}

#[test]
fn a_default_burst_of_a_unit_follows_the_rate() {
    let sandbox = Sandbox::new();
    let create = |rate: &str| sandbox.run(&["create", "api", "--rate", rate, "--unit", "tokens"]);
    let burst = || sandbox.json(&["inspect", "api", "--json"])["burst"].clone();
    assert_eq!(create("200000/m").status, 0);
    for (rate, max) in [("400000/m", 400_000), ("100000/m", 100_000)] {
        sandbox.ok(&["set", "api", "--rate", rate]);
        assert_eq!(burst(), max);
        // A script that gives the new rate joins.
        assert_eq!(create(rate).status, 0);
    }
    sandbox.ok(&["set", "api", "--burst", "500"]);
    sandbox.ok(&["set", "api", "--rate", "7000/m"]);
    assert_eq!(burst(), 500, "a burst that was chosen stays");
}

#[test]
fn max_waiters_can_be_set_and_removed() {
    let sandbox = Sandbox::new();
    let max_waiters = || sandbox.json(&["inspect", "api", "--json"])["max_waiters"].clone();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    assert_eq!(max_waiters(), Value::Null);
    let said = sandbox.ok(&["set", "api", "--max-waiters", "10"]);
    assert_eq!(said, "api: 5/s evenly spaced, at most 10 waiting (was 5/s evenly spaced)\n");
    sandbox.ok(&["set", "api", "--rate", "6/s", "--permits", "4"]);
    assert_eq!(max_waiters(), 10, "what is not named is kept");
    assert!(sandbox.ok(&["inspect", "api"]).contains("at most 10"));
    sandbox.ok(&["acquire", "api", "--rate", "6/s", "--permits", "4", "--max-waiters", "10"]);
    let other = sandbox.run(&["create", "api", "--rate", "6/s", "--permits", "4", "--max-waiters", "9"]);
    assert_eq!(other.status, 1);
    assert!(other.err.contains("shm-limit set api --max-waiters 9"), "{}", other.err);
    sandbox.ok(&["set", "api", "--no-max-waiters"]);
    assert_eq!(max_waiters(), Value::Null);
    sandbox.ok(&["run", "other", "--permits", "1", "--max-waiters", "0", "--", "true"]);
    assert_eq!(sandbox.json(&["inspect", "other", "--json"])["max_waiters"], 0);
    let file = sandbox.path().join(".policy.toml");
    std::fs::write(&file, "max_waiters = 3\n[[limit]]\nrate = '5/s'").unwrap();
    sandbox.ok(&["set", "api", "--from", file.to_str().unwrap()]);
    assert_eq!(max_waiters(), 3);
}

//! What `list` and `inspect` show of the table of keys and of one key.

use crate::common::Sandbox;
use crate::{admitted, follow, take_from, users};
use serde_json::{Value, json};

fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// The shape is a promise: fields may be added here, never taken away or renamed.
#[test]
fn json_has_the_documented_fields() {
    let sandbox = users("--rate 3/h --burst 3 --all-rate 9/h --all-burst 9 --capacity 100000");
    assert_eq!(admitted(&sandbox, &["--key", "alice", "--key", "x"], 5), 3);
    let seen = sandbox.json(&["inspect", "users", "--json"]);
    let keys = &seen["keys"];
    let of_table = [
        "advised_capacity",
        "capacity",
        "fill",
        "forgotten",
        "hides_names",
        "limits",
        "live",
        "memory_bytes",
        "memory_max_bytes",
        "most_denied",
        "new_keys_denied",
        "refuses_new_keys",
        "warning",
    ];
    assert_eq!(fields(keys), of_table);
    let of_limit = ["burst", "kind", "rate", "start", "text", "unit"];
    assert_eq!(fields(&keys["limits"][0]), of_limit);
    assert_eq!(fields(&keys["forgotten"]), ["last_minute", "total"]);
    assert_eq!(keys["most_denied"], json!([{"key": ["alice", "x"], "last_minute": 2}]));
    assert_eq!((&keys["live"], &keys["fill"], &keys["warning"]), (&json!(1), &json!(0.00001), &Value::Null));
    assert_eq!((&keys["memory_bytes"], &keys["memory_max_bytes"]), (&json!(4096), &json!(4_000_000)));
    let list = sandbox.json(&["list", "--json"]);
    let brief: Vec<&str> = of_table.into_iter().filter(|&field| field != "most_denied").collect();
    assert_eq!(fields(&list[0]["keys"]), brief);
    let one = sandbox.json(&["inspect", "users", "--key", "alice", "--key", "x", "--json"]);
    let of_key = [
        "all_keys",
        "directory",
        "health",
        "key",
        "known",
        "limits",
        "name",
        "next_in_s",
        "path",
        "paused_for_s",
        "permits",
        "problem",
        "shadow",
    ];
    assert_eq!(fields(&one), of_key);
    let mut with_usage = [&of_limit[..], &["available", "charged_ahead", "next_in_s", "used"]].concat();
    with_usage.sort_unstable();
    assert_eq!(fields(&one["limits"][0]), with_usage);
    assert_eq!(one["all_keys"], seen["limits"]);
    assert_eq!(
        (&one["health"], &one["key"], &one["known"]),
        (&json!("ok"), &json!(["alice", "x"]), &json!(true))
    );
    let missing = sandbox.run(&["inspect", "nope", "--key", "a", "--json"]);
    let said: Value = serde_json::from_str(&missing.out).unwrap();
    assert_eq!((missing.status, &said["health"]), (1, &json!("not_found")));
    let help = sandbox.ok(&["inspect", "--help"]);
    let documented =
        |field: &str| help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == field);
    let all = [&of_table[..], &of_limit, &of_key, &with_usage].concat();
    let missing: Vec<&str> = all.into_iter().filter(|field| !documented(field)).collect();
    assert!(missing.is_empty(), "inspect --help does not document {missing:?}");
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["keys"], Value::Null);
}

/// The smallest table has 256 slots, for 102 keys.
#[test]
fn a_table_that_is_nearly_full_is_a_warning_whose_advice_works() {
    let sandbox = users("--rate 1/h --all-rate 5000/s --all-burst 500 --capacity 1 --seats 200");
    let state = || sandbox.ok(&["list"]).lines().nth(1).unwrap().to_owned();
    take_from(&sandbox, 0..80);
    assert!(state().contains(" 78% ") && state().ends_with(" ok"), "{}", state());
    assert!(!sandbox.ok(&["inspect", "users"]).contains("warning"));
    take_from(&sandbox, 80..87);
    assert!(state().contains(" 85% ") && state().ends_with(" near capacity"), "{}", state());
    let page = sandbox.ok(&["inspect", "users"]);
    for words in [
        "users  near capacity",
        "keys      87 of 102 in use (85%, estimated)",
        "warning   the table is nearly full",
        "choose a capacity of 200.",
        "shm-limit create users --replace --keyed --rate 1/h --all-rate 5000/s --all-burst 500 --capacity 200 --seats 200\n",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let keys = &sandbox.json(&["inspect", "users", "--json"])["keys"];
    assert_eq!((&keys["warning"], &keys["advised_capacity"]), (&json!("near_capacity"), &json!(200)));
    // The command does what it says: the same settings, and more room.
    let (_, command) = page.split_once("over to it:\n").unwrap();
    let said = follow(&sandbox, command.lines().next().unwrap());
    assert!(
        said.contains(
            "replaced, 1/h evenly spaced per key; of all keys: 5000/s with bursts of 500; room for 2"
        ),
        "{said}"
    );
    assert!(state().contains(" 0% ") && state().ends_with(" ok"), "{}", state());
    let seen = sandbox.json(&["inspect", "users", "--json"]);
    assert_eq!((&seen["seats"], &seen["keys"]["warning"]), (&json!(200), &Value::Null));
    // What `set` cannot do is answered with the same command.
    let refused = sandbox.run(&["set", "users", "--capacity", "5000"]);
    assert_eq!(refused.status, 2);
    assert!(follow(&sandbox, &refused.err).contains("room for 5"), "{}", refused.err);
}

/// An operator copies the command into a shell that knows nothing of the directory.
#[test]
fn the_advised_command_names_the_directory_and_quotes_the_name() {
    let (sandbox, elsewhere) = (Sandbox::new(), Sandbox::new());
    let dir = elsewhere.path().to_str().unwrap();
    let flags = [
        "--keyed",
        "--rate",
        "5/h",
        "--window",
        "sliding",
        "--unit",
        "tokens",
        "--permits",
        "2",
        "--mode",
        "660",
    ];
    sandbox.ok(&[&["--dir", dir, "create", "my users"], &flags[..]].concat());
    let refused = sandbox.run(&["--dir", dir, "set", "my users", "--capacity", "5000"]);
    let (_, command) = refused.err.split_once(": shm-limit ").unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shm-limit"));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("shm-limit {command}")]).env("SHM_LIMIT_DIR", sandbox.path());
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = shell.env("PATH", path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", refused.err);
    let policy = "tokens 5/h by a sliding counter per key; of all keys: 2 permits";
    assert!(said.starts_with(&format!("my users: replaced, {policy}; room for 5")), "{said}");
    let seen = sandbox.json(&["--dir", dir, "inspect", "my users", "--json"]);
    assert_eq!(seen["mode"], "660");
}

#[test]
fn a_table_that_forgets_keys_is_shown_and_a_new_key_is_told_why_it_is_denied() {
    for refuses in [false, true] {
        let sandbox = users(if refuses {
            "--rate 1/h --capacity 1 --refuse-new-keys"
        } else {
            "--rate 1/h --capacity 1"
        });
        take_from(&sandbox, 0..2_000);
        let state = sandbox.ok(&["list"]);
        assert!(state.contains("250%") && state.trim_end().ends_with(" table full"), "{state}");
        let page = sandbox.ok(&["inspect", "users"]);
        assert!(
            page.contains("the table is too full: new keys ") && page.contains("choose a capacity of "),
            "{page}"
        );
        let keys = &sandbox.json(&["inspect", "users", "--json"])["keys"];
        assert_eq!(keys["warning"], "table_full");
        assert!(keys["new_keys_denied"]["last_minute"].as_u64() > Some(1_500), "{keys}");
        assert!(keys["advised_capacity"].as_u64() >= Some(500), "{keys}");
        let denied = sandbox.json(&["acquire", "users", "--try", "--key", "new", "--json"]);
        assert_eq!(denied["denied_by"], "table");
        assert_eq!(denied["retry_after_s"].is_null(), refuses, "{denied}");
        let ran = sandbox.run(&["run", "users", "--try", "--key", "new", "--", "true"]);
        let why = "the table of keys is too full for this new key";
        assert!(
            ran.status == 75 && ran.err.contains(why) && ran.err.contains("`shm-limit inspect`"),
            "{}",
            ran.err
        );
        let script = sandbox.run(&["acquire", "users", "--try", "--key", "new"]);
        assert!(script.out.trim().parse::<f64>().is_ok_and(|time| time > 0.0), "{}", script.out);
        let page = sandbox.ok(&["inspect", "users", "--key", "new"]);
        assert!(
            page.contains("the usage below is that of another key") && page.contains("0 of 1 free, 1 used"),
            "{page}"
        );
        let reset = sandbox.ok(&["reset", "users", "--key", "new"]);
        assert!(
            reset.starts_with("users: key new had used nothing; the table is too full for it"),
            "{reset}"
        );
    }
}

#[test]
fn the_keys_that_are_denied_most_are_shown_safely() {
    let sandbox = users("--rate 1/h");
    let evil = "\u{1b}]0;x\u{7}\u{202e}";
    for (key, times) in [("mallory", 6), (evil, 4), ("bob", 2)] {
        admitted(&sandbox, &["--key", key], times);
    }
    admitted(&sandbox, &["--key", "a", "--key", "x"], 3);
    let page = sandbox.ok(&["inspect", "users"]);
    let (_, top) = page.split_once("a sample:\n").unwrap();
    let rows: Vec<&str> = top.lines().take(4).map(str::trim).collect();
    assert_eq!(rows, ["5  mallory", "3  \\u{1b}]0;x\\u{7}\\u{202e}", "2  a + x", "1  bob"]);
    let one = sandbox.ok(&["inspect", "users", "--top", "1"]);
    assert!(one.contains("mallory") && !one.contains("bob"), "{one}");
    assert!(!sandbox.ok(&["inspect", "users", "--top", "0"]).contains("mallory"));
    let json = sandbox.run(&["inspect", "users", "--top", "2", "--json"]).out;
    assert!(json.contains("\\u001b") && !json.contains('\u{202e}') && !json.contains("bob"), "{json}");
    let shown = sandbox.run(&["charge", "users", "--key", evil]);
    assert!(!shown.out.contains('\u{1b}') && shown.out.contains("\\u{1b}"), "{}", shown.out);
    sandbox.ok(&["set", "users", "--hide-names"]);
    let hidden = sandbox.ok(&["inspect", "users"]);
    assert!(!hidden.contains("mallory") && hidden.contains("names of denied keys are not kept"), "{hidden}");
    assert_eq!(sandbox.json(&["inspect", "users", "--json"])["keys"]["most_denied"], json!([]));
}

#[test]
fn only_a_directory_with_limits_per_key_has_the_column() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "5/s"]);
    assert!(!sandbox.ok(&["list"]).contains("KEYS"));
    sandbox.ok(&["create", "users", "--keyed", "--rate", "5/s", "--window", "fixed", "--all-rate", "9/s"]);
    let table = sandbox.ok(&["list"]);
    assert!(table.contains(" KEYS ") && table.contains("5/s fixed-window per key +1"), "{table}");
}

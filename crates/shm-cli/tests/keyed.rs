//! Limits per key: `--keyed`, `--key`, what is shown of the table and of one key, and what is refused.

mod common;

use common::{Sandbox, end_of};
use serde_json::{Value, json};
use shm_lib::KeyedRateLimit;
use std::process::Stdio;

/// A directory with the limiter `users`.
fn users(flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "users", "--keyed"].into_iter().chain(flags.split(' ')).collect::<Vec<_>>());
    sandbox
}

/// How many of so many requests are admitted.
fn admitted(sandbox: &Sandbox, flags: &[&str], requests: usize) -> usize {
    let args = [&["acquire", "users", "--try"], flags].concat();
    (0..requests)
        .filter(|_| {
            let ended = sandbox.run(&args);
            assert!([0, 75].contains(&ended.status), "{args:?}: {}", ended.err);
            ended.status == 0
        })
        .count()
}

/// Takes one call from each of these keys.
fn take_from(sandbox: &Sandbox, keys: std::ops::Range<u32>) {
    let limiter = KeyedRateLimit::builder("users").directory(sandbox.path()).attach().unwrap();
    for key in keys {
        let _ = limiter.key(key).try_acquire(1).unwrap();
    }
}

/// The command that a message or a page advises, as words: what follows `shm-limit` up to the end of its line.
fn advised(text: &str) -> Vec<String> {
    let (_, command) = text.rsplit_once("shm-limit ").unwrap_or_else(|| panic!("no command in: {text}"));
    let command = command.lines().next().unwrap().split(", with all").next().unwrap();
    command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn follow(sandbox: &Sandbox, text: &str) -> String {
    let words = advised(text);
    sandbox.ok(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

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
    assert!(ran.err.contains("denied, so the command was not run; try again in"), "{}", ran.err);
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
    script.kill().unwrap();
    script.wait().unwrap();
}

/// Command lines that cannot mean what they say: the status, and what the message must contain.
#[test]
fn what_a_key_cannot_do_is_refused_with_a_remedy() {
    let sandbox = users("--rate 3/h --burst 3");
    sandbox.ok(&["create", "api", "--rate", "3/h"]);
    let policy = sandbox.path().join(".policy.toml");
    std::fs::write(&policy, "[[limit]]\nrate = '5/s'\n").unwrap();
    for (args, status, words) in [
        (
            &["acquire", "users"][..],
            2,
            &["it has limits per key (3/h with bursts of 3 per key)", "--key KEY"][..],
        ),
        (&["acquire", "users", "--fail-open"], 2, &["--key KEY"]),
        (&["run", "users", "--", "true"], 2, &["--key KEY"]),
        (&["charge", "users"], 2, &["--key KEY"]),
        (
            &["hold", "users", "--key", "a", "--pid", "1"],
            2,
            &["no permits", "shm-limit set users --permits N"],
        ),
        (&["acquire", "users", "--key", ""], 2, &["--key is empty", "variable"]),
        (&["charge", "users", "--key", "a", "--key="], 2, &["--key is empty"]),
        (&["acquire", "users", "--key", "a", "-n", "4"], 2, &["the maximum is 3"]),
        (&["acquire", "users", "--key", "a", "--rate", "3/h"], 2, &["add --keyed"]),
        (&["acquire", "new", "--keyed", "--rate", "3/h"], 2, &["--key KEY"]),
        (&["acquire", "new", "--key", "a"], 1, &["it does not exist; give --rate and --keyed"]),
        (&["acquire", "api", "--key", "a"], 2, &["leave the key out", "create api --replace --keyed"]),
        (&["charge", "api", "--key", "a"], 2, &["leave the key out"]),
        (&["reset", "api", "--key", "a"], 2, &["leave the key out"]),
        (&["inspect", "api", "--key", "a"], 2, &["leave the key out"]),
        (&["reserve", "users"], 2, &["it has limits per key", "ahead of time", "acquire NAME --key KEY"]),
        (&["reserve", "users", "--key", "a"], 2, &["ahead of time", "acquire NAME --key KEY"]),
        (&["schedule", "users", "--requests", "2"], 2, &["ahead of time"]),
        (&["schedule", "new", "--requests", "2", "--rate", "5/s", "--keyed"], 2, &["ahead of time"]),
        (&["acquire", "users", "--key-ip", "192.0.2.0/24"], 2, &["as a whole"]),
        (&["acquire", "users", "--key-ip", "alice"], 2, &["not an IP address"]),
        (&["create", "new", "--rate", "5/s", "--capacity", "5"], 2, &["--capacity", "add --keyed"]),
        (&["create", "new", "--rate", "5/s", "--all-rate", "9/s"], 2, &["--keyed"]),
        (&["create", "new", "--rate", "5/s", "--hide-names"], 2, &["--keyed"]),
        (&["create", "new", "--keyed", "--permits", "5"], 2, &["--rate"]),
        (&["create", "new", "--keyed", "--rate", "5/s", "--greedy"], 2, &["cannot be greedy", "--burst 5"]),
        (&["create", "new", "--keyed", "--rate", "5/s", "--window", "first-use"], 2, &["--window fixed"]),
        (&["create", "new", "--keyed", "--rate", "5/s", "--capacity", "0"], 2, &["not a valid capacity"]),
        (&["create", "new", "--keyed", "--rate", "5/s", "--from", "x"], 2, &["--from"]),
        (
            &["set", "users", "--rate", "5/h", "--limit", "2"],
            2,
            &["limit per key 2 does not exist", "--replace --keyed"],
        ),
        (&["set", "users", "--no-rate"], 2, &["cannot be removed", "--no-all-rate", "--replace"]),
        (&["set", "users", "--all-burst", "5"], 2, &["limit of all keys", "give --all-rate as well"]),
        (
            &["set", "users", "--from", policy.to_str().unwrap()],
            2,
            &["needs limits per key", "create users --replace"],
        ),
        (&["set", "api", "--all-rate", "5/s"], 2, &["no limits per key", "--all-rate has no meaning"]),
        (&["set", "api", "--refuse-new-keys"], 2, &["--refuse-new-keys has no meaning"]),
        (&["set", "api", "--capacity", "5"], 2, &["--capacity has no meaning"]),
    ] {
        let ended = sandbox.run(args);
        assert_eq!((ended.status, ended.out.as_str()), (status, ""), "{args:?}: {}", ended.err);
        for word in words {
            assert!(ended.err.contains(word), "{args:?}: {word:?} is not in: {}", ended.err);
        }
    }
    assert!(!sandbox.path().join("new").exists(), "nothing was created");
    let seen = sandbox.json(&["inspect", "users", "--json"]);
    assert_eq!((&seen["admitted"], &seen["changes"]), (&json!(0), &json!(0)));
    for command in ["reserve", "schedule"] {
        let help = sandbox.ok(&[command, "--help"]);
        assert!(!help.contains("--key") && !help.contains("--capacity"), "{help}");
    }
}

#[test]
fn the_advice_of_a_mismatch_works() {
    let all = "--rate 3/h --burst 3 --all-rate 9/s --all-burst 2";
    for (there, asked, is_recreated) in [
        ("--keyed --rate 3/h --burst 3", "--keyed --rate 4/h", false),
        ("--keyed --rate 3/h --burst 3", "--keyed --rate 3/h --burst 4", false),
        ("--keyed --rate 3/h --rate 9/d", "--keyed --rate 3/h --rate 8/d", false),
        ("--keyed --rate 3/h", "--keyed --rate 3/h --refuse-new-keys --hide-names", false),
        ("--keyed --rate 3/h", "--keyed --rate 3/h --all-rate 9/s --all-burst 2", false),
        (all, "", false),
        ("--keyed --rate 3/h", "--keyed --rate 3/h --permits 2 --max-waiters 7 --shadow", false),
        ("--keyed --rate 3/h", "--keyed --rate 3/h --window fixed", true),
        ("--keyed --rate 3/h --window fixed", "--keyed --rate 3/m", true),
        ("--keyed --rate 3/h", "--keyed --rate 3/h --rate 9/d", true),
        ("--keyed --rate 3/h", "--rate 3/h", true),
        ("--rate 3/h", "--keyed --rate 3/h", true),
    ] {
        let (there, asked) = match asked {
            "" => (format!("--keyed {all}"), format!("--keyed {}", all.replace("9/s", "8/s"))),
            _ => (there.to_owned(), asked.to_owned()),
        };
        let sandbox = Sandbox::new();
        let create = |flags: &str| {
            sandbox.run(&["create", "users"].into_iter().chain(flags.split(' ')).collect::<Vec<_>>())
        };
        assert_eq!(create(&there).status, 0);
        let refused = create(&asked);
        assert_eq!(refused.status, 1, "{there} -> {asked}: {}", refused.err);
        let mut words = advised(&refused.err);
        let is_create = words[0] == "create";
        assert_eq!(is_create, is_recreated, "{there} -> {asked}: {}", refused.err);
        if is_create {
            // "with all its settings"
            let missing = asked
                .split(' ')
                .filter(|&word| word != "--keyed" || !refused.err.contains("--replace --keyed"));
            words.extend(missing.map(str::to_owned));
        }
        sandbox.ok(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let again = create(&asked);
        assert_eq!(again.status, 0, "{there} -> {asked}: {}", again.err);
        // A request of a key cannot use a limiter without keys: then this would be no advice.
        let same = there.contains("--keyed") == asked.contains("--keyed");
        assert_eq!(refused.err.contains("add --keep"), same, "{}", refused.err);
    }
}

#[test]
fn an_existing_limiter_is_joined_by_what_is_stated() {
    let sandbox =
        users("--rate 3/h --burst 3 --all-rate 9/s --all-burst 9 --capacity 5000 --refuse-new-keys");
    let job = |flags: &[&str]| {
        sandbox
            .run(&[&["acquire", "users", "--try", "--key", "a", "--keyed", "--rate"], flags].concat())
            .status
    };
    assert_eq!(job(&["3/h"]), 0);
    assert_eq!(job(&["3/h", "--capacity", "7"]), 0, "the capacity is that of a new limiter");
    assert_eq!(job(&["4/h"]), 1);
    assert_eq!(job(&["4/h", "--keep"]), 0);
    assert_eq!(job(&["3/h", "--hide-names"]), 1);
    let said = sandbox.ok(&["create", "users", "--keyed", "--rate", "3/h", "--capacity", "5000"]);
    assert!(said.contains("already exists") && said.contains("; room for 5"), "{said}");
    let other = sandbox.run(&["create", "users", "--keyed", "--rate", "3/h", "--capacity", "900000"]);
    assert!(
        other.status == 1 && other.err.contains("leave --capacity out") && other.err.contains("--replace")
    );
    // Without --rate it is never created, with it the first job creates it.
    let new = Sandbox::new();
    new.ok(&["run", "users", "--key", "a", "--keyed", "--rate", "5/s", "--capacity", "2000", "--", "true"]);
    let keys = &new.json(&["inspect", "users", "--json"])["keys"];
    assert!((2000..2100).contains(&keys["capacity"].as_u64().unwrap()), "{keys}");
}

#[test]
fn a_file_states_several_limits_of_all_keys() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join(".users.toml");
    let text = "permits = 3\n[keys]\nhide_names = true\n[[keys.limit]]\nrate = '5/s'\nburst = 10\n[[keys.limit]]\n\
                rate = '1000/h'\nkind = 'sliding-counter'\n[[limit]]\nrate = '2000/s'\n[[limit]]\nrate = '9/m'\nkind = 'greedy'\n";
    std::fs::write(&file, text).unwrap();
    let from = file.to_str().unwrap();
    let said = sandbox.ok(&["create", "users", "--from", from, "--capacity", "1000000"]);
    let policy = "5/s with bursts of 10 + 1000/h by a sliding counter per key, names hidden; of all keys: 2000/s evenly spaced + \
                  9/m greedy + at most 3 at a time";
    assert!(
        said.contains(policy) && said.contains("room for 1000") && said.contains("in up to 80 MB"),
        "{said}"
    );
    let page = sandbox.ok(&["inspect", "users"]);
    for words in [
        "per key 1 5/s",
        "per key 2 1000/h",
        "all 1     2000/s",
        "all 2     9/m greedy",
        "names of denied keys are not kept",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    sandbox.ok(&["set", "users", "--all-limit", "2", "--all-rate", "8/m"]);
    sandbox.ok(&["set", "users", "--limit", "2", "--rate", "900/h"]);
    let seen = sandbox.json(&["inspect", "users", "--json"]);
    assert_eq!(
        (&seen["limits"][1]["text"], &seen["keys"]["limits"][1]["rate"]["max"]),
        (&json!("8/m greedy"), &json!(900))
    );
    sandbox.ok(&["set", "users", "--from", from]);
    assert!(sandbox.ok(&["create", "users", "--from", from]).contains("already exists"));
}

/// The file that the help of `create` shows.
#[test]
fn the_file_of_the_help_is_valid() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(&["create", "--help"]);
    let (_, file) = help.split_once("is then one of all keys:\n").unwrap();
    let (file, _) = file.split_once("\n\n").unwrap();
    std::fs::write(sandbox.path().join(".p"), file).unwrap();
    let said = sandbox.ok(&["create", "users", "--from", sandbox.path().join(".p").to_str().unwrap()]);
    assert!(
        said.contains("5/s with bursts of 10 + 1000/h by a sliding counter per key; of all keys: 2000/s"),
        "{said}"
    );
}

#[test]
fn set_changes_each_part() {
    let sandbox = users("--rate 3/h --burst 3");
    for (flags, policy) in [
        ("--rate 4/h", "4/h with bursts of 3 per key"),
        ("--burst 5", "4/h with bursts of 5 per key"),
        ("--all-rate 9/s", "4/h with bursts of 5 per key; of all keys: 9/s evenly spaced"),
        ("--all-burst 4 --rate 3/h", "3/h with bursts of 5 per key; of all keys: 9/s with bursts of 4"),
        (
            "--refuse-new-keys --hide-names",
            "3/h with bursts of 5 per key, new keys denied when full, names hidden; of all keys: 9/s with bursts of 4",
        ),
        ("--no-all-rate", "3/h with bursts of 5 per key, new keys denied when full, names hidden"),
        (
            "--no-hide-names --no-refuse-new-keys --permits 2",
            "3/h with bursts of 5 per key; of all keys: 2 permits",
        ),
        ("--no-permits --shadow", "3/h with bursts of 5 per key (shadow)"),
    ] {
        let said = sandbox.ok(&["set", "users"].into_iter().chain(flags.split(' ')).collect::<Vec<_>>());
        assert!(said.starts_with(&format!("users: {policy} (was ")), "{flags}: {said}");
    }
    let removed = sandbox.run(&["set", "users", "--all-rate", "9/s"]);
    assert_eq!(removed.err, "");
    let removed = sandbox.run(&["set", "users", "--no-all-rate"]);
    assert!(removed.err.contains("limit 1 of all keys (9/s evenly spaced) is removed"), "{}", removed.err);
}

#[test]
fn a_change_is_for_all_keys_and_keeps_what_they_owe() {
    let sandbox = users("--rate 3/h --burst 3");
    assert_eq!(admitted(&sandbox, &["--key", "alice"], 4), 3);
    sandbox.ok(&["set", "users", "--burst", "5"]);
    assert_eq!(admitted(&sandbox, &["--key", "alice"], 4), 2);
    assert_eq!(admitted(&sandbox, &["--key", "bob"], 7), 5);
    sandbox.ok(&["pause", "users", "1h"]);
    assert_eq!(admitted(&sandbox, &["--key", "carol"], 1), 0);
    assert!(sandbox.ok(&["inspect", "users", "--key", "carol"]).contains("paused    for another"));
    sandbox.ok(&["resume", "users"]);
    assert_eq!(admitted(&sandbox, &["--key", "carol"], 1), 1);
    assert_eq!(sandbox.ok(&["reset", "users"]), "users: reset, with all its keys\n");
    assert_eq!(admitted(&sandbox, &["--key", "alice"], 6), 5);
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

fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// The shape is a promise: fields may be added here, never taken away or renamed.
#[test]
fn json_has_the_documented_fields() {
    let sandbox = users("--rate 3/h --burst 3 --all-rate 9/s --all-burst 9 --capacity 100000");
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
        "problem",
        "shadow",
    ];
    assert_eq!(fields(&one), of_key);
    let mut with_usage = [&of_limit[..], &["available", "next_in_s", "used"]].concat();
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
        assert!(state.contains("250%") && state.trim_end().ends_with(" forgetting keys"), "{state}");
        let page = sandbox.ok(&["inspect", "users"]);
        assert!(
            page.contains("the table is too full: new keys ") && page.contains("choose a capacity of "),
            "{page}"
        );
        let keys = &sandbox.json(&["inspect", "users", "--json"])["keys"];
        assert_eq!(keys["warning"], "forgetting_keys");
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

//! `create` and `set`: what limits per key there are, and joining a limiter that has them.

use crate::common::Sandbox;
use crate::{admitted, advised, users};
use serde_json::json;

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

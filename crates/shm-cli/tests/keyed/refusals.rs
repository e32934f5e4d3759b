//! What a key cannot do, and what is said to that.

use crate::users;
use serde_json::json;

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
        (&["reserve", "users"], 2, &["it has limits per key", "ahead of time", "acquire users --key KEY"]),
        (&["reserve", "users", "--key", "a"], 2, &["ahead of time", "acquire users --key KEY"]),
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

//! Opening a limiter that exists: stated settings are compared, others are not, and `--keep` compares nothing.

mod common;

use common::Sandbox;

/// Whether `run` with these flags joins the limiter.
fn joins(sandbox: &Sandbox, flags: &[&str]) -> bool {
    let args = [&["run", "api", "--timeout", "30s"], flags, &["--", "true"]].concat();
    let ended = sandbox.run(&args);
    assert!([0, 1].contains(&ended.status), "{args:?}: {}", ended.err);
    assert_eq!(ended.status == 1, ended.err.contains("was asked for"), "{}", ended.err);
    ended.status == 0
}

/// Flags of `run`, and whether it joins with them.
type Case<'a> = (&'a [&'a str], bool);

#[test]
fn settings_that_are_left_out_are_not_compared() {
    let there: &[(&[&str], &[Case<'_>])] = &[
        (
            &["--rate", "1000/s", "--burst", "2", "--permits", "3"],
            &[
                (&["--rate", "1000/s"], true),
                (&["--rate", "1000/s", "--burst", "2"], true),
                (&["--rate", "1000/s", "--burst", "3"], false),
                (&["--rate", "1000/s", "--burst", "1"], false),
                (&["--rate", "1000/s", "--greedy"], false),
                (&["--rate", "1000/s", "--permits", "3"], true),
                (&["--rate", "1000/s", "--permits", "2"], false),
                (&["--rate", "1000/s", "--shadow"], false),
                (&["--rate", "1001/s"], false),
                (&["--rate", "1000/s", "--rate", "5/s"], false),
            ],
        ),
        (
            &[
                "--rate", "1000/s", "--greedy", "--guard", "1ms", "--rate", "9000/s", "--burst", "9",
                "--shadow",
            ],
            &[
                (&["--rate", "1000/s"], true),
                (&["--rate", "1000/s", "--greedy"], true),
                (&["--rate", "1000/s", "--greedy", "--guard", "1ms"], true),
                (&["--rate", "1000/s", "--greedy", "--guard", "2ms"], false),
                (&["--rate", "1000/s", "--window", "fixed"], false),
                (&["--rate", "1000/s", "--rate", "9000/s"], true),
                (&["--rate", "1000/s", "--rate", "9001/s"], false),
                (&["--rate", "9000/s"], false),
                (&["--rate", "1000/s", "--shadow"], true),
                (&["--rate", "1000/s", "--permits", "2"], false),
            ],
        ),
        (
            &["--rate", "1000/month", "--window", "calendar", "--zone", "Asia/Tokyo"],
            &[
                (&["--rate", "1000/month"], true),
                (&["--rate", "1000/month", "--window", "calendar"], true),
                (&["--rate", "1000/month", "--window", "calendar", "--zone", "asia/tokyo"], true),
                (&["--rate", "1000/month", "--window", "calendar", "--zone", "UTC"], false),
                (&["--rate", "1000/week", "--window", "calendar"], false),
                (&["--rate", "1000/month", "--window", "first-use"], false),
            ],
        ),
        (
            &["--rate", "1000/s", "--window", "first-use"],
            &[
                (&["--rate", "1000/s"], true),
                (&["--rate", "1000/s", "--window", "first-use"], true),
                (&["--rate", "1000/s", "--window", "fixed"], false),
                (&["--rate", "1000/s", "--window", "sliding"], false),
                (&["--rate", "1000/s", "--unit", "bytes"], false),
            ],
        ),
    ];
    for (limiter, cases) in there {
        let sandbox = Sandbox::new();
        sandbox.ok(&[&["create", "api"], *limiter].concat());
        for (flags, expected) in *cases {
            assert_eq!(joins(&sandbox, flags), *expected, "{flags:?} on {limiter:?}");
            assert!(joins(&sandbox, &[flags, &["--keep"][..]].concat()), "{flags:?} --keep on {limiter:?}");
        }
        assert_eq!(sandbox.json(&["inspect", "api", "--json"])["changes"], 0);
    }
}

#[test]
fn a_file_is_compared_as_a_whole() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join(".policy.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, "[[limit]]\nrate = '5/s'\n").unwrap();
    sandbox.ok(&["create", "api", "--rate", "5/s", "--permits", "2"]);
    let other = sandbox.run(&["create", "api", "--from", file]);
    assert_eq!(other.status, 1);
    assert!(other.err.contains("--no-permits"), "{}", other.err);
    let kept = sandbox.ok(&["create", "api", "--from", file, "--keep"]);
    assert!(
        kept.contains("other settings, which are kept, 5/s evenly spaced + at most 2 at a time"),
        "{kept}"
    );
    sandbox.ok(&["set", "api", "--no-permits"]);
    assert!(sandbox.ok(&["create", "api", "--from", file]).contains("already exists, 5/s"));
}

/// An operator raises the rate; processes that start later with the old rate must not crash in a loop.
#[test]
fn keep_joins_a_limiter_that_was_changed() {
    let sandbox = Sandbox::new();
    let job = ["run", "api", "--rate", "500/s", "--", "true"];
    let keeping = ["run", "api", "--rate", "500/s", "--keep", "--", "true"];
    sandbox.ok(&keeping);
    sandbox.ok(&job);
    sandbox.ok(&["set", "api", "--rate", "900/s"]);
    let refused = sandbox.run(&job);
    assert_eq!(refused.status, 1);
    for words in
        ["--keep", "OnMismatch::Keep", "900/s evenly spaced", "500/s", "shm-limit set api --rate 500/s"]
    {
        assert!(refused.err.contains(words), "{words} is not in: {}", refused.err);
    }
    sandbox.ok(&keeping);
    sandbox.ok(&["acquire", "api", "--rate", "500/s", "--keep"]);
    assert!(sandbox.ok(&["create", "api", "--rate", "500/s", "--seats", "9", "--keep"]).contains("are kept"));
    assert_eq!(sandbox.json(&["inspect", "api", "--json"])["rate"]["text"], "900/s");
    // The advice works.
    sandbox.ok(&["set", "api", "--rate", "500/s"]);
    sandbox.ok(&job);
    assert_eq!(sandbox.run(&["run", "api", "--keep", "--", "true"]).status, 2);
}

#[test]
fn the_advice_of_a_mismatch_works() {
    for (there, asked, advice) in [
        (&["--rate", "5/s"][..], &["--rate", "5/s", "--burst", "3"][..], "shm-limit set api --burst 3"),
        (
            &["--rate", "5/s", "--permits", "2"],
            &["--rate", "5/s", "--permits", "3"],
            "shm-limit set api --permits 3",
        ),
        (
            &["--rate", "5/s", "--rate", "9/m"],
            &["--rate", "5/s", "--rate", "8/m"],
            "shm-limit set api --rate 8/m --limit 2",
        ),
        (
            &["--rate", "5/s", "--greedy"],
            &["--rate", "6/s", "--shadow"],
            "shm-limit set api --rate 6/s --shadow",
        ),
        // The file has no room for these, so `set` could not do it.
        (&["--rate", "5/s"], &["--rate", "5/s", "--greedy"], "shm-limit create api --replace"),
        (&["--rate", "5/s"], &["--rate", "5/s", "--rate", "9/m"], "shm-limit create api --replace"),
    ] {
        let sandbox = Sandbox::new();
        let create = |flags: &[&str]| sandbox.run(&[&["create", "api"], flags].concat());
        assert_eq!(create(there).status, 0);
        let refused = create(asked);
        assert!(refused.status == 1 && refused.err.contains(advice), "{advice} is not in: {}", refused.err);
        let mut words: Vec<&str> = advice.split(' ').skip(1).collect();
        if words[0] == "create" {
            // "with all settings"
            words.extend(asked);
        }
        sandbox.ok(&words);
        assert_eq!(create(asked).status, 0, "{advice}");
    }
}

#[test]
fn removing_a_missing_limiter_gives_no_advice_to_create_it() {
    let sandbox = Sandbox::new();
    for args in [&["remove", "nope"][..], &["remove", "--force", "nope"]] {
        let ended = sandbox.run(args);
        assert_eq!(ended.status, 1);
        assert!(ended.err.contains("nothing to remove") && !ended.err.contains("create"), "{}", ended.err);
    }
}

//! Opening a limiter that exists: what was stated is compared, what was left out is not, and `--keep` compares nothing.

mod common;

use common::Place;

/// Whether `run` with these flags joins the limiter.
fn joins(place: &Place, flags: &[&str]) -> bool {
    let args = [&["run", "api", "--timeout", "30s"], flags, &["--", "true"]].concat();
    let ended = place.run(&args);
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
        let place = Place::new();
        place.ok(&[&["create", "api"], *limiter].concat());
        for (flags, expected) in *cases {
            assert_eq!(joins(&place, flags), *expected, "{flags:?} on {limiter:?}");
            assert!(joins(&place, &[flags, &["--keep"][..]].concat()), "{flags:?} --keep on {limiter:?}");
        }
        assert_eq!(place.json(&["inspect", "api", "--json"])["changes"], 0);
    }
}

#[test]
fn a_file_is_compared_as_a_whole() {
    let place = Place::new();
    let file = place.path().join(".policy.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, "[[limit]]\nrate = '5/s'\n").unwrap();
    place.ok(&["create", "api", "--rate", "5/s", "--permits", "2"]);
    let other = place.run(&["create", "api", "--from", file]);
    assert_eq!(other.status, 1);
    assert!(other.err.contains("--no-permits"), "{}", other.err);
    let kept = place.ok(&["create", "api", "--from", file, "--keep"]);
    assert!(
        kept.contains("other settings, which are kept, 5/s evenly spaced + at most 2 at a time"),
        "{kept}"
    );
    place.ok(&["set", "api", "--no-permits"]);
    assert!(place.ok(&["create", "api", "--from", file]).contains("already exists, 5/s"));
}

/// An operator opens the limiter up; what starts later and still gives the old rate must not loop in crashes.
#[test]
fn after_a_change_keep_goes_on_with_the_limiter_as_it_is() {
    let place = Place::new();
    let job = ["run", "api", "--rate", "500/s", "--", "true"];
    let keeping = ["run", "api", "--rate", "500/s", "--keep", "--", "true"];
    place.ok(&keeping);
    place.ok(&job);
    place.ok(&["set", "api", "--rate", "900/s"]);
    let refused = place.run(&job);
    assert_eq!(refused.status, 1);
    for words in
        ["--keep", "OnMismatch::Keep", "900/s evenly spaced", "500/s", "shm-limit set api --rate 500/s"]
    {
        assert!(refused.err.contains(words), "{words} is not in: {}", refused.err);
    }
    place.ok(&keeping);
    place.ok(&["acquire", "api", "--rate", "500/s", "--keep"]);
    assert!(place.ok(&["create", "api", "--rate", "500/s", "--seats", "9", "--keep"]).contains("are kept"));
    assert_eq!(place.json(&["inspect", "api", "--json"])["rate"]["text"], "900/s");
    // The advice is true.
    place.ok(&["set", "api", "--rate", "500/s"]);
    place.ok(&job);
    assert_eq!(place.run(&["run", "api", "--keep", "--", "true"]).status, 2);
}

#[test]
fn advice_for_a_mismatch_is_true() {
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
        // There is no room for these, so `set` could not do it.
        (&["--rate", "5/s"], &["--rate", "5/s", "--greedy"], "shm-limit create api --replace"),
        (&["--rate", "5/s"], &["--rate", "5/s", "--rate", "9/m"], "shm-limit create api --replace"),
    ] {
        let place = Place::new();
        let create = |flags: &[&str]| place.run(&[&["create", "api"], flags].concat());
        assert_eq!(create(there).status, 0);
        let refused = create(asked);
        assert!(refused.status == 1 && refused.err.contains(advice), "{advice} is not in: {}", refused.err);
        let mut words: Vec<&str> = advice.split(' ').skip(1).collect();
        if words[0] == "create" {
            // "with all settings"
            words.extend(asked);
        }
        place.ok(&words);
        assert_eq!(create(asked).status, 0, "{advice}");
    }
}

#[test]
fn removing_nothing_gives_no_advice_to_create_it() {
    let place = Place::new();
    for args in [&["remove", "nope"][..], &["remove", "--force", "nope"]] {
        let ended = place.run(args);
        assert_eq!(ended.status, 1);
        assert!(ended.err.contains("nothing to remove") && !ended.err.contains("create"), "{}", ended.err);
    }
}

//! Windows of the calendar, and what is refused in their favour.

mod common;

use common::Sandbox;

const BERLIN: [&str; 6] = ["--rate", "1000/month", "--window", "calendar", "--zone", "europe/berlin"];

#[test]
fn a_calendar_limit_shows_its_zone_and_the_end_of_its_window() {
    let sandbox = Sandbox::new();
    let created = sandbox.ok(&[&["create", "paid"], &BERLIN[..]].concat());
    assert!(created.ends_with("created, 1000/month by the calendar of Europe/Berlin\n"), "{created}");
    sandbox.ok(&["acquire", "paid", "-n", "5"]);
    let page = sandbox.ok(&["inspect", "paid"]);
    assert!(page.contains("995 of 1000 free, 5 used") && page.contains("this window ends 20"), "{page}");
    assert!(page.contains("-01 00:00:00 +0"), "a month ends at midnight in Berlin: {page}");
    let limit = &sandbox.json(&["inspect", "paid", "--json"])["limits"][0];
    assert_eq!((&limit["kind"], &limit["zone"]), (&"calendar-window".into(), &"Europe/Berlin".into()));
    let end = &limit["window_ends"];
    assert!(end["local"].as_str().unwrap().contains("-01T00:00:00+0"), "{end}");
    assert!(end["in_s"].as_f64().unwrap() > 0.0 && end["unix"].as_i64().unwrap() > 1_700_000_000, "{end}");
    let seen = sandbox.json(&["inspect", "paid", "--json"]);
    assert!(seen["clock_set_s"].is_null(), "the clock was not set: {seen}");
    assert!(sandbox.ok(&["list"]).contains("1000/month calendar-window"));
}

#[test]
fn a_used_up_window_is_denied_until_it_ends() {
    let sandbox = Sandbox::new();
    let args = ["acquire", "day", "--rate", "1/day", "--window", "calendar", "--try", "--json"];
    assert_eq!(sandbox.run(&args).status, 0);
    let denied = sandbox.run(&args);
    assert_eq!(denied.status, 75, "{}", denied.err);
    let seen = sandbox.json(&["inspect", "day", "--json"]);
    let (next, end) = (&seen["next_in_s"], &seen["limits"][0]["window_ends"]["in_s"]);
    assert!((next.as_f64().unwrap() - end.as_f64().unwrap()).abs() < 0.001, "{seen}");
}

#[test]
fn the_zone_can_be_changed_and_is_compared() {
    let sandbox = Sandbox::new();
    sandbox.ok(&[&["create", "paid"], &BERLIN[..]].concat());
    let other =
        ["run", "paid", "--rate", "1000/month", "--window", "calendar", "--zone", "Asia/Tokyo", "--", "true"];
    let ended = sandbox.run(&other);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains("shm-limit set paid --zone Asia/Tokyo"), "{}", ended.err);
    let changed = sandbox.ok(&["set", "paid", "--zone", "Asia/Tokyo"]);
    assert!(
        changed.contains("calendar of Asia/Tokyo (was 1000/month by the calendar of Europe/Berlin)"),
        "{changed}"
    );
    sandbox.ok(&other);
    let changed = sandbox.ok(&["set", "paid", "--rate", "9/week"]);
    assert!(changed.contains("9/week by the calendar of Asia/Tokyo"), "{changed}");
    sandbox.ok(&["create", "plain", "--rate", "5/s"]);
    let refused = sandbox.run(&["set", "plain", "--zone", "UTC"]);
    assert!(refused.status != 0 && refused.err.contains("no calendar windows"), "{}", refused.err);
}

#[test]
fn the_zone_of_this_machine_is_shown_by_its_name() {
    let sandbox = Sandbox::new();
    let args = ["create", "here", "--rate", "5/day", "--window", "calendar", "--zone", "local"];
    let output = sandbox.command(&args).env("TZ", "America/New_York").output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("5/day by the calendar of America/New_York"), "{out}");
}

/// The system's data knows one zone only, or none, as in a container. The program has data of its own.
#[test]
fn zones_are_known_without_the_systems_data() {
    let sandbox = Sandbox::new();
    let data = tempfile::tempdir().unwrap();
    // Without a single zone, the directory would be ignored.
    let _ = std::fs::copy("/usr/share/zoneinfo/UTC", data.path().join("UTC"));
    let args = [&["create", "paid"], &BERLIN[..]].concat();
    let output = sandbox.command(&args).env("TZDIR", data.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_policy_file_has_calendar_windows() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join(".policy.toml");
    let text = "[[limit]]\nrate = \"5/day\"\nkind = \"calendar-window\"\nzone = \"Asia/Tokyo\"\n\
                [[limit]]\nrate = \"100/month\"\nkind = \"calendar-window\"\nzone = \"Asia/Tokyo\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let created = sandbox.ok(&["create", "quota", "--from", file]);
    assert!(created.contains("5/day by the calendar of Asia/Tokyo + 100/month by"), "{created}");
    std::fs::write(file, text.replacen("Asia/Tokyo", "UTC", 1)).unwrap();
    let refused = sandbox.run(&["create", "other", "--from", file]);
    assert!(refused.err.contains("follow the same time zone"), "{}", refused.err);
}

#[test]
fn what_does_not_follow_the_calendar_is_refused_with_what_does() {
    let sandbox = Sandbox::new();
    for (args, remedy) in [
        (&["--rate", "1000/month", "--window", "fixed"][..], "1000/month, windows from first use"),
        (&["--rate", "1000/week", "--window", "fixed"], "--window calendar"),
        (&["--rate", "9/year", "--window", "fixed"], "--burst 9"),
        (&["--rate", "5/s", "--window", "calendar"], "--window fixed"),
        (&["--rate", "5/m", "--window", "calendar"], "--window fixed"),
        (&["--rate", "5/2days", "--window", "calendar"], "--window first-use"),
        (&["--rate", "5/year", "--window", "calendar"], "--burst 5"),
        (&["--rate", "5/day", "--zone", "UTC"], "--window calendar"),
        (&["--rate", "5/day", "--window", "calendar", "--zone", "Berlin"], "for example Europe/Berlin"),
        (&["--rate", "5/h", "--window", "calendar", "--zone", "Australia/Lord_Howe"], "windows of a day"),
    ] {
        let refused = sandbox.run(&[&["create", "x"], args].concat());
        assert!(
            [1, 2].contains(&refused.status) && refused.err.contains(remedy),
            "{args:?}: {}",
            refused.err
        );
    }
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0, "a file was created");
    sandbox.ok(&["create", "x", "--rate", "5/day", "--window", "calendar", "--zone", "Australia/Lord_Howe"]);
}

#[test]
fn a_small_sliding_counter_is_noted_when_it_is_created() {
    let sandbox = Sandbox::new();
    let small = ["create", "small", "--rate", "1/s", "--window", "sliding"];
    let created = sandbox.run(&small);
    assert!(created.status == 0 && created.err.contains("only 1/2s of single calls"), "{}", created.err);
    assert!(created.err.contains("--greedy"), "{}", created.err);
    assert!(!sandbox.run(&small).err.contains("single calls"), "only once");
    let changed = sandbox.run(&["set", "small", "--rate", "5/s"]);
    assert!(changed.err.contains("only 4/s"), "{}", changed.err);
    let run = ["run", "new", "--rate", "2/s", "--window", "sliding", "--", "true"];
    assert!(sandbox.run(&run).err.contains("only 1/s"));
    let quiet = ["run", "quiet", "--rate", "2/s", "--window", "sliding", "--quiet", "--", "true"];
    assert_eq!(sandbox.run(&quiet).err, "");
    assert!(
        !sandbox
            .run(&["create", "big", "--rate", "10/s", "--window", "sliding"])
            .err
            .contains("single calls")
    );
}

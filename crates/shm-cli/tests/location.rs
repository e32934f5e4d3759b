//! Where a new limiter is: reported once, when it is created, if that may surprise. In a mount namespace with a `/dev/shm`
//! and a `/run` of its own, so these tests need root.

mod common;

use common::{Sandbox, isolated};

#[test]
fn the_default_directory_is_named_when_a_limiter_is_created_there() {
    let run = "shm-limit run api --rate 5/s --burst 9 -- true";
    let note = "shm-limit: note: limiter \"api\" is created in /dev/shm/shm-limit-0, which is private to user root; \
                another user or directory (--dir, SHM_LIMIT_DIR) has a separate budget\n";
    let Some(said) = isolated(&format!("{run}; {run}; shm-limit run api -- true")) else { return };
    assert_eq!(said, note);
    assert_eq!(isolated("shm-limit create api --rate 5/s; shm-limit create api --rate 5/s").unwrap(), note);
    assert_eq!(isolated("shm-limit reserve api --rate 5/s").unwrap(), note);
    assert_eq!(isolated("shm-limit acquire api --rate 5/s --quiet").unwrap(), "");
}

#[test]
fn a_directory_that_was_chosen_is_named_only_if_asked_for() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&["acquire", "api", "--rate", "5/s"]).err, "");
    let said = sandbox.run(&["acquire", "other", "--rate", "5/s", "--verbose"]).err;
    let expected = format!("shm-limit: note: limiter \"other\" is created in {}\n", sandbox.path().display());
    assert_eq!(said, expected);
    assert_eq!(sandbox.run(&["acquire", "other", "--rate", "5/s", "--verbose"]).err, "");
}

#[test]
fn a_limiter_that_logind_deletes_is_warned_of() {
    let logind = "mkdir -p /run/systemd/system /run/systemd/sessions /run/systemd/logind.conf.d\n";
    let create = "as 65101 shm-limit create api --rate 1/h\n";
    let warning = "systemd-logind deletes limiter \"api\" when the last session of user";
    let Some(said) = isolated(&format!("{logind}{create}{create}as 65101 shm-limit run api -- true")) else {
        return;
    };
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    for harmless in [
        // No logind, a setting that keeps the files, root, and a directory that logind does not look into.
        create.to_owned(),
        format!("{logind}echo RemoveIPC=no > /run/systemd/logind.conf.d/x.conf\n{create}"),
        format!("{logind}shm-limit create api --rate 1/h"),
        format!(
            "{logind}mkdir -m 1777 /run/limits\nas 65101 shm-limit --dir /run/limits create api --rate 1/h"
        ),
    ] {
        let said = isolated(&harmless).unwrap();
        assert!(!said.contains(warning), "{harmless}: {said}");
    }
}

#[test]
fn a_limiter_in_a_containers_own_shm_is_warned_of() {
    let create = "shm-limit create api --rate 1/h";
    let container = "touch /run/.containerenv; umount /dev/shm; mount -t tmpfs shm /dev/shm\n";
    let warning = "is in the /dev/shm of this container";
    let Some(said) = isolated(&format!("{container}{create}")) else { return };
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    let shared = "touch /run/.containerenv\n";
    assert!(!isolated(&format!("{shared}{create}")).unwrap().contains(warning));
    let elsewhere =
        format!("{container}mkdir /run/limits; shm-limit --dir /run/limits create api --rate 1/h");
    assert!(!isolated(&elsewhere).unwrap().contains(warning));
}

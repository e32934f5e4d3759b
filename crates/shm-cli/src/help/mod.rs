//! What `--help` says after the options: examples, exit statuses, JSON. A line has at most 78 columns, so that it also fits
//! on a manual page.

mod ahead;
mod keys;
mod limits;
mod show;
mod take;

pub(crate) use ahead::{CHARGE, RESERVE, SCHEDULE};
pub(crate) use keys::{KEYS, KEYS_TOPIC};
pub(crate) use limits::{CREATE, SET};
pub(crate) use show::{INSPECT, LIST};
pub(crate) use take::{ACQUIRE, HOLD, RUN};

/// `shm-limit --help`.
pub(crate) const TOP: &str = "\
Rates are written MAX/PER: 5/s, 100/10s, 30/1m30s, 2/500ms. Times: 500ms, 30s,
1m30s, 2h.

The limiters of a user are in /dev/shm/shm-limit-UID, so every user has
budgets of its own. To share a budget among users or containers, give all of
them one directory by --dir or SHM_LIMIT_DIR. (cron, systemd and sudo do not
pass that variable on.)

Exit status:
  0         done, or admitted
  1         failed; standard error says why, and what to do next
  2         wrong usage
  75        denied, or the turn would come too late (--denied-status N: N)
  126, 127  run: the command cannot be executed, or does not exist

Colours appear on a terminal only; NO_COLOR=1 turns them off.

A limit for each of many users or addresses: shm-limit help keys

Examples:
  shm-limit create api --rate 100/10s --burst 20
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --timeout 1m -- sendmail -t < letter
  shm-limit run build --permits 4 -- make
  shm-limit run users --keyed --rate 5/s --key=\"$user\" -- ./serve
  xargs -P 16 -a urls -n 1 shm-limit run crawl --rate 2/s -- wget -q
  shm-limit list";

/// `reset --help`.
pub(crate) const RESET: &str = "\
A pause goes on. Waiting callers keep their places in the line.

With --key only this key is reset, of a limiter with limits per key. Until its
old debt has expired, it takes the room of one more key in the table.

Examples:
  shm-limit reset api
  shm-limit reset users --key alice";

/// `pause --help`.
pub(crate) const PAUSE: &str = "\
A pause is never shortened: if one is in progress, the later end counts. After
it ends, admissions resume at the rate; the pause does not build up a burst.

Examples:
  shm-limit pause api 30s
  shm-limit resume api";

/// `resume --help`.
pub(crate) const RESUME: &str = "\
Admissions resume at the rate; the pause does not build up a burst.

Examples:
  shm-limit resume api";

/// `remove --help`.
pub(crate) const REMOVE: &str = "\
Processes that have the limiter open notice at once. Those that opened it with
a rate or permits create it again with their next request, with a new budget;
the requests of the others fail until it exists again. To exchange a limiter
for another one without a gap, use `shm-limit create NAME --replace`.

With --force the file is only deleted: processes that still use it notice
within 0.1 s.

Examples:
  shm-limit remove api
  shm-limit remove --force leftover";

/// `demo --help`.
pub(crate) const DEMO: &str = "\
The demo uses a temporary directory. Half of the processes are forked; the
other half are started as programs and know only the limiter's name. One
process is killed, and one is stopped for a while. Finally every admission is
checked against the limit, over every window of every length.

Exit status:
  0  the limit was kept
  1  it was not, or something failed

Examples:
  shm-limit demo
  shm-limit demo --rate 1000/s --burst 1 --workers 16 --seconds 10";

/// `completions --help`.
pub(crate) const COMPLETIONS: &str = "\
The script completes commands, options, values, and the names of the limiters
in the directory that --dir or SHM_LIMIT_DIR gives. It asks `shm-limit` for
them each time, so it must be on the PATH. After an upgrade, print the script
again.

Examples:
  shm-limit completions bash \\
      > ~/.local/share/bash-completion/completions/shm-limit
  shm-limit completions zsh > ~/.zfunc/_shm-limit
  shm-limit completions fish > ~/.config/fish/completions/shm-limit.fish";

/// `man --help`.
pub(crate) const MAN: &str = "\
Writes shm-limit.1, one page for each command, such as shm-limit-run.1, and
shm-limit-keys.7, and prints their paths. Existing files of these names are
overwritten.

Examples:
  mkdir -p ~/.local/share/man/man1
  shm-limit man ~/.local/share/man/man1
  man shm-limit-run";

/// `help --help`.
pub(crate) const HELP: &str = "\
There is also a topic: `shm-limit help keys` explains limits per key.

Examples:
  shm-limit help
  shm-limit help run
  shm-limit help keys";

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use clap::CommandFactory;

    /// On a terminal of 80 columns a longer line would be broken in the middle of a word.
    #[test]
    fn no_line_after_the_options_is_longer_than_a_manual_page_is_wide() {
        assert!(super::KEYS.lines().all(|line| line.chars().count() <= 78 && line.trim_end() == line));
        let program = Args::command();
        for command in std::iter::once(&program).chain(program.get_subcommands()) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(!text.is_empty() || command.is_hide_set(), "{name} has no examples");
            assert!(text.contains("Examples:\n") || command.is_hide_set(), "{name} has no examples");
            for line in text.lines() {
                assert!(line.chars().count() <= 78, "{name}: {line}");
                assert_eq!(line.trim_end(), line, "{name}");
            }
        }
    }
}

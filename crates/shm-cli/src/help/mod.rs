//! What `--help` says after the options: examples, exit statuses, JSON.

mod limits;
mod show;
mod take;

pub(crate) use limits::{CREATE, SET};
pub(crate) use show::{INSPECT, LIST};
pub(crate) use take::{ACQUIRE, RUN};

/// `shm-limit --help`.
pub(crate) const TOP: &str = "\
Examples:
  shm-limit create api --rate 100/10s --burst 20
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --timeout 1m -- sendmail -t < letter
  shm-limit run build --permits 4 -- make
  xargs -P 16 -a urls -n 1 shm-limit run crawl --rate 2/s -- wget -q
  shm-limit list

Rates are written MAX/PER: 5/s, 100/10s, 30/1m30s, 2/500ms. Times: 500ms, 30s, 1m30s, 2h.

Exit status:
  0   done, or admitted
  1   failed; standard error says why, and what to do next
  2   wrong usage
  75  denied, or the turn would come too late (--denied-status chooses another)
  126, 127  run: the command cannot be executed, or does not exist

Colours appear on a terminal only; NO_COLOR=1 turns them off.";

/// `reset --help`.
pub(crate) const RESET: &str = "\
A pause goes on. Callers that wait keep their places in the line.

Example:
  shm-limit reset api";

/// `pause --help`.
pub(crate) const PAUSE: &str = "\
Never shortens a pause. When it ends, admissions go on at the rate, not in a burst.

Examples:
  shm-limit pause api 30s
  shm-limit resume api";

/// `remove --help`.
pub(crate) const REMOVE: &str = "\
Processes that have it open hear of it at once. Those that opened it with a rate or permits create it
again with their next request, with a new budget; the others fail until it is there again. To exchange
it for another one, use `shm-limit create NAME --replace`, which leaves no gap.

Examples:
  shm-limit remove api
  shm-limit remove --force leftover";

/// `demo --help`.
pub(crate) const DEMO: &str = "\
Uses a directory of its own, which is gone afterwards. Half of the processes are forked, half are
executed and know nothing but the name. On the way one is killed and one is stopped for a while. In the
end every admission is checked against the limit over every window of every length.

Exit status 0: the limit was kept. 1: it was not, or something failed.

Examples:
  shm-limit demo
  shm-limit demo --rate 1000/s --burst 1 --workers 16 --seconds 10";

/// `completions --help`.
pub(crate) const COMPLETIONS: &str = "\
Examples:
  shm-limit completions bash > ~/.local/share/bash-completion/completions/shm-limit
  shm-limit completions zsh > ~/.zfunc/_shm-limit
  shm-limit completions fish > ~/.config/fish/completions/shm-limit.fish";

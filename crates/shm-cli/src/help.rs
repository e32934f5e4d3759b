//! What `--help` says after the options: examples, exit statuses, JSON.

/// `shm-limit --help`.
pub(crate) const TOP: &str = "\
Examples:
  shm-limit create api --rate 100/10s --burst 20
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --timeout 1m -- sendmail -t < letter
  xargs -P 16 -a urls -n 1 shm-limit run crawl --rate 2/s -- wget -q
  shm-limit list

Rates are written MAX/PER: 5/s, 100/10s, 30/1m30s, 2/500ms. Times: 500ms, 30s, 1m30s, 2h.

Exit status:
  0   done, or admitted
  1   failed; standard error says why, and what to do next
  2   wrong usage
  75  denied, or the turn would come too late

Colours appear on a terminal only; NO_COLOR=1 turns them off.";

/// `create --help`.
pub(crate) const CREATE: &str = "\
Succeeds too if the limiter exists with the same rate and burst (and the mode and seats that were
asked for, if any). If it exists with others, it is left alone and the command fails.

Examples:
  shm-limit create api --rate 5/s
  shm-limit create api --rate 100/10s --burst 20
  shm-limit --dir /srv/limits create shared --rate 30/1m30s --mode 660";

/// `list --help`.
pub(crate) const LIST: &str = "\
USED and FREE add up to BURST. QUEUE counts tokens reserved by those who wait. NEXT says after how
long one token would be admitted. PROCS counts the living processes that have it open. STATE is ok,
full, paused, or what is wrong with it; the last is explained on standard error.

With --json: an array of the objects that `shm-limit inspect --json` prints, without `attached`.

Examples:
  shm-limit list
  watch -n 1 shm-limit list
  shm-limit list --json | jq -r '.[] | select(.available == 0) | .name'";

/// `inspect --help`.
pub(crate) const INSPECT: &str = "\
With --json, an object with these fields. Fields are only ever added.
  name, path, directory
  health           \"ok\", or what is wrong: \"corrupt\", \"not_a_limiter\", \"incompatible\",
                   \"other_clock\", \"untrusted\", \"permission_denied\", \"failed\"
  problem          null, or what is wrong and what to do next; all that follows is absent then,
                   and the exit status is 1
  rate             {max, per_s, text}: at most max per per_s seconds
  burst            tokens that may pass at one instant
  available, used  tokens free now, and burst minus that
  queued           tokens reserved by those who wait
  next_in_s        seconds until one token would be admitted
  paused_for_s     seconds until a pause ends, or null
  admitted, tokens, denied, waited, waited_total_s
                   requests admitted, tokens they took, requests denied, requests that waited, and
                   for how many seconds altogether; since the limiter was created
  seats            how many processes can be told apart
  attached         a list of {pid, foreign_pid, command, seat, since_s, admitted, denied, waited};
                   foreign_pid: the pid is one of another PID namespace
  mode, owner_uid, bytes
                   of the file; mode in octal as text
  age_s, created_unix, changes
                   seconds since it was created; that as a Unix time; how often it was changed,
                   paused, resumed or reset

Examples:
  shm-limit inspect api
  shm-limit inspect api --json | jq .next_in_s";

/// `set --help`.
pub(crate) const SET: &str = "\
What was used stays used, up to a full burst; those who wait ask again under the new rate.

Examples:
  shm-limit set api --rate 50/s
  shm-limit set api --rate 1000/m --burst 100";

/// `reset --help`.
pub(crate) const RESET: &str = "\
A pause goes on. Those who wait ask again.

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
Everyone who has it open, or waits, gets an error; the next who opens the name makes a new one.

Examples:
  shm-limit remove api
  shm-limit remove --force leftover";

/// `acquire --help`.
pub(crate) const ACQUIRE: &str = "\
Admitted: prints nothing, exit status 0. Denied or too late: prints after how many seconds to try
again (sleeping for that long is enough, if nobody else asks), exit status 75. A signal while it waits
gives the turn back.

With --json, an object with these fields, also when denied. Fields are only ever added.
  name, path       of the limiter
  outcome          \"admitted\" or \"denied\"
  tokens           how many were asked for
  waited_s         seconds waited for the turn; 0 if none, or denied
  retry_after_s    null, or after how many seconds to try again
  at_ns            the instant the tokens are for, in nanoseconds of CLOCK_BOOTTIME; null if denied

Examples:
  shm-limit acquire api && curl -sS https://example.com/
  shm-limit acquire api --try || echo busy
  until after=$(shm-limit acquire api --try); do sleep $after; done
  shm-limit acquire tokens --rate 1000/m --burst 500 -n 350 --timeout 10s --json";

/// `run --help`.
pub(crate) const RUN: &str = "\
The command takes this process's place (exec), so its exit status and signals are its own, and standard
output is all its own. Denied or too late: standard error says so, exit status 75, and the command is
not run. A signal while it waits gives the turn back. Exit status 127: there is no such command; 126: it
can't be executed. The turn is used then all the same.

Examples:
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s -- sendmail -t < letter
  seq 100 | xargs -P 16 -I{} shm-limit run crawl --rate 2/s -- wget -q https://example.com/{}
  */5 * * * *  shm-limit run backup --rate 1/h --try -- /usr/local/bin/backup";

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

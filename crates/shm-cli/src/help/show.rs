//! What is shown: `list` and `inspect`, and the JSON of both.

/// `list --help`.
pub(crate) const LIST: &str = "\
Of several limits the one that is nearest to full is shown; +2 says that there are two others, and -
that the limiter has permits and no limit. USED
and FREE add up to BURST, the most that may pass at one instant. QUEUE counts what is reserved by
those who wait. NEXT says after how long one more would be admitted. PERMITS says how many are held,
of how many. PROCS counts the living processes that have it open. STATE is ok, full (a limit, or the
permits), paused, or what is wrong with it; the last is explained on standard error. In shadow
nobody is denied.

With --json: an array of the objects that `shm-limit inspect --json` prints, without `attached`.

Examples:
  shm-limit list
  watch -n 1 shm-limit list
  shm-limit list --json | jq -r '.[] | select(.full) | .name'";

/// `inspect --help`.
pub(crate) const INSPECT: &str = "\
With --json, an object with these fields. Fields are only ever added.
  name, path, directory
  health           \"ok\", or what is wrong: \"corrupt\", \"not_a_limiter\", \"incompatible\",
                   \"other_clock\", \"unsupported\", \"untrusted\", \"permission_denied\",
                   \"failed\"
  problem          null, or what is wrong and what to do next; all that follows is absent then,
                   and the exit status is 1
  full             whether nothing would be admitted now
  shadow           whether it denies nobody
  limits           a list of {text, unit, kind, rate, burst, start, guard_s, available, used,
                   queued, next_in_s}, in the order of `set --limit`
    unit           \"calls\", or what it counts
    kind           \"bucket\", \"greedy\", \"fixed-window\", \"sliding-counter\"
    rate           {max, per_s, text}: at most max per per_s seconds
    burst          how many may pass at one instant
    start          of fixed windows: \"epoch\" or \"first-use\"; otherwise null
    guard_s        seconds by which a greedy limit's window is longer
    available      how many are free now
    used           how many of the burst are used
    queued         how many are reserved by those who wait
    next_in_s      seconds until one more would be admitted
  tightest         which of them is nearest to full, from 1; null if there is no limit
  rate, burst, available, used, queued
                   of the tightest limit, often the only one; null if there is no limit
  next_in_s        of the tightest limit; without a limit, seconds until a pause ends, or 0
  permits          null, or {max, held, holders}; holders is a list of {seat, pid, held}
  max_waiters      null, or how many requests may wait
  paused_for_s     seconds until a pause ends, or null
  admitted, tokens, denied, waited, waited_total_s
                   requests admitted, calls they were for, requests denied, requests that waited,
                   and for how many seconds altogether; since the limiter was created
  seats            how many processes can be told apart
  attached         a list of {pid, foreign_pid, command, seat, since_s, admitted, denied, waited,
                   permits}; foreign_pid: the pid is one of another PID namespace; permits: how many
                   it holds
  mode, owner_uid, group_gid, bytes
                   of the file; mode in octal as text
  age_s, created_unix, changes
                   seconds since it was created; that as a Unix time; how often it was changed,
                   paused, resumed or reset

Examples:
  shm-limit inspect api
  shm-limit inspect api --json | jq .next_in_s
  shm-limit inspect model --json | jq '.limits[] | {unit, available}'";

//! What is shown: `list` and `inspect`, and the JSON of both.

/// `list --help`.
pub(crate) const LIST: &str = "\
Of several limits the one that is nearest to full is shown; +2 says that there are two others, and -
that the limiter has permits and no limit. The columns:
  BURST    the most that may pass at one instant. Except in a pause, USED and FREE add up to it
  QUEUE    how many callers wait, of all living processes, for the limits or for a permit;
           `shm-limit inspect` lists them
  NEXT     after how long the limits admit one more call. Callers that wait come first
  PERMITS  how many permits are held, of how many
  PROCS    how many living processes have used the limiter and still have it open
  STATE    ok, full (a limit, or the permits), paused, or what is wrong with it; the last is
           explained on standard error. In shadow no caller is denied

With --json: an array of the objects that `shm-limit inspect --json` prints, without `attached` and
`waiting`.

Examples:
  shm-limit list
  watch -n 1 shm-limit list
  shm-limit list --json | jq -r '.[] | select(.callers_waiting > 10) | .name'
  shm-limit list --json | jq -r '.[] | select(.full) | .name'";

/// `inspect --help`.
pub(crate) const INSPECT: &str = "\
`queue` lists the living processes that have callers in the line, in order of arrival: position, PID,
command, for how long its first caller has waited, how many of its callers wait, and what the first
of them asks for. All callers of all processes stand in one line, for limits and for permits. A
process is late if it was not awake when it should have been: it is stopped, or gets no processor.
Callers behind it are served meanwhile, and it keeps its place.

`charged ahead` says how many calls a limit has charged already for an instant to come: the next
turns of callers that wait, and what was reserved, scheduled or charged as a debt.

With --json, an object with these fields. Fields are only ever added.
  name, path, directory
  health           \"ok\", or what is wrong: \"corrupt\", \"not_a_limiter\", \"incompatible\",
                   \"other_clock\", \"unsupported\", \"untrusted\", \"permission_denied\",
                   \"failed\"
  problem          null, or what is wrong and what to do next; all that follows is absent then,
                   and the exit status is 1
  full             whether nothing would be admitted now
  shadow           whether it denies no caller
  limits           a list of {text, unit, kind, rate, burst, start, guard_s, available, used,
                   charged_ahead, next_in_s}, in the order of `set --limit`
    unit           \"calls\", or what it counts
    kind           \"bucket\", \"greedy\", \"fixed-window\", \"sliding-counter\"
    rate           {max, per_s, text}: at most max per per_s seconds
    burst          how many may pass at one instant
    start          of fixed windows: \"epoch\" or \"first-use\"; otherwise null
    guard_s        seconds by which a greedy limit's window is longer
    available      how many are free now
    used           how many of the burst are used
    charged_ahead  how many are charged already for an instant to come: the next turns of callers
                   that wait, reservations, schedules, debts
    next_in_s      seconds until the limit admits one more
  tightest         which of them is nearest to full, from 1; null if there is no limit
  rate, burst, available, used, charged_ahead
                   of the tightest limit, often the only one; null if there is no limit
  next_in_s        of the tightest limit; without a limit, seconds until a pause ends, or 0
  permits          null, or {max, held, holders}; holders is a list of {seat, pid, held}
  max_waiters      null, or how many callers may wait at a time
  callers_waiting  how many callers of living processes wait
  waiting          a list of {position, pid, foreign_pid, command, since_s, callers, asks, late}: the
                   processes that have callers in the line, in order
    position       from 1
    since_s        for how many seconds its first caller has waited
    callers        how many of its callers wait
    asks           what the first of them asks for, for example {\"calls\": 1}; empty if there are
                   only permits
    late           whether it was not awake in time and is passed over
  unordered        callers that found no place in the line since the limiter was created, and waited
                   for one outside of it: more processes waited than there are places, two for each
                   seat
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

//! What is shown: `list` and `inspect`, and the JSON of both.

/// `list --help`.
pub(crate) const LIST: &str = "\
Of several limits the tightest is shown, the one that is nearest to full; +2
says that there are two others, and - that the limiter has permits and no
limit. The columns:
  LIMIT    the limit; without a kind it is a bucket
  BURST    the most that may pass at one instant. Except in a pause, USED and
           FREE add up to it
  QUEUE    number of waiting callers, in all living processes, for the limits
           or for a permit; `shm-limit inspect` lists them
  NEXT     after how long the limits admit one more call; waiting callers
           come first
  PERMITS  held permits/all permits
  KEYS     how full the table of keys is, estimated; shown if any limiter has
           limits per key. LIMIT and BURST are then those of each key, QUEUE,
           NEXT and PERMITS those of all keys together
  PROCS    number of living processes that have used the limiter and still
           have it open, except for those that only wait for a key
  STATE    ok, full (a limit, or the permits), paused, near capacity (the
           table of keys, from 85% on), table full (in the last minute,
           the table was too full for new keys), or what is wrong with the
           limiter, which standard error explains. In shadow mode no request
           is denied. With limits per key, ok and full say nothing of a
           single key: see `shm-limit inspect NAME --key KEY`

If a limiter cannot be read, it is shown with what is wrong, and the exit
status is 0 all the same.

With --json: an array of the objects that `shm-limit inspect --json` prints,
without `attached`, `waiting` and `most_denied`. If the directory cannot be
read, nothing is printed on standard output, and the exit status is 1.

Examples:
  shm-limit list
  watch -n 1 shm-limit list
  shm-limit list --json | jq -r '.[] | select(.full) | .name'
  shm-limit list --json | jq '.[] | select(.callers_waiting > 10) | .name'
  shm-limit list --json | jq '.[] | select(.keys.warning) | .name'";

/// `inspect --help`.
pub(crate) const INSPECT: &str = "\
`queue` lists the living processes that have waiting callers, in order of
arrival: position, PID, command, how long the first caller has waited, the
number of callers, and what the first of them asks for. All callers of all
processes stand in one line, for limits and for permits; only callers that
wait for a limit per key stand in no line, and are not listed. A process is
late if it did not wake up in time: it is stopped, or gets no processor.
Callers behind it are served meanwhile, and it keeps its place.

`charged ahead` is what a limit has charged already for an instant to come:
the next turns of waiting callers, reservations, schedules, and debts.

Of a limiter with limits per key, `keys` is the number of keys that owe
something, of the capacity. If it is too large, `warning` says so, and which
command replaces the limiter by a larger one. `top` are the keys that were
denied most in the last minute: a sample, in which a key with a few per cent
of all denials is found. --top N shows N of them. --key shows what one key has
used. See `shm-limit help keys`.

With --json, an object with these fields. Fields are only ever added.
  name, path, directory
  health           \"ok\", or what is wrong: \"not_found\", \"corrupt\",
                   \"not_a_limiter\", \"incompatible\", \"other_clock\",
                   \"unsupported\", \"untrusted\", \"permission_denied\",
                   \"failed\"
  problem          null, or what is wrong and what to do next; all fields
                   below are absent then, and the exit status is 1
  full             whether no request would be admitted now
  shadow           whether no request is denied (shadow mode)
  limits           a list of objects, in the order of `set --limit`:
    text           the limit in words
    unit           \"calls\", or what the limit counts
    kind           \"bucket\", \"greedy\", \"fixed-window\",
                   \"calendar-window\", \"sliding-counter\"
    rate           {max, per_s, text}: at most max per per_s seconds
    burst          the most that may pass at one instant
    start          of fixed windows: \"epoch\" or \"first-use\"; otherwise null
    zone           of calendar windows: the time zone; otherwise null
    window_ends    when the current window ends, if windows follow the wall
                   clock: {local, unix, in_s}; otherwise null
    guard_s        seconds by which a greedy limit's window is longer
    available      how much is free now
    used           how much of the burst is used
    charged_ahead  how much is charged already for an instant to come
    next_in_s      seconds until the limit admits one more
  tightest         number of the limit that is nearest to full, from 1; null
                   if there is no limit
  rate, burst, available, used, charged_ahead
                   of the tightest limit, often the only one; null if there
                   is no limit
  next_in_s        of the tightest limit; without a limit, seconds until a
                   pause ends, or 0
  keys             null, or of a limiter with limits per key an object:
    limits         the limits per key: a list of {text, unit, kind, rate,
                   burst, start}. (`limits` above are those of all keys)
    capacity       how many keys can owe something at a time
    live           how many do, estimated
    fill           live/capacity: more than 1 if there are too many
    warning        null, \"near_capacity\" or \"table_full\"
    advised_capacity
                   null, or with a warning the capacity to choose
    memory_bytes, memory_max_bytes
                   the memory that the table has got, and can get
    forgotten      {last_minute, total}: keys that were forgotten before they
                   had recovered
    new_keys_denied
                   {last_minute, total}: new keys that were denied because the
                   table was too full
    refuses_new_keys, hides_names
                   the settings
    most_denied    a list of {key, last_minute}, at most --top: the parts of
                   the key, of which 48 bytes are known, and its denials
  permits          null, or {max, held, holders}; holders is a list of
                   {seat, pid, held}
  max_waiters      null, or the number of callers that may wait at a time
  callers_waiting  number of waiting callers of living processes
  waiting          a list of objects, the processes that have waiting
                   callers, in order of arrival:
    position       from 1
    pid, foreign_pid, command
                   the process; foreign_pid: the PID is one of another PID
                   namespace
    since_s        for how many seconds its first caller has waited
    callers        number of its waiting callers
    asks           what the first of them asks for, for example
                   {\"calls\": 1}; empty if there are only permits
    late           whether it did not wake up in time and is passed over
  unordered        number of callers that found no place in the line since
                   the limiter was created, and waited outside of it, because
                   more processes waited than there are places (two a seat)
  paused_for_s     seconds until a pause ends, or null
  admitted, calls, denied, waited, waited_total_s
                   admitted requests, calls they were for, denied requests,
                   requests that waited, and for how many seconds altogether;
                   since the limiter was created
  seats            number of processes that can be attached at a time
  attached         a list of {pid, foreign_pid, command, seat, since_s,
                   admitted, denied, waited, permits}: the living processes
                   that have the limiter open, and how many permits each holds
  mode, owner_uid, group_gid, bytes
                   of the file; mode in octal as text
  age_s, created_unix, changes
                   seconds since the limiter was created; that instant as a
                   Unix time; number of changes, pauses, resumptions and
                   resets
  clock_set_s      seconds since the last change, if it was made because the
                   host's wall clock was set; otherwise null. Windows follow
                   that clock. Windows in which it was before count as full

With --json and --key, an object with name, path, directory, health, problem
and these fields:
  key              the parts of the key
  known            whether the key is in the table. If not, and it has used
                   something all the same, that is what it would inherit from
                   another key, since the table is too full
  limits           the limits per key as above, each with available, used (at
                   most the burst), charged_ahead (beyond the burst: a debt)
                   and next_in_s of this key
  all_keys         the limits of all keys, as `limits` above
  next_in_s        seconds until all of them admit one more call of this key
  permits, shadow, paused_for_s
                   as above

Examples:
  shm-limit inspect api
  shm-limit inspect users --top 20
  shm-limit inspect users --key alice
  shm-limit inspect api --json | jq .next_in_s
  shm-limit inspect model --json | jq '.limits[] | {unit, available}'";

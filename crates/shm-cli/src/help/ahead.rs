//! `charge`, `reserve` and `schedule`.

/// `charge --help`.
pub(crate) const CHARGE: &str = "\
Nothing is denied now; the requests that come later are delayed, as if this
much had been reserved. All of it is charged, or nothing if requests would
then be denied for more than a year.

Without -n and --take one call is charged. With --take only the named units
are charged, unless -n says a number of calls as well.

What another process acquired can be charged for afterwards, but not given
back: only the process that was admitted can do that. If a cost is known only
at the end, acquire an estimate by `shm-limit run --settle`.

The limiter must exist, unless --rate or --permits say how to create it:
`shm-limit create --help`.

With --key the key is charged, and the limits of all keys are not.

Examples:
  shm-limit charge login -n 3
  shm-limit charge logins --key alice
  shm-limit charge model --take tokens=850";

/// `reserve --help`.
pub(crate) const RESERVE: &str = "\
Prints in how many seconds the turn is; sleeping for that long is enough. The
turn comes after all turns that are charged already, and before those of
callers that merely wait in the line.

The turn is taken for good: later changes, pauses and resets do not move it,
and it cannot be given back, because this process has ended by then. If the
script does not use it, it passes unused. To wait in the line instead, and to
obey changes, use `shm-limit acquire` or `shm-limit run`.

A reservation has no permit, since a permit is held by a process. A limiter
with permits only has no turns, nor has one with limits per key.

With --json, an object with these fields. Fields are only ever added.
  name, path  of the limiter
  at_ns       the instant of the turn, in nanoseconds of CLOCK_BOOTTIME; null
              if the command failed
  wait_s      in how many seconds that is, or null
  error       null, or why the command failed, in one word
  problem     the same as a sentence, with what to do next

Examples:
  sleep \"$(shm-limit reserve api)\" && curl -sS https://example.com/
  shm-limit reserve model --take tokens=500 --json";

/// `schedule --help`.
pub(crate) const SCHEDULE: &str = "\
Prints in how many seconds each of the turns is, counted from now, one a line.
The turns are like those of `shm-limit reserve`: taken for good, without a
permit, and they cannot be given back. A limiter with limits per key has none.

The turns are taken in one step, except from a greedy limit: there other
callers may come in between.

With --json, an object with these fields. Fields are only ever added.
  name, path  of the limiter
  turns       a list of {at_ns, wait_s}: the instant of each turn, in
              nanoseconds of CLOCK_BOOTTIME, and in how many seconds it is;
              empty if the command failed
  error       null, or why the command failed, in one word
  problem     the same as a sentence, with what to do next

Examples:
  for wait in $(shm-limit schedule api --requests 3); do
      (sleep $wait; curl -sS https://example.com/) &
  done; wait";

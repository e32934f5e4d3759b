//! What limits and permits there are: `create` and `set`.

/// `create --help`.
pub(crate) const CREATE: &str = "\
Up to four limits, one for each --rate; a request passes all of them or takes
nothing. Options of a limit stand after its --rate:
  --burst N           N at one instant after a quiet time, MAX per PER on
                      average (a token bucket)
  --greedy            at most MAX in any window of PER, as fast as possible
  --window fixed      at most MAX per window, one window after the other by
                      the host's wall clock: windows of 1m begin with the
                      minute, days at midnight UTC; at most a day
  --window first-use  the same, but a window begins with the first call after
                      the last window ended
  --window calendar   at most MAX per h, day, week (from Monday) or month of
                      the calendar, in the time zone of --zone
  --zone NAME         with --window calendar: a time zone, for example
                      Europe/Berlin, or local for this machine's; if left
                      out: UTC
  --window sliding    an estimate over a sliding window, in a few bytes for
                      any MAX; admits at most MAX - 1 per PER under constant
                      demand, so not for a small MAX
  --unit UNIT         counts not calls but the amounts of --take UNIT=AMOUNT
  --guard TIME        with --greedy: the limit is also kept if callers are
                      late by up to TIME
With --permits N at most N run at once; without a --rate, nothing else limits
them.
With --max-waiters N at most N callers wait, in all processes together; with
0 no caller waits.
With --keyed each --rate is a limit per key, for example per user: a bucket,
--window fixed or --window sliding. --all-rate and --permits then limit all
keys together, and --max-waiters also bounds the callers of each process that
wait for one key. See `shm-limit help keys`.

The same in a file for --from (or as JSON, in a file that ends in .json):
  permits = 2                    # none if left out
  max_waiters = 100              # any number may wait if left out
  shadow = false
  [[limit]]                      # may be left out if there are permits
  rate = \"500/m\"
  kind = \"greedy\"                # bucket (if left out), greedy,
                                 # fixed-window, calendar-window,
                                 # sliding-counter
  guard = \"50ms\"                 # greedy only
  [[limit]]
  rate = \"200000/m\"
  burst = 1000                   # bucket only; if left out: 1 for calls, MAX
                                 # for a unit
  unit = \"tokens\"                # calls if left out
  [[limit]]
  rate = \"10000/1day\"
  kind = \"fixed-window\"
  start = \"epoch\"                # fixed-window only: epoch (if left out),
                                 # first-use
  [[limit]]
  rate = \"100000/month\"          # h, day, week or month
  kind = \"calendar-window\"
  zone = \"Europe/Berlin\"         # calendar-window only; UTC if left out

Limits per key in such a file; each [[limit]] is then one of all keys:
  [keys]
  refuse_new = false             # --refuse-new-keys
  hide_names = false             # --hide-names
  [[keys.limit]]
  rate = \"5/s\"
  burst = 10
  [[keys.limit]]
  rate = \"1000/h\"
  kind = \"sliding-counter\"
  [[limit]]
  rate = \"2000/s\"
  burst = 100

If the limiter exists, every setting that is given is compared with it, and
none that is left out: `create api --rate 5/s` also succeeds if api has a
burst, permits or a second limit. A file is compared as a whole. If a setting
differs, the limiter is not changed and the command fails; with --keep it
succeeds.

With --replace a new limiter takes the place of the existing one, for example
with more --seats or of another kind, which `shm-limit set` cannot do.
Processes that have the old one open go over to the new one, waiting callers
included. Usage and held permits do not count for the new one.

In a directory where every user can create files (such as /tmp), the modes 660
and 666 are refused, unless root or the directory's owner creates the limiter:
other users would not trust the file. A group shares a directory made by:
install -d -m 2770 -g GROUP DIR

Examples:
  shm-limit create api --rate 5/s
  shm-limit create api --rate 100/10s --burst 20
  shm-limit create quota --rate 1000/day --window calendar --zone local
  shm-limit create downloads --permits 3
  shm-limit create model --rate 500/m --greedy \\
      --rate 200000/m --unit tokens --permits 8
  shm-limit create model --from policy.toml
  shm-limit create users --keyed --rate 5/s --burst 10 --capacity 1000000
  shm-limit create api --rate 5/s --keep
  shm-limit create api --rate 5/s --seats 1000 --replace
  shm-limit --dir /srv/limits create shared --rate 30/1m30s --mode 660";

/// `set --help`.
pub(crate) const SET: &str = "\
Unspecified settings are kept. Usage is kept too, up to a full burst; waiting
callers keep their places in the line, under the new limits. If there are
fewer permits than before, no process loses one: the next request gets one
when enough are free.

With --rate a limit keeps its burst, except if it counts a unit and its burst
is MAX, which is the default for units: then the burst becomes the new MAX.
--burst chooses another.

Windows of the calendar change their time zone by --zone. Any change looks up
the offsets of their zone again, for example after an update of the system's
time zone data.

A limit keeps its usage if the limit of the same number counted the same unit
before. Usage of a limit that --from leaves out is lost, which standard error
reports; if such a limit is put back later, its usage starts at zero.

--rate adds a limit to a limiter with permits only, and --no-rate removes all
limits again. A limiter has room for 64 permits, or for as many as it was
created with if that is more. A limiter that was created for one bucket or for
permits has no room for other kinds and more limits: put a new one in its
place by `shm-limit create NAME --replace`.

If the limiter has limits per key, --rate, --burst and --limit change those,
for all keys at once, and --all-rate, --all-burst and --all-limit those of all
keys together. What a key owes stays owed. The number of limits per key, their
kinds, the lengths of their windows and the capacity cannot be changed: put a
new limiter in its place.

Examples:
  shm-limit set api --rate 50/s
  shm-limit set api --rate 1000/m --burst 100
  shm-limit set model --limit 2 --rate 300000/m
  shm-limit set model --permits 4 --no-shadow
  shm-limit set model --max-waiters 100
  shm-limit set quota --zone America/New_York
  shm-limit set users --rate 10/s --all-rate 3000/s
  shm-limit set model --from policy.toml";

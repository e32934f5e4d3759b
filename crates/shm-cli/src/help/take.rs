//! Taking: `acquire` and `run`.

/// `acquire --help`.
pub(crate) const ACQUIRE: &str = "\
Admitted: prints nothing, exit status 0. Denied or too late: prints after how many seconds to try
again (sleeping for that long is enough, if nobody else asks), exit status 75. A signal while it
waits gives the turn back.

With --rate or --permits the limiter is created if it does not exist. If it exists, it must have the
settings that are given; others it may have as well. After `shm-limit set` has changed it, a command
that still gives the old rate fails, unless it also gives --keep, which takes the limiter as it is.
`shm-limit create --help` explains the settings.

If the limiter has permits, this takes one and gives it back at once, when it exits. To hold one
while something runs, use `shm-limit run`. If all are held nobody knows for how long; then it prints
0.1 s.

If it counts units, say how much of each by --take.

With --json, an object with these fields, also when denied. Fields are only ever added.
  name, path       of the limiter
  outcome          \"admitted\" or \"denied\"
  tokens           for how many calls
  units            how much of which unit: {\"tokens\": 500}
  waited_s         seconds waited for the turn; 0 if none, or denied
  denied_by        null, or \"limits\", \"pause\" (of a limiter without a rate), \"permits\" or
                   \"line\" (as many requests wait as may wait)
  retry_after_s    null, or after how many seconds to try again; null also if denied by permits
                   or by the line
  shadowed         whether it was admitted only because the limiter is in shadow
  at_ns            the instant it is for, in nanoseconds of CLOCK_BOOTTIME; null if denied

Examples:
  shm-limit acquire api && curl -sS https://example.com/
  shm-limit acquire api --try || echo busy
  until after=$(shm-limit acquire api --try); do sleep $after; done
  shm-limit acquire model --take tokens=350 --timeout 10s --json";

/// `run --help`.
pub(crate) const RUN: &str = "\
The command takes this process's place (exec), so its exit status and signals are its own, and
standard output is all its own. Denied or too late: standard error says so, exit status 75, and the
command is not run. A signal while it waits gives the turn back. Exit status 127: there is no such
command; 126: it can't be executed. The turn is used then all the same.

If the limiter has permits, this process stays and holds one until the command ends. Each signal
reaches the command once: this process passes on what was sent to it alone (all but faults, STOP,
TSTP, TTIN, TTOU, CHLD and PIPE, within 0.1 s), and not what its process group got anyway, as by
Ctrl-C or timeout(1). It ends as the command ends. If it is killed (KILL), its permit is free again,
and the command goes on without one: to end both, send TERM.

With --rate or --permits the limiter is created if it does not exist. If it exists, it must have the
settings that are given; others it may have as well. After `shm-limit set` has changed it, a command
that still gives the old rate fails, unless it also gives --keep, which takes the limiter as it is.
`shm-limit create --help` explains the settings. If it counts units, say how much by --take.

Examples:
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --keep -- sendmail -t < letter
  shm-limit run build --permits 4 -- make
  shm-limit run model --take tokens=500 -- ./ask
  seq 100 | xargs -P 16 -I{} shm-limit run crawl --rate 2/s -- wget -q https://example.com/{}
  */5 * * * *  shm-limit run backup --rate 1/h --keep --try -- /usr/local/bin/backup";

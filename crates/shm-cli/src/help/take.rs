//! Taking: `acquire` and `run`.

/// `acquire --help`.
pub(crate) const ACQUIRE: &str = "\
Admitted: prints nothing, exit status 0. Denied or too late: prints after how many seconds to try
again (sleeping for that long is enough, if no other process asks), exit status 75. On an error
(status 1 or 2, for example if the limiter does not exist) it prints nothing on standard output, so
a loop must go on after 75 only. --quiet prints nothing when denied, and --denied-status chooses
another status than 75.

While it waits it stands in one line with the callers of all processes, in order of arrival. If it
leaves, at its deadline or by any signal, it takes nothing along: those behind it move up.

With --rate or --permits the limiter is created if it does not exist. If it exists, it must have the
settings that are given; others it may have as well. After `shm-limit set` has changed it, a command
that still gives the old rate fails, unless it also gives --keep, which takes the limiter as it is.
`shm-limit create --help` explains the settings.

If the limiter has permits, this takes one and gives it back at once, when it exits. To hold one
while something runs, use `shm-limit run`. If all are held, it is not known for how long; then it
prints 0.1 s.

--max-waiters is a setting of the limiter and not of this call: a new limiter gets it, and one that
exists must have it, as with --permits. `shm-limit set` changes it.

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
  until after=$(shm-limit acquire api --try); do [ $? = 75 ] || exit; sleep $after; done
  shm-limit acquire model --take tokens=350 --timeout 10s --json";

/// `run --help`.
pub(crate) const RUN: &str = "\
The command takes this process's place (exec), so its exit status and signals are its own, and
standard output is all its own. Denied or too late: standard error says so (not with --quiet), the
command is not run, and the exit status is 75. The command may exit with 75 itself: to tell the two
apart, or to let a denial be no failure, choose another status by --denied-status. Exit status 127: there is no such command; 126: it can't be executed. The turn is
used then all the same.

While it waits it stands in one line with the callers of all processes, in order of arrival. If it
leaves, at its deadline or by any signal, it takes nothing along: those behind it move up.

If the limiter has permits, this process stays and holds one until the command ends. Each signal
reaches the command once: this process passes on what was sent to it alone (all but faults, STOP,
TSTP, TTIN, TTOU, CHLD and PIPE, within 0.1 s), and not what its process group got anyway, as by
Ctrl-C or timeout(1). It ends as the command ends. If it is killed (KILL), which no process can pass
on, its permit is free again, and the command goes on without one: to end both, send TERM, or give
--kill-with-me, with which the kernel kills the command as well (but not what the command started,
nor a command that is setuid).

With --rate or --permits the limiter is created if it does not exist. If it exists, it must have the
settings that are given; others it may have as well. After `shm-limit set` has changed it, a command
that still gives the old rate fails, unless it also gives --keep, which takes the limiter as it is.
`shm-limit create --help` explains the settings. --max-waiters is one of them: a new limiter gets it,
and one that exists must have it. If it counts units, say how much by --take.

Examples:
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --keep -- sendmail -t < letter
  shm-limit run build --permits 4 -- make
  shm-limit run model --take tokens=500 -- ./ask
  seq 100 | xargs -P 16 -I{} shm-limit run crawl --rate 2/s -- wget -q https://example.com/{}
  */5 * * * *  shm-limit run backup --rate 1/h --keep --try --quiet -- /usr/local/bin/backup";

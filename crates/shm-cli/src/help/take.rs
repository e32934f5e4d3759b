//! `acquire`, `run` and `hold`.

/// `acquire --help`.
pub(crate) const ACQUIRE: &str = "\
If the request is admitted, nothing is printed and the exit status is 0. If it
is denied or the turn would come too late, the number of seconds after which
to try again is printed (sleeping for that long is enough, if no other process
asks), and the exit status is 75. After an error (status 1 or 2, for example
if the limiter does not exist) nothing is printed on standard output, so a
loop must go on after 75 only. --quiet prints nothing when denied, and
--denied-status chooses another status than 75.

All waiting callers of all processes stand in one line, in order of arrival. A
caller that leaves the line, at its deadline or by a signal, takes nothing;
those behind it move up.

With --rate or --permits the limiter is created if it does not exist. If it
exists, it must have the settings that are given; it may have others as well.
After `shm-limit set` has changed a limiter, a command that still gives the
old rate fails. With --keep it uses the limiter as it is. The settings are
explained by `shm-limit create --help`. --max-waiters is such a setting: it
belongs to the limiter, not to this request. --capacity, --seats and --mode
count only if the limiter is created.

If the limiter has permits, this command takes one and gives it back when it
exits, which is at once. To hold one, use `shm-limit run` or `shm-limit hold`.
When a permit will be free is not known, so if all are held, 0.1 is printed.
The same holds if no seat became free within --timeout (see --seats in
`shm-limit create --help`), and if the table of keys refuses a new key.
Without a timeout the command waits for a seat, and with --try it fails with
status 1.

If the limiter counts units, give the amount of each by --take. If it has
limits per key, name the key by --key: `shm-limit help keys`.

If the limiter cannot decide (it does not exist, is damaged, or cannot be
opened), the command fails with status 1. --fail-open goes on as if admitted;
--fail-closed denies the request. Both still report the error. A wrong request
is an error in any case.

With --json, an object with these fields, also if the request is denied or the
command fails (but not if the command line is wrong). Fields are only ever
added.
  name, path       of the limiter
  outcome          \"admitted\", \"denied\" or \"failed\"
  key              null, or the parts of the key
  calls            number of calls that were asked for
  units            amounts of units that were asked for: {\"tokens\": 500}
  waited_s         seconds waited for the turn; 0 if none, or denied
  denied_by        null, or \"limits\", \"pause\" (of a limiter without a rate),
                   \"permits\", \"line\" (as many requests wait as may wait),
                   \"unavailable\" (--fail-closed, or no seat became free within
                   --timeout), \"key\" (a limit per key, or a pause), or
                   \"table\" (the table of keys is too full for a new key)
  denied_limit     null, or the number of the limit that denied it, from 1, as
                   `shm-limit inspect` counts them
  retry_after_s    null, or after how many seconds to try again; null also
                   if denied by permits or by the line, and if a new key is
                   refused
  shadowed         whether the request was admitted only because the limiter
                   is in shadow mode
  at_ns            the instant of the admission, in nanoseconds of
                   CLOCK_BOOTTIME; null if not admitted
  error            null, or why the limiter could not decide, in one word:
                   \"not_found\", \"mismatch\", \"corrupt\" and so on
  problem          the same as a sentence, with what to do next

Examples:
  shm-limit acquire api && curl -sS https://example.com/
  shm-limit acquire api --try || echo busy
  until after=$(shm-limit acquire api --try); do
      [ $? = 75 ] || exit; sleep $after
  done
  shm-limit acquire model --take tokens=350 --timeout 10s --json
  shm-limit acquire users --key=\"$user\" --try";

/// `run --help`.
pub(crate) const RUN: &str = "\
The command takes this process's place (exec), so exit status, signals and
standard output are the command's own. If the request is denied or the turn
would come too late, the command is not run, standard error says so (not with
--quiet), and the exit status is 75. A command may exit with 75 itself: to
tell the two apart, or to make a denial a success, choose another status by
--denied-status. The status is 127 if there is no such command and 126 if it
cannot be executed; the turn is used in both cases.

All waiting callers of all processes stand in one line, in order of arrival. A
caller that leaves the line, at its deadline or by a signal, takes nothing;
those behind it move up.

If the limiter has permits, this process stays and holds one until the command
ends, and then ends in the same way. It passes on every signal that it can
catch and that was sent to it alone, once and within 0.1 s, except TSTP, TTIN,
TTOU and CHLD. Signals to its whole process group, as by Ctrl-C or timeout(1),
reach the command anyway and are not passed on. SIGKILL cannot be passed on:
the permit is free again, and the command goes on without one. To end both,
send TERM, or use --kill-with-me, with which the kernel kills the command too
(but not what the command started, nor a setuid command).

With --settle this process stays as well. The command writes what it really
took to the file $SHM_LIMIT_ACTUAL, as UNIT=AMOUNT or calls=N; lines of the
same unit add up. When the command has ended, the difference to the estimate
(-n, --take) is given back or charged; --verbose reports it. A unit that the
command does not write stays as estimated. If this process is killed, all of
the estimate stays charged. No other process can settle.

With --rate or --permits the limiter is created if it does not exist. If it
exists, it must have the settings that are given; it may have others as well.
After `shm-limit set` has changed a limiter, a command that still gives the
old rate fails. With --keep it uses the limiter as it is. The settings are
explained by `shm-limit create --help`. --max-waiters is such a setting: it
belongs to the limiter, not to this request. If the limiter counts units, give
the amount of each by --take. If it has limits per key, name the key by --key:
`shm-limit help keys`. A key gives nothing back when the command has settled;
it is charged more, though.

If the limiter cannot decide (it does not exist, is damaged, or cannot be
opened), the command is not run and the exit status is 1. --fail-open runs it
without a limit; --fail-closed denies the request. Both still report the
error. A wrong request is an error in any case.

Examples:
  shm-limit run api -- curl -sS https://example.com/
  shm-limit run mail --rate 5/s --keep -- sendmail -t < letter
  shm-limit run build --permits 4 -- make
  shm-limit run build --permits 4 -- sh -c 'configure && make'
  shm-limit run model --take tokens=500 -- ./ask
  shm-limit run model --take tokens=900 --settle -- \\
      sh -c './ask; echo tokens=412 >> \"$SHM_LIMIT_ACTUAL\"'
  xargs -d '\\n' -P 4 -I{} -a names.txt \\
      shm-limit run users --key={} -- ./send {}
  seq 9 | xargs -P 4 -I{} shm-limit run crawl --rate 2/s -- wget -q ex.org/{}
  @hourly shm-limit run backup --rate 1/h --keep --try --quiet -- backup";

/// `hold --help`.
pub(crate) const HOLD: &str = "\
Waits for a permit like `shm-limit acquire`, and then leaves a process in the
background that holds it. Prints the PID of that process. The permit is free
again when the process of --pid ends in any way (a script that is killed gives
its permit back), or when the process in the background is ended:
kill \"$holder\".

If the request is denied or fails, no process is left behind, nothing is
printed on standard output, and the exit status is that of `acquire`.

The process in the background is in a session of its own, so Ctrl-C does not
reach it, and it has nothing open that the script has open. If it is killed
(SIGKILL), the permit is free again, and the script goes on without one.

If a permit is needed for the whole script, `shm-limit run NAME -- script`
does the same without a process in the background.

All other options are explained by `shm-limit acquire --help`.

Examples:
  holder=$(shm-limit hold build --permits 4 --pid $$) || exit
  configure && make
  kill \"$holder\"";

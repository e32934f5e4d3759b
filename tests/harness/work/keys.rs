//! Callers of keys: those that ask all the time, those that share a budget, and those that fork.

use super::copies::{asked_in_handler, fork, reap};
use harness::log::Log;
use harness::{Job, Rng, raw};
use shm_lib::{KeyedRateLimit, Outcome};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const HOT: &str = "hot";

fn open(job: &Job) -> KeyedRateLimit {
    job.open_keys().expect("the limiter")
}

/// `threads=` threads ask for the key `hot` all the time, by `how=try`, `many` or `wait`, and for others in between, for `for=`
/// milliseconds or until killed. With `until=Retired` and the like, a thread ends well with that error, and says when.
pub(crate) fn hammer(job: &Job) {
    let limit = open(job);
    crate::ready();
    let end = Instant::now() + job.duration();
    let until = job.text_or("until", "");
    std::thread::scope(|scope| {
        for _ in 0..job.number_or("threads", 2) {
            scope.spawn(|| {
                let (mut log, mut rng) = (Log::create(&job.path("logs")), Rng::new());
                while Instant::now() < end {
                    let outcome = match job.text("how") {
                        "try" => {
                            if rng.below(4) == 0 {
                                drop(limit.key(rng.below(1_000)).try_acquire(1));
                            }
                            limit.key(HOT).try_acquire(1)
                        }
                        "many" => {
                            let names: Vec<String> = (0..20).map(|_| rng.below(1_000).to_string()).collect();
                            let names = std::iter::once(HOT).chain(names.iter().map(String::as_str));
                            limit.try_acquire_many(names, 1).map(|mut outcomes| outcomes.remove(0))
                        }
                        _ => limit.key(HOT).wait().map(Outcome::Admitted),
                    };
                    match outcome {
                        Ok(Outcome::Admitted(admission)) => log.admitted(admission.at()),
                        Ok(Outcome::Denied(_)) => {}
                        Err(e) if super::hammer::named(e.kind()) == until => {
                            println!("{until} {}", shm_lib::now().as_nanos());
                            break;
                        }
                        Err(e) => panic!("{e:?}"),
                    }
                }
            });
        }
    });
}

/// Asks `tries=` times for each of `keys=` keys, in turns, one by one and many at once, and logs the number of the key, plus one, for
/// each admission. With `children=`, that many forked children do the same, with the handle that this process has opened and used.
pub(crate) fn share(job: &Job) {
    let limit = open(job);
    let mut children = Vec::new();
    if job.number_or("children", 0) > 0 {
        drop(limit.key("before").try_acquire(1).expect("a decision"));
    }
    crate::ready();
    for _ in 0..job.number_or("children", 0) {
        match fork() {
            Some(child) => children.push(child),
            None => {
                take_all(job, &limit);
                raw::exit_now(0);
            }
        }
    }
    take_all(job, &limit);
    children.into_iter().for_each(reap);
}

fn take_all(job: &Job, limit: &KeyedRateLimit) {
    let mut log = Log::create(&job.path("logs"));
    let keys = job.number("keys");
    for round in 0..job.number("tries") {
        let outcomes: Vec<Outcome> = if round % 2 == 0 {
            limit.try_acquire_many(0..keys, 1).expect("decisions")
        } else {
            (0..keys).map(|key| limit.key(key).try_acquire(1).expect("a decision")).collect()
        };
        let admitted = outcomes.iter().zip(1..).filter(|(outcome, _)| outcome.is_admitted());
        admitted.for_each(|(_, key)| log.push(key));
    }
}

/// Asks for a key all the time, one by one, many at once and by short waits, while each SIGUSR1 forks a child: as
/// `fork-in-handler`.
pub(crate) fn fork_in_handler(job: &Job) {
    let limit = open(job);
    // In the line for limits of all keys, a thread of the process would wake it; and where there are threads, the C library holds its
    // own locks while it forks, and what is interrupted may hold them.
    let has_one_thread = limit.all_keys().policy().is_ok_and(|policy| policy.limits().next().is_none());
    let mut round = 0_u64;
    asked_in_handler(job, || {
        round += 1;
        match round % 16 {
            0 => limit.try_acquire_many([HOT, "other"], 1).map(|mut outcomes| outcomes.remove(0)),
            1 if has_one_thread => limit.key(HOT).acquire(1).timeout(Duration::from_micros(100)).wait(),
            _ => limit.key(HOT).try_acquire(1),
        }
    });
}

/// Threads and a future wait for a key; the process forks, and all of them go on in the parent. In the child a thread and a copy of
/// the future wait for it. Logs when each one's turn was.
pub(crate) fn fork_beside_waiters(job: &Job) {
    let limit = open(job);
    crate::ready();
    drop(limit.key(HOT).try_acquire(1).expect("a decision"));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut log = Log::create(&job.path("logs"));
                log.admitted(limit.key(HOT).wait().expect("a turn").at());
            });
        }
        // They stand in the queue of the key by then; the next turn is not yet due.
        std::thread::sleep(Duration::from_millis(30));
        let mut future = pin!(limit.key(HOT).acquire(1).into_future());
        let mut poll = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending(), "its turn had come already");
        let child = fork();
        let mut log = Log::create(&job.path("logs"));
        if child.is_none() {
            log.admitted(limit.key(HOT).wait().expect("a turn in the child").at());
        }
        loop {
            match poll() {
                Poll::Ready(admission) => break log.admitted(admission.expect("a turn").at()),
                Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        match child {
            Some(child) => reap(child),
            None => raw::exit_now(0),
        }
    });
}

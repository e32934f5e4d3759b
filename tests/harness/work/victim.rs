//! Executes one operation between two marks, for a tracer that kills it, stops it, makes it fork or retires its limiter at an
//! instruction in between.
//!
//! At the marks after that it reports what it has, and obeys the tracer.

mod keys;

use harness::mark::{Order, Said};
use harness::{Job, raw};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use shm_lib::{Admission, ErrorKind, Outcome, RateLimit, Result};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// How long it waits for its turn, in turns, and for a permit: so long that it sleeps. By single steps it gets there later.
const TURNS: [u32; 2] = [3, 20];
const TURN: Duration = Duration::from_millis(20);
/// Nothing takes this long. The tracer sees the signal, and that the victim hangs.
const PATIENCE_S: u32 = 30;

pub(crate) fn run(job: &Job) {
    static FORKS: AtomicU64 = AtomicU64::new(u64::MAX);
    ptrace::traceme().expect("a parent that traces");
    nix::unistd::alarm::set(PATIENCE_S);
    raw::fork_on(Signal::SIGUSR1, 0, &FORKS).expect("a signal handler");
    let mut work = Work { job, limit: None, keys: None, held: Vec::new() };
    let mut said = told(work.first());
    loop {
        match Order::from_word(raw::mark(said.words())) {
            Order::Leave => return,
            Order::GiveBack => {
                work.held.clear();
                work.keys.iter_mut().for_each(keys::Keys::give_back);
                said = Said::Has { tokens: 0, at: 0 };
            }
            Order::Repeat(n) => said = told(work.again(n)),
        }
    }
}

/// Ends well if processes can be traced here.
pub(crate) fn traceable() {
    ptrace::traceme().expect("a parent that may trace");
}

/// Tokens or permits, and when the last one's turn is.
type Taken = (u64, u64);

fn told(result: Result<Taken>) -> Said {
    match result {
        Ok((tokens, at)) => Said::Has { tokens, at },
        Err(e) => match e.kind() {
            ErrorKind::Retired | ErrorKind::Removed => Said::Ended,
            ErrorKind::Busy => Said::Busy,
            _ => panic!("{e}"),
        },
    }
}

struct Work<'a> {
    job: &'a Job,
    limit: Option<RateLimit>,
    keys: Option<keys::Keys>,
    /// Permits.
    held: Vec<Admission>,
}

impl Work<'_> {
    /// The operation, and what comes before and after it.
    fn first(&mut self) -> Result<Taken> {
        match self.job.text("do") {
            what if keys::is_of_keys(what) => {
                let (limit, turns) = (self.job.open_keys()?, self.turns());
                self.keys.insert(keys::Keys::new(limit)).first(what, turns)
            }
            "open" | "create" => {
                self.limit = Some(observed(|| self.job.open_only())?);
                self.take()
            }
            // The first request of this process.
            "seat" => {
                let limit = self.keep(self.job.open_only()?);
                observed(|| limit.try_acquire(1)).map(taken)
            }
            "drop" => {
                let limit = self.job.open()?;
                let first = limit.try_acquire(1).map(taken)?;
                observed(|| drop(limit));
                Ok(first)
            }
            // Here it has its seat, has read the clock, and has just looked whether its file is there.
            what => {
                let limit = self.keep(self.job.open()?);
                match what {
                    // The next turn is days away, or there is one in a few milliseconds.
                    // Afterwards it has had a place in the line, and knows the other processes in it.
                    "reserve" | "cancel" | "wait" | "quit" => {
                        drop(limit.acquire(1).timeout(Duration::ZERO).wait()?);
                    }
                    "permit" => drop(limit.try_acquire(1)?),
                    "stand" => self.use_up(&limit)?,
                    // What starts the thread that tends the tasks; it stays for a second.
                    "poll" => {
                        self.use_up(&limit)?;
                        polled(&limit, Duration::ZERO)?;
                        self.use_up(&limit)?;
                    }
                    "give-up" => drop(polled(&limit, Duration::ZERO)?),
                    _ => {}
                }
                self.with_seat(what, &limit)
            }
        }
    }

    fn with_seat(&mut self, what: &str, limit: &RateLimit) -> Result<Taken> {
        match what {
            "try" => {
                let (first, _) = self.take()?;
                let (more, at) = observed(|| limit.try_acquire(1)).map(taken)?;
                Ok((first + more, at))
            }
            "wait" => observed(|| limit.wait()).map(one),
            // Another turn has just been used up, so it stands in the line.
            "stand" => observed(|| limit.acquire(1).wait()).map(one),
            "quit" => {
                let outcome = observed(|| limit.acquire(1).timeout(self.span()).wait())?;
                Ok(self.hold(outcome))
            }
            "poll" => observed(|| polled(limit, self.span())),
            "give-up" => observed(|| polled(limit, Duration::ZERO)),
            "reserve" => used(observed(|| limit.reserve(1))?),
            "schedule" => observed(|| limit.schedule(1, 3)).map(|turns| scheduled(&turns)),
            "cancel" => {
                let turn = limit.reserve(1)?;
                let at = turn.at().as_nanos();
                let given_back = observed(|| turn.cancel());
                Ok((u64::from(!given_back), at))
            }
            // From what was taken to what was needed, less or more.
            "refund" => settled(limit, 3, 1, |settle| observed(settle)),
            "charge" => settled(limit, 1, 3, |settle| observed(settle)),
            "permit" | "reclaim" => {
                let outcome = observed(|| limit.try_acquire(1))?;
                Ok(self.hold(outcome))
            }
            "release" => {
                let held = limit.try_acquire(1)?;
                assert!(held.is_admitted(), "no permit to give back");
                observed(|| drop(held));
                Ok((0, 0))
            }
            "hold-all" => {
                let all: Vec<Outcome> = (0..4).map(|_| limit.try_acquire(1)).collect::<Result<_>>()?;
                assert!(all.iter().all(Outcome::is_admitted), "no permits to hold");
                observed(|| ());
                Ok((0, 0))
            }
            change => observed(|| changed(limit, change)).map(|()| (0, 0)),
        }
    }

    /// The same `n` times more; what it got by that, or how many permits it holds then.
    fn again(&mut self, n: u64) -> Result<Taken> {
        let mut all = (0, 0);
        for _ in 0..n {
            let (tokens, at) = self.once_more()?;
            all = (all.0 + tokens, at);
        }
        if self.held.is_empty() { Ok(all) } else { Ok((self.held.len() as u64, all.1)) }
    }

    fn once_more(&mut self) -> Result<Taken> {
        let what = self.job.text("do");
        if let Some(keys) = &mut self.keys {
            return keys.act(what);
        }
        if matches!(what, "open" | "create" | "drop" | "retire") {
            self.limit = None;
            self.limit = Some(self.job.open_only()?);
            return self.take();
        }
        let limit = self.limit.clone().expect("an open limiter");
        match what {
            // A refund on a word is not always complete, and here the exact amount must be known.
            "try" | "seat" | "refund" => self.take(),
            "charge" => settled(&limit, 1, 3, |settle| settle()),
            "schedule" => limit.schedule(1, 3).map(|turns| scheduled(&turns)),
            "reserve" | "cancel" => used(limit.reserve(1)?),
            "wait" | "stand" => limit.wait().map(one),
            "poll" => polled(&limit, TURN),
            "give-up" => polled(&limit, Duration::ZERO),
            "quit" => {
                self.held.clear();
                let outcome = limit.acquire(1).timeout(TURN).wait()?;
                Ok(self.hold(outcome))
            }
            "permit" | "reclaim" | "release" => {
                self.held.clear();
                let outcome = limit.try_acquire(1)?;
                Ok(self.hold(outcome))
            }
            change => changed(&limit, change).map(|()| (0, 0)),
        }
    }

    /// Uses up turns until the next one is `turns` intervals away.
    fn use_up(&self, limit: &RateLimit) -> Result<()> {
        while !limit.try_acquire(1)?.is_admitted() {}
        (1..self.turns()).try_for_each(|_| used(limit.reserve(1)?).map(drop))
    }

    fn turns(&self) -> u32 {
        TURNS[usize::from(self.job.text_or("led", "") == "by-step")]
    }

    fn span(&self) -> Duration {
        self.turns() * TURN
    }

    fn keep(&mut self, limit: RateLimit) -> RateLimit {
        self.limit.insert(limit).clone()
    }

    fn take(&self) -> Result<Taken> {
        self.limit.as_ref().expect("an open limiter").try_acquire(1).map(taken)
    }

    fn hold(&mut self, outcome: Outcome) -> Taken {
        let admission = outcome.admission();
        let at = admission.as_ref().map_or(0, |admission| admission.at().as_nanos());
        self.held.extend(admission);
        (self.held.len() as u64, at)
    }
}

fn observed<R>(operation: impl FnOnce() -> R) -> R {
    raw::mark([0; 2]);
    let result = black_box(operation());
    raw::mark([0; 2]);
    result
}

fn taken(outcome: Outcome) -> Taken {
    match outcome {
        Outcome::Admitted(admission) => one(admission),
        Outcome::Denied(_) => (0, 0),
    }
}

#[allow(clippy::needless_pass_by_value)] // its permit is given back
fn one(admission: Admission) -> Taken {
    (1, admission.at().as_nanos())
}

/// A task that asks, looks once more when this time has passed, and is dropped.
fn polled(limit: &RateLimit, time: Duration) -> Result<Taken> {
    let later = Instant::now() + time;
    let mut acquiring = pin!(limit.acquire(1).into_future());
    for is_last in [false, true] {
        if is_last && !time.is_zero() {
            thread::sleep(later.saturating_duration_since(Instant::now()));
        }
        if let Poll::Ready(got) = acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return got.map(one);
        }
    }
    Ok((0, 0))
}

/// A turn that is used; a copy of another process's is not.
fn used(turn: shm_lib::Reservation) -> Result<Taken> {
    match turn.commit() {
        Ok(admission) => Ok((1, admission.at().as_nanos())),
        Err(e) if e.kind() == ErrorKind::InvalidInput => Ok((0, 0)),
        Err(e) => Err(e),
    }
}

fn scheduled(turns: &[shm_lib::Nanos]) -> Taken {
    (turns.len() as u64, turns.last().map_or(0, |at| at.as_nanos()))
}

fn settled(
    limit: &RateLimit,
    estimate: u64,
    actual: u64,
    run: fn(&mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<Taken> {
    let mut admission = limit.try_acquire(estimate)?.admission().expect("tokens");
    let at = admission.at().as_nanos();
    run(&mut || limit.settle(&mut admission, actual).map(drop))?;
    Ok((actual, at))
}

fn changed(limit: &RateLimit, how: &str) -> Result<()> {
    match how {
        "change" => limit.change(1_010, YEAR),
        // Then the callers in line are served soon.
        "hurry" => limit.change(50, Duration::from_secs(1)),
        "reset" => limit.reset(),
        "pause" => limit.pause_for(Duration::from_secs(3_600)),
        "resume" => limit.resume(),
        "retire" => limit.retire(),
        other => panic!("no such operation: {other}"),
    }
}

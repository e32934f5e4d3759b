//! Every operation, on all of the storm's limiters, in random order.

use harness::journal::{Board, Entry, EntryKind, Journal, Open};
use harness::storm::{Call, LIMITERS, StormLimiter, THREADS, Trouble};
use harness::{Job, Rng};
use shm_lib::{Admission, Cost, Error, ErrorKind, Nanos, Outcome, RateLimit, Unit};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, Wake};
use std::thread::{Thread, sleep};
use std::time::{Duration, Instant};

/// A call that returns later than this after it was due is recorded.
const LATE: Duration = Duration::from_millis(500);
/// The longest time that a caller should have to wait here without a deadline.
const LONG: Duration = Duration::from_secs(3);
/// A reservation further ahead than this is not used.
const AHEAD: Duration = Duration::from_millis(200);

/// A handle, and when its limiter was created.
type Handle = (RateLimit, u64);

/// What the threads of the process share: its handles, and the board of the storm.
struct Shared {
    dir: PathBuf,
    handles: Vec<RwLock<Handle>>,
    board: Board,
}

/// `slot=`: which of the `slots=` workers' places this is; journals and board are in `logs=`. Works until killed.
pub(crate) fn run(job: &Job) {
    let dir = job.path("dir");
    let board = Board::map(&job.path("logs"), job.number("places") as usize);
    let handles = LIMITERS.iter().map(|limiter| RwLock::new(open(limiter, &dir))).collect();
    let shared = Shared { dir, handles, board };
    crate::ready();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let place = job.number("slot") as usize * THREADS + thread;
            let journal = Journal::resume(&job.path("logs"), place);
            let shared = &shared;
            scope
                .spawn(move || WorkerThread { shared, place, journal, rng: Rng::new(), quiet: false }.work());
        }
    });
}

/// Opens it, although a controller may remove it meanwhile.
pub(crate) fn open(limiter: &StormLimiter, dir: &std::path::Path) -> Handle {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let opened = limiter.open(dir).and_then(|limit| {
            let made = limit.inspect()?.created.as_nanos();
            harness::job::claim_seat(&limit);
            Ok((limit, made))
        });
        match opened {
            Ok(handle) => return handle,
            // The controller that retires it may be stopped in the middle of that.
            Err(e) if is_over(&e) || e.kind() == ErrorKind::Busy => {
                assert!(Instant::now() < end, "{e}");
                sleep(Duration::from_millis(1));
            }
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn is_over(e: &Error) -> bool {
    e.kind().is_lost()
}

/// One thread.
struct WorkerThread<'a> {
    shared: &'a Shared,
    place: usize,
    journal: Journal,
    rng: Rng,
    quiet: bool,
}

impl WorkerThread<'_> {
    fn work(mut self) {
        loop {
            self.quiet = self.shared.board.is_quiet();
            let limiter = self.rng.below(LIMITERS.len() as u64) as usize;
            let (limit, made) = self.shared.handles[limiter].read().expect("a handle").clone();
            let done = self.act(limiter, &limit, made);
            self.shared.board.end(self.place);
            match done {
                Ok(()) => {}
                Err(e) if LIMITERS[limiter].trouble == Trouble::Recreate && is_over(&e) => {
                    drop(limit);
                    self.reopen(limiter, made);
                }
                Err(e) => panic!("{}: {e:?}", LIMITERS[limiter].name),
            }
        }
    }

    fn reopen(&self, limiter: usize, gone: u64) {
        let mut handle = self.shared.handles[limiter].write().expect("a handle");
        if handle.1 == gone {
            *handle = open(&LIMITERS[limiter], &self.shared.dir);
        }
    }

    /// Notes on the board what begins, and when it must have ended at the latest.
    fn begin(&self, call: Call, began: Nanos, may_take: Duration) {
        self.shared.board.begin(self.place, call as u64, began.plus(may_take).as_nanos());
    }

    /// Records a call that took too long.
    fn record_if_late(&mut self, limiter: usize, call: Call, began: Nanos, due: Nanos) {
        let now = shm_lib::now();
        if now > due.plus(LATE) {
            let (a, b, c) = (began.as_nanos(), now.as_nanos(), due.as_nanos());
            self.journal.push(Entry { kind: EntryKind::Slow, limiter, extra: call as u64, a, b, c });
        }
    }

    fn record_admission(&mut self, limiter: usize, made: u64, amount: u64, at: Nanos) {
        let (a, b) = (at.as_nanos(), shm_lib::now().as_nanos());
        self.journal.push(Entry { kind: EntryKind::Admitted, limiter, extra: amount, a, b, c: made });
    }

    /// Records that this thread begins to wait, where that is judged.
    fn begin_waiting(&mut self, limiter: usize, call: Call, began: Nanos) -> Option<Open> {
        let a = began.as_nanos();
        let entry = Entry { kind: EntryKind::Stood, limiter, extra: call as u64, a, b: 0, c: 0 };
        LIMITERS[limiter].is_for_waiting.then(|| self.journal.begin(entry))
    }

    fn end_waiting(&mut self, stands: Option<Open>, admission: Option<&Admission>) {
        if let Some(stands) = stands {
            let at = admission.map_or(0, |admission| admission.at().as_nanos());
            self.journal.finish_with(stands, shm_lib::now().as_nanos(), at);
        }
    }

    fn pick(&mut self, limiter: &StormLimiter) -> Call {
        let sides = if self.quiet || limiter.is_for_waiting { 8 } else { 20 };
        match self.rng.below(sides) {
            0..=1 if limiter.is_for_waiting => Call::Wait,
            0..=1 => Call::Try,
            2..=4 => Call::WaitTimeout,
            5..=7 => Call::WaitAndDrop,
            8..=10 => Call::Wait,
            11..=14 => Call::Reserve,
            15..=16 => Call::Settle,
            17 => Call::Look,
            // Scheduled turns stay valid after a change, so only limiters without changes are scheduled on.
            _ if limiter.trouble == Trouble::KillsOnly && !limiter.has_units() => Call::Schedule,
            _ => Call::Try,
        }
    }

    fn act(&mut self, limiter: usize, limit: &RateLimit, made: u64) -> Result<(), Error> {
        let what = &LIMITERS[limiter];
        let call = self.pick(what);
        let most = if what.has_units() { 39 } else { 3 };
        let amount = 1 + self.rng.below(most);
        let request = request(what, amount);
        let began = shm_lib::now();
        match call {
            Call::Try | Call::Settle => {
                self.begin(call, began, Duration::ZERO);
                let outcome = limit.try_acquire(request)?;
                self.record_if_late(limiter, call, began, began);
                match outcome {
                    Outcome::Admitted(admission) => {
                        self.use_admission(limiter, limit, made, amount, admission, call)?;
                    }
                    Outcome::Denied(denied) => {
                        let retry_after = denied.retry_after().unwrap_or_default();
                        if retry_after > LONG {
                            self.record_if_late(limiter, call, began, Nanos::from_nanos(0));
                        }
                        // Some programs ask again at once; most do not.
                        sleep(retry_after.min(Duration::from_millis(1 + self.rng.below(5))));
                    }
                }
            }
            Call::Wait => {
                self.begin(call, began, LONG);
                let stands = self.begin_waiting(limiter, call, began);
                let admission = limit.acquire(request).wait()?;
                self.end_waiting(stands, Some(&admission));
                self.record_if_late(limiter, call, began, admission.at().min(began.plus(LONG)).max(began));
                self.use_admission(limiter, limit, made, amount, admission, call)?;
            }
            Call::WaitTimeout => {
                let patience = Duration::from_micros(1_000 + self.rng.below(100_000));
                self.begin(call, began, patience);
                let stands = self.begin_waiting(limiter, call, began);
                let outcome =
                    limit.acquire(request).deadline(Instant::now() + patience).stop_when(|| false).wait()?;
                let admission =
                    if let Outcome::Admitted(admission) = &outcome { Some(admission) } else { None };
                self.end_waiting(stands, admission);
                let due = match &outcome {
                    Outcome::Admitted(admission) => admission.at().max(began),
                    Outcome::Denied(_) => began.plus(patience),
                };
                self.record_if_late(limiter, call, began, due);
                match outcome {
                    Outcome::Admitted(admission) => {
                        self.use_admission(limiter, limit, made, amount, admission, call)?;
                    }
                    Outcome::Denied(_) => sleep(Duration::from_millis(1)),
                }
            }
            Call::WaitAndDrop => {
                let patience = Duration::from_micros(1_000 + self.rng.below(100_000));
                self.begin(call, began, patience);
                let stands = self.begin_waiting(limiter, call, began);
                let admission = within(patience, limit.acquire(request)).transpose()?;
                self.end_waiting(stands, admission.as_ref());
                let due =
                    admission.as_ref().map_or(began.plus(patience), |admission| admission.at().max(began));
                self.record_if_late(limiter, call, began, due);
                if let Some(admission) = admission {
                    self.use_admission(limiter, limit, made, amount, admission, call)?;
                }
            }
            Call::Reserve => self.reserve(limiter, limit, made, amount, &request)?,
            Call::Schedule => {
                self.begin(call, began, Duration::ZERO);
                let turns = limit.schedule(1, 1 + self.rng.below(5) as usize)?;
                self.record_if_late(limiter, call, began, began);
                turns.into_iter().for_each(|at| self.record_admission(limiter, made, 1, at));
            }
            _ => {
                self.begin(Call::Look, began, Duration::ZERO);
                let seen = limit.inspect()?;
                self.record_if_late(limiter, Call::Look, began, began);
                assert!(seen.permits_held <= what.permits, "{} permits held", seen.permits_held);
            }
        }
        Ok(())
    }

    /// Records an admission, at times settled for less, and holds its permit for a while.
    fn use_admission(
        &mut self,
        limiter: usize,
        limit: &RateLimit,
        made: u64,
        amount: u64,
        mut admission: Admission,
        call: Call,
    ) -> Result<(), Error> {
        let what = &LIMITERS[limiter];
        let since = shm_lib::now();
        let mut actual = amount;
        if call == Call::Settle && amount > 1 {
            actual = 1 + self.rng.below(amount);
            self.begin(call, since, Duration::ZERO);
            limit.settle(&mut admission, self::request(what, actual))?;
            self.record_if_late(limiter, call, since, since);
        }
        self.record_admission(limiter, made, actual, admission.at());
        if what.permits > 0 {
            let held = Entry { kind: EntryKind::Held, limiter, extra: 0, a: since.as_nanos(), b: 0, c: 0 };
            let held = self.journal.begin(held);
            sleep(Duration::from_micros(self.rng.below(500)));
            self.journal.finish(held, shm_lib::now().as_nanos());
        }
        Ok(())
    }

    /// Reserves a turn, and uses it at its instant, or cancels or drops it. A turn is not used if a change has cancelled it:
    /// `RateLimit::wait` would not use it either.
    fn reserve(
        &mut self,
        limiter: usize,
        limit: &RateLimit,
        made: u64,
        amount: u64,
        cost: &Cost,
    ) -> Result<(), Error> {
        let began = shm_lib::now();
        self.begin(Call::Reserve, began, Duration::ZERO);
        let turn = limit.reserve(*cost)?;
        self.record_if_late(limiter, Call::Reserve, began, began);
        if turn.wait_time() > AHEAD || self.rng.below(3) == 0 {
            let late = self.rng.below(2) == 0 && turn.wait_time() <= AHEAD;
            sleep(Duration::from_micros(if late { self.rng.below(300) } else { 0 }));
            let began = shm_lib::now();
            turn.cancel();
            self.record_if_late(limiter, Call::Reserve, began, began);
            return Ok(());
        }
        loop {
            // In this order: a turn that came before the change counts as used, and is.
            let now = shm_lib::now();
            if turn.is_stale() {
                return Ok(());
            }
            if now >= turn.at() {
                let at = turn.commit()?.at();
                self.record_admission(limiter, made, amount, at);
                return Ok(());
            }
            self.begin(Call::Reserve, turn.at(), Duration::ZERO);
            sleep(turn.at().since(now));
        }
    }
}

/// The output of a future, if it comes within this time. Then the future is dropped.
fn within<F: IntoFuture>(patience: Duration, future: F) -> Option<F::Output> {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let end = Instant::now() + patience;
    let mut future = pin!(future.into_future());
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

fn request(limiter: &StormLimiter, amount: u64) -> Cost {
    if limiter.has_units() {
        Cost::one().and(Unit::named("tokens").expect("a unit"), amount)
    } else {
        Cost::from(amount)
    }
}

//! Every operation on keys, on all limiters of the storm of keys, in random order.

use harness::journal::{Board, Entry, EntryKind, Journal};
use harness::key_storm::{HOT, KEY_LIMITERS, KeyTrouble, is_recorded};
use harness::raw::MappedWords;
use harness::storm::THREADS;
use harness::{Job, Rng};
use shm_lib::{Admission, Error, ErrorKind, KeyedRateLimit};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Keys of a batch.
const BATCH: usize = 24;

/// How long a thread rests at most after [`WORK`] calls, for each thread of the storm.
const REST: Duration = Duration::from_millis(1);
const WORK: u64 = 200;

/// What the threads of the process share.
struct Shared {
    handles: Vec<KeyedRateLimit>,
    /// For each limiter, how often each key was admitted.
    counts: Vec<MappedWords>,
    board: Board,
    keys: u64,
    /// How long a thread sleeps at most, now and then: so long that all threads together leave time for those that kill them.
    rest: Duration,
}

/// `slot=`: which of the workers' places this is; journals, counts and the board are in `logs=`. Works until killed.
pub(crate) fn run(job: &Job) {
    let (dir, logs, keys) = (job.path("dir"), job.path("logs"), job.number("keys"));
    let limiters = &KEY_LIMITERS[..job.number("limiters") as usize];
    let handles = limiters.iter().map(|limiter| limiter.open(&dir, keys).expect("a limiter")).collect();
    let counts = |limiter: &harness::key_storm::KeyStormLimiter| {
        MappedWords::map(&logs.join(format!("counts-{}", limiter.name)), keys as usize).expect("counts")
    };
    let counts = limiters.iter().map(counts).collect();
    let places = job.number("places");
    let board = Board::map(&logs, places as usize);
    let shared = Shared { handles, counts, board, keys, rest: REST * places as u32 };
    crate::ready();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let place = job.number("slot") as usize * THREADS + thread;
            let journal = Journal::resume(&logs, place);
            let shared = &shared;
            scope.spawn(move || WorkerThread { shared, place, journal, rng: Rng::new() }.work());
        }
    });
}

struct WorkerThread<'a> {
    shared: &'a Shared,
    place: usize,
    journal: Journal,
    rng: Rng,
}

impl WorkerThread<'_> {
    fn work(mut self) {
        loop {
            let limiter = self.rng.below(self.shared.handles.len() as u64) as usize;
            let done = self.act(limiter);
            self.shared.board.end(self.place);
            if self.rng.below(WORK) == 0 {
                let rest = self.rng.below(self.shared.rest.as_nanos() as u64);
                std::thread::sleep(Duration::from_nanos(rest));
            }
            match done {
                Ok(()) => {}
                // Its place in the line of all keys may be taken by those who died, for a moment.
                Err(e) if e.kind() == ErrorKind::NoSeat => std::thread::yield_now(),
                Err(e) => panic!("{}: {e:?}", KEY_LIMITERS[limiter].name),
            }
        }
    }

    /// The hot key, or any: the first ones come often, the last ones hardly ever.
    fn pick(&mut self) -> u64 {
        if self.rng.below(5) == 0 {
            return HOT;
        }
        let part = self.rng.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        ((part.powi(3) * self.shared.keys as f64) as u64).min(self.shared.keys - 1)
    }

    /// What a call that begins now may take.
    fn begin(&self, may_take: Duration) {
        self.shared.board.begin(self.place, 0, shm_lib::now().plus(may_take).as_nanos());
    }

    fn record(&mut self, limiter: usize, key: u64, admission: Option<Admission>) {
        let Some(admission) = admission else { return };
        self.shared.counts[limiter].all()[key as usize].fetch_add(1, Ordering::Relaxed);
        if is_recorded(limiter, key, self.shared.keys) {
            let (a, b) = (admission.at().as_nanos(), shm_lib::now().as_nanos());
            self.journal.push(Entry { kind: EntryKind::Admitted, limiter, extra: key, a, b, c: 0 });
        }
    }

    fn act(&mut self, limiter: usize) -> Result<(), Error> {
        let limit = &self.shared.handles[limiter];
        let key = self.pick();
        match self.rng.below(1_000) {
            0..=99 => {
                let keys: Vec<u64> = (0..BATCH).map(|_| self.pick()).collect();
                self.begin(Duration::ZERO);
                let outcomes = limit.try_acquire_many(keys.iter().copied(), 1)?;
                for (key, outcome) in keys.into_iter().zip(outcomes) {
                    self.record(limiter, key, outcome.admission());
                }
            }
            100..=104 => {
                let patience = Duration::from_micros(self.rng.below(40_000));
                self.begin(patience);
                let outcome = limit.key(key).acquire(1).timeout(patience).wait()?;
                self.record(limiter, key, outcome.admission());
            }
            105..=109 => {
                self.begin(Duration::ZERO);
                let mut future = pin!(limit.key(key).acquire(1).into_future());
                if let Poll::Ready(admission) = future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                {
                    self.record(limiter, key, Some(admission?));
                }
            }
            110..=119 => {
                self.begin(Duration::ZERO);
                limit.key(key).status()?;
            }
            120..=122 => {
                self.begin(Duration::ZERO);
                limit.key(key).charge(1 + self.rng.below(3))?;
            }
            123..=126 if KEY_LIMITERS[limiter].trouble == KeyTrouble::Resets => {
                self.begin(Duration::ZERO);
                let a = shm_lib::now().as_nanos();
                let entry = Entry { kind: EntryKind::Control, limiter, extra: key, a, b: 0, c: 0 };
                let entry = self.journal.begin(entry);
                limit.key(key).reset()?;
                self.journal.finish(entry, shm_lib::now().as_nanos());
            }
            127 => {
                self.begin(Duration::from_millis(200));
                limit.table_status()?;
                drop(limit.most_denied(10));
            }
            _ => {
                self.begin(Duration::ZERO);
                let outcome = limit.key(key).try_acquire(1)?;
                self.record(limiter, key, outcome.admission());
            }
        }
        Ok(())
    }
}

//! More clients than the limit serves, each with little patience: how much of the limit is delivered, and what clients that
//! left have taken with them.

use super::api::{self, NextCall};
use super::heartbeat::Heartbeat;
use super::kind::Kind;
use super::offer::Offer;
use super::sheet::{Sheet, Visit};
use super::{CLIENT, api::admitted_so_far};
use crate::{Arena, Job, WorkerPool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm_lib::{Nanos, RateLimit};
use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a client waits before it leaves.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Admissions before this are not judged: the limiter still has its burst, and the line is still short.
const WARM_UP: Duration = Duration::from_secs(1);
/// The patience of the call after the last client has left.
const NEXT_CALL: Duration = Duration::from_secs(3);
/// Enough for all processes that wait at the same time.
const SEATS: usize = 1_024;
/// A client that takes longer to end after its signal hangs.
const END: Duration = Duration::from_secs(30);

/// The way in which a client leaves when it was not admitted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A thread that waits with a deadline.
    Deadline,
    /// A task whose future is dropped.
    Dropped,
    /// A request to an HTTP server whose client goes away.
    Request,
    /// A process that gets SIGTERM and leaves in good order.
    Terminated,
    /// A process that gets SIGKILL.
    Killed,
    /// The command `shm-limit acquire`, which gets SIGTERM.
    Command,
}

impl Way {
    /// All ways.
    pub const ALL: [Way; 6] =
        [Way::Deadline, Way::Dropped, Way::Request, Way::Terminated, Way::Killed, Way::Command];

    /// The name of this way, one word.
    pub fn name(self) -> &'static str {
        match self {
            Way::Deadline => "deadline",
            Way::Dropped => "dropped",
            Way::Request => "request",
            Way::Terminated => "sigterm",
            Way::Killed => "sigkill",
            Way::Command => "command",
        }
    }

    /// Whether each client is a process of its own.
    pub fn is_a_process(self) -> bool {
        matches!(self, Way::Terminated | Way::Killed | Way::Command)
    }

    fn signal(self) -> Signal {
        if self == Way::Killed { Signal::SIGKILL } else { Signal::SIGTERM }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// The limiter.
    pub kind: Kind,
    /// The way in which clients leave.
    pub way: Way,
    /// The offered load, as a multiple of the limit.
    pub times: u64,
    /// How long clients keep arriving.
    pub time: Duration,
    /// How many processes the clients share, where a client is not a process of its own.
    pub processes: usize,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What each second after the first one delivered, in per cent of the limit: admissions, or the time for which permits were
    /// held.
    pub seconds: Vec<f64>,
    /// How many clients there were.
    pub clients: usize,
    /// How many clients were admitted.
    pub admitted: usize,
    /// How many clients got an error.
    pub failed: usize,
    /// QUEUE after all clients had left.
    pub queued: u64,
    /// The wait of one more call after that.
    pub next_call: NextCall,
    /// The longest stall of the machine while the clients came and left.
    pub stall: Duration,
}

impl Figures {
    /// The mean of the seconds after the first one.
    pub fn mean(&self) -> f64 {
        self.seconds.iter().sum::<f64>() / self.seconds.len() as f64
    }

    /// The worst of the seconds after the first one.
    pub fn worst(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

impl Overload {
    /// Runs the measurement. `exe` is a program that takes part in measurements, see [`load`](super); `command` is `shm-limit`.
    ///
    /// # Panics
    /// If a limit or the number of permits was exceeded, or a process hangs.
    pub fn run(&self, exe: &'static str, command: Option<&Path>) -> Figures {
        let kind = self.kind;
        let arena = Arena::with_policy(kind.policy, u64::from(kind.permits)).seats(SEATS);
        let limit = arena.open();
        let offer = Offer { per_second: self.times * kind.per_second, time: self.time };
        let arrivals = offer.arrivals();
        let clients = arrivals.len();
        let file = arena.logs().join("sheet");
        let sheet = Sheet::map(&file, clients);
        let job = offer
            .write(arena.job(CLIENT))
            .set("as", "it-is")
            .set("sheet", file.display())
            .set("lines", clients)
            .set("hold-us", kind.hold.as_micros())
            .set("patience", PATIENCE.as_millis());
        let heartbeat = Heartbeat::start();
        let (start, counted) = match self.way {
            Way::Deadline => (self.in_processes(exe, &job.set("work", "threads"), &sheet), None),
            Way::Dropped => (self.in_processes(exe, &job.set("work", "tasks"), &sheet), None),
            // The worker of the tests does not serve requests.
            Way::Request => (self.in_processes(exe, &job.set("work", "requests"), &sheet), None),
            Way::Command => {
                let command = command.expect("the command shm-limit");
                let (start, times) =
                    count_while(&limit, || self.one_by_one(&arrivals, &sheet, |_| acquire(command, &arena)));
                (start, Some(times))
            }
            Way::Terminated | Way::Killed => {
                let job = job.set("work", "one-client");
                (self.one_by_one(&arrivals, &sheet, |client| one_client(exe, &job, client)), None)
            }
        };
        let stall = heartbeat.longest_stall();
        let queued = api::queued(&limit);
        let next_call = api::next_call(&limit, NEXT_CALL);
        let visits: Vec<Visit> = (0..clients).map(|client| sheet.visit(client)).collect();
        let mut times: Vec<u64> = visits.iter().map(|visit| visit.at).filter(|&at| at != 0).collect();
        times.sort_unstable();
        let logged: Vec<(u64, u64)> = times.iter().map(|&at| (1, at)).collect();
        if self.way.is_a_process() {
            arena.assert_all_kept_with_gaps(&logged);
        } else {
            arena.assert_all_kept(&logged);
        }
        assert_permits_kept(kind.permits, &visits);
        let times = counted.unwrap_or(times);
        Figures {
            seconds: match kind.permits {
                0 => self.by_the_second(start, &times),
                permits => self.held_by_the_second(start, permits, &visits),
            },
            clients,
            admitted: times.len(),
            failed: visits.iter().filter(|visit| visit.failed).count(),
            queued,
            next_call,
            stall,
        }
    }

    /// Runs the clients as threads or tasks of some processes. Returns the instant at which the load begins.
    fn in_processes(&self, exe: &'static str, job: &Job, sheet: &Sheet) -> u64 {
        let mut pool = WorkerPool::new(exe);
        for index in 0..self.processes {
            pool.spawn(&job.clone().set("index", index).set("of", self.processes));
        }
        pool.start();
        let start = shm_lib::now().plus(Duration::from_millis(50)).as_nanos();
        sheet.start_at(start);
        std::thread::sleep(self.time + PATIENCE);
        pool.join();
        start
    }

    /// Runs each client as a process that gets a signal when its patience is over. Returns the instant at which the load
    /// begins.
    fn one_by_one(
        &self,
        arrivals: &[Duration],
        sheet: &Sheet,
        mut start_one: impl FnMut(usize) -> Child,
    ) -> u64 {
        let start = shm_lib::now();
        let mut waiting: VecDeque<(Instant, usize, Child)> = VecDeque::new();
        let mut leaving: Vec<Child> = Vec::new();
        let mut coming = arrivals.iter().enumerate().peekable();
        while coming.peek().is_some() || !waiting.is_empty() {
            while waiting.front().is_some_and(|(leaves, ..)| *leaves <= Instant::now()) {
                let (_, client, mut child) = waiting.pop_front().expect("the front");
                if !sheet.is_admitted(client) && child.try_wait().expect("a child").is_none() {
                    // Not reaped yet, so the PID is still its own.
                    kill(Pid::from_raw(child.id() as i32), self.way.signal()).expect("a client to signal");
                }
                leaving.push(child);
            }
            leaving.retain_mut(|child| child.try_wait().expect("a child").is_none());
            if let Some((client, _)) = coming.next_if(|(_, at)| start.plus(**at) <= shm_lib::now()) {
                let child = start_one(client);
                waiting.push_back((Instant::now() + PATIENCE, client, child));
                continue;
            }
            let leaves = waiting.front().map(|(leaves, ..)| leaves.saturating_duration_since(Instant::now()));
            let comes = coming.peek().map(|(_, at)| start.plus(**at).since(shm_lib::now()));
            std::thread::sleep(leaves.into_iter().chain(comes).min().unwrap_or_default());
        }
        let give_up = Instant::now() + END;
        for mut child in leaving {
            while child.try_wait().expect("a child").is_none() {
                if Instant::now() > give_up {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("a client hangs");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        start.as_nanos()
    }

    /// For how long permits were held in each whole second after the first one, in per cent of what is possible. (How many are
    /// taken in a second depends on when it begins.)
    fn held_by_the_second(&self, start: u64, permits: u32, visits: &[Visit]) -> Vec<f64> {
        const SECOND: u64 = 1_000_000_000;
        let from = start + WARM_UP.as_nanos() as u64;
        let end = start + self.time.as_nanos() as u64;
        let seconds = (0..(end - from) / SECOND).map(|second| from + second * SECOND);
        let held_in = |begin: u64| -> u64 {
            let part =
                |visit: &Visit| visit.released.min(begin + SECOND).saturating_sub(visit.known.max(begin));
            visits.iter().filter(|visit| visit.known != 0).map(part).sum()
        };
        seconds.map(|begin| 100.0 * held_in(begin) as f64 / (f64::from(permits) * SECOND as f64)).collect()
    }

    /// The admissions of each whole second after the first one, in per cent. Windows and greedy limits admit in bursts at
    /// instants of their own, so of all alignments of these seconds the one with the best worst second counts.
    fn by_the_second(&self, start: u64, times: &[u64]) -> Vec<f64> {
        const SECOND: u64 = 1_000_000_000;
        let from = start + WARM_UP.as_nanos() as u64;
        let end = start + self.time.as_nanos() as u64;
        let aligned = |first: u64| -> Vec<f64> {
            (0..(end - first) / SECOND)
                .map(|second| {
                    let begins = first + second * SECOND;
                    let before = |instant| times.partition_point(|&at| at < instant);
                    let count = before(begins + SECOND) - before(begins);
                    100.0 * count as f64 / self.kind.per_second as f64
                })
                .collect()
        };
        let in_first = times.iter().copied().filter(|at| (from..from + SECOND).contains(at));
        let worst = |seconds: &Vec<f64>| seconds.iter().copied().fold(f64::INFINITY, f64::min);
        // Of equal alignments the first one has the most seconds.
        let better =
            |best: Vec<f64>, other: Vec<f64>| if worst(&other) > worst(&best) { other } else { best };
        in_first.map(aligned).fold(aligned(from), better)
    }
}

fn one_client(exe: &str, job: &Job, client: usize) -> Child {
    let job = job.clone().set("client", client);
    let mut command = Command::new(exe);
    command.args(job.args()).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("a client")
}

fn acquire(command: &Path, arena: &Arena) -> Child {
    let mut acquire = Command::new(command);
    acquire.arg("acquire").arg("--dir").arg(arena.dir()).arg("arena");
    acquire.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command")
}

/// Reads the limiter's own count of admissions every few milliseconds during `work`, because the command writes no sheet.
/// Returns an instant for each admission.
fn count_while<T>(limit: &RateLimit, work: impl FnOnce() -> T) -> (T, Vec<u64>) {
    let (over, times) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut counted = admitted_so_far(limit);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
                let (now, count) = (shm_lib::now().as_nanos(), admitted_so_far(limit));
                let new = std::iter::repeat_n(now, count.saturating_sub(counted) as usize);
                times.lock().expect("no panic").extend(new);
                counted = counted.max(count);
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    });
    (done, times.into_inner().expect("no panic"))
}

/// Checks that at no instant more permits were held than the limiter has. Permits of killed holders are left out.
fn assert_permits_kept(permits: u32, visits: &[Visit]) {
    if permits == 0 {
        return;
    }
    let held = visits.iter().filter(|visit| visit.known != 0 && visit.released > visit.known);
    // At the same instant a permit is given back before another is taken.
    let mut changes: Vec<(u64, i64)> =
        held.flat_map(|visit| [(visit.known, 1), (visit.released, -1)]).collect();
    changes.sort_unstable();
    let mut now = 0;
    for (at, change) in changes {
        now += change;
        assert!(now <= i64::from(permits), "{now} of {permits} permits held at {:?}", Nanos::from_nanos(at));
    }
}

//! Runs a scenario on the real code, in simulated time and on one thread: several processes, each with its own handle,
//! seat, place and locks, with callers that sleep and wake up late.
//!
//! *Stopped*: none of its callers looks while time passes. *Killed*: its locks are released, but it has not left.
//! Between two operations, everything is as the real code left it. What may happen in the middle of an operation is
//! covered by the loom and shuttle tests, and by fault injection.

use super::promise::{CheckResult, NOT_IN_LINE, Promise, QueuedCaller};
use crate::clock::set::SetClock;
use crate::clock::{self, Nanos};
use crate::commit::Verdict;
use crate::directory::Directory;
use crate::intervals::WAKE_GRACE;
use crate::layout::{PLACES, Place, TURNS};
use crate::limit::{Cost, Limit, Policy, Unit};
use crate::limiter::process::ProcessState;
use crate::limiter::wait::{Demand, SleepPlan, TendStep, WaitStep as Looked, Waiter};
use crate::limiter::{Decision, Limiter, Settings};
use crate::line::{CallerWaker, Charge};
use crate::name::Name;
use crate::permit::PermitToken;
use crate::seat::HolderId;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::futex::simulated::{self, Row};
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

pub(super) const PROCESSES: usize = 5;
const START: u64 = 1_000_000_000_000;
const MS: u64 = 1_000_000;
const GRACE_NS: u64 = WAKE_GRACE.as_nanos() as u64;
/// A waiting thread looks at least this often: see `shm-lib`.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long the tending thread stays when there are no tasks.
const LINGER: u64 = 1_000 * MS;
/// How long it takes until others find what a process left behind: the sleeps of the first five processes, plus the
/// time after which a turn is open to any caller.
const FOUND_WITHIN: u64 = 220 * MS;
/// How far turns are charged ahead: callers that wake up late may be served out of order by this much.
const CHARGE_AHEAD_NS: u64 = 20 * MS;
/// A sleeper that wakes more often than this in one step does not sleep at all.
const WAKE_UPS: usize = 20_000;

/// The limiter under test.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) limit: Limit,
    /// Whether its state is a record rather than one word.
    pub(super) is_record: bool,
    pub(super) permits: Option<u32>,
    /// How late the callers wake up, used in turn.
    pub(super) late: Vec<u64>,
}

impl World {
    fn policy(&self, limit: Limit) -> Policy {
        let policy = if self.is_record {
            // The second limit never denies.
            let wide = Limit::with_burst("1000000/s".parse().unwrap(), 1_000_000).unwrap();
            Policy::new(&[limit, wide]).unwrap()
        } else {
            limit.into()
        };
        self.permits.map_or(policy, |permits| policy.with_permits(permits).unwrap())
    }

    fn latest_wake_up(&self) -> u64 {
        self.late.iter().copied().max().unwrap_or(0)
    }
}

/// The next event. Indices select among what exists, modulo its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Arrives {
        process: usize,
        cost: u64,
        is_task: bool,
        patience: Option<u64>,
    },
    Leaves(usize),
    /// Looks without having been woken, as after a signal.
    Looks(usize),
    Passes(u64),
    Tries {
        process: usize,
        cost: u64,
    },
    Charges {
        process: usize,
        tokens: u64,
    },
    Stops(usize),
    GoesOn(usize),
    Dies(usize),
    /// Killed right after it claimed a slot for filling, or after it charged the limit.
    DiesFilling {
        process: usize,
        after_charging: bool,
    },
    GivesPermitBack(usize),
    ChangesRate(u64),
    Resets,
    Pauses(u64),
    Resumes,
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a sleeper sleeps on.
#[derive(Clone)]
enum SleepsOn {
    Plan(SleepPlan),
    /// A thread that has just been started.
    Started,
    /// Until the word changes.
    Word(Arc<AtomicU64>, u64),
    /// A task, with the number of wake-ups at its last look.
    Task(Arc<Woken>, u64),
}

/// A sleeper, which wakes up late.
#[derive(Clone)]
struct Sleep {
    sleeps_on: SleepsOn,
    /// When it is due to wake up: by its own plan, or because it was woken.
    due: u64,
    is_told: bool,
    late: u64,
}

impl Sleep {
    /// Whether it should have woken up, and will be passed before it does.
    fn is_late(&self, now: u64, is_stopped: bool) -> bool {
        let is_overdue = self.due.saturating_add(GRACE_NS) < now;
        self.due <= now && (is_stopped || self.late > GRACE_NS || is_overdue)
    }
}

struct Caller {
    waiter: Waiter,
    waker: CallerWaker,
    woken: Arc<Woken>,
    word: Arc<AtomicU64>,
    is_task: bool,
    sleep: Sleep,
}

struct Process {
    limiter: Limiter,
    row: Row,
    callers: BTreeMap<usize, Caller>,
    tender: Option<Sleep>,
    /// When it was stopped.
    stopped: Option<u64>,
    /// When it was resumed: what it slept through happens after this.
    went_on: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Caller(usize, usize),
    Tender(usize),
}

pub(super) struct Driver {
    world: World,
    clock: SetClock,
    promise: Promise,
    directory: (Directory, Name),
    processes: Vec<Option<Process>>,
    permits: Vec<(usize, PermitToken)>,
    next_id: usize,
    next_late: usize,
    /// When sleepers were last checked.
    settled: u64,
    /// The first caller in line, and since when it is the first.
    first: (Option<usize>, u64),
    /// Turns already counted as possibly lost.
    given_up: BTreeSet<u64>,
    gives_back_at_once: bool,
    /// Whether callers outside the line have taken something, so that not every turn can be undone exactly.
    is_disturbed: bool,
    /// Whether callers have different costs.
    is_mixed: bool,
    /// Until then, not every process knows which ones are dead.
    unsure_until: u64,
    _folder: tempfile::TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        simulated::clear();
    }
}

fn now() -> u64 {
    clock::now().as_nanos()
}

fn calls(n: u64) -> Cost {
    Cost::of(Unit::CALLS, n)
}

impl Process {
    /// Simulates a separate process, with a seat of its own.
    fn attach(directory: &Directory, name: &Name) -> Process {
        let mut limiter = Limiter::attach(directory, name).unwrap();
        limiter.process.leave(&limiter.segment);
        limiter.process = ProcessState::of_another_process();
        let places = limiter.segment.places();
        let row = (std::ptr::from_ref(&places[0].bell).addr(), size_of::<Place>(), places.len());
        simulated::add_row(row);
        Process { limiter, row, callers: BTreeMap::new(), tender: None, stopped: None, went_on: 0 }
    }

    /// Whether what it sleeps on has changed.
    fn is_told(&self, sleeps_on: &SleepsOn, word: Option<&AtomicU64>) -> bool {
        match sleeps_on {
            SleepsOn::Plan(SleepPlan { bell: Some((place, seen)), .. }) => {
                self.limiter.bell_of(*place) != *seen
            }
            SleepsOn::Plan(plan) => word.is_some_and(|word| word.load(Ordering::Relaxed) != plan.own),
            SleepsOn::Started => true,
            SleepsOn::Word(word, seen) => word.load(Ordering::Relaxed) != *seen,
            SleepsOn::Task(woken, seen) => woken.0.load(Ordering::Relaxed) != *seen,
        }
    }

    /// When this sleeper wakes up if it is not woken earlier.
    fn wakes_up_at(&self, sleep: &Sleep) -> u64 {
        sleep.due.max(self.went_on).saturating_add(sleep.late)
    }

    fn sleepers(&self) -> impl Iterator<Item = &Sleep> {
        self.callers.values().map(|caller| &caller.sleep).chain(&self.tender)
    }
}

impl Driver {
    pub(super) fn new(world: &World) -> Driver {
        simulated::clear();
        let clock = SetClock::at(Nanos::from_nanos(START));
        let folder = tempfile::tempdir().unwrap();
        let (directory, name) = (Directory::at(folder.path()), Name::new("line").unwrap());
        let first = Limiter::open(&directory, &name, &Settings::new(world.policy(world.limit))).unwrap();
        let epoch = first.segment.generations().epoch();
        let processes = (0..PROCESSES).map(|_| Some(Process::attach(&directory, &name))).collect();
        Driver {
            promise: Promise::new(world.limit, world.permits, epoch, START - 10_000),
            world: world.clone(),
            clock,
            directory: (directory, name),
            processes,
            permits: Vec::new(),
            next_id: 0,
            next_late: 0,
            settled: START,
            first: (None, START),
            given_up: BTreeSet::new(),
            gives_back_at_once: false,
            is_disturbed: false,
            is_mixed: false,
            unsure_until: 0,
            _folder: folder,
        }
    }

    /// Runs a whole scenario.
    pub(super) fn run(world: &World, steps: &[Step]) -> CheckResult {
        let mut driver = Driver::new(world);
        driver.play_all(steps)?;
        driver.ends()
    }

    /// Runs the beginning of a scenario.
    pub(super) fn play_all(&mut self, steps: &[Step]) -> CheckResult {
        for step in steps {
            self.play(*step)?;
            self.wake_notified()?;
            self.check_queue()?;
        }
        Ok(())
    }

    /// In how long a call would be admitted, to the millisecond.
    pub(super) fn available_in(&self) -> Duration {
        let limiter = &self.processes.iter().flatten().next().expect("one that lives").limiter;
        let next = limiter.inspect().unwrap().limits[0].next_at.since(clock::now());
        Duration::from_millis(u64::try_from((next + Duration::from_micros(500)).as_millis()).unwrap())
    }

    /// The processes of the waiting callers, in order of arrival.
    pub(super) fn waiting(&self) -> Vec<usize> {
        self.promise.line.iter().map(|caller| caller.process).collect()
    }

    fn late(&mut self) -> u64 {
        self.next_late += 1;
        self.world.late[self.next_late % self.world.late.len()]
    }

    /// A task is woken by the tending thread, and both wake up late.
    fn wakes_up_within(&self) -> u64 {
        2 * self.world.latest_wake_up() + MS / 10
    }

    /// Every caller that could have been served as well is served within this time: the first wakes up, is served, and
    /// wakes the next.
    fn soon(&self) -> u64 {
        self.wakes_up_within()
    }

    /// The process at this index; a new one if the last one there was killed. `None` if it is stopped.
    fn process(&mut self, process: usize) -> Option<usize> {
        let (directory, name) = (&self.directory.0, &self.directory.1);
        let index = process % PROCESSES;
        let process = self.processes[index].get_or_insert_with(|| Process::attach(directory, name));
        process.stopped.is_none().then_some(index)
    }

    fn at(&self, process: usize) -> &Process {
        self.processes[process].as_ref().expect("one that lives")
    }

    fn at_mut(&mut self, process: usize) -> &mut Process {
        self.processes[process].as_mut().expect("one that lives")
    }

    fn pick(&self, n: usize) -> Option<(usize, usize)> {
        let callers: Vec<(usize, usize)> = self
            .processes
            .iter()
            .enumerate()
            .flat_map(|(i, process)| process.iter().map(move |process| (i, process)))
            .filter(|(_, process)| process.stopped.is_none())
            .flat_map(|(i, process)| process.callers.keys().map(move |&id| (i, id)))
            .collect();
        (!callers.is_empty()).then(|| callers[n % callers.len()])
    }

    fn play(&mut self, step: Step) -> CheckResult {
        match step {
            Step::Arrives { process, cost, is_task, patience } => {
                self.arrives(process, cost, is_task, patience)?;
            }
            Step::Leaves(n) => {
                if let Some((process, id)) = self.pick(n) {
                    let charged = self.charged();
                    let mut caller = self.at_mut(process).callers.remove(&id).expect("picked");
                    self.at(process).limiter.cancel_wait(&mut caller.waiter);
                    // It may have been about to wake up for a turn that has come, and is now open to others.
                    let since = self.promise.find(id).map_or(0, |caller| caller.arrived);
                    self.promise.leaves(id, now().saturating_sub(self.wakes_up_within()).max(since));
                    self.caller_left(charged);
                }
            }
            Step::Looks(n) => {
                if let Some((process, id)) = self.pick(n) {
                    self.looks(process, id)?;
                }
            }
            Step::Passes(time) => self.passes(now() + time)?,
            Step::Tries { process, cost } => self.tries(process, cost)?,
            Step::Charges { process, tokens } => {
                // A charge during a pause begins when the pause ends, even if that is early.
                if let Some(process) = self.process(process).filter(|_| !self.promise.is_paused(now())) {
                    self.at(process).limiter.charge(&calls(tokens)).unwrap();
                    self.promise.charges(tokens, now());
                    if self.is_mixed {
                        // From now on, ready turns that fit no caller cannot be undone exactly.
                        let turns: u64 = self.charged().iter().map(|turn| turn.1).sum();
                        self.promise.may_lose(turns, now());
                    }
                    self.is_disturbed = true;
                }
            }
            Step::Stops(process) => {
                let process = process % PROCESSES;
                if let Some(stopped) = self.processes[process].as_mut().filter(|one| one.stopped.is_none()) {
                    stopped.stopped = Some(now());
                    self.promise.is_excused(Some(process));
                    let waits_for_nothing = self.at(process).callers.is_empty();
                    self.process_failed(waits_for_nothing);
                }
            }
            Step::GoesOn(process) => self.goes_on(process % PROCESSES),
            Step::Dies(process) => self.dies(process % PROCESSES),
            Step::DiesFilling { process, after_charging } => {
                let process = process % PROCESSES;
                let Some(dying) = &self.processes[process] else { return Ok(()) };
                let id = dying.limiter.process.callers().place.as_ref().map(|place| place.id);
                if let Some(id) = id.filter(|_| dying.stopped.is_none() && !dying.callers.is_empty()) {
                    let filling = dying.limiter.turns().begin(id);
                    if after_charging && filling.is_some() && !self.world.is_record {
                        let latest = Nanos::from_nanos(u64::MAX);
                        let charged = dying.limiter.segment.words().reserve(1, latest, true, &clock::now);
                        if matches!(charged, Ok(Verdict::Admitted { .. })) {
                            self.promise.may_lose(1, now());
                            self.is_disturbed = true;
                        }
                    }
                    self.dies(process);
                }
            }
            Step::GivesPermitBack(n) => {
                if !self.permits.is_empty() {
                    let n = n % self.permits.len();
                    self.return_permit(n);
                }
            }
            Step::ChangesRate(per_second) => {
                let limit = self.world.limit.at_rate(format!("{per_second}/s").parse().unwrap()).unwrap();
                let policy = self.world.policy(limit);
                self.control(|limiter| limiter.change(policy).unwrap());
                self.promise.changes(limit, self.epoch(), (now(), self.soon()));
            }
            Step::Resets => {
                self.control(|limiter| limiter.reset().unwrap());
                self.promise.resets(self.epoch(), (now(), self.soon()));
            }
            Step::Pauses(time) => {
                let (until, epoch) = (now() + time, self.epoch());
                self.control(|limiter| limiter.pause_for(Duration::from_nanos(time)).unwrap());
                if self.epoch() != epoch {
                    self.promise.pauses(until, self.epoch(), (now(), self.soon()));
                }
            }
            Step::Resumes => {
                let epoch = self.epoch();
                self.control(|limiter| limiter.resume().unwrap());
                if self.epoch() != epoch {
                    self.promise.pauses(0, self.epoch(), (now(), self.soon()));
                }
            }
        }
        Ok(())
    }

    /// A process outside the line changes the limiter.
    fn control(&mut self, change: impl FnOnce(&Limiter)) {
        if self.is_disturbed {
            // It undoes all turns, but not exactly those after which others have taken something.
            let tokens = self.charged().iter().map(|turn| turn.1).sum();
            self.promise.may_lose(tokens, now());
        }
        let limiter = Limiter::attach(&self.directory.0, &self.directory.1).unwrap();
        change(&limiter);
    }

    fn epoch(&self) -> u64 {
        let process = self.processes.iter().flatten().next();
        process.map_or(0, |process| process.limiter.segment.generations().epoch())
    }

    fn arrives(&mut self, process: usize, cost: u64, is_task: bool, patience: Option<u64>) -> CheckResult {
        let Some(process) = self.process(process) else { return Ok(()) };
        let cost = cost.min(self.promise.max_cost());
        let arrived = now();
        let latest = patience.map_or(u64::MAX, |patience| arrived + patience);
        let granted = self
            .at(process)
            .limiter
            .admit_now(&Demand::new(&calls(cost)).until(Nanos::from_nanos(latest)))
            .unwrap();
        if let Some(granted) = granted {
            let receipt = granted.receipt;
            self.permits.extend(granted.permit.map(|permit| (process, permit)));
            return self.is_admitted(NOT_IN_LINE, cost, receipt.epoch, receipt.at);
        }
        if !self.is_mixed && self.promise.line.iter().any(|other| other.cost != cost) {
            self.is_mixed = true;
            let stopped = self.processes.iter().flatten().filter(|process| process.stopped.is_some());
            let waiting = stopped.filter(|process| !process.callers.is_empty()).count() as u64;
            self.may_idle_behind_stopped(waiting);
        }
        let id = self.next_id;
        self.next_id += 1;
        let (woken, word) = (Arc::<Woken>::default(), Arc::new(AtomicU64::new(0)));
        let waker = if is_task {
            CallerWaker::Task(Waker::from(Arc::clone(&woken)))
        } else {
            CallerWaker::Thread(Arc::clone(&word))
        };
        let waiter = Waiter::new(Demand::new(&calls(cost)).until(Nanos::from_nanos(latest)));
        let sleeps_on = SleepsOn::Task(Arc::clone(&woken), 0);
        let sleep = Sleep { sleeps_on, due: 0, is_told: false, late: 0 };
        let caller = Caller { waiter, waker, woken, word, is_task, sleep };
        self.promise.arrives(QueuedCaller { id, process, arrived, cost, latest });
        self.at_mut(process).callers.insert(id, caller);
        self.looks(process, id)
    }

    fn tries(&mut self, process: usize, cost: u64) -> CheckResult {
        let Some(process) = self.process(process) else { return Ok(()) };
        let cost = cost.min(self.promise.max_cost());
        let limiter = &self.at(process).limiter;
        let decision = if limiter.has_permits() {
            let Some(permit) = limiter.take_permit().unwrap() else { return Ok(()) };
            let (decision, _) = limiter.try_cost(&calls(cost)).unwrap();
            match decision {
                Decision::Admitted(_) => self.permits.push((process, permit)),
                Decision::Denied { .. } => limiter.give_back(permit),
            }
            decision
        } else {
            limiter.try_acquire_fast(cost).or_else(|_| limiter.try_acquire(cost)).unwrap()
        };
        if let Decision::Admitted(receipt) = decision {
            self.is_disturbed = true;
            self.is_admitted(NOT_IN_LINE, cost, receipt.epoch, receipt.at)?;
        }
        Ok(())
    }

    fn is_admitted(&mut self, id: usize, cost: u64, epoch: u64, at: Nanos) -> CheckResult {
        let now = now();
        // Dead and stopped processes are waited for until they are late.
        let mut soon = self.soon() + self.unsure_until.saturating_sub(now);
        if self.is_mixed {
            // Turns charged for other callers may have come, which are too small for the first in line.
            soon += CHARGE_AHEAD_NS + self.promise.time_for(self.promise.max_cost());
        }
        let processes = &self.processes;
        // A stopped process may be passed as soon as it is needed: whoever needs it moves its plan to the present.
        let is_running = |process: &Process| process.stopped.is_none();
        let awake = |caller: &QueuedCaller| {
            processes[caller.process].as_ref().is_some_and(is_running) && is_awake(processes, caller, now)
        };
        self.promise.is_admitted(id, (cost, epoch), (at.as_nanos(), now), soon, awake)?;
        if self.world.permits.is_some() {
            // The next caller is woken, and charges its turn when a permit is free for it.
            self.promise.may_idle(self.soon());
        }
        Ok(())
    }

    /// A caller looks, and then goes on, gives up or sleeps.
    fn looks(&mut self, process: usize, id: usize) -> CheckResult {
        let (late, start_late) = (self.late(), self.late());
        let (charged, newest) = (self.charged(), self.newest());
        let one = self.processes[process].as_mut().expect("one that lives");
        let caller = one.callers.get_mut(&id).expect("one that waits");
        let seen = caller.woken.0.load(Ordering::Relaxed);
        let slept = caller.sleep.clone();
        match one.limiter.poll_turn(&mut caller.waiter, &caller.waker).unwrap() {
            Looked::Sleep { plan, start_tending } => {
                let (sleeps_on, due) = if caller.is_task {
                    (SleepsOn::Task(Arc::clone(&caller.woken), seen), u64::MAX)
                } else {
                    let plan = plan.at_most(ASK_EVERY);
                    (SleepsOn::Plan(plan), plan.until.as_nanos())
                };
                caller.sleep = Sleep { sleeps_on, due, is_told: false, late };
                if start_tending {
                    one.tender = Some(Sleep {
                        sleeps_on: SleepsOn::Started,
                        due: now(),
                        is_told: true,
                        late: start_late,
                    });
                }
            }
            Looked::Granted(granted) => {
                let cost = caller.waiter.demand.ask.asked().cost().call_count();
                one.callers.remove(&id);
                self.permits.extend(granted.permit.map(|permit| (process, permit)));
                let at = granted.receipt.at;
                self.is_admitted(id, cost, granted.receipt.epoch, at)?;
                // If a turn was charged for a larger request, the rest is refunded as far as a settlement can.
                let largest = charged.iter().filter(|turn| turn.0 == at.as_nanos()).map(|turn| turn.1).max();
                let others: Vec<_> = charged.into_iter().filter(|turn| turn.0 != at.as_nanos()).collect();
                if newest != Some(at.as_nanos()) || others != self.charged() {
                    self.promise.may_lose(largest.map_or(0, |most| most.saturating_sub(cost)), at.as_nanos());
                }
                self.caller_left(others);
            }
            Looked::Denied(_) => {
                let mine = *self.promise.find(id).expect("one that waits");
                let went_on = one.went_on;
                one.callers.remove(&id);
                if slept.late == 0 {
                    // It has just arrived.
                    self.promise.leaves(id, now());
                    // Dead callers are counted until they are found, and a turn that has come belongs to earlier
                    // callers.
                    let is_sure = !self.is_mixed
                        && now() > self.unsure_until
                        && self.charged().iter().all(|turn| turn.0 > now());
                    let slack = if is_sure { MS / 10 } else { u64::MAX >> 1 };
                    return self.promise.is_refused(mine.cost, (now(), mine.latest), slack);
                }
                let late = self.wakes_up_within();
                self.promise.is_denied(id, now(), late, mine.latest.max(went_on) + late)?;
                self.caller_left(charged);
            }
            other @ (Looked::Shadow | Looked::NoPlace(_)) => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    /// The unclaimed turns: instants and costs.
    fn charged(&self) -> Vec<(u64, u64)> {
        let Some(process) = self.processes.iter().flatten().next() else { return Vec::new() };
        let table = process.limiter.turns();
        table.ready().all().iter().map(|turn| (turn.at, table.charge_of(turn).costs[0])).collect()
    }

    /// The turn after which nothing was charged.
    fn newest(&self) -> Option<u64> {
        let limiter = &self.processes.iter().flatten().next()?.limiter;
        let (table, generations) = (limiter.turns(), limiter.segment.generations());
        let is_newest = |charge: &Charge| charge.after == generations.state_of(charge.epoch);
        let ready = table.ready();
        ready.all().iter().find(|turn| is_newest(&table.charge_of(turn))).map(|turn| turn.at)
    }

    fn tends(&mut self, process: usize) {
        let late = self.late();
        let one = self.at_mut(process);
        let Some(slept) = one.tender.take() else { return };
        if let SleepsOn::Word(word, seen) = &slept.sleeps_on {
            // It lingered, and no task came.
            if word.load(Ordering::Acquire) == *seen && one.limiter.stop_tending() {
                return;
            }
        }
        one.tender = Some(match one.limiter.tend() {
            TendStep::Sleep(plan) => {
                Sleep { sleeps_on: SleepsOn::Plan(plan), due: plan.until.as_nanos(), is_told: false, late }
            }
            TendStep::Idle(word, seen) => {
                Sleep { sleeps_on: SleepsOn::Word(word, seen), due: now() + LINGER, is_told: false, late }
            }
        });
    }

    fn return_permit(&mut self, n: usize) {
        let (process, permit) = self.permits.swap_remove(n);
        self.at(process).limiter.give_back(permit);
        self.promise.permit_returned();
        self.promise.may_idle(self.soon());
    }

    fn goes_on(&mut self, process: usize) {
        if let Some(one) = self.processes[process].as_mut().filter(|one| one.stopped.is_some()) {
            (one.stopped, one.went_on) = (None, now());
        }
    }

    fn dies(&mut self, process: usize) {
        let Some(dead) = self.processes[process].take() else { return };
        simulated::remove_row(dead.row);
        dead.limiter.process.is_killed();
        let held = self.permits.len();
        self.permits.retain(|&(holder, _)| holder != process);
        for _ in self.permits.len()..held {
            self.promise.permit_returned();
            self.promise.may_idle(FOUND_WITHIN);
        }
        self.process_failed(dead.callers.is_empty());
        dead.callers.keys().for_each(|&id| self.promise.leaves(id, now()));
        self.caller_left(self.charged());
    }

    /// It is stopped or dead. If the others relied on it, they find out after a while.
    fn process_failed(&mut self, waits_for_nothing: bool) {
        if waits_for_nothing {
            return;
        }
        self.promise.is_excused(None);
        self.promise.may_idle(FOUND_WITHIN + self.soon());
        self.unsure_until = now() + FOUND_WITHIN;
        if self.is_mixed {
            self.may_idle_behind_stopped(1);
        }
        self.is_disturbed = true;
    }

    /// A turn for a large request of a stopped process is not charged again for smaller ones.
    fn may_idle_behind_stopped(&mut self, processes: u64) {
        self.promise.may_idle(processes * self.promise.time_for(self.promise.max_cost()));
    }

    /// A caller has left the line, in whatever way. `charged`: the turns that were charged before it did.
    fn caller_left(&mut self, charged: Vec<(u64, u64)>) {
        if self.is_mixed {
            // Turns for other costs are charged again once the first in line has woken up. If others have charged
            // something meanwhile, the turns are only refunded as far as a settlement can.
            self.promise.may_idle(self.soon());
            let turns = charged.len() as u64;
            if self.is_disturbed {
                self.promise.may_idle(self.promise.time_for(turns * self.promise.max_cost()));
            }
        }
        if self.is_disturbed && self.promise.line.is_empty() {
            // The last caller undoes what it can, but not turns after which others have charged something.
            self.lose_turns_before(u64::MAX, 0);
        }
        // Turns that have come belong to callers that had arrived by then, one for each.
        let mut had_one = 0;
        for (at, tokens) in charged.into_iter().filter(|&(at, _)| at <= now()) {
            if self.promise.line.iter().filter(|caller| caller.arrived <= at).count() > had_one {
                had_one += 1;
            } else {
                self.loses_turn(at, tokens);
            }
        }
    }

    /// A turn that came before the arrival of every waiting caller belongs to none of them, and is undone after 100 ms,
    /// even if callers sleep on.
    fn lose_turns_before_all_arrivals(&mut self) {
        let (processes, now) = (&self.processes, now());
        let awake = self.promise.line.iter().filter(|caller| is_awake(processes, caller, now));
        let oldest = awake.map(|caller| caller.arrived).min().unwrap_or(now);
        self.lose_turns_before(oldest, 99 * MS);
    }

    fn lose_turns_before(&mut self, oldest: u64, age: u64) {
        let is_lost = |&(at, _): &(u64, u64)| at < oldest && (age == 0 || at + age < now());
        for (at, tokens) in self.charged().into_iter().filter(is_lost) {
            self.loses_turn(at, tokens);
        }
    }

    /// No caller may claim this turn any more.
    fn loses_turn(&mut self, at: u64, tokens: u64) {
        if self.given_up.insert(at) {
            self.promise.may_lose(tokens, at);
            // Its refund replaces a record, after which later turns cannot be undone exactly.
            self.is_disturbed |= self.world.is_record;
        }
    }

    /// Wakes the sleepers that were notified meanwhile, and tells the model.
    fn wake_notified(&mut self) -> CheckResult {
        if self.gives_back_at_once {
            while !self.permits.is_empty() {
                self.return_permit(0);
            }
        }
        self.lose_turns_before_all_arrivals();
        let now = now();
        self.settled = now;
        let first = self.promise.line.first().map(|caller| caller.id);
        if self.first.0 != first {
            self.first = (first, now);
        }
        let mut asleep = BTreeSet::new();
        for process in self.processes.iter_mut().flatten() {
            let told = |process: &Process, sleep: &Sleep, word: Option<&AtomicU64>| {
                !sleep.is_told && process.is_told(&sleep.sleeps_on, word)
            };
            let callers: Vec<usize> = process
                .callers
                .iter()
                .filter(|(_, caller)| told(process, &caller.sleep, Some(&caller.word)))
                .map(|(&id, _)| id)
                .collect();
            let tender = process.tender.as_ref().is_some_and(|sleep| told(process, sleep, None));
            let wake = |sleep: &mut Sleep| {
                (sleep.is_told, sleep.due) = (true, sleep.due.min(now));
            };
            callers.into_iter().for_each(|id| wake(&mut process.callers.get_mut(&id).expect("told").sleep));
            process.tender.iter_mut().filter(|_| tender).for_each(wake);
            let sleeps = |sleep: &Sleep| match &sleep.sleeps_on {
                SleepsOn::Plan(SleepPlan { bell: Some((place, _)), .. })
                    if !sleep.is_told && sleep.due > now =>
                {
                    Some(*place)
                }
                _ => None,
            };
            asleep.extend(process.sleepers().filter_map(sleeps));
        }
        (0..*PLACES.start()).for_each(|place| simulated::set_asleep(place, asleep.contains(&place)));
        let processes = &self.processes;
        self.promise.passes(now, |caller| is_awake(processes, caller, now))
    }

    /// The next sleeper to wake up, and when.
    fn next(&self) -> Option<(u64, Who)> {
        let living =
            self.processes.iter().enumerate().filter_map(|(i, process)| Some((i, process.as_ref()?)));
        let running = living.filter(|(_, process)| process.stopped.is_none());
        let sleepers = running.flat_map(|(i, process)| {
            let callers =
                process.callers.iter().map(move |(&id, caller)| (&caller.sleep, Who::Caller(i, id)));
            let all = callers.chain(process.tender.iter().map(move |sleep| (sleep, Who::Tender(i))));
            all.map(|(sleep, who)| (process.wakes_up_at(sleep), who))
        });
        sleepers.min_by_key(|&(at, _)| at)
    }

    /// When the next sleeper becomes late.
    fn next_late(&self) -> u64 {
        let sleepers = self.processes.iter().flatten().flat_map(Process::sleepers);
        let late = sleepers.map(|sleep| sleep.due).filter(|&at| at > self.settled);
        late.min().unwrap_or(u64::MAX)
    }

    fn passes(&mut self, until: u64) -> CheckResult {
        for wake_ups in 0.. {
            prop_assert!(wake_ups < WAKE_UPS, "a caller does not sleep: {:?}", self.next());
            self.wake_notified()?;
            let late = self.next_late();
            match self.next().filter(|&(at, _)| at <= until && at <= late) {
                Some((at, who)) => {
                    self.clock.pass_until(at);
                    self.lose_turns_before_all_arrivals();
                    match who {
                        Who::Caller(process, id) => self.looks(process, id)?,
                        Who::Tender(process) => self.tends(process),
                    }
                }
                None if late <= until => self.clock.pass_until(late),
                None => break,
            }
        }
        self.clock.pass_until(until);
        self.wake_notified()
    }

    /// Checks that `inspect` shows exactly the waiting callers, and that no turns are charged for others.
    fn check_queue(&self) -> CheckResult {
        let Some(process) = self.processes.iter().flatten().next() else { return Ok(()) };
        let waiting = process.limiter.inspect().unwrap().waiting;
        let seen: Vec<u64> = waiting.iter().map(|process| process.callers).collect();
        let total: Vec<u64> = self.promise.queue().into_iter().map(|(_, callers)| callers).collect();
        let is_late = waiting.iter().any(|process| process.late);
        prop_assert_eq!(seen.iter().sum::<u64>(), total.iter().sum::<u64>(), "{:?}", &waiting);
        // A process whose first caller is late shows its next one.
        if !is_late && self.world.latest_wake_up() < GRACE_NS {
            prop_assert_eq!(&seen, &total);
        }
        prop_assert_eq!(seen.len(), total.len());
        // A caller that has waited for a while, since an earlier one left, has undone the turns from before all arrivals.
        let (now, oldest) = (now(), self.promise.line.first().map_or(0, |caller| caller.arrived));
        let awake = self.promise.line.iter().find(|caller| is_awake(&self.processes, caller, now));
        if awake.is_some_and(|caller| caller.arrived.max(self.first.1) + FOUND_WITHIN < now)
            && now > self.unsure_until
        {
            let is_old = |&(at, _): &(u64, u64)| at < oldest && at + FOUND_WITHIN < now;
            prop_assert_eq!(self.charged().into_iter().filter(is_old).collect::<Vec<_>>(), []);
        }
        // Nothing is charged for an empty line. (Refunding a turn that was too large changes the state, after which
        // later turns cannot be undone exactly.)
        if total.is_empty() && !self.is_disturbed && !self.is_mixed {
            prop_assert_eq!(self.charged(), []);
        }
        Ok(())
    }

    /// Resumes all stopped processes, returns all permits, ends the pause. Then every caller is served.
    fn ends(&mut self) -> CheckResult {
        (0..PROCESSES).for_each(|process| self.goes_on(process));
        if self.promise.is_paused(now()) {
            self.play(Step::Resumes)?;
        }
        self.gives_back_at_once = true;
        self.wake_notified()?;
        let line = &self.promise.line;
        let (n, asked) = (line.len() as u64, line.iter().map(|caller| caller.cost).sum::<u64>());
        let end = now()
            + self.promise.time_for_debts(now())
            + self.promise.time_for(asked + n)
            + (n + 2) * (self.soon() + FOUND_WITHIN);
        self.passes(end)?;
        prop_assert!(self.promise.line.is_empty(), "they wait for ever: {:?}", self.promise.line);
        self.promise.holds(now())?;
        // Nothing is left behind: a bucket left alone is full.
        let full = self.promise.time_for(self.promise.max_cost()) + self.promise.time_for_debts(now());
        self.passes(now() + full + MS)?;
        let most = self.promise.max_cost();
        let Some(process) = self.process(0) else { return Ok(()) };
        let cost = calls(most);
        let granted = self.at(process).limiter.admit_now(&Demand::new(&cost)).unwrap();
        prop_assert!(granted.is_some(), "something is left behind");
        self.permits.extend(granted.and_then(|granted| granted.permit).map(|permit| (process, permit)));
        self.promise.held += u32::from(self.world.permits.is_some());
        // The next waiting caller clears the places of dead processes, and the slots that they were filling.
        let waits = Step::Arrives { process, cost: most, is_task: false, patience: None };
        self.play(waits)?;
        self.passes(now() + 2 * self.promise.time_for(most) + 10 * FOUND_WITHIN)?;
        let limiter = &self.at(process).limiter;
        prop_assert!(!limiter.line().is_occupied(), "a dead process is still in line");
        let last = HolderId { seat: 0, tenure: 9_999 };
        let free = (0..TURNS).take_while(|_| limiter.turns().begin(last).is_some()).count();
        prop_assert_eq!(free + self.charged().len(), TURNS, "a slot is lost");
        Ok(())
    }
}

/// Whether this caller is awake, or about to be in time: its own sleep, and all that determine the plan of its process.
fn is_awake(processes: &[Option<Process>], caller: &QueuedCaller, now: u64) -> bool {
    let Some(process) = &processes[caller.process] else { return false };
    let is_stopped = process.stopped.is_some();
    process.sleepers().all(|sleep| !sleep.is_late(now, is_stopped))
}

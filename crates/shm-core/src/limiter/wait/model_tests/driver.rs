//! Plays the steps of a story on the real code, in a time of its own and by one thread: several processes, each with its own
//! handle, seat, place and locks, with callers that sleep and wake up late.
//!
//! *Stopped*: none of its callers looks while time passes. *Killed*: its locks are free, and it has not left. In between two
//! operations all is as the real code left it; what may happen in the middle of one is shown by the scenes of loom and
//! shuttle, and by `autopsy`.

use super::promise::{Kept, NOBODY, Promise, Stands};
use crate::clock::set::SetClock;
use crate::clock::{self, Nanos};
use crate::commit::Verdict as Taken;
use crate::directory::Directory;
use crate::intervals::WAKE_GRACE;
use crate::layout::{PLACES, Place, TURNS};
use crate::limit::{Cost, Limit, Policy, Unit};
use crate::limiter::process::ProcessState;
use crate::limiter::wait::{Demand, Nap, Step as Looked, Tended, Waiter};
use crate::limiter::{Decision, Limiter, Settings};
use crate::line::{Charge, Rouse};
use crate::name::Name;
use crate::permit::PermitToken;
use crate::seat::HolderId;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::futex::pretended::{self, Row};
use proptest::{prop_assert, prop_assert_eq};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

pub(super) const PROCESSES: usize = 5;
const START: u64 = 1_000_000_000_000;
const MS: u64 = 1_000_000;
const GRACE_NS: u64 = WAKE_GRACE.as_nanos() as u64;
/// A waiting thread looks so often, whatever it is told: see `shm-lib`.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// For how long the thread that tends tasks stays when there are none.
const LINGER: u64 = 1_000 * MS;
/// What somebody who was first leaves to others is found by them in this time: the watch of the first five processes, and the
/// time after which a turn is anybody's.
const FOUND_WITHIN: u64 = 220 * MS;
/// By how much turns are charged ahead: so much out of order may those be served who wake up late.
const HORIZON: u64 = 20 * MS;
/// Whoever wakes up more often than this in one step of a story does not sleep.
const WAKE_UPS: usize = 20_000;

/// What a limiter is like.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) limit: Limit,
    /// Whether its state is a record, and not one word.
    pub(super) is_record: bool,
    pub(super) permits: Option<u32>,
    /// How long after they should the callers wake up, one after the other.
    pub(super) late: Vec<u64>,
}

impl World {
    fn policy(&self, limit: Limit) -> Policy {
        let policy = if self.is_record {
            // The second one never denies.
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

/// What happens next. Indices count what is there, round and round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Arrives {
        process: usize,
        cost: u64,
        is_task: bool,
        patience: Option<u64>,
    },
    Leaves(usize),
    /// It looks without having been told to, as after a signal.
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
    /// Right after it began to fill a slot, or after it charged the limit for it.
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

/// On what somebody sleeps.
#[derive(Clone)]
enum Bed {
    Nap(Nap),
    /// Of a thread that has just been started.
    Started,
    /// Until the word says something else.
    Word(Arc<AtomicU64>, u64),
    /// A task, which was told so often to look.
    Task(Arc<Woken>, u64),
}

/// Somebody who sleeps, and wakes up late.
#[derive(Clone)]
struct Sleep {
    bed: Bed,
    /// When it is to wake up: by its own plan, or because it was told to.
    due: u64,
    is_told: bool,
    late: u64,
}

impl Sleep {
    /// Whether it should have woken up, and will be passed over before it does.
    fn is_late(&self, now: u64, is_stopped: bool) -> bool {
        let is_overdue = self.due.saturating_add(GRACE_NS) < now;
        self.due <= now && (is_stopped || self.late > GRACE_NS || is_overdue)
    }
}

struct Caller {
    waiter: Waiter,
    rouse: Rouse,
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
    /// Since when it is.
    stopped: Option<u64>,
    /// Since when it is not stopped: whatever it slept through comes after this.
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
    /// When it was looked at last who sleeps.
    settled: u64,
    /// Turns that may be lost already.
    given_up: BTreeSet<u64>,
    gives_back_at_once: bool,
    /// Whether somebody takes beside the line: then not every turn can be undone exactly.
    is_disturbed: bool,
    /// Whether callers ask for more or less than others.
    is_mixed: bool,
    /// Until then not everybody knows who is dead.
    unsure_until: u64,
    _folder: tempfile::TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        pretended::forgets_all();
    }
}

fn now() -> u64 {
    clock::now().as_nanos()
}

fn calls(n: u64) -> Cost {
    Cost::of(Unit::CALLS, n)
}

impl Process {
    /// Another process than all others: with a seat of its own.
    fn attach(directory: &Directory, name: &Name) -> Process {
        let mut limiter = Limiter::attach(directory, name).unwrap();
        limiter.process.leave(&limiter.segment);
        limiter.process = ProcessState::of_another_process();
        let places = limiter.segment.places();
        let row = (std::ptr::from_ref(&places[0].bell).addr(), size_of::<Place>(), places.len());
        pretended::knows(row);
        Process { limiter, row, callers: BTreeMap::new(), tender: None, stopped: None, went_on: 0 }
    }

    /// Whether what it sleeps on says something else by now.
    fn is_told(&self, bed: &Bed, word: Option<&AtomicU64>) -> bool {
        match bed {
            Bed::Nap(Nap { bell: Some((place, seen)), .. }) => self.limiter.bell_of(*place) != *seen,
            Bed::Nap(nap) => word.is_some_and(|word| word.load(Ordering::Relaxed) != nap.own),
            Bed::Started => true,
            Bed::Word(word, seen) => word.load(Ordering::Relaxed) != *seen,
            Bed::Task(woken, seen) => woken.0.load(Ordering::Relaxed) != *seen,
        }
    }

    /// When this one wakes up, if nobody tells it to before.
    fn wakes_up_at(&self, sleep: &Sleep) -> u64 {
        sleep.due.max(self.went_on).saturating_add(sleep.late)
    }

    fn sleepers(&self) -> impl Iterator<Item = &Sleep> {
        self.callers.values().map(|caller| &caller.sleep).chain(&self.tender)
    }
}

impl Driver {
    pub(super) fn new(world: &World) -> Driver {
        pretended::forgets_all();
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
            given_up: BTreeSet::new(),
            gives_back_at_once: false,
            is_disturbed: false,
            is_mixed: false,
            unsure_until: 0,
            _folder: folder,
        }
    }

    /// The whole story.
    pub(super) fn plays(world: &World, steps: &[Step]) -> Kept {
        let mut driver = Driver::new(world);
        for step in steps {
            driver.play(*step)?;
            driver.settles()?;
            driver.queue_is_right()?;
        }
        driver.ends()
    }

    fn late(&mut self) -> u64 {
        self.next_late += 1;
        self.world.late[self.next_late % self.world.late.len()]
    }

    /// A task is told by the thread that tends it, and both wake up late.
    fn wakes_up_within(&self) -> u64 {
        2 * self.world.latest_wake_up() + MS / 10
    }

    /// Whoever could have been served as well is served in this time: the first wakes up, is served, and wakes the next.
    fn soon(&self) -> u64 {
        self.wakes_up_within()
    }

    /// The process at this index; a new one if the last one there was killed. Not one that is stopped.
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

    fn play(&mut self, step: Step) -> Kept {
        match step {
            Step::Arrives { process, cost, is_task, patience } => {
                self.arrives(process, cost, is_task, patience)?
            }
            Step::Leaves(n) => {
                if let Some((process, id)) = self.pick(n) {
                    let charged = self.charged();
                    let mut caller = self.at_mut(process).callers.remove(&id).expect("picked");
                    self.at(process).limiter.step_out(&mut caller.waiter);
                    // It may have been about to wake up for a turn that has come, and then is anybody's.
                    let since = self.promise.find(id).map_or(0, |caller| caller.arrived);
                    self.promise.leaves(id, now().saturating_sub(self.wakes_up_within()).max(since));
                    self.somebody_is_gone(charged);
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
                // What is charged in a pause begins when it ends, also if it ends earlier.
                if let Some(process) = self.process(process).filter(|_| !self.promise.is_paused(now())) {
                    self.at(process).limiter.charge(&calls(tokens)).unwrap();
                    self.promise.charges(tokens, now());
                    if self.is_mixed {
                        // From now on the turns that are there can't be undone exactly if they fit nobody.
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
                    self.is_gone_from_the_line(waits_for_nothing);
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
                        if matches!(charged, Ok(Taken::Admitted { .. })) {
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
                    self.gives_permit_back(n);
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

    /// Somebody outside of the line changes the limiter.
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

    fn arrives(&mut self, process: usize, cost: u64, is_task: bool, patience: Option<u64>) -> Kept {
        let Some(process) = self.process(process) else { return Ok(()) };
        let cost = cost.min(self.promise.most());
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
            return self.is_admitted(NOBODY, cost, receipt.epoch, receipt.at);
        }
        self.is_mixed |= self.promise.line.iter().any(|other| other.cost != cost);
        let id = self.next_id;
        self.next_id += 1;
        let (woken, word) = (Arc::<Woken>::default(), Arc::new(AtomicU64::new(0)));
        let rouse = if is_task {
            Rouse::Task(Waker::from(Arc::clone(&woken)))
        } else {
            Rouse::Thread(Arc::clone(&word))
        };
        let waiter = Waiter::new(Demand::new(&calls(cost)).until(Nanos::from_nanos(latest)));
        let bed = Bed::Task(Arc::clone(&woken), 0);
        let sleep = Sleep { bed, due: 0, is_told: false, late: 0 };
        let caller = Caller { waiter, rouse, woken, word, is_task, sleep };
        self.promise.arrives(Stands { id, process, arrived, cost, latest });
        self.at_mut(process).callers.insert(id, caller);
        self.looks(process, id)
    }

    fn tries(&mut self, process: usize, cost: u64) -> Kept {
        let Some(process) = self.process(process) else { return Ok(()) };
        let cost = cost.min(self.promise.most());
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
            self.is_admitted(NOBODY, cost, receipt.epoch, receipt.at)?;
        }
        Ok(())
    }

    fn is_admitted(&mut self, id: usize, cost: u64, epoch: u64, at: Nanos) -> Kept {
        let now = now();
        // The dead and the stopped are waited for until they are late.
        let mut soon = self.soon() + self.unsure_until.saturating_sub(now);
        if self.is_mixed {
            // Turns for others may have come, which are too small for the first in line.
            soon += HORIZON + self.promise.time_for(self.promise.most());
        }
        let processes = &self.processes;
        let awake = |caller: &Stands| is_awake(processes, caller, now);
        self.promise.is_admitted(id, (cost, epoch), (at.as_nanos(), now), soon, awake)?;
        if self.world.permits.is_some() {
            // The next one is woken, and charges its turn when a permit is free for it.
            self.promise.may_idle(self.soon());
        }
        Ok(())
    }

    /// A caller looks, and goes on, gives up or sleeps.
    fn looks(&mut self, process: usize, id: usize) -> Kept {
        let (late, start_late) = (self.late(), self.late());
        let (charged, newest) = (self.charged(), self.newest());
        let one = self.processes[process].as_mut().expect("one that lives");
        let caller = one.callers.get_mut(&id).expect("one that waits");
        let seen = caller.woken.0.load(Ordering::Relaxed);
        let slept = caller.sleep.clone();
        match one.limiter.look(&mut caller.waiter, &caller.rouse).unwrap() {
            Looked::Sleep { nap, start_tending } => {
                let (bed, due) = if caller.is_task {
                    (Bed::Task(Arc::clone(&caller.woken), seen), u64::MAX)
                } else {
                    let nap = nap.at_most(ASK_EVERY);
                    (Bed::Nap(nap), nap.until.as_nanos())
                };
                caller.sleep = Sleep { bed, due, is_told: false, late };
                if start_tending {
                    one.tender =
                        Some(Sleep { bed: Bed::Started, due: now(), is_told: true, late: start_late });
                }
            }
            Looked::Granted(granted) => {
                let cost = caller.waiter.demand.ask.asked().cost().call_count();
                one.callers.remove(&id);
                self.permits.extend(granted.permit.map(|permit| (process, permit)));
                let at = granted.receipt.at;
                self.is_admitted(id, cost, granted.receipt.epoch, at)?;
                // Of a turn that was charged for more the rest is given back as far as a settlement can.
                let largest = charged.iter().filter(|turn| turn.0 == at.as_nanos()).map(|turn| turn.1).max();
                let others: Vec<_> = charged.into_iter().filter(|turn| turn.0 != at.as_nanos()).collect();
                if newest != Some(at.as_nanos()) || others != self.charged() {
                    self.promise.may_lose(largest.map_or(0, |most| most.saturating_sub(cost)), at.as_nanos());
                }
                self.somebody_is_gone(others);
            }
            Looked::Denied(_) => {
                let mine = *self.promise.find(id).expect("one that waits");
                let went_on = one.went_on;
                one.callers.remove(&id);
                if slept.late == 0 {
                    // It has just arrived.
                    self.promise.leaves(id, now());
                    // The dead are counted until they are found, and a turn that has come is for those who were there.
                    let is_sure = !self.is_mixed
                        && now() > self.unsure_until
                        && self.charged().iter().all(|turn| turn.0 > now());
                    let slack = if is_sure { MS / 10 } else { u64::MAX >> 1 };
                    return self.promise.is_refused(mine.cost, (now(), mine.latest), slack);
                }
                let late = self.wakes_up_within();
                self.promise.is_denied(id, now(), late, mine.latest.max(went_on) + late)?;
                self.somebody_is_gone(charged);
            }
            other @ (Looked::Shadow | Looked::Unordered(_)) => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    /// What is charged and not claimed: for which instants, and how much.
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
        if let Bed::Word(word, seen) = &slept.bed {
            // It lingered, and no task has come.
            if word.load(Ordering::Acquire) == *seen && one.limiter.stop_tending() {
                return;
            }
        }
        one.tender = Some(match one.limiter.tend() {
            Tended::Nap(nap) => Sleep { bed: Bed::Nap(nap), due: nap.until.as_nanos(), is_told: false, late },
            Tended::Idle(word, seen) => {
                Sleep { bed: Bed::Word(word, seen), due: now() + LINGER, is_told: false, late }
            }
        });
    }

    fn gives_permit_back(&mut self, n: usize) {
        let (process, permit) = self.permits.swap_remove(n);
        self.at(process).limiter.give_back(permit);
        self.promise.gives_its_permit_back();
        self.promise.may_idle(self.soon());
    }

    fn goes_on(&mut self, process: usize) {
        if let Some(one) = self.processes[process].as_mut().filter(|one| one.stopped.is_some()) {
            (one.stopped, one.went_on) = (None, now());
        }
    }

    fn dies(&mut self, process: usize) {
        let Some(dead) = self.processes[process].take() else { return };
        pretended::forgets(dead.row);
        dead.limiter.process.is_killed();
        let held = self.permits.len();
        self.permits.retain(|&(holder, _)| holder != process);
        for _ in self.permits.len()..held {
            self.promise.gives_its_permit_back();
            self.promise.may_idle(FOUND_WITHIN);
        }
        self.is_gone_from_the_line(dead.callers.is_empty());
        dead.callers.keys().for_each(|&id| self.promise.leaves(id, now()));
        self.somebody_is_gone(self.charged());
    }

    /// It is stopped or dead. If it was the one that the others rely on, they find out.
    fn is_gone_from_the_line(&mut self, waits_for_nothing: bool) {
        if waits_for_nothing {
            return;
        }
        self.promise.is_excused(None);
        self.promise.may_idle(FOUND_WITHIN + self.soon());
        self.unsure_until = now() + FOUND_WITHIN;
        if self.is_mixed {
            // A turn for a large request of a process that is stopped is not charged anew for smaller ones.
            self.promise.may_idle(self.promise.time_for(self.promise.most()));
        }
        self.is_disturbed = true;
    }

    /// A caller has left the line, in whatever way. Before it did, these turns were charged.
    fn somebody_is_gone(&mut self, charged: Vec<(u64, u64)>) {
        if self.is_mixed {
            // Turns that were charged for others are charged anew as soon as the first in line has woken up. What was
            // charged by others meanwhile stands in the way: then they are given back as far as a settlement can.
            self.promise.may_idle(self.soon());
            let turns = charged.len() as u64;
            if self.is_disturbed {
                self.promise.may_idle(self.promise.time_for(turns * self.promise.most()));
            }
        }
        if self.is_disturbed && self.promise.line.is_empty() {
            // The last one undoes what it can: not what others have charged something after.
            self.loses_turns_before(u64::MAX, 0);
        }
        // A turn that has come is for those who had arrived by then: one for each of them.
        let mut had_one = 0;
        for (at, tokens) in charged.into_iter().filter(|&(at, _)| at <= now()) {
            if self.promise.line.iter().filter(|caller| caller.arrived <= at).count() > had_one {
                had_one += 1;
            } else if self.given_up.insert(at) {
                self.promise.may_lose(tokens, at);
            }
        }
    }

    /// A turn that came while none of those who stand had arrived is for nobody, and is undone after 100 ms,
    /// whoever sleeps on.
    fn loses_what_came_before_everybody(&mut self) {
        let (processes, now) = (&self.processes, now());
        let awake = self.promise.line.iter().filter(|caller| is_awake(processes, caller, now));
        let oldest = awake.map(|caller| caller.arrived).min().unwrap_or(now);
        self.loses_turns_before(oldest, 99 * MS);
    }

    fn loses_turns_before(&mut self, oldest: u64, age: u64) {
        let is_lost = |&(at, _): &(u64, u64)| at < oldest && (age == 0 || at + age < now());
        for (at, tokens) in self.charged().into_iter().filter(is_lost) {
            if self.given_up.insert(at) {
                self.promise.may_lose(tokens, at);
            }
        }
    }

    /// Whoever was told to look in the meantime wakes up; and what the model has to know of that.
    fn settles(&mut self) -> Kept {
        if self.gives_back_at_once {
            while !self.permits.is_empty() {
                self.gives_permit_back(0);
            }
        }
        self.loses_what_came_before_everybody();
        let now = now();
        self.settled = now;
        let mut asleep = BTreeSet::new();
        for process in self.processes.iter_mut().flatten() {
            let told = |process: &Process, sleep: &Sleep, word: Option<&AtomicU64>| {
                !sleep.is_told && process.is_told(&sleep.bed, word)
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
            let sleeps = |sleep: &Sleep| match &sleep.bed {
                Bed::Nap(Nap { bell: Some((place, _)), .. }) if !sleep.is_told && sleep.due > now => {
                    Some(*place)
                }
                _ => None,
            };
            asleep.extend(process.sleepers().filter_map(sleeps));
        }
        (0..*PLACES.start()).for_each(|place| pretended::sleeps(place, asleep.contains(&place)));
        let processes = &self.processes;
        self.promise.passes(now, |caller| is_awake(processes, caller, now))
    }

    /// Who wakes up next, and when.
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

    /// When somebody becomes late who is not late yet.
    fn next_late(&self) -> u64 {
        let sleepers = self.processes.iter().flatten().flat_map(Process::sleepers);
        let late = sleepers.map(|sleep| sleep.due).filter(|&at| at > self.settled);
        late.min().unwrap_or(u64::MAX)
    }

    fn passes(&mut self, until: u64) -> Kept {
        for wake_ups in 0.. {
            prop_assert!(wake_ups < WAKE_UPS, "somebody does not sleep: {:?}", self.next());
            self.settles()?;
            let late = self.next_late();
            match self.next().filter(|&(at, _)| at <= until && at <= late) {
                Some((at, who)) => {
                    self.clock.pass_until(at);
                    self.loses_what_came_before_everybody();
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
        self.settles()
    }

    /// What `inspect` shows is who waits, and turns are charged for nobody else.
    fn queue_is_right(&self) -> Kept {
        let Some(process) = self.processes.iter().flatten().next() else { return Ok(()) };
        let waiting = process.limiter.inspect().unwrap().waiting;
        let seen: Vec<u64> = waiting.iter().map(|process| process.callers).collect();
        let total: Vec<u64> = self.promise.queue().into_iter().map(|(_, callers)| callers).collect();
        let is_late = waiting.iter().any(|process| process.late);
        prop_assert_eq!(seen.iter().sum::<u64>(), total.iter().sum::<u64>(), "{:?}", &waiting);
        // A process whose first caller is late shows the next one.
        if !is_late && self.world.latest_wake_up() < GRACE_NS {
            prop_assert_eq!(&seen, &total);
        }
        prop_assert_eq!(seen.len(), total.len());
        // Somebody who has stood for a while has undone the turns that came before everybody.
        let (now, oldest) = (now(), self.promise.line.first().map_or(0, |caller| caller.arrived));
        let awake = self.promise.line.iter().find(|caller| is_awake(&self.processes, caller, now));
        if awake.is_some_and(|caller| caller.arrived + FOUND_WITHIN < now) && now > self.unsure_until {
            let is_old = |&(at, _): &(u64, u64)| at < oldest && at + FOUND_WITHIN < now;
            prop_assert_eq!(self.charged().into_iter().filter(is_old).collect::<Vec<_>>(), []);
        }
        // Nothing is charged for a line that is empty. (What is given back of a turn that was too large is a change of the
        // state after which those that follow can't be undone exactly.)
        if total.is_empty() && !self.is_disturbed && !self.is_mixed {
            prop_assert_eq!(self.charged(), []);
        }
        Ok(())
    }

    /// All who are stopped go on, all permits are given back, no pause goes on. Then everybody is served.
    fn ends(&mut self) -> Kept {
        (0..PROCESSES).for_each(|process| self.goes_on(process));
        if self.promise.is_paused(now()) {
            self.play(Step::Resumes)?;
        }
        self.gives_back_at_once = true;
        self.settles()?;
        let line = &self.promise.line;
        let (n, asked) = (line.len() as u64, line.iter().map(|caller| caller.cost).sum::<u64>());
        let end = now()
            + self.promise.time_for_debts(now())
            + self.promise.time_for(asked + n)
            + (n + 2) * (self.soon() + FOUND_WITHIN);
        self.passes(end)?;
        prop_assert!(self.promise.line.is_empty(), "they wait for ever: {:?}", self.promise.line);
        self.promise.holds(now())?;
        // Those who are gone have left nothing behind: a bucket that was left alone is full.
        let full = self.promise.time_for(self.promise.most()) + self.promise.time_for_debts(now());
        self.passes(now() + full + MS)?;
        let most = self.promise.most();
        let Some(process) = self.process(0) else { return Ok(()) };
        let cost = calls(most);
        let granted = self.at(process).limiter.admit_now(&Demand::new(&cost)).unwrap();
        prop_assert!(granted.is_some(), "something is left behind");
        self.permits.extend(granted.and_then(|granted| granted.permit).map(|permit| (process, permit)));
        self.promise.held += u32::from(self.world.permits.is_some());
        // Whoever stands next clears the places of the dead, and what they were filling.
        let waits = Step::Arrives { process, cost: most, is_task: false, patience: None };
        self.play(waits)?;
        self.passes(now() + 2 * self.promise.time_for(most) + 10 * FOUND_WITHIN)?;
        let limiter = &self.at(process).limiter;
        prop_assert!(!limiter.line().is_anybody_there(), "a dead one stands");
        let last = HolderId { seat: 0, tenure: 9_999 };
        let free = (0..TURNS).take_while(|_| limiter.turns().begin(last).is_some()).count();
        prop_assert_eq!(free + self.charged().len(), TURNS, "a slot is lost");
        Ok(())
    }
}

/// Whether this caller is, or is about to be in time: itself, and whoever says the plan of its process.
fn is_awake(processes: &[Option<Process>], caller: &Stands, now: u64) -> bool {
    let Some(process) = &processes[caller.process] else { return false };
    let is_stopped = process.stopped.is_some();
    process.sleepers().all(|sleep| !sleep.is_late(now, is_stopped))
}

//! The intervals that govern liveness: how often processes check, how long they sleep, and when they give up on another.
//!
//! None of them matters for safety: with any values the limits hold. They trade wake-ups and system calls against the time
//! for which a killed or stopped process goes unnoticed.

use std::time::Duration;

// The limiter.

/// How often a busy process checks whether the file was removed or replaced.
pub(crate) const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The wall clock counts as set if its offset differs by more than this from that of the configuration. Both clocks are
/// slewed together, so smaller differences are errors of measurement.
pub(crate) const CLOCK_STEP: Duration = Duration::from_millis(10);

/// A measurement of the wall clock's offset is used only if it is at least this exact.
pub(crate) const MAX_CLOCK_UNCERTAINTY: Duration = Duration::from_millis(1);

/// A step forward by this much or more leaves out windows: after it, the wall clock has not shown all times before.
/// Smaller ones are corrections, after which a step back leads to times that it may have shown.
pub(crate) const FAR_STEP: Duration = Duration::from_secs(3_600);

/// How often a process publishes that the wall clock was set, at most.
pub(crate) const CLOCK_STEP_INTERVAL: Duration = Duration::from_secs(1);

/// The longest sleep until a reserved turn without checking for a removed file, a suspended machine or a signal that
/// arrived just before the sleep.
pub(crate) const MAX_SLEEP: Duration = Duration::from_secs(1);

/// How long a change waits for another change. Changes take microseconds: a process that holds the control lock for this
/// long is stopped.
pub(crate) const CONTROL_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a caller sleeps at most where the kernel refuses the futex, so that nothing can wake it.
pub(crate) const NO_FUTEX_SLEEP: Duration = Duration::from_millis(1);

// Seats and permits.

/// How often a process that finds no free permit probes whether the holders are alive. A probe opens the file.
pub(crate) const HOLDER_PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// How long one search for a seat may probe locks; it makes at least one probe. Enough for about 500 seats of a small
/// limiter, and for 50 of one with 4,096.
pub(crate) const SEAT_PROBE_BUDGET: Duration = Duration::from_millis(1);

/// How long a process does not probe for seats again after a search found no dead holder.
pub(crate) const SEAT_PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// How long a process counts in the shared lane, without another search, after it found no free seat.
pub(crate) const NO_SEAT_BACKOFF: Duration = Duration::from_millis(100);

/// The same after the search itself failed, perhaps for lack of a file descriptor.
pub(crate) const SEAT_ERROR_BACKOFF: Duration = Duration::from_millis(10);

// The line.

/// A process that is not awake this long after its planned wake-up is *late*, and others pass it: it is stopped, dead, or
/// gets no CPU. More than a wake-up usually takes, and less than a caller would notice.
pub(crate) const WAKE_GRACE: Duration = Duration::from_millis(2);

/// The longest plausible plan: no process plans a longer sleep. A later plan is corrupt, and its process is passed.
pub(crate) const MAX_PLAN: Duration = Duration::from_secs(20);

/// Three times a usual wake-up. A process that is this far behind its plan is not passed yet, but not relied on either.
pub(crate) const SLOW_WAKE_UP: Duration = Duration::from_micros(200);

/// A plan is moved forward only if that gains more than this: less is not worth a wake-up.
pub(crate) const MIN_PLAN_GAIN: Duration = Duration::from_micros(20);

/// The longest sleep of the first process in line; the second may sleep twice as long, and so on. A dead process is passed
/// only after its planned wake-up: where many are killed, longer sleeps at the front would waste turns.
pub(crate) const FRONT_SLEEP: Duration = Duration::from_millis(20);

/// How many processes at the front sleep by [`FRONT_SLEEP`].
pub(crate) const FRONT_PROCESSES: u32 = 5;

/// The longest sleep of a process further back, times the number of processes in line, so that one of them looks every
/// 2 ms. Not times the number of callers: those of one process die together.
pub(crate) const REAR_SLEEP_EACH: Duration = Duration::from_millis(2);

/// Replaces [`FRONT_SLEEP`] if the next turn comes after that sleep: until then no turn can be wasted, and thousands can
/// sleep. (A released permit, a change, or the end of a pause wakes the front.)
pub(crate) const QUIET_FRONT_SLEEP: Duration = Duration::from_millis(100);

/// Replaces [`REAR_SLEEP_EACH`] in the same case.
pub(crate) const QUIET_REAR_SLEEP_EACH: Duration = Duration::from_millis(16);

/// The longest sleep of any process in line.
pub(crate) const MAX_LINE_SLEEP: Duration = Duration::from_secs(16);

/// The shortest sleep of the first process in line.
pub(crate) const MIN_LINE_SLEEP: Duration = Duration::from_micros(20);

/// The longest sleep of a thread that is not the first waiting caller of its process. The first one wakes it earlier.
pub(crate) const FOLLOWER_SLEEP: Duration = Duration::from_millis(100);

/// Turns that come within this time of the next one are charged ahead, so that a process that sleeps until the next one
/// and wakes late uses the turns that came meanwhile. The next turn is always charged, so no caller outside the line can take it.
///
/// Longer than a wake-up usually takes on a busy machine. It bounds how many turns a late process uses at once, and how
/// long callers outside the line have to wait when all processes in line are killed.
pub(crate) const CHARGE_AHEAD: Duration = Duration::from_millis(20);

/// A turn that was not claimed for this long is open to any caller in line: those who were first are dead or stopped.
pub(crate) const UNCLAIMED_AFTER: Duration = Duration::from_millis(100);

/// How often the first processes in line are probed for death, by all processes together.
pub(crate) const FRONT_PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// How often all processes in line are probed.
pub(crate) const LINE_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// For this long after a dead process was found in line, two processes are woken instead of one: the first may be killed
/// before it claims what is free, and the second then notices that it is late.
pub(crate) const WAKE_TWO_PERIOD: Duration = Duration::from_secs(1);

const _: () = assert!(MAX_LINE_SLEEP.as_nanos() < MAX_PLAN.as_nanos());

//! What must hold after the process under test was killed at an instruction, while it is stopped there and after it has
//! gone on, after it forked there, and after its limiter was retired meanwhile.
//!
//! | file | for a process that |
//! |---|---|
//! | `budget` | takes calls now or gives them back; takes its seat, or leaves |
//! | `reservations` | takes a turn or gives it back |
//! | `waiting` | waits for a turn |
//! | `permits` | takes, gives back or reclaims permits |
//! | `line` | stands in the line |
//! | `waiter` | (a caller that stands in the line beside a victim) |
//! | `deadline` | waits there until its deadline, for a permit |
//! | `changed_line` | changes or resets the limiter while a caller stands in the line |
//! | `control` | changes, resets, pauses, resumes |
//! | `keys` | takes from keys, charges or resets one |
//! | `key_waiting` | waits for a key's turn |
//! | `key_control` | changes, resets or pauses a keyed limiter |
//! | `slowed_keys` | takes from a key while the rate is lowered |
//! | `retirement` | retires the limiter |
//! | `creation` | creates it |

mod budget;
mod changed_line;
mod control;
mod creation;
mod deadline;
mod key_control;
mod key_waiting;
mod keys;
mod line;
mod permits;
mod reservations;
mod retirement;
mod slowed_keys;
mod waiter;
mod waiting;

pub(crate) use budget::Budget;
pub(crate) use changed_line::ChangedLine;
pub(crate) use control::Control;
pub(crate) use creation::Creation;
pub(crate) use deadline::Deadline;
pub(crate) use key_control::KeyControl;
pub(crate) use key_waiting::KeyWaiting;
pub(crate) use keys::Keys;
pub(crate) use line::Line;
pub(crate) use permits::{PERMITS, Permits};
pub(crate) use reservations::Reservations;
pub(crate) use retirement::Retirement;
pub(crate) use slowed_keys::SlowedKeys;
pub(crate) use waiting::Waiting;

use crate::ending::{Finding, Pair};
use crate::fixture::Fixture;
use crate::victim::{Result, Victim};

/// The promises for one kind of operation. Created for each instruction, so it may keep state.
pub(crate) trait Checks {
    /// Before the victim is started.
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()>;

    /// When the victim is about to begin.
    fn begin(&mut self, _fixture: &mut Fixture) -> Result<()> {
        Ok(())
    }

    /// When it stands at the instruction at which it is cut off.
    fn reached(&mut self, _fixture: &mut Fixture) -> Result<()> {
        Ok(())
    }

    /// After it was killed. Says whether the operation took effect, if that can be told.
    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>>;

    /// While it is stopped.
    fn beside(&mut self, fixture: &mut Fixture) -> Result<()>;

    /// When it has gone on, to the end of the operation, and lives.
    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()>;

    /// When the parent has come to the end of the operation, and the child is still in the fork.
    fn after_fork(&mut self, fixture: &mut Fixture, pair: Pair) -> Result<Finding>;

    /// Whether the operation of a stopped victim has taken effect. `None` if that can't be told, or if it admits nothing.
    fn has_effect(&mut self, _fixture: &mut Fixture) -> Result<Option<bool>> {
        Ok(None)
    }

    /// When the limiter of a stopped victim has been retired.
    fn after_retirement(&mut self, _fixture: &mut Fixture) -> Result<()> {
        Ok(())
    }
}

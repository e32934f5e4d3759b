//! It is killed. What is left is as before the operation or as after it.

use super::Finding;
use crate::exam::Exam;
use crate::scene::Scene;
use crate::victim::{Result, Victim};

pub(super) fn bring(scene: &mut Scene, exam: &mut dyn Exam, victim: Victim) -> Result<Finding> {
    victim.kill();
    Ok(Finding { effect: exam.after_death(scene)?, ..Finding::default() })
}

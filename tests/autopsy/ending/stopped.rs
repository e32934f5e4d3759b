//! It is left stopped. Nobody waits for it, and when it goes on all that was admitted is exactly the limit.

use super::Finding;
use crate::exam::Exam;
use crate::scene::Scene;
use crate::victim::{Result, Victim};

pub(super) fn bring(scene: &mut Scene, exam: &mut dyn Exam, mut victim: Victim) -> Result<Finding> {
    exam.beside(scene)?;
    victim.go_on()?;
    exam.after_all(scene, victim)?;
    Ok(Finding::default())
}

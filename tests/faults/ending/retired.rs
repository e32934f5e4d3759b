//! It is stopped while its limiter is retired and recreated. Then it continues: what had not taken effect before is refused, and
//! nothing of it is in the new limiter.

use super::Finding;
use crate::checks::Checks;
use crate::fixture::{Fixture, ensure};
use crate::victim::{Result, Victim};
use harness::file::Patch;
use harness::mark::{Order, Said};
use shm_lib::{ErrorKind, RateLimit};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often the new limiter is asked.
const ASKED: u64 = 10;
/// A retirement waits so long for a stopped changer, as the documentation says. That is tried a few times in all.
const WAITS: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(4);
static WAITS_LEFT: AtomicUsize = AtomicUsize::new(2);

pub(super) fn apply(fixture: &mut Fixture, checks: &mut dyn Checks, mut victim: Victim) -> Result<Finding> {
    let old = match fixture.is_there() {
        true => fixture.limit(),
        // The victim creates it; or it is created here.
        false => fixture.open()?,
    };
    // A victim that retires it may have taken its name away.
    if old.path().exists() && Patch::of(old.path()).is_being_changed() {
        return beside_a_changer(&old, victim);
    }
    let effect = checks.has_effect(fixture)?;
    match old.retire() {
        Err(e) if !fixture.is_retired_by_victim() => return Err(format!("retire: {e}")),
        _ => {}
    }
    checks.after_retirement(fixture)?;
    let (new, taken) = fixture.open_and_take(ASKED)?;
    ensure(taken > 0, || "the new limiter admits nothing".into())?;
    let before = Patch::of(new.path()).bytes();
    victim.finish_operation()?;
    let said = victim.says()?;
    if fixture.opens_by_name() {
        // What it has got is of the new limiter.
        let got = if let Said::Has { tokens, .. } = said { tokens } else { 0 };
        victim.end()?;
        let counted = new.stats().calls;
        ensure(counted == taken + got, || format!("{counted} taken, {taken} of it here, {got} there"))?;
    } else {
        let admitted = matches!(said, Said::Has { .. }) && effect == Some(false);
        ensure(!admitted, || format!("it had no effect before the retirement, and {said:?} after it"))?;
        ensure(said != Said::Busy, || "it was refused as busy".into())?;
        if fixture.keeps_its_handle() {
            let later = victim.obey(Order::Repeat(1))?;
            ensure(later == Said::Ended, || format!("once more with the old handle: {later:?}"))?;
        }
        victim.end()?;
        ensure(Patch::of(new.path()).bytes() == before, || "it wrote into the new limiter".into())?;
    }
    ensure(fixture.files() == ["arena"], || format!("{:?} in the directory", fixture.files()))?;
    fixture.open_and_take(ASKED)?;
    Ok(Finding::default())
}

/// A limiter that is in the middle of a change is retired after it, or the retirement is refused in time.
fn beside_a_changer(limit: &RateLimit, mut victim: Victim) -> Result<Finding> {
    let one_less = |left: usize| left.checked_sub(1);
    if WAITS_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let begun = Instant::now();
        let refused = limit.retire();
        let took = begun.elapsed();
        let busy = matches!(&refused, Err(e) if e.kind() == ErrorKind::Busy);
        ensure(busy && WAITS.contains(&took), || {
            format!("retired beside a changer: {refused:?} in {took:?}")
        })?;
        victim.finish_operation()?;
        victim.leave()?;
    }
    Ok(Finding { locked: true, ..Finding::default() })
}

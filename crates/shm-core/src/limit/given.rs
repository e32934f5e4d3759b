//! How much of a charge was returned.

use super::{Costs, MAX_LIMITS, Unit};

/// How much of a charge one limit returned, exactly. A bucket returns fractions of a token; other kinds return whole
/// amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// In units of 1/2^`shift`.
    parts: u64,
    shift: u32,
}

impl Given {
    /// A whole amount.
    pub(crate) fn whole(amount: u64) -> Given {
        Given { parts: amount, shift: 0 }
    }

    /// Ticks of a bucket, with `2^shift` ticks per token.
    pub(crate) fn ticks(ticks: u64, shift: u32) -> Given {
        Given { parts: ticks, shift: shift & 63 }
    }

    /// Whether nothing was returned.
    pub fn is_zero(self) -> bool {
        self.parts == 0
    }

    /// In whole calls (or the limit's unit), rounded down.
    pub fn rounded_down(self) -> u64 {
        self.parts >> self.shift
    }

    /// In calls (or the limit's unit), with the fraction.
    pub fn amount(self) -> f64 {
        let fraction = self.parts & ((1 << self.shift) - 1);
        self.rounded_down() as f64 + fraction as f64 / (1u64 << self.shift) as f64
    }
}

/// How much each limit returned of one admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refund([Option<(Unit, Given)>; MAX_LIMITS]);

impl Refund {
    /// What limits that count these units (`None`: calls) returned, where `amounts` were to be returned.
    pub(crate) fn of(units: &[Option<[u64; 3]>], amounts: &Costs, given: &[Given; MAX_LIMITS]) -> Refund {
        let mut refund = Refund::default();
        for (i, unit) in units.iter().enumerate().filter(|&(i, _)| amounts[i] > 0) {
            refund.0[i] = unit.map_or(Some(Unit::CALLS), Unit::from_words).map(|unit| (unit, given[i]));
        }
        refund
    }

    /// From the only limit, which counts calls.
    pub(crate) fn of_calls(given: Given) -> Refund {
        Refund([Some((Unit::CALLS, given)), None, None, None])
    }

    /// How much of this unit was returned by every limit that counts it, with the fraction.
    pub fn amount(&self, unit: Unit) -> f64 {
        let given = self.0.iter().flatten().filter(|(counted, _)| *counted == unit);
        given.map(|(_, given)| given.amount()).reduce(f64::min).unwrap_or(0.0)
    }

    /// Whether no limit returned anything.
    pub fn is_empty(&self) -> bool {
        self.0.iter().flatten().all(|(_, given)| given.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_convert_to_fractions_of_a_token() {
        assert_eq!((Given::whole(3).amount(), Given::whole(3).rounded_down()), (3.0, 3));
        assert_eq!(
            (Given::ticks(1024 + 256, 10).amount(), Given::ticks(1024 + 256, 10).rounded_down()),
            (1.25, 1)
        );
        assert!(Given::default().is_zero() && !Given::ticks(1, 55).is_zero());
    }
}

//! What a request costs: calls, and amounts of units.

use clap::Args as Group;
use shm_lib::{Cost, Unit};

/// The cost of a request.
#[derive(Group)]
pub(crate) struct CostFlags {
    /// Number of calls; 0 only together with --take [default: 1]
    #[arg(short = 'n', long, value_name = "N")]
    calls: Option<u64>,
    /// Amount of a unit that the limiter counts, for example tokens=500; once for each unit
    #[arg(long = "take", value_name = "UNIT=AMOUNT", value_parser = amount)]
    pub(crate) amounts: Vec<(Unit, u64)>,
}

impl CostFlags {
    /// The number of calls: one by default.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.unwrap_or(1)
    }

    /// The cost of a request: one call by default.
    ///
    /// # Errors
    /// A cost of nothing, or a unit that is named twice.
    pub(crate) fn of_request(&self) -> Result<Cost, String> {
        self.cost(self.calls())
    }

    /// The cost of a charge: by default one call, or none if amounts of units are given.
    ///
    /// # Errors
    /// As [`of_request`](Self::of_request).
    pub(crate) fn of_charge(&self) -> Result<Cost, String> {
        self.cost(self.calls.unwrap_or(u64::from(self.amounts.is_empty())))
    }

    fn cost(&self, calls: u64) -> Result<Cost, String> {
        let mut cost = Cost::from(calls);
        for &(unit, amount) in &self.amounts {
            if cost.amount(unit).is_some() {
                return Err(format!("--take {unit} is given twice; give each unit once"));
            }
            cost = cost.and(unit, amount);
        }
        if calls == 0 && self.amounts.iter().all(|&(_, amount)| amount == 0) {
            return Err("cannot acquire 0; ask for at least 1".into());
        }
        Ok(cost)
    }
}

/// Reads `UNIT=AMOUNT`.
pub(crate) fn amount(text: &str) -> Result<(Unit, u64), String> {
    let bad = || format!("{text:?} is not a valid amount; write UNIT=AMOUNT, for example tokens=500");
    let (unit, amount) = text.split_once('=').ok_or_else(bad)?;
    let unit = Unit::named(unit).map_err(|e| e.to_string())?;
    Ok((unit, amount.parse().map_err(|_| bad())?))
}

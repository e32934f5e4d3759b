//! `charge`, `reserve` and `schedule`, which take without waiting.
//!
//! When this process has ended, no other process can give back or settle what it took, because only the process that took
//! it has the receipt.

use crate::args::{Charge, Reserve, Schedule};
use crate::commands::open::{Reports, open, open_ahead};
use crate::exit::{DONE, Failure, USAGE};
use crate::output::{self, amount, duration, json};
use shm_lib::{Cost, Directory, Nanos, Reservation};
use std::fmt::Write;

/// Charges without asking.
pub(crate) fn charge(dir: &Directory, args: &Charge) -> Result<u8, Failure> {
    let cost = usage(args.cost.of_charge())?;
    let limiter = open(dir, &args.target, Reports::Usual)?;
    limiter.charge(cost)?;
    let calls = cost.amount(shm_lib::Unit::CALLS).filter(|&n| n > 0).map(|n| amount("calls", n));
    let units = args.cost.amounts.iter().map(|(unit, n)| amount(unit.name(), *n));
    let all: Vec<String> = calls.into_iter().chain(units).collect();
    let to = limiter.key().map_or_else(String::new, |key| format!(" to key {key}"));
    output::print_line(&format!("{}: charged {}{to}", args.target.name, all.join(" and ")))?;
    Ok(DONE)
}

/// Takes the next turn, and prints in how many seconds it is.
pub(crate) fn reserve(dir: &Directory, args: &Reserve) -> Result<u8, Failure> {
    let name = &args.target.0.name;
    let reservation = match reservation(dir, args) {
        Ok(reservation) => reservation,
        Err(failure) if args.json => {
            output::print_json(&json::Turns::<json::Reserved>::failed(dir, name, &failure))?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let (at, now) = (reservation.at(), shm_lib::now());
    // If the turn cannot be printed, the reservation is dropped, which gives the turn back.
    if args.json {
        output::print_json(&json::Turns::taken(dir, name, json::Reserved::new(at, now)))?;
    } else {
        output::print_line(&duration::seconds(at.since(now)))?;
    }
    reservation.commit()?;
    Ok(DONE)
}

fn reservation(dir: &Directory, args: &Reserve) -> Result<Reservation, Failure> {
    let cost = usage(args.cost.of_request())?;
    Ok(open_ahead(dir, &args.target)?.reserve(cost)?)
}

/// Takes the next turns, and prints in how many seconds each of them is.
pub(crate) fn schedule(dir: &Directory, args: &Schedule) -> Result<u8, Failure> {
    let name = &args.target.0.name;
    let turns = match turns(dir, args) {
        Ok(turns) => turns,
        Err(failure) if args.json => {
            output::print_json(&json::Turns::<json::Scheduled>::failed(dir, name, &failure))?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let now = shm_lib::now();
    if args.json {
        output::print_json(&json::Turns::taken(dir, name, json::Scheduled::new(&turns, now)))?;
    } else {
        let mut lines = String::new();
        for at in turns {
            let _ = writeln!(lines, "{}", duration::seconds(at.since(now)));
        }
        output::print(&lines)?;
    }
    Ok(DONE)
}

fn turns(dir: &Directory, args: &Schedule) -> Result<Vec<Nanos>, Failure> {
    let cost = usage(args.cost.of_request())?;
    Ok(open_ahead(dir, &args.target)?.schedule(cost, args.requests)?)
}

fn usage(cost: Result<Cost, String>) -> Result<Cost, Failure> {
    cost.map_err(|why| Failure::Other(USAGE, why))
}

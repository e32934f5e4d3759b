//! One command, one run, one table: every figure beside its floor or peer. `cargo xtask bench`.
//!
//! | file | what |
//! |---|---|
//! | `subject` | what is measured: a name, and one decision |
//! | `floors` | what nothing can be under, and what one would write by hand |
//! | `peers` | other limiters |
//! | `ours` | shm-limit |
//! | `processes` | forked children |
//! | `rounds` | measuring in rounds, in turns |
//! | `alone` | decisions of one process |
//! | `around` | opening, futures, the command |
//! | `crowd` | many processes: throughput, and each decision's time |
//! | `instructions` | instructions of a decision, by callgrind |
//! | `waiting` | lateness, order, news |
//! | `standing` | what callers in line cost, how soon the next one goes on, whether all is delivered |
//! | `overload` | more clients than the limit serves, which leave when their patience is over |
//! | `fairness` | askers that ask again at once |
//! | `memory` | bytes |
//! | `plot` | throughput and tail against the number of processes, as SVG |

#![deny(unsafe_code)]

mod alone;
mod around;
mod crowd;
mod fairness;
mod floors;
mod instructions;
mod memory;
mod ours;
mod overload;
mod peers;
mod plot;
mod processes;
mod rounds;
mod standing;
mod subject;
mod waiting;

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["one", name, times] => instructions::run(name, times.parse().expect("a number")),
        [harness::load::CLIENT, words @ ..] => overload::serve(words),
        ["overload", words @ ..] => overload::print(words),
        ["fairness", words @ ..] => fairness::print(words),
        ["--svg", file] => all(Some(Path::new(file))),
        parts => parts.iter().for_each(|part| match *part {
            "alone" => alone::print(),
            "around" => around::print(),
            "crowd" => drop(crowd::print()),
            "instructions" => instructions::print(),
            "waiting" => waiting::print(),
            "standing" => standing::print(),
            "memory" => memory::print(),
            other => {
                panic!(
                    "no part {other}; choose of: alone around crowd instructions waiting standing memory, or overload, or fairness, \
                     or none for all"
                )
            }
        }),
    }
    if args.is_empty() {
        all(None);
    }
}

fn all(svg: Option<&Path>) {
    alone::print();
    around::print();
    let crowds = crowd::print();
    if let Some(file) = svg {
        plot::draw(&crowds, file);
    }
    instructions::print();
    waiting::print();
    standing::print();
    overload::print(&[]);
    fairness::print(&[]);
    memory::print();
}

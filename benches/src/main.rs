//! The benchmark report, `cargo xtask bench`: one run prints every figure next to its baseline or to another limiter.
//!
//! | file | what |
//! |---|---|
//! | `subject` | what is measured: a name, and a decision to repeat |
//! | `baselines` | the primitives of a decision, and hand-written limiters behind a lock |
//! | `peers` | other limiters |
//! | `shm_limit` | shm-limit |
//! | `processes` | forked children |
//! | `sampling` | interleaved rounds, and their medians |
//! | `single` | decisions of one process |
//! | `overhead` | opening a limiter, futures, the command |
//! | `contended` | many processes: throughput and latency |
//! | `instructions` | instructions per decision, by callgrind |
//! | `waiting` | wakeup latency, order of service, wakeups after a change |
//! | `standing` | the waiting line: CPU time and memory of waiters, hand-over latency, delivered rate |
//! | `overload` | more clients than the limit can serve, which give up after a time |
//! | `fairness` | callers that request again immediately: shares and longest wait |
//! | `keys` | limits per key |
//! | `memory` | bytes of shared memory |
//! | `plot` | throughput and tail latency by number of processes, as SVG |

#![deny(unsafe_code)]

mod baselines;
mod contended;
mod fairness;
mod instructions;
mod keys;
mod memory;
mod overhead;
mod overload;
mod peers;
mod plot;
mod processes;
mod sampling;
mod shm_limit;
mod single;
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
        ["keys", parts @ ..] => keys::print(parts),
        ["--svg", file] => all(Some(Path::new(file))),
        parts => parts.iter().for_each(|part| match *part {
            "single" => single::print(),
            "overhead" => overhead::print(),
            "contended" => drop(contended::print()),
            "instructions" => instructions::print(),
            "waiting" => waiting::print(),
            "standing" => standing::print(),
            "memory" => memory::print(),
            other => {
                panic!(
                    "no part is named {other}; choose from: single overhead contended instructions waiting standing memory, or \
                     keys, or overload, or fairness, or none for all"
                )
            }
        }),
    }
    if args.is_empty() {
        all(None);
    }
}

fn all(svg: Option<&Path>) {
    single::print();
    overhead::print();
    let runs = contended::print();
    if let Some(file) = svg {
        plot::draw(&runs, file);
    }
    instructions::print();
    waiting::print();
    standing::print();
    overload::print(&[]);
    fairness::print(&[]);
    memory::print();
    keys::print(&[]);
}

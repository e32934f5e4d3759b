//! The command `shm-limit`: parse, dispatch, exit.

#![deny(unsafe_code)]

mod args;
mod child;
mod commands;
mod demo;
mod exit;
mod fork;
mod help;
mod output;
mod policy_file;
mod relay;
mod signals;
mod startup;
mod witness;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        // Help and version are "errors" too, for standard output.
        Err(mut e) => return exit::code(output::clap_message(&mut e).map(|()| e.exit_code() as u8)),
    };
    exit::code(commands::run(args))
}

//! The command `shm-limit`: parse, dispatch, exit.

#![deny(unsafe_code)]

mod advice;
mod args;
mod child;
mod commands;
mod complete;
mod create_flags;
mod demo;
mod exit;
mod fork;
mod group_monitor;
mod help;
mod location;
mod man;
mod output;
mod policy_file;
mod process;
mod relay;
mod settlement;
mod signals;
mod sliding;
mod startup;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match complete::answer() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(mut e) => return parse_error(&mut e),
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(mut e) => return parse_error(&mut e),
    };
    exit::code(commands::run(args))
}

/// Help and version are "errors" too, for standard output.
fn parse_error(e: &mut clap::Error) -> ExitCode {
    advice::improve(e);
    exit::code(output::clap_message(e).map(|()| e.exit_code() as u8))
}

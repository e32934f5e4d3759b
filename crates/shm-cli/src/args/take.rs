//! `acquire`, `run` and `hold`: what they have in common, and what each adds.

use super::cost::CostFlags;
use super::target::Target;
use crate::exit::DENIED;
use clap::{Args as Group, ValueHint};
use shm_lib::limit::parse_span;
use std::ffi::OsString;
use std::time::Duration;

/// What to take from which limiter, how long to wait for it, and what to say.
#[derive(Group)]
pub(crate) struct Take {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) cost: CostFlags,
    /// Do not wait: if the request is not admitted at once, exit with 75
    #[arg(long = "try", conflicts_with = "timeout")]
    pub(crate) try_only: bool,
    /// Wait at most this long. If the turn would come later, exit with 75 at once
    #[arg(short, long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) timeout: Option<Duration>,
    /// Print nothing when denied, and no notes and warnings: only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Exit with this status when denied, for example 0 for cron jobs and systemd units
    #[arg(long, value_name = "N", default_value_t = DENIED)]
    pub(crate) denied_status: u8,
    /// Report a wait of more than a second on standard error, with the position in the line
    #[arg(short, long, conflicts_with_all = ["try_only", "quiet"])]
    pub(crate) verbose: bool,
    /// If the limiter cannot decide (it does not exist, is damaged or cannot be opened), go on as if admitted
    #[arg(long, conflicts_with = "fail_closed")]
    pub(crate) fail_open: bool,
    /// If the limiter cannot decide, deny the request, to be tried again after TIME
    #[arg(long, value_name = "TIME", value_parser = parse_span, num_args = 0..=1, require_equals = true, default_missing_value = "1s")]
    pub(crate) fail_closed: Option<Duration>,
}

#[derive(Group)]
pub(crate) struct Acquire {
    #[command(flatten)]
    pub(crate) take: Take,
    /// Print a JSON object, for programs
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

#[derive(Group)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) take: Take,
    /// When the command has ended, settle with the amounts that it wrote to the file $SHM_LIMIT_ACTUAL
    #[arg(long)]
    pub(crate) settle: bool,
    /// If this process is killed (SIGKILL), the kernel kills the command too; otherwise the command goes on, without the
    /// permit
    #[arg(long)]
    pub(crate) kill_with_me: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Group)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) take: Take,
    /// Hold the permit until this process ends; in a script: --pid $$
    #[arg(long, value_name = "PID", required = true, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
}

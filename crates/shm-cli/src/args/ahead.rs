//! `charge`, `reserve` and `schedule`, which take without waiting.

use super::cost::CostFlags;
use super::target::{Target, WithoutKeys};
use clap::Args as Group;

#[derive(Group)]
pub(crate) struct Charge {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) cost: CostFlags,
}

#[derive(Group)]
pub(crate) struct Reserve {
    #[command(flatten)]
    pub(crate) target: WithoutKeys,
    #[command(flatten)]
    pub(crate) cost: CostFlags,
    /// Print a JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group)]
pub(crate) struct Schedule {
    #[command(flatten)]
    pub(crate) target: WithoutKeys,
    #[command(flatten)]
    pub(crate) cost: CostFlags,
    /// Number of requests, each of this cost
    #[arg(long, value_name = "K")]
    pub(crate) requests: usize,
    /// Print a JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

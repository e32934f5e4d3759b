//! Load that judges waiting: clients that come, wait and leave, and askers that ask again at once.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | every call that the load makes on a limiter; the only module to change when names change |
//! | [`kind`] | the limiters that are put under load |
//! | [`offer`] | when clients arrive |
//! | [`sheet`] | the results of each client and asker, in shared memory |
//! | [`client`] | the work of the processes that take part |
//! | [`heartbeat`] | whether the machine stalls meanwhile |
//! | [`overload`] | one measurement: more clients than the limit serves, each with little patience |
//! | [`fairness`] | one measurement: askers that ask again at once |
//! | [`rounds`] | measurements that are repeated on a machine that stalls |
//!
//! A measurement starts a binary again for each process that it needs. That binary calls [`client::run`] when its first
//! argument is [`CLIENT`]; [`serve`] reads the arguments that follow.

pub mod api;
pub mod client;
pub mod fairness;
pub mod heartbeat;
pub mod kind;
pub mod offer;
pub mod overload;
pub mod rounds;
pub mod sheet;

use crate::Job;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// The first argument of a process that takes part in a measurement.
pub const CLIENT: &str = "load";

/// Reads the remaining arguments, `key=value` words, for [`client::run`].
pub fn serve(words: impl IntoIterator<Item = String>) -> Job {
    // The process that started this one may be killed.
    set_pdeathsig(Signal::SIGKILL).expect("to die with the parent");
    Job::parse(std::iter::once(CLIENT.to_owned()).chain(words))
}

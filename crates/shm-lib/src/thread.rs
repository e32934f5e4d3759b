//! The library's own threads. They block all signals, so that only the program's threads run its signal handlers.

use shm_core::without_handlers;
use std::io;
use std::thread::Builder;

/// Stack size of a thread that runs only this library's code.
pub(crate) const SMALL: usize = 256 * 1024;

/// Starts a thread with the given stack size. `None`: the default size, for a thread that runs code of the program.
pub(crate) fn start(stack: Option<usize>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = Builder::new().name("shm-limit".to_owned());
    let thread = stack.into_iter().fold(thread, Builder::stack_size);
    // The new thread inherits the signal mask of the thread that starts it.
    without_handlers(|| thread.spawn(work)).map(drop)
}

//! Threads of the library's own. Signals are for the threads of the program, so none is handled in them.

use shm_core::without_handlers;
use std::io;
use std::thread::Builder;

/// The stack of one that runs nothing but this library.
pub(crate) const SMALL: usize = 256 * 1024;

/// Starts one, with this much of a stack; with the usual one, if it runs code of the program.
pub(crate) fn start(stack: Option<usize>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = Builder::new().name("shm-limit".to_owned());
    let thread = stack.into_iter().fold(thread, Builder::stack_size);
    // It inherits the mask of the thread that starts it.
    without_handlers(|| thread.spawn(work)).map(drop)
}

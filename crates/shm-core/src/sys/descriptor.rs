//! Descriptors that are open only briefly, and that a child forked meanwhile must not keep.

use super::signal::NoHandlers;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

const NONE: i32 = -1;
/// The numbers of the currently open ones. Beyond this many at once, a forked child keeps the rest until it execs.
static OPEN: [AtomicI32; 16] = [const { AtomicI32::new(NONE) }; 16];

/// A descriptor private to this process: a child forked by another thread closes its copy before it does anything else.
/// Signal handlers are blocked in this thread meanwhile, so no handler can fork a child that continues with it.
pub(crate) struct Momentary {
    /// Cleared before the file is closed: fields are dropped in this order.
    _slot: Slot,
    file: File,
    _no_handlers: NoHandlers,
}

/// The index in [`OPEN`].
struct Slot(Option<usize>);

impl Momentary {
    /// Opens it.
    pub(crate) fn open<E>(open: impl FnOnce() -> Result<File, E>) -> Result<Momentary, E> {
        let no_handlers = NoHandlers::enter();
        let file = open()?;
        let number = file.as_raw_fd();
        let is_free = |slot: &AtomicI32| {
            slot.compare_exchange(NONE, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = Slot(OPEN.iter().position(is_free));
        Ok(Momentary { _slot: slot, file, _no_handlers: no_handlers })
    }
}

impl Deref for Momentary {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            OPEN[slot].store(NONE, Ordering::Release);
        }
    }
}

/// For a forked child, before it does anything else. Async-signal-safe.
pub(super) fn close_inherited() {
    for slot in &OPEN {
        let number = slot.swap(NONE, Ordering::AcqRel);
        if number != NONE {
            // SAFETY: the child's own copy of a descriptor that no thread of the child uses.
            unsafe { libc::close(number) };
        }
    }
}

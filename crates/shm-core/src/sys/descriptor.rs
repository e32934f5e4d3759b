//! Descriptors that are open for a moment only, and that a child forked in that moment must not keep.

use super::fork::process_token;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

const NONE: i32 = -1;
/// The numbers of those that are open now. With more than these at once, a forked child keeps the rest until it execs.
static OPEN: [AtomicI32; 16] = [const { AtomicI32::new(NONE) }; 16];

/// A descriptor of this process. A forked child does not have it: the child closes its copy before anything else, or, if
/// it goes on with this value because a signal handler forked, finds it closed.
pub(crate) struct Momentary {
    file: ManuallyDrop<File>,
    slot: Option<usize>,
    process: u64,
}

impl Momentary {
    pub(crate) fn new(file: File) -> Momentary {
        let number = file.as_raw_fd();
        let is_free = |slot: &AtomicI32| {
            slot.compare_exchange(NONE, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = OPEN.iter().position(is_free);
        Momentary { file: ManuallyDrop::new(file), slot, process: process_token() }
    }
}

impl Deref for Momentary {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Momentary {
    fn drop(&mut self) {
        if self.process != process_token() && self.slot.is_some() {
            // The child's copy was closed when it was forked; by now another file may have its number.
            return;
        }
        if let Some(slot) = self.slot {
            OPEN[slot].store(NONE, Ordering::Release);
        }
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// For a forked child, before it does anything else: only calls what may be called there.
pub(super) fn close_inherited() {
    for slot in &OPEN {
        let number = slot.swap(NONE, Ordering::AcqRel);
        if number != NONE {
            // SAFETY: the child's own copy of a descriptor that nobody in the child refers to: see `Momentary::drop`.
            unsafe { libc::close(number) };
        }
    }
}

//! What is measured.

use std::hint::black_box;

/// Runs a decision so many times. The loop is inside, so that nothing is called through a pointer in it.
pub(crate) type Loop = Box<dyn FnMut(u64)>;

/// Makes one when it is needed.
pub(crate) type Make = fn() -> Subject;

/// Something that can be measured.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) run: Loop,
}

impl Subject {
    pub(crate) fn new<T>(name: &'static str, mut decide: impl FnMut() -> T + 'static) -> Subject {
        let run = move |times| {
            for _ in 0..times {
                black_box(decide());
            }
        };
        Subject { name, run: Box::new(run) }
    }
}

//! How far the machine can be trusted while a measurement runs: on a machine that stalls, clients arrive and holders wake late
//! whatever the limiter does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(5);
/// A measurement with a longer stall says little about the limiter.
pub const DISTURBED: Duration = Duration::from_millis(100);

/// A thread that sleeps again and again, and remembers how late the latest wake-up was.
pub struct Heartbeat {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Heartbeat {
    /// Starts it.
    pub fn start() -> Heartbeat {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !until.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(BEAT);
                longest = longest.max(began.elapsed().saturating_sub(BEAT));
            }
            longest
        });
        Heartbeat { over, thread }
    }

    /// Ends it. Returns how late its latest wake-up was.
    pub fn longest_stall(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

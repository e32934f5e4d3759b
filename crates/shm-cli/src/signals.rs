//! Ctrl-C and its kin during a wait: noticed, so that the turn can be given back; then died by, so that the shell
//! sees what it expects (130, 143).

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Catches the signals that end a process, except those that are ignored (as under `nohup`): they stay so.
pub(crate) struct Watch {
    /// The signal that came; 0 while none did.
    came: Arc<AtomicUsize>,
    /// From when on a signal has its ordinary effect at once.
    over: Arc<AtomicBool>,
    /// Which are caught.
    signals: Vec<i32>,
}

impl Watch {
    /// Begins to catch.
    pub(crate) fn begin() -> io::Result<Watch> {
        let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|&s| !is_ignored(s)).collect();
        let watch = Watch { came: Arc::default(), over: Arc::default(), signals };
        for &signal in &watch.signals {
            flag::register_conditional_default(signal, watch.over.clone())?;
            flag::register_usize(signal, watch.came.clone(), signal as usize)?;
        }
        Ok(watch)
    }

    /// Whether a signal came.
    pub(crate) fn came(&self) -> bool {
        self.which().is_some()
    }

    /// Which came last.
    pub(crate) fn which(&self) -> Option<i32> {
        Some(self.came.load(Ordering::SeqCst) as i32).filter(|&signal| signal != 0)
    }

    /// Which are caught.
    pub(crate) fn signals(&self) -> &[i32] {
        &self.signals
    }

    /// Makes sure that the end of a child is heard of. Whoever ignores it can't wait for one, and this is inherited.
    pub(crate) fn children(&self) -> io::Result<()> {
        flag::register(SIGCHLD, Arc::default()).map(|_| ())
    }

    /// Ends the catching. Dies by the signal, if one came: in this order, so that none is lost in between.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(signal) = self.which() {
            let _ = low_level::emulate_default_handler(signal);
            // Only if the signal is blocked: then at least the status says it.
            std::process::exit(128 + signal);
        }
    }
}

#[allow(unsafe_code)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros is a valid sigaction; the call changes nothing and writes to `old`, which outlives it.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

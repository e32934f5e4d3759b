//! Which of the signals that this process gets the command must be sent: those that it did not get itself.

use crate::witness::{Origin, Testimony, Witness};
use nix::sys::signalfd::SignalFd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How far apart a sender's signal to this process and its signal to the group may be to count as one, as those of
/// timeout(1) do. So much later a signal to this process alone reaches the command.
const GRACE: Duration = Duration::from_millis(50);
/// After so long without an answer the witness is stopped, or worse: then a signal too many is better than none.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// A signal that the command is to be sent, unless the witness got it as well.
struct Owed {
    origin: Origin,
    due: Instant,
    /// Whether it was due when the witness was asked.
    asked: bool,
}

/// The signals on their way to the command.
pub(crate) struct Relay {
    witness: Option<Witness>,
    owed: Vec<Owed>,
    /// Which signals the group got, and when this was told.
    of_group: Vec<(Origin, Instant)>,
    /// Since when the witness owes an answer.
    question: Option<Instant>,
}

impl Relay {
    /// Must begin before there is a command: no signal to both may miss the witness.
    pub(crate) fn begin(inbox: &SignalFd) -> Relay {
        Relay { witness: Witness::start(inbox), owed: Vec::new(), of_group: Vec::new(), question: None }
    }

    /// What to poll for news of the group.
    pub(crate) fn line(&self) -> Option<BorrowedFd<'_>> {
        self.witness.as_ref().map(AsFd::as_fd)
    }

    /// Until when to sleep at most, if nothing comes.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        match self.question {
            _ if self.witness.is_none() => (!self.owed.is_empty()).then(Instant::now),
            Some(since) => Some(since + NO_ANSWER),
            None => self.owed.iter().map(|owed| owed.due).min(),
        }
    }

    /// This process got a signal.
    pub(crate) fn caught(&mut self, origin: Origin) {
        let now = Instant::now();
        self.of_group.retain(|&(_, told)| now < told + GRACE);
        if !self.of_group.iter().any(|&(same, _)| same == origin) {
            self.owed.push(Owed { origin, due: now + GRACE, asked: false });
        }
    }

    /// Hears the witness, and gives `send` what is due.
    pub(crate) fn work(&mut self, send: impl Fn(Origin)) {
        if self.hear().is_err() {
            self.witness = None;
        }
        let now = Instant::now();
        let lost = self.witness.is_none() || self.question.is_some_and(|since| now >= since + NO_ANSWER);
        if lost {
            self.question = None;
            self.owed.drain(..).for_each(|owed| send(owed.origin));
        }
        self.owed.retain(|owed| {
            let settled = owed.asked && self.question.is_none();
            if settled {
                send(owed.origin);
            }
            !settled
        });
        // Its being told late, on a busy machine, must not make two of one: it says when it has told all.
        if self.question.is_none() && self.owed.iter().any(|owed| owed.due <= now) {
            self.owed.iter_mut().filter(|owed| owed.due <= now).for_each(|owed| owed.asked = true);
            self.question = Some(now);
            if self.witness.as_mut().is_some_and(|witness| witness.ask().is_err()) {
                self.witness = None;
            }
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        while let Some(witness) = &mut self.witness {
            match witness.hear()? {
                None => break,
                Some(Testimony::Answer) => self.question = None,
                Some(Testimony::Group(origin)) => {
                    self.owed.retain(|owed| owed.origin != origin);
                    self.of_group.push((origin, Instant::now()));
                }
            }
        }
        Ok(())
    }
}

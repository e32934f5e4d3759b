//! What a handle does when its limiter is lost, and what it says then.

use shm_core::{Error, ErrorKind};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a handle does when its limiter is lost: it was retired (`shm-limit remove`), replaced, or its file was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLost {
    /// The handle finds its name again: a handle that was [opened](crate::Builder::open) with a rate or a policy joins the
    /// limiter that has the name now, or creates it, as at its opening; one that was [attached](crate::Builder::attach)
    /// joins it, or says [`NotFound`](ErrorKind::NotFound). It does so when it is used, at most once every 100 ms.
    ///
    /// The new limiter knows nothing of the old one's usage, permits and line: its budget starts anew. Callers that
    /// wait join its line, in their old order.
    #[default]
    FindAgain,
    /// Every use of the handle says [`Retired`](ErrorKind::Retired) or [`Removed`](ErrorKind::Removed).
    Error,
}

/// What a handle found under its name after its limiter was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It joined a limiter that another process had created.
    Joined,
    /// It created the limiter.
    Created,
}

/// That the limiter of a handle was lost, and what came of it: see [`Builder::when_lost`](crate::Builder::when_lost).
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    name: &'a str,
    path: &'a Path,
    why: ErrorKind,
    found: Result<Found, &'a Error>,
}

impl<'a> Lost<'a> {
    pub(crate) fn new(
        name: &'a str,
        path: &'a Path,
        why: ErrorKind,
        found: Result<Found, &'a Error>,
    ) -> Self {
        Lost { name, path, why, found }
    }

    /// The limiter's name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The limiter's file.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// [`Retired`](ErrorKind::Retired) or [`Removed`](ErrorKind::Removed).
    pub fn why(&self) -> ErrorKind {
        self.why
    }

    /// What the handle uses now, or why it could not open the name. After a failure it goes on looking, and says so when it
    /// finds the limiter.
    ///
    /// # Errors
    /// Those of opening a limiter.
    pub fn found(&self) -> Result<Found, &Error> {
        self.found
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn trace(&self) {
        let (limiter, path) = (self.name, tracing::field::display(self.path.display()));
        match self.found {
            Ok(_) => tracing::warn!(target: "shm_limit", limiter, path, "{}", self.what_happened()),
            Err(error) => {
                tracing::error!(target: "shm_limit", limiter, path, %error, "{}", self.what_happened());
            }
        }
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn trace(&self) {}

    fn what_happened(&self) -> &'static str {
        match (self.why, self.found.is_ok_and(|found| found == Found::Created), self.found.is_ok()) {
            (ErrorKind::Retired, true, _) => "it was retired, and was created again; its budget starts anew",
            (ErrorKind::Retired, _, true) => "it was retired; joined the new one of its name",
            (ErrorKind::Retired, ..) => "it was retired, and its name can't be opened",
            (_, true, _) => "its file was removed, and was created again; its budget starts anew",
            (_, _, true) => "its file was removed; joined the new one of its name",
            _ => "its file was removed, and its name can't be opened",
        }
    }
}

/// In words, without what follows from an error: see [`found`](Lost::found).
impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limiter {:?} ({}): {}", self.name, self.path.display(), self.what_happened())
    }
}

/// A program's own function that is told.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Lost<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(tell: impl Fn(&Lost<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(tell))
    }

    pub(crate) fn tell(&self, lost: &Lost<'_>) {
        (self.0)(lost);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

//! What a handle does when its limiter is lost, and the report that the program gets.

use shm_core::{Error, ErrorKind};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a handle does when its limiter is lost: retired (`shm-limit remove`), replaced, or its file removed. See
/// [`Builder::on_lost`](crate::Builder::on_lost).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLost {
    /// The handle reopens its name on the next use, at most once every 100 ms. If it was [opened](crate::Builder::open) with
    /// a rate or a policy, it joins the limiter that now has the name or creates it, exactly as when it was first opened. If
    /// it was [attached](crate::Builder::attach), it joins that limiter, or fails with [`NotFound`](ErrorKind::NotFound).
    ///
    /// Usage, permits and the waiting line of the lost limiter are not carried over: the new budget starts full. Waiting
    /// callers join the new limiter's line in their old order.
    #[default]
    Reopen,
    /// Every use of the handle fails with [`Retired`](ErrorKind::Retired) or [`Removed`](ErrorKind::Removed).
    Error,
}

/// How a handle got its new limiter after the old one was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// It joined a limiter that another process had created.
    Joined,
    /// It created the limiter.
    Created,
}

/// A report that a handle's limiter was lost, and whether the handle could reopen its name. Passed to the function set by
/// [`Builder::when_lost`](crate::Builder::when_lost).
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

    /// How the limiter was lost: [`Retired`](ErrorKind::Retired) or [`Removed`](ErrorKind::Removed).
    pub fn why(&self) -> ErrorKind {
        self.why
    }

    /// How the handle got its new limiter, or why it could not open the name. After a failure the handle keeps trying
    /// whenever it is used, and reports again once it succeeds.
    ///
    /// # Errors
    /// As [`RateLimit::open`](crate::RateLimit::open).
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
            (ErrorKind::Retired, true, _) => "it was retired; this process recreated it, with a full budget",
            (ErrorKind::Retired, _, true) => {
                "it was retired; this process joined the new limiter of that name"
            }
            (ErrorKind::Retired, ..) => "it was retired, and its name cannot be opened",
            (_, true, _) => "its file was removed; this process recreated it, with a full budget",
            (_, _, true) => "its file was removed; this process joined the new limiter of that name",
            _ => "its file was removed, and its name cannot be opened",
        }
    }
}

/// One line for a log, without the text of the error: for that see [`found`](Lost::found).
impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limiter {:?} ({}): {}", self.name, self.path.display(), self.what_happened())
    }
}

/// The program's function that receives the reports.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Lost<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(function: impl Fn(&Lost<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(function))
    }

    pub(crate) fn call(&self, lost: &Lost<'_>) {
        (self.0)(lost);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

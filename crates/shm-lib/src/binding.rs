//! Which limiter a handle uses: the one it opened or, once that one is lost, the one that now has its name.
//!
//! The handle keeps the first limiter for good, so that the fast path reads nothing else: a decision on a lost limiter fails,
//! and only then does the code here run. A handle maps at most two limiters, however often it reopens its name.

use crate::lost::{Found, Lost, Observer, OnLost};
use arc_swap::{ArcSwapOption, Guard};
use shm_core::{Directory, Error, ErrorKind, Limiter, Name, ProcessLock, Result, Settings, without_handlers};
use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A handle looks its name up at most once in this time.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(100);

/// How a handle opens its name, the first time and each time its limiter is lost.
pub(crate) enum Opening {
    /// Join the limiter as it is.
    Attach,
    /// Join the limiter, or create it.
    Open(Box<Settings>),
}

/// How a handle reopens its name, and the limiter that it found last.
pub(crate) struct Binding {
    directory: Directory,
    name: Name,
    opening: Opening,
    on_lost: OnLost,
    observer: Option<Observer>,
    /// The limiter found by the last lookup, after the first was lost.
    latest: ArcSwapOption<Limiter>,
    has_moved: AtomicBool,
    /// Whether this handle itself retired the limiter.
    is_retired_here: AtomicBool,
    times_lost: AtomicU64,
    /// Held by the thread that looks the name up. A forked child that finds it held starts with a fresh value.
    search: ProcessLock<Search>,
}

/// The state of the search for the name.
#[derive(Default)]
struct Search {
    /// The earliest instant of the next lookup.
    not_before: Option<Instant>,
    /// Why the last lookup failed.
    failed: Option<Error>,
}

/// The result of looking the name up.
pub(crate) enum Lookup {
    Found(Arc<Limiter>),
    /// The limiter was lost again right after a lookup; the next lookup may happen at this instant.
    RetryAt(Instant, Error),
}

/// The limiter that a handle uses at the moment.
pub(crate) enum Current<'a> {
    First(&'a Arc<Limiter>),
    Later(Guard<Option<Arc<Limiter>>>, &'a Arc<Limiter>),
}

/// Must be called before this thread uses an `ArcSwap`. The first use in a thread registers a destructor, for which the C library
/// holds a lock of its own. If a signal handler forks there, the child ends in an assertion of the C library when it takes that
/// lock next.
#[inline]
fn before_arc_swap() {
    thread_local! {
        static IS_REGISTERED: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_REGISTERED.get() {
        without_handlers(|| drop(ArcSwapOption::<()>::empty().load()));
        IS_REGISTERED.set(true);
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // The field is dropped after this.
        before_arc_swap();
    }
}

impl Deref for Current<'_> {
    type Target = Arc<Limiter>;

    #[inline]
    fn deref(&self) -> &Arc<Limiter> {
        match self {
            Current::First(first) => first,
            Current::Later(latest, first) => latest.as_ref().unwrap_or(first),
        }
    }
}

impl Opening {
    fn join(&self, directory: &Directory, name: &Name) -> Result<Limiter> {
        match self {
            Opening::Attach => Limiter::attach(directory, name),
            Opening::Open(settings) => Limiter::open(directory, name, settings),
        }
    }
}

impl Binding {
    /// Opens the limiter. With `replace`, the new limiter takes the place of an existing one.
    pub(crate) fn open(
        directory: Directory,
        name: Name,
        opening: Opening,
        replace: bool,
        on_lost: OnLost,
        observer: Option<Observer>,
    ) -> Result<(Arc<Limiter>, Binding)> {
        let first = match &opening {
            Opening::Open(settings) if replace => Limiter::replace(&directory, &name, settings)?,
            opening => opening.join(&directory, &name)?,
        };
        let binding = Binding {
            directory,
            name,
            opening,
            on_lost,
            observer,
            latest: ArcSwapOption::empty(),
            has_moved: AtomicBool::new(false),
            is_retired_here: AtomicBool::new(false),
            times_lost: AtomicU64::new(0),
            search: ProcessLock::new(Search::default()),
        };
        Ok((Arc::new(first), binding))
    }

    #[inline]
    pub(crate) fn current<'a>(&'a self, first: &'a Arc<Limiter>) -> Current<'a> {
        // Acquire: pairs with the Release after `latest` was set.
        if self.has_moved.load(Ordering::Acquire) {
            before_arc_swap();
            Current::Later(self.latest.load(), first)
        } else {
            Current::First(first)
        }
    }

    /// Runs `operation` on the current limiter; if that is lost, on the limiter that now has its name.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        first: &Arc<Limiter>,
        mut operation: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        let current = self.current(first);
        // Inspected by reference: the result may be large, and this avoids a move on the success path.
        let done = operation(&current);
        if done.as_ref().is_err_and(|e| e.kind().is_lost())
            && let Err(why) = done
        {
            return self.retry_with_successor(Arc::clone(&current), why, operation);
        }
        done
    }

    /// If `error` says that the first limiter is lost, runs `operation` on the limiter that now has the name.
    ///
    /// # Errors
    /// `error` if it has any other kind; otherwise the errors of opening the name and of `operation`.
    #[cold]
    pub(crate) fn after<T>(
        &self,
        first: &Arc<Limiter>,
        error: Error,
        operation: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        if !error.kind().is_lost() {
            return Err(error);
        }
        if self.has_moved.load(Ordering::Acquire) {
            return self.with(first, operation);
        }
        self.retry_with_successor(Arc::clone(first), error, operation)
    }

    #[cold]
    fn retry_with_successor<T>(
        &self,
        mut lost: Arc<Limiter>,
        mut why: Error,
        mut operation: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        loop {
            match self.reopen(&lost, why)? {
                Lookup::Found(limiter) => lost = limiter,
                Lookup::RetryAt(_, why) => return Err(why),
            }
            match operation(&lost) {
                Err(again) if again.kind().is_lost() => why = again,
                done => return done,
            }
        }
    }

    /// How many times the limiter was lost.
    pub(crate) fn times_lost(&self) -> u64 {
        self.times_lost.load(Ordering::Relaxed)
    }

    /// After this handle has retired its limiter: never reopen the name.
    pub(crate) fn stop_reopening(&self) {
        self.is_retired_here.store(true, Ordering::Relaxed);
    }

    /// Whether this handle reopens its name when its limiter is lost.
    pub(crate) fn reopens(&self) -> bool {
        self.on_lost != OnLost::Error && !self.is_retired_here.load(Ordering::Relaxed)
    }

    /// Looks the name up after limiter `lost` failed with `why`.
    ///
    /// # Errors
    /// `why` if this handle does not reopen its name; otherwise why the name could not be opened.
    #[cold]
    #[inline(never)]
    pub(crate) fn reopen(&self, lost: &Arc<Limiter>, why: Error) -> Result<Lookup> {
        if !self.reopens() {
            return Err(why);
        }
        let kind = why.kind();
        // Blocks signals: a handler in this thread that uses the same handle would deadlock on the search lock.
        let (lookup, must_report) = without_handlers(|| self.look_up_name(lost, why));
        if must_report {
            self.report(kind, &lookup);
        }
        lookup
    }

    /// The result of the lookup, and whether it must be reported to the program.
    fn look_up_name(&self, lost: &Arc<Limiter>, why: Error) -> (Result<Lookup>, bool) {
        let mut search = self.search.lock();
        if let Some(latest) = self.latest.load_full().filter(|latest| !Arc::ptr_eq(latest, lost)) {
            // Another thread has already found the successor.
            return (Ok(Lookup::Found(latest)), false);
        }
        let now = Instant::now();
        if let Some(not_before) = search.not_before.filter(|&not_before| now < not_before) {
            let lookup = match &search.failed {
                Some(failed) => Err(failed.clone()),
                None => Ok(Lookup::RetryAt(not_before, self.lost_again_error(&why))),
            };
            return (lookup, false);
        }
        search.not_before = Some(now + LOOKUP_INTERVAL);
        let was_missing = search.failed.is_some();
        if !was_missing {
            self.times_lost.fetch_add(1, Ordering::Relaxed);
        }
        match self.opening.join(&self.directory, &self.name) {
            Ok(limiter) => {
                search.failed = None;
                let limiter = Arc::new(limiter);
                self.latest.store(Some(Arc::clone(&limiter)));
                // Makes every later decision on the lost limiter fail fast.
                lost.supersede();
                // Release: pairs with the Acquire in `current`.
                self.has_moved.store(true, Ordering::Release);
                (Ok(Lookup::Found(limiter)), true)
            }
            Err(e) => {
                search.failed = Some(e.clone());
                (Err(e), !was_missing)
            }
        }
    }

    #[cold]
    fn lost_again_error(&self, why: &Error) -> Error {
        let event = match why.kind() {
            ErrorKind::Retired => "it was retired",
            _ => "its file was removed",
        };
        let message = format!(
            "{event} right after this handle had reopened its name; the handle looks its name up at most every \
             {LOOKUP_INTERVAL:?}, so try again after that"
        );
        Error::new(why.kind(), message).at(self.name.as_str(), &self.directory.file(&self.name))
    }

    fn report(&self, why: ErrorKind, lookup: &Result<Lookup>) {
        let found = match lookup {
            Ok(Lookup::Found(limiter)) if limiter.was_created() => Ok(Found::Created),
            Ok(_) => Ok(Found::Joined),
            Err(e) => Err(e),
        };
        let path = self.directory.file(&self.name);
        let lost = Lost::new(self.name.as_str(), &path, why, found);
        lost.trace();
        if let Some(observer) = &self.observer {
            observer.call(&lost);
        }
    }
}

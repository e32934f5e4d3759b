//! Which limiter a handle uses: the one that it opened and, after that one was lost, the one that has its name.
//!
//! The first limiter stays with the handle, so that the fast path reads nothing else: it fails on a limiter that is lost,
//! and everything after that failure comes here. At most two limiters are mapped for a handle, however often it finds
//! its name again.

use crate::lost::{Found, Lost, Observer, OnLost};
use arc_swap::{ArcSwapOption, Guard};
use shm_core::{Directory, Error, ErrorKind, Limiter, Name, ProcessLock, Result, Settings, without_handlers};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a handle looks for its name, at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a handle finds a limiter by its name.
pub(crate) enum Opening {
    /// It joins the limiter as it is.
    Attach,
    /// It joins the limiter, or creates it.
    Open(Box<Settings>),
}

/// How the name of a handle is found again, and what was found.
pub(crate) struct Binding {
    directory: Directory,
    name: Name,
    terms: Opening,
    on_lost: OnLost,
    observer: Option<Observer>,
    /// The limiter that was found last, after the first was lost.
    latest: ArcSwapOption<Limiter>,
    has_moved: AtomicBool,
    /// Whether the limiter was retired by this handle itself.
    is_over: AtomicBool,
    times_lost: AtomicU64,
    /// Held by the thread that looks for the name. A forked child that finds it held begins anew.
    search: ProcessLock<Search>,
}

/// How the search goes.
#[derive(Default)]
struct Search {
    /// When to look next, at the earliest.
    not_before: Option<Instant>,
    /// Why the last look found nothing.
    failed: Option<Error>,
}

/// What came of a look for the name.
pub(crate) enum Sought {
    Found(Arc<Limiter>),
    /// It was found a moment ago, and lost again: it is not looked for before this instant.
    NotBefore(Instant, Error),
}

/// The limiter that a handle uses now.
pub(crate) enum Current<'a> {
    First(&'a Arc<Limiter>),
    Later(Guard<Option<Arc<Limiter>>>, &'a Arc<Limiter>),
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
    /// Opens the limiter; `replace`: in place of the one that is there.
    pub(crate) fn open(
        directory: Directory,
        name: Name,
        terms: Opening,
        replace: bool,
        on_lost: OnLost,
        observer: Option<Observer>,
    ) -> Result<(Arc<Limiter>, Binding)> {
        let first = match &terms {
            Opening::Open(settings) if replace => Limiter::replace(&directory, &name, settings)?,
            terms => terms.join(&directory, &name)?,
        };
        let binding = Binding {
            directory,
            name,
            terms,
            on_lost,
            observer,
            latest: ArcSwapOption::empty(),
            has_moved: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            times_lost: AtomicU64::new(0),
            search: ProcessLock::new(Search::default()),
        };
        Ok((Arc::new(first), binding))
    }

    #[inline]
    pub(crate) fn current<'a>(&'a self, first: &'a Arc<Limiter>) -> Current<'a> {
        // Acquire: pairs with the Release after `latest` was set.
        if self.has_moved.load(Ordering::Acquire) {
            Current::Later(self.latest.load(), first)
        } else {
            Current::First(first)
        }
    }

    /// Does this with the limiter; if that is lost, once more with the one that has its name now.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        first: &Arc<Limiter>,
        mut what: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        let current = self.current(first);
        // Looked at where it is, and not moved: it may be large.
        let done = what(&current);
        if done.as_ref().is_err_and(|e| e.kind().is_lost())
            && let Err(why) = done
        {
            return self.with_the_next(Arc::clone(&current), why, what);
        }
        done
    }

    /// Does this with the limiter that has the name now, if `error` says that the first is lost.
    ///
    /// # Errors
    /// Those of looking for the name, and of `what`; `error`, if it says something else.
    #[cold]
    pub(crate) fn after<T>(
        &self,
        first: &Arc<Limiter>,
        error: Error,
        what: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        if !error.kind().is_lost() {
            return Err(error);
        }
        if self.has_moved.load(Ordering::Acquire) {
            return self.with(first, what);
        }
        self.with_the_next(Arc::clone(first), error, what)
    }

    #[cold]
    fn with_the_next<T>(
        &self,
        mut lost: Arc<Limiter>,
        mut why: Error,
        mut what: impl FnMut(&Arc<Limiter>) -> Result<T>,
    ) -> Result<T> {
        loop {
            match self.find_again(&lost, why)? {
                Sought::Found(limiter) => lost = limiter,
                Sought::NotBefore(_, why) => return Err(why),
            }
            match what(&lost) {
                Err(again) if again.kind().is_lost() => why = again,
                done => return done,
            }
        }
    }

    /// How often the limiter was lost.
    pub(crate) fn times_lost(&self) -> u64 {
        self.times_lost.load(Ordering::Relaxed)
    }

    /// The limiter was retired by this handle: from now on its name is not looked for.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Looks for the name after this limiter was `lost`: `why` says so.
    ///
    /// # Errors
    /// `why`, if this handle does not look; otherwise why the name could not be opened.
    #[cold]
    #[inline(never)]
    pub(crate) fn find_again(&self, lost: &Arc<Limiter>, why: Error) -> Result<Sought> {
        if self.on_lost == OnLost::Error || self.is_over.load(Ordering::Relaxed) {
            return Err(why);
        }
        let kind = why.kind();
        // A signal handler that runs in this thread must not come here while the search is locked.
        let (sought, is_news) = without_handlers(|| self.search_for_the_name(lost, why));
        if is_news {
            self.tell(kind, &sought);
        }
        sought
    }

    /// What was found, and whether that is to be told.
    fn search_for_the_name(&self, lost: &Arc<Limiter>, why: Error) -> (Result<Sought>, bool) {
        let mut search = self.search.lock();
        if let Some(latest) = self.latest.load_full().filter(|latest| !Arc::ptr_eq(latest, lost)) {
            // Another thread has found it.
            return (Ok(Sought::Found(latest)), false);
        }
        let now = Instant::now();
        if let Some(not_before) = search.not_before.filter(|&not_before| now < not_before) {
            let sought = match &search.failed {
                Some(failed) => Err(failed.clone()),
                None => Ok(Sought::NotBefore(not_before, self.lost_again(&why))),
            };
            return (sought, false);
        }
        search.not_before = Some(now + LOOK_EVERY);
        let was_missing = search.failed.is_some();
        if !was_missing {
            self.times_lost.fetch_add(1, Ordering::Relaxed);
        }
        match self.terms.join(&self.directory, &self.name) {
            Ok(limiter) => {
                search.failed = None;
                let limiter = Arc::new(limiter);
                self.latest.store(Some(Arc::clone(&limiter)));
                // The first goes on failing, and is quick about it.
                lost.supersede();
                // Release: pairs with the Acquire in `current`.
                self.has_moved.store(true, Ordering::Release);
                (Ok(Sought::Found(limiter)), true)
            }
            Err(e) => {
                search.failed = Some(e.clone());
                (Err(e), !was_missing)
            }
        }
    }

    #[cold]
    fn lost_again(&self, why: &Error) -> Error {
        let what = match why.kind() {
            ErrorKind::Retired => "it was retired",
            _ => "its file was removed",
        };
        let message = format!(
            "{what} a moment after this handle had found its name again; the handle looks for its name again within \
             {LOOK_EVERY:?}, so try again then"
        );
        Error::new(why.kind(), message).at(self.name.as_str(), &self.directory.file(&self.name))
    }

    fn tell(&self, why: ErrorKind, sought: &Result<Sought>) {
        let found = match sought {
            Ok(Sought::Found(limiter)) if limiter.was_created() => Ok(Found::Created),
            Ok(_) => Ok(Found::Joined),
            Err(e) => Err(e),
        };
        let path = self.directory.file(&self.name);
        let lost = Lost::new(self.name.as_str(), &path, why, found);
        lost.trace();
        if let Some(observer) = &self.observer {
            observer.tell(&lost);
        }
    }
}

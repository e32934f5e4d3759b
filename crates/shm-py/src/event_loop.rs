//! Waiting in tasks of an event loop.
//!
//! A task's request is a future of the library, which is polled on the loop's thread. The library's one thread per process wakes
//! futures; it must not wait for the interpreter, so a wake-up only notes which future it is for, and writes to a file descriptor
//! that the loop watches ([`Wakeups`], one for each loop). The loop then polls those futures. So no task has a thread or a timer of
//! its own.

use crate::convert::{Bounds, cost};
use crate::errors::{exception, wrong_value};
use crate::keyed::LimitOfKey;
use crate::outcome::{Source, object};
use crate::rate_limit::NativeRateLimit;
use crate::wait::{bounded, bounded_key};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use pyo3::prelude::*;
use shm_lib::{Key, Outcome};
use std::future::Future;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The wake-ups of one event loop.
#[pyclass(frozen, module = "shm_limit._native")]
pub(crate) struct Wakeups(Arc<Pending>);

/// Which futures are to be polled.
struct Pending {
    due: Mutex<Vec<u64>>,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pending {
    fn due(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one future.
struct TaskWaker {
    id: u64,
    of: Arc<Pending>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_empty = {
            let mut due = self.of.due();
            due.push(self.id);
            due.len() == 1
        };
        if was_empty {
            // A full pipe has been written to already.
            let _ = (&self.of.writer).write(&[0]);
        }
    }
}

#[pymethods]
impl Wakeups {
    #[new]
    fn new() -> PyResult<Wakeups> {
        let (reader, writer) = pipe()?;
        set_nonblocking(&reader)?;
        set_nonblocking(&writer)?;
        Ok(Wakeups(Arc::new(Pending { due: Mutex::default(), reader, writer })))
    }

    /// The descriptor that becomes readable when futures are to be polled.
    fn fileno(&self) -> i32 {
        self.0.reader.as_raw_fd()
    }

    /// Which futures are to be polled. Empties the descriptor first, so that a later wake-up writes to it again.
    fn take(&self) -> Vec<u64> {
        let mut bytes = [0; 64];
        loop {
            match (&self.0.reader).read(&mut bytes) {
                Ok(n) if n == bytes.len() => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        let mut due = std::mem::take(&mut *self.0.due());
        due.sort_unstable();
        due.dedup();
        due
    }
}

fn set_nonblocking(end: impl AsFd) -> std::io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL)?);
    fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

type Waiting = Pin<Box<dyn Future<Output = shm_lib::Result<Outcome>> + Send>>;

/// A request that waits in a task. Dropped, it leaves the line and takes nothing.
#[pyclass(frozen, module = "shm_limit._native")]
pub(crate) struct Acquiring {
    by: Source,
    waker: Waker,
    /// None: it has ended.
    waiting: Mutex<Option<Waiting>>,
}

#[pymethods]
impl Acquiring {
    /// A request of a `RateLimit`, or of a key of a `KeyedRateLimit`.
    #[new]
    fn new(
        limit: &Bound<'_, PyAny>,
        n: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_waiters: Option<&Bound<'_, PyAny>>,
        wakeups: &Wakeups,
        id: u64,
    ) -> PyResult<Acquiring> {
        let (cost, bounds) = (cost(n)?, Bounds::of(timeout, max_waiters)?);
        let by = match limit.cast::<LimitOfKey>() {
            Ok(of_key) => of_key.get().source(),
            Err(_) => Source::Whole(Arc::clone(limit.cast::<NativeRateLimit>()?.get().limit())),
        };
        let waiting: Waiting = match by.clone() {
            Source::Whole(limit) => Box::pin(async move { bounded(&limit, cost, bounds).await }),
            Source::Key(limit, key) => {
                Box::pin(async move { bounded_key(&limit, Key::from(&*key), cost, bounds).await })
            }
        };
        let waker = Waker::from(Arc::new(TaskWaker { id, of: Arc::clone(&wakeups.0) }));
        Ok(Acquiring { by, waker, waiting: Mutex::new(Some(waiting)) })
    }

    /// The outcome; None while it waits.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = waiting.as_mut() else {
            return Err(wrong_value("this request has ended".to_owned()));
        };
        match future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(ended) => {
                *waiting = None;
                drop(waiting);
                let outcome = ended.map_err(|e| exception(py, &e))?;
                object(py, self.by.clone(), outcome).map(Some)
            }
        }
    }

    /// Leaves the line, and takes nothing.
    fn cancel(&self) {
        drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

//! The object of a handle's last admission, which serves the next one if nobody keeps it.
//!
//! Most callers of `try_acquire` look whether the result is true, and drop it. To make and free an object of Python takes as long as
//! the decision and the call together.

#![allow(unsafe_code)]

use crate::outcome::{Admission, Source};
use pyo3::ffi::Py_REFCNT;
use pyo3::prelude::*;
use shm_lib::RateLimit;
use std::sync::{Arc, Mutex, PoisonError};

/// The last admission of a handle.
#[derive(Default)]
pub(crate) struct LastAdmission(Mutex<Option<Py<Admission>>>);

impl LastAdmission {
    /// An object for this admission by the limiter of the handle.
    #[inline(always)]
    pub(crate) fn object(
        &self,
        py: Python<'_>,
        limit: &Arc<RateLimit>,
        admission: shm_lib::Admission,
    ) -> PyResult<Py<Admission>> {
        // A permit is released when its object is freed, so nothing else may keep that object.
        let keep = !admission.holds_permit();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = &*last
            && is_only_reference(object)
        {
            object.get().with(|inner| *inner = admission);
            return if keep { Ok(object.clone_ref(py)) } else { Ok(last.take().expect("it is there")) };
        }
        let object = Py::new(py, Admission::new(Source::Whole(Arc::clone(limit)), admission))?;
        if keep {
            *last = Some(object.clone_ref(py));
        }
        Ok(object)
    }

    /// This object holds no permit any more.
    pub(crate) fn released(&self, object: Py<Admission>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(object);
    }
}

/// Whether no other reference to the object exists. Then none appears while the interpreter is held: the object has no weak references,
/// and the garbage collector does not list it.
///
/// Without the interpreter's lock, other threads change the count meanwhile, and then it says nothing.
#[inline(always)]
fn is_only_reference(object: &Py<Admission>) -> bool {
    if cfg!(Py_GIL_DISABLED) {
        return false;
    }
    // SAFETY: the pointer of a `Py` is that of a live object, and the caller is attached to the interpreter.
    unsafe { Py_REFCNT(object.as_ptr()) == 1 }
}

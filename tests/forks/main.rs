//! Forks: a child uses what it inherits, and leaves nothing in its parent.
//!
//! | module | what it shows |
//! |---|---|
//! | `inherited_handles` | a child works with its parent's handle, in a seat of its own |
//! | `forks_in_calls` | a fork in the middle of a call admits nothing extra |
//! | `copies` | copies of admissions and reservations have no effect in a child |
//! | `ten_thousand_children` | ten thousand children leak nothing |
//! | `keys` | forks in the middle of requests for keys, beside waiters, and of workers that share a handle |

mod copies;
mod forks_in_calls;
mod inherited_handles;
mod keys;
mod ten_thousand_children;

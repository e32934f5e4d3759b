//! Promise 5, nothing is wasted: while a live waiter stands in line, the limit is delivered in full, and callers are served in
//! order.
//!
//! | module | what it shows |
//! |---|---|
//! | `overload` | callers that leave the line, in whatever way, take nothing with them |
//! | `fairness` | callers that ask again at once all get the same share |
//! | `keys` | callers that wait for a key get its limit in full |

mod fairness;
mod keys;
mod overload;

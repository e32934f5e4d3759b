//! The limits of each key, as a decision reads them from the configuration.

use super::key_limit::KeyLimit;
use crate::limit::MAX_LIMITS;

/// The limits of each key. Without gaps: the `Some`s come first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRules {
    pub(crate) limits: [Option<KeyLimit>; MAX_LIMITS],
    /// The largest request of each limit.
    pub(crate) bursts: [u64; MAX_LIMITS],
    /// Whether any of them counts a unit other than calls.
    pub(crate) counts_units: bool,
    pub(crate) is_shadow: bool,
    /// Whether a request also takes from a limit of all keys, or a permit.
    pub(crate) takes_more: bool,
    /// Whether a new key may take the place of one whose debt has not expired.
    pub(crate) may_forget: bool,
}

impl KeyRules {
    /// How many limits there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.limits.iter().map_while(Option::as_ref).count()
    }
}

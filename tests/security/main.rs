//! What an attacker can do and cannot: see `docs/security.md`.
//!
//! | module | what it shows |
//! |---|---|
//! | `attacks` | attacks by users who share a directory or a limiter |
//! | `ownership` | who owns a new limiter |
//! | `keys` | keys that an attacker chooses, and bytes of the tables that one writes |

mod attacks;
mod keys;
mod ownership;

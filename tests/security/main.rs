//! What an attacker can do and cannot: see `docs/security.md`.
//!
//! | module | what it shows |
//! |---|---|
//! | `attacks` | attacks by users who share a directory or a limiter |
//! | `ownership` | who owns a new limiter |

mod attacks;
mod ownership;

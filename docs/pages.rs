//! The programs in the README and on the pages of this folder, as documentation tests: `cargo test -p shm-limit-docs`. (What
//! they say of the command is run by `crates/shm-cli/tests/readme.rs`.)

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("guide.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("migration.md")]
struct Migration;

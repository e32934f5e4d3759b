//! Promise 4, never silently split and never silently wrong: the same name in the same directory is the same budget, or a
//! clear error.
//!
//! | module | what gives an error, or goes on correctly |
//! |---|---|
//! | `invalid_input` | names, numbers, files, directories, permissions |
//! | `invalid_policies` | policies, requests, changes |
//! | `corrupt_files` | files whose words were overwritten |
//! | `removed` | limiters that are retired, removed or replaced |
//! | `clocks` | time namespaces, and hosts without `/proc` |
//! | `file_systems` | file systems and seccomp filters that take away what a limiter needs |
//! | `full_disk` | a full file system |
//! | `mounts` | mounts that change under an open limiter |
//! | `keys` | keyed limiters that are retired, removed or replaced |

mod clocks;
mod corrupt_files;
mod file_systems;
mod full_disk;
mod invalid_input;
mod invalid_policies;
mod keys;
mod mounts;
mod removed;

//! The drivers of the fronts that are programs in Rust: the library and the command; and drivers with mistakes, which the suite
//! has to find. `../README.md` describes what a driver reads and writes.
//!
//! | file | content |
//! |---|---|
//! | `protocol` | requests in, answers out, a line each |
//! | `library` | `shm-lib` |
//! | `command` | `shm-limit`, a process for each operation |
//! | `wrong` | the library, with a mistake |

#![deny(unsafe_code)]

mod command;
mod library;
mod protocol;
mod wrong;

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    match mode.as_str() {
        "rust" => protocol::serve(library::Library::default()),
        "command" => protocol::serve(command::Command::new(args.next().expect("the path of shm-limit"))),
        // What the command's driver has run while a permit is held.
        "hold" => command::hold(),
        mistake => match wrong::Mistake::named(mistake) {
            Some(mistake) => protocol::serve(wrong::Wrong::new(mistake)),
            None => panic!("{mode:?} is no driver"),
        },
    }
}

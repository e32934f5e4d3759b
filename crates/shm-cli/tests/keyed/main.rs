//! Limits per key: `--keyed`, `--key`, what is shown of the table and of one key, and what is refused.
//!
//! | file | content |
//! |---|---|
//! | `requests` | requests of keys: budgets, parts, addresses, waiting, charging |
//! | `settings` | `create`, `set`, and joining a limiter |
//! | `refusals` | what a key cannot do |
//! | `shown` | what `list` and `inspect` show |

#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod requests;
mod settings;
mod shown;

use common::Sandbox;
use shm_lib::KeyedRateLimit;

/// A directory with the limiter `users`.
fn users(flags: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "users", "--keyed"].into_iter().chain(flags.split(' ')).collect::<Vec<_>>());
    sandbox
}

/// How many of so many requests are admitted.
fn admitted(sandbox: &Sandbox, flags: &[&str], requests: usize) -> usize {
    let args = [&["acquire", "users", "--try"], flags].concat();
    (0..requests)
        .filter(|_| {
            let ended = sandbox.run(&args);
            assert!([0, 75].contains(&ended.status), "{args:?}: {}", ended.err);
            ended.status == 0
        })
        .count()
}

/// Takes one call from each of these keys.
fn take_from(sandbox: &Sandbox, keys: std::ops::Range<u32>) {
    let limiter = KeyedRateLimit::builder("users").directory(sandbox.path()).attach().unwrap();
    for key in keys {
        let _ = limiter.key(key).try_acquire(1).unwrap();
    }
}

/// The command that a message or a page advises, as words: what follows `shm-limit` up to the end of its line.
fn advised(text: &str) -> Vec<String> {
    let (_, command) = text.rsplit_once("shm-limit ").unwrap_or_else(|| panic!("no command in: {text}"));
    let command = command.lines().next().unwrap().split(", with all").next().unwrap();
    command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn follow(sandbox: &Sandbox, text: &str) -> String {
    let words = advised(text);
    sandbox.ok(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

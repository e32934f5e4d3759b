//! What a worker is told to do: a mode and `key=value` words, as its command line.

use crate::policy;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// The capacity of a keyed limiter where none is given: its table is a page.
const SOME_KEYS: u64 = 100;

/// A worker's orders.
#[derive(Clone, Debug)]
pub struct Job {
    mode: String,
    words: BTreeMap<String, String>,
}

impl Job {
    /// Orders for this mode.
    pub fn new(mode: &str) -> Job {
        Job { mode: mode.to_owned(), words: BTreeMap::new() }
    }

    /// With one more word.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Job {
        self.words.insert(key.to_owned(), value.to_string());
        self
    }

    /// The same orders for another mode.
    #[must_use]
    pub fn as_mode(&self, mode: &str) -> Job {
        Job { mode: mode.to_owned(), words: self.words.clone() }
    }

    /// As a command line.
    pub fn args(&self) -> Vec<String> {
        let words = self.words.iter().map(|(key, value)| format!("{key}={value}"));
        std::iter::once(self.mode.clone()).chain(words).collect()
    }

    /// From a command line.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Job {
        let mut args = args.into_iter();
        let mode = args.next().expect("a mode");
        args.fold(Job::new(&mode), |job, word| job.with_word(&word))
    }

    /// With one more `key=value`.
    #[must_use]
    pub fn with_word(self, word: &str) -> Job {
        let (key, value) = word.split_once('=').expect("key=value");
        self.set(key, value)
    }

    /// The mode.
    pub fn mode(&self) -> &str {
        &self.mode
    }

    /// A word that must be there.
    pub fn text(&self, key: &str) -> &str {
        self.words.get(key).unwrap_or_else(|| panic!("{} needs {key}=", self.mode))
    }

    /// A word that may be there.
    pub fn text_or<'a>(&'a self, key: &str, otherwise: &'a str) -> &'a str {
        self.words.get(key).map_or(otherwise, String::as_str)
    }

    /// A path.
    pub fn path(&self, key: &str) -> PathBuf {
        self.text(key).into()
    }

    /// A number that must be there.
    pub fn number(&self, key: &str) -> u64 {
        self.text(key).parse().expect("a number")
    }

    /// A number that may be there.
    pub fn number_or(&self, key: &str, otherwise: u64) -> u64 {
        self.words.get(key).map_or(otherwise, |n| n.parse().expect("a number"))
    }

    /// `for=`: how long to work, in milliseconds; 1,000 s if it is not given.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.number_or("for", 1_000_000))
    }

    /// Opens the limiter that the words describe; with `as=it-is`, attaches to it with its current settings.
    pub fn join(&self) -> shm_lib::Result<shm_lib::RateLimit> {
        if self.text_or("as", "") == "it-is" { self.attach() } else { self.open() }
    }

    /// Opens the limiter that the words describe, and takes a seat.
    pub fn open(&self) -> shm_lib::Result<shm_lib::RateLimit> {
        let limit = self.open_only()?;
        claim_seat(&limit);
        Ok(limit)
    }

    /// Opens it, and nothing more.
    pub fn open_only(&self) -> shm_lib::Result<shm_lib::RateLimit> {
        match self.text_or("policy", "") {
            text if policy::has_keys(text) => self.open_keys().map(|keys| keys.all_keys().clone()),
            "" => {
                let builder = self.builder().burst(self.number_or("burst", 1));
                builder.open(self.number("max"), Duration::from_nanos(self.number("per")))
            }
            text => self.builder().open_policy(policy::parse(text, self.number_or("permits", 0))),
        }
    }

    /// Opens the keyed limiter that the words describe; with `as=it-is`, attaches to it with its current settings.
    pub fn open_keys(&self) -> shm_lib::Result<shm_lib::KeyedRateLimit> {
        let builder = shm_lib::KeyedRateLimit::builder(self.text("name"))
            .directory(self.path("dir"))
            .on_lost(self.on_lost());
        if self.text_or("as", "") == "it-is" {
            return builder.attach();
        }
        let policy = policy::parse(self.text("policy"), self.number_or("permits", 0));
        let seats = self.number_or("seats", shm_core::DEFAULT_SEATS as u64) as usize;
        builder.seats(seats).capacity(self.number_or("capacity", SOME_KEYS)).open_policy(policy)
    }

    /// Attaches to the limiter of that name with its current settings.
    pub fn attach(&self) -> shm_lib::Result<shm_lib::RateLimit> {
        self.handle().attach()
    }

    /// The builder with the limiter's name and directory. With `lost=reopen` a handle that loses its limiter reopens the
    /// name; otherwise it returns the error, and the worker reports it.
    fn handle(&self) -> shm_lib::Builder {
        shm_lib::RateLimit::builder(self.text("name")).directory(self.path("dir")).on_lost(self.on_lost())
    }

    fn on_lost(&self) -> shm_lib::OnLost {
        match self.text_or("lost", "") {
            "reopen" => shm_lib::OnLost::Reopen,
            _ => shm_lib::OnLost::Error,
        }
    }

    /// The builder for the limiter that the words describe, without its limit.
    fn builder(&self) -> shm_lib::Builder {
        let builder = self.handle().seats(self.number_or("seats", shm_core::DEFAULT_SEATS as u64) as usize);
        match self.text_or("mode", "") {
            "" => builder,
            mode => builder.mode(u32::from_str_radix(mode, 8).expect("an octal mode")),
        }
    }
}

/// Takes a seat, as every process does with its first request: with one that can never be admitted, so that nothing
/// is taken or counted.
pub fn claim_seat(limit: &shm_lib::RateLimit) {
    let _ = limit.try_acquire(u64::MAX);
}

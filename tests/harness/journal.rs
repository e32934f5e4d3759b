//! What a storm's threads write down: four words an entry, in mapped files that outlive a killed process, and a board on
//! which each thread says what it is doing.

use crate::raw::MappedWords;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of one thread's place, of all processes that were ever in it. Sparse: room costs nothing.
const ROOM: usize = 1 << 21;
const ENTRY: usize = 4;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `a`: its own time, `b`: when the call returned, `c`: which limiter of that name; `extra`: the amount.
    Admitted = 1,
    /// A permit, surely held from `a` to `b` (0: not given back).
    Held = 2,
    /// A call that began at `a`, returned at `b` and was due at `c`; `extra`: which call. Due at 0: it was not late, but
    /// denied for longer than anybody should have to wait.
    Slow = 3,
    /// A change that began at `a` and was done at `b` (0: perhaps never); `extra`: which, `c`: to what.
    Control = 4,
    /// A caller that waited, from `a` to `b` (0: it never went on), and was admitted for `c` (0: it was not).
    Stood = 5,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is about.
    pub kind: EntryKind,
    /// Which of the storm's limiters.
    pub limiter: usize,
    /// See [`EntryKind`].
    pub extra: u64,
    /// See [`EntryKind`].
    pub a: u64,
    /// See [`EntryKind`].
    pub b: u64,
    /// See [`EntryKind`].
    pub c: u64,
}

/// The journal of one place. The process that replaces a killed one continues after its last entry.
pub struct Journal {
    words: MappedWords,
    next: usize,
}

/// An entry whose `b` is still to come.
#[must_use]
pub struct Open(usize);

impl Journal {
    /// The journal of `place`, wherever it stands.
    pub fn resume(dir: &Path, place: usize) -> Journal {
        let words = MappedWords::map(&dir.join(place.to_string()), ROOM * ENTRY).expect("room for a journal");
        // The first entry's place holds a hint where to look for the end.
        let mut next = (words.all()[0].load(Ordering::Relaxed) as usize).max(1);
        while words.all()[next * ENTRY].load(Ordering::Relaxed) != 0 {
            next += 1;
        }
        Journal { words, next }
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.next - 1
    }

    /// Writes an entry.
    pub fn push(&mut self, entry: Entry) {
        let _ = self.begin(entry);
    }

    /// Writes an entry to be finished later.
    pub fn begin(&mut self, e: Entry) -> Open {
        let at = self.next * ENTRY;
        let place = &self.words.all()[at..at + ENTRY];
        for (word, value) in place[1..].iter().zip([e.a, e.b, e.c]) {
            word.store(value, Ordering::Relaxed);
        }
        // Last: an entry is whole or not there.
        place[0].store(e.kind as u64 | (e.limiter as u64) << 8 | e.extra << 16, Ordering::Release);
        self.next += 1;
        self.words.all()[0].store(self.next as u64, Ordering::Relaxed);
        Open(at)
    }

    /// Writes when the entry's matter was over.
    pub fn finish(&mut self, open: Open, b: u64) {
        self.words.all()[open.0 + 2].store(b, Ordering::Release);
    }

    /// The same, and how.
    pub fn finish_with(&mut self, open: Open, b: u64, c: u64) {
        self.words.all()[open.0 + 3].store(c, Ordering::Relaxed);
        self.finish(open, b);
    }
}

/// All entries of one place, in order.
pub fn read(dir: &Path, place: usize) -> Vec<Entry> {
    let path = dir.join(place.to_string());
    let Ok(words) = MappedWords::map_all(&path) else { return Vec::new() };
    words.all()[ENTRY..]
        .chunks_exact(ENTRY)
        .map(|chunk| [0, 1, 2, 3].map(|i: usize| chunk[i].load(Ordering::Acquire)))
        .take_while(|words| words[0] != 0)
        .map(|[tag, a, b, c]| {
            let kind = match tag & 0xff {
                1 => EntryKind::Admitted,
                2 => EntryKind::Held,
                3 => EntryKind::Slow,
                5 => EntryKind::Stood,
                _ => EntryKind::Control,
            };
            Entry { kind, limiter: (tag >> 8 & 0xff) as usize, extra: tag >> 16, a, b, c }
        })
        .collect()
}

/// What each thread is doing, and whether it should do it quietly.
pub struct Board(MappedWords);

const LINE: usize = 8;

impl Board {
    /// The board in this directory, for so many places.
    pub fn map(dir: &Path, places: usize) -> Board {
        Board(MappedWords::map(&dir.join("board"), LINE * (1 + places)).expect("the board"))
    }

    fn word(&self, place: usize, i: usize) -> &AtomicU64 {
        &self.0.all()[LINE * (1 + place) + i]
    }

    /// Whether there is a pause in the storm: no changes, and all processes only take.
    pub fn is_quiet(&self) -> bool {
        self.0.all()[0].load(Ordering::Relaxed) == 1
    }

    /// Begins or ends a pause in the storm.
    pub fn set_quiet(&self, quiet: bool) {
        self.0.all()[0].store(u64::from(quiet), Ordering::Relaxed);
    }

    /// A call begins that must be over at `due`.
    pub fn begin(&self, place: usize, what: u64, due: u64) {
        self.word(place, 1).store(what, Ordering::Relaxed);
        self.word(place, 0).store(due, Ordering::Release);
    }

    /// It is over.
    pub fn end(&self, place: usize) {
        self.word(place, 0).store(0, Ordering::Release);
        self.word(place, 2).fetch_add(1, Ordering::Relaxed);
    }

    /// No process is in this place now.
    pub fn clear(&self, place: usize) {
        self.word(place, 0).store(0, Ordering::Release);
    }

    /// What is going on in this place and when it is due, if anything is.
    pub fn going_on(&self, place: usize) -> Option<(u64, u64)> {
        let due = self.word(place, 0).load(Ordering::Acquire);
        (due != 0).then(|| (self.word(place, 1).load(Ordering::Relaxed), due))
    }

    /// Calls made in this place.
    pub fn calls(&self, place: usize) -> u64 {
        self.word(place, 2).load(Ordering::Relaxed)
    }
}

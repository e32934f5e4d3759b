//! What is done to the bytes: flipped bits, whole words of values that make trouble, lines swapped, parts of other
//! files; with checksums made right again, so that more than the first check is reached.

use super::spec::Spec;
use harness::Rng;
use harness::file::{Parts, generation_checksum, header_checksum, offset};
use harness::raw::MappedWords;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// A few files of other kinds, to copy from.
pub(super) fn corpus(dir: &Path) -> Vec<Vec<u8>> {
    let mut rng = Rng::seeded(1);
    (0..8)
        .map(|_| {
            let spec = Spec::any(&mut rng);
            let limit = spec.builder(dir).open_policy(spec.policy).expect("a limiter");
            for n in 0..6 {
                let _ = limit.try_acquire(spec.cost(1 + n % 2));
            }
            let bytes = std::fs::read(limit.path()).expect("its file");
            limit.retire().expect("to retire it");
            bytes
        })
        .collect()
}

/// A value that makes trouble.
fn value(rng: &mut Rng, old: u64, other: u64) -> u64 {
    match rng.below(12) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << 62,
        4 => 1 << 63,
        5 => old.wrapping_add(1),
        6 => old.wrapping_sub(1),
        7 => old ^ 1 << rng.below(64),
        8 => other,
        9 => u64::MAX >> rng.below(64),
        10 => rng.below(u64::MAX) >> rng.below(64),
        // Times not far from now.
        _ => shm_lib::now().as_nanos().wrapping_add(rng.below(1 << 40)).wrapping_sub(1 << 39),
    }
}

/// Spoils words in memory that others have mapped.
pub(super) struct Spoiler<'a> {
    words: &'a MappedWords,
    parts: Parts,
}

/// Spoils any words.
pub(super) fn any_words(spoiler: &mut Spoiler<'_>, rng: &mut Rng) {
    spoiler.spoil(rng);
}

/// Spoils words of the tables of keys.
pub(super) fn words_of_keys(spoiler: &mut Spoiler<'_>, rng: &mut Rng) {
    spoiler.spoil_keys(rng);
}

impl<'a> Spoiler<'a> {
    pub(super) fn new(words: &'a MappedWords) -> Spoiler<'a> {
        let get = |at: u64| words.all().get(at as usize / 8).map_or(0, |w| w.load(Relaxed));
        Spoiler { words, parts: Parts::of(get) }
    }

    fn get(&self, at: u64) -> u64 {
        self.words.all().get(at as usize / 8).map_or(0, |w| w.load(Relaxed))
    }

    fn set(&self, at: u64, word: u64) {
        if let Some(place) = self.words.all().get(at as usize / 8) {
            place.store(word, Relaxed);
        }
    }

    fn len(&self) -> u64 {
        self.words.all().len() as u64 * 8
    }

    fn generation(&self) -> u64 {
        self.get(offset::EPOCH) % 8
    }

    /// Where something is, in words that operations use.
    fn place(&self, rng: &mut Rng) -> u64 {
        let Parts { cells, turn_cells, slots, permits, standing, places, .. } = self.parts;
        let start = offset::GENERATIONS + offset::GENERATION_SIZE * self.generation();
        let mut within = |from: u64, to: u64| from + 8 * word_between(rng, from, to);
        let at = match within(0, 128) / 8 {
            0 => offset::EPOCH,
            1 | 2 => start + offset::GENERATION_STATE,
            3 => within(start, start + offset::GENERATION_SIZE),
            4 => within(offset::GENERATIONS, offset::TURNS),
            5 => within(offset::FIRST_SEAT, cells),
            6 => within(cells, turn_cells),
            7 => {
                // The current record.
                let cell = self.get(start + offset::GENERATION_STATE) & 0x3fff;
                let at = cells.saturating_add(cell.saturating_mul(448));
                within(at, at.saturating_add(448))
            }
            8 => within(slots, permits),
            9 => within(permits, standing),
            10 => offset::PROBED,
            // What waiting callers look at: the turns, what the first of them were charged with, which processes stand, and the
            // places in which this process and the others stand.
            11 => within(offset::TURNS, offset::TURN_CHARGES),
            12 => within(offset::TURN_CHARGES, offset::TURN_CHARGES + 4 * 96),
            13 => within(standing, places),
            14 => within(places, places + 4 * 128),
            15 => within(turn_cells, slots),
            _ => within(offset::EPOCH, self.len()),
        };
        at.min(self.len() - 8)
    }

    /// Spoils one thing.
    pub(super) fn spoil(&mut self, rng: &mut Rng) {
        let (at, other) = (self.place(rng), self.place(rng));
        match rng.below(12) {
            0..=8 => self.set(at, value(rng, self.get(at), self.get(other))),
            9 => {
                // Two lines change places.
                for i in 0..8 {
                    let (a, b) = (at / 64 * 64 + 8 * i, other / 64 * 64 + 8 * i);
                    let (x, y) = (self.get(a), self.get(b));
                    if a.min(b) >= offset::EPOCH {
                        self.set(a, y);
                        self.set(b, x);
                    }
                }
            }
            10 => (0..=rng.below(40)).for_each(|i| self.set(at + 8 * i, rng.below(u64::MAX))),
            _ => self.seal_generation(),
        }
        if rng.below(3) == 0 {
            self.seal_generation();
        }
    }

    /// Changes one word of a row, of the bits of the chunks, or of what is counted about keys; returns its offset.
    pub(super) fn spoil_word_of_keys(&mut self, rng: &mut Rng) -> u64 {
        let Parts { key_stats, chunks, tables, .. } = self.parts;
        let (from, to) = match rng.below(8) {
            0 => (key_stats, chunks),
            1 => (chunks, chunks + 8),
            _ => (tables, self.len()),
        };
        let (at, other) = (from + 8 * word_between(rng, from, to), from + 8 * word_between(rng, from, to));
        self.set(at, value(rng, self.get(at), self.get(other)));
        at
    }

    /// Spoils a word of a row, of the bits of the chunks, or of what is counted about keys.
    pub(super) fn spoil_keys(&mut self, rng: &mut Rng) {
        let Parts { key_stats, chunks, tables, .. } = self.parts;
        let (from, to) = match rng.below(8) {
            0 => (key_stats, chunks),
            1 => (chunks, tables),
            // The first rows, which are all of a small table.
            2..=5 => (tables, tables + 4_096),
            _ => (tables, self.len()),
        };
        let (to, last) = (to.min(self.len()), self.len() - 8);
        let at = (from + 8 * word_between(rng, from, to)).min(last);
        let other = (from + 8 * word_between(rng, from, to)).min(last);
        match rng.below(8) {
            0 => {
                // Two slots change places.
                for i in 0..2 {
                    let (a, b) = ((at / 16 * 16 + 8 * i).min(last), (other / 16 * 16 + 8 * i).min(last));
                    let (x, y) = (self.get(a), self.get(b));
                    self.set(a, y);
                    self.set(b, x);
                }
            }
            1 => {
                (0..32).for_each(|i| self.set(at + 8 * i, value(rng, self.get(at + 8 * i), self.get(other))));
            }
            _ => self.set(at, value(rng, self.get(at), self.get(other))),
        }
        if rng.below(4) == 0 {
            self.seal_generation();
        }
    }

    /// Makes the checksum of the current generation match its words, as if that configuration had been requested.
    fn seal_generation(&self) {
        let place = self.generation();
        let start = offset::GENERATIONS + place * offset::GENERATION_SIZE;
        self.set(start + offset::GENERATION_CHECKSUM, generation_checksum(place, |at| self.get(at)));
    }

    /// Changes one word that is not part of any generation's configuration; returns its offset.
    pub(super) fn spoil_state(&mut self, rng: &mut Rng) -> u64 {
        let is_config = |at: u64| {
            (offset::GENERATIONS..offset::TURNS).contains(&at)
                && (at - offset::GENERATIONS) % offset::GENERATION_SIZE < offset::GENERATION_STATE
        };
        loop {
            let (at, other) = (self.place(rng), self.place(rng));
            if !is_config(at) && at >= offset::EPOCH {
                self.set(at, value(rng, self.get(at), self.get(other)));
                return at;
            }
        }
    }
}

/// A word's index between two bytes; 0 where there is none.
fn word_between(rng: &mut Rng, from: u64, to: u64) -> u64 {
    match to.saturating_sub(from) / 8 {
        0 => 0,
        words => rng.below(words),
    }
}

/// A whole file, spoiled. Its size stays as it is unless it `may_resize`.
pub(super) fn file(rng: &mut Rng, mut bytes: Vec<u8>, corpus: &[Vec<u8>], may_resize: bool) -> Vec<u8> {
    for _ in 0..[1, 2, 5, 40][rng.below(4) as usize] {
        if bytes.len() < 8 {
            break;
        }
        let words = bytes.len() as u64 / 8;
        // The header, where decisions look, or anywhere.
        let at = match rng.below(4) {
            0 => rng.below(offset::EPOCH.min(8 * words) / 8),
            1 => rng.below((offset::FIRST_SEAT).min(8 * words) / 8),
            _ => rng.below(words),
        } as usize
            * 8;
        let (old, other) = (word(&bytes, at), word(&bytes, rng.below(words) as usize * 8));
        match rng.below(8) {
            0 => bytes[at + rng.below(8) as usize] ^= 1 << rng.below(8),
            1..=4 => put(&mut bytes, at, value(rng, old, other)),
            5 => {
                let to = rng.below(words / 8) as usize * 64;
                let from = at / 64 * 64;
                for i in 0..64.min(bytes.len() - from.max(to)) {
                    bytes.swap(from + i, to + i);
                }
            }
            6 => {
                let donor = &corpus[rng.below(corpus.len() as u64) as usize];
                let len = 8 * (1 + rng.below(80)) as usize;
                let end = (at + len).min(bytes.len()).min(donor.len());
                if at < end {
                    bytes[at..end].copy_from_slice(&donor[at..end]);
                }
            }
            _ => {
                let end = (at + 1 + rng.below(200) as usize).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|b| *b = rng.below(256) as u8);
            }
        }
    }
    if rng.below(3) == 0 {
        lie(rng, &mut bytes, may_resize);
    }
    if may_resize && rng.below(20) == 0 {
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
    }
    seal(rng, &mut bytes);
    bytes
}

/// Another shape than it has, of a size that fits it if that may change.
fn lie(rng: &mut Rng, bytes: &mut Vec<u8>, may_resize: bool) {
    if bytes.len() < offset::FIRST_SEAT as usize {
        return;
    }
    for _ in 0..=rng.below(2) {
        let small = [0, 1, 2, 4, 8, 64, 1_024, 4_096, 8_192][rng.below(9) as usize];
        let n = if rng.below(3) == 0 { value(rng, small, small) } else { small };
        let at = [
            offset::SEATS,
            offset::CELLS,
            offset::PERMITS,
            offset::RINGS + 8 * rng.below(4),
            offset::KEY_TABLES,
            offset::KEY_ROWS,
        ];
        put(bytes, at[rng.below(6) as usize] as usize, n);
    }
    if rng.below(2) == 0 {
        let twice = word(bytes, offset::SEATS as usize).wrapping_mul(2);
        put(bytes, offset::CELLS as usize, if rng.below(3) == 0 { 0 } else { twice });
    }
    let size = Parts::of(|at| word(bytes, at as usize)).size;
    put(bytes, offset::FILE_SIZE as usize, size);
    if may_resize && size < 8 << 20 {
        bytes.resize(size as usize, 0);
    }
}

/// Makes checksums right again, mostly, and says that it is the limiter `f` of this machine.
fn seal(rng: &mut Rng, bytes: &mut [u8]) {
    if bytes.len() < offset::FIRST_SEAT as usize {
        return;
    }
    if rng.below(2) == 0 {
        let place = word(bytes, offset::EPOCH as usize) % 8;
        let at = offset::GENERATIONS + place * offset::GENERATION_SIZE;
        if rng.below(2) == 0 {
            put(bytes, at as usize, word(bytes, offset::EPOCH as usize) & !(1 << 63));
        }
        let sum = generation_checksum(place, |at| word(bytes, at as usize));
        put(bytes, (at + offset::GENERATION_CHECKSUM) as usize, sum);
    }
    if rng.below(5) > 0 {
        let sum = header_checksum(|at| word(bytes, at as usize));
        put(bytes, offset::CHECKSUM as usize, sum);
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| u64::from_ne_bytes(b.try_into().expect("eight")))
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}

/// Writes it to its file, or to another file under its name if no process has that mapped.
pub(super) fn write(path: &Path, bytes: &[u8], in_place: bool) {
    if !in_place {
        std::fs::remove_file(path).expect("to remove it");
    }
    let mut file =
        std::fs::File::options().write(true).create(true).truncate(false).open(path).expect("its file");
    file.write_all(bytes).expect("to write it");
}

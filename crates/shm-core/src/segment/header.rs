//! The words that are written before a file has its name: their checksum, and which of them is damaged.

use crate::clock::{self, Nanos};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind};
use crate::layout::{FINGERPRINT, Hash, Header, MAGIC, NAME_WORDS, Shape, ShapeWords, VERSION};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::host;
use std::path::Path;
use std::ptr;
use std::time::Duration;

/// The words that the checksum covers, in its order: their number.
const COUNT: usize = NAMES.len() + NAME_WORDS;
/// All but those of the name, as they are named in `layout`.
const NAMES: [&str; 22] = [
    "magic",
    "version",
    "layout",
    "file_size",
    "boot_id[0]",
    "boot_id[1]",
    "time_namespace",
    "seats",
    "name_len",
    "created_ns",
    "created_unix",
    "cells",
    "permits",
    "rings[0]",
    "rings[1]",
    "rings[2]",
    "rings[3]",
    "wall_ns",
    "key_tables",
    "key_rows",
    "hash_key[0]",
    "hash_key[1]",
];
/// The two words of the key of the hash, which are random: only the checksum covers them.
const HASH_KEY: [usize; 2] = [NAMES.len() - 2, NAMES.len() - 1];
/// How long it may take to create a file, from one reading of a clock to another.
const CREATION: Duration = Duration::from_secs(60);

fn fields(header: &Header) -> [&AtomicU64; COUNT] {
    let (id, geometry) = (&header.identity, &header.geometry);
    let [boot_high, boot_low] = &id.boot_id;
    let [a, b, c, d] = &geometry.rings;
    let [hash_first, hash_second] = &geometry.hash_key;
    let first: [&AtomicU64; NAMES.len()] = [
        &id.magic,
        &id.version,
        &id.layout,
        &id.file_size,
        boot_high,
        boot_low,
        &id.time_namespace,
        &geometry.seats,
        &geometry.name_len,
        &geometry.created_ns,
        &geometry.created_unix,
        &geometry.cells,
        &geometry.permits,
        a,
        b,
        c,
        d,
        &geometry.wall_ns,
        &geometry.key_tables,
        &geometry.key_rows,
        hash_first,
        hash_second,
    ];
    std::array::from_fn(|i| if i < first.len() { first[i] } else { &header.name[i - first.len()] })
}

fn words(header: &Header) -> [u64; COUNT] {
    fields(header).map(|word| word.load(Ordering::Relaxed))
}

pub(super) fn checksum(header: &Header) -> u64 {
    words(header).into_iter().fold(Hash::new(), Hash::word).0
}

/// The error for a header of which one word is damaged; `None` if it matches its checksum, or if more is damaged.
///
/// The checksum tells which word it is, and what it was: for each word there is one value with which the checksum is right,
/// and for all but the damaged word that value is arbitrary. (For the two words of a hash key, any value is possible: these are
/// never named alone.)
#[cold]
pub(super) fn damaged_word(header: &Header, size: usize, name: &Name, path: &Path) -> Option<Error> {
    let (words, sum) = (words(header), header.identity.checksum.load(Ordering::Relaxed));
    let has_keys = header.geometry.key_tables.load(Ordering::Relaxed) != 0;
    let is_free = |index: &usize| has_keys && HASH_KEY.contains(index);
    let mut candidates = (0..COUNT).filter(|index| !is_free(index)).filter_map(|index| {
        let mut right = words;
        right[index] = Hash::expected_word(&words, index, sum);
        let is_damaged = right[index] != words[index] && is_possible(&right, index, size, name);
        is_damaged.then_some((index, right[index]))
    });
    let (Some((index, expected)), None) = (candidates.next(), candidates.next()) else { return None };
    let field = match NAMES.get(index) {
        Some(name) => (*name).to_owned(),
        None => format!("name[{}]", index - NAMES.len()),
    };
    let offset = offset(header, fields(header)[index]);
    let what = format!("`{field}` (offset {offset}) is {:#x}, expected {expected:#x}", words[index]);
    Some(corrupt(&what, name, path))
}

/// The error for a header that does not match its checksum, where the damaged word is not known.
#[cold]
pub(super) fn wrong_checksum(header: &Header, name: &Name, path: &Path) -> Error {
    let found = header.identity.checksum.load(Ordering::Relaxed);
    let mut what = format!(
        "`checksum` of the header (offset {}) is {found:#x}, expected {:#x} by the other words",
        offset(header, &header.identity.checksum),
        checksum(header)
    );
    if header.geometry.key_tables.load(Ordering::Relaxed) != 0 {
        let at = offset(header, &header.geometry.hash_key[0]);
        what.push_str(&format!(" (or one of the two words of `hash_key` is damaged, at offset {at})"));
    }
    corrupt(&what, name, path)
}

fn offset(header: &Header, word: &AtomicU64) -> usize {
    ptr::from_ref(word).addr() - ptr::from_ref(header).addr()
}

/// Whether these can be the words of the limiter of this name in a file of this size, of which word `index` was damaged.
fn is_possible(words: &[u64; COUNT], index: usize, size: usize, name: &Name) -> bool {
    let [magic, version, layout, file_size, boot_high, boot_low, time_namespace, ..] = *words;
    let [_, _, _, _, _, _, _, seats, name_len, created_ns, created_unix, cells, permits, ..] = *words;
    let [.., a, b, c, d, wall_ns, key_tables, key_rows, hash_first, hash_second] =
        *words.first_chunk::<{ NAMES.len() }>().expect("more words than that");
    let rings = [a, b, c, d];
    let shape = Shape::checked(&ShapeWords { seats, cells, permits, rings, key_tables, key_rows });
    let bytes = words[NAMES.len()..].iter().flat_map(|word| word.to_le_bytes());
    let padded = name.as_str().bytes().chain(std::iter::repeat(0));
    // The creation is recorded by two clocks and by their difference.
    let wall_time = Duration::from_nanos(created_ns.saturating_add(wall_ns));
    let here = host::process_info().clock;
    magic == MAGIC
        && version == VERSION
        && layout == FINGERPRINT
        && file_size == size as u64
        && shape.is_some_and(|shape| shape.file_size() == size)
        && (key_tables != 0 || (hash_first, hash_second) == (0, 0))
        && name_len == name.as_str().len() as u64
        && bytes.zip(padded).all(|(found, expected)| found == expected)
        && Nanos::from_nanos(created_ns) <= clock::now()
        && wall_time.abs_diff(Duration::from_secs(created_unix)) < CREATION
        && match NAMES.get(index) {
            Some(&"boot_id[0]") => boot_high == here.boot_id[0],
            Some(&"boot_id[1]") => boot_low == here.boot_id[1],
            Some(&"time_namespace") => time_namespace == here.time_namespace,
            _ => true,
        }
}

/// An error for damage that cannot be repaired.
pub(super) fn corrupt(what: &str, name: &Name, path: &Path) -> Error {
    let remove = removal(name, path);
    Error::new(ErrorKind::Corrupt, format!("damaged: {what}; run `{remove}`, then create it again"))
}

/// The command that removes a file that is not a usable limiter.
pub(super) fn removal(name: &Name, path: &Path) -> String {
    let (name, in_dir) = Directory::in_shell(name, path.parent().unwrap_or(path));
    format!("shm-limit remove --force {name}{in_dir}")
}

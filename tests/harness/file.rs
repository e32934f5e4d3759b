//! A limiter's file from outside: read and patched by its documented offsets, as another language would.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Offsets of words in the file. See `docs/format.md`.
pub mod offset {
    #![allow(missing_docs)]
    pub const MAGIC: u64 = 0;
    pub const VERSION: u64 = 8;
    pub const LAYOUT: u64 = 16;
    pub const FILE_SIZE: u64 = 24;
    pub const BOOT_ID: u64 = 32;
    pub const TIME_NAMESPACE: u64 = 48;
    pub const CHECKSUM: u64 = 56;
    pub const SEATS: u64 = 64;
    pub const CREATED: u64 = 80;
    pub const WALL: u64 = 144;
    pub const REGIONS_END: u64 = 152;
    pub const NAME: u64 = 192;
    pub const EPOCH: u64 = 448;
    pub const GENERATIONS: u64 = 4096;
    pub const GENERATION_SIZE: u64 = 640;
    pub const GENERATION_STATE: u64 = 576;
    pub const FIRST_SEAT: u64 = 12_288;
}

/// Set in the epoch of a retired limiter.
pub const RETIRED: u64 = 1 << 63;

/// A limiter's file.
pub struct Patch {
    file: File,
    path: PathBuf,
}

impl Patch {
    /// Opens it.
    pub fn of(path: &Path) -> Patch {
        let file = File::options().read(true).write(true).open(path).expect("the limiter's file");
        Patch { file, path: path.to_owned() }
    }

    /// One word.
    pub fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).expect("a word");
        u64::from_ne_bytes(bytes)
    }

    /// Changes one word.
    pub fn set(&self, at: u64, word: u64) -> &Patch {
        self.file.write_all_at(&word.to_ne_bytes(), at).expect("a word");
        self
    }

    /// Makes the header's checksum right again.
    pub fn seal(&self) -> &Patch {
        let summed = |at: &u64| *at != offset::CHECKSUM && !(offset::REGIONS_END..offset::NAME).contains(at);
        let words = (0..offset::EPOCH / 8).map(|i| 8 * i).filter(summed);
        let sum = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, at| {
            let mixed = (hash ^ self.get(at)).wrapping_mul(0x0000_0100_0000_01b3);
            mixed ^ (mixed >> 29)
        });
        self.set(offset::CHECKSUM, sum)
    }

    /// All its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("the limiter's file")
    }
}

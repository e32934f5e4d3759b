//! Which slot a key has: its hash, which is the same in every process and every language.
//!
//! A key is a sequence of parts, each of any bytes; most keys have one part. The hash is SipHash-1-3 with 128 bits
//! (Aumasson and Bernstein, "SipHash: a fast short-input PRF") under a random key that is in the file, so that nobody who
//! chooses keys can choose where they go. `shm-limit` and programs in other languages give parts as text: a number is
//! its decimal digits, and an IP address its canonical text (RFC 5952).

use super::slot::Tag;
use siphasher::sip128::{Hasher128, SipHasher13, SipHasher24};
use std::hash::Hasher;

/// The table's random key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashKey(pub(crate) [u64; 2]);

/// Where a key is: its row, and its tag there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHash {
    row: u64,
    pub(crate) tag: Tag,
}

impl HashKey {
    /// The hash of a key.
    ///
    /// One part is hashed as it is. Several are hashed as their number (8 bytes) and then each with its length (8 bytes)
    /// before it, all little-endian, under a key whose second half is inverted: so keys of different shape never have the same
    /// input, however they are chosen.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> KeyHash {
        if let [part] = parts {
            return self.hash_part(part);
        }
        let HashKey([first, second]) = self;
        let mut hasher = SipHasher13::new_with_keys(first, !second);
        hasher.write(&(parts.len() as u64).to_le_bytes());
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        let hash = hasher.finish128();
        KeyHash { row: hash.h1, tag: Tag::of_key(hash.h2) }
    }

    /// A number that stands for a key where strangers see it. It says neither what the key is nor where it is in the table: it is
    /// computed under a key whose first half is inverted, by the slower SipHash-2-4, from the form for several parts.
    pub(crate) fn fingerprint(self, parts: &[&[u8]]) -> u64 {
        let HashKey([first, second]) = self;
        let mut hasher = SipHasher24::new_with_keys(!first, second);
        hasher.write(&(parts.len() as u64).to_le_bytes());
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish128().h1
    }

    /// The hash of a key of one part. (The library's hasher, which takes its input piece by piece, takes twice as long.)
    #[inline(always)]
    pub(crate) fn hash_part(self, part: &[u8]) -> KeyHash {
        let HashKey([first, second]) = self;
        let mut sip = Sip {
            v0: first ^ 0x736f_6d65_7073_6575,
            v1: second ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: first ^ 0x6c79_6765_6e65_7261,
            v3: second ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| sip.add(u64::from_le_bytes(*word)));
        let last = match part.last_chunk::<8>() {
            // Its last bytes, which are the rest, without a loop.
            Some(word) => u64::from_le_bytes(*word) >> 8 >> (56 - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        sip.add((part.len() as u64) << 56 | last);
        sip.v2 ^= 0xee;
        let row = sip.finish();
        sip.v1 ^= 0xdd;
        KeyHash { row, tag: Tag::of_key(sip.finish()) }
    }
}

/// The state of SipHash-1-3.
struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    fn round(&mut self) {
        let Sip { v0, v1, v2, v3 } = self;
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.rotate_left(32);
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn finish(&mut self) -> u64 {
        (0..3).for_each(|_| self.round());
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

impl KeyHash {
    /// All of it.
    pub(crate) fn bytes(self) -> [u8; 16] {
        (u128::from(self.row) << 64 | u128::from(self.tag.word())).to_le_bytes()
    }

    /// The key's row, in a table of this many.
    #[inline]
    pub(crate) fn row(self, rows: usize) -> usize {
        // The high half of the product: as even as the hash, without a division.
        ((u128::from(self.row) * rows as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const KEY: HashKey = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

    /// Computed by an implementation of SipHash in Python, which gives the official vector for two and four rounds.
    #[test]
    fn known_keys_have_known_hashes() {
        let known: &[(&[&str], u64, u64)] = &[
            (&[""], 0xbea5_8827_b2bc_7ee7, 0x0130_30dd_6adb_62fd),
            (&["alice"], 0x67a7_aa3f_2e7e_c898, 0x3735_448d_8fba_3386),
            (&["2001:db8::/64"], 0xc9f1_fbf3_52a8_e2af, 0x20c7_c394_d3bd_f663),
            (&["12345678"], 0x7594_545e_124d_2a15, 0x2978_627a_76db_99fd),
            (&["123456789"], 0x05d5_020b_5c79_ada3, 0xdd69_09f7_510e_1afb),
            (&["alice", "/login"], 0xde20_ad31_a5b0_acae, 0xc70e_a774_d738_6041),
            (&["a", "", "b"], 0x55b0_df07_a311_844a, 0xb10a_eb5e_8308_7d68),
        ];
        for &(parts, row, tag) in known {
            let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(KEY.hash(&bytes), KeyHash { row, tag: Tag::of_key(tag) }, "{parts:?}");
        }
    }

    #[test]
    fn keys_of_different_shape_differ() {
        let keys: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"", b""],
            &[b"a", b"b"],
            &[b"ab"],
            &[b"ab", b""],
            &[b"", b"ab"],
            &[b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x01\0\0\0\0\0\0\0b"],
        ];
        let hashes: HashSet<_> = keys.iter().map(|parts| KEY.hash(parts).row).collect();
        assert_eq!(hashes.len(), keys.len());
        assert_ne!(KEY.hash(&[b"a"]), HashKey([1, 2]).hash(&[b"a"]));
    }

    #[test]
    fn a_fingerprint_is_unlike_the_hash_and_differs_by_shape_and_by_table() {
        let keys: [&[&[u8]]; 6] = [&[], &[b""], &[b"ab"], &[b"a", b"b"], &[b"ab", b""], &[b"", b"ab"]];
        let seen: HashSet<u64> = keys.iter().map(|parts| KEY.fingerprint(parts)).collect();
        assert_eq!(seen.len(), keys.len());
        for parts in keys {
            assert_ne!(KEY.fingerprint(parts), HashKey([1, 2]).fingerprint(parts));
            assert_ne!(KEY.fingerprint(parts), KEY.hash(parts).row);
        }
    }

    proptest! {
        #[test]
        fn the_hash_is_siphash(first: u64, second: u64, part in prop::collection::vec(any::<u8>(), 0..70)) {
            let mut hasher = SipHasher13::new_with_keys(first, second);
            hasher.write(&part);
            let hash = hasher.finish128();
            let expected = KeyHash { row: hash.h1, tag: Tag::of_key(hash.h2) };
            prop_assert_eq!(HashKey([first, second]).hash_part(&part), expected);
        }

        #[test]
        fn a_row_exists(row: u64, rows in 1usize..1 << 40) {
            let hash = KeyHash { row, tag: Tag::default() };
            prop_assert!(hash.row(rows) < rows);
        }
    }

    /// 100,000 keys over 1,000 rows: no row has far more than its 100.
    #[test]
    fn keys_spread_evenly() {
        let mut counts = vec![0; 1_000];
        for n in 0..100_000u64 {
            counts[KEY.hash(&[n.to_string().as_bytes()]).row(1_000)] += 1;
        }
        assert!(counts.iter().all(|n| (50..160).contains(n)), "{counts:?}");
    }
}

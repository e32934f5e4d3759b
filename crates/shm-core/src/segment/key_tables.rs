//! The tables of limits per key, and their memory. A table may be large, so it gets its memory in chunks of [`CHUNK`] bytes when
//! they are first needed, and a bit per chunk in the file tells that it has some. So a limiter for ten million keys takes no more
//! memory than the keys that it has seen, and a full file system is an error and not a SIGBUS.

use super::Segment;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::HashKey;
use crate::layout::{CHUNK, KeyShape, KeyStatsWords, RowSlots};
use crate::sync::Ordering;
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;

impl Segment {
    /// How many tables there are, and how large they are.
    #[inline]
    pub(crate) fn key_shape(&self) -> KeyShape {
        self.map.shape().keys
    }

    /// The key of the hash that places keys in the tables.
    #[inline]
    pub(crate) fn hash_key(&self) -> HashKey {
        HashKey(self.header().geometry.hash_key.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    /// Table `index`. A row may be accessed only after [`ensure_memory`](Self::ensure_memory).
    #[inline]
    pub(crate) fn table(&self, index: usize) -> &[RowSlots] {
        self.map.table(index)
    }

    /// What is counted about keys, if there are tables of keys.
    pub(crate) fn key_stats(&self) -> Option<&KeyStatsWords> {
        self.map.key_stats()
    }

    /// Where a row is in the file.
    pub(crate) fn row_offset(&self, table: usize, row: usize) -> usize {
        self.map.tables_at() + (table * self.key_shape().rows + row) * size_of::<RowSlots>()
    }

    fn chunk_of(&self, table: usize, row: usize) -> usize {
        (table * self.key_shape().rows + row) * size_of::<RowSlots>() / CHUNK
    }

    /// Whether a row's chunk has memory. Without, the row is as if it were all zeros.
    #[inline]
    pub(crate) fn has_memory(&self, table: usize, row: usize) -> bool {
        self.chunk_has_memory(self.chunk_of(table, row))
    }

    #[inline]
    fn chunk_has_memory(&self, chunk: usize) -> bool {
        self.map.chunks()[chunk / 64].load(Ordering::Relaxed) >> (chunk % 64) & 1 != 0
    }

    /// Makes sure that a row's chunk has memory.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] if the file system is full.
    #[inline]
    pub(crate) fn ensure_memory(&self, table: usize, row: usize) -> Result<()> {
        if self.has_memory(table, row) { Ok(()) } else { self.allocate(self.chunk_of(table, row)) }
    }

    /// If this process is killed before the bit is set, the next one does the same again.
    #[cold]
    fn allocate(&self, chunk: usize) -> Result<()> {
        let allocated = match self.map.allocate_chunk(chunk) {
            // Before Linux 5.14, or denied by a security policy.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EINVAL | libc::EPERM | libc::EACCES | libc::ENOSYS)
                ) =>
            {
                let (start, len) = (self.map.tables_at() + chunk * CHUNK, CHUNK);
                let file = self.reopen()?;
                let end = (start + len).min(self.map.shape().file_size());
                loop {
                    match posix_fallocate(&file, start as i64, (end - start) as i64) {
                        Err(Errno::EINTR) => {}
                        done => break done,
                    }
                }
            }
            Err(e) => Err(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))),
            Ok(()) => Ok(()),
        };
        if let Err(errno) = allocated {
            // A full file system cannot give the page, which the kernel reports as a fault.
            if !matches!(errno, Errno::EFAULT | Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM) {
                return Err(self.error_of(&Error::os("cannot allocate memory for its keys", errno)));
            }
            return Err(self.error(
                ErrorKind::NoSpace,
                format!(
                    "its file system is full: there is no room for the next {} kB of its table of keys; free some space there, or \
                     replace the limiter by one with a smaller capacity",
                    CHUNK / 1_024
                ),
            ));
        }
        self.map.chunks()[chunk / 64].fetch_or(1 << (chunk % 64), Ordering::Relaxed);
        Ok(())
    }

    fn error_of(&self, e: &Error) -> Error {
        e.clone().at(self.name.as_str(), &self.path)
    }

    /// The bytes of the tables that have memory.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let bits = self.map.chunks().iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()));
        (bits.sum::<u64>() * CHUNK as u64).min(self.key_shape().bytes() as u64)
    }

    /// The rows of this table that have memory.
    pub(crate) fn rows_in_use(&self, table: usize) -> impl Iterator<Item = (usize, &RowSlots)> {
        self.table(table).iter().enumerate().filter(move |(row, _)| self.has_memory(table, *row))
    }
}

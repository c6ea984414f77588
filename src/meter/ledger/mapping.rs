//! A file in memory, as words that may be written by one thread and read by another: all of the ledger's `unsafe`.
//!
//! No safe crate serves: mapping a file is `unsafe` in all of them, because another process can write to it or cut it short,
//! and they give out bytes, of which atomic words are `unsafe` to make. What makes it sound here:
//!
//! * The memory is only ever seen as `[AtomicU64]`, for which writers on the side, in this process or another, are no data
//!   race.
//! * It is never moved or resized, and given back when the last who sees it is gone: the words borrow the [`Mapping`].
//! * A mapping is page-aligned, so each word is aligned, and any bits make a valid word.
//!
//! What remains is no unsoundness, but ends the process with SIGBUS: a page that cannot be had when it is touched. Somebody
//! cuts the file short from outside (the ledger's folder is private and locked; do not), or a page had been dropped from
//! memory and cannot be read back. A full disk is not among the reasons: all blocks are written before the mapping is used.
//! File systems that write each block to a new place, such as btrfs, promise less; keep the ledger on ext4 or xfs.
#![allow(unsafe_code, reason = "see above")]

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Words in memory that belong to the kernel: of a file, or of none.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is only reachable as atomic words, and belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first `bytes` of a file: what is stored there is in the file, and outlives the process.
    ///
    /// # Errors
    /// The file is shorter, or the system has no room.
    pub(super) fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing that is mapped is touched.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED | MapFlags::POPULATE, file, 0) }?;
        Ok(Self::new(start.cast(), bytes))
    }

    /// So many bytes of memory, all 0. What is never touched takes no room.
    ///
    /// # Errors
    /// The system has no room.
    pub(super) fn of_memory(bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing that is mapped is touched.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE | MapFlags::NORESERVE) }?;
        Ok(Self::new(start.cast(), bytes))
    }

    fn new(start: *mut AtomicU64, bytes: usize) -> Self {
        let start = NonNull::new(start).expect("the system maps nothing at the address 0");
        Self { start, count: bytes / size_of::<AtomicU64>() }
    }

    /// All of it.
    #[inline]
    pub(super) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped at `start`, page-aligned, until `self` is dropped; no borrow outlasts it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<AtomicU64>();
        // SAFETY: it was mapped with this length, and nobody can see it any more: all borrows have ended.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let mapping = Mapping::of_file(&file, 8192).unwrap();
        assert_eq!(mapping.words().len(), 1024);
        mapping.words()[1023].store(u64::from_ne_bytes(*b"the last"), Relaxed);
        drop(mapping);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes[8184..], b"the last");
    }

    #[test]
    fn a_file_that_is_too_short_is_not_mapped() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(Mapping::of_file(&file, 8192).is_err());
    }

    #[test]
    fn memory_of_no_file_is_all_zero_and_shared_between_threads() {
        let mapping = Mapping::of_memory(4096).unwrap();
        assert!(mapping.words().iter().all(|word| word.load(Relaxed) == 0));
        std::thread::scope(|scope| {
            scope.spawn(|| mapping.words()[7].store(1, Relaxed));
        });
        assert_eq!(mapping.words()[7].load(Relaxed), 1);
    }
}

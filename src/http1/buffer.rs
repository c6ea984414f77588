//! Buffers: fixed-size byte queues out of a per-thread pool, so that an idle connection holds none.
//!
//! A buffer goes back to the pool of its thread when it is dropped. Memory is touched only as far as it is used.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use super::writer::Writer;

/// The size of every buffer: large bodies cost a tenth more with half of it, and hardly less with twice as much.
pub const BUFFER_BYTES: usize = 128 * 1024;

/// A queue of bytes: filled at the end, used up from the beginning. What prints it shows none of them.
pub struct Buffer {
    bytes: Box<[u8]>,
    /// Where it begins in `bytes`.
    start: usize,
    filled: Range<usize>,
    torn: bool,
}

impl Buffer {
    /// An empty buffer, from this thread's pool if it has one.
    pub fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let bytes = pooled.unwrap_or_else(|| vec![0; BUFFER_BYTES + STAGGER_MOST].into());
        let start = stagger(bytes.as_ptr() as usize);
        Self { bytes, start, filled: start..start, torn: false }
    }

    /// The bytes that are in it.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.filled.clone()]
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.filled.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// How many bytes can be appended before [`Buffer::compact`].
    pub fn room(&self) -> usize {
        self.start + BUFFER_BYTES - self.filled.end
    }

    /// The free space at the end, to be read into and then reported with [`Buffer::fill`].
    pub fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled.end..self.start + BUFFER_BYTES]
    }

    /// Says that `count` bytes of the free space now hold data.
    pub fn fill(&mut self, count: usize) {
        self.filled.end = (self.filled.end + count).min(self.start + BUFFER_BYTES);
    }

    /// Uses up `count` bytes from the beginning.
    pub fn consume(&mut self, count: usize) {
        self.filled.start = (self.filled.start + count).min(self.filled.end);
        if self.filled.is_empty() {
            self.clear();
        }
    }

    /// Says that bytes which belong behind what is in it have been thrown away.
    pub fn tear(&mut self) {
        self.torn = true;
    }

    /// Whether bytes are missing behind what is in it.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Keeps the first `count` bytes only.
    pub fn truncate(&mut self, count: usize) {
        self.filled.end = self.filled.end.min(self.filled.start + count);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.filled = self.start..self.start;
    }

    /// Moves what is in it to the front, so that all the room is at the end.
    pub fn compact(&mut self) {
        self.bytes.copy_within(self.filled.clone(), self.start);
        self.filled = self.start..self.start + self.filled.len();
    }

    /// Appends as much of `bytes` as there is room for; how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.free()[..count].copy_from_slice(&bytes[..count]);
        self.fill(count);
        count
    }

    /// Appends what `write` writes, and gives what it gives; nothing is appended and none given if not all of it has room.
    #[inline]
    pub fn write_with<T>(&mut self, write: impl FnOnce(&mut Writer<'_>) -> T) -> Option<T> {
        let (before, free) = self.bytes[..self.start + BUFFER_BYTES].split_at_mut(self.filled.end);
        let mut writer = Writer::new(&before[self.filled.start..], free);
        let given = write(&mut writer);
        let count = writer.end()?;
        self.fill(count);
        Some(given)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // At the thread's end its pool is gone already; then the memory is simply freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED_MAX {
                pool.push(bytes);
            }
        });
    }
}

/// Where a buffer begins in its memory. Large pieces of memory lie at multiples of large powers of two: without this the first bytes of
/// all buffers, which are all that most requests use, would compete for the same few places in the processor's caches.
const fn stagger(address: usize) -> usize {
    (address >> 15) * STAGGER % STAGGER_MOST
}

/// About as much as a small request has of its buffer.
const STAGGER: usize = 512;
/// Within this the places begin again: as many as requests have buffers that are in flight at once.
const STAGGER_MOST: usize = 32 * STAGGER;

/// Free buffers kept per thread; more than that are given back to the allocator.
const POOLED_MAX: usize = 128;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut buffer = Buffer::take();
        assert_eq!(buffer.append(b"hello world"), 11);
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.compact();
        assert_eq!((buffer.filled(), buffer.room()), (&b"world"[..], BUFFER_BYTES - 5));
    }

    #[test]
    fn a_full_buffer_takes_what_fits_and_refuses_what_must_be_whole() {
        let mut buffer = Buffer::take();
        buffer.fill(BUFFER_BYTES - 3);
        assert!(buffer.write_with(|out| out.put(&[b"four"])).is_none());
        assert!(buffer.write_with(|out| out.put(&[b"tw", b"", b"o2", b"!"])).is_none());
        assert_eq!(buffer.room(), 3);
        assert!(buffer.write_with(|out| out.put(&[b"", b"a"])).is_some());
        assert_eq!(buffer.append(b"four"), 2);
        assert_eq!(buffer.room(), 0);
    }

    #[test]
    fn what_is_in_a_buffer_can_be_appended_again() {
        let mut buffer = Buffer::take();
        buffer.append(b"-hello");
        buffer.consume(1);
        assert!(buffer.write_with(|out| out.put_held(1..4)).is_some());
        assert_eq!(buffer.filled(), b"helloell");
        assert!(buffer.write_with(|out| out.put_held(1..9)).is_none(), "that is not all there");
        buffer.fill(buffer.room() - 2);
        assert!(buffer.write_with(|out| out.put_held(0..3)).is_none());
        assert!(buffer.write_with(|out| out.put_held(0..2)).is_some());
        assert_eq!(buffer.room(), 0);
    }

    #[test]
    fn what_is_taken_back_is_not_there() {
        let mut buffer = Buffer::take();
        buffer.append(b"kept ");
        let given = buffer.write_with(|out| {
            out.put(&[b"forgotten"]);
            out.restart();
            out.put(&[b"new"]);
            7
        });
        assert_eq!((given, buffer.filled()), (Some(7), &b"kept new"[..]));
    }

    #[test]
    fn neighbours_in_memory_begin_at_different_places() {
        // Such pieces come in sizes of 32 KiB.
        for pieces in [5, 7] {
            let starts = (0..32).map(|neighbour| stagger((1 << 40) + neighbour * pieces * 32 * 1024));
            let starts = starts.collect::<std::collections::BTreeSet<_>>();
            assert_eq!((starts.len(), starts.last()), (32, Some(&(STAGGER_MOST - STAGGER))));
        }
    }

    #[test]
    fn a_dropped_buffer_is_used_again_and_comes_empty() {
        let mut buffer = Buffer::take();
        buffer.append(b"old");
        let address = buffer.filled().as_ptr();
        drop(buffer);
        let mut again = Buffer::take();
        assert!(again.is_empty());
        again.append(b"new");
        assert_eq!(again.filled().as_ptr(), address);
    }
}

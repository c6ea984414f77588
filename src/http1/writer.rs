//! Writing into the free space of a buffer, piece by piece: whether all of them fit is asked once, at the end.
//!
//! Called for the heads of all requests and answers that pass.

use std::ops::Range;

/// What is written behind the bytes of a buffer: see [`Buffer::write_with`](super::Buffer::write_with).
#[derive(Debug)]
pub struct Writer<'b> {
    held: &'b [u8],
    free: &'b mut [u8],
    written: usize,
    fits: bool,
}

impl<'b> Writer<'b> {
    /// Behind `held`, into `free`.
    pub(super) const fn new(held: &'b [u8], free: &'b mut [u8]) -> Self {
        Self { held, free, written: 0, fits: true }
    }

    /// Appends these parts, one behind the other.
    #[inline]
    pub fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            let end = self.written + part.len();
            match self.free.get_mut(self.written..end) {
                Some(here) => {
                    here.copy_from_slice(part);
                    self.written = end;
                }
                None => self.fits = false,
            }
        }
    }

    /// Appends what stands at this place of the buffer, which was there before.
    #[inline]
    pub fn put_held(&mut self, place: Range<usize>) {
        match self.held.get(place) {
            Some(part) => self.put(&[part]),
            None => self.fits = false,
        }
    }

    /// Takes everything back.
    pub const fn restart(&mut self) {
        self.written = 0;
    }

    /// How many bytes have been written; none if not all of them had room.
    pub(super) fn end(self) -> Option<usize> {
        self.fits.then_some(self.written)
    }
}

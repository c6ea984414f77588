//! Bytes without end that are cheap to make and to check: bodies of any size that are never stored.

/// A repeated block of a prime length, so that a shift by any buffer size shows.
pub(crate) struct Pattern {
    block: Vec<u8>,
}

/// Compares what arrives, in whatever pieces, with the pattern.
pub(crate) struct Checker {
    pattern: Pattern,
    /// How many bytes came.
    pub(crate) length: u64,
    /// Whether all of them were right.
    pub(crate) intact: bool,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        Self { block: (0..BLOCK).map(next).collect() }
    }

    /// The first `length` bytes, in pieces; `write` returns false to end it early.
    pub(crate) fn pieces(&self, length: u64, mut write: impl FnMut(&[u8]) -> bool) {
        let mut left = length;
        while left > 0 {
            let here = self.block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if !write(&self.block[..here]) {
                return;
            }
            left -= here as u64;
        }
    }
}

impl Checker {
    pub(crate) fn new() -> Self {
        Self { pattern: Pattern::new(), length: 0, intact: true }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = usize::try_from(self.length % BLOCK as u64).unwrap_or(0);
            let here = bytes.len().min(BLOCK - at);
            self.intact &= bytes[..here] == self.pattern.block[at..at + here];
            self.length += here as u64;
            bytes = &bytes[here..];
        }
    }
}

/// A prime near 256 KiB.
const BLOCK: usize = 262_139;

#[test]
fn a_swapped_byte_is_noticed_however_the_bytes_arrive() {
    let mut bytes = Vec::new();
    Pattern::new().pieces(600_000, |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    let check = |bytes: &[u8]| {
        let mut checker = Checker::new();
        bytes.chunks(777).for_each(|part| checker.feed(part));
        (checker.length, checker.intact)
    };
    assert_eq!(check(&bytes), (600_000, true));
    bytes[400_000] ^= 1;
    assert_eq!(check(&bytes), (600_000, false));
}

//! The format of a ledger's file, version 1.
//!
//! A file is `ledger-<epoch: 16 hex digits>-<number>.seg`: so many bytes as its head says, written by one thread of one
//! process, in 64-bit words of that machine's byte order.
//!
//! ```text
//! page 0           the head
//!   word 0         "kgledger" as a little-endian number: another value is another program, or another byte order
//!   word 1         version << 32 | words of a cell (8)
//!   word 2         epoch: random, one per process
//!   word 3         when the process opened the ledger, in milliseconds since 1970
//!   word 4         writer << 32 | number of the file in its epoch
//!   word 5         bytes of the file
//!   word 6         number of cells
//!   word 7         CRC-32 of words 0 to 6; this one, magic and version are where they are in every version
//!   word 8         CRC-32 of epoch and minute << 32 | minute: cells up to this minute are sealed; 0: none
//! then the cells, 64 bytes each: nine sixteenths of the rest
//!   word 0         tag << 32 | minute since 1970; 0: no cell
//!   word 1         account (word of the file) << 40 | turn << 32 | route (word of the file) << 8 | band << 6 | class
//!   word 2         token: tells accounts of one name apart that its process took for different ones
//!   words 3 to 7   units, bytes in, bytes out, latency in ns, requests: totals
//! then the names, from word to word
//!   word 0         CRC-32 of the rest << 32 | three lengths in bytes: key, owner, plan; or route, 0, 0
//!   then           the texts, one after the other, filled up with 0
//! ```
//!
//! The tag is the CRC-32 of epoch, place of the cell, minute, word 1 and token. It is stored last, and the names before
//! it; so a cell with its tag is whole, and one without was never counted in. Of the totals, `requests` is stored last.
//! No cell lies across a sector of 512 bytes, so that none is half old and half new after a power failure.
//!
//! The turn goes up when the writer's clock went back to an earlier minute. Epoch, writer, minute, turn, token, names and
//! class make a cell what it is; where two cells agree in all of them, the greater values hold.

use crate::time::Timestamp;

/// One life of a process, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// A random number.
    pub id: u64,
    /// When it opened the ledger, in milliseconds since 1970.
    pub started_ms: i64,
}

/// What the head of a file says that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: Epoch,
    pub(super) writer: u32,
    pub(super) number: u32,
    pub(super) layout: Layout,
}

/// Where cells and names are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) bytes: usize,
    pub(super) cells: u32,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    Foreign,
    Damaged,
    Newer(u32),
}

/// What a cell is about, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    pub(super) minute: u32,
    /// The clock went back so often before.
    pub(super) turn: u8,
    pub(super) class: u8,
    /// The words of the file where the names are.
    pub(super) account: u32,
    pub(super) route: u32,
    pub(super) token: u64,
}

impl Epoch {
    /// A new one.
    pub(super) fn random(now: Timestamp) -> Result<Self, getrandom::Error> {
        Ok(Self { id: getrandom::u64()?, started_ms: now.as_unix_ms() })
    }
}

impl Layout {
    /// Of a file with so many bytes, cut to whole pages and to the bounds.
    pub(super) fn of(bytes: usize) -> Self {
        let bytes = bytes.clamp(BYTES_MIN, BYTES_MAX) / PAGE_BYTES * PAGE_BYTES;
        let cells = (bytes - PAGE_BYTES) / 16 * 9 / (CELL_WORDS * WORD_BYTES);
        Self { bytes, cells: u32::try_from(cells).expect("a file is not that long") }
    }

    pub(super) const fn words(&self) -> usize {
        self.bytes / WORD_BYTES
    }

    /// The first word behind the cells.
    pub(super) const fn names(&self) -> usize {
        HEAD_WORDS + self.cells as usize * CELL_WORDS
    }
}

impl Head {
    pub(super) fn encode(&self) -> [u64; FIXED_WORDS] {
        let Self { epoch, writer, number, layout } = *self;
        let mut words = [
            MAGIC,
            pair(VERSION, CELL_WORDS as u32),
            epoch.id,
            epoch.started_ms.cast_unsigned(),
            pair(writer, number),
            layout.bytes as u64,
            u64::from(layout.cells),
            0,
        ];
        words[FIXED_WORDS - 1] = u64::from(checksum(&words[..FIXED_WORDS - 1]));
        words
    }

    pub(super) fn decode(words: &[u64; FIXED_WORDS]) -> Result<Self, HeadFault> {
        let (covered, stored) = (&words[..FIXED_WORDS - 1], words[FIXED_WORDS - 1]);
        if words[0] != MAGIC {
            return Err(HeadFault::Foreign);
        }
        if stored != u64::from(checksum(covered)) {
            return Err(HeadFault::Damaged);
        }
        let (version, cell_words) = halves(words[1]);
        if version > VERSION {
            return Err(HeadFault::Newer(version));
        }
        let layout = Layout::of(usize::try_from(words[5]).unwrap_or(0));
        let fits = version == VERSION
            && cell_words == CELL_WORDS as u32
            && (layout.bytes as u64, u64::from(layout.cells)) == (words[5], words[6]);
        let (writer, number) = halves(words[4]);
        let epoch = Epoch { id: words[2], started_ms: words[3].cast_signed() };
        if fits { Ok(Self { epoch, writer, number, layout }) } else { Err(HeadFault::Damaged) }
    }
}

/// The word that says up to which minute cells are sealed.
pub(super) fn sealed_word(epoch: Epoch, minute: u32) -> u64 {
    pair(checksum(&[epoch.id, u64::from(minute)]), minute)
}

/// What such a word says; 0 if it is none.
pub(super) fn sealed_minute(epoch: Epoch, word: u64) -> u32 {
    let (_, minute) = halves(word);
    if sealed_word(epoch, minute) == word { minute } else { 0 }
}

impl Label {
    /// Words 0 to 2 of the cell at a place.
    pub(super) fn encode(&self, epoch: Epoch, place: u32) -> [u64; LABEL_WORDS] {
        let what = u64::from(self.account) << 40
            | u64::from(self.turn) << 32
            | u64::from(self.route) << 8
            | u64::from(self.class);
        let tag = checksum(&[epoch.id, pair(place, self.minute), what, self.token]);
        [pair(tag, self.minute), what, self.token]
    }

    /// None if the tag is not the label's.
    pub(super) fn decode(words: [u64; LABEL_WORDS], epoch: Epoch, place: u32) -> Option<Self> {
        let [tagged, what, token] = words;
        let byte = |shift: u32| (what >> shift & 0xff) as u8;
        let reference = |shift: u32| (what >> shift & u64::from(REFERENCE_MAX)) as u32;
        let (_, minute) = halves(tagged);
        let label = Self { minute, turn: byte(32), class: byte(0), account: reference(40), route: reference(8), token };
        (minute != 0 && label.encode(epoch, place) == words).then_some(label)
    }
}

pub(super) fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

pub(super) const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

fn checksum(words: &[u64]) -> u32 {
    let mut bytes = [0; FIXED_WORDS * WORD_BYTES];
    for (bytes, word) in bytes.as_chunks_mut::<WORD_BYTES>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    crc32fast::hash(&bytes[..words.len() * WORD_BYTES])
}

/// The newest version of the format that this program knows, which is the one it writes.
pub(super) const VERSION: u32 = 1;
pub(super) const WORD_BYTES: usize = size_of::<u64>();
pub(super) const CELL_WORDS: usize = 8;
/// The words of a cell before the totals.
pub(super) const LABEL_WORDS: usize = 3;
pub(super) const FIXED_WORDS: usize = 8;
pub(super) const SEALED_WORD: usize = 8;
pub(super) const HEAD_WORDS: usize = PAGE_BYTES / WORD_BYTES;
pub(super) const PAGE_BYTES: usize = 4096;
/// What a reference to a word can hold: more words than the longest file has.
pub(super) const REFERENCE_MAX: u32 = (1 << 24) - 1;
const BYTES_MIN: usize = 2 * PAGE_BYTES;
const BYTES_MAX: usize = 64 << 20;
const MAGIC: u64 = u64::from_le_bytes(*b"kgledger");

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    const EPOCH: Epoch = Epoch { id: 0x0123_4567_89ab_cdef, started_ms: 1_782_907_200_000 };

    fn head() -> Head {
        Head { epoch: EPOCH, writer: 3, number: 17, layout: Layout::of(4 << 20) }
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_a_changed_one_is_not() {
        let words = head().encode();
        assert_eq!(Head::decode(&words), Ok(head()));
        assert_eq!(Head::decode(&[0; 8]), Err(HeadFault::Foreign));
        for bit in 0..FIXED_WORDS * 64 {
            let mut changed = words;
            changed[bit / 64] ^= 1 << (bit % 64);
            assert!(Head::decode(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut words = head().encode();
        words[1] = pair(VERSION + 1, 99);
        words[7] = u64::from(checksum(&words[..7]));
        assert_eq!(Head::decode(&words), Err(HeadFault::Newer(VERSION + 1)));
    }

    #[test]
    fn a_cell_and_its_names_take_up_to_128_bytes() {
        for bytes in [64 << 10, 1 << 20, 4 << 20, 5_000_000, 64 << 20, usize::MAX] {
            let layout = Layout::of(bytes);
            assert_eq!(layout.bytes % PAGE_BYTES, 0);
            assert!(layout.names() < layout.words() && layout.words() <= REFERENCE_MAX as usize);
            let per_cell = layout.bytes as f64 / f64::from(layout.cells);
            assert!(per_cell < 122.0, "{per_cell} bytes");
        }
    }

    #[test]
    fn only_its_own_word_says_what_is_sealed() {
        let word = sealed_word(EPOCH, 29_715_120);
        assert_eq!(sealed_minute(EPOCH, word), 29_715_120);
        assert_eq!(sealed_minute(EPOCH, word ^ 1), 0);
        assert_eq!(sealed_minute(Epoch { id: 1, ..EPOCH }, word), 0);
        assert_eq!(sealed_minute(EPOCH, 0), 0);
    }

    proptest! {
        #[test]
        fn a_label_is_read_as_it_was_written_where_it_was_written(
            minute in 1_u32.., turn: u8, class: u8, token: u64, place: u32, other: u32,
            (account, route) in (0..=REFERENCE_MAX, 0..=REFERENCE_MAX),
        ) {
            let label = Label { minute, turn, class, account, route, token };
            let words = label.encode(EPOCH, place);
            prop_assert_eq!(Label::decode(words, EPOCH, place), Some(label));
            prop_assume!(place != other);
            prop_assert_eq!(Label::decode(words, EPOCH, other), None);
        }

        #[test]
        fn a_label_with_changed_bits_is_none(
            token: u64, account in 0..=REFERENCE_MAX, word in 0..LABEL_WORDS, change in any::<u32>(), shift in 0..33_u32,
        ) {
            prop_assume!(change != 0);
            let words = Label { minute: 29_715_120, turn: 0, class: 2, account, route: 9, token }.encode(EPOCH, 5);
            let mut changed = words;
            changed[word] ^= u64::from(change) << shift;
            // A change of 32 neighbouring bits never gets past the sum, unless it is of tag and minute at once.
            prop_assume!(word != 0 || shift == 0 || shift == 32);
            prop_assert!(Label::decode(changed, EPOCH, 5).is_none());
        }
    }
}

//! Names in a file, so that its cells can be read without anything else: key, owner and plan, or a route.
//!
//! Written once, before a cell refers to them; a sum tells names that never reached the disk.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use compact_str::CompactString;

use super::layout::{WORD_BYTES, halves, pair};

/// How many words these texts take, the first with sum and lengths.
pub(super) fn words(texts: [&str; 3]) -> usize {
    1 + texts.map(str::len).iter().sum::<usize>().div_ceil(WORD_BYTES)
}

/// Writes texts of up to 255 bytes each, 320 together, from the first of these words on.
pub(super) fn write(into: &[AtomicU64], texts: [&str; 3]) {
    let mut bytes = [0; BYTES_MAX];
    let mut end = LENGTHS;
    for (place, text) in texts.into_iter().enumerate() {
        bytes[place] = u8::try_from(text.len()).expect("ids and names are shorter");
        bytes[end..end + text.len()].copy_from_slice(text.as_bytes());
        end += text.len();
    }
    let lengths = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    into[0].store(pair(crc32fast::hash(&bytes[..end]), lengths), Relaxed);
    for (word, bytes) in into[1..].iter().zip(bytes[LENGTHS..].as_chunks::<WORD_BYTES>().0) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
}

/// Reads texts back; none if they are not whole.
pub(super) fn read(from: &[AtomicU64]) -> Option<[CompactString; 3]> {
    let (sum, lengths) = halves(from.first()?.load(Relaxed));
    let [key, owner, plan, 0] = lengths.to_le_bytes() else { return None };
    let mut bytes = [0; BYTES_MAX];
    bytes[..LENGTHS].copy_from_slice(&[key, owner, plan]);
    let end = LENGTHS + [key, owner, plan].map(usize::from).iter().sum::<usize>();
    let count = (end - LENGTHS).div_ceil(WORD_BYTES);
    let chunks = bytes[LENGTHS..].as_chunks_mut::<WORD_BYTES>().0;
    for (bytes, word) in chunks.get_mut(..count)?.iter_mut().zip(from.get(1..1 + count)?) {
        *bytes = word.load(Relaxed).to_ne_bytes();
    }
    if crc32fast::hash(&bytes[..end]) != sum {
        return None;
    }
    let mut rest = &bytes[LENGTHS..end];
    let mut text = |length: u8| {
        let (text, after) = rest.split_at(usize::from(length));
        rest = after;
        CompactString::from_utf8(text).ok()
    };
    Some([text(key)?, text(owner)?, text(plan)?])
}

/// The lengths of three texts, a byte each.
const LENGTHS: usize = 3;
/// The lengths, a key id of 64 bytes, two names of 128, in whole words.
const BYTES_MAX: usize = LENGTHS + 64 + 128 + 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    fn written(texts: [&str; 3]) -> Vec<AtomicU64> {
        let into: Vec<AtomicU64> = (0..words(texts)).map(|_| AtomicU64::new(0)).collect();
        write(&into, texts);
        into
    }

    #[test]
    fn the_longest_names_fit() {
        let (key, name) = ("k".repeat(64), "n".repeat(128));
        let texts = [key.as_str(), &name, &name];
        assert_eq!(read(&written(texts)).unwrap(), texts);
    }

    #[test]
    fn what_was_never_written_is_no_name() {
        let zeros: Vec<AtomicU64> = (0..9).map(|_| AtomicU64::new(0)).collect();
        assert_eq!(read(&zeros), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&written(["key", "owner", "a long name of a plan"])[..3]), None);
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(key in "[a-z_]{0,64}", owner in "[ -~]{0,128}", plan in "[ -~]{0,128}") {
            let texts = [key.as_str(), &owner, &plan];
            prop_assert_eq!(read(&written(texts)).unwrap(), texts);
        }

        #[test]
        fn changed_names_are_none(key in "[a-z_]{5,64}", owner in "[ -~]{0,128}", word: usize, change in 1_u64..) {
            let names = written([&key, &owner, "p"]);
            let word = &names[word % names.len()];
            let before = word.fetch_xor(change, Relaxed);
            // What fills the last word up is not covered.
            let read = read(&names);
            prop_assume!(read.as_ref().is_none_or(|read| *read != [key.as_str(), owner.as_str(), "p"]));
            prop_assert!(read.is_none(), "{before:x} {change:x}");
        }
    }
}

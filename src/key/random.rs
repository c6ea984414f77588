//! Random base62 text from the system's source, for secrets and key ids.
//!
//! Every character is equally likely: bytes that would favour some are thrown away. Called by `form` and `text`.

use zeroize::Zeroizing;

/// The alphabet in value order: the digit of value `v` is `BASE62[v]`.
pub(super) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed")]
pub struct RandomError(#[source] getrandom::Error);

/// `N` random base62 characters; wiped when dropped, as is everything they were made of.
pub(super) fn random_base62<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut text = Zeroizing::new([0; N]);
    let mut filled = 0;
    while filled < N {
        let mut raw = Zeroizing::new([0; 64]);
        getrandom::fill(raw.as_mut_slice()).map_err(RandomError)?;
        let characters = raw.iter().filter_map(|&byte| character_of(byte));
        for (place, character) in text[filled..].iter_mut().zip(characters) {
            *place = character;
            filled += 1;
        }
    }
    Ok(text)
}

/// The character that a random byte stands for; none for the 8 bytes of 256 that would make some more likely.
fn character_of(byte: u8) -> Option<u8> {
    BASE62.get(usize::from(byte >> 2)).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_character_has_the_same_number_of_bytes() {
        let mut bytes_of = BTreeMap::new();
        for character in (0..=u8::MAX).filter_map(character_of) {
            *bytes_of.entry(character).or_insert(0) += 1;
        }
        assert_eq!(bytes_of.into_iter().collect::<Vec<_>>(), BASE62.map(|c| (c, 4)));
    }

    #[test]
    fn the_whole_length_is_filled_and_no_text_comes_twice() {
        let texts: BTreeSet<_> = (0..100).map(|_| *random_base62::<200>().unwrap()).collect();
        assert_eq!(texts.len(), 100);
        assert!(texts.iter().flatten().all(|c| BASE62.contains(c)));
    }
}

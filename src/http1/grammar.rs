//! How far the bytes at the beginning of others are of one kind: a token, a target, text. Looked at 16 at a time.
//!
//! Called by the parsers of heads and field lines, for all that a client or an upstream can choose freely in them. `unsafe` for the
//! one instruction that gathers what was found of 16 bytes: without it that takes longer than looking at 8 at a time.

#![allow(unsafe_code, reason = "see above")]

/// How many bytes of a token (RFC 9110 section 5.6.2) `bytes` begins with.
pub(super) fn token_length(bytes: &[u8]) -> usize {
    // With this bit an upper case letter is a lower case one, and nothing else becomes a letter.
    let is_usual = |byte: u8| ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte == b'-');
    run_length(bytes, is_usual, |byte| TOKEN_BYTES[usize::from(byte)])
}

/// How many bytes without white space and control characters `bytes` begins with; those beyond ASCII count.
pub(super) fn visible_length(bytes: &[u8]) -> usize {
    let is_visible = |byte| (byte > b' ') & (byte != DELETE);
    run_length(bytes, is_visible, is_visible)
}

/// How many bytes of a host that is not an address in brackets, unreserved characters of URIs (RFC 3986 section 2.3), `bytes` begins with.
pub(super) fn host_length(bytes: &[u8]) -> usize {
    let is_usual = |byte: u8| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        is_letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'.') | (byte == b'-')
    };
    run_length(bytes, is_usual, |byte| is_usual(byte) || matches!(byte, b'_' | b'~'))
}

/// How many bytes of text (RFC 9110 section 5.5, with spaces and tabs) `bytes` begins with; those beyond ASCII count.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let is_usual = |byte| (byte >= b' ') & (byte != DELETE);
    run_length(bytes, is_usual, |byte| is_usual(byte) || byte == b'\t')
}

/// How many bytes `bytes` begins with that belong. Most of those are usual, which takes fewer steps to tell.
#[inline]
fn run_length(bytes: &[u8], is_usual: impl Fn(u8) -> bool, belongs: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<BLOCK>() {
        match position(block, |byte| !is_usual(byte)) {
            None => at += BLOCK,
            Some(stranger) if belongs(block[stranger]) => at += stranger + 1,
            Some(stranger) => return at + stranger,
        }
    }
    at + last_run_length(&bytes[at..], belongs)
}

/// The same for less than a block; of its own, because heads that come whole hardly ever end so.
#[inline(never)]
fn last_run_length(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(**byte)).count()
}

/// Where the first byte is that is wanted. Written so that compilers see that they can look at all of them in the same instructions.
#[inline]
fn position(block: &[u8; BLOCK], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut marks = [0; BLOCK];
    for (mark, byte) in marks.iter_mut().zip(block) {
        *mark = if is_wanted(*byte) { MARK } else { 0 };
    }
    first_mark(marks)
}

/// Where the first mark is.
#[cfg(target_arch = "x86_64")]
#[inline]
fn first_mark(marks: [u8; BLOCK]) -> Option<usize> {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_movemask_epi8};
    // SAFETY: every x86-64 processor has SSE2, and what is read is the 16 bytes, wherever they lie.
    let bits = unsafe { _mm_movemask_epi8(_mm_loadu_si128((&raw const marks).cast())) };
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn first_mark(marks: [u8; BLOCK]) -> Option<usize> {
    let bits = u128::from_le_bytes(marks);
    (bits != 0).then(|| (bits.trailing_zeros() / 8) as usize)
}

const BLOCK: usize = 16;
const MARK: u8 = u8::MAX;
const DELETE: u8 = 0x7f;
const TOKEN_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of a run that is long enough for words and for what is left over behind them.
    fn check(length: impl Fn(&[u8]) -> usize, filler: u8, belongs: impl Fn(u8) -> bool) {
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..35).map(move |place| (byte, place))) {
            let mut bytes = [filler; 35];
            bytes[place] = byte;
            let expected = if belongs(byte) { 35 } else { place };
            assert_eq!(length(&bytes), expected, "{byte:#x} at {place}");
            // What stands behind the first stranger makes no difference.
            bytes[place..].fill(byte);
            assert_eq!(length(&bytes), expected, "{byte:#x} from {place}");
        }
        assert_eq!(length(b""), 0);
    }

    #[test]
    fn tokens_are_letters_digits_and_fifteen_signs() {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        b"a-Z5".iter().for_each(|filler| check(token_length, *filler, belongs));
    }

    #[test]
    fn what_is_visible_is_neither_white_space_nor_control() {
        let belongs = |byte: u8| !byte.is_ascii_control() && byte != b' ';
        b"/\xff".iter().for_each(|filler| check(visible_length, *filler, belongs));
    }

    #[test]
    fn hosts_are_letters_digits_and_four_signs() {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        b"a-Z5.".iter().for_each(|filler| check(host_length, *filler, belongs));
    }

    #[test]
    fn text_is_all_but_controls_with_the_tab_in_it() {
        let belongs = |byte: u8| !byte.is_ascii_control() || byte == b'\t';
        b" a\t\x80".iter().for_each(|filler| check(text_length, *filler, belongs));
    }
}

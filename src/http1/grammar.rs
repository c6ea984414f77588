//! How far the bytes at the beginning of others are of one kind: a token, a target, text. Looked at 8 at a time.
//!
//! Called by the parsers of heads and field lines, for all that a client or an upstream can choose freely in them.

/// How many bytes of a token (RFC 9110 section 5.6.2) `bytes` begins with.
pub(super) fn token_length(bytes: &[u8]) -> usize {
    run_length(bytes, |word| !(letters(word) | equal(word, b'-')), |byte| TOKEN_BYTES[usize::from(byte)])
}

/// How many bytes without white space and control characters `bytes` begins with; those beyond ASCII count.
pub(super) fn visible_length(bytes: &[u8]) -> usize {
    run_length(bytes, |word| below(word, 0x21) | equal(word, DELETE), |byte| byte > b' ' && byte != DELETE)
}

/// How many bytes of text (RFC 9110 section 5.5, with spaces and tabs) `bytes` begins with; those beyond ASCII count.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let is_text = |byte| byte == b'\t' || (byte >= b' ' && byte != DELETE);
    run_length(bytes, |word| below(word, b' ') | equal(word, DELETE), is_text)
}

/// How many bytes `bytes` begins with that belong. `strangers` marks the bytes of a word that may not, by their highest bits.
#[inline]
fn run_length(bytes: &[u8], strangers: impl Fn(u64) -> u64, belongs: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let strangers = strangers(u64::from_le_bytes(*word)) & HIGHEST;
        if strangers == 0 {
            at += 8;
            continue;
        }
        at += (strangers.trailing_zeros() / 8) as usize;
        if !belongs(bytes[at]) {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().take_while(|byte| belongs(**byte)).count()
}

/// Which bytes are ASCII letters.
const fn letters(word: u64) -> u64 {
    !below(word | of(0x20), b'a') & below(word | of(0x20), b'z' + 1)
}

/// Which bytes are less than `bound`, which is less than 128. Bytes beyond ASCII are not.
const fn below(word: u64, bound: u8) -> u64 {
    // Without its highest bit no byte carries into the next one.
    !((word & !HIGHEST) + of(0x80 - bound)) & !word
}

/// Which bytes are `byte`.
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ of(byte), 1)
}

/// A word of 8 times this byte.
const fn of(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGHEST: u64 = of(0x80);
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
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..19).map(move |place| (byte, place))) {
            let mut bytes = [filler; 19];
            bytes[place] = byte;
            let expected = if belongs(byte) { 19 } else { place };
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
    fn text_is_all_but_controls_with_the_tab_in_it() {
        let belongs = |byte: u8| !byte.is_ascii_control() || byte == b'\t';
        b" a\t\x80".iter().for_each(|filler| check(text_length, *filler, belongs));
    }
}

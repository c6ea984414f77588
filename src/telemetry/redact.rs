//! Takes secrets out of texts that others wrote, before they are logged or shown.
//!
//! Pure, and meant to be wrong on the safe side: a word that holds anything shaped like a secret, be it mistyped,
//! truncated, percent-encoded or in the wrong case, goes as a whole. Called for every client-supplied text of a log
//! line and every line of the configuration that a problem quotes.

use std::borrow::Cow;

/// The text without its secrets, each word that holds one replaced by `[redacted]`.
///
/// A word ends at white space and at any of `/ ? & = ; , : # @ | \ < > ( ) [ ] { }`, quotes and backticks. It holds a
/// secret if a run of `A-Z a-z 0-9 _` in it, percent-decoded any number of times,
///
/// * has 24 bytes or more, or
/// * goes on for 8 bytes or more after the second of two words that end in `_`, as in `kg_live_01234567`,
///
/// and is not plainly a name: `list_user_accounts`, all small letters in pieces of at most 15. UUIDs pass.
pub fn redact(text: &str) -> Cow<'_, str> {
    if !pieces(text.as_bytes()).any(|(word, _)| holds_secret(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    redact_into(&mut out, text.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Appends `text` to `out` as [`redact`] would give it; allocates only if `out` has to grow.
pub fn redact_into(out: &mut Vec<u8>, text: &[u8]) {
    for (word, delimiter) in pieces(text) {
        out.extend_from_slice(if holds_secret(word) { MARK } else { word });
        out.extend_from_slice(delimiter);
    }
}

/// The part of a text that was cut off somewhere which ends with a whole word: a secret cut short may not look like one.
pub(super) fn whole_words(cut: &[u8]) -> &[u8] {
    let end = cut.iter().rposition(|&byte| is_delimiter(byte)).map_or(0, |last| last + 1);
    &cut[..end]
}

/// The words of a text, each with the delimiter that ends it (empty at the end of the text).
fn pieces(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split_inclusive(|&byte| is_delimiter(byte)).map(|piece| {
        let ends = piece.last().is_some_and(|&byte| is_delimiter(byte));
        piece.split_at(piece.len() - usize::from(ends))
    })
}

fn is_delimiter(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || b"/?&=;,:#@|\\<>()[]{}\"'`".contains(&byte)
}

fn holds_secret(word: &[u8]) -> bool {
    let mut rest = word;
    let mut run = Run::default();
    while let Some((symbol, after)) = next_symbol(rest) {
        rest = after;
        match symbol {
            Some(byte) => run.push(byte),
            None if run.is_secret() => return true,
            None => run = Run::default(),
        }
    }
    run.is_secret()
}

/// The next symbol of a word and what follows; the symbol is `None` where a run ends.
fn next_symbol(word: &[u8]) -> Option<(Option<u8>, &[u8])> {
    let (&first, rest) = word.split_first()?;
    if first == b'%'
        && let Some((byte, after)) = percent_decoded(rest)
        && is_symbol(byte)
    {
        return Some((Some(byte), after));
    }
    Some((is_symbol(first).then_some(first), rest))
}

/// The byte that the digits after a `%` stand for, and what follows them. `2530` is `%30` encoded once more, hence `0`.
fn percent_decoded(digits: &[u8]) -> Option<(u8, &[u8])> {
    let mut digits = digits;
    while let Some(inner) = digits.strip_prefix(b"25")
        && hex_pair(inner).is_some()
    {
        digits = inner;
    }
    Some((hex_pair(digits)?, digits.get(2..)?))
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn is_symbol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What has been seen of one run of symbols.
#[derive(Default)]
struct Run {
    length: usize,
    /// Pieces so far that have a letter and ended in `_`.
    prefixes: usize,
    /// Symbols since there were two of those.
    after_prefixes: usize,
    /// Of the piece that is under way.
    piece_length: usize,
    piece_has_letter: bool,
    /// Anything that a plain name does not have.
    beyond_a_name: bool,
}

impl Run {
    fn push(&mut self, byte: u8) {
        self.length += 1;
        if self.prefixes >= 2 {
            self.after_prefixes += 1;
        }
        if byte == b'_' {
            self.prefixes += usize::from(self.piece_has_letter);
            self.piece_length = 0;
            self.piece_has_letter = false;
            return;
        }
        self.piece_length += 1;
        self.piece_has_letter |= byte.is_ascii_alphabetic();
        self.beyond_a_name |= !byte.is_ascii_lowercase() || self.piece_length > LONGEST_NAME_PIECE;
    }

    fn is_secret(&self) -> bool {
        self.beyond_a_name && (self.length >= LONG_RUN || self.after_prefixes >= LONG_TAIL)
    }
}

const MARK: &[u8] = b"[redacted]";
const LONG_RUN: usize = 24;
const LONG_TAIL: usize = 8;
/// A random piece of base62 this long has neither a digit nor a capital once in half a million.
const LONGEST_NAME_PIECE: usize = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_oneof, proptest};

    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(redact(input), expected, "{input}");
        let mut bytes = Vec::new();
        redact_into(&mut bytes, input.as_bytes());
        assert_eq!(bytes, expected.as_bytes(), "{input}");
    }

    #[test]
    fn secrets_in_any_dress_are_taken_out() {
        check("kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", "[redacted]");
        check("Bearer kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", "Bearer [redacted]");
        check("/v1/kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm/x", "/v1/[redacted]/x");
        check("a?api_key=kg_test_0123456789ABCDEFGHIJKLMNOPQRSTUV3Gorfl&b=1", "a?api_key=[redacted]&b=1");
        // Truncated, at either end.
        check("/kg_live_01234567", "/[redacted]");
        check("/0123456789ABCDEFGHIJKLMN", "/[redacted]");
        // Mistyped: a letter is wrong, missing or doubled, or a prefix is.
        check("kg_live_0123456789ABCDE-GHIJKLMNOPQRSTUV03NzCm", "[redacted]");
        check("kg-live-0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", "[redacted]");
        check("kg__live_0123456789", "[redacted]");
        check("k_live_0123456é89ABCDEFGHIJKLMNOPQRSTUV03NzCm", "[redacted]");
        // In capitals, and encoded, once, twice and wholly.
        check("KG_LIVE_0123456789ABCDEFGHIJKLMNOPQRSTUV03NZCM", "[redacted]");
        check("/kg%5Flive%5f0123456789ABCDEF/", "/[redacted]/");
        check("/kg%255Flive%255F01234567", "/[redacted]");
        check("/%6b%67%5f%6c%69%76%65%5f%30%31%32%33%34%35%36%37", "/[redacted]");
        // Other gateways' keys and tokens.
        check("secret: sk-proj-abcdefghijklmnopqrstuvwxyz", "secret: [redacted]");
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN", "[redacted]");
        check("7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd", "[redacted]");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let kept = [
            "",
            "/v1/orders/7",
            "/v1/list_user_accounts/organization_membership_requests",
            "550e8400-e29b-41d4-a716-446655440000",
            "key_0123456789ABCDEF",
            "/a-rather-long-title-in-the-path-of-an-article/2026-07-01T10:00:00Z",
            "kg_live_0123456",
            "GET /%20%2F%25zz%",
            "naïve café 🎈",
            "two\nlines",
        ];
        for text in kept {
            check(text, text);
            assert!(matches!(redact(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass_unchanged() {
        let mut out = Vec::new();
        redact_into(&mut out, b"/\xff\x00\xfe/kg_live_0123\xff4567_9ABCDEFGHIJKLMNOPQRSTUV");
        assert_eq!(out, b"/\xff\x00\xfe/[redacted]");
    }

    #[test]
    fn a_cut_text_ends_with_its_last_whole_word() {
        assert_eq!(whole_words(b"/v1/orders/kg_live_0123"), b"/v1/orders/");
        assert_eq!(whole_words(b"kg_live_0123"), b"");
        assert_eq!(whole_words(b"/v1/"), b"/v1/");
    }

    fn slip() -> impl Strategy<Value = (usize, char)> {
        (0_usize..46, prop_oneof![Just('-'), Just('.'), Just('_'), Just('é'), Just('%'), Just('+')])
    }

    proptest! {
        #[test]
        fn no_secret_with_one_wrong_letter_shows(
            body in "[0-9A-Z][0-9A-Za-z]{6}[0-9A-Z][0-9A-Za-z]{14}[0-9A-Z][0-9A-Za-z]{15}",
            (at, wrong) in slip(),
            before in prop::sample::select(vec!["/", "/v1/x?key=", "Bearer ", ""]),
        ) {
            let mut secret: Vec<char> = format!("kg_live_{body}").chars().collect();
            secret[at] = wrong;
            let secret: String = secret.into_iter().collect();
            let shown = redact(&format!("{before}{secret}/tail")).into_owned();
            prop_assert!(shown == format!("{before}[redacted]/tail"), "{secret}: {shown}");
        }

        #[test]
        fn both_forms_agree_and_a_second_pass_changes_nothing(text in "\\PC{0,80}") {
            let once = redact(&text).into_owned();
            let mut bytes = Vec::new();
            redact_into(&mut bytes, text.as_bytes());
            prop_assert!(bytes == once.as_bytes());
            prop_assert!(redact(&once) == once);
        }
    }
}

//! Request heads: found in the buffer, and parsed in place.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::{Field, FieldSlots, SectionError, parse_section};
use super::grammar::{token_length, visible_length};

/// Bounds on the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its final empty line included.
    pub max_head_bytes: usize,
    /// Number of fields.
    pub max_fields: usize,
    /// Bytes of the request target.
    pub max_target_bytes: usize,
}

/// The versions that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A request head, as it stands in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'b, 's> {
    /// The method, a token.
    pub method: &'b [u8],
    /// The target, not yet looked into.
    pub target: &'b [u8],
    /// The version.
    pub version: Version,
    /// The fields, in order.
    pub fields: &'s [Field<'b>],
    /// All of it, as it stands in the buffer, but for an empty line before it.
    pub bytes: &'b [u8],
    /// How many bytes that is, with that line.
    pub length: usize,
}

/// Why a head is refused; after any of these the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the grammar of RFC 9112.
    #[error("the request head is malformed")]
    Malformed,
    /// A version other than 1.0 and 1.1.
    #[error("the version is not served")]
    Version,
    /// More bytes or more fields than allowed.
    #[error("the request head is too large")]
    TooLarge,
    /// The target is longer than allowed.
    #[error("the request target is too long")]
    TargetTooLong,
}

/// The search for the end of a head, which goes on where it stopped when more bytes have come.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    scanned: usize,
}

impl HeadScan {
    /// How many of the first `bytes` [`RequestHead::parse`] has to look at to find a whole head; `None` if more are needed.
    ///
    /// Those are all of the head, its empty line included. Only if `bytes` end with an empty line there may be more behind it:
    /// most heads come whole and alone, and then looking for their end would be looking at every byte once more.
    /// `bytes` must begin with the bytes of the call before.
    ///
    /// # Errors
    /// As soon as what is there cannot become a head within the limits.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        if self.scanned == 0 && bytes.ends_with(b"\r\n\r\n") && bytes.len() <= limits.max_head_bytes {
            return Ok(Some(bytes.len()));
        }
        let lead = leading_empty_line(bytes)?;
        let from = self.scanned.saturating_sub(3).max(lead);
        match find_end(bytes, from) {
            Some(end) if end - lead <= limits.max_head_bytes => return Ok(Some(end)),
            None if bytes.len() - lead <= limits.max_head_bytes => {}
            _ => return Err(too_large(&bytes[lead..], limits)),
        }
        refuse_bare_line_ends(bytes, self.scanned.max(lead))?;
        self.scanned = bytes.len();
        refuse_long_target(&bytes[lead..], limits)?;
        Ok(None)
    }
}

impl<'b, 's> RequestHead<'b, 's> {
    /// Parses the head at the beginning of what [`HeadScan::advance`] gave.
    ///
    /// # Errors
    /// If it is malformed or not whole, of another version, or beyond the limits.
    pub fn parse(bytes: &'b [u8], slots: &'s mut FieldSlots<'b>, limits: &HeadLimits) -> Result<Self, HeadError> {
        let lead = leading_empty_line(bytes)?;
        let head = &bytes[lead..];
        let (method, rest) = word(head, token_length)?;
        let (target, rest) = word(rest, visible_length)?;
        if !target.is_ascii() && str::from_utf8(target).is_err() {
            return Err(HeadError::Malformed);
        }
        let (version, rest) = split_version(rest).ok_or_else(|| classify_version(head))?;
        let rest = rest.strip_prefix(b"\r\n").ok_or(HeadError::Malformed)?;
        let (fields, rest) = parse_section(rest, slots, limits.max_fields)?;
        if target.len() > limits.max_target_bytes {
            return Err(HeadError::TargetTooLong);
        }
        let head = &head[..head.len() - rest.len()];
        Ok(Self { method, target, version, fields, bytes: head, length: lead + head.len() })
    }
}

impl From<SectionError> for HeadError {
    fn from(error: SectionError) -> Self {
        match error {
            SectionError::Malformed => Self::Malformed,
            SectionError::TooMany => Self::TooLarge,
        }
    }
}

/// A word of the request line as long as `length` says, and what stands behind the one space after it.
fn word(bytes: &[u8], length: impl Fn(&[u8]) -> usize) -> Result<(&[u8], &[u8]), HeadError> {
    let (word, rest) = bytes.split_at(length(bytes));
    let rest = rest.strip_prefix(b" ").filter(|_| !word.is_empty()).ok_or(HeadError::Malformed)?;
    Ok((word, rest))
}

/// The version at the beginning, if it is served, and the rest.
pub(super) fn split_version(bytes: &[u8]) -> Option<(Version, &[u8])> {
    match bytes.split_first_chunk()? {
        (b"HTTP/1.1", rest) => Some((Version::Http11, rest)),
        (b"HTTP/1.0", rest) => Some((Version::Http10, rest)),
        _ => None,
    }
}

/// The length of the one empty line that is tolerated before a request line.
fn leading_empty_line(bytes: &[u8]) -> Result<usize, HeadError> {
    match bytes {
        [b'\r', b'\n', b'\r', b'\n', ..] | [b'\n', ..] => Err(HeadError::Malformed),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Ok(0),
    }
}

/// In what has not been looked at yet of an incomplete head: a LF without its CR, a CR with something else behind it.
fn refuse_bare_line_ends(bytes: &[u8], from: usize) -> Result<(), HeadError> {
    let strict = memchr::memchr2_iter(b'\r', b'\n', &bytes[from..]).all(|at| match bytes[from + at] {
        b'\n' => (from + at).checked_sub(1).is_some_and(|before| bytes[before] == b'\r'),
        _ => bytes.get(from + at + 1).is_none_or(|after| *after == b'\n'),
    });
    if strict { Ok(()) } else { Err(HeadError::Malformed) }
}

fn too_large(bytes: &[u8], limits: &HeadLimits) -> HeadError {
    refuse_long_target(bytes, limits).err().unwrap_or(HeadError::TooLarge)
}

/// Refuses a request line that is too long already, before its end has come.
fn refuse_long_target(bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    let Some(target_start) = memchr::memchr(b' ', bytes).map(|at| at + 1) else { return Ok(()) };
    let window = &bytes[target_start..bytes.len().min(target_start + limits.max_target_bytes + 1)];
    let too_long = window.len() > limits.max_target_bytes && !window.iter().any(|b| matches!(b, b' ' | b'\r'));
    if too_long { Err(HeadError::TargetTooLong) } else { Ok(()) }
}

/// `HTTP/2.0` is a version that is not served, `HTTX/1.1` is nothing at all.
fn classify_version(head: &[u8]) -> HeadError {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(_), Some([_, ..]), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::Version
        }
        _ => HeadError::Malformed,
    }
}

/// Where the first head's empty line ends that begins at `from` or later, the end of the line before it included.
///
/// The search is for all but the first byte: no two neighbours of these are in any other line end, so it halts nowhere else.
pub(super) fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += END_OF_HEAD.find(bytes.get(at..)?)? + 1;
        if bytes[at - 2] == b'\r' {
            return Some(at + 2);
        }
    }
}

static END_OF_HEAD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\r\n"));

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { max_head_bytes: 200, max_fields: 3, max_target_bytes: 20 };

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<Option<(String, usize)>, HeadError> {
        let Some(end) = HeadScan::default().advance(bytes, &LIMITS)? else { return Ok(None) };
        let mut slots = FieldSlots::new();
        let head = RequestHead::parse(&bytes[..end], &mut slots, &LIMITS)?;
        let described = format!("{} {} {:?}", text(head.method), text(head.target), head.version);
        Ok(Some((described, head.fields.len())))
    }

    fn check(text: &str, expected: Result<Option<(&str, usize)>, HeadError>) {
        let expected = expected.map(|found| found.map(|(line, fields)| (line.to_owned(), fields)));
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn a_head_is_taken_whole_or_waited_for() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", Ok(Some(("GET / Http11", 1))));
        check("\r\nGET / HTTP/1.0\r\n\r\n", Ok(Some(("GET / Http10", 0))));
        check("GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
        check("\r", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn what_rfc_9112_leaves_open_is_refused() {
        for bad in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nH ost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\u{1}b\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET /\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            " GET / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTX/1.1\r\n\r\n",
            "GET / HTTP/11\r\n\r\n",
        ] {
            check(bad, Err(HeadError::Malformed));
        }
    }

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        for (text, from, expected) in [
            ("", 0, None),
            ("\n\r\n", 0, None),
            ("\r\n\r\n", 0, Some(4)),
            ("\r\n\r\n", 1, None),
            ("\n\r\n\r\n", 0, Some(5)),
            ("a\n\r\nb\r\n\r\n\r\n", 0, Some(9)),
            ("a\r\n\r\n\r\n", 2, Some(7)),
            ("a\r\n\r\n\r\n", 4, None),
        ] {
            assert_eq!(find_end(text.as_bytes(), from), expected, "{text:?} {from}");
        }
    }

    proptest! {
        #[test]
        fn the_end_of_a_head_is_its_first_empty_line_with_the_line_end_before_it(text in "[\r\na]{0,12}", from in 0..14_usize) {
            let rest = text.as_bytes().get(from..).unwrap_or_default();
            let expected = rest.windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
            prop_assert_eq!(find_end(text.as_bytes(), from), expected);
        }
    }

    #[test]
    fn other_versions_are_told_apart_from_nonsense() {
        for other in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"] {
            check(&format!("GET / {other}\r\n\r\n"), Err(HeadError::Version));
        }
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(HeadError::Version));
    }

    #[test]
    fn heads_and_targets_have_a_largest_size() {
        check(
            &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(19)),
            Ok(Some((&format!("GET /{} Http11", "a".repeat(19)), 0))),
        );
        check(&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20)), Err(HeadError::TargetTooLong));
        check(&format!("GET /{}", "a".repeat(20)), Err(HeadError::TargetTooLong));
        check(&format!("GET /{}", "a".repeat(300)), Err(HeadError::TargetTooLong));
        check(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(200)), Err(HeadError::TooLarge));
        check(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(200)), Err(HeadError::TooLarge));
        check("GET / HTTP/1.1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n", Err(HeadError::TooLarge));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_read_like_one_that_comes_whole() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut scan = HeadScan::default();
        for end in 0..text.len() {
            assert_eq!(scan.advance(&text[..end], &LIMITS), Ok(None), "{end}");
        }
        assert_eq!(scan.advance(text, &LIMITS), Ok(Some(text.len())));
    }

    #[test]
    fn of_heads_that_come_together_the_first_is_parsed_and_its_length_told() {
        for (lead, rest) in
            [("", ""), ("\r\n", ""), ("", "GET /b HTTP/1.1\r\n\r\n"), ("\r\n", "5\r\nhello\r\n0\r\n\r\n")]
        {
            let first = format!("{lead}GET /a HTTP/1.1\r\nA: 1\r\n\r\n");
            let bytes = format!("{first}{rest}").into_bytes();
            let most = HeadScan::default().advance(&bytes, &LIMITS).unwrap().unwrap();
            let mut slots = FieldSlots::new();
            let head = RequestHead::parse(&bytes[..most], &mut slots, &LIMITS).unwrap();
            assert_eq!((head.target, head.length), (&b"/a"[..], first.len()));
            assert_eq!(head.bytes, &first.as_bytes()[lead.len()..]);
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_when_it_comes_not_at_the_time_out() {
        let mut scan = HeadScan::default();
        assert_eq!(scan.advance(b"GET / HTTP/1.1", &LIMITS), Ok(None));
        assert_eq!(scan.advance(b"GET / HTTP/1.1\n", &LIMITS), Err(HeadError::Malformed));
    }
}

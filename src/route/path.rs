//! The one normalised form of a path: what is routed and authorised is byte for byte what is forwarded.
//!
//! Whatever two servers could read differently is refused rather than repaired. A path that is normal already is
//! handed back as it is after one scan. Called by `gateway` for every request and by [`super::PathPattern`].

/// How paths are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathOptions {
    /// What becomes of `%2f`.
    pub encoded_slashes: EncodedSlashes,
    /// What becomes of `//`.
    pub empty_segments: EmptySegments,
}

/// What becomes of `%2f` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// The request is refused.
    #[default]
    Reject,
    /// It is forwarded as it is.
    Keep,
}

/// What becomes of an empty segment (`//`) in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptySegments {
    /// The request is refused.
    #[default]
    Reject,
    /// It is left out.
    Merge,
    /// It is forwarded as it is.
    Keep,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("a path begins with a slash")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits after it.
    #[error("a percent sign has two hexadecimal digits after it")]
    BadEscape,
    /// A control byte, raw or percent-encoded, NUL among them.
    #[error("a path holds no control bytes")]
    Control,
    /// A backslash, raw or percent-encoded.
    #[error("a path holds no backslashes")]
    Backslash,
    /// A byte that has to be percent-encoded (or, like `?` and `#`, belongs to another part of the target).
    #[error("a path holds only ASCII letters, digits and signs that need no percent-encoding")]
    Unencoded,
    /// A dot segment (`.` or `..`) written with `%2e`.
    #[error("a dot segment is written with plain dots")]
    EncodedDots,
    /// A dot segment with parameters (`..;x`), or one that touches an encoded slash (`..%2f`).
    #[error("a dot segment stands alone between two slashes")]
    DisguisedDots,
    /// A `..` with nothing left to take away.
    #[error("the path leaves the root")]
    AboveRoot,
    /// An encoded slash, where [`EncodedSlashes::Reject`] is set.
    #[error("a path holds no encoded slashes")]
    EncodedSlash,
    /// An empty segment, where [`EmptySegments::Reject`] is set.
    #[error("a path holds no empty segments")]
    EmptySegment,
}

/// The normalised form of `raw`, which is the path of a request target without its query.
///
/// Plain dot segments are removed, percent-encoded unreserved characters (RFC 3986 section 2.3) are decoded, all other
/// escapes are kept with upper-case digits; nothing is decoded twice. The answer is `raw` itself if that is normal
/// already; else it stands in `scratch`, whose former content is lost and which grows to the length of `raw` at most.
///
/// # Errors
/// What makes the path unsafe to forward; see [`PathError`].
pub fn normalise<'a>(raw: &'a [u8], options: PathOptions, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], PathError> {
    if is_normal(raw, options) {
        return Ok(raw);
    }
    rewrite(raw, options, scratch)?;
    Ok(scratch)
}

/// Whether [`rewrite`] would accept `raw` and give back the same bytes.
fn is_normal(raw: &[u8], options: PathOptions) -> bool {
    if raw.first() != Some(&b'/') {
        return false;
    }
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = match CLASSES[usize::from(*byte)] {
            Class::Plain => after,
            Class::Slash if begins_normal_segment(after, options) => after,
            Class::Escape if begins_normal_escape(after, options) => &after[2..],
            Class::Slash | Class::Escape | Class::Backslash | Class::Control | Class::Unencoded => {
                return false;
            }
        };
    }
    true
}

/// `after` follows a slash.
fn begins_normal_segment(after: &[u8], options: PathOptions) -> bool {
    match after {
        [b'/', ..] => options.empty_segments == EmptySegments::Keep,
        [b'.', ..] => !begins_with_dots(after),
        _ => true,
    }
}

/// `after` follows a percent sign; if this is true, it has at least two bytes.
fn begins_normal_escape(after: &[u8], options: PathOptions) -> bool {
    let Ok(value) = escaped(after, options) else {
        return false;
    };
    let upper = !after[0].is_ascii_lowercase() && !after[1].is_ascii_lowercase();
    let hides_dots = value == b'/' && begins_with_dots(&after[2..]);
    upper && !is_unreserved(value) && !hides_dots
}

/// Writes the normalised form of `raw` to `out`, segment by segment; `out` always holds whole segments, each with its
/// slash in front.
fn rewrite(raw: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    let mut rest = raw.strip_prefix(b"/").ok_or(PathError::NotAbsolute)?;
    loop {
        let end = memchr::memchr(b'/', rest);
        append(&rest[..end.unwrap_or(rest.len())], position(end), options, out)?;
        let Some(end) = end else { return Ok(()) };
        rest = &rest[end + 1..];
    }
}

/// Where a segment stands in its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Inside,
    Last,
}

fn position(next_slash: Option<usize>) -> Position {
    if next_slash.is_some() { Position::Inside } else { Position::Last }
}

fn append(segment: &[u8], position: Position, options: PathOptions, out: &mut Vec<u8>) -> Result<(), PathError> {
    let start = out.len();
    out.push(b'/');
    let dots = decode(segment, options, out)?;
    match (&out[start + 1..], position) {
        (b"", Position::Last) => return Ok(()),
        (b"", Position::Inside) => return empty_segment(start, options, out),
        (b"." | b"..", _) if dots == Dots::Encoded => return Err(PathError::EncodedDots),
        (b".", _) => out.truncate(start),
        (b"..", _) => {
            out.truncate(start);
            let parent = memchr::memrchr(b'/', out).ok_or(PathError::AboveRoot)?;
            out.truncate(parent);
        }
        (ordinary, _) if hides_dots(ordinary) => return Err(PathError::DisguisedDots),
        _ => return Ok(()),
    }
    if position == Position::Last {
        out.push(b'/');
    }
    Ok(())
}

fn empty_segment(start: usize, options: PathOptions, out: &mut Vec<u8>) -> Result<(), PathError> {
    match options.empty_segments {
        EmptySegments::Reject => return Err(PathError::EmptySegment),
        EmptySegments::Merge => out.truncate(start),
        EmptySegments::Keep => {}
    }
    Ok(())
}

/// How the dots of a segment were written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Plain,
    Encoded,
}

/// Appends the normalised bytes of one segment.
fn decode(segment: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<Dots, PathError> {
    let mut dots = Dots::Plain;
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        rest = after;
        match CLASSES[usize::from(*byte)] {
            Class::Plain | Class::Slash => out.push(*byte),
            Class::Backslash => return Err(PathError::Backslash),
            Class::Control => return Err(PathError::Control),
            Class::Unencoded => return Err(PathError::Unencoded),
            Class::Escape => {
                let value = escaped(after, options)?;
                if value == b'.' {
                    dots = Dots::Encoded;
                }
                append_escaped(value, out);
                rest = &after[2..];
            }
        }
    }
    Ok(dots)
}

fn append_escaped(value: u8, out: &mut Vec<u8>) {
    if is_unreserved(value) {
        out.push(value);
    } else {
        out.extend([b'%', HEX[usize::from(value >> 4)], HEX[usize::from(value & 15)]]);
    }
}

/// The value of the escape whose digits `after` begins with, if such a byte may stand in a path at all.
fn escaped(after: &[u8], options: PathOptions) -> Result<u8, PathError> {
    let [high, low, ..] = after else {
        return Err(PathError::BadEscape);
    };
    let value = hex(*high)? << 4 | hex(*low)?;
    match CLASSES[usize::from(value)] {
        Class::Control => Err(PathError::Control),
        Class::Backslash => Err(PathError::Backslash),
        Class::Slash if options.encoded_slashes == EncodedSlashes::Reject => Err(PathError::EncodedSlash),
        Class::Plain | Class::Slash | Class::Escape | Class::Unencoded => Ok(value),
    }
}

fn hex(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::BadEscape),
    }
}

/// Whether a server that cuts parameters off, or decodes encoded slashes, would find a dot segment in `segment`.
fn hides_dots(segment: &[u8]) -> bool {
    begins_with_dots(segment)
        || memchr::memmem::find_iter(segment, b"%2F").any(|at| begins_with_dots(&segment[at + 3..]))
}

/// Whether `rest` begins with `.` or `..` and something that ends a name.
fn begins_with_dots(rest: &[u8]) -> bool {
    let after = rest.strip_prefix(b"..").or_else(|| rest.strip_prefix(b"."));
    matches!(after, Some([] | [b'/' | b';', ..] | [b'%', b'2', b'F' | b'f', ..] | [b'%', b'3', b'B' | b'b', ..]))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a raw byte means in a path.
#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Escape,
    Backslash,
    Control,
    Unencoded,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'/' => Class::Slash,
        b'%' => Class::Escape,
        b'\\' => Class::Backslash,
        0..=0x1f | 0x7f => Class::Control,
        b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'`' | 0x80.. => Class::Unencoded,
        _ => Class::Plain,
    }
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    const STRICT: PathOptions =
        PathOptions { encoded_slashes: EncodedSlashes::Reject, empty_segments: EmptySegments::Reject };
    const MERGE: PathOptions = PathOptions { empty_segments: EmptySegments::Merge, ..STRICT };
    const KEEP: PathOptions =
        PathOptions { encoded_slashes: EncodedSlashes::Keep, empty_segments: EmptySegments::Keep };

    fn normal(raw: &[u8], options: PathOptions) -> Result<Vec<u8>, PathError> {
        normalise(raw, options, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    fn check(raw: &str, options: PathOptions, expected: Result<&str, PathError>) {
        let expected = expected.map(|path| path.as_bytes().to_vec());
        assert_eq!(normal(raw.as_bytes(), options), expected, "{raw:?} under {options:?}");
    }

    #[test]
    fn normal_paths_pass_untouched() {
        for path in [
            "/",
            "/v1/orders",
            "/v1/orders/",
            "/.well-known/x",
            "/...",
            "/..a/.b/c..",
            "/a;b=1/c",
            "/a^{b}|c",
            "/%C3%A4",
            "/%25",
            "/%252e%252e/",
            "/a%3Fb%23c",
            "/!$&'()*+,;=:@[]",
        ] {
            check(path, STRICT, Ok(path));
        }
    }

    #[test]
    fn plain_dot_segments_are_removed() {
        for (raw, expected) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/../b/./../c/", "/c/"),
        ] {
            check(raw, STRICT, Ok(expected));
        }
    }

    #[test]
    fn escapes_are_brought_to_one_form() {
        for (raw, expected) in [
            ("/%7euser", "/~user"),
            ("/%41%62%30%2d%5F", "/Ab0-_"),
            ("/a%2eb", "/a.b"),
            ("/..%2e", "/..."),
            ("/%c3%a4", "/%C3%A4"),
            ("/%3a%2B", "/%3A%2B"),
            ("/%252e", "/%252e"),
        ] {
            check(raw, STRICT, Ok(expected));
        }
    }

    #[test]
    fn paths_that_two_servers_could_read_differently_are_refused() {
        for (raw, cause) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%4/", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%u0041", PathError::BadEscape),
            ("/%00", PathError::Control),
            ("/a%0d%0ab", PathError::Control),
            ("/%1f", PathError::Control),
            ("/%7F", PathError::Control),
            ("/\u{1}", PathError::Control),
            ("/\u{7f}", PathError::Control),
            ("/a\\b", PathError::Backslash),
            ("/a%5cb", PathError::Backslash),
            ("/..%5C..", PathError::Backslash),
            ("/ä", PathError::Unencoded),
            ("/a b", PathError::Unencoded),
            ("/a#b", PathError::Unencoded),
            ("/a?b", PathError::Unencoded),
            ("/<", PathError::Unencoded),
            ("/>", PathError::Unencoded),
            ("/\"", PathError::Unencoded),
            ("/`", PathError::Unencoded),
            ("/%2e", PathError::EncodedDots),
            ("/a/%2E%2e/b", PathError::EncodedDots),
            ("/a/.%2e/b", PathError::EncodedDots),
            ("/a/%2e./b", PathError::EncodedDots),
            ("/a/..;/b", PathError::DisguisedDots),
            ("/a/..;x=1/b", PathError::DisguisedDots),
            ("/a/.;/b", PathError::DisguisedDots),
            ("/a/..%3b/b", PathError::DisguisedDots),
            ("/a/.%3Bx", PathError::DisguisedDots),
            ("/a/%2e%2e;/b", PathError::DisguisedDots),
            ("/..", PathError::AboveRoot),
            ("/../a", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("/./..", PathError::AboveRoot),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%2Fb", PathError::EncodedSlash),
            ("//", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("//a/..", PathError::EmptySegment),
            ("/a/..//b", PathError::EmptySegment),
        ] {
            check(raw, STRICT, Err(cause));
        }
    }

    #[test]
    fn empty_segments_are_merged_where_the_operator_wants_it() {
        for (raw, expected) in
            [("//", "/"), ("/a//b", "/a/b"), ("/a///", "/a/"), ("/a//../b", "/b"), ("/a/..//b", "/b")]
        {
            check(raw, MERGE, Ok(expected));
        }
        check("/a//../../b", MERGE, Err(PathError::AboveRoot));
    }

    #[test]
    fn empty_segments_and_encoded_slashes_are_kept_where_the_operator_wants_it() {
        for (raw, expected) in [
            ("//", "//"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2F%2fb", "/a%2F%2Fb"),
            ("/x%2fy/../z", "/z"),
            ("/a%2F.b", "/a%2F.b"),
        ] {
            check(raw, KEEP, Ok(expected));
        }
    }

    #[test]
    fn an_encoded_slash_never_smuggles_a_dot_segment() {
        for raw in ["/a/..%2fb", "/a%2f..", "/a%2F../b", "/a%2f.%2fb", "/..%2F", "/a%2f%2e%2e%2fb", "/a%2f..;x"] {
            check(raw, KEEP, Err(PathError::DisguisedDots));
        }
    }

    fn options() -> impl Strategy<Value = PathOptions> {
        let slashes = prop_oneof![Just(EncodedSlashes::Reject), Just(EncodedSlashes::Keep)];
        let empties = prop_oneof![Just(EmptySegments::Reject), Just(EmptySegments::Merge), Just(EmptySegments::Keep)];
        (slashes, empties).prop_map(|(encoded_slashes, empty_segments)| PathOptions { encoded_slashes, empty_segments })
    }

    /// Paths out of the pieces that matter, most of them acceptable.
    fn paths() -> impl Strategy<Value = Vec<u8>> {
        let common = prop::sample::select(vec!["/", "/", "/", ".", "..", "a", "B", "%41", "%7e", "%25", "%c3", "%C3"]);
        let rare = prop::sample::select(vec![
            "%2e", "%2E", "%2f", "%2F", "%3b", "%3B", ";", "%5c", "\\", "%", "%4", "%00", "%7f", "?", "é", " ", "//",
        ]);
        prop::collection::vec(prop_oneof![8 => common, 1 => rare], 0..24)
            .prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
    }

    fn check_clean(path: &[u8], options: PathOptions) {
        let text = std::str::from_utf8(path).unwrap();
        assert!(text.starts_with('/') && !text.contains('\\'), "{text}");
        assert!(!text.split('/').any(|segment| matches!(segment, "." | "..")), "{text}");
        assert!(options.empty_segments == EmptySegments::Keep || !text.contains("//"), "{text}");
        for escape in text.split('%').skip(1) {
            let value = u8::from_str_radix(&escape[..2], 16).unwrap();
            assert!(!is_unreserved(value) && !value.is_ascii_control() && value != b'\\', "{text}");
            assert!(value != b'/' || options.encoded_slashes == EncodedSlashes::Keep, "{text}");
            assert_eq!(escape[..2], escape[..2].to_uppercase(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_path_is_clean_and_stays_as_it_is(raw in paths(), options in options()) {
            if let Ok(once) = normal(&raw, options) {
                check_clean(&once, options);
                prop_assert_eq!(normal(&once, options), Ok(once));
            }
        }

        #[test]
        fn the_scan_knows_exactly_what_needs_no_rewriting(raw in paths(), options in options()) {
            let mut out = Vec::new();
            let unchanged = rewrite(&raw, options, &mut out).is_ok() && out == raw;
            prop_assert_eq!(is_normal(&raw, options), unchanged);
        }

        #[test]
        fn a_normal_path_is_handed_back_without_copying(raw in paths(), options in options()) {
            let mut scratch = Vec::new();
            if let Ok(path) = normalise(&raw, options, &mut scratch) && path == raw {
                prop_assert!(std::ptr::eq(path, raw.as_slice()));
            }
        }

        #[test]
        fn any_bytes_are_survived(raw in prop::collection::vec(0_u8.., 0..64), options in options()) {
            if let Ok(path) = normal(&raw, options) {
                check_clean(&path, options);
            }
        }
    }
}

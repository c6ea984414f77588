//! Response heads: parsed as strictly as request heads; the body's length follows from status and method too.

use super::fields::{Field, FieldSlots, MAX_FIELDS, parse_section};
use super::grammar::text_length;
use super::request::{Version, find_end, split_version};

/// A response head, as it stands in the buffer.
#[derive(Debug)]
pub struct ResponseHead<'b, 's> {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, possibly empty; visible ASCII, spaces and tabs. One with other bytes counts as empty.
    pub reason: &'b [u8],
    /// The version.
    pub version: Version,
    /// The fields, in order.
    pub fields: &'s [Field<'b>],
    /// All of it, as it stands in the buffer.
    pub bytes: &'b [u8],
}

/// A response head that is malformed or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response head is malformed")]
pub struct ResponseError;

/// The length of the response head at the beginning of `bytes`; `None` if more bytes are needed. The search begins at `from`.
pub fn find_response_end(bytes: &[u8], from: usize) -> Option<usize> {
    find_end(bytes, from.saturating_sub(3))
}

/// Parses the response head at the beginning of `bytes`.
///
/// # Errors
/// If it is malformed or not whole ([`find_response_end`] tells which), has more than [`super::MAX_FIELDS`] fields, or a
/// version other than 1.0 and 1.1.
pub fn parse_response<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
) -> Result<ResponseHead<'b, 's>, ResponseError> {
    let (version, rest) = split_version(bytes).ok_or(ResponseError)?;
    let (status, rest) = match rest {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => ([a, b, c], rest),
        _ => return Err(ResponseError),
    };
    let status = status.into_iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    // Many servers leave out the space before a reason that is not there.
    let (reason, rest) = match rest {
        [b' ', rest @ ..] => rest.split_at(text_length(rest)),
        _ => rest.split_at(0),
    };
    let rest = rest.strip_prefix(b"\r\n").ok_or(ResponseError)?;
    let (fields, rest) = parse_section(rest, slots, MAX_FIELDS).map_err(|_| ResponseError)?;
    let reason = if reason.is_ascii() { reason } else { b"" };
    Ok(ResponseHead { status, reason, version, fields, bytes: &bytes[..bytes.len() - rest.len()] })
}

impl ResponseHead<'_, '_> {
    /// Whether this is an interim answer, after which another one follows.
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// The standard reason phrase of a status, or an empty one.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(u16, &str, usize)>) {
        let mut slots = FieldSlots::new();
        let end = find_response_end(text.as_bytes(), 0).unwrap_or(text.len());
        let got = parse_response(&text.as_bytes()[..end], &mut slots).ok();
        let got = got.map(|head| (head.status, str::from_utf8(head.reason).unwrap(), head.fields.len()));
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn heads_are_taken_or_refused() {
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Some((200, "OK", 1)));
        check("HTTP/1.0 204\r\n\r\n", Some((204, "", 0)));
        check("HTTP/1.1 200 \r\n\r\n", Some((200, "", 0)));
        check("HTTP/1.1 999 \tso so\r\n\r\n", Some((999, "\tso so", 0)));
        check("HTTP/1.1 200 sch\u{f6}n\r\n\r\n", Some((200, "", 0)));
        for bad in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 O\u{1}K\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            check(bad, None);
        }
    }
}

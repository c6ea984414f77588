//! Response heads: parsed as strictly as request heads; the body's length follows from status and method too.

use super::fields::{Field, FieldSlots};
use super::request::{Version, find_end, refuse_bare_line_feeds};

/// A response head, as it stands in the buffer.
#[derive(Debug)]
pub struct ResponseHead<'b, 's> {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, possibly empty; visible ASCII, spaces and tabs.
    pub reason: &'b str,
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

/// Parses a whole response head, as [`find_response_end`] found it.
///
/// # Errors
/// If it is malformed, has more than [`super::MAX_FIELDS`] fields, or a version other than 1.0 and 1.1.
pub fn parse_response<'b, 's>(
    head: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
) -> Result<ResponseHead<'b, 's>, ResponseError> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, head, &mut slots.0);
    if parsed != Ok(httparse::Status::Complete(head.len())) {
        return Err(ResponseError);
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err(ResponseError) };
    if !(100..=999).contains(&status) {
        return Err(ResponseError);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let fields: &'s [Field<'b>] = response.headers;
    refuse_bare_line_feeds(head, fields).map_err(|_| ResponseError)?;
    Ok(ResponseHead { status, reason: response.reason.unwrap_or_default(), version, fields, bytes: head })
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
        assert_eq!(got.map(|head| (head.status, head.reason, head.fields.len())), expected, "{text:?}");
    }

    #[test]
    fn heads_are_taken_or_refused() {
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Some((200, "OK", 1)));
        check("HTTP/1.0 204\r\n\r\n", Some((204, "", 0)));
        check("HTTP/1.1 200 \r\n\r\n", Some((200, "", 0)));
        for bad in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
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

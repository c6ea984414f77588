//! Framing: from the fields of a head, how long the body is. One reading only; everything else is refused.
//!
//! RFC 9112 section 6.3, without the repairs that it permits.

use super::request::Version;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Exactly so many bytes; 0 is no body.
    Known(u64),
    /// Chunks, up to the last one.
    Chunked,
    /// Everything up to the end of the connection (responses only).
    UntilClose,
}

/// What the fields seen so far say of the body's length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framing {
    content_length: Option<u64>,
    chunked: bool,
}

/// Why the length of a body cannot be told for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not plain digits, or more than 64 bits.
    #[error("Content-Length is not a plain number")]
    BadContentLength,
    /// Given twice, even with the same value.
    #[error("Content-Length is given twice")]
    TwoContentLengths,
    /// Something else than exactly one `chunked`, known but not possible here.
    #[error("Transfer-Encoding is not exactly one chunked")]
    BadTransferEncoding,
    /// A coding that nobody here knows.
    #[error("Transfer-Encoding names an unknown coding")]
    UnknownCoding,
    /// Both fields in one head.
    #[error("Content-Length and Transfer-Encoding in one message")]
    BothLengths,
    /// A transfer coding in an HTTP/1.0 message.
    #[error("Transfer-Encoding in HTTP/1.0")]
    ChunkedInOldVersion,
}

impl Framing {
    /// Takes in a `Content-Length` field.
    ///
    /// # Errors
    /// If the value is not plain digits or the field was there before.
    pub fn content_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.content_length.is_some() {
            return Err(FramingError::TwoContentLengths);
        }
        self.content_length = Some(plain_number(value).ok_or(FramingError::BadContentLength)?);
        Ok(())
    }

    /// Takes in a `Transfer-Encoding` field.
    ///
    /// # Errors
    /// If the value is not `chunked` (any case) or the field was there before.
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(classify_coding(value));
        }
        if self.chunked {
            return Err(FramingError::BadTransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// The given `Content-Length`, if any.
    pub const fn declared(self) -> Option<u64> {
        self.content_length
    }

    /// The length of a request's body.
    ///
    /// # Errors
    /// If both fields were there, or a transfer coding in HTTP/1.0.
    pub const fn of_request(self, version: Version) -> Result<Length, FramingError> {
        match (self.content_length, self.chunked, version) {
            (Some(_), true, _) => Err(FramingError::BothLengths),
            (None, true, Version::Http10) => Err(FramingError::ChunkedInOldVersion),
            (None, true, Version::Http11) => Ok(Length::Chunked),
            (Some(length), false, _) => Ok(Length::Known(length)),
            (None, false, _) => Ok(Length::Known(0)),
        }
    }

    /// The length of a response's body, for a response that can have one.
    ///
    /// # Errors
    /// As for requests.
    pub const fn of_response(self, version: Version) -> Result<Length, FramingError> {
        match (self.content_length, self.chunked) {
            (None, false) => Ok(Length::UntilClose),
            _ => self.of_request(version),
        }
    }
}

/// A value of 1 to 19 digits and nothing else.
fn plain_number(value: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    plain.then(|| value.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0')))
}

/// A list of well-formed codings of which one is not `chunked` is not understood; anything else is malformed.
fn classify_coding(value: &[u8]) -> FramingError {
    let is_token = |word: &[u8]| word.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b));
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let well_formed = codings.clone().all(|coding| !coding.is_empty() && is_token(coding));
    if well_formed && codings.any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        return FramingError::UnknownCoding;
    }
    FramingError::BadTransferEncoding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, &str)], version: Version, expected: Result<Length, FramingError>) {
        let mut framing = Framing::default();
        let result = fields
            .iter()
            .try_for_each(|(name, value)| match *name {
                "cl" => framing.content_length(value.as_bytes()),
                _ => framing.transfer_encoding(value.as_bytes()),
            })
            .and_then(|()| framing.of_request(version));
        assert_eq!(result, expected, "{fields:?}");
    }

    #[test]
    fn one_reading_of_the_length_or_none() {
        use FramingError as E;
        let v11 = Version::Http11;
        check(&[], v11, Ok(Length::Known(0)));
        check(&[("cl", "17")], v11, Ok(Length::Known(17)));
        check(&[("te", "Chunked")], v11, Ok(Length::Chunked));
        for bad in ["", "+1", "-1", "1 2", "1,1", "0x10", "1.0", "99999999999999999999"] {
            check(&[("cl", bad)], v11, Err(E::BadContentLength));
        }
        check(&[("cl", "1"), ("cl", "1")], v11, Err(E::TwoContentLengths));
        check(&[("te", "chunked"), ("te", "chunked")], v11, Err(E::BadTransferEncoding));
        for bad in ["chunked, chunked", "chunked,", ", chunked", "", "\u{b}chunked", "chunked;x"] {
            check(&[("te", bad)], v11, Err(E::BadTransferEncoding));
        }
        check(&[("te", "gzip, chunked")], v11, Err(E::UnknownCoding));
        check(&[("te", "identity")], v11, Err(E::UnknownCoding));
        check(&[("te", "xchunked")], v11, Err(E::UnknownCoding));
        check(&[("te", "gzip")], v11, Err(E::UnknownCoding));
        check(&[("cl", "1"), ("te", "chunked")], v11, Err(E::BothLengths));
        check(&[("te", "chunked")], Version::Http10, Err(E::ChunkedInOldVersion));
    }
}

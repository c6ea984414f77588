//! A body being read: whatever its framing, it comes as pieces of the buffer, and its end is known exactly.

use super::chunked::{ChunkError, Chunked, Step};
use super::framing::Length;

/// The place in a body that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are still to come.
    Known(u64),
    /// In chunks.
    Chunked(Chunked),
    /// Up to the end of the connection.
    UntilClose,
    /// The end of the connection has come.
    Closed,
}

/// What the next bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of framing to be used up.
    Skip(usize),
    /// So many bytes of data.
    Data(usize),
    /// The end, after a trailer section of so many bytes (0: none).
    End(usize),
    /// More bytes must come.
    More,
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It breaks the chunked coding.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    /// The connection ended before it did.
    #[error("the body ended early")]
    Truncated,
}

impl Body {
    /// A body of this length, from its beginning.
    pub const fn new(length: Length) -> Self {
        match length {
            Length::Known(bytes) => Self::Known(bytes),
            Length::Chunked => Self::Chunked(Chunked::new()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    /// Whether all of it has been read.
    pub const fn is_done(&self) -> bool {
        match self {
            Self::Known(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
            Self::Closed => true,
        }
    }

    /// Says what the first bytes of `bytes` are, at most `max_data` of them as data, and moves past them.
    ///
    /// # Errors
    /// If they break the coding.
    pub fn piece(&mut self, bytes: &[u8], max_data: usize) -> Result<Piece, BodyError> {
        let ready = bytes.len().min(max_data);
        match self {
            Self::Known(0) | Self::Closed => Ok(Piece::End(0)),
            _ if bytes.is_empty() && !self.is_done() => Ok(Piece::More),
            Self::Known(left) => {
                let count = usize::try_from(*left).map_or(ready, |left| left.min(ready));
                *left -= count as u64;
                Ok(Piece::Data(count))
            }
            Self::UntilClose => Ok(Piece::Data(ready)),
            Self::Chunked(chunked) => Ok(match chunked.step(bytes, max_data)? {
                Step::Skip(count) => Piece::Skip(count),
                Step::Data(count) => Piece::Data(count),
                // The empty line alone is no trailer section, but it is there to be used up.
                Step::End(count) => Piece::End(count),
                Step::More => Piece::More,
            }),
        }
    }

    /// Takes in that the connection has ended.
    ///
    /// # Errors
    /// If more of the body should have come.
    pub fn closed(&mut self) -> Result<(), BodyError> {
        match self {
            Self::UntilClose => {
                *self = Self::Closed;
                Ok(())
            }
            _ if self.is_done() => Ok(()),
            _ => Err(BodyError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_length_ends_exactly_there() {
        let mut body = Body::new(Length::Known(5));
        assert_eq!(body.piece(b"abc", 100), Ok(Piece::Data(3)));
        assert_eq!(body.piece(b"", 100), Ok(Piece::More));
        assert_eq!(body.piece(b"deGET", 100), Ok(Piece::Data(2)));
        assert!(body.is_done());
        assert_eq!(body.piece(b"GET", 100), Ok(Piece::End(0)));
    }

    #[test]
    fn no_more_data_is_given_than_is_asked_for() {
        let mut body = Body::new(Length::Known(5));
        assert_eq!(body.piece(b"abcde", 2), Ok(Piece::Data(2)));
        let mut body = Body::new(Length::Chunked);
        assert_eq!(body.piece(b"5\r\nabcde", 2), Ok(Piece::Skip(3)));
        assert_eq!(body.piece(b"abcde", 2), Ok(Piece::Data(2)));
        assert_eq!(body.piece(b"cde\r\n", 100), Ok(Piece::Data(3)));
    }

    #[test]
    fn the_end_of_the_connection_ends_only_a_body_without_length() {
        assert_eq!(Body::new(Length::Known(1)).closed(), Err(BodyError::Truncated));
        assert_eq!(Body::new(Length::Chunked).closed(), Err(BodyError::Truncated));
        assert_eq!(Body::new(Length::Known(0)).closed(), Ok(()));
        let mut body = Body::new(Length::UntilClose);
        assert_eq!(body.piece(b"abc", 100), Ok(Piece::Data(3)));
        assert_eq!(body.closed(), Ok(()));
        assert_eq!(body.piece(b"", 100), Ok(Piece::End(0)));
    }
}

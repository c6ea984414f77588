//! The chunked transfer coding (RFC 9112 section 7.1), decoded strictly, one step at a time.
//!
//! The decoder keeps no bytes: it is shown what is in the buffer and says how much of it is framing, data or trailers.

/// The decoder's place in the stream of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or within a chunk's size line.
    Size,
    /// Within a chunk's data, so many bytes before its end.
    Data { left: u64 },
    /// Before the line end after a chunk's data.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// After everything.
    Done,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of framing: use them up and ask again.
    Skip(usize),
    /// So many bytes of data.
    Data(usize),
    /// The end: so many bytes of trailer section, its empty line included.
    End(usize),
    /// Nothing can be told before more bytes have come.
    More,
}

/// A stream that is not chunked as RFC 9112 says, or beyond the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub struct ChunkError;

/// The most bytes of trailer section.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// The longest head of a chunk that [`write_chunk_head`] writes.
pub const MAX_CHUNK_HEAD: usize = 16 + 2;
/// The last chunk without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The most hex digits of a chunk's size.
const MAX_SIZE_DIGITS: usize = 16;
/// The most bytes of extensions in one chunk.
const MAX_EXTENSION_BYTES: usize = 256;

impl Chunked {
    /// A decoder at the beginning of a body.
    pub const fn new() -> Self {
        Self { state: State::Size }
    }

    /// Whether the last chunk and its trailers are behind.
    pub const fn is_done(self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Says what the first bytes of `bytes` are, at most `max_data` of them as data, and moves past them.
    ///
    /// # Errors
    /// If they break the coding; the stream cannot be read any further then.
    pub fn step(&mut self, bytes: &[u8], max_data: usize) -> Result<Step, ChunkError> {
        match self.state {
            State::Size => self.size_line(bytes),
            State::Data { left } => Ok(self.data(left, &bytes[..bytes.len().min(max_data)])),
            State::DataEnd => self.data_end(bytes),
            State::Trailers => self.trailers(bytes),
            State::Done => Ok(Step::End(0)),
        }
    }

    fn size_line(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let digits = bytes.iter().take(MAX_SIZE_DIGITS + 1).take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > MAX_SIZE_DIGITS || (digits == 0 && !bytes.is_empty()) {
            return Err(ChunkError);
        }
        let Some(line_end) = line_end(&bytes[digits..], MAX_EXTENSION_BYTES)? else { return Ok(Step::More) };
        if line_end > 0 && bytes[digits] != b';' {
            return Err(ChunkError);
        }
        let size = bytes[..digits].iter().fold(0, |size: u64, digit| size << 4 | hex_value(*digit));
        self.state = if size == 0 { State::Trailers } else { State::Data { left: size } };
        Ok(Step::Skip(digits + line_end + 2))
    }

    fn data(&mut self, left: u64, bytes: &[u8]) -> Step {
        if bytes.is_empty() {
            return Step::More;
        }
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - count as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
        Step::Data(count)
    }

    fn data_end(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        match bytes {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(Step::Skip(2))
            }
            [] | [b'\r'] => Ok(Step::More),
            _ => Err(ChunkError),
        }
    }

    /// The whole section must be in the buffer at once, so that it can be forwarded as a whole.
    fn trailers(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let mut used = 0;
        while let Some(length) = line_end(&bytes[used..], MAX_TRAILER_BYTES)? {
            used += length + 2;
            if used > MAX_TRAILER_BYTES {
                return Err(ChunkError);
            }
            if length == 0 {
                self.state = State::Done;
                return Ok(Step::End(used));
            }
        }
        if bytes.len() > MAX_TRAILER_BYTES { Err(ChunkError) } else { Ok(Step::More) }
    }
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the head of a chunk of `size` bytes, `size` above 0, into `into`; how long it is.
pub fn write_chunk_head(size: usize, into: &mut [u8; MAX_CHUNK_HEAD]) -> usize {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4) as usize;
    for (at, slot) in into[..digits].iter_mut().enumerate() {
        *slot = b"0123456789abcdef"[size >> (4 * (digits - 1 - at)) & 0xf];
    }
    into[digits..digits + 2].copy_from_slice(b"\r\n");
    digits + 2
}

/// Where the line at the beginning of `bytes` ends, its CRLF not counted; `None` if its end has not come yet.
fn line_end(bytes: &[u8], max_bytes: usize) -> Result<Option<usize>, ChunkError> {
    let window = &bytes[..bytes.len().min(max_bytes + 2)];
    let stop = window.iter().position(|b| matches!(b, 0..=8 | 10..=31 | 127));
    match stop.map(|at| (at, &window[at..])) {
        Some((at, [b'\r', b'\n', ..])) => Ok(Some(at)),
        Some((_, [b'\r'])) if window.len() < max_bytes + 2 => Ok(None),
        None if window.len() < max_bytes + 2 => Ok(None),
        _ => Err(ChunkError),
    }
}

fn hex_value(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `stream`, handed over in pieces that end at each of `cuts`; the data and what is left behind the end.
    fn decode(stream: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, Vec<u8>)>, ChunkError> {
        let mut decoder = Chunked::new();
        let (mut data, mut used) = (Vec::new(), 0);
        for end in cuts.iter().copied().chain([stream.len()]) {
            loop {
                let bytes = &stream[used..end.max(used)];
                match decoder.step(bytes, usize::MAX)? {
                    Step::Skip(count) => used += count,
                    Step::Data(count) => {
                        data.extend_from_slice(&bytes[..count]);
                        used += count;
                    }
                    Step::End(count) => return Ok(Some((data, stream[used + count..].to_vec()))),
                    Step::More => break,
                }
            }
        }
        Ok(None)
    }

    fn check(stream: &str, expected: Result<Option<(&str, &str)>, ChunkError>) {
        let expected = expected.map(|end| end.map(|(data, rest)| (data.as_bytes().to_vec(), rest.as_bytes().to_vec())));
        let byte_by_byte: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(decode(stream.as_bytes(), &[]), expected, "{stream:?}");
        assert_eq!(decode(stream.as_bytes(), &byte_by_byte), expected, "{stream:?}, byte by byte");
    }

    #[test]
    fn chunks_are_joined_and_the_rest_is_left() {
        check("5\r\nhello\r\n0\r\n\r\nGET", Ok(Some(("hello", "GET"))));
        check("1;a=b\r\nx\r\n1\r\ny\r\n000\r\nA: b\r\n\r\n", Ok(Some(("xy", ""))));
        check("A\r\n0123456789\r\n0\r\n\r\n", Ok(Some(("0123456789", ""))));
        check("5\r\nhel", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn what_is_not_chunked_as_it_should_be_is_refused() {
        for bad in [
            "\r\n",
            "g\r\n",
            " 5\r\nhello",
            "5 \r\nhello",
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            "5\nhello",
            "5\rhello",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0",
            "12345678901234567\r\n",
            "5;\n\r\nhello",
            "0\r\nA: b\n\r\n",
            "0\r\nA\0: b\r\n\r\n",
            "0\r\n\n",
        ] {
            check(bad, Err(ChunkError));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        check(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(255)), Ok(Some(("x", ""))));
        check(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(256)), Err(ChunkError));
        assert_eq!(decode(format!("1;{}", "e".repeat(300)).as_bytes(), &[]), Err(ChunkError));
        assert_eq!(decode(format!("0\r\nA: {}\r\n\r\n", "e".repeat(9000)).as_bytes(), &[]), Err(ChunkError));
        assert_eq!(decode(format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000)).as_bytes(), &[]), Err(ChunkError));
    }

    #[test]
    fn chunk_heads_are_hex_without_leading_zeros() {
        for (size, expected) in
            [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65_536, "10000\r\n"), (usize::MAX, "ffffffffffffffff\r\n")]
        {
            let mut head = [0; MAX_CHUNK_HEAD];
            let length = write_chunk_head(size, &mut head);
            assert_eq!(&head[..length], expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_comes_out_again_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            mut cuts in prop::collection::vec(0_usize..3000, 0..20),
        ) {
            let mut stream = Vec::new();
            for chunk in &chunks {
                let mut head = [0; MAX_CHUNK_HEAD];
                let length = write_chunk_head(chunk.len(), &mut head);
                stream.extend_from_slice(&head[..length]);
                stream.extend_from_slice(chunk);
                stream.extend_from_slice(b"\r\n");
            }
            stream.extend_from_slice(LAST_CHUNK);
            cuts.retain(|cut| *cut < stream.len());
            cuts.sort_unstable();
            prop_assert_eq!(decode(&stream, &cuts), Ok(Some((chunks.concat(), Vec::new()))));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic_or_use_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Chunked::new();
            let mut used = 0;
            while let Ok(step) = decoder.step(&bytes[used..], usize::MAX) {
                match step {
                    Step::Skip(count) | Step::Data(count) => used += count,
                    Step::End(_) | Step::More => break,
                }
                prop_assert!(used <= bytes.len());
            }
        }
    }
}

//! A socket that is read as HTTP/1.1, strictly; the reading half of both clients and upstreams.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::message::{Framing, Head, parse_field};
use super::wait::DEADLINE;

/// A connected socket and what was read from it and not yet used.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer closed before the first byte of the message.
    Closed,
    /// The peer closed or reset in the middle.
    Cut,
    /// Nothing came for [`DEADLINE`].
    Silent,
    /// It is not HTTP/1.1 as the RFC has it.
    Malformed(String),
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]);

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, buffer: vec![0; 64 * 1024], start: 0, end: 0 }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes everything; false if the peer is gone or takes nothing for [`DEADLINE`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Whether everything that was written has been read by the peer, or is read within [`STALLED`].
    pub(crate) fn is_drained(&self) -> bool {
        let (here, there) = (self.stream.local_addr().unwrap(), self.stream.peer_addr().unwrap());
        let end = Instant::now() + STALLED;
        while unread(there, here) > 0 {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Writes one byte at a time, each in a segment of its own, with a pause so that the peer sees them apart.
    pub(crate) fn write_byte_by_byte(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| {
            std::thread::sleep(Duration::from_micros(300));
            self.write(&[*byte])
        })
    }

    /// Reads a head. `Closed` if the peer closed before its first byte.
    pub(crate) fn read_head(&mut self) -> Result<Head, Broken> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = find(&unread[searched..], b"\r\n\r\n") {
                let head = Head::parse(&unread[..searched + at + 4]).map_err(Broken::Malformed)?;
                self.start += head.raw.len();
                return Ok(head);
            }
            searched = unread.len().saturating_sub(3);
            match self.fill() {
                Err(Broken::Cut) if self.start == self.end => return Err(Broken::Closed),
                other => other?,
            }
        }
    }

    /// Reads a body to its end, whatever its framing; returns the trailer fields.
    pub(crate) fn read_body(&mut self, framing: Framing, sink: Sink<'_>) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => self.read_length(length, sink)?,
            Framing::Chunked => return self.read_chunked(sink),
            Framing::UntilClose => self.read_until_close(sink)?,
        }
        Ok(Vec::new())
    }

    /// Waits for the peer to close or reset; false if it sends something, or stays silent for [`DEADLINE`].
    pub(crate) fn wait_closed(&mut self) -> bool {
        self.start == self.end && self.fill() == Err(Broken::Cut)
    }

    /// Reads `length` bytes, unless the message is broken before.
    pub(crate) fn read_length(&mut self, mut length: u64, sink: Sink<'_>) -> Result<(), Broken> {
        while length > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let here = (self.end - self.start).min(usize::try_from(length).unwrap_or(usize::MAX));
            sink(&self.buffer[self.start..self.start + here]);
            self.start += here;
            length -= here as u64;
        }
        Ok(())
    }

    /// One chunk: its size line, its data, its CRLF. Returns its size; of the last chunk only the size line is read.
    pub(crate) fn read_chunk(&mut self, sink: Sink<'_>) -> Result<u64, Broken> {
        let line = self.read_line()?;
        let digits = line.split(';').next().unwrap_or_default();
        let bad = || Broken::Malformed(format!("bad chunk size line {line:?}"));
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let size = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
        if size > 0 {
            self.read_length(size, sink)?;
            let rest = self.read_line()?;
            if !rest.is_empty() {
                return Err(Broken::Malformed(format!("{rest:?} after the data of a chunk")));
            }
        }
        Ok(size)
    }

    /// The peer reads the end of what we send, while we go on reading.
    pub(crate) fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn read_chunked(&mut self, sink: Sink<'_>) -> Result<Vec<(String, String)>, Broken> {
        while self.read_chunk(sink)? > 0 {}
        let mut trailers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(parse_field(&line).map_err(Broken::Malformed)?);
        }
    }

    fn read_until_close(&mut self, sink: Sink<'_>) -> Result<(), Broken> {
        loop {
            sink(&self.buffer[self.start..self.end]);
            self.start = self.end;
            match self.fill_or_end() {
                Ok(0) => return Ok(()),
                other => other?,
            };
        }
    }

    fn read_line(&mut self) -> Result<String, Broken> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = unread.iter().position(|&byte| byte == b'\n') {
                let line = super::message::latin1(&unread[..=at]);
                self.start += at + 1;
                let bare = || Broken::Malformed(format!("bare LF in {line:?}"));
                return line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(bare);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Broken> {
        match self.fill_or_end()? {
            0 => Err(Broken::Cut),
            _ => Ok(()),
        }
    }

    fn fill_or_end(&mut self) -> Result<usize, Broken> {
        self.make_room();
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Broken::Silent);
                }
                Err(_) => return Err(Broken::Cut),
            }
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Bytes that have arrived at the socket `there`, connected to `here`, and were not read yet; or are on their way to it.
fn unread(there: SocketAddr, here: SocketAddr) -> usize {
    let address = |of: SocketAddr| match of.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from(ip).swap_bytes(), of.port()),
        IpAddr::V6(_) => panic!("tests are on IPv4"),
    };
    let queues = |local: &str, remote: &str| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut of_socket = fields.filter(|fields| fields.get(1..3) == Some(&[local, remote]));
        let (sending, receiving) = of_socket.next().and_then(|fields| fields[4].split_once(':')).unwrap_or(("0", "0"));
        [sending, receiving].map(|bytes| usize::from_str_radix(bytes, 16).unwrap())
    };
    let (here, there) = (address(here), address(there));
    queues(&here, &there)[0] + queues(&there, &here)[1]
}

/// A peer that reads nothing for so long has stopped reading.
const STALLED: Duration = Duration::from_millis(300);

//! A client that sends exactly the bytes it is told and reads answers strictly.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::message::{Framing, Head};
use super::wire::{Broken, Wire};

/// One connection to a gateway.
pub(crate) struct Client {
    wire: Wire,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The interim answers (1xx) that came before.
    pub(crate) interim: Vec<Head>,
    /// How the end of the body was told: what tells a kept connection from one that ends.
    pub(crate) framing: Framing,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).expect("the gateway accepts a connection")) }
    }

    /// Sends bytes. A peer that is gone is no error here: what it answered is what tests look at.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.write(bytes.as_ref());
        self
    }

    /// Sends one byte per segment.
    pub(crate) fn send_byte_by_byte(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.write_byte_by_byte(bytes.as_ref());
        self
    }

    /// Sends bytes; false if the peer has closed the connection or takes nothing.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write(bytes)
    }

    /// Sends `piece` again and again until the gateway reads no more; the number of bytes sent.
    pub(crate) fn send_until_full(&mut self, piece: &[u8]) -> usize {
        let mut sent = 0;
        while self.wire.is_drained() {
            assert!(self.wire.write(piece), "the gateway is there");
            sent += piece.len();
        }
        sent
    }

    /// Waits until the gateway has read what was sent, or reads no more.
    pub(crate) fn wait_read_or_full(&self) {
        self.wire.is_drained();
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let method = if request.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        match self.send(request).try_response(method) {
            Ok(response) => response,
            Err(broken) => panic!("no whole answer: {broken:?}"),
        }
    }

    /// Reads the answer to a request other than HEAD.
    #[track_caller]
    pub(crate) fn read_response(&mut self) -> Response {
        match self.try_response("GET") {
            Ok(response) => response,
            Err(broken) => panic!("no whole answer: {broken:?}"),
        }
    }

    /// Reads the answer to a request with `method`; the error tells how it is broken.
    pub(crate) fn try_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = self.wire.read_head()?;
            match head.status().map_err(Broken::Malformed)? {
                100..=199 => interim.push(head),
                status => break (status, head),
            }
        };
        let framing = head.response_framing(method).map_err(Broken::Malformed)?;
        let mut body = Vec::new();
        let trailers = self.wire.read_body(framing, &mut |bytes| body.extend_from_slice(bytes))?;
        Ok(Response { status, head, body, trailers, interim, framing })
    }

    /// Reads one head, interim or final, and no body.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> Head {
        match self.wire.read_head() {
            Ok(head) => head,
            Err(broken) => panic!("no head: {broken:?}"),
        }
    }

    /// Reads the body that belongs to `head` into `sink`; the error tells how it is broken.
    pub(crate) fn read_body(&mut self, head: &Head, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        let framing = head.response_framing("GET").map_err(Broken::Malformed)?;
        self.wire.read_body(framing, sink).map(drop)
    }

    /// Reads body bytes of a stream up to `length`, through its chunks if it is chunked.
    #[track_caller]
    pub(crate) fn read_streamed(&mut self, head: &Head, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let missing = (length - bytes.len()) as u64;
            let read = match head.response_framing("GET") {
                Ok(Framing::Chunked) => self.wire.read_chunk(&mut |part| bytes.extend_from_slice(part)).map(drop),
                _ => self.wire.read_length(missing, &mut |part| bytes.extend_from_slice(part)),
            };
            read.expect("the stream goes on");
        }
        bytes
    }

    /// Waits for the gateway to close; false if it sends something instead, or does nothing for the deadline.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.wire.wait_closed()
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) fn finish_writing(&mut self) {
        self.wire.finish_writing();
    }

    /// Leaves in order.
    pub(crate) fn leave(self) {
        drop(self);
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

impl Response {
    /// The value of a field that must not be there twice.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.head.value(name)
    }

    pub(crate) fn text(&self) -> String {
        super::latin1(&self.body)
    }

    /// Whether the gateway says that it will close.
    pub(crate) fn says_close(&self) -> bool {
        let close = |value: &&str| value.eq_ignore_ascii_case("close");
        self.head.values("connection").iter().any(close) || self.framing == Framing::UntilClose
    }

    /// The body as a problem of the gateway's own.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.value("content-type"), Some("application/problem+json"), "{}", self.text());
        serde_json::from_slice(&self.body).expect("a problem is JSON")
    }

    /// The `code` of the problem.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.problem()["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// Panics unless the status is `status`, showing the answer.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}{}", super::latin1(&self.head.raw), self.text());
        self
    }

    /// Panics unless status and code of the problem are these, showing the answer.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let response = self.expect(status);
        assert_eq!(response.code(), code);
        response
    }
}

//! Scripted upstreams: each accepted connection gets a thread that runs the test's script, which may lie in any way it likes.
//!
//! What the gateway sends is read strictly; anything malformed fails the test when its [`Upstream`] goes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::message::{Framing, Head};
use super::wire::{Broken, Wire};

/// A backend under a test's control.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One connection from the gateway, as a script sees it.
pub(crate) struct Connection {
    wire: Wire,
    /// 0 for the first connection that was accepted, and so on.
    pub(crate) number: usize,
    shared: Arc<Shared>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// What a step of a script gives: `None` when the gateway is gone, which ends the script.
pub(crate) type Step<T = ()> = Option<T>;

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<Head>>,
    requests: Mutex<Vec<Request>>,
    malformed: Mutex<Vec<String>>,
    accepted: AtomicUsize,
    ended: AtomicUsize,
    stopped: AtomicBool,
}

impl Upstream {
    /// Runs `script` for each connection, in a thread of its own; the connection closes when the script ends.
    pub(crate) fn start(script: impl Fn(&mut Connection) -> Step + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// The same on a listener of the test's own.
    pub(crate) fn on(listener: TcpListener, script: impl Fn(&mut Connection) -> Step + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (accepting, script) = (Arc::clone(&shared), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, script) = (Arc::clone(&accepting), Arc::clone(&script));
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || Connection::run(stream, number, shared, &*script));
            }
        });
        Self { address, shared }
    }

    /// The same on connections that take little before the script reads it.
    pub(crate) fn with_little_room(script: impl Fn(&mut Connection) -> Step + Send + Sync + 'static) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_recv_buffer_size(4096).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(128).unwrap();
        Self::on(listener.into(), script)
    }

    /// Answers every request with 200 and, as the body, the head that it saw.
    pub(crate) fn echo() -> Self {
        Self::start(|connection| {
            loop {
                let request = connection.request()?;
                connection.answer(&request, &request.head.raw)?;
            }
        })
    }

    /// Answers every request with 200 and the request's own body, framed as the request's was.
    pub(crate) fn mirror() -> Self {
        Self::start(|connection| {
            loop {
                let request = connection.request()?;
                match request.head.request_framing() {
                    Ok(Framing::Chunked) => connection.answer_chunked(&request.body)?,
                    _ => connection.answer(&request, &request.body)?,
                }
            }
        })
    }

    /// Answers every request with exactly these bytes, and keeps the connection.
    pub(crate) fn fixed(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |connection| {
            loop {
                connection.request()?;
                connection.write(&response)?;
            }
        })
    }

    /// Answers one request with exactly these bytes and closes; with no bytes, closes without an answer.
    pub(crate) fn closing(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |connection| {
            connection.request()?;
            connection.write(&response)
        })
    }

    /// Answers every request with exactly these bytes, one byte per segment.
    pub(crate) fn in_pieces(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |connection| {
            loop {
                connection.request()?;
                connection.write_byte_by_byte(&response)?;
            }
        })
    }

    /// Sends exactly these bytes after a request head, then nothing more until the gateway leaves.
    pub(crate) fn hanging(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |connection| {
            connection.head()?;
            connection.write(&response)?;
            connection.wait_closed()
        })
    }

    /// Resets the connection when a request has come.
    pub(crate) fn reset() -> Self {
        Self::start(|connection| {
            connection.request()?;
            connection.reset_at_end();
            None
        })
    }

    /// An endless answer of server-sent events, until the gateway leaves.
    pub(crate) fn events() -> Self {
        Self::start(|connection| {
            connection.request()?;
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")?;
            connection.write(b"data: first\n\n")?;
            connection.wait_closed()
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that arrived whole.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The heads that arrived, whether their bodies did or not.
    pub(crate) fn heads(&self) -> Vec<Head> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The last request that arrived whole.
    #[track_caller]
    pub(crate) fn last(&self) -> Request {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// How many connections came, ever.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are there now.
    pub(crate) fn open_connections(&self) -> usize {
        self.connections() - self.shared.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let malformed = self.shared.malformed.lock().unwrap();
        if !thread::panicking() {
            assert!(malformed.is_empty(), "the gateway sent malformed requests: {malformed:?}");
        }
    }
}

impl Connection {
    fn run(stream: TcpStream, number: usize, shared: Arc<Shared>, script: &(impl Fn(&mut Self) -> Step + ?Sized)) {
        let mut connection = Self { wire: Wire::new(stream), number, shared };
        script(&mut connection);
        let shared = Arc::clone(&connection.shared);
        drop(connection);
        shared.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Reads a request head.
    pub(crate) fn head(&mut self) -> Step<Head> {
        let head = self.wire.read_head();
        let head = self.note(head)?;
        let checked = head.request_line().map(drop).map_err(Broken::Malformed);
        self.note(checked)?;
        self.shared.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// Reads the body that belongs to a head, into `sink`.
    pub(crate) fn body(&mut self, head: &Head, sink: &mut dyn FnMut(&[u8])) -> Step<Vec<(String, String)>> {
        let framing = head.request_framing().map_err(Broken::Malformed);
        let framing = self.note(framing)?;
        let trailers = self.wire.read_body(framing, sink);
        self.note(trailers)
    }

    /// Reads a whole request.
    pub(crate) fn request(&mut self) -> Step<Request> {
        let head = self.head()?;
        let mut body = Vec::new();
        let trailers = self.body(&head, &mut |bytes| body.extend_from_slice(bytes))?;
        let request = Request { head, body, trailers };
        self.shared.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Step {
        self.wire.write(bytes).then_some(())
    }

    pub(crate) fn write_byte_by_byte(&mut self, bytes: &[u8]) -> Step {
        self.wire.write_byte_by_byte(bytes).then_some(())
    }

    /// How long a write may wait for the gateway to take it.
    pub(crate) fn write_timeout(&mut self, timeout: Duration) {
        self.wire.stream().set_write_timeout(Some(timeout)).unwrap();
    }

    /// Answers 200 with a length and a body, which HEAD does not get.
    pub(crate) fn answer(&mut self, request: &Request, body: &[u8]) -> Step {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        if request.method() != "HEAD" {
            answer.extend_from_slice(body);
        }
        self.write(&answer)
    }

    /// Answers 200 with a body in chunks of at most 1000 bytes.
    pub(crate) fn answer_chunked(&mut self, body: &[u8]) -> Step {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(1000) {
            answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            answer.extend_from_slice(part);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        self.write(&answer)
    }

    /// Waits until the gateway closes; always ends the script.
    pub(crate) fn wait_closed(&mut self) -> Step {
        while !self.wire.wait_closed() {
            let left = self.wire.read_length(1, &mut |_| {});
            if left == Err(Broken::Cut) || self.shared.stopped.load(Ordering::SeqCst) {
                break;
            }
        }
        None
    }

    /// The connection ends with a reset when the script ends.
    pub(crate) fn reset_at_end(&mut self) {
        SockRef::from(self.wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn note<T>(&self, read: Result<T, Broken>) -> Step<T> {
        match read {
            Ok(value) => Some(value),
            Err(Broken::Malformed(why)) => {
                self.shared.malformed.lock().unwrap().push(why);
                None
            }
            Err(Broken::Closed | Broken::Cut | Broken::Silent) => None,
        }
    }
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.request_line().map_or("", |(method, _)| method)
    }

    pub(crate) fn target(&self) -> &str {
        self.head.request_line().map_or("", |(_, target)| target)
    }

    /// The value of a field that must not be there twice.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.head.value(name)
    }
}

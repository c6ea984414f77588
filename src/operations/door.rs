//! Keeps slow and greedy clients of the operations and admin listeners from piling up.
//!
//! A listener for axum, which bounds neither connections nor time nor request size by itself: [`Door`] lets a fixed
//! number of connections in, and when there is no place left, of those whose request has not come yet the one that has waited
//! longest gives way; [`Visit`] fails once a head, or a request and its answer with the pause after it, take too long, or when
//! the client sends more than a request needs.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep};

use crate::telemetry::log;

/// A listener with bounds.
pub(crate) struct Door {
    listener: TcpListener,
    bounds: Bounds,
    places: Arc<Semaphore>,
    line: Arc<Line>,
}

/// How much clients of a listener may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// What the log calls the listener.
    pub(crate) listener: &'static str,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Bytes of one request, head and body.
    pub(crate) request_bytes: usize,
    /// From the first byte of a request's head to its last.
    pub(crate) head: Duration,
    /// From the first byte of a request to the last of its answer, and on to the next request.
    pub(crate) exchange: Duration,
}

/// One connection, for as long as it behaves.
pub(crate) struct Visit {
    stream: TcpStream,
    bounds: Bounds,
    deadline: Pin<Box<Sleep>>,
    /// When the exchange has to be over.
    end: Instant,
    /// Bytes read since the last that was written.
    unanswered: usize,
    answering: bool,
    head: Head,
    line: Arc<Line>,
    /// None while there is a request to be answered.
    waiting: Option<Waiting>,
    _place: OwnedSemaphorePermit,
}

/// How much of a request's head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Nothing,
    /// So much of the empty line at its end: nothing, the end of the line before, a CR after that.
    Some(u8),
    Whole,
}

/// The connections whose request has not come yet, in the order in which they began to wait.
#[derive(Default)]
struct Line {
    waiting: Mutex<Numbered>,
    joined: Notify,
}

#[derive(Default)]
struct Numbered {
    next: u64,
    dismiss: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place in the line; given back when it is dropped.
struct Waiting {
    number: u64,
    dismissed: oneshot::Receiver<()>,
    line: Arc<Line>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, bounds: Bounds) -> Self {
        Self { listener, bounds, places: Arc::new(Semaphore::new(bounds.connections)), line: Arc::default() }
    }

    /// A place for one more. One is kept free as long as somebody can give way.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            let place = Arc::clone(&self.places).try_acquire_owned();
            if let Ok(place) = place {
                return place;
            }
            let freed = Arc::clone(&self.places).acquire_owned();
            if self.line.dismiss_first() {
                return freed.await.expect("the semaphore is never closed");
            }
            tokio::select! {
                place = freed => return place.expect("the semaphore is never closed"),
                () = self.line.joined.notified() => {}
            }
        }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        let place = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Visit::new(stream, self.bounds, &self.line, place), address),
                Err(error) => {
                    let listener = self.bounds.listener;
                    log::warn("a listener cannot accept", &[("listener", &listener), ("error", &error)]);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Visit {
    fn new(stream: TcpStream, bounds: Bounds, line: &Arc<Line>, place: OwnedSemaphorePermit) -> Self {
        // Costs a delay at worst.
        let _ = stream.set_nodelay(true);
        let deadline = Box::pin(sleep(bounds.exchange));
        Self {
            stream,
            bounds,
            end: deadline.deadline(),
            deadline,
            unanswered: 0,
            answering: false,
            head: Head::Nothing,
            line: Arc::clone(line),
            waiting: Some(Line::join(line)),
            _place: place,
        }
    }

    /// Fails if another connection needs the place.
    fn may_wait(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let dismissed = self.waiting.as_mut().map(|waiting| Pin::new(&mut waiting.dismissed).poll(context));
        if matches!(dismissed, Some(Poll::Ready(_))) {
            self.waiting = None;
            self.deadline.as_mut().reset(Instant::now());
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// The first bytes after an answer begin a new exchange.
    fn was_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.answering) {
            self.unanswered = 0;
            self.head = Head::Nothing;
            self.end = Instant::now() + self.bounds.exchange;
        }
        self.unanswered += bytes.len();
        if self.unanswered > self.bounds.request_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.head == Head::Nothing {
            self.deadline.as_mut().reset(self.end.min(Instant::now() + self.bounds.head));
        }
        if self.head != Head::Whole {
            self.head = self.head.after(bytes);
            if self.head == Head::Whole {
                self.waiting = None;
                self.deadline.as_mut().reset(self.end);
            }
        }
        Ok(())
    }

    /// What has been written is an answer, unless it asks for the body.
    fn was_written(&mut self, bytes: &[u8]) {
        self.answering |= bytes != CONTINUE;
    }

    /// An answer has gone out: who is next may come.
    fn was_flushed(&mut self) {
        if self.answering && self.waiting.is_none() {
            self.waiting = Some(Line::join(&self.line));
        }
    }
}

impl Head {
    /// An end of line is an LF, with or without a CR before it: what the server takes for the end of a head.
    fn after(self, bytes: &[u8]) -> Self {
        let mut seen = match self {
            Self::Whole => return self,
            Self::Nothing => 0,
            Self::Some(seen) => seen,
        };
        for byte in bytes {
            seen = match (byte, seen) {
                (b'\n', 1 | 2) => return Self::Whole,
                (b'\n', _) => 1,
                (b'\r', 1) => 2,
                _ => 0,
            };
        }
        Self::Some(seen)
    }
}

impl Line {
    fn join(line: &Arc<Self>) -> Waiting {
        let (dismiss, dismissed) = oneshot::channel();
        let mut waiting = line.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.dismiss.insert(number, dismiss);
        line.joined.notify_one();
        Waiting { number, dismissed, line: Arc::clone(line) }
    }

    /// Has the first in the line give way; whether there is one.
    fn dismiss_first(&self) -> bool {
        let mut waiting = self.waiting();
        let mut firsts = std::iter::from_fn(|| waiting.dismiss.pop_first());
        firsts.any(|(_, dismiss)| dismiss.send(()).is_ok())
    }

    fn waiting(&self) -> MutexGuard<'_, Numbered> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.line.waiting().dismiss.remove(&self.number);
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        self.may_wait(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.was_read(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        self.was_written(bytes);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.was_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        match slices.iter().filter(|slice| !slice.is_empty()).collect::<Vec<_>>().as_slice() {
            [only] => self.was_written(only),
            _ => self.answering = true,
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// What a client that waits to be asked for the body of its request gets to hear.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        listener: "test",
        connections: 2,
        request_bytes: 16 * 1024,
        head: Duration::from_secs(5),
        exchange: Duration::from_secs(30),
    };

    fn with_door<F: Future<Output = ()>>(test: impl FnOnce(Door, TcpStream) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let door = Door::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), BOUNDS);
            let client = TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
            test(door, client).await;
        });
    }

    fn with_visit<F: Future<Output = ()>>(test: impl FnOnce(Visit, TcpStream) -> F) {
        with_door(async |mut door, client| {
            let (visit, _) = door.accept().await;
            test(visit, client).await;
        });
    }

    #[test]
    fn an_exchange_beyond_its_deadline_fails_on_both_sides() {
        with_visit(async |mut visit, _client| {
            visit.deadline.as_mut().reset(Instant::now());
            assert_eq!(visit.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(visit.write(&[0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn only_a_request_after_an_answer_moves_the_deadline() {
        with_visit(async |mut visit, mut client| {
            let first = visit.deadline.deadline();
            client.write_all(b"a\n\n").await.unwrap();
            visit.read_exact(&mut [0; 3]).await.unwrap();
            visit.write_all(b"answer").await.unwrap();
            assert_eq!(visit.deadline.deadline(), first);
            client.write_all(b"c").await.unwrap();
            visit.read_exact(&mut [0]).await.unwrap();
            assert!(visit.end > first && visit.deadline.deadline() < visit.end);
            assert_eq!(visit.unanswered, 1);
        });
    }

    #[test]
    fn a_head_has_a_deadline_of_its_own_until_it_is_whole() {
        with_visit(async |mut visit, mut client| {
            client.write_all(b"GET / HTTP/1.1\r").await.unwrap();
            visit.read_exact(&mut [0; 15]).await.unwrap();
            let of_head = visit.deadline.deadline();
            assert!(of_head <= Instant::now() + BOUNDS.head && of_head < visit.end);
            client.write_all(b"\nHost: x\r\n").await.unwrap();
            visit.read_exact(&mut [0; 10]).await.unwrap();
            assert_eq!(visit.deadline.deadline(), of_head);
            client.write_all(b"\r\nbody").await.unwrap();
            visit.read_exact(&mut [0; 6]).await.unwrap();
            assert_eq!(visit.deadline.deadline(), visit.end);
        });
    }

    #[test]
    fn a_body_that_was_asked_for_is_no_new_request() {
        with_visit(async |mut visit, mut client| {
            client.write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
            visit.read_exact(&mut [0; 41]).await.unwrap();
            visit.write_all(CONTINUE).await.unwrap();
            visit.flush().await.unwrap();
            client.write_all(b"b").await.unwrap();
            visit.read_exact(&mut [0]).await.unwrap();
            assert!(visit.head == Head::Whole && visit.waiting.is_none() && visit.unanswered == 42);
        });
    }

    async fn end_of(mut visit: Visit) -> io::ErrorKind {
        visit.read(&mut [0]).await.unwrap_err().kind()
    }

    #[test]
    fn who_has_waited_longest_gives_way() {
        with_door(async |mut door, mut client| {
            let address = door.local_addr().unwrap();
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            let (mut busy, _) = door.accept().await;
            let (silent, _) = door.accept().await;
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            busy.read_exact(&mut [0; 18]).await.unwrap();
            let ((third, _), kind) = tokio::join!(door.accept(), end_of(silent));
            assert_eq!(kind, io::ErrorKind::ConnectionAborted);
            drop(third);
            let (mut other, _) = door.accept().await;
            clients[2].write_all(b"\n\n").await.unwrap();
            other.read_exact(&mut [0; 2]).await.unwrap();
            tokio::select! {
                biased;
                _ = door.place() => panic!("who has a request to be answered gave way"),
                () = tokio::task::yield_now() => {}
            }
            busy.write_all(b"answer").await.unwrap();
            busy.flush().await.unwrap();
            assert!(busy.waiting.is_some());
            let (_, kind) = tokio::join!(door.place(), end_of(busy));
            assert_eq!(kind, io::ErrorKind::ConnectionAborted);
            drop(other);
        });
    }

    #[test]
    fn a_request_of_more_bytes_than_a_head_needs_fails() {
        with_visit(async |mut visit, mut client| {
            client.write_all(&[b'a'; BOUNDS.request_bytes + 1]).await.unwrap();
            let read = visit.read_exact(&mut [0; BOUNDS.request_bytes + 1]).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
        });
    }

    #[test]
    fn a_visit_takes_one_place_and_gives_it_back() {
        with_door(async |mut door, _client| {
            let (visit, _) = door.accept().await;
            assert_eq!(door.places.available_permits(), BOUNDS.connections - 1);
            drop(visit);
            assert_eq!(door.places.available_permits(), BOUNDS.connections);
        });
    }
}

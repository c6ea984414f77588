//! Keeps slow and greedy clients of the operations and admin listeners from piling up.
//!
//! A listener for axum, which bounds neither connections nor time nor request size by itself: [`Door`] lets a fixed
//! number of connections in, the next waits in the system's queue; [`Visit`] fails once a request and its answer, with
//! the pause after it, take too long, or when the client sends more than a request head needs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::telemetry::log;

/// A listener with bounds.
pub(crate) struct Door {
    listener: TcpListener,
    bounds: Bounds,
    places: Arc<Semaphore>,
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
    /// From the first byte of a request to the last of its answer, and on to the next request.
    pub(crate) exchange: Duration,
}

/// One connection, for as long as it behaves.
pub(crate) struct Visit {
    stream: TcpStream,
    bounds: Bounds,
    deadline: Pin<Box<Sleep>>,
    /// Bytes read since the last that was written.
    unanswered: usize,
    answering: bool,
    _place: OwnedSemaphorePermit,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, bounds: Bounds) -> Self {
        Self { listener, bounds, places: Arc::new(Semaphore::new(bounds.connections)) }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Visit::new(stream, self.bounds, place), address),
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
    fn new(stream: TcpStream, bounds: Bounds, place: OwnedSemaphorePermit) -> Self {
        // Costs a delay at worst.
        let _ = stream.set_nodelay(true);
        let deadline = Box::pin(sleep(bounds.exchange));
        Self { stream, bounds, deadline, unanswered: 0, answering: false, _place: place }
    }

    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// The first bytes after an answer begin a new exchange.
    fn was_read(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > 0 && std::mem::take(&mut self.answering) {
            self.unanswered = 0;
            let end = Instant::now() + self.bounds.exchange;
            self.deadline.as_mut().reset(end);
        }
        self.unanswered += bytes;
        if self.unanswered > self.bounds.request_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.was_read(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        self.answering = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
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
        self.answering = true;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BOUNDS: Bounds =
        Bounds { listener: "test", connections: 64, request_bytes: 16 * 1024, exchange: Duration::from_secs(30) };

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
            client.write_all(b"ab").await.unwrap();
            visit.read_exact(&mut [0; 2]).await.unwrap();
            visit.write_all(b"answer").await.unwrap();
            assert_eq!(visit.deadline.deadline(), first);
            client.write_all(b"c").await.unwrap();
            visit.read_exact(&mut [0]).await.unwrap();
            assert!(visit.deadline.deadline() > first);
            assert_eq!(visit.unanswered, 1);
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

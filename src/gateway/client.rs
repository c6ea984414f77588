//! The client's connection: waiting for heads, and leaving what was not read behind without mistaking it for a request.

use std::future::poll_fn;
use std::net::{IpAddr, Shutdown};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;

use super::aside::aside;
use super::io::{Socket, Stopped};
use super::sends::Sends;
use super::thread::Thread;
use crate::catalog::ClientTimeouts;
use crate::http1::{BUFFER_BYTES, Body, Buffer, HeadError, HeadLimits, HeadScan, Piece};
use crate::reactor::{Seat, Source};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    /// The socket.
    pub(super) stream: Rc<Source>,
    /// Who is at the other end.
    pub(super) peer: IpAddr,
    /// What has been read and not been used up; none while the connection is idle.
    pub(super) input: Option<Buffer>,
    /// Deadlines.
    pub(super) seat: Seat,
}

/// What came of waiting for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A head is at the beginning of the input, and no longer than this.
    Head(usize),
    /// What came cannot become a head.
    Refused(HeadError),
    /// A head began and did not end in time.
    TooSlow,
    /// Nothing more will come, or is wanted.
    Gone,
}

impl Client {
    /// Waits until there are bytes of a next request and the answer before it is out, holding no buffer meanwhile; false if
    /// there will be none, or none is wanted.
    pub(super) async fn next_begins(&mut self, thread: &Thread) -> bool {
        let deadline = self.seat.deadline(thread.client_idle_timeout());
        let socket = Socket { stream: &self.stream, seat: &self.seat, sends: &thread.sends };
        let input = &mut self.input;
        poll_fn(|_| {
            match socket.poll_rest() {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
            if input.as_ref().is_some_and(|input| !input.is_empty()) {
                return Poll::Ready(true);
            }
            *input = None;
            if let Poll::Ready(read) = socket.poll_head(input) {
                return Poll::Ready(read.is_ok_and(|count| count > 0));
            }
            if thread.is_draining() {
                return Poll::Ready(false);
            }
            socket.seat.poll_elapsed(deadline).map(|_| false)
        })
        .await
    }

    /// Waits for the rest of a head that has begun.
    pub(super) async fn next_head(&mut self, limits: &HeadLimits, timeouts: ClientTimeouts, sends: &Sends) -> Arrival {
        let mut scan = HeadScan::default();
        let deadline = self.seat.deadline(timeouts.head);
        loop {
            let input = self.input.get_or_insert_with(Buffer::take);
            match scan.advance(input.filled(), limits) {
                Ok(Some(most)) => return Arrival::Head(most),
                Ok(None) => {}
                Err(error) => return Arrival::Refused(error),
            }
            let socket = Socket { stream: &self.stream, seat: &self.seat, sends };
            match aside(socket.read(input, deadline)).await {
                Ok(0) | Err(Stopped::Broken) => return Arrival::Gone,
                Ok(_) => {}
                Err(Stopped::Elapsed) => return Arrival::TooSlow,
            }
        }
    }

    /// Reads the rest of a body away, if it is small and prompt; whether the connection stands at the next request then.
    pub(super) async fn skip_body(&mut self, body: &mut Body, sends: &Sends) -> bool {
        body.is_done() || aside(self.skip_rest(body, sends)).await
    }

    async fn skip_rest(&mut self, body: &mut Body, sends: &Sends) -> bool {
        let deadline = self.seat.deadline(SKIP_TIMEOUT);
        let mut left = MAX_SKIPPED;
        loop {
            let ready = self.input.as_ref().map_or(&b""[..], Buffer::filled);
            let Ok(piece) = body.piece(ready, left) else { return false };
            match piece {
                Piece::Skip(count) => self.consume(count),
                Piece::Data(count) => {
                    self.consume(count);
                    left -= count;
                    if left == 0 && !body.is_done() {
                        return false;
                    }
                }
                Piece::End(trailer) => {
                    self.consume(trailer);
                    return true;
                }
                Piece::More => {
                    let input = self.input.get_or_insert_with(Buffer::take);
                    let socket = Socket { stream: &self.stream, seat: &self.seat, sends };
                    let read = socket.read(input, deadline).await;
                    if !matches!(read, Ok(count) if count > 0) {
                        return false;
                    }
                }
            }
        }
    }

    /// Closes with a reset, so that an answer that ends with its connection is not taken for a whole one.
    pub(super) fn reset(&self) {
        // If it fails the connection is gone already.
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Closes so that the client can still read what was sent to it: says that nothing more comes, and reads away for a while.
    ///
    /// Closing with unread bytes would make the system send a reset, which can overtake the answer (RFC 9112 section 9.6).
    pub(super) async fn close_gently(&mut self, sends: &Sends) {
        let socket = Socket { stream: &self.stream, seat: &self.seat, sends };
        if socket.write_rest().await.is_err() || SockRef::from(&*self.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = self.seat.deadline(LINGER_TIMEOUT);
        let mut left = MAX_LINGERED;
        let mut input = self.input.take().unwrap_or_else(Buffer::take);
        while left > 0 {
            input.clear();
            match socket.read(&mut input, deadline).await {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }

    /// Uses up bytes of the input.
    pub(super) fn consume(&mut self, count: usize) {
        if let Some(input) = self.input.as_mut() {
            input.consume(count);
        }
    }
}

/// Ready when the client has left. What else it sends meanwhile is kept; once that is much, nothing more is read.
pub(super) fn poll_ahead(socket: Socket<'_>, input: &mut Option<Buffer>) -> Poll<()> {
    while input.is_some() || socket.poll_readable().is_ready() {
        let kept = input.get_or_insert_with(Buffer::take);
        if kept.len() > KEPT_AHEAD {
            return Poll::Pending;
        }
        match socket.poll_read(kept) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => break,
        }
    }
    if input.as_ref().is_some_and(Buffer::is_empty) {
        *input = None;
    }
    Poll::Pending
}

/// Ready when the client has left, however much it sends before: what is too much to be kept is thrown away.
///
/// For a client whose request is whole. The buffer is torn then, and no further request can be read from it.
pub(super) fn poll_left(socket: Socket<'_>, input: &mut Option<Buffer>) -> Poll<()> {
    if poll_ahead(socket, input).is_ready() {
        return Poll::Ready(());
    }
    let Some(kept) = input.as_mut().filter(|kept| kept.len() > KEPT_AHEAD) else { return Poll::Pending };
    loop {
        match socket.poll_read(&mut Buffer::take()) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(_)) => kept.tear(),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Whether it can be worth reading the rest of a body away; known to be too long, it is not.
pub(super) const fn is_worth_skipping(body: &Body) -> bool {
    match body {
        Body::Known(left) => *left <= MAX_SKIPPED as u64,
        Body::Chunked(_) => true,
        Body::UntilClose | Body::Closed => false,
    }
}

/// With more than this of further requests in the buffer, what follows is thrown away, and with it the connection.
const KEPT_AHEAD: usize = BUFFER_BYTES / 4;
/// The most bytes of an unread body that are read away to keep a connection.
const MAX_SKIPPED: usize = 64 * 1024;
/// For how long.
const SKIP_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes that are read away before a connection is closed after an answer.
const MAX_LINGERED: usize = 1024 * 1024;
/// For how long.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

//! The way of a request's body to the upstream; afterwards, the watch over the client.
//!
//! Runs beside `downlink` in the same task. It ends only for a reason that ends the request.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::aside::aside;
use super::client;
use super::io::{Socket, Stopped};
use super::pipe::Pipe;
use super::trailers;
use crate::http1::{Body, Buffer, MAX_CHUNK_HEAD, Piece, write_chunk_head};
use crate::policy::Denial;
use crate::time::Instant;

/// How far the two directions have got; each looks at the other's part.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the request's head had been handed over.
    pub(super) head_sent: Cell<Option<Instant>>,
    /// When the whole request had been handed over.
    pub(super) sent: Cell<Option<Instant>>,
    /// Whether the upstream takes no more.
    pub(super) refused: Cell<bool>,
    /// Whether any byte of the body has been handed over.
    pub(super) body_started: Cell<bool>,
    /// Whether the client has got any byte of a final answer.
    pub(super) answered: Cell<bool>,
    /// Bytes of body read from the client.
    pub(super) bytes_in: Cell<u64>,
}

/// Why a request ends from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client has left.
    ClientGone,
    /// The client's body is not what it should be, or not there in time; or the upstream takes none.
    Denied(Denial),
}

/// What the way up needs.
#[derive(Debug)]
pub(super) struct Uplink<'a> {
    /// From the client.
    pub(super) client: Socket<'a>,
    /// Bytes of the client that have been read already.
    pub(super) input: &'a mut Option<Buffer>,
    /// To the upstream.
    pub(super) upstream: Socket<'a>,
    /// The head, with the trail before it.
    pub(super) out: &'a mut Buffer,
    /// Where the head begins.
    pub(super) head_start: usize,
    /// The place in the body.
    pub(super) body: &'a mut Body,
    /// The most bytes of it.
    pub(super) max_body_bytes: Option<u64>,
    /// How far both directions have got.
    pub(super) progress: &'a Progress,
    /// Between two reads from the client.
    pub(super) client_timeout: Duration,
    /// Between two writes to the upstream.
    pub(super) upstream_timeout: Duration,
    /// What trailers may be forwarded.
    pub(super) trailers: trailers::Filter<'a>,
}

impl Uplink<'_> {
    /// Sends everything, then watches the client; why the request must end.
    pub(super) async fn run(&mut self) -> Fault {
        match self.send_all().await {
            Ok(()) => {}
            Err(Fault::Denied(Denial::UpstreamFailed)) => self.progress.refused.set(true),
            Err(fault) => return fault,
        }
        self.watch_client().await
    }

    async fn send_all(&mut self) -> Result<(), Fault> {
        self.send_head().await?;
        let now = Some(self.client.seat.now());
        self.progress.head_sent.set(now);
        if self.body.is_done() {
            self.progress.sent.set(now);
            return Ok(());
        }
        aside(self.send_body()).await?;
        self.progress.sent.set(Some(self.client.seat.now()));
        Ok(())
    }

    /// Sends the head, in one call with as much of the body as has come along with it.
    async fn send_head(&mut self) -> Result<(), Fault> {
        let head_end = self.out.len();
        let mut body = *self.body;
        let along = match (&mut body, self.input.as_ref()) {
            (Body::Known(left), Some(input)) if *left > 0 => {
                let ready = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let along = self.out.append(&input.filled()[..ready]);
                *left -= along as u64;
                along
            }
            _ => 0,
        };
        self.over_limit(along)?;
        self.progress.body_started.set(along > 0);
        let bytes = &self.out.filled()[self.head_start..];
        let written = if body.is_done() {
            self.upstream.write_last(bytes, self.upstream_timeout).await
        } else {
            aside(self.upstream.write_all(bytes, self.upstream_timeout)).await
        };
        self.out.truncate(head_end);
        written.map_err(upstream_fault)?;
        if along > 0 {
            self.advance(body, along);
        }
        Ok(())
    }

    async fn send_body(&mut self) -> Result<(), Fault> {
        let mut framed = None;
        loop {
            let ready = self.input.as_ref().map_or(&b""[..], Buffer::filled);
            if ready.is_empty()
                && let Some(pipe) = Pipe::for_rest_of(self.body)
            {
                return self.pass_on(pipe).await;
            }
            let mut body = *self.body;
            match body.piece(ready, MAX_CHUNK_DATA).map_err(|_| Fault::Denied(Denial::BadBody))? {
                Piece::Skip(count) => self.advance(body, count),
                Piece::Data(count) => {
                    self.over_limit(count)?;
                    self.send_data(count, &mut framed).await?;
                    self.advance(body, count);
                }
                Piece::End(trailer) => return self.send_end(body, trailer, framed).await,
                Piece::More => self.read_more().await?,
            }
        }
    }

    /// Passes bytes of known number on without reading them.
    async fn pass_on(&mut self, mut pipe: Pipe) -> Result<(), Fault> {
        *self.input = None;
        self.progress.body_started.set(true);
        while let Body::Known(left) = *self.body {
            let deadline = self.client.seat.deadline(self.client_timeout);
            let count = match pipe.fill(self.client, left, deadline).await {
                Ok(0) | Err(Stopped::Broken) => return Err(Fault::ClientGone),
                Err(Stopped::Elapsed) => return Err(Fault::Denied(Denial::BodyTimeout)),
                Ok(count) => count,
            };
            // What is in the pipe is not in the connection any more, whatever becomes of it.
            *self.body = Body::Known(left - count as u64);
            self.over_limit(count)?;
            pipe.drain(self.upstream, self.upstream_timeout).await.map_err(upstream_fault)?;
            if self.body.is_done() {
                break;
            }
            self.client.seat.give_way().await;
        }
        Ok(())
    }

    /// Sends data in the framing that it came in; chunks are put together anew.
    async fn send_data(&mut self, count: usize, framed: &mut Option<Buffer>) -> Result<(), Fault> {
        self.progress.body_started.set(true);
        let Some(input) = self.input.as_ref() else { return Ok(()) };
        let data = &input.filled()[..count];
        if matches!(self.body, Body::Known(_)) {
            return self.upstream.write_all(data, self.upstream_timeout).await.map_err(upstream_fault);
        }
        let framed = framed.get_or_insert_with(Buffer::take);
        framed.clear();
        append_chunk(framed, data);
        self.upstream.write_all(framed.filled(), self.upstream_timeout).await.map_err(upstream_fault)
    }

    async fn send_end(&mut self, body: Body, trailer: usize, framed: Option<Buffer>) -> Result<(), Fault> {
        let mut end = framed.unwrap_or_else(Buffer::take);
        end.clear();
        if let (Body::Chunked(_), Some(input)) = (body, self.input.as_ref()) {
            // The last chunk is a part of the body as any other.
            self.progress.body_started.set(true);
            let section = &input.filled()[..trailer];
            self.trailers.write_end(section, &mut end).map_err(|_| Fault::Denied(Denial::BadBody))?;
        }
        self.advance(body, trailer);
        self.upstream.write_all(end.filled(), self.upstream_timeout).await.map_err(upstream_fault)
    }

    async fn read_more(&mut self) -> Result<(), Fault> {
        let input = self.input.get_or_insert_with(Buffer::take);
        let deadline = self.client.seat.deadline(self.client_timeout);
        match self.client.read(input, deadline).await {
            Ok(0) | Err(Stopped::Broken) => Err(Fault::ClientGone),
            Ok(_) => Ok(()),
            Err(Stopped::Elapsed) => Err(Fault::Denied(Denial::BodyTimeout)),
        }
    }

    /// Ends when the client leaves, or when the upstream is too slow to take what it had not taken at once.
    async fn watch_client(&mut self) -> Fault {
        let mut is_short = false;
        poll_fn(|_| {
            match self.upstream.poll_rest() {
                Poll::Ready(Ok(())) if !is_short => {}
                Poll::Ready(Ok(())) => {
                    is_short = false;
                    self.progress.sent.set(Some(self.client.seat.now()));
                }
                Poll::Ready(Err(stopped)) => match upstream_fault(stopped) {
                    Fault::Denied(Denial::UpstreamFailed) => self.progress.refused.set(true),
                    fault => return Poll::Ready(fault),
                },
                Poll::Pending => {
                    is_short = true;
                    self.progress.sent.set(None);
                }
            }
            client::poll_left(self.client, self.input).map(|()| Fault::ClientGone)
        })
        .await
    }

    /// Moves on in the body and in the input, always in both at once.
    ///
    /// Whenever this way is broken off, what the body has left must be what the input begins with: else the rest of a
    /// body would be read as the next request.
    fn advance(&mut self, body: Body, count: usize) {
        *self.body = body;
        if let Some(input) = self.input.as_mut() {
            input.consume(count);
        }
    }

    /// Counts `more` bytes of body; too many are refused before any of them is sent.
    fn over_limit(&self, more: usize) -> Result<(), Fault> {
        let total = self.progress.bytes_in.get() + more as u64;
        self.progress.bytes_in.set(total);
        if self.max_body_bytes.is_some_and(|most| total > most) {
            return Err(Fault::Denied(Denial::BodyTooLarge));
        }
        Ok(())
    }
}

/// Appends one chunk; `data` must fit with its frame.
pub(super) fn append_chunk(into: &mut Buffer, data: &[u8]) {
    let mut head = [0; MAX_CHUNK_HEAD];
    let length = write_chunk_head(data.len(), &mut head);
    into.append(&head[..length]);
    into.append(data);
    into.append(b"\r\n");
}

/// An upstream that cannot be written to may still answer; one that is too slow may not.
const fn upstream_fault(stopped: Stopped) -> Fault {
    match stopped {
        Stopped::Broken => Fault::Denied(Denial::UpstreamFailed),
        Stopped::Elapsed => Fault::Denied(Denial::UpstreamTimeout),
    }
}

/// The most data put into one chunk: a buffer's worth, less its frame.
pub(super) const MAX_CHUNK_DATA: usize = 32 * 1024;

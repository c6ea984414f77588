//! The way of the response to the client: head, body, end; streamed, never collected.
//!
//! Runs beside `uplink` in the same task. The head and what has come of the body along with it leave in one call.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::aside::aside;
use super::io::{Socket, Stopped};
use super::metering::{Subject, Tally};
use super::pipe::Pipe;
use super::reply::{self, Asked, Final, Outgoing, Reply};
use super::trailers;
use super::uplink::{MAX_CHUNK_DATA, Progress, append_chunk};
use crate::http1::{Body, Buffer, LAST_CHUNK, Piece, find_response_end};
use crate::time::Instant;

/// What the way down needs.
#[derive(Debug)]
pub(super) struct Downlink<'a> {
    /// From the upstream.
    pub(super) upstream: Socket<'a>,
    /// To the client.
    pub(super) client: Socket<'a>,
    /// What the answer is written for.
    pub(super) asked: Asked<'a>,
    /// How far both directions have got.
    pub(super) progress: &'a Progress,
    /// From the end of the request to the response head.
    pub(super) response_timeout: Option<Duration>,
    /// Between two reads from the upstream.
    pub(super) upstream_timeout: Duration,
    /// Between two writes to the client.
    pub(super) client_timeout: Duration,
    /// What it will be told from.
    pub(super) account: &'a mut Account,
}

/// What is counted on the way down.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Whether the upstream has sent anything at all.
    pub(super) heard: bool,
    /// The status, once a final head was there.
    pub(super) status: u16,
    /// Bytes of body to the client.
    pub(super) bytes_out: u64,
    /// When the final head was there.
    pub(super) head_at: Option<Instant>,
    /// When it had been handed to the client, with what came along with it.
    pub(super) head_sent_at: Option<Instant>,
    /// What is counted in the ledger.
    pub(super) tally: Tally,
    /// The same, if that was all.
    pub(super) ended_at: Option<Instant>,
}

/// How the way down ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landed {
    /// The whole answer has been handed to the client.
    Whole {
        /// Whether the client's connection can be kept.
        keep_client: bool,
        /// Whether the upstream's connection can be used again.
        keep_upstream: bool,
    },
    /// The upstream closed before the first byte of an answer.
    Silent,
    /// The upstream broke off or sent what is no answer.
    Failed(Failure),
    /// The client takes no more.
    ClientGone,
}

/// What was wrong with an upstream's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Too slow.
    Timeout,
    /// Broken off.
    Reset,
    /// Not HTTP, or not what it announced.
    Malformed,
}

impl Downlink<'_> {
    /// Takes the answer to the client.
    pub(super) async fn run(&mut self) -> Landed {
        match self.relay().await {
            Ok(landed) | Err(landed) => landed,
        }
    }

    async fn relay(&mut self) -> Result<Landed, Landed> {
        let mut input = None;
        self.head_begins(&mut input).await?;
        let input = input.get_or_insert_with(Buffer::take);
        let mut out = Buffer::take();
        let last = self.final_head(input, &mut out).await?;
        let mut body = last.body;
        if !self.first_flight(&last, &mut body, input, &mut out).await? {
            aside(self.rest_of_body(&last, &mut body, input, &mut out)).await?;
        }
        // More than was announced: the answer is whole, but nothing else on this connection can be trusted.
        let keep_upstream = last.keep_upstream && input.is_empty();
        Ok(Landed::Whole { keep_client: last.keep_client, keep_upstream })
    }

    /// Waits for the final head; interim ones are passed on as they come. Leaves the bytes behind it in `input`, and it rewritten
    /// in `out`.
    async fn final_head(&mut self, input: &mut Buffer, out: &mut Buffer) -> Result<Final, Landed> {
        let mut interims = 0;
        loop {
            let now = self.client.seat.coarse_now();
            out.clear();
            let reply = reply::take_over(input.filled(), &self.asked, now, out);
            let Some(Reply { length, last }) = reply.ok().filter(|reply| reply.length <= MAX_RESPONSE_HEAD) else {
                aside(self.rest_of_head(input)).await?;
                continue;
            };
            input.consume(length);
            if let Some(last) = last {
                self.account.head_at = Some(now);
                self.account.status = last.status;
                self.account.tally.units = last.units;
                return Ok(last);
            }
            interims += 1;
            if interims > MAX_INTERIMS {
                return Err(Landed::Failed(Failure::Malformed));
            }
            aside(self.send(out.filled())).await?;
        }
    }

    /// Waits for the end of a head that could not be taken over. If that is there already, nothing will make it one.
    async fn rest_of_head(&mut self, input: &mut Buffer) -> Result<(), Landed> {
        if find_response_end(input.filled(), 0).is_some() {
            return Err(Landed::Failed(Failure::Malformed));
        }
        loop {
            let scanned = input.len();
            self.read_head_bytes(input).await?;
            if find_response_end(input.filled(), scanned).is_some() {
                return Ok(());
            }
        }
    }

    /// Waits until the upstream has something to say, without holding a buffer for it, and then holds its first bytes.
    async fn head_begins(&mut self, input: &mut Option<Buffer>) -> Result<(), Landed> {
        let read = poll_fn(|_| match self.upstream.poll_head(input) {
            Poll::Ready(read) => Poll::Ready(Ok(read)),
            Poll::Pending => self.poll_head_deadline(),
        });
        let read = read.await?;
        self.hear(read)
    }

    async fn read_head_bytes(&mut self, input: &mut Buffer) -> Result<(), Landed> {
        if input.len() >= MAX_RESPONSE_HEAD {
            return Err(Landed::Failed(Failure::Malformed));
        }
        let read = poll_fn(|_| match self.upstream.poll_read(input) {
            Poll::Ready(read) => Poll::Ready(Ok(read)),
            Poll::Pending => self.poll_head_deadline(),
        });
        let read = read.await?;
        self.hear(read)
    }

    /// Takes note of what has come, or not, of a head.
    fn hear(&mut self, read: Result<usize, Stopped>) -> Result<(), Landed> {
        match read {
            Ok(0) | Err(_) if !self.account.heard => Err(Landed::Silent),
            Ok(0) | Err(_) => Err(Landed::Failed(Failure::Reset)),
            Ok(_) => {
                self.account.heard = true;
                Ok(())
            }
        }
    }

    /// The response head is due a while after the request was sent, and not before.
    fn poll_head_deadline<T>(&self) -> Poll<Result<T, Landed>> {
        // A client that waits for a 100 cannot finish its request before the upstream has spoken.
        let undecided = self.asked.waits && !self.progress.body_started.get();
        let sent = self.progress.sent.get().or(self.progress.head_sent.get().filter(|_| undecided));
        match (sent, self.response_timeout) {
            (Some(sent), Some(timeout)) => {
                self.client.seat.poll_elapsed(sent.after(timeout)).map(|_| Err(Landed::Failed(Failure::Timeout)))
            }
            _ => Poll::Pending,
        }
    }

    /// Sends the head and what came along of the body; whether that was all.
    async fn first_flight(
        &mut self,
        last: &Final,
        body: &mut Body,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<bool, Landed> {
        let done = self.frame_available(last.framing, body, input, out)?;
        self.progress.answered.set(true);
        let head_at = self.account.head_at.unwrap_or_else(|| self.client.seat.now());
        self.count(done, head_at);
        if done {
            let sent = self.client.write_last(out.filled(), self.client_timeout).await;
            sent.map_err(|_| Landed::ClientGone)?;
        } else {
            aside(self.send(out.filled())).await?;
        }
        let now = Some(self.client.seat.now());
        self.account.head_sent_at = now;
        self.account.ended_at = now.filter(|_| done);
        Ok(done)
    }

    async fn rest_of_body(
        &mut self,
        last: &Final,
        body: &mut Body,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(), Landed> {
        let is_plain = matches!(body, Body::Known(_)) && last.framing == Outgoing::Plain;
        loop {
            if is_plain
                && input.is_empty()
                && let Some(pipe) = Pipe::for_rest_of(body)
            {
                return self.pass_on(body, pipe).await;
            }
            if input.is_empty() && !body.is_done() {
                self.read_body(body, input).await?;
            }
            if is_plain {
                self.send_plain(body, input).await?;
                if body.is_done() {
                    return Ok(());
                }
                continue;
            }
            out.clear();
            let held = input.len();
            let done = self.frame_available(last.framing, body, input, out)?;
            self.count(done, self.client.seat.now());
            self.send(out.filled()).await?;
            if done {
                return Ok(());
            }
            if input.len() == held {
                self.read_body(body, input).await?;
            }
        }
    }

    /// Sends bytes of known number right out of the buffer that they were read into.
    async fn send_plain(&mut self, body: &mut Body, input: &mut Buffer) -> Result<(), Landed> {
        let Ok(Piece::Data(count)) = body.piece(input.filled(), usize::MAX) else { return Ok(()) };
        self.account.bytes_out += count as u64;
        self.count(body.is_done(), self.client.seat.now());
        let data = &input.filled()[..count];
        self.client.write_all(data, self.client_timeout).await.map_err(|_| Landed::ClientGone)?;
        input.consume(count);
        Ok(())
    }

    /// Passes bytes of known number on without reading them.
    ///
    /// After the last of them nothing may be waited for: what the client sends then is its next request.
    async fn pass_on(&mut self, body: &mut Body, mut pipe: Pipe) -> Result<(), Landed> {
        while let Body::Known(left) = *body {
            let deadline = self.client.seat.deadline(self.upstream_timeout);
            let count = match pipe.fill(self.upstream, left, deadline).await {
                Ok(0) | Err(Stopped::Broken) => return Err(Landed::Failed(Failure::Reset)),
                Err(Stopped::Elapsed) => return Err(Landed::Failed(Failure::Timeout)),
                Ok(count) => count as u64,
            };
            *body = Body::Known(left - count);
            self.account.bytes_out += count;
            self.count(body.is_done(), self.client.seat.now());
            pipe.drain(self.client, self.client_timeout).await.map_err(|_| Landed::ClientGone)?;
            if body.is_done() {
                break;
            }
            self.client.seat.give_way().await;
        }
        self.upstream.stream.look_for_more();
        Ok(())
    }

    /// Counts the request before the last of its bytes leave, and what has come of it before that from time to time.
    fn count(&mut self, is_whole: bool, now: Instant) {
        let Asked { thread, local, trail, .. } = self.asked;
        let subject = Subject { thread, local, trail };
        let bytes = (self.progress.bytes_in.get(), self.account.bytes_out);
        let (tally, status) = (&mut self.account.tally, self.account.status);
        if is_whole {
            tally.answered(subject, status, bytes, now);
        } else {
            tally.goes_on(subject, status, bytes, now);
        }
    }

    /// Appends to `out` what is in `input` of the body, as far as there is room; whether the body's end is in it.
    fn frame_available(
        &mut self,
        framing: Outgoing,
        body: &mut Body,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<bool, Landed> {
        loop {
            let room = out.room().saturating_sub(CHUNK_FRAME_ROOM).min(MAX_CHUNK_DATA);
            if room == 0 {
                return Ok(false);
            }
            match body.piece(input.filled(), room).map_err(|_| Landed::Failed(Failure::Malformed))? {
                Piece::Skip(count) => input.consume(count),
                Piece::Data(count) => {
                    self.account.bytes_out += count as u64;
                    match framing {
                        Outgoing::Chunked => append_chunk(out, &input.filled()[..count]),
                        Outgoing::Plain => _ = out.append(&input.filled()[..count]),
                    }
                    input.consume(count);
                    if framing == Outgoing::Plain && body.is_done() {
                        return Ok(true);
                    }
                }
                Piece::End(trailer) => {
                    self.frame_end(framing, body, &input.filled()[..trailer], out)?;
                    input.consume(trailer);
                    return Ok(true);
                }
                Piece::More => return Ok(false),
            }
        }
    }

    fn frame_end(&self, framing: Outgoing, body: &Body, trailer: &[u8], out: &mut Buffer) -> Result<(), Landed> {
        match (framing, body) {
            (Outgoing::Plain, _) => Ok(()),
            (Outgoing::Chunked, Body::Chunked(_)) => {
                let filter = trailers::Filter::Response(&self.asked.local.response_roles);
                filter.write_end(trailer, out).map_err(|_| Landed::Failed(Failure::Malformed))
            }
            (Outgoing::Chunked, _) => {
                out.append(LAST_CHUNK);
                Ok(())
            }
        }
    }

    async fn read_body(&mut self, body: &mut Body, input: &mut Buffer) -> Result<(), Landed> {
        let deadline = self.client.seat.deadline(self.upstream_timeout);
        match self.upstream.read(input, deadline).await {
            Ok(0) => body.closed().map_err(|_| Landed::Failed(Failure::Reset)),
            Ok(_) => Ok(()),
            Err(Stopped::Elapsed) => Err(Landed::Failed(Failure::Timeout)),
            Err(Stopped::Broken) => Err(Landed::Failed(Failure::Reset)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Landed> {
        self.client.write_all(bytes, self.client_timeout).await.map_err(|_| Landed::ClientGone)
    }
}

/// Most response heads are small; one that does not fit into this is refused.
const MAX_RESPONSE_HEAD: usize = 48 * 1024;
/// Interim answers before a final one; more are a fault.
const MAX_INTERIMS: usize = 16;
/// Kept free in the outgoing buffer: a chunk's frame, and an end with its trailers.
const CHUNK_FRAME_ROOM: usize = 10 * 1024;

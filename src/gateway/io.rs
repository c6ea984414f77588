//! Reading and writing sockets with deadlines: each wait ends by itself, and costs nothing but the socket calls.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::aside::aside;
use super::sends::Sends;
use crate::http1::Buffer;
use crate::reactor::{Seat, Source};
use crate::time::Instant;

/// A connection as a task of this thread uses it, in both directions at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket<'a> {
    /// The connection.
    pub(super) stream: &'a Rc<Source>,
    /// The task's seat.
    pub(super) seat: &'a Seat,
    /// Where messages wait for others to leave with.
    pub(super) sends: &'a Sends,
}

/// Why a read or write did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The deadline passed.
    Elapsed,
    /// The connection is broken.
    Broken,
}

impl Socket<'_> {
    /// Reads once into the free space of `buffer`, which must not be full; 0 is the end of the connection.
    pub(super) async fn read(self, buffer: &mut Buffer, deadline: Instant) -> Result<usize, Stopped> {
        poll_fn(|_| match self.poll_read(buffer) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
        })
        .await
    }

    /// One attempt to read, once there is something.
    pub(super) fn poll_read(self, buffer: &mut Buffer) -> Poll<Result<usize, Stopped>> {
        if buffer.room() < MIN_ROOM {
            buffer.compact();
        }
        self.stream.poll_receive(buffer, self.seat).map_err(|_| Stopped::Broken)
    }

    /// Ready once there is something to read, be it an end or an error.
    pub(super) fn poll_readable(self) -> Poll<()> {
        self.stream.poll_readable(self.seat)
    }

    /// Waits without a buffer until a head begins, and then holds its first bytes: how many there are; 0 is the end.
    pub(super) fn poll_head(self, input: &mut Option<Buffer>) -> Poll<Result<usize, Stopped>> {
        if self.stream.poll_head(self.seat).is_pending() {
            return Poll::Pending;
        }
        if let Some(ahead) = self.stream.take_ahead() {
            return Poll::Ready(Ok(input.insert(ahead).len()));
        }
        let read = self.poll_read(input.get_or_insert_with(Buffer::take));
        if read.is_pending() {
            *input = None;
        }
        read
    }

    /// Writes all of `bytes` now; the deadline moves with every write that makes progress.
    pub(super) async fn write_all(self, mut bytes: &[u8], timeout: Duration) -> Result<(), Stopped> {
        self.write_rest().await?;
        let mut deadline = self.seat.deadline(timeout);
        poll_fn(|_| {
            while !bytes.is_empty() {
                match self.stream.poll_send(bytes, self.seat) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        bytes = &bytes[count..];
                        deadline = self.seat.deadline(timeout);
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Stopped::Broken)),
                    Poll::Pending => return self.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Writes the last bytes before the other side has its turn: if they are few, soon, along with those of other tasks.
    ///
    /// Whoever calls it has to look at [`Socket::poll_rest`] whenever its task is woken: only there does it hear of bytes that
    /// could not be written.
    pub(super) async fn write_last(self, bytes: &[u8], timeout: Duration) -> Result<(), Stopped> {
        if self.sends.leave(self.stream, bytes, self.seat, timeout) {
            return Ok(());
        }
        aside(self.write_all(bytes, timeout)).await
    }

    /// Goes on with what [`Socket::write_last`] could not write at once; ready if there is nothing of it any more.
    pub(super) fn poll_rest(self) -> Poll<Result<(), Stopped>> {
        self.sends.poll_rest(self.stream, self.seat)
    }

    /// Writes everything that was left to [`Socket::write_last`]: must come before any other way of writing.
    pub(super) async fn write_rest(self) -> Result<(), Stopped> {
        self.sends.leave_now();
        poll_fn(|_| self.poll_rest()).await
    }
}

/// With less room than this a buffer is compacted before it is read into.
const MIN_ROOM: usize = 16 * 1024;

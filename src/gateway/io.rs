//! Reading and writing sockets with deadlines: each wait ends by itself, and costs nothing but the socket calls.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::sends::{self, Sends};
use super::wheel::Seat;
use crate::http1::Buffer;
use crate::time::Instant;

/// A connection as a task of this thread uses it, in both directions at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket<'a> {
    /// The connection.
    pub(super) stream: &'a Rc<TcpStream>,
    /// The task's deadlines.
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
        poll_fn(|cx| match self.poll_read(buffer, cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
        })
        .await
    }

    /// One attempt to read, once there is something.
    pub(super) fn poll_read(self, buffer: &mut Buffer, cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
        if buffer.room() < MIN_ROOM {
            buffer.compact();
        }
        loop {
            match self.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(stopped)) => return Poll::Ready(Err(stopped)),
                Poll::Pending => return Poll::Pending,
            }
            let mut read = None;
            let tried = self.stream.try_io(Interest::READABLE, || {
                let room = buffer.free();
                let wanted = room.len();
                let (_, count) = retry_on_intr(|| rustix::net::recv(self.stream, &mut *room, RecvFlags::empty()))?;
                read = Some(count);
                // Less than there was room for: there is no more. Said like this it is known without another call.
                if (1..wanted).contains(&count) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, tried) {
                (Some(count), _) => {
                    buffer.fill(count);
                    return Poll::Ready(Ok(count));
                }
                (None, Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
                (None, _) => return Poll::Ready(Err(Stopped::Broken)),
            }
        }
    }

    /// Ready once there is something to read, be it an end or an error.
    pub(super) fn poll_readable(self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        self.stream.poll_read_ready(cx).map_err(|_| Stopped::Broken)
    }

    /// Writes all of `bytes` now; the deadline moves with every write that makes progress.
    pub(super) async fn write_all(self, mut bytes: &[u8], timeout: Duration) -> Result<(), Stopped> {
        self.write_rest().await?;
        let mut deadline = self.seat.deadline(timeout);
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match sends::poll_send(self.stream, bytes, cx) {
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
        self.write_all(bytes, timeout).await
    }

    /// Goes on with what [`Socket::write_last`] could not write at once; ready if there is nothing of it any more.
    pub(super) fn poll_rest(self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        self.sends.poll_rest(self.stream, self.seat, cx)
    }

    /// Writes everything that was left to [`Socket::write_last`]: must come before any other way of writing.
    pub(super) async fn write_rest(self) -> Result<(), Stopped> {
        self.sends.leave_now();
        poll_fn(|cx| self.poll_rest(cx)).await
    }
}

/// With less room than this a buffer is compacted before it is read into.
const MIN_ROOM: usize = 16 * 1024;

//! Reading and writing sockets with deadlines: each wait ends by itself, and costs nothing but the socket calls.
//!
//! A read that fills less than the space it was given clears the socket's readiness inside tokio, so that no further call
//! is made to learn that there is nothing more; that is why everything here goes through `poll_read`.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::wheel::Seat;
use crate::http1::Buffer;
use crate::time::Instant;

/// Why a read or write did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The deadline passed.
    Elapsed,
    /// The connection is broken.
    Broken,
}

/// Reads once into the free space of `buffer`, which must not be full; 0 is the end of the connection.
pub(super) async fn read(
    half: &mut ReadHalf<'_>,
    buffer: &mut Buffer,
    seat: &Seat,
    deadline: Instant,
) -> Result<usize, Stopped> {
    poll_fn(|cx| match poll_read(half, buffer, cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
    })
    .await
}

/// One attempt to read.
pub(super) fn poll_read(
    half: &mut ReadHalf<'_>,
    buffer: &mut Buffer,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Stopped>> {
    if buffer.room() < MIN_ROOM {
        buffer.compact();
    }
    let mut space = ReadBuf::new(buffer.free());
    let outcome = Pin::new(half).poll_read(cx, &mut space);
    let count = space.filled().len();
    outcome.map(|read| {
        read.map_err(|_| Stopped::Broken)?;
        buffer.fill(count);
        Ok(count)
    })
}

/// Writes all of `bytes`; the deadline moves with every write that makes progress.
pub(super) async fn write_all(
    half: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    seat: &Seat,
    timeout: Duration,
) -> Result<(), Stopped> {
    let mut deadline = seat.deadline(timeout);
    poll_fn(|cx| {
        while !bytes.is_empty() {
            match Pin::new(&mut *half).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    bytes = &bytes[count..];
                    deadline = seat.deadline(timeout);
                }
                Poll::Ready(_) => return Poll::Ready(Err(Stopped::Broken)),
                Poll::Pending => return seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// With less room than this a buffer is compacted before it is read into.
const MIN_ROOM: usize = 16 * 1024;

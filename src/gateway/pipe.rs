//! Pipes through which large bodies of known length go from socket to socket without ever being in this process's memory.
//!
//! Two calls of `splice` move references to the kernel's pages where a receive and a send would copy the bytes twice. A pipe is
//! filled only when it is empty, and is given back to its thread's pool only then, so no byte of one body can get into another.
//! Called by `uplink` and `downlink`, which copy where no pipe is to be had.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::Poll;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::io::{Socket, Stopped};
use crate::http1::Body;
use crate::time::Instant;

/// A pipe on loan to one body.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    /// Bytes that are in it.
    held: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// A pipe, if so much of the body is left that it is worth it and the thread has one to lend.
    pub(super) fn for_rest_of(body: &Body) -> Option<Self> {
        match body {
            Body::Known(left) if *left >= WORTH_IT => Self::take(),
            _ => None,
        }
    }

    fn take() -> Option<Self> {
        if LENT.get() >= LENT_MOST {
            return None;
        }
        let ends = FREE.with_borrow_mut(Vec::pop).or_else(|| Ends::open().ok())?;
        LENT.set(LENT.get() + 1);
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Moves at most `most` bytes from a socket into the pipe, which must be empty; 0 is the end of the connection.
    pub(super) async fn fill(&mut self, from: Socket<'_>, most: u64, deadline: Instant) -> Result<usize, Stopped> {
        let most = usize::try_from(most).map_or(PIPE_BYTES, |most| most.min(PIPE_BYTES));
        let moved = poll_fn(|cx| {
            loop {
                match from.poll_readable(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(stopped)) => return Poll::Ready(Err(stopped)),
                    Poll::Pending => return from.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
                }
                if let Some(moved) = outcome(from.stream.try_io(Interest::READABLE, || self.pull(from.stream, most))) {
                    return Poll::Ready(moved);
                }
            }
        });
        self.held = moved.await?;
        Ok(self.held)
    }

    /// Moves all that is in the pipe into a socket; the deadline moves with every step.
    pub(super) async fn drain(&mut self, to: Socket<'_>, timeout: Duration) -> Result<(), Stopped> {
        to.write_rest().await?;
        let mut deadline = to.seat.deadline(timeout);
        poll_fn(|cx| {
            while self.held > 0 {
                match to.stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Broken)),
                    Poll::Pending => return to.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed)),
                }
                match outcome(to.stream.try_io(Interest::WRITABLE, || self.push(to.stream))) {
                    Some(Ok(moved)) if moved > 0 => {
                        self.held -= moved;
                        deadline = to.seat.deadline(timeout);
                    }
                    Some(_) => return Poll::Ready(Err(Stopped::Broken)),
                    None => {}
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn pull(&self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        Ok(retry_on_intr(|| splice(from, None, &ends.write, None, most, SpliceFlags::NONBLOCK))?)
    }

    fn push(&self, to: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        Ok(retry_on_intr(|| splice(&ends.read, None, to, None, self.held, SpliceFlags::NONBLOCK))?)
    }
}

/// Learns whether a socket that was not read to its end has anything more to read.
///
/// A read that finds less than it has room for shows that; what went through a pipe does not, and without this the connection
/// would be taken for one on which something has come unasked.
pub(super) fn look_for_more(socket: &TcpStream) {
    let mut byte = [MaybeUninit::uninit()];
    // What is found is left where it is, and an error will be met by whoever reads next.
    let _ = socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte));
}

/// None: the socket was not ready after all.
fn outcome(moved: io::Result<usize>) -> Option<Result<usize, Stopped>> {
    match moved {
        Ok(moved) => Some(Ok(moved)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_) => Some(Err(Stopped::Broken)),
    }
}

impl Ends {
    fn open() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A user who has many pipes gets no larger ones; a smaller one needs more calls, that is all.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        LENT.set(LENT.get() - 1);
        if let Some(ends) = self.ends.take().filter(|_| self.held == 0) {
            FREE.with_borrow_mut(|free| {
                if free.len() < FREE_MOST {
                    free.push(ends);
                }
            });
        }
    }
}

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of a body from which on two calls more, and a pipe, cost less than copying.
const WORTH_IT: u64 = 64 * 1024;
/// The size of a pipe: a quarter of what the system lets everybody have.
const PIPE_BYTES: usize = 256 * 1024;
/// Pipes of a thread in use at once; each takes two of the process's open files.
const LENT_MOST: usize = 128;
/// Pipes kept for later.
const FREE_MOST: usize = 32;

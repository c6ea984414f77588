//! Pipes through which large bodies of known length go from socket to socket without ever being in this process's memory.
//!
//! Two calls of `splice` move references to the kernel's pages where a receive and a send would copy the bytes twice. A pipe is
//! filled only when it is empty, and is given back to its thread's pool only then, so no byte of one body can get into another.
//! Called by `uplink` and `downlink`, which copy where no pipe is to be had.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::io::{Socket, Stopped};
use crate::http1::Body;
use crate::reactor::Source;
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
        let moved = poll_fn(|_| {
            loop {
                if from.poll_readable().is_pending() {
                    return from.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed));
                }
                if let Some(moved) = self.pull(from.stream, most) {
                    return Poll::Ready(moved.map_err(|_| Stopped::Broken));
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
        poll_fn(|_| {
            while self.held > 0 {
                if to.stream.poll_writable(to.seat).is_pending() {
                    return to.seat.poll_elapsed(deadline).map(|_| Err(Stopped::Elapsed));
                }
                match self.push(to.stream) {
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

    fn pull(&self, from: &Source, most: usize) -> Option<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Some(Ok(0)) };
        from.reading(|| retry_on_intr(|| splice(from, None, &ends.write, None, most, SpliceFlags::NONBLOCK)))
    }

    fn push(&self, to: &Source) -> Option<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Some(Ok(0)) };
        to.writing(|| retry_on_intr(|| splice(&ends.read, None, to, None, self.held, SpliceFlags::NONBLOCK)))
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

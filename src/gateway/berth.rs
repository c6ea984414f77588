//! Berths: memory for requests under way, out of a per-thread pool, so that an idle connection has none.
//!
//! The future of a request is a few kilobytes. Inside its connection's task it would stay there for as long as the connection
//! is open; here it is as long in memory as the request runs, and nothing is allocated for it. Called by `connection`.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::client::Client;
use super::connection::{After, next_request};
use super::thread::Thread;

/// Room for one request under way.
pub(super) struct Berth(Box<dyn Room>);

/// The free berths of a thread.
#[derive(Default)]
pub(super) struct Berths(RefCell<Vec<Berth>>);

/// What a berth does, without the name that the future of a request does not have.
trait Room {
    fn begin(&mut self, client: Client, thread: Rc<Thread>);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Client, After)>;
}

struct RoomFor<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
}

impl<M, F> Room for RoomFor<M, F>
where
    M: Fn(Client, Rc<Thread>) -> F,
    F: Future<Output = (Client, After)>,
{
    fn begin(&mut self, client: Client, thread: Rc<Thread>) {
        self.future.set(Some((self.make)(client, thread)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Client, After)> {
        // Without a request there is nothing to wake this up.
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let ended = future.poll(cx);
        if ended.is_ready() {
            self.future.set(None);
        }
        ended
    }
}

impl Berth {
    fn new() -> Self {
        Self(Box::new(RoomFor { make: next_request, future: Box::pin(None) }))
    }

    /// Begins with the next request of a client.
    pub(super) fn begin(&mut self, client: Client, thread: Rc<Thread>) {
        self.0.begin(client, thread);
    }

    /// Goes on with it; gives the client back at its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Client, After)> {
        self.0.poll(cx)
    }
}

impl Berths {
    /// A free berth, or a new one.
    pub(super) fn take(&self) -> Berth {
        self.0.borrow_mut().pop().unwrap_or_else(Berth::new)
    }

    /// Keeps a berth for the next request, unless there are many.
    pub(super) fn give_back(&self, berth: Berth) {
        let mut free = self.0.borrow_mut();
        if free.len() < KEPT_MOST {
            free.push(berth);
        }
    }
}

impl fmt::Debug for Berths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Berths").field("free", &self.0.borrow().len()).finish()
    }
}

/// Free berths kept per thread; more than that are given back to the allocator.
const KEPT_MOST: usize = 256;

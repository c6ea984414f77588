//! Small messages leave together, once every task of a turn has had its part.
//!
//! A task that has its last message for a while ready leaves it here and goes on. The first message of a turn wakes the task
//! of [`leave`], which therefore runs after all tasks that were woken along with that one, and hands the messages to their
//! sockets one right behind the other. The kernel's code for sending then stays in the processor's caches, and who waits at
//! the other end is woken for many messages at once. Called through `io`, which keeps the order on each socket.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::io::Stopped;
use super::thread::Thread;
use super::wheel::{Seat, Wheel};
use crate::time::Instant;

/// The messages of one data thread that have not left.
#[derive(Debug)]
pub(super) struct Sends {
    wheel: Rc<Wheel>,
    turn: RefCell<Turn>,
    /// What sockets would not take at once; hardly ever anything.
    kept: RefCell<Vec<Kept>>,
}

/// What has been left here in this turn.
#[derive(Debug, Default)]
struct Turn {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Of the task that sends them, once it runs.
    sender: Option<Waker>,
}

#[derive(Debug)]
struct Message {
    stream: Rc<TcpStream>,
    bytes: Range<usize>,
    /// Of the task that is woken if the socket does not take it.
    seat: usize,
    timeout: Duration,
}

/// What belongs into a socket before anything else does.
#[derive(Debug)]
struct Kept {
    stream: Rc<TcpStream>,
    /// None: the connection is broken.
    rest: Option<Vec<u8>>,
    timeout: Duration,
    deadline: Instant,
}

impl Sends {
    /// Nothing to send, on the thread of these seats.
    pub(super) fn new(wheel: &Rc<Wheel>) -> Self {
        Self { wheel: Rc::clone(wheel), turn: RefCell::default(), kept: RefCell::default() }
    }

    /// Takes a copy of a message, to be sent soon; false if it is too long for that, or nobody is there to send it.
    ///
    /// From now on what else is to be sent on this connection has to come after [`Sends::leave_now`] and [`Sends::poll_rest`].
    pub(super) fn leave(&self, stream: &Rc<TcpStream>, bytes: &[u8], seat: &Seat, timeout: Duration) -> bool {
        if bytes.len() > MESSAGE_MOST {
            return false;
        }
        if self.turn.borrow().messages.len() == TURN_MOST {
            self.leave_now();
        }
        let turn = &mut *self.turn.borrow_mut();
        let Some(sender) = &turn.sender else { return false };
        if turn.messages.is_empty() {
            sender.wake_by_ref();
        }
        let start = turn.bytes.len();
        turn.bytes.extend_from_slice(bytes);
        let bytes = start..turn.bytes.len();
        turn.messages.push(Message { stream: Rc::clone(stream), bytes, seat: seat.index(), timeout });
        true
    }

    /// Sends what has been left here.
    pub(super) fn leave_now(&self) {
        let Turn { bytes, messages, .. } = &mut *self.turn.borrow_mut();
        for message in messages.drain(..) {
            self.send(&message, &bytes[message.bytes.clone()]);
        }
        bytes.clear();
    }

    fn send(&self, message: &Message, bytes: &[u8]) {
        let mut kept = self.kept.borrow_mut();
        if let Some(before) = kept.iter_mut().find(|kept| Rc::ptr_eq(&kept.stream, &message.stream)) {
            before.rest.iter_mut().for_each(|rest| rest.extend_from_slice(bytes));
            return;
        }
        let rest = match try_send(&message.stream, bytes) {
            Some(Ok(count)) if count == bytes.len() => return,
            Some(Ok(count)) => Some(bytes[count..].to_vec()),
            None => Some(bytes.to_vec()),
            Some(Err(_)) => None,
        };
        let deadline = self.wheel.deadline(message.timeout);
        kept.push(Kept { stream: Rc::clone(&message.stream), rest, timeout: message.timeout, deadline });
        self.wheel.wake(message.seat);
    }

    /// Goes on with what a socket has not taken of what was left here for it; ready if there is nothing of it any more.
    ///
    /// After an error nothing more can be sent on the connection.
    pub(super) fn poll_rest(
        &self,
        stream: &Rc<TcpStream>,
        seat: &Seat,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        let kept = &mut *self.kept.borrow_mut();
        let Some(index) = kept.iter().position(|kept| Rc::ptr_eq(&kept.stream, stream)) else {
            return Poll::Ready(Ok(()));
        };
        let ended = kept[index].poll(seat, cx);
        if ended.is_ready() {
            kept.swap_remove(index);
        }
        ended
    }

    /// Forgets what was meant for connections that nobody holds any more, and so closes them.
    pub(super) fn sweep(&self) {
        self.kept.borrow_mut().retain(|kept| Rc::strong_count(&kept.stream) > 1);
    }
}

impl Kept {
    fn poll(&mut self, seat: &Seat, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Err(Stopped::Broken)) };
        while !rest.is_empty() {
            match poll_send(&self.stream, rest, cx) {
                Poll::Ready(Ok(count)) => {
                    rest.drain(..count);
                    self.deadline = seat.deadline(self.timeout);
                }
                Poll::Ready(Err(stopped)) => return Poll::Ready(Err(stopped)),
                Poll::Pending => return seat.poll_elapsed(self.deadline).map(|_| Err(Stopped::Elapsed)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends, to the end of the thread, what is left in each turn.
pub(super) async fn leave(thread: Rc<Thread>) -> io::Result<Infallible> {
    poll_fn(|cx| {
        thread.sends.turn.borrow_mut().sender.get_or_insert_with(|| cx.waker().clone());
        thread.sends.leave_now();
        Poll::Pending
    })
    .await
}

/// One attempt to send, once the socket can be sent to.
pub(super) fn poll_send(stream: &TcpStream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
    loop {
        match stream.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Broken)),
            Poll::Pending => return Poll::Pending,
        }
        if let Some(sent) = try_send(stream, bytes) {
            return Poll::Ready(sent);
        }
    }
}

/// One attempt to send; none: the socket takes nothing now.
fn try_send(stream: &TcpStream, bytes: &[u8]) -> Option<Result<usize, Stopped>> {
    let send = || Ok(retry_on_intr(|| rustix::net::send(stream, bytes, SendFlags::NOSIGNAL))?);
    match stream.try_io(Interest::WRITABLE, send) {
        Ok(count) => Some(Ok(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_) => Some(Err(Stopped::Broken)),
    }
}

/// Copying what is longer costs more than sending it along with others saves.
const MESSAGE_MOST: usize = 4 * 1024;
/// Messages that wait at most: the first of them must not wait for too many tasks.
const TURN_MOST: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream as Peer};
    use std::thread;

    use super::*;

    /// One connection of a thread, and its other end, which reads nothing by itself.
    struct Fixture {
        wheel: Rc<Wheel>,
        sends: Sends,
        stream: Rc<TcpStream>,
        seat: Seat,
        peer: Peer,
    }

    fn with_connection<F: Future>(test: impl FnOnce(Fixture) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = Rc::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (peer, _) = listener.accept().unwrap();
            let wheel = Wheel::new();
            let sends = Sends::new(&wheel);
            let seat = poll_fn(|cx| {
                sends.turn.borrow_mut().sender = Some(cx.waker().clone());
                Poll::Ready(wheel.seat(cx))
            })
            .await;
            test(Fixture { wheel, sends, stream, seat, peer }).await
        })
    }

    impl Fixture {
        fn leave(&self, number: usize, timeout: Duration) {
            assert!(self.sends.leave(&self.stream, &message(number), &self.seat, timeout));
        }

        /// Leaves messages until the socket takes no more; how many.
        fn fill(&self, timeout: Duration) -> usize {
            let mut left = 0;
            while self.sends.kept.borrow().is_empty() {
                self.leave(left, timeout);
                self.sends.leave_now();
                left += 1;
            }
            left
        }
    }

    fn message(number: usize) -> Vec<u8> {
        vec![u8::try_from(number % 251).unwrap(); MESSAGE_MOST]
    }

    fn expect_messages(peer: &mut Peer, count: usize) {
        for number in 0..count {
            let mut read = vec![0; MESSAGE_MOST];
            peer.read_exact(&mut read).unwrap();
            assert!(read == message(number), "message {number} of {count}");
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn messages_of_more_than_a_turn_leave_in_order() {
        with_connection(async |mut fixture| {
            let count = TURN_MOST / 8 * 9;
            let reader = {
                let mut peer = fixture.peer.try_clone().unwrap();
                thread::spawn(move || expect_messages(&mut peer, count))
            };
            for number in 0..count {
                fixture.leave(number, LONG);
            }
            fixture.sends.leave_now();
            poll_fn(|cx| fixture.sends.poll_rest(&fixture.stream, &fixture.seat, cx)).await.unwrap();
            reader.join().unwrap();
            drop(fixture.stream);
            assert_eq!(fixture.peer.read(&mut [0]).unwrap(), 0, "nothing else was sent");
        });
    }

    #[test]
    fn what_a_socket_does_not_take_follows_in_order() {
        with_connection(async |mut fixture| {
            let count = fixture.fill(LONG);
            fixture.leave(count, LONG);
            fixture.sends.leave_now();
            let reader = thread::spawn(move || expect_messages(&mut fixture.peer, count + 1));
            poll_fn(|cx| fixture.sends.poll_rest(&fixture.stream, &fixture.seat, cx)).await.unwrap();
            assert!(fixture.sends.kept.borrow().is_empty());
            reader.join().unwrap();
        });
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        with_connection(async |fixture| {
            fixture.fill(Duration::ZERO);
            let given_up = poll_fn(|cx| {
                fixture.wheel.now();
                cx.waker().wake_by_ref();
                fixture.sends.poll_rest(&fixture.stream, &fixture.seat, cx)
            });
            assert_eq!(given_up.await, Err(Stopped::Elapsed));
            assert!(fixture.sends.kept.borrow().is_empty());
        });
    }

    #[test]
    fn what_nobody_can_send_any_more_is_forgotten() {
        with_connection(async |fixture| {
            fixture.fill(LONG);
            fixture.sends.sweep();
            assert_eq!(fixture.sends.kept.borrow().len(), 1);
            drop(fixture.stream);
            fixture.sends.sweep();
            assert!(fixture.sends.kept.borrow().is_empty());
        });
    }

    #[test]
    fn long_messages_and_those_that_nobody_would_send_are_not_taken() {
        with_connection(async |fixture| {
            let long = [0; MESSAGE_MOST + 1];
            assert!(!fixture.sends.leave(&fixture.stream, &long, &fixture.seat, LONG));
            fixture.sends.turn.borrow_mut().sender = None;
            assert!(!fixture.sends.leave(&fixture.stream, &long[1..], &fixture.seat, LONG));
        });
    }
}

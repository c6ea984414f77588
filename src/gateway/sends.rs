//! Small messages leave together, once every task of a turn has had its part.
//!
//! A task that has its last message for a while ready leaves it here and goes on. At the end of the turn the thread hands the
//! messages to their sockets one right behind the other. The kernel's code for sending then stays in the processor's caches, and
//! who waits at the other end is woken for many messages at once. Called through `io`, which keeps the order on each socket.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::io::Stopped;
use crate::reactor::{Seat, Source, Tasks};
use crate::time::Instant;

/// The messages of one data thread that have not left.
#[derive(Debug)]
pub(super) struct Sends {
    tasks: Rc<Tasks>,
    turn: RefCell<Turn>,
    /// What sockets would not take at once; hardly ever anything.
    kept: RefCell<Vec<Kept>>,
    has_kept: Cell<bool>,
}

/// What has been left here in this turn.
#[derive(Debug, Default)]
struct Turn {
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    stream: Rc<Source>,
    bytes: Range<usize>,
    /// Of the task that is woken if the socket does not take it.
    seat: usize,
    timeout: Duration,
}

/// What belongs into a socket before anything else does.
#[derive(Debug)]
struct Kept {
    stream: Rc<Source>,
    /// None: the connection is broken.
    rest: Option<Vec<u8>>,
    timeout: Duration,
    deadline: Instant,
}

impl Sends {
    /// Nothing to send, on the thread of these tasks.
    pub(super) fn new(tasks: &Rc<Tasks>) -> Self {
        Self { tasks: Rc::clone(tasks), turn: RefCell::default(), kept: RefCell::default(), has_kept: Cell::new(false) }
    }

    /// Takes a copy of a message, to be sent soon; false if it is too long for that.
    ///
    /// From now on what else is to be sent on this connection has to come after [`Sends::leave_now`] and [`Sends::poll_rest`].
    pub(super) fn leave(&self, stream: &Rc<Source>, bytes: &[u8], seat: &Seat, timeout: Duration) -> bool {
        if bytes.len() > MESSAGE_MOST {
            return false;
        }
        if self.turn.borrow().messages.len() == TURN_MOST {
            self.leave_now();
        }
        let turn = &mut *self.turn.borrow_mut();
        let start = turn.bytes.len();
        turn.bytes.extend_from_slice(bytes);
        let bytes = start..turn.bytes.len();
        turn.messages.push(Message { stream: Rc::clone(stream), bytes, seat: seat.index(), timeout });
        true
    }

    /// Sends what has been left here.
    pub(super) fn leave_now(&self) {
        let Turn { bytes, messages } = &mut *self.turn.borrow_mut();
        for message in messages.drain(..) {
            self.send(&message, &bytes[message.bytes.clone()]);
        }
        bytes.clear();
    }

    fn send(&self, message: &Message, bytes: &[u8]) {
        if self.has_kept.get() && self.keep_behind(message, bytes) {
            return;
        }
        match message.stream.send(bytes) {
            Some(Ok(count)) if count == bytes.len() => {}
            Some(Ok(count)) => self.keep(message, Some(bytes[count..].to_vec())),
            None => self.keep(message, Some(bytes.to_vec())),
            Some(Err(_)) => self.keep(message, None),
        }
    }

    /// Keeps a message if something is kept for its socket already.
    #[cold]
    fn keep_behind(&self, message: &Message, bytes: &[u8]) -> bool {
        let mut kept = self.kept.borrow_mut();
        let before = kept.iter_mut().find(|kept| Rc::ptr_eq(&kept.stream, &message.stream));
        before.map(|before| before.rest.iter_mut().for_each(|rest| rest.extend_from_slice(bytes))).is_some()
    }

    #[cold]
    fn keep(&self, message: &Message, rest: Option<Vec<u8>>) {
        let deadline = self.tasks.deadline(message.timeout);
        self.has_kept.set(true);
        let stream = Rc::clone(&message.stream);
        self.kept.borrow_mut().push(Kept { stream, rest, timeout: message.timeout, deadline });
        self.tasks.wake(message.seat);
    }

    /// Goes on with what a socket has not taken of what was left here for it; ready if there is nothing of it any more.
    ///
    /// After an error nothing more can be sent on the connection.
    #[inline]
    pub(super) fn poll_rest(&self, stream: &Rc<Source>, seat: &Seat) -> Poll<Result<(), Stopped>> {
        if self.has_kept.get() { self.poll_kept(stream, seat) } else { Poll::Ready(Ok(())) }
    }

    #[cold]
    fn poll_kept(&self, stream: &Rc<Source>, seat: &Seat) -> Poll<Result<(), Stopped>> {
        let kept = &mut *self.kept.borrow_mut();
        let Some(index) = kept.iter().position(|kept| Rc::ptr_eq(&kept.stream, stream)) else {
            return Poll::Ready(Ok(()));
        };
        let ended = kept[index].poll(seat);
        if ended.is_ready() {
            kept.swap_remove(index);
            self.has_kept.set(!kept.is_empty());
        }
        ended
    }

    /// Forgets what was meant for connections that nobody holds any more, and so closes them.
    pub(super) fn sweep(&self) {
        let kept = &mut *self.kept.borrow_mut();
        kept.retain(|kept| Rc::strong_count(&kept.stream) > 1);
        self.has_kept.set(!kept.is_empty());
    }
}

impl Kept {
    fn poll(&mut self, seat: &Seat) -> Poll<Result<(), Stopped>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Err(Stopped::Broken)) };
        while !rest.is_empty() {
            match self.stream.poll_send(rest, seat) {
                Poll::Ready(Ok(count)) => {
                    rest.drain(..count);
                    self.deadline = seat.deadline(self.timeout);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Broken)),
                Poll::Pending => return seat.poll_elapsed(self.deadline).map(|_| Err(Stopped::Elapsed)),
            }
        }
        Poll::Ready(Ok(()))
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
    use crate::reactor::Reactor;

    /// One connection of a thread, and its other end, which reads nothing by itself.
    struct Fixture {
        tasks: Rc<Tasks>,
        reactor: Rc<Reactor>,
        sends: Sends,
        stream: Rc<Source>,
        seat: Seat,
        peer: Peer,
    }

    impl Fixture {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = Peer::connect(listener.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (peer, _) = listener.accept().unwrap();
            let tasks = Tasks::new();
            let reactor = Reactor::new(&tasks).unwrap();
            let stream = Source::new(socket.into(), &reactor).unwrap();
            let mut seat = None;
            tasks.spawn(|given| {
                seat = Some(given);
                std::future::pending()
            });
            Self { sends: Sends::new(&tasks), tasks, reactor, stream, seat: seat.unwrap(), peer }
        }

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

        /// Takes turns until nothing is left over, or nothing can be sent any more.
        fn send_rest(&self) -> Result<(), Stopped> {
            loop {
                if let Poll::Ready(ended) = self.sends.poll_rest(&self.stream, &self.seat) {
                    return ended;
                }
                self.reactor.wait(Some(Duration::from_millis(1))).unwrap();
                self.tasks.tick();
            }
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
        let mut fixture = Fixture::new();
        let count = TURN_MOST / 8 * 9;
        let reader = {
            let mut peer = fixture.peer.try_clone().unwrap();
            thread::spawn(move || expect_messages(&mut peer, count))
        };
        for number in 0..count {
            fixture.leave(number, LONG);
        }
        fixture.sends.leave_now();
        fixture.send_rest().unwrap();
        reader.join().unwrap();
        drop(fixture.stream);
        assert_eq!(fixture.peer.read(&mut [0]).unwrap(), 0, "nothing else was sent");
    }

    #[test]
    fn what_a_socket_does_not_take_follows_in_order() {
        let fixture = Fixture::new();
        let count = fixture.fill(LONG);
        fixture.leave(count, LONG);
        fixture.sends.leave_now();
        let mut peer = fixture.peer.try_clone().unwrap();
        let reader = thread::spawn(move || expect_messages(&mut peer, count + 1));
        fixture.send_rest().unwrap();
        assert!(fixture.sends.kept.borrow().is_empty());
        reader.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let fixture = Fixture::new();
        fixture.fill(Duration::ZERO);
        assert_eq!(fixture.send_rest(), Err(Stopped::Elapsed));
        assert!(fixture.sends.kept.borrow().is_empty());
    }

    #[test]
    fn what_nobody_can_send_any_more_is_forgotten() {
        let fixture = Fixture::new();
        fixture.fill(LONG);
        fixture.sends.sweep();
        assert_eq!(fixture.sends.kept.borrow().len(), 1);
        drop(fixture.stream);
        fixture.sends.sweep();
        assert!(fixture.sends.kept.borrow().is_empty());
    }

    #[test]
    fn long_messages_are_not_taken() {
        let fixture = Fixture::new();
        let long = [0; MESSAGE_MOST + 1];
        assert!(!fixture.sends.leave(&fixture.stream, &long, &fixture.seat, LONG));
        assert!(fixture.sends.leave(&fixture.stream, &long[1..], &fixture.seat, LONG));
    }
}

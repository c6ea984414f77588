//! Sockets of one data thread, with what the system has said of them: whether they can be read from or written to.
//!
//! A flag is set by an event and taken away by an attempt that finds nothing to do, so no call is made in vain. The system tells of
//! each change once (edge-triggered), of an end for good.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::events::Reactor;
use super::tasks::Seat;
use crate::http1::Buffer;

/// A socket, a timer or an `eventfd` that the reactor of its thread watches. Closed when it is dropped.
pub struct Source {
    fd: OwnedFd,
    reactor: Rc<Reactor>,
    place: usize,
    flags: Cell<u8>,
    /// Whose task is woken when something happens.
    seat: Cell<usize>,
    /// What was received for a task that waits for a head.
    ahead: Cell<Option<Buffer>>,
}

impl Source {
    /// Watches a socket that does not block; it counts as writable until it says otherwise.
    ///
    /// # Errors
    /// If the system cannot watch one more.
    pub fn new(fd: OwnedFd, reactor: &Rc<Reactor>) -> io::Result<Rc<Self>> {
        Self::with_flags(fd, reactor, WRITABLE)
    }

    /// Begins to connect to an address: see [`Source::poll_connected`].
    ///
    /// # Errors
    /// If that fails at once.
    pub fn connect(address: SocketAddr, reactor: &Rc<Reactor>) -> io::Result<Rc<Self>> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Self::with_flags(socket.into(), reactor, 0)
    }

    /// Rings at every tick, from one tick on: see [`Source::has_rung`].
    ///
    /// # Errors
    /// If the system gives no timer.
    pub fn ticking(tick: Duration, reactor: &Rc<Reactor>) -> io::Result<Rc<Self>> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let tick = Timespec { tv_sec: tick.as_secs().cast_signed(), tv_nsec: tick.subsec_nanos().into() };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
        Self::with_flags(timer, reactor, 0)
    }

    fn with_flags(fd: OwnedFd, reactor: &Rc<Reactor>, flags: u8) -> io::Result<Rc<Self>> {
        reactor.watch(|place| Self {
            fd,
            reactor: Rc::clone(reactor),
            place,
            flags: Cell::new(flags),
            seat: Cell::new(NOBODY),
            ahead: Cell::new(None),
        })
    }

    /// Ready once it is connected, or cannot be.
    pub fn poll_connected(&self, seat: &Seat) -> Poll<io::Result<()>> {
        if self.has(WRITABLE) {
            return Poll::Ready(socket2::SockRef::from(self).take_error().and_then(|error| error.map_or(Ok(()), Err)));
        }
        self.wait(seat)
    }

    /// Ready once there may be something to read, be it an end or an error.
    pub fn poll_readable(&self, seat: &Seat) -> Poll<()> {
        if self.is_quiet() { self.wait(seat) } else { Poll::Ready(()) }
    }

    /// Ready once something may be written, be it only to hear of an error.
    pub fn poll_writable(&self, seat: &Seat) -> Poll<()> {
        if self.has(WRITABLE) { Poll::Ready(()) } else { self.wait(seat) }
    }

    /// The same as [`Source::poll_readable`] for a task that has nothing to do before a head is there: the reactor may receive
    /// the first bytes for it, so that heads that come at the same time are received one right behind the other.
    pub fn poll_head(&self, seat: &Seat) -> Poll<()> {
        let ready = self.poll_readable(seat);
        if ready.is_pending() {
            self.set(WANTS_HEAD);
        }
        ready
    }

    /// What the reactor has received already: to be asked for before anything else is read.
    pub fn take_ahead(&self) -> Option<Buffer> {
        self.has(HOLDS_AHEAD).then(|| self.clear(HOLDS_AHEAD))?;
        self.ahead.take()
    }

    /// One attempt to receive into the free space of `buffer`, which must not be full; 0 is the end of the connection.
    pub fn poll_receive(&self, buffer: &mut Buffer, seat: &Seat) -> Poll<io::Result<usize>> {
        if let Some(mut ahead) = self.take_ahead() {
            let count = buffer.append(ahead.filled());
            ahead.consume(count);
            if !ahead.is_empty() {
                self.keep_ahead(ahead);
            }
            return Poll::Ready(Ok(count));
        }
        if !self.has(READABLE) {
            return self.wait(seat);
        }
        self.receive(buffer).map_or_else(|| self.wait(seat), Poll::Ready)
    }

    /// One attempt to send; pending: the socket takes nothing now.
    pub fn poll_send(&self, bytes: &[u8], seat: &Seat) -> Poll<io::Result<usize>> {
        if !self.has(WRITABLE) {
            return self.wait(seat);
        }
        self.send(bytes).map_or_else(|| self.wait(seat), Poll::Ready)
    }

    /// One attempt to send for a task that may be waiting for something else; none: the socket takes nothing now.
    pub fn send(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        self.attempt(WRITABLE, || retry_on_intr(|| rustix::net::send(self, bytes, SendFlags::NOSIGNAL)))
    }

    /// One attempt at something that reads from the socket, which is readable; none: there is nothing now.
    pub fn reading<T>(&self, attempt: impl FnOnce() -> rustix::io::Result<T>) -> Option<io::Result<T>> {
        self.attempt(READABLE, attempt)
    }

    /// One attempt at something that writes to the socket, which is writable; none: it takes nothing now.
    pub fn writing<T>(&self, attempt: impl FnOnce() -> rustix::io::Result<T>) -> Option<io::Result<T>> {
        self.attempt(WRITABLE, attempt)
    }

    /// Learns whether a socket that was not read to its end has anything more to read.
    ///
    /// A receive that finds less than it has room for shows that; what went through a pipe does not.
    pub fn look_for_more(&self) {
        let mut byte = [MaybeUninit::uninit()];
        // What is found is left where it is, and an error will be met by whoever reads next.
        let _ = self.reading(|| rustix::net::recv(self, &mut byte, RecvFlags::PEEK).map(drop));
    }

    /// Of a timer or an `eventfd`: whether it has rung since this was last asked.
    pub fn has_rung(&self) -> bool {
        let has_rung = !self.is_quiet();
        if has_rung {
            // One reading silences it; an attempt more tells that it is silent.
            while let Some(Ok(_)) = self.reading(|| rustix::io::read(self, &mut [0; 8])) {}
        }
        has_rung
    }

    /// Whether nothing has come and nothing has ended, as far as is known.
    pub fn is_quiet(&self) -> bool {
        self.flags.get() & (READABLE | HOLDS_AHEAD) == 0
    }

    /// Takes an event in: whose task it wakes, if it is news.
    pub(super) fn take_in(&self, event: EventFlags) -> Option<usize> {
        let before = self.flags.get();
        self.set(flags_of(event));
        let wanted = self.has(READABLE) && self.has(WANTS_HEAD);
        if wanted {
            self.clear(WANTS_HEAD);
            let mut buffer = Buffer::take();
            match self.receive(&mut buffer) {
                Some(Ok(count)) if count > 0 => self.keep_ahead(buffer),
                // The end is met once more by whoever reads next.
                Some(_) => {}
                None => self.set(WANTS_HEAD),
            }
        }
        let news = self.flags.get() & !before & !WANTS_HEAD;
        (news != 0 && self.seat.get() != NOBODY).then(|| self.seat.get())
    }

    fn receive(&self, buffer: &mut Buffer) -> Option<io::Result<usize>> {
        let free = buffer.free();
        let room = free.len();
        let received = self.attempt(READABLE, || {
            retry_on_intr(|| rustix::net::recv(self, &mut *free, RecvFlags::empty()).map(|(_, count)| count))
        })?;
        if let Ok(count) = received {
            buffer.fill(count);
            // Less than there was room for: there is no more, unless it is the end. Said like this it is known without another call.
            if (1..room).contains(&count) && !self.has(ENDED) {
                self.clear(READABLE);
            }
        }
        Some(received)
    }

    fn attempt<T>(&self, flag: u8, attempt: impl FnOnce() -> rustix::io::Result<T>) -> Option<io::Result<T>> {
        match attempt() {
            Ok(value) => Some(Ok(value)),
            Err(Errno::AGAIN) => {
                self.clear(flag);
                None
            }
            Err(error) => Some(Err(error.into())),
        }
    }

    fn keep_ahead(&self, buffer: Buffer) {
        self.ahead.set(Some(buffer));
        self.set(HOLDS_AHEAD);
    }

    fn wait<T>(&self, seat: &Seat) -> Poll<T> {
        self.seat.set(seat.index());
        Poll::Pending
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flags: u8) {
        self.flags.set(self.flags.get() | flags);
    }

    fn clear(&self, flag: u8) {
        self.flags.set(self.flags.get() & !flag);
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("fd", &self.fd).field("flags", &self.flags.get()).finish_non_exhaustive()
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reactor.forget(self.place);
    }
}

fn flags_of(event: EventFlags) -> u8 {
    let ends = event.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
    let breaks = event.intersects(EventFlags::HUP | EventFlags::ERR);
    let mut flags = 0;
    if ends {
        flags |= READABLE | ENDED;
    }
    if breaks || event.contains(EventFlags::OUT) {
        flags |= WRITABLE;
    }
    if event.contains(EventFlags::IN) {
        flags |= READABLE;
    }
    flags
}

/// There may be something to read.
const READABLE: u8 = 1;
/// Something may be written.
const WRITABLE: u8 = 1 << 1;
/// The other side sends no more: from now on only an attempt tells whether there is more to read.
const ENDED: u8 = 1 << 2;
/// The reactor may receive for whoever waits.
const WANTS_HEAD: u8 = 1 << 3;
/// The reactor has received.
const HOLDS_AHEAD: u8 = 1 << 4;
/// No task.
const NOBODY: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;
    use crate::reactor::Tasks;

    /// A watched socket, the seat of a task that does nothing, and the other end.
    struct Fixture {
        reactor: Rc<Reactor>,
        tasks: Rc<Tasks>,
        source: Rc<Source>,
        seat: Seat,
        peer: TcpStream,
    }

    impl Fixture {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let tasks = Tasks::new();
            let reactor = Reactor::new(&tasks).unwrap();
            let mut seat = None;
            tasks.spawn(|given| {
                seat = Some(given);
                std::future::pending()
            });
            let seat = seat.unwrap();
            let source = Source::connect(listener.local_addr().unwrap(), &reactor).unwrap();
            let (peer, _) = listener.accept().unwrap();
            let fixture = Self { reactor, tasks, source, seat, peer };
            fixture.wait_until(|| fixture.source.poll_connected(&fixture.seat).map(Result::unwrap));
            fixture
        }

        /// Takes turns until something is ready; a task is woken before it is.
        fn wait_until<T>(&self, ready: impl Fn() -> Poll<T>) -> T {
            for _ in 0..TURNS_MOST {
                if let Poll::Ready(ready) = ready() {
                    return ready;
                }
                if !self.tasks.has_woken() {
                    self.reactor.wait(Some(Duration::from_secs(1))).unwrap();
                }
                self.tasks.run_woken();
            }
            panic!("nothing that is waited for has happened");
        }

        fn receive(&self) -> io::Result<Vec<u8>> {
            self.wait_until(|| {
                let mut buffer = Buffer::take();
                self.source.poll_receive(&mut buffer, &self.seat).map_ok(|_| buffer.filled().to_vec())
            })
        }
    }

    /// Turns after which a test gives up: as many seconds, if nothing happens in them.
    const TURNS_MOST: usize = 30;

    #[test]
    fn what_comes_is_received_and_then_waited_for_again() {
        let mut fixture = Fixture::new();
        for word in [&b"one"[..], b"two"] {
            assert!(fixture.source.poll_readable(&fixture.seat).is_pending());
            fixture.peer.write_all(word).unwrap();
            assert_eq!(fixture.receive().unwrap(), word);
            assert!(fixture.source.is_quiet());
        }
    }

    #[test]
    fn an_end_is_met_behind_what_came_before_it_and_every_time_after() {
        let mut fixture = Fixture::new();
        assert!(fixture.source.poll_head(&fixture.seat).is_pending());
        fixture.peer.write_all(b"last").unwrap();
        fixture.peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(fixture.receive().unwrap(), b"last");
        assert_eq!(fixture.receive().unwrap(), b"");
        assert_eq!(fixture.receive().unwrap(), b"");
    }

    #[test]
    fn the_reactor_receives_for_a_task_that_waits_for_a_head_and_only_once() {
        let mut fixture = Fixture::new();
        assert!(fixture.source.poll_head(&fixture.seat).is_pending());
        fixture.peer.write_all(b"head").unwrap();
        fixture.wait_until(|| fixture.source.poll_readable(&fixture.seat));
        assert!(!fixture.source.is_quiet());
        assert_eq!(fixture.source.take_ahead().unwrap().filled(), b"head");
        assert!(fixture.source.is_quiet() && fixture.source.take_ahead().is_none());
        fixture.peer.write_all(b"more").unwrap();
        fixture.wait_until(|| fixture.source.poll_readable(&fixture.seat));
        assert!(fixture.source.take_ahead().is_none(), "nobody waits for a head");
        assert_eq!(fixture.receive().unwrap(), b"more");
    }

    #[test]
    fn what_was_received_ahead_is_read_before_the_rest_and_none_of_it_is_lost() {
        let mut fixture = Fixture::new();
        assert!(fixture.source.poll_head(&fixture.seat).is_pending());
        fixture.peer.write_all(b"first").unwrap();
        fixture.wait_until(|| fixture.source.poll_readable(&fixture.seat));
        fixture.peer.write_all(b"second").unwrap();
        let mut buffer = Buffer::take();
        buffer.fill(buffer.room() - 3);
        let mut read = Vec::new();
        for count in [3, 2] {
            assert!(
                matches!(fixture.source.poll_receive(&mut buffer, &fixture.seat), Poll::Ready(Ok(n)) if n == count)
            );
            read.extend_from_slice(&buffer.filled()[buffer.len() - count..]);
            buffer.clear();
        }
        assert_eq!(read, b"first");
        assert_eq!(fixture.receive().unwrap(), b"second");
    }

    #[test]
    fn a_socket_that_is_full_can_be_written_to_once_the_other_side_has_read() {
        let mut fixture = Fixture::new();
        let bytes = vec![7; 1 << 16];
        let mut sent = 0;
        while let Poll::Ready(count) = fixture.source.poll_send(&bytes, &fixture.seat) {
            sent += count.unwrap();
        }
        assert!(fixture.source.poll_writable(&fixture.seat).is_pending());
        let mut read = vec![0; sent];
        fixture.peer.read_exact(&mut read).unwrap();
        fixture.wait_until(|| fixture.source.poll_writable(&fixture.seat));
        assert!(matches!(fixture.source.send(b"x"), Some(Ok(1))));
    }

    #[test]
    fn a_timer_rings_again_and_again_and_is_heard_once_each_time() {
        let reactor = Reactor::new(&Tasks::new()).unwrap();
        let timer = Source::ticking(Duration::from_millis(1), &reactor).unwrap();
        for _ in 0..3 {
            assert!(!timer.has_rung());
            reactor.wait(Some(Duration::from_secs(10))).unwrap();
            assert!(timer.has_rung());
        }
    }

    #[test]
    fn who_cannot_be_connected_to_is_told_of() {
        let tasks = Tasks::new();
        let reactor = Reactor::new(&tasks).unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut seat = None;
        tasks.spawn(|given| {
            seat = Some(given);
            std::future::pending()
        });
        let seat = seat.unwrap();
        let refused = Source::connect(nobody, &reactor).and_then(|source| {
            let ended = (0..TURNS_MOST).find_map(|_| {
                let ended = source.poll_connected(&seat);
                reactor.wait(Some(Duration::from_secs(u64::from(ended.is_pending())))).unwrap();
                if let Poll::Ready(ended) = ended { Some(ended) } else { None }
            });
            ended.unwrap()
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

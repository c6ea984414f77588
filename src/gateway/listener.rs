//! Listening sockets: one per address and data thread, and accepting on each.
//!
//! Running out of file descriptors, or of the connections that are allowed, never ends it: it answers 503 while it can and
//! holds back otherwise.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with, sockopt};
use socket2::{Domain, Protocol, Socket as Unbound, Type};

use super::client::Client;
use super::connection;
use super::io::Socket;
use super::shared::ConnectionSlot;
use super::thread::Thread;
use crate::reactor::Source;
use crate::time::Instant;
use crate::upstream::is_exhaustion;

/// Binds `address` once for each of `threads`, so that the kernel spreads connections over them; with port 0, all get one port.
///
/// # Errors
/// If the address cannot be bound; also if another process, be it another keygate, has it already.
pub(super) fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<StdListener>> {
    let address = probe(address)?;
    (0..threads).map(|_| listen(address)).collect()
}

/// Binds without sharing the port first: with `SO_REUSEPORT` alone a second instance would silently get half of the traffic.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Unbound> {
    let socket = Unbound::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// A listening socket of a data thread.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Rc<Source>,
    paused_until: Instant,
}

impl Listener {
    /// Accepts from now on what comes in at a socket that does not block.
    ///
    /// # Errors
    /// If the thread cannot watch it.
    pub(super) fn new(socket: StdListener, thread: &Thread) -> io::Result<Self> {
        Ok(Self { socket: Source::new(socket.into(), &thread.reactor)?, paused_until: thread.tasks.coarse_now() })
    }

    /// Whether there may be somebody who can be accepted now. While many are told that the gateway is full, nobody can.
    pub(super) fn is_ready(&self, thread: &Thread) -> bool {
        !self.socket.is_quiet()
            && self.paused_until <= thread.tasks.coarse_now()
            && thread.turned_away.get() < TURNED_AWAY_AT_ONCE
    }

    /// Accepts those who wait, but not too many in one turn.
    pub(super) fn accept(&mut self, thread: &Rc<Thread>) {
        for _ in 0..ACCEPTED_AT_ONCE {
            if !self.is_ready(thread) {
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match self.socket.reading(|| acceptfrom_with(&*self.socket, flags)) {
                None => return,
                Some(Ok((stream, peer))) => welcome(stream, peer, thread),
                Some(Err(error)) => {
                    thread.metrics.accept_errors.add(1);
                    // Others are errors of one connection, gone before it was accepted.
                    if is_exhaustion(&error) {
                        self.paused_until = thread.tasks.coarse_now().after(EXHAUSTION_PAUSE);
                    }
                }
            }
        }
    }
}

fn welcome(stream: OwnedFd, peer: Option<SocketAddrAny>, thread: &Rc<Thread>) {
    // Who has left already has no address any more.
    let Some(Ok(peer)) = peer.map(SocketAddr::try_from) else { return };
    // Without it the last part of an answer waits for an acknowledgement; it cannot fail on a live socket.
    let _ = sockopt::set_tcp_nodelay(&stream, true);
    let Some(slot) = thread.shared.connection_slot(thread.index) else {
        thread.metrics.refused.add(1);
        return turn_away(stream, peer, thread);
    };
    if slot.thread() == thread.index {
        return serve(stream, peer, slot, thread);
    }
    // A thread that has stopped takes nobody in: closed.
    let _ = slot.hand_over(stream, peer);
}

/// Serves a connection that this thread has accepted, or that another one has handed to it.
pub(super) fn serve(stream: OwnedFd, peer: SocketAddr, slot: ConnectionSlot, thread: &Rc<Thread>) {
    // One that cannot be watched is closed; the system has run out of memory then.
    let Ok(stream) = Source::new(stream, &thread.reactor) else { return };
    thread.metrics.accepted.add(1);
    thread.tasks.spawn(|seat| connection::serve(stream, peer, seat, Rc::clone(thread), slot));
}

/// Tells a client that the gateway is full.
fn turn_away(stream: OwnedFd, peer: SocketAddr, thread: &Rc<Thread>) {
    let Ok(stream) = Source::new(stream, &thread.reactor) else { return };
    let place = TurnedAway::new(thread);
    thread.tasks.spawn(|seat| async move {
        let TurnedAway(thread) = &place;
        let mut client = Client { stream, peer: peer.ip(), input: None, seat };
        let socket = Socket { stream: &client.stream, seat: &client.seat, sends: &thread.sends };
        // Whether it was heard makes no difference.
        if socket.write_all(FULL.as_bytes(), TURN_AWAY_TIMEOUT).await.is_ok() {
            client.close_gently(&thread.sends).await;
        }
    });
}

/// A client that is being told that the gateway is full.
struct TurnedAway(Rc<Thread>);

impl TurnedAway {
    fn new(thread: &Rc<Thread>) -> Self {
        thread.turned_away.set(thread.turned_away.get() + 1);
        Self(Rc::clone(thread))
    }
}

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.0.turned_away.set(self.0.turned_away.get() - 1);
    }
}

/// The answer of a gateway that is full, before any request has been read.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 141\r\n\
Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"Too many connections. Try again in a moment.\",\"code\":\"overloaded\"}";

/// Connections that wait in the kernel for being accepted.
const BACKLOG: i32 = 4096;
/// Connections that a listener accepts in one turn, so that those who are there already get theirs.
const ACCEPTED_AT_ONCE: usize = 64;
/// Clients that are told at once that the gateway is full.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// How long accepting pauses when file descriptors have run out.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to hear that the gateway is full.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_cannot_have_the_port() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(bind(address, 1).is_ok());
    }

    #[test]
    fn the_full_answer_has_the_length_it_says() {
        let (head, body) = FULL.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}

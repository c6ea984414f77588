//! Relays bytes between two sockets with epoll and understands none of them.
//!
//! A request costs two receives, two sends and its share of an `epoll_wait`; no proxy on this kernel's sockets does with
//! less. Each client connection has one upstream connection of its own. One thread, edge-triggered, one shared buffer.
//!
//! Usage: `floor LISTEN UPSTREAM`, both as `address:port`.

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

/// Big enough for one receive per small message, small enough for the second-level cache.
const BUFFER: usize = 256 * 1024;
/// Stands for the listening socket among the events.
const LISTENER: u64 = u64::MAX;
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let addresses: Vec<SocketAddr> = arguments.iter().skip(1).filter_map(|text| text.parse().ok()).collect();
    let &[listen, upstream] = addresses.as_slice() else {
        eprintln!("usage: floor LISTEN UPSTREAM");
        std::process::exit(2);
    };
    let mut relay = Relay::new(listen, upstream)?;
    let mut events = [MaybeUninit::<Event>::uninit(); 256];
    loop {
        let (ready, _) = match epoll::wait(&relay.epoll, &mut events, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in ready {
            match event.data.u64() {
                LISTENER => relay.accept()?,
                place => relay.serve(place as usize, event.flags),
            }
        }
    }
}

struct Relay {
    epoll: OwnedFd,
    listener: OwnedFd,
    upstream: SocketAddr,
    /// A connection's place is twice its pair's; the upstream's side comes one after the client's.
    pairs: Vec<Option<[Side; 2]>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

struct Side {
    socket: OwnedFd,
    /// What this socket did not take yet. While there is some, its partner is not read.
    pending: Vec<u8>,
}

impl Side {
    fn new(socket: OwnedFd) -> Result<Self> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        Ok(Self { socket, pending: Vec::new() })
    }
}

/// Whether a pair stays.
#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    Ends,
}

impl Relay {
    fn new(listen: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let listener = stream_socket(listen)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        rustix::net::bind(&listener, &listen)?;
        rustix::net::listen(&listener, 4096)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, upstream, pairs: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER] })
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let client = match rustix::net::accept_with(&self.listener, FLAGS) {
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                other => Side::new(other?)?,
            };
            let upstream = Side::new(stream_socket(self.upstream)?)?;
            match rustix::net::connect(&upstream.socket, &self.upstream) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(_) => continue,
            }
            let place = self.free.pop().unwrap_or(self.pairs.len());
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            for (side, socket) in [&client.socket, &upstream.socket].into_iter().enumerate() {
                epoll::add(&self.epoll, socket, EventData::new_u64((2 * place + side) as u64), flags)?;
            }
            if place == self.pairs.len() {
                self.pairs.push(None);
            }
            self.pairs[place] = Some([client, upstream]);
        }
    }

    /// An event may be meant for a pair that ended earlier in the same batch; what it causes then is a receive in vain.
    fn serve(&mut self, place: usize, flags: EventFlags) {
        let Some(pair) = &mut self.pairs[place / 2] else { return };
        let (this, other) = match (place % 2, pair) {
            (0, [client, upstream]) => (client, upstream),
            (_, [client, upstream]) => (upstream, client),
        };
        let mut fate = Fate::Stays;
        if !this.pending.is_empty() && flags.contains(EventFlags::OUT) {
            fate = flush(this);
            if fate == Fate::Stays && this.pending.is_empty() {
                fate = pump(other, this, &mut self.buffer, true);
            }
        }
        let ends = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if fate == Fate::Stays && (ends || flags.contains(EventFlags::IN)) {
            fate = pump(this, other, &mut self.buffer, ends);
        }
        if fate == Fate::Ends {
            self.pairs[place / 2] = None;
            self.free.push(place / 2);
        }
    }
}

/// Sends what is pending, as far as it goes.
fn flush(to: &mut Side) -> Fate {
    match rustix::net::send(&to.socket, &to.pending, SendFlags::NOSIGNAL) {
        Ok(sent) => drop(to.pending.drain(..sent)),
        Err(Errno::AGAIN) => {}
        Err(_) => return Fate::Ends,
    }
    Fate::Stays
}

/// Moves bytes until there are no more or the receiver is full. A short read means that there are no more for now; with
/// `to_the_end` it is not believed, because the end may lie behind it.
fn pump(from: &mut Side, to: &mut Side, buffer: &mut [u8], to_the_end: bool) -> Fate {
    while to.pending.is_empty() {
        let (_, received) = match rustix::net::recv(&from.socket, &mut *buffer, RecvFlags::empty()) {
            Err(Errno::AGAIN) => return Fate::Stays,
            Ok(some) if some.1 > 0 => some,
            _ => return Fate::Ends,
        };
        let sent = match rustix::net::send(&to.socket, &buffer[..received], SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return Fate::Ends,
        };
        if sent < received {
            to.pending.extend_from_slice(&buffer[sent..received]);
        } else if received < buffer.len() && !to_the_end {
            return Fate::Stays;
        }
    }
    Fate::Stays
}

fn stream_socket(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    rustix::net::socket_with(family, SocketType::STREAM, FLAGS, Some(ipproto::TCP))
}

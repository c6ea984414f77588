//! Sends requests by the clock, and tells how long after they were due they were answered.
//!
//! A generator that waits for an answer before it sends the next request slows down together with what it measures, and
//! never sees the requests that would have come meanwhile. Here request n is due n/rate seconds after the start. If no
//! connection is free then, it waits for one, and that wait is a part of its latency.
//!
//! Usage: `openload ADDRESS RATE SECONDS CONNECTIONS [HEADER]`; prints one line of JSON.

// The gateway has its own clock; this program has none.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, sockopt};

/// How long answers may be outstanding after the last request was due.
const PATIENCE: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate, seconds, connections, header @ ..] = arguments.as_slice() else {
        return Err("usage: openload ADDRESS RATE SECONDS CONNECTIONS [HEADER]".into());
    };
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let mut load = Load::new(address.parse()?, connections.parse()?, header.first())?;
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    load.run(Duration::from_secs_f64(1.0 / rate), (rate * seconds) as u64)?;
    load.print();
    Ok(())
}

struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    /// When the requests were due that no connection was free for.
    waiting: VecDeque<Instant>,
    request: Vec<u8>,
    latencies: Vec<Duration>,
    took: Duration,
}

struct Connection {
    socket: OwnedFd,
    /// When the request was due that is under way.
    due: Instant,
    answer: Vec<u8>,
}

impl Load {
    fn new(address: SocketAddr, connections: usize, header: Option<&String>) -> Result<Self, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut all = Vec::new();
        for place in 0..connections {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::net::connect(&socket, &address)?;
            sockopt::set_tcp_nodelay(&socket, true)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(place as u64), EventFlags::IN | EventFlags::ET)?;
            all.push(Connection { socket, due: Instant::now(), answer: Vec::new() });
        }
        let header = header.map_or(String::new(), |line| format!("{line}\r\n"));
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n{header}\r\n").into_bytes();
        let free = (0..connections).collect();
        Ok(Self {
            epoll,
            connections: all,
            free,
            waiting: VecDeque::new(),
            request,
            latencies: Vec::new(),
            took: Duration::ZERO,
        })
    }

    fn run(&mut self, interval: Duration, total: u64) -> Result<(), Failure> {
        let start = Instant::now();
        let end = start + interval.mul_f64(total as f64) + PATIENCE;
        let due = |n: u64| start + interval.mul_f64(n as f64);
        let mut sent = 0;
        while (self.latencies.len() as u64) < total {
            let now = Instant::now();
            while sent < total && due(sent) <= now {
                self.waiting.push_back(due(sent));
                sent += 1;
            }
            self.send()?;
            if now > end {
                return Err(format!("{} of {total} answers in time", self.latencies.len()).into());
            }
            self.receive(if sent < total { due(sent) } else { end })?;
        }
        self.took = start.elapsed();
        Ok(())
    }

    /// Hands waiting requests to free connections.
    fn send(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty()
            && let Some(place) = self.free.pop()
            && let Some(due) = self.waiting.pop_front()
        {
            let connection = &mut self.connections[place];
            connection.due = due;
            let sent = rustix::net::send(&connection.socket, &self.request, SendFlags::NOSIGNAL)?;
            if sent < self.request.len() {
                return Err("a request did not fit into the socket".into());
            }
        }
        Ok(())
    }

    /// Reads answers until `until`, or until some came.
    fn receive(&mut self, until: Instant) -> Result<(), Failure> {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
        let mut events = [MaybeUninit::<Event>::uninit(); 64];
        let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&left)) {
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        for event in ready {
            let place = event.data.u64() as usize;
            let connection = &mut self.connections[place];
            connection.read()?;
            if is_complete(&connection.answer)? {
                self.latencies.push(connection.due.elapsed());
                connection.answer.clear();
                self.free.push(place);
            }
        }
        Ok(())
    }

    fn print(&mut self) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let place = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
        };
        println!(
            r#"{{"requests": {}, "seconds": {:.6}, "p50": {:.1}, "p99": {:.1}, "p99.9": {:.1}}}"#,
            self.latencies.len(),
            self.took.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
}

impl Connection {
    fn read(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err("a connection was closed".into()),
                Ok((_, received)) => self.answer.extend_from_slice(&buffer[..received]),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether this is a whole answer with status 200; any other status is an error.
fn is_complete(answer: &[u8]) -> Result<bool, Failure> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let head = str::from_utf8(&answer[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("answered {head}").into());
    }
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.ok_or("an answer without Content-Length")?;
    Ok(answer.len() >= end + 4 + length.trim().parse::<usize>()?)
}

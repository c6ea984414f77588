//! The connections of one data thread to one upstream: kept alive, chosen, opened, put back.
//!
//! Of two random addresses the less loaded one is taken; what has failed lately is left out. A connection is only kept if
//! nothing is left in it. Nothing here is shared between threads but addresses and their health.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;

use super::options::Options;
use super::resolve::{Address, Upstream};
use crate::reactor::Source;
use crate::telemetry::{TargetMetrics, ThreadMetrics};
use crate::time::Instant;

/// One data thread's connections to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Arc<Upstream>,
    endpoints: RefCell<Endpoints>,
    /// Of the upstream's addresses, when they were last taken over.
    seen_changes: Cell<Option<u64>>,
    metrics: Arc<ThreadMetrics>,
}

#[derive(Debug)]
struct Endpoints {
    of_address: Vec<Rc<Endpoint>>,
}

/// One address as this thread uses it.
#[derive(Debug)]
struct Endpoint {
    address: Arc<Address>,
    /// The address's target, without a count that all threads share.
    target: Rc<str>,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<u32>,
    metrics: Arc<TargetMetrics>,
    thread: Arc<ThreadMetrics>,
}

#[derive(Debug)]
struct Idle {
    stream: Rc<Source>,
    since: Instant,
}

/// A connection in use by one request; dropped, it is closed.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: Rc<Source>,
    lease: Lease,
    reused: bool,
}

/// A place at an address: counts as load as long as it is held.
#[derive(Debug)]
pub struct Lease(Rc<Endpoint>);

/// The addresses that one request has tried already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    endpoints: u64,
    attempts: u8,
    fresh_only: bool,
}

/// What the pool has for a request.
#[derive(Debug)]
pub enum Checkout {
    /// A connection that was used before and is still open as far as is known.
    Reused(Connection),
    /// An address to connect to.
    Connect(Lease),
    /// Nothing that is healthy and has not been tried; the time after which it is worth coming again.
    Nothing(Duration),
}

impl Pool {
    /// A pool without connections.
    pub fn new(upstream: Arc<Upstream>, metrics: Arc<ThreadMetrics>) -> Self {
        let endpoints = RefCell::new(Endpoints { of_address: Vec::new() });
        Self { upstream, endpoints, seen_changes: Cell::new(None), metrics }
    }

    /// The upstream that it connects to.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// What the configuration says of the upstream.
    pub fn options(&self) -> &Options {
        self.upstream.options()
    }

    /// Chooses an address, and a connection to it if one is idle. `random` is any random number.
    pub fn checkout(&self, tried: &mut Tried, now: Instant, random: u64) -> Checkout {
        self.follow_addresses();
        let endpoints = self.endpoints.borrow();
        let Some(index) = endpoints.choose(tried, now, random) else {
            return Checkout::Nothing(endpoints.worth_coming_again(now));
        };
        let endpoint = &endpoints.of_address[index];
        if !tried.fresh_only {
            while let Some(idle) = endpoint.pop_idle() {
                if idle.is_alive(now) {
                    let lease = Lease::take(endpoint);
                    return Checkout::Reused(Connection { stream: idle.stream, lease, reused: true });
                }
            }
        }
        tried.endpoints |= 1 << index;
        tried.attempts += 1;
        Checkout::Connect(Lease::take(endpoint))
    }

    /// Takes a connection back for the next request, unless something is left in it or enough are kept already.
    pub fn put_back(&self, connection: Connection, now: Instant) {
        let endpoint = Rc::clone(&connection.lease.0);
        let idle = Idle { stream: connection.stream, since: now };
        drop(connection.lease);
        let kept: usize = self.endpoints.borrow().of_address.iter().map(|endpoint| endpoint.idle.borrow().len()).sum();
        if kept < self.options().keep_alive && idle.is_alive(now) {
            self.metrics.upstream_connections.idle.up();
            endpoint.idle.borrow_mut().push(idle);
        }
    }

    /// Closes idle connections that the other side has closed or that have been idle for long.
    pub fn sweep(&self, now: Instant) {
        for endpoint in &self.endpoints.borrow().of_address {
            let mut idle = endpoint.idle.borrow_mut();
            idle.retain(|idle| {
                let alive = idle.is_alive(now);
                if !alive {
                    self.metrics.upstream_connections.idle.down();
                }
                alive
            });
        }
    }

    /// Takes over a new list of addresses; connections to addresses that stay are kept.
    fn follow_addresses(&self) {
        let changes = self.upstream.changes();
        if self.seen_changes.get() == Some(changes) {
            return;
        }
        // Read after their number: what changes meanwhile is looked at once more.
        self.seen_changes.set(Some(changes));
        let addresses = self.upstream.addresses();
        let mut endpoints = self.endpoints.borrow_mut();
        let of_address = addresses.iter().take(MAX_ENDPOINTS).map(|address| {
            let known = endpoints.of_address.iter().find(|endpoint| Arc::ptr_eq(&endpoint.address, address));
            known.cloned().unwrap_or_else(|| Rc::new(self.new_endpoint(address)))
        });
        endpoints.of_address = of_address.collect();
    }

    fn new_endpoint(&self, address: &Arc<Address>) -> Endpoint {
        Endpoint {
            address: Arc::clone(address),
            target: Rc::from(&*address.target),
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            metrics: self.metrics.target(self.options().name.as_str(), &address.target),
            thread: Arc::clone(&self.metrics),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.idle.get_mut().iter().for_each(|_| self.thread.upstream_connections.idle.down());
    }
}

impl Endpoints {
    /// The less loaded of two random addresses that are good and have not been tried; if none is good, of the reachable ones.
    fn choose(&self, tried: &Tried, now: Instant, random: u64) -> Option<usize> {
        if usize::from(tried.attempts) >= MAX_ATTEMPTS {
            return None;
        }
        let health = |index: usize| &self.of_address[index].address.health;
        self.choose_of(tried, random, |index| health(index).is_good(now))
            .or_else(|| self.choose_of(tried, random, |index| health(index).is_reachable(now)))
    }

    fn choose_of(&self, tried: &Tried, random: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let candidates =
            || (0..self.of_address.len()).filter(|index| tried.endpoints & (1 << index) == 0 && fits(*index));
        let count = candidates().count();
        if count <= 1 {
            return candidates().next();
        }
        let pick = |random: u32| candidates().nth(random as usize % count);
        #[expect(clippy::cast_possible_truncation, reason = "two halves of one random number")]
        let (a, b) = (pick(random as u32)?, pick((random >> 32) as u32)?);
        let load = |index: usize| self.of_address[index].in_flight.get();
        Some(if load(b) < load(a) { b } else { a })
    }

    fn worth_coming_again(&self, now: Instant) -> Duration {
        self.of_address.iter().map(|endpoint| endpoint.address.health.connecting.pause(now)).min().unwrap_or_default()
    }
}

impl Endpoint {
    fn pop_idle(&self) -> Option<Idle> {
        let idle = self.idle.borrow_mut().pop()?;
        self.thread.upstream_connections.idle.down();
        Some(idle)
    }
}

impl Idle {
    /// A connection that has become readable while idle was closed, or holds bytes that nobody asked for.
    fn is_alive(&self, now: Instant) -> bool {
        self.stream.is_quiet() && now.since(self.since) < MAX_IDLE
    }
}

impl Lease {
    fn take(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.thread.upstream_connections.active.up();
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self(Rc::clone(endpoint))
    }

    /// The address behind it.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The target that the address belongs to, as `host:port`.
    pub fn target(&self) -> Rc<str> {
        Rc::clone(&self.0.target)
    }

    /// The counters of its target.
    pub fn metrics(&self) -> &TargetMetrics {
        &self.0.metrics
    }

    /// A fresh connection to the address.
    pub fn fresh(self, stream: Rc<Source>) -> Connection {
        // Without it small requests wait for the acknowledgement of what went before; it cannot fail on a live socket.
        let _ = sockopt::set_tcp_nodelay(&stream, true);
        Connection { stream, lease: self, reused: false }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.thread.upstream_connections.active.down();
    }
}

impl Connection {
    /// Whether an earlier request has used it, so that it may have died unnoticed.
    pub const fn is_reused(&self) -> bool {
        self.reused
    }

    /// The place it takes.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Tried {
    /// From now on only fresh connections will do.
    pub const fn fresh_only(&mut self) {
        self.fresh_only = true;
    }
}

/// Whether an error says that this process or host, not the peer, has run out of something.
pub fn is_exhaustion(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL))
}

/// More addresses of one upstream than this are not used.
const MAX_ENDPOINTS: usize = 64;
/// Connects tried for one request.
const MAX_ATTEMPTS: usize = 4;
/// An idle connection older than this is not used again.
const MAX_IDLE: Duration = Duration::from_secs(60);

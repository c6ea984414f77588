//! What all data threads share: the catalog, the counts of connections, the flood guard, and the ways to hand connections over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};

use super::flood::Flood;
use crate::catalog::{Catalog, Record};
use crate::key::KeyId;
use crate::meter::{Crossed, QuotaStanding, Quotas};
use crate::policy::{Plan, Quota};
use crate::time::{Instant, wall};

/// What all data threads share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is in force.
    pub(super) catalog: Arc<Catalog>,
    /// What keys have used of their quotas.
    pub(super) quotas: Arc<Quotas>,
    max_connections: usize,
    connections: AtomicUsize,
    threads: Box<[Neighbour]>,
    is_stopping: AtomicBool,
    flood: Mutex<Option<Arc<Flood>>>,
    revoked_uses: ArrayQueue<RevokedUse>,
    crossings: ArrayQueue<Crossing>,
}

/// A key has used up a part of a quota that its owner will want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The key.
    pub key: KeyId,
    /// The quota.
    pub quota: Quota,
    /// What it gives, with what the key has extra.
    pub allowed: u64,
    /// 80 or 100.
    pub percent: u8,
}

/// Somebody has presented a revoked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedUse {
    /// The key.
    pub key: KeyId,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
}

/// One data thread, as the others see it.
#[derive(Debug)]
struct Neighbour {
    connections: AtomicUsize,
    way: Way,
}

/// The way to a data thread: for connections, and for a sign to look up from its sockets.
#[derive(Debug)]
pub(super) struct Way {
    incoming: Sender<Handed>,
    bell: OwnedFd,
}

/// A connection on its way from the thread that accepted it to the one that will serve it.
pub(super) type Handed = (OwnedFd, SocketAddr, ConnectionSlot);

/// One of the connections that are allowed at once, on a certain thread; given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    shared: Arc<Shared>,
    thread: usize,
}

impl Shared {
    /// Nothing connected yet; each thread takes handed connections in at the other end of its `ways`.
    pub(super) fn new(
        catalog: Arc<Catalog>,
        quotas: Arc<Quotas>,
        max_connections: usize,
        ways: impl IntoIterator<Item = Way>,
    ) -> Arc<Self> {
        let neighbour = |way| Neighbour { connections: AtomicUsize::new(0), way };
        let threads = ways.into_iter().map(neighbour).collect();
        Arc::new(Self {
            catalog,
            quotas,
            max_connections,
            connections: AtomicUsize::new(0),
            threads,
            is_stopping: AtomicBool::new(false),
            flood: Mutex::default(),
            revoked_uses: ArrayQueue::new(REVOKED_USES),
            crossings: ArrayQueue::new(CROSSINGS),
        })
    }

    /// Tells all threads to stop.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.threads.iter().for_each(|thread| thread.way.ring());
    }

    /// Whether the threads are to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Notes that a revoked key was presented. One that finds no room is forgotten: they come again.
    pub(super) fn note_revoked_use(&self, key: &KeyId, peer: IpAddr) {
        let _ = self.revoked_uses.push(RevokedUse { key: key.clone(), peer });
    }

    /// Takes `cost` from the quotas of a key's plan, and notes which thresholds that crossed: how the key stands now with the
    /// quota that is nearest to its end.
    ///
    /// # Errors
    /// The standing with a quota that is used up; nothing is taken then.
    pub(super) fn charge(
        &self,
        record: &Record,
        plan: &Plan,
        cost: u64,
        now: Instant,
    ) -> Result<QuotaStanding, QuotaStanding> {
        self.quotas.take(&record.id, &plan.quotas, record.extra(), cost, wall(now), |crossed| {
            let quota = plan.quotas[usize::from(crossed.index)].clone();
            let Crossed { allowed, percent, .. } = crossed;
            let _ = self.crossings.push(Crossing { key: record.id.clone(), quota, allowed, percent });
        })
    }

    /// The next threshold that was crossed; of very many at once, some are forgotten.
    pub(super) fn crossing(&self) -> Option<Crossing> {
        self.crossings.pop()
    }

    /// The next one that was noted.
    pub(super) fn revoked_use(&self) -> Option<RevokedUse> {
        self.revoked_uses.pop()
    }

    /// A place for one more connection that `thread` has accepted, if there is one: on that thread, or on the one with the
    /// fewest connections if that has clearly less to do.
    pub(super) fn connection_slot(self: &Arc<Self>, thread: usize) -> Option<ConnectionSlot> {
        let thread = self.lighter_than(thread).unwrap_or(thread);
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        self.threads[thread].connections.fetch_add(1, Ordering::Relaxed);
        let slot = ConnectionSlot { shared: Arc::clone(self), thread };
        (before < self.max_connections).then_some(slot)
    }

    fn lighter_than(&self, thread: usize) -> Option<usize> {
        let load = |thread: usize| self.threads[thread].connections.load(Ordering::Relaxed);
        let lightest = (0..self.threads.len()).min_by_key(|thread| load(*thread))?;
        (load(thread) >= load(lightest) + IMBALANCE).then_some(lightest)
    }

    /// The flood guard that the rules in force ask for; its counts live on as long as its options do.
    pub(super) fn flood(&self) -> Option<Arc<Flood>> {
        let wanted = self.catalog.rules().wire.flood_guard;
        let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
        if flood.as_ref().map(|flood| flood.options()) != wanted {
            *flood = wanted.map(|options| Arc::new(Flood::new(options)));
        }
        flood.clone()
    }
}

impl Way {
    /// A way whose connections arrive at the other end of `incoming`, and the socket that becomes readable with each.
    ///
    /// # Errors
    /// If the system gives no more file descriptors.
    pub(super) fn new(incoming: Sender<Handed>) -> io::Result<(Self, OwnedFd)> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let heard = bell.try_clone()?;
        Ok((Self { incoming, bell }, heard))
    }

    fn ring(&self) {
        // It fails only if it has been rung 2^64 times without being heard.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl ConnectionSlot {
    /// The thread that is to serve the connection.
    pub(super) const fn thread(&self) -> usize {
        self.thread
    }

    /// Hands a connection to its thread.
    ///
    /// # Errors
    /// If that thread has stopped already; the connection is closed then.
    pub(super) fn hand_over(self, stream: OwnedFd, peer: SocketAddr) -> Result<(), Stopped> {
        let (shared, thread) = (Arc::clone(&self.shared), self.thread);
        let way = &shared.threads[thread].way;
        way.incoming.send((stream, peer, self)).map_err(|_| Stopped)?;
        way.ring();
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.shared.threads[self.thread].connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread takes no connections any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// Uses of revoked keys that wait to be told.
const REVOKED_USES: usize = 256;

/// Thresholds that wait to be told.
const CROSSINGS: usize = 4096;

/// A thread with so many connections more than another hands new ones over to it.
///
/// The kernel spreads connections by a hash, which leaves one of two threads idle every so often when they are few. Handing
/// over costs a wake-up, so small differences are let be.
const IMBALANCE: usize = 2;

//! What one data thread holds: its view of the rules, its deadlines, its counters, its request log, its random numbers.
//!
//! Shared by the tasks of that thread only, through `Rc`; nothing in it is ever locked.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::berth::Berths;
use super::facts::Scratch;
use super::local::Local;
use super::sends::Sends;
use super::shared::Shared;
use crate::catalog::ClientTimeouts;
use crate::http1::HeadLimits;
use crate::meter::ledger::Book;
use crate::reactor::{Reactor, Tasks};
use crate::telemetry::{ThreadMetrics, access};
use crate::time::{Instant, wall};

/// One data thread.
#[derive(Debug)]
pub(super) struct Thread {
    /// Which one; the first is 0.
    pub(super) index: usize,
    /// What all threads share.
    pub(super) shared: Arc<Shared>,
    /// Its connections, and its clock.
    pub(super) tasks: Rc<Tasks>,
    /// Its sockets.
    pub(super) reactor: Rc<Reactor>,
    /// Counters of this thread.
    pub(super) metrics: Arc<ThreadMetrics>,
    /// The way to the request log.
    pub(super) log: access::Sender,
    /// What usage is counted in; none: it is not counted.
    pub(super) book: Option<RefCell<Book>>,
    /// Where its requests run.
    pub(super) berths: Berths,
    /// Messages that are about to leave.
    pub(super) sends: Sends,
    /// Space for decoding, empty between two requests.
    pub(super) scratch: RefCell<Scratch>,
    local: RefCell<Rc<Local>>,
    seen_generation: Cell<u64>,
    random: Cell<u64>,
    draining: Cell<bool>,
    seen_revocations: Cell<u64>,
    date: RefCell<Date>,
    /// Clients that are being told that the gateway is full.
    pub(super) turned_away: Cell<usize>,
}

/// The `Date` field's value, and the second that it is of.
#[derive(Debug, Default)]
struct Date {
    unix_s: i64,
    text: String,
}

impl Thread {
    /// A thread that has taken over the rules in force.
    ///
    /// # Errors
    /// If the system gives it nothing to wait for events with.
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        metrics: Arc<ThreadMetrics>,
        log: access::Sender,
        book: Option<Book>,
        seed: u64,
    ) -> io::Result<Rc<Self>> {
        let seen_generation = shared.catalog.generation();
        let mut book = book;
        let local = Local::new(shared.catalog.rules(), shared.flood(), (&metrics, book.as_mut()), None);
        let tasks = Tasks::new();
        Ok(Rc::new(Self {
            index,
            sends: Sends::new(&tasks),
            reactor: Reactor::new(&tasks)?,
            tasks,
            berths: Berths::default(),
            scratch: RefCell::default(),
            local: RefCell::new(Rc::new(local)),
            seen_generation: Cell::new(seen_generation),
            random: Cell::new(seed | 1),
            draining: Cell::new(false),
            seen_revocations: Cell::new(shared.catalog.keys().revocations()),
            date: RefCell::default(),
            turned_away: Cell::new(0),
            shared,
            metrics,
            log,
            book: book.map(RefCell::new),
        }))
    }

    /// The rules in force now.
    pub(super) fn local(&self) -> Rc<Local> {
        let generation = self.shared.catalog.generation();
        if generation != self.seen_generation.get() {
            self.seen_generation.set(generation);
            let mut book = self.book.as_ref().map(RefCell::borrow_mut);
            let counters = (&self.metrics, book.as_deref_mut());
            let next =
                Local::new(self.shared.catalog.rules(), self.shared.flood(), counters, Some(&self.local.borrow()));
            *self.local.borrow_mut() = Rc::new(next);
        }
        Rc::clone(&self.local.borrow())
    }

    /// The bounds and deadlines that hold for the next request.
    pub(super) fn client_terms(&self) -> (HeadLimits, ClientTimeouts) {
        let local = self.local.borrow();
        (local.rules.wire.head, local.rules.wire.timeouts)
    }

    /// How long a client's connection may be idle.
    pub(super) fn client_idle_timeout(&self) -> Duration {
        self.local.borrow().rules.wire.timeouts.idle
    }

    /// A random number, good enough to spread load and to make request ids (xorshift64*).
    pub(super) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Whether the thread is to stop once its requests are through.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Begins to stop: idle connections are woken, to close.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.tasks.wake_all();
    }

    /// Wakes all connections if a key has been revoked, so that running answers of that key end.
    pub(super) fn notice_revocations(&self) {
        let revocations = self.shared.catalog.keys().revocations();
        if self.seen_revocations.replace(revocations) != revocations {
            self.tasks.wake_all();
        }
    }

    /// Moves, once this thread has noticed it, with each key that is revoked.
    pub(super) fn revocations(&self) -> u64 {
        self.seen_revocations.get()
    }

    /// Closes idle connections to upstreams that are dead or old, and connections that are held for nobody.
    pub(super) fn sweep(&self) {
        let now = self.tasks.coarse_now();
        self.local().pools.iter().for_each(|pool| pool.sweep(now));
        self.sends.sweep();
    }

    /// Hands the value of a `Date` field (RFC 9110 section 6.6.1) to `write`.
    pub(super) fn with_date<T>(&self, now: Instant, write: impl FnOnce(&[u8]) -> T) -> T {
        let unix_s = wall(now).as_unix_s();
        let mut date = self.date.borrow_mut();
        if date.unix_s != unix_s {
            let instant = jiff::Timestamp::from_second(unix_s).unwrap_or_default();
            *date = Date { unix_s, text: instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string() };
        }
        write(date.text.as_bytes())
    }
}

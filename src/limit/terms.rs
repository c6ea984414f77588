//! The terms of one limit, and the arithmetic of a cell under them.
//!
//! GCRA: a cell holds the instant at which nothing is used any more. A request of cost `c` moves it `c` emission intervals
//! on, from now if it lies in the past, and is admitted if it then lies at most a full refill (`burst` intervals) ahead of
//! now. The use of a cell is how far it lies ahead. Control side: `config` and `catalog`; request path: `take`.

use std::sync::Arc;
use std::time::Duration;

use super::MAX_LIMITS;
use crate::key::Name;
use crate::time::Instant;

/// One limit of a plan: `requests` per `per`, up to `burst` at once.
#[derive(Clone, Debug)]
pub struct Limit {
    name: Name,
    requests: u64,
    per: Duration,
    burst: u64,
    slot: usize,
    interval_ns: u64,
    refill_ns: u64,
    version: u8,
    /// How many versions back the lineage tells the truth.
    known: u8,
    lineage: Arc<Lineage>,
}

/// Why a limit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No requests at all.
    #[error("a limit admits at least 1 request")]
    Requests,
    /// No burst at all.
    #[error("a burst is at least 1")]
    Burst,
    /// A period out of range.
    #[error("the period of a limit is from 1 ms to 31 days")]
    Per,
    /// Finer than the arithmetic.
    #[error("a limit is at most 1,000,000 requests per second")]
    TooFast,
    /// A burst that practically never refills.
    #[error("a burst that takes more than 10 years to refill is no limit")]
    RefillTooLong,
}

/// What a cell holds: 60 bits of instant (36 years of nanoseconds) above 4 bits of the version that wrote it.
///
/// One word, so that one compare-and-swap changes both: a cell can never be read under an interval it was not written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell(pub(super) u64);

/// What the versions of a limit were, so that cells of older versions can be understood.
type Lineage = [Version; VERSIONS];

#[derive(Clone, Copy, Debug)]
struct Version {
    interval_ns: u64,
    /// From when on it has been in force.
    since_ns: u64,
}

impl Limit {
    /// A limit of `requests` per `per` (1 ms to 31 d, at most 1,000,000 per second), of which `burst` may come at once.
    ///
    /// The emission interval is rounded up to whole nanoseconds: never more than what is asked for.
    pub fn new(name: Name, requests: u64, per: Duration, burst: u64) -> Result<Self, LimitError> {
        if requests == 0 {
            return Err(LimitError::Requests);
        }
        if burst == 0 {
            return Err(LimitError::Burst);
        }
        if !(PER_MIN..=PER_MAX).contains(&per) {
            return Err(LimitError::Per);
        }
        let per_ns = u64::try_from(per.as_nanos()).expect("31 days of nanoseconds fit into 64 bits");
        let interval_ns = per_ns.div_ceil(requests);
        if requests > per_ns / INTERVAL_NS_MIN {
            return Err(LimitError::TooFast);
        }
        let refill_ns = interval_ns.checked_mul(burst).filter(|&ns| ns <= REFILL_NS_MAX);
        let refill_ns = refill_ns.ok_or(LimitError::RefillTooLong)?;
        let lineage = Arc::new([Version { interval_ns, since_ns: 0 }; VERSIONS]);
        Ok(Self { name, requests, per, burst, slot: 0, interval_ns, refill_ns, version: 0, known: 0, lineage })
    }

    /// The same limit on another cell of the key's state.
    ///
    /// # Panics
    ///
    /// If `slot` is not below [`MAX_LIMITS`].
    #[must_use]
    pub fn with_slot(mut self, slot: usize) -> Self {
        assert!(slot < MAX_LIMITS, "a state has {MAX_LIMITS} cells");
        self.slot = slot;
        self
    }

    /// The same limit as the successor of `previous` from `now` on: it uses the same cell, and what was used stays used,
    /// request by request.
    ///
    /// Without this a cell carries over the time until it is full instead, which a longer interval turns into fewer requests
    /// used. Understands cells of the last 14 predecessors with another interval or burst.
    #[must_use]
    pub fn succeeding(mut self, previous: &Self, now: Instant) -> Self {
        self.slot = previous.slot;
        self.version = previous.version;
        self.known = previous.known;
        self.lineage = Arc::clone(&previous.lineage);
        if (self.interval_ns, self.burst) != (previous.interval_ns, previous.burst) {
            self.version = (previous.version + 1) % VERSIONS as u8;
            // One short of all: the version after this one is not to be taken for the oldest.
            self.known = (previous.known + 1).min(VERSIONS as u8 - 2);
            let version = Version { interval_ns: self.interval_ns, since_ns: now.as_ns() };
            Arc::make_mut(&mut self.lineage)[usize::from(self.version)] = version;
        }
        self
    }

    /// What it is called on the wire.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How many requests of cost 1 are admitted per period in the long run.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The period.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// How many requests of cost 1 are admitted at once when nothing is used.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Which cell of a key's state it uses; below [`MAX_LIMITS`].
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// How much of a cell is used at `now_ns`, in nanoseconds of refill: at most a full one.
    ///
    /// What was used under older terms is counted in requests, refilled under each of the terms for as long as they were in
    /// force, and cut to a full refill at the change to the present ones. The cell stays as it is, so that terms which take
    /// the place of these find all that was used.
    pub(super) fn used_ns(&self, cell: Cell, now_ns: u64) -> u64 {
        let full_at_ns = if self.knows(cell) { self.full_at_ns(cell) } else { cell.full_at_ns() };
        full_at_ns.saturating_sub(now_ns).min(self.refill_ns)
    }

    /// Whether a cell tells nothing but that it is full, and not since when.
    ///
    /// `now_ns` is never before the instant of any taker whose word is read (see `state`), so a cell of these terms is never
    /// further ahead than a full refill. One that is was written under terms that are not known any more or not known yet.
    /// It counts as fully used: no fresh allowance.
    pub(super) fn is_foreign(&self, cell: Cell, now_ns: u64) -> bool {
        !self.knows(cell) && cell.full_at_ns().saturating_sub(now_ns) > self.refill_ns
    }

    /// This many nanoseconds of refill in those of another limit, by the number of requests; at most a full refill of it.
    pub(super) fn converted(&self, used_ns: u64, to: &Self) -> u64 {
        converted(u128::from(used_ns), self.interval_ns, to.interval_ns).min(u128::from(to.refill_ns)) as u64
    }

    /// Whether the cell was written under one of the terms before these.
    fn knows(&self, cell: Cell) -> bool {
        let back = self.versions_back(cell);
        back > 0 && back <= self.known
    }

    fn versions_back(&self, cell: Cell) -> u8 {
        (self.version + VERSIONS as u8 - cell.version()) % VERSIONS as u8
    }

    /// When nothing of a cell that was written under terms before these is used any more.
    fn full_at_ns(&self, cell: Cell) -> u64 {
        let mut terms = self.lineage[usize::from(cell.version())];
        let mut full_at_ns = u128::from(cell.full_at_ns());
        for back in (0..self.versions_back(cell)).rev() {
            let version = (self.version + VERSIONS as u8 - back) % VERSIONS as u8;
            let next = self.lineage[usize::from(version)];
            let since_ns = u128::from(next.since_ns);
            let used_ns = full_at_ns.saturating_sub(since_ns);
            full_at_ns = since_ns + converted(used_ns, terms.interval_ns, next.interval_ns);
            terms = next;
        }
        let most_ns = terms.since_ns.saturating_add(self.refill_ns);
        full_at_ns.min(u128::from(most_ns)) as u64
    }

    /// What is used after a request of this cost too; none if that would be too much.
    pub(super) fn used_with(&self, used_ns: u64, cost: u64) -> Option<u64> {
        if cost > self.burst {
            return None;
        }
        Some(used_ns + self.cost_ns(cost)).filter(|&ns| ns <= self.refill_ns)
    }

    /// A cost in nanoseconds of refill. The cost is at most the burst.
    pub(super) fn cost_ns(&self, cost: u64) -> u64 {
        cost * self.interval_ns
    }

    /// The wait until a refused request would be admitted; if its cost is above the burst, until the limit is full.
    pub(super) fn wait_ns(&self, used_ns: u64, cost: u64) -> u64 {
        if cost > self.burst {
            return used_ns;
        }
        (used_ns + self.cost_ns(cost)).saturating_sub(self.refill_ns)
    }

    /// How many requests of cost 1 are left.
    pub(super) fn remaining(&self, used_ns: u64) -> u64 {
        (self.refill_ns - used_ns) / self.interval_ns
    }

    /// The cell in which so much is used at `now_ns`.
    pub(super) fn cell(&self, used_ns: u64, now_ns: u64) -> Cell {
        let full_at_ns = now_ns.saturating_add(used_ns).min(u64::MAX >> VERSION_BITS);
        Cell(full_at_ns << VERSION_BITS | u64::from(self.version))
    }

    /// The cell less a credit; none if it was written under another version, whose nanoseconds mean something else.
    pub(super) fn cell_less(&self, cell: Cell, credit_ns: u64) -> Option<Cell> {
        let same = cell.version() == self.version;
        same.then(|| self.cell(0, cell.full_at_ns().saturating_sub(credit_ns)))
    }
}

impl Cell {
    fn full_at_ns(self) -> u64 {
        self.0 >> VERSION_BITS
    }

    fn version(self) -> u8 {
        (self.0 & (VERSIONS as u64 - 1)) as u8
    }
}

/// Nanoseconds of refill at one interval in those of another, rounded up. Fits, since no use is more than 2^49 requests.
fn converted(used_ns: u128, from_ns: u64, to_ns: u64) -> u128 {
    let (from_ns, to_ns) = (u128::from(from_ns), u128::from(to_ns));
    (used_ns / from_ns) * to_ns + ((used_ns % from_ns) * to_ns).div_ceil(from_ns)
}

const VERSION_BITS: u32 = 4;
const VERSIONS: usize = 1 << VERSION_BITS;
const PER_MIN: Duration = Duration::from_millis(1);
const PER_MAX: Duration = Duration::from_hours(31 * 24);
const INTERVAL_NS_MIN: u64 = 1_000;
/// Ten years: a third of what a cell can hold, so that no sum with it overflows.
const REFILL_NS_MAX: u64 = 10 * 366 * 86_400 * 1_000_000_000;

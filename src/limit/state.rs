//! The limiter state of one key: one atomic word per limit, the key's time, and the requests that are running.
//!
//! Shared by all data threads; lives in the key's entry and outlives every change of key and plan.
//!
//! **Time of a key.** Every thread reads its own clock once per turn, so a `now` can be older than what another thread has
//! already acted on. Each taker therefore works at the *key's time*: the later of its own `now` and the latest instant any
//! taker of this key has published. Publishing (`publish`) comes before the compare-and-swap of a cell, which releases;
//! `key_time` comes after the load of the cell, which acquires. So whoever reads a cell reads a key time not before that of
//! any taker whose word it sees. Two things follow. A cell further ahead than a full refill cannot stem from these terms. And
//! an old `now` neither refuses what time has already refilled nor makes a cell look younger than it is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::MAX_LIMITS;
use super::terms::{Cell, Limit};

/// The limiter state of one key; 48 bytes. A new one has used nothing.
#[derive(Debug, Default)]
pub struct State {
    cells: [AtomicU64; MAX_LIMITS],
    latest_ns: AtomicU64,
    in_flight: AtomicU32,
    /// One more than the number of the plan that the cells are counted under; 0 before the first.
    plan: AtomicU32,
}

impl State {
    /// Counts one more running request unless `max` are running already; says whether it was counted.
    ///
    /// Every request that was counted is given back with [`State::leave`], however it ends.
    #[must_use]
    pub fn enter(&self, max: u32) -> bool {
        let one_more = |running: u32| (running < max).then_some(running + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts one running request less. One call too many is not counted, lest it lock the key for ever.
    pub fn leave(&self) {
        let one_less = |running: u32| running.checked_sub(1);
        let left = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        debug_assert!(left.is_ok(), "a request left that had not entered");
    }

    /// How many requests are running.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Says that the cells are counted under this plan from now on, and which plan they were counted under if that was another.
    ///
    /// Only one caller is told of a change: it carries over what was used ([`super::carry_over`]).
    pub fn count_under(&self, plan: u32) -> Option<u32> {
        let tag = plan.wrapping_add(1);
        let was = self.plan.load(Ordering::Relaxed);
        let is_mine = was != tag && self.plan.compare_exchange(was, tag, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine { was.checked_sub(1) } else { None }
    }

    /// The cell of a limit. What comes after sees the key time of whoever wrote it.
    pub(super) fn cell(&self, limit: &Limit) -> Cell {
        Cell(self.cells[limit.slot()].load(Ordering::Acquire))
    }

    /// The key's time for a thread whose own is `now_ns`; to be read after the cells it is used with.
    pub(super) fn key_time(&self, now_ns: u64) -> u64 {
        now_ns.max(self.latest_ns.load(Ordering::Relaxed))
    }

    /// Makes a key time known; to be called before a cell is written at that time.
    pub(super) fn publish(&self, now_ns: u64) {
        if self.latest_ns.load(Ordering::Relaxed) < now_ns {
            self.latest_ns.fetch_max(now_ns, Ordering::Relaxed);
        }
    }

    /// Puts this into the cell of a limit, whatever is there.
    pub(super) fn set(&self, limit: &Limit, new: Cell) {
        self.cells[limit.slot()].store(new.0, Ordering::Release);
    }

    /// Puts `new` in the place of `seen`; otherwise gives back what is there instead.
    pub(super) fn swap(&self, limit: &Limit, seen: Cell, new: Cell) -> Result<(), Cell> {
        let cell = &self.cells[limit.slot()];
        let outcome = cell.compare_exchange_weak(seen.0, new.0, Ordering::AcqRel, Ordering::Acquire);
        outcome.map(drop).map_err(Cell)
    }
}

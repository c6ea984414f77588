//! The lives of the ledger: the one that is counted in, and those before it that are not sealed to their end.
//!
//! Mostly there is one. Another begins when the clock was set back. Belongs to `metering`, behind its lock.

use crate::meter::ledger::{Book, Figures, Keeper, LedgerError, Minute, Sealable};
use crate::time::{Instant, Timestamp};

/// In the order in which they began; the last is counted in.
pub(super) struct Lives(Vec<Keeper>);

impl Lives {
    /// One life.
    pub(super) fn new(keeper: Keeper) -> Self {
        Self(vec![keeper])
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The one that is counted in.
    pub(super) fn current(&mut self) -> &mut Keeper {
        self.0.last_mut().expect("there is always one")
    }

    /// A life by its place, and whether it is over.
    pub(super) fn life(&mut self, place: usize) -> (&mut Keeper, bool) {
        let is_over = place + 1 < self.0.len();
        (&mut self.0[place], is_over)
    }

    /// What so many threads count with.
    pub(super) fn books(&mut self, threads: usize) -> Result<Vec<Book>, LedgerError> {
        (0..threads).map(|_| self.current().book()).collect()
    }

    /// Begins another life if this one has come further than the clock, as after a step back; whether it did.
    ///
    /// By a minute more it may be further: threads are not all at the same place when a minute turns.
    pub(super) fn follow(&mut self, now: Minute, wall: Timestamp, at: Instant) -> Result<bool, LedgerError> {
        if self.current().newest_minute().as_unix() <= now.as_unix().saturating_add(1) {
            return Ok(false);
        }
        let over = self.current().renew(wall, at)?;
        self.0.insert(self.0.len() - 1, over);
        Ok(true)
    }

    /// Lays files ready; the first error of all.
    pub(super) fn prepare(&mut self) -> Result<(), LedgerError> {
        self.each(Keeper::prepare)
    }

    /// Makes durable what was counted; the first error of all.
    pub(super) fn sync(&mut self, now: Instant) -> Result<(), LedgerError> {
        self.each(|life| life.sync(now))
    }

    /// How they are, all together.
    pub(super) fn figures(&self, now: Instant) -> Figures {
        self.0.iter().map(|life| life.figures(now)).fold(Figures::default(), |sum, life| Figures {
            lag: sum.lag.max(life.lag),
            files: sum.files + life.files,
            ready: sum.ready + life.ready,
            in_memory: sum.in_memory + life.in_memory,
            given_up: sum.given_up + life.given_up,
            lost_requests: sum.lost_requests + life.lost_requests,
            lost_units: sum.lost_units + life.lost_units,
        })
    }

    /// Everything that is not sealed.
    pub(super) fn open_cells(&self) -> Vec<Sealable> {
        self.0.iter().map(Keeper::open_cells).collect()
    }

    /// Forgets what is over and has nothing left.
    pub(super) fn forget_empty(&mut self) {
        while self.0.len() > 1
            && let Some(place) = self.0[..self.0.len() - 1].iter().position(Keeper::is_empty)
        {
            let over = self.0.remove(place);
            self.current().inherit(&over);
        }
    }

    /// One that fails does not keep it from the others.
    fn each(&mut self, mut work: impl FnMut(&mut Keeper) -> Result<(), LedgerError>) -> Result<(), LedgerError> {
        let mut outcome = Ok(());
        for life in &mut self.0 {
            outcome = outcome.and(work(life));
        }
        outcome
    }
}

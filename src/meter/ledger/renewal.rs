//! The end of a life of the ledger and the beginning of the next, while books go on counting.
//!
//! What is closed in one life can be counted in again in the next: cells of two lives are never the same, because each has an epoch
//! of its own. For a clock that was set back behind what is closed.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::error::LedgerError;
use super::keeper::Keeper;
use super::shelf::OVER;
use crate::time::{Instant, Timestamp};

impl Keeper {
    /// Ends this life of the ledger, and goes on in another one, where minutes that are closed here can be counted in again. Each
    /// book comes along when it counts next.
    ///
    /// Gives the life that is over: to be kept until it [is empty](Self::is_empty), synced and sealed to its last minute.
    ///
    /// # Errors
    /// There is no memory, and nothing has changed.
    pub fn renew(&mut self, wall: Timestamp, now: Instant) -> Result<Self, LedgerError> {
        let mut next = Self::begin(self.options.clone(), Arc::clone(&self.lock), wall, now)?;
        next.writers = self.writers;
        for seat in &self.seats {
            next.add_seat(seat.writer)?;
        }
        // Without a file there is memory; whoever keeps it goes on trying, and tells.
        let _ = next.prepare();
        for (seat, other) in self.seats.iter().zip(next.seats.clone()) {
            let _ = seat.next.set((Arc::clone(&next.closed), Arc::clone(&other)));
            // A book that is closed at this moment sees the next seat, or is seen here.
            if seat.vacant.load(SeqCst) {
                other.vacant.store(true, SeqCst);
            }
        }
        self.closed.store(OVER, SeqCst);
        Ok(mem::replace(self, next))
    }

    /// Whether nothing is left to be kept, of a life that is over.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.segments.is_empty() && self.leaving.is_empty()
    }

    /// Takes note of what a life that is empty had to tell.
    pub fn inherit(&mut self, over: &Self) {
        self.given_up += over.given_up;
        self.lost.0 += over.lost.0;
        self.lost.1 += over.lost.1;
    }
}

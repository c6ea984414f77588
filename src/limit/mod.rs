//! Limits: so many requests per time, refilled continuously (GCRA); several limits are taken together or not at all.
//!
//! Pure: time is an argument. Called by `gateway` through `admit`, last of all checks, because it is the only one with an
//! effect. `terms` is the arithmetic of one limit, `state` the atomic words of one key, `take` the act.

mod state;
mod take;
mod terms;

use std::time::Duration;

pub use state::State;
pub use take::{carry_over, peek, probe, take};
pub use terms::{Limit, LimitError};

/// The most limits that a plan can have.
pub const MAX_LIMITS: usize = 4;

/// What is left after a request was admitted, told for the limit that is nearest to exhaustion.
///
/// That is the one with the fewest requests left, among equals the one that takes longer to refill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Which of the plan's limits this tells about.
    pub index: u8,
    /// Requests of cost 1 that would be admitted right now; `u64::MAX` if the plan has no limits.
    pub remaining: u64,
    /// Time until nothing of the limit is used any more, in whole milliseconds rounded down.
    pub reset: Duration,
}

/// Why a request was not admitted, told for the limit that refuses for the longest time. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which of the plan's limits this tells about.
    pub index: u8,
    /// Time until every limit would admit this request if no other came; if its cost is above a burst, until that is full.
    pub retry_after: Duration,
    /// Requests of cost 1 that this limit would admit right now.
    pub remaining: u64,
    /// Time until nothing of the limit is used any more, in whole milliseconds rounded down.
    pub reset: Duration,
}

#[cfg(test)]
mod tests;

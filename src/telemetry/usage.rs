//! How usage and its sinks are, as metrics and reports tell it.

use std::time::Duration;

/// How a queue of a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFigures {
    /// The sink.
    pub sink: String,
    /// `usage` or `events`.
    pub queue: &'static str,
    /// What waits.
    pub waiting: u64,
    /// How old the oldest of that is.
    pub lag: Duration,
    /// What was set aside and is still kept.
    pub set_aside: u64,
    /// What was taken since the start.
    pub taken: u64,
    /// Batches with trouble since the start.
    pub failures: u64,
    /// Whether somebody has to see to it.
    pub is_alarming: bool,
    /// Whether it was told to wait.
    pub is_paused: bool,
}

/// How durable counted usage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageFigures {
    /// Age of the oldest count that a power failure would lose.
    pub lag: Duration,
    /// Parts of the ledger that are in memory alone.
    pub in_memory: u64,
    /// Files of the ledger that were given up because the disk failed.
    pub given_up: u64,
    /// Requests that were counted nowhere.
    pub lost_requests: u64,
    /// Time since the last sealing.
    pub seal_age: Duration,
}

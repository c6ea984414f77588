//! What a sink is doing, for metrics, reports and alarms.

use super::Guarantee;
use super::delivery::Tally;
use crate::key::Name;
use crate::meter::Backlog;

/// One of the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Sealed usage.
    Usage,
    /// Events of keys and quotas.
    Events,
}

/// What a queue of a sink is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The sink.
    pub sink: Name,
    /// What sort of sink, as it is called in the file.
    pub kind: &'static str,
    /// Which queue.
    pub queue: Queue,
    /// What becomes of something that is sent twice.
    pub guarantee: Guarantee,
    /// What it is doing.
    pub state: State,
    /// Whether it was told to wait, which it does after the batch at hand.
    pub is_paused: bool,
    /// What waits; none: the outbox cannot be read.
    pub backlog: Option<Backlog>,
    /// What was done since the start, and the last trouble.
    pub tally: Tally,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It sends.
    Sending,
    /// Nothing waits.
    Idle,
    /// The sink or the outbox failed, and will be tried again.
    Retrying,
    /// It was told to wait.
    Paused,
    /// It is over.
    Ended,
}

impl Status {
    /// Whether somebody has to see to it: trouble that does not pass by itself, or something was set aside.
    pub fn is_alarming(&self) -> bool {
        let has_trouble = self.tally.trouble.as_ref().is_some_and(|(_, trouble)| trouble.kind.is_alarming());
        has_trouble || self.tally.set_aside > 0 || self.state == State::Ended
    }
}

impl Queue {
    /// As it stands in metrics and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Events => "events",
        }
    }
}

impl State {
    /// As it stands in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Idle => "idle",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

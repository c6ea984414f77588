//! Sinks: where sealed usage is sent to, each bucket at least once and, where the receiver helps, exactly once.
//!
//! A [`Delivery`] brings one queue to one [`Sink`], step by step: it claims a batch durably, sends it, and notes the outcome
//! durably. So whatever dies between two steps, the next one knows what may have been sent, and sends the same bytes again or,
//! where the receiver would no longer recognise them, sets them aside. [`start`] runs deliveries on threads of their own.
//! Called by `app`. Knows the queues as `meter::Outbox` alone.

mod client;
mod cloudevents;
mod delivery;
mod file;
mod note;
mod options;
mod row;
mod running;
mod status;
mod stripe;
#[cfg(test)]
mod tests;
mod verdict;
mod webhook;

use std::time::Duration;

use crate::meter::{Cause, Queued};
use crate::time::Timestamp;

pub use delivery::{Delivery, Pace, Step, Tally};
pub use options::{
    Carries, Connection, Credential, CredentialError, Endpoint, EndpointError, FileOptions, Format, HttpOptions,
    Measure, Options, Roots, RootsError, Select, StripeOptions, Subject, Target, Way, WebhookOptions,
};
pub use running::{Queues, Running, StartError, start};
pub use status::{Queue, State, Status};

/// A place that takes usage.
pub trait Sink<T: Queued>: Send {
    /// What becomes of something that is sent twice.
    fn guarantee(&self) -> Guarantee;

    /// Sends what is not delivered yet. The same items give the same bytes, whenever that is.
    ///
    /// `mark` is what the sink gave last, and durable since; empty in the beginning.
    fn send(&mut self, items: &[T], mark: &str, now: Timestamp) -> Sent;
}

/// What becomes of something that is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// The second replaces the first.
    Upserts,
    /// The second is recognised, if it comes soon enough after the first.
    RemovesDuplicates {
        /// Soon enough, with some time to spare.
        window: Duration,
    },
    /// It counts twice, unless the receiver looks at its id.
    AtLeastOnce,
}

/// What came of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// For each item, in their order.
    pub outcomes: Vec<Outcome>,
    /// What is to be kept for the next time, if that has changed.
    pub mark: Option<String>,
    /// What stands against going on.
    pub trouble: Option<Trouble>,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it, now or since before.
    Taken,
    /// It is nothing for this sink.
    PassedOver,
    /// The sink certainly did not take it this time.
    Untaken,
    /// As before, and it is the size of the batch or one of its items that stands against it.
    Split,
    /// It was sent, and nobody knows.
    Unknown,
    /// It will never be taken.
    Refused(Cause),
}

/// What stands against going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What sort.
    pub kind: TroubleKind,
    /// For people. No secrets.
    pub words: String,
    /// When the sink asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// What sort of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// Nobody is there.
    Unreachable,
    /// Somebody is there and did not answer.
    NoAnswer,
    /// The sink asks to come later.
    Busy,
    /// The sink says that it is broken.
    Failing,
    /// The sink does not know us, or does not let us.
    Credentials,
    /// This is no place that takes usage.
    Misdirected,
    /// The sink will never take something.
    Refused,
    /// Files cannot be written.
    Disk,
}

impl Guarantee {
    /// As it stands in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Upserts => "upserts",
            Self::RemovesDuplicates { .. } => "removes_duplicates",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}

impl Sent {
    /// All items alike.
    fn all(outcome: Outcome, items: usize, trouble: Option<Trouble>) -> Self {
        Self { outcomes: vec![outcome; items], mark: None, trouble }
    }
}

impl TroubleKind {
    /// As it stands in metrics and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Failing => "failing",
            Self::Credentials => "credentials",
            Self::Misdirected => "misdirected",
            Self::Refused => "refused",
            Self::Disk => "disk",
        }
    }

    /// Whether it will not pass by itself: somebody has to see to it.
    pub const fn is_alarming(self) -> bool {
        match self {
            Self::Credentials | Self::Misdirected | Self::Refused | Self::Disk => true,
            Self::Unreachable | Self::NoAnswer | Self::Busy | Self::Failing => false,
        }
    }
}

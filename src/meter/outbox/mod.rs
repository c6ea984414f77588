//! The outbox: the queues in which sealed buckets and events wait for the sinks, and how far each sink has come.
//!
//! `store` keeps it, `sink` empties it. Each sink has its own place in each queue, and no sink waits for another. What stands
//! behind a sink's place was taken by it or set aside for it: a sink moves on only after an answer, never before.

mod memory;

use std::error::Error;

use super::Bucket;
use crate::key::Name;
use crate::time::Timestamp;

pub use memory::MemoryOutbox;

/// A queue of buckets or of events.
///
/// Everything written here is durable when the call returns: a sink sends nothing before its claim is, and forgets nothing
/// before its progress is. All calls block.
pub trait Outbox<T: Queued>: Send + Sync {
    /// What stands behind place `after`, in order, at most `limit`.
    fn next(&self, after: u64, limit: usize) -> Result<Vec<T>, OutboxError>;

    /// How far a sink has come. Its place is made at the first asking, where `from` says.
    ///
    /// From then on nothing behind it is deleted, until the outbox is full or the sink is no longer named to
    /// [`Outbox::retain`].
    fn progress(&self, sink: &Name, from: Start) -> Result<Progress, OutboxError>;

    /// Replaces a sink's progress and notes what is set aside for it, in one transaction.
    ///
    /// What was set aside is never sent again by itself. Noting the same place twice is noting it once; the first reason stays.
    fn advance(&self, sink: &Name, progress: &Progress, set_aside: &[SetAside]) -> Result<(), OutboxError>;

    /// What waits for a sink, and what has been set aside for it. Cheap enough to be asked each few seconds.
    fn backlog(&self, sink: &Name) -> Result<Backlog, OutboxError>;

    /// Says which sinks there are: the places of all others are forgotten and keep nothing from being deleted.
    fn retain(&self, sinks: &[Name]) -> Result<(), OutboxError>;
}

/// What can wait in a queue.
pub trait Queued: Clone + Send + Sync {
    /// Its place: later ones have greater ones, from 1 on. Gaps are possible.
    fn seq(&self) -> u64;

    /// When it was, by which its age is told.
    fn at(&self) -> Timestamp;
}

/// Something that happened, which a sink may want to tell others: a key was revoked, a quota is nearly used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the queue of events.
    pub seq: u64,
    /// The same at every sending, and of no other event: 1 to 64 characters out of A-Z a-z 0-9 _ . -.
    pub id: String,
    /// What happened, as in `key.revoked` or `quota.threshold`.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// What it happened to: mostly the id of a key.
    pub subject: String,
    /// All else. No secrets.
    pub data: serde_json::Value,
}

/// Where a sink begins that was not there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    #[default]
    End,
    /// With the oldest that is still kept.
    Beginning,
}

/// How far a sink has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to this place was taken by the sink or set aside for it. Never moves back.
    pub acknowledged: u64,
    /// What the sink has to know after a restart: what it was sending and since when. Only sinks read it. At most 1 MiB, mostly
    /// a hundred bytes; JSON.
    pub note: String,
}

/// Something that a sink will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its place in the queue.
    pub seq: u64,
    /// Why.
    pub cause: Cause,
}

/// Why something is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The sink refuses it for good.
    Refused,
    /// It was sent, the outcome is not known, and the sink no longer recognises duplicates of that age.
    Doubtful,
    /// It is too old for the sink, or cannot be said in its form.
    Unfit,
    /// The outbox was full before the sink had taken it. Noted by the outbox, never by a sink.
    Overrun,
}

/// What waits for a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub waiting: u64,
    /// When the oldest of them was.
    pub oldest: Option<Timestamp>,
    /// How many have been set aside and are still kept.
    pub set_aside: u64,
}

/// The outbox cannot be read or written, for now or for good.
#[derive(Debug, thiserror::Error)]
#[error("the outbox: {0}")]
pub struct OutboxError(#[source] pub Box<dyn Error + Send + Sync>);

impl Queued for Bucket {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn at(&self) -> Timestamp {
        self.minute.start()
    }
}

impl Queued for Event {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Doubtful, Self::Unfit, Self::Overrun];

    /// As it stands in the store, in metrics and in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Doubtful => "doubtful",
            Self::Unfit => "unfit",
            Self::Overrun => "overrun",
        }
    }

    /// By its label.
    pub fn labelled(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.label() == label)
    }
}

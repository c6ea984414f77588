//! Metering: what is used, counted so that it can be billed on.
//!
//! The ledger is where the data threads count; it outlives the process. The outbox is where sealed buckets wait for the
//! sinks. `quota` holds keys to what they may use up. Time is an argument everywhere.

mod bucket;
pub mod ledger;
mod outbox;
mod quota;

pub use bucket::{Bucket, BucketId};
pub use outbox::{Backlog, Cause, Event, MemoryOutbox, Outbox, OutboxError, Progress, Queued, SetAside, Start};
pub use quota::{Crossed, QuotaStanding, Quotas};

//! Metering: what is used, counted so that it can be billed on.
//!
//! The ledger is where the data threads count; it outlives the process. Time is an argument everywhere.

mod bucket;
pub mod ledger;
mod quota;

pub use bucket::{Bucket, BucketId};
pub use quota::{Crossed, QuotaStanding, Quotas};

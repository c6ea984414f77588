//! Buckets: what was counted in a minute that is over, for good; and the queue in which they wait for the sinks.
//!
//! Made of the ledger's cells by whoever seals them, kept by `store`, sent by `sink`.

use std::fmt;

use super::ledger::{Amount, Band, Class, Minute};
use crate::key::{KeyId, Name};

/// What one account used on one route in one minute, with one class of ending. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The same for as long as the bucket is kept, and of no other bucket.
    pub id: BucketId,
    /// Its place in the queue: later buckets have greater ones. Gaps are possible.
    pub seq: u64,
    /// When.
    pub minute: Minute,
    /// The key; none if none was known.
    pub key: Option<KeyId>,
    /// The key's owner at the time.
    pub owner: Option<Name>,
    /// The key's plan at the time.
    pub plan: Option<Name>,
    /// The route; none if none was found.
    pub route: Option<Name>,
    /// How the requests ended.
    pub class: Class,
    /// How much.
    pub amount: Amount,
    /// How many of the requests took how long, in the order of [`Band::ALL`].
    pub took: [u64; Band::ALL.len()],
    /// The clock of the machine was set by more than a minute while it was counted in.
    pub is_doubtful: bool,
}

/// Made from the process that counted, minute, key, owner, plan, route and class: 32 hex digits in print.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub [u8; 16]);

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketId({self})")
    }
}

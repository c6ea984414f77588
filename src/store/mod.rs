//! The store: keys, admin tokens and the audit log, durable; every change has its place in one order.
//!
//! `commit` answers when the change is on disk. All calls block, so async callers give them a thread. Called by `catalog`'s
//! follower (what is in force), by `admin` and by `cli`; never on the way of a request. SQLite keeps it in one file;
//! [`MemoryStore`] keeps nothing and is for tests. `decide` holds the rules for both.
//!
//! Usage has a file and a store of its own, [`UsageStore`], so that sealing it never delays a change of keys.

mod audit;
mod change;
mod copy;
mod decide;
mod error;
mod file;
mod memory;
mod record;
mod schema;
mod sqlite;
mod usage;

use crate::key::{Digest, KeyId, TokenId};
use crate::time::Timestamp;

pub use audit::{AuditRow, Chain, Fault, Verdict};
pub use change::{Action, Actor, Answer, Change, Commit, Event, Expect, Idempotency, Origin, Replay};
pub use error::{CommitError, OpenError, Refusal, StoreError};
pub use memory::MemoryStore;
pub use record::{Damaged, Filter, Record, Recoverable, Revision, Role, RoleError, StoredKey, StoredSecret, Token};
pub use sqlite::{Checked, Inspected, SqliteStore, backup, check, inspect};
pub use usage::{
    CursorError, DayProof, Dimension, Folded, QuotaUse, Retention, Sealed, SinkProof, Snapshot, Step, UsageCursor,
    UsageQuery, UsageReport, UsageRow, UsageStore, Used,
};

/// Keys, admin tokens and the audit log.
///
/// Nothing is ever taken out: revoked keys and tokens stay for good. So what changed after a revision can always be told.
pub trait Store: Send + Sync {
    /// Makes changes durable, with their audit rows: all of them in one transaction, or none.
    ///
    /// Their revisions follow each other. A later commit of the list sees the earlier ones. Other writers wait meanwhile: a
    /// thousand at a time is plenty.
    fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError>;

    /// Makes one change durable, with its audit row.
    ///
    /// Commits that wait at the same time share one write to disk; each has its own revision and its own outcome. After
    /// [`CommitError::Unavailable`] the change is not in force; it can only come back if the process or the machine dies before
    /// the next successful commit.
    fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        self.commit_all(vec![commit]).map(|revisions| revisions[0])
    }

    /// Adds an audit row for something that changes nothing.
    fn record_event(&self, event: Event) -> Result<(), StoreError>;

    /// Notes when secrets were used, where that is later than what is known. No revision, no audit row.
    fn note_used(&self, used: &[(Digest, Timestamp)]) -> Result<(), StoreError>;

    /// Whether nothing can be written any more, because the thread that does has ended: a defect.
    fn has_ended(&self) -> bool {
        false
    }

    /// The newest durable revision.
    fn revision(&self) -> Revision;

    /// How many keys there may be at most, as far as that is known at once: what to make room for.
    fn keys_at_most(&self) -> usize {
        0
    }

    /// Gives every key and token to `each`, in no particular order, as they stand at the revision that is returned; of those
    /// that cannot be read, what is left.
    fn load(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<Revision, StoreError>;

    /// Gives every key and token that changed after `revision` to `each`: once, as it stands at the revision that is
    /// returned, in the order of the last change; of those that cannot be read, what is left.
    ///
    /// None if there is no such revision yet: the caller has followed another store, and loads anew.
    fn changes_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<Option<Revision>, StoreError>;

    /// The key with this id, and the revision of its last change.
    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError>;

    /// The first keys that pass the filter, in the order of ids, from after `after`; at most `limit`.
    fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError>;

    /// The token with this id, and the revision of its last change.
    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError>;

    /// The first tokens in the order of ids, from after `after`; at most `limit`.
    fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError>;

    /// What is kept of a secret so that it can be shown again; forgotten when the secret has ended and its key is changed, and when
    /// its key is revoked.
    fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError>;

    /// The answer that somebody's request of this name was given, if it has not expired by now.
    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError>;

    /// The audit rows with numbers above `after`; at most `limit`.
    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError>;

    /// The audit log as it ends now.
    fn audit_end(&self) -> Result<Chain, StoreError>;

    /// Walks the whole audit log.
    fn verify_audit(&self) -> Result<Verdict, StoreError>;
}

#[cfg(test)]
mod tests;

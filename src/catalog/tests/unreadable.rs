//! A store that cannot be read for a while.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::key::{Digest, KeyId, TokenId};
use crate::store::{
    AuditRow, Chain, Commit, CommitError, Damaged, Event, Filter, MemoryStore, Record, Recoverable, Replay, Revision,
    Store, StoreError, StoredKey, Token, Verdict,
};
use crate::time::Timestamp;

/// A store whose changes cannot be read so many times.
pub(super) struct Unreadable {
    pub(super) inner: MemoryStore,
    pub(super) failures: AtomicUsize,
}

impl Store for Unreadable {
    fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        self.inner.commit_all(commits)
    }
    fn record_event(&self, event: Event) -> Result<(), StoreError> {
        self.inner.record_event(event)
    }
    fn note_used(&self, used: &[(Digest, Timestamp)]) -> Result<(), StoreError> {
        self.inner.note_used(used)
    }
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
    fn load(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<Revision, StoreError> {
        self.inner.load(each)
    }
    fn changes_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<Option<Revision>, StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(StoreError::Closed),
            Err(_) => self.inner.changes_since(revision, each),
        }
    }
    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        self.inner.key(id)
    }
    fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError> {
        self.inner.keys(filter, after, limit)
    }
    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        self.inner.token(id)
    }

    fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError> {
        self.inner.tokens(after, limit)
    }

    fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError> {
        self.inner.recoverable(digest)
    }
    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        self.inner.replay(who, key, now)
    }
    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(after, limit)
    }
    fn audit_end(&self) -> Result<Chain, StoreError> {
        self.inner.audit_end()
    }
    fn verify_audit(&self) -> Result<Verdict, StoreError> {
        self.inner.verify_audit()
    }
}

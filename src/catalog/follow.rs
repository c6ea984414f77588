//! The follower: brings what the store says into force, change by change, in the order of revisions.
//!
//! A change answers when it is durable *and* in force: whoever commits goes on as the follower until its own revision is
//! reached, and takes along what others have committed meanwhile. All calls block. Called by `admin` and `app`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use super::Catalog;
use crate::key::{Digest, KeyId, State, StoredDigest, TokenId};
use crate::store::{
    Action, Actor, Change, Commit, CommitError, Damaged, Expect, Origin, Record, Refusal, Revision, Store, StoreError,
    StoredKey, StoredSecret, Token,
};
use crate::telemetry::log;
use crate::time::{self, Timestamp};

/// The store and what follows from it.
pub struct Follower {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    /// All admin tokens, also those that have ended.
    tokens: RwLock<Tokens>,
    /// Held by whoever follows.
    followed: Mutex<Revision>,
    /// The same, for those who only want to know.
    in_force: AtomicU64,
    /// When that came into force, in ms since 1970; 0: only what was stored at the start.
    changed_ms: AtomicI64,
    /// When uses were last noted in the store.
    uses_noted: Mutex<Timestamp>,
    /// Ids of what cannot be read.
    unreadable: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Tokens {
    by_digest: HashMap<Digest, Token>,
    digests: HashMap<TokenId, Digest>,
}

impl Tokens {
    /// The token is this from now on, and found by no other digest.
    fn put(&mut self, token: Token) {
        if let Some(former) = self.digests.insert(token.id.clone(), token.digest) {
            self.by_digest.remove(&former);
        }
        self.by_digest.insert(token.digest, token);
    }
}

impl Follower {
    /// Brings everything that is stored into force; what cannot be read, as revoked.
    ///
    /// # Errors
    /// If the store cannot be read to its end: a gateway that knows half of its keys is not started.
    pub fn start(store: Arc<dyn Store>, catalog: Arc<Catalog>) -> Result<Self, StoreError> {
        let follower = Self {
            store,
            catalog,
            tokens: RwLock::default(),
            followed: Mutex::default(),
            in_force: AtomicU64::new(0),
            changed_ms: AtomicI64::new(0),
            uses_noted: Mutex::new(now()),
            unreadable: Mutex::default(),
        };
        let newest = follower.load()?;
        follower.reach(&mut follower.following(), newest);
        Ok(follower)
    }

    /// Makes a change durable and brings it into force.
    ///
    /// # Errors
    /// Refused: nothing has changed. Unavailable: see [`Store::commit`]; if the change is durable all the same, it will be in
    /// force with the next change, or when [`Follower::catch_up`] succeeds.
    pub fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let revision = self.store.commit(commit)?;
        self.follow_to(revision)?;
        Ok(revision)
    }

    /// Makes changes durable, all or none, and brings them into force.
    ///
    /// # Errors
    /// As of [`Follower::commit`].
    pub fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        let revisions = self.store.commit_all(commits)?;
        if let Some(last) = revisions.last() {
            self.follow_to(*last)?;
        }
        Ok(revisions)
    }

    /// Brings into force what is durable and could not be read when it was committed.
    ///
    /// # Errors
    /// If it still cannot be read.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.follow_to(self.store.revision())
    }

    /// Whether something is durable and not in force. For a moment that is so after each commit.
    pub fn is_behind(&self) -> bool {
        self.store.revision() > self.revision()
    }

    /// The store, for reading.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What is in force.
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The newest revision that is in force.
    pub fn revision(&self) -> Revision {
        Revision(self.in_force.load(Ordering::Acquire))
    }

    /// When the newest change came into force; none since the start.
    pub fn last_change(&self) -> Option<Timestamp> {
        let changed_ms = self.changed_ms.load(Ordering::Relaxed);
        (changed_ms > 0).then(|| Timestamp::from_unix_ms(changed_ms))
    }

    /// How many keys and tokens cannot be read, and are refused for it.
    pub fn unreadable(&self) -> usize {
        self.unreadable_ids().len()
    }

    /// The token with this digest, also one that has expired or is revoked.
    pub fn token(&self, digest: &Digest) -> Option<Token> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).by_digest.get(digest).cloned()
    }

    /// Revokes for good, in the store, those of its keys that the file alone says are revoked.
    ///
    /// # Errors
    /// If the store cannot be written to. The keys stay revoked as long as the file says so.
    pub fn adopt_revocations(&self) -> Result<(), CommitError> {
        for keys in self.catalog.revoked_by_file().chunks(CHUNK_REVOCATIONS) {
            let commits = keys.iter().map(|(id, digests)| self.revocation(id, digests)).collect::<Result<_, _>>()?;
            match self.commit_all(commits) {
                Ok(_) => {}
                // One of them has been revoked meanwhile, say.
                Err(CommitError::Refused { .. }) => {
                    keys.iter().try_for_each(|(id, digests)| self.adopt_revocation(id, digests.clone()))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn adopt_revocation(&self, id: &KeyId, mut digests: Vec<Digest>) -> Result<(), CommitError> {
        for _ in 0..MOST_TRIES {
            match self.commit(self.revocation(id, &digests)?) {
                Ok(_) | Err(CommitError::Refused { refusal: Refusal::Revoked | Refusal::Missing, .. }) => return Ok(()),
                // Another key of the store has it, and is told as a conflict.
                Err(CommitError::Refused {
                    refusal: Refusal::DigestTaken(holder) | Refusal::DigestRevoked(holder),
                    ..
                }) => {
                    let held = self.store.key(&holder)?.map(|(_, held)| held.secrets).unwrap_or_default();
                    digests.retain(|digest| held.iter().all(|secret| secret.digest.digest != *digest));
                }
                Err(CommitError::Refused { refusal: Refusal::Stale(_), .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.commit(revoked_by_file(Change::RevokeKey(id.clone()), Expect::Anything)).map(drop)
    }

    /// What the file says of a key, for the store: with the digests that it has in the file alone, so that these stay revoked
    /// when the file forgets the key.
    fn revocation(&self, id: &KeyId, digests: &[Digest]) -> Result<Commit, StoreError> {
        let plain = || revoked_by_file(Change::RevokeKey(id.clone()), Expect::Anything);
        if digests.is_empty() {
            return Ok(plain());
        }
        let Some((revision, mut stored)) = self.store.key(id)? else { return Ok(plain()) };
        let is_new = |digest: &&Digest| stored.secrets.iter().all(|secret| secret.digest.digest != **digest);
        let more: Vec<_> = digests.iter().filter(is_new).map(|digest| tombstone(*digest)).collect();
        stored.secrets.extend(more);
        stored.key.state = State::Revoked;
        stored.changed = now();
        Ok(revoked_by_file(Change::PutKey(Box::new(stored)), Expect::Revision(revision)))
    }

    /// Notes in the store which keys were used since it was last asked to.
    ///
    /// # Errors
    /// If the store cannot be written to; then the next call notes what this one did not.
    pub fn note_uses(&self) -> Result<(), StoreError> {
        let mut noted = self.uses_noted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let mut uses = Vec::new();
        // Uses have seconds: those of the second in which they were last collected are collected again.
        let since = Timestamp::from_unix_ms(noted.as_unix_s() * 1000);
        self.catalog.keys().used_since(since, &mut |digest, used| uses.push((digest, used)));
        if !uses.is_empty() {
            self.store.note_used(&uses)?;
        }
        *noted = now;
        Ok(())
    }

    fn following(&self) -> MutexGuard<'_, Revision> {
        // What panicked half way has not moved the revision, and a change that is followed twice is the same.
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow_to(&self, revision: Revision) -> Result<(), StoreError> {
        let mut followed = self.following();
        if *followed >= revision {
            return Ok(());
        }
        let mut keys = Vec::new();
        let newest = self.store.changes_since(*followed, &mut |_, record| keys.extend(self.key_of(record)))?;
        self.catalog.follow(keys);
        self.changed_ms.store(now().as_unix_ms(), Ordering::Relaxed);
        self.reach(&mut followed, newest.unwrap_or(revision));
        Ok(())
    }

    fn reach(&self, followed: &mut Revision, revision: Revision) {
        *followed = revision;
        self.in_force.store(revision.0, Ordering::Release);
    }

    /// Reads on one thread and brings into force on another.
    fn load(&self) -> Result<Revision, StoreError> {
        let newest = thread::scope(|scope| {
            let catalog = &self.catalog;
            catalog.reserve(self.store.keys_at_most());
            // The other side ends when this sender goes, so it must not outlive the closure.
            let (sender, chunks) = sync_channel::<Vec<StoredKey>>(CHUNKS);
            scope.spawn(move || chunks.into_iter().for_each(|chunk| catalog.follow(chunk)));
            let mut chunk = Vec::new();
            let newest = self.store.load(&mut |_, record| {
                chunk.extend(self.key_of(record));
                if chunk.len() >= CHUNK_KEYS {
                    // An error says that the other side has panicked, and so will the scope.
                    let _ = sender.send(std::mem::take(&mut chunk));
                }
            });
            let _ = sender.send(chunk);
            newest
        });
        // The maps have outgrown many tables.
        self.catalog.keys().free_garbage();
        newest
    }

    /// Takes a token into force; a key is handed on. Of what cannot be read it is what is left, which lets nobody in: so one
    /// damaged row keeps no other change from coming into force.
    fn key_of(&self, record: Result<Record, Damaged>) -> Option<StoredKey> {
        match self.sound(record) {
            Record::Key(key) => Some(key),
            Record::Token(token) => {
                self.tokens.write().unwrap_or_else(PoisonError::into_inner).put(token);
                None
            }
        }
    }
}

impl Follower {
    fn sound(&self, record: Result<Record, Damaged>) -> Record {
        let mut unreadable = self.unreadable_ids();
        match record {
            Ok(record) => {
                unreadable.remove(record.id());
                record
            }
            Err(Damaged { remains, error }) => {
                log::error(
                    "a row of the store cannot be read; its key or token is refused until it is mended",
                    &[("id", &remains.id()), ("error", &error)],
                );
                unreadable.insert(remains.id().to_owned());
                *remains
            }
        }
    }

    fn unreadable_ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

fn revoked_by_file(change: Change, expect: Expect) -> Commit {
    Commit {
        change,
        expect,
        action: Action::KeyRevoke,
        origin: Origin { at: now(), actor: Actor::File, remote: None, request_id: None },
        idempotency: None,
    }
}

/// A secret of which the file has the digest alone.
fn tombstone(digest: Digest) -> StoredSecret {
    let digest = StoredDigest { pepper: None, digest };
    StoredSecret { digest, hint: "…".to_owned(), since: now(), until: None, last_used: None, recoverable: None }
}

fn now() -> Timestamp {
    time::wall(time::now())
}

/// Keys that are brought into force at once while the store is loaded.
const CHUNK_KEYS: usize = 4096;
/// Revocations that are made durable at once.
const CHUNK_REVOCATIONS: usize = 500;
/// How often a revocation is tried that something is against.
const MOST_TRIES: usize = 32;
/// How many such chunks may wait.
const CHUNKS: usize = 4;

//! The catalog: what is in force now. Rules are swapped whole, keys are changed one by one; one writer, any number of readers.
//!
//! A request is decided by the rules and the keys of one configuration: it asks [`Keys::find_under`] with the rules that it
//! was routed by. Called by `gateway` (reads) and by `app` (changes: from the file now, from the store later).

mod changes;
mod follow;
mod held;
mod index;
mod record;
mod rules;
mod table;
mod wire;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;

use changes::Changes;
use record::{EntryRef, Secret};
use writer::Writer;

use crate::key::{Digest, KeyId};
use crate::store::StoredKey;

pub use changes::{Applied, FileKey};
pub use follow::Follower;
pub use index::{Found, Keys};
pub use record::{Entry, Record, RecordRef, SecretNumber, Source};
pub use rules::{CompileError, PlanId, RuleSet, Rules};
pub use wire::{ClientTimeouts, Credentials, FloodGuard, Identity, LimitHeaders, Metering, Wire};
pub use writer::Conflict;

/// What is in force now.
pub struct Catalog {
    keys: Keys,
    rules: ArcSwap<Rules>,
    /// Moves last: who sees a generation sees its rules and its keys.
    generation: AtomicU64,
    /// All claims on keys. Only who changes them locks it.
    writer: Mutex<Writer>,
}

impl Catalog {
    /// Nothing is in force: no routes, no keys, generation 0.
    pub fn new() -> Self {
        Self {
            keys: Keys::new(),
            rules: ArcSwap::from_pointee(Rules::empty()),
            generation: AtomicU64::new(0),
            writer: Mutex::default(),
        }
    }

    /// The generation that is in force. Data threads ask for each request, and for the rules when it has moved.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The rules in force; at least of the generation that was seen before.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The keys in force.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Brings a configuration into force: `rules` compiled on top of those in force, and all the keys of the file.
    ///
    /// Requests under the old rules see the old keys to the end, since these are put aside first; with the swap of the rules
    /// everything is new at once. Keys keep what their limits have counted. For the control thread: takes about a second
    /// for a million keys.
    pub fn apply(&self, mut rules: Rules, keys: Vec<FileKey>) -> Applied {
        let mut writer = self.writer();
        let current = self.rules();
        rules.generation = current.generation + 1;
        let generation = rules.generation;

        let changes = Changes::between(&mut writer, keys, &rules);
        rules.hear_of_all();
        if !current.routes.is_empty() {
            current.keep_former(changes.former(&self.keys));
        }
        let applied = changes.make(&mut writer, &self.keys);

        self.rules.store(Arc::new(rules));
        self.generation.store(generation, Ordering::Release);
        Applied { generation, ..applied }
    }

    /// Makes room for so many more keys, within reason: the number comes from a file.
    pub(super) fn reserve(&self, keys: usize) {
        self.writer().reserve(keys.min(MOST_RESERVED));
    }

    /// Brings keys of the store into force, with secrets that have ended, so that nobody else can have these.
    pub(super) fn follow(&self, stored: impl IntoIterator<Item = StoredKey>) {
        let mut writer = self.writer();
        let rules = self.rules();
        for StoredKey { mut key, secrets, .. } in stored {
            let owner = key.owner.take().map(|owner| writer.shared(owner));
            let plan = key.plan.as_ref().map(|name| rules.plan_id(name));
            let secrets: Vec<_> =
                secrets.iter().map(|secret| Secret { digest: secret.digest.digest, until: secret.until }).collect();
            let id = key.id.clone();
            let record = Record::new(key, owner, plan, Source::Store, &secrets);
            let claim = writer.claim(record);
            let step = writer.step(Source::Store, &id, Some(claim));
            writer.take(&self.keys, step);
        }
    }

    /// The key with this id, as of now. For the control thread: waits for whoever changes keys.
    pub fn record(&self, id: &KeyId) -> Option<RecordRef> {
        self.writer().entry(id).map(|entry| RecordRef::in_force(EntryRef::clone(entry)).0)
    }

    /// What of file and store does not go together.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.writer().conflicts(&self.keys)
    }

    /// The keys of the store that the file alone says are revoked, with the digests that they have in the file.
    pub(super) fn revoked_by_file(&self) -> Vec<(KeyId, Vec<Digest>)> {
        self.writer().revoked_by_file()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("no change was left half way")
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("generation", &self.generation())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Room for this many takes up to 300 MiB of addresses, of which a ninth is touched before keys come.
const MOST_RESERVED: usize = 1 << 24;

#[cfg(test)]
mod tests;

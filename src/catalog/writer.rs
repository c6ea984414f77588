//! What each source says of each key, and what is in force of it: the one place that changes the index.
//!
//! A key can stand in the file, in the store, or in both. Of one id the file's key is in force unless either says that it is
//! revoked. Of one digest a key has it before any other for which it is over, because the key is revoked or has rotated it out,
//! and the file's before the store's; who loses keeps its claim, and gets the digest when the winner leaves it. Called by
//! [`super::Catalog`] under its lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::held::Held;
use super::index::Keys;
use super::record::{Entry, EntryRef, Record, RecordRef, Source};
use crate::key::{Digest, KeyId, Name, State};

/// The keys in force by id, and all claims that they are made of.
#[derive(Default)]
pub(super) struct Writer {
    held: Held,
    /// Of ids that both sources speak of. All others' claim is their entry's record.
    both: HashMap<KeyId, Claims>,
    /// Entries that claim a digest which leads to another, by the digest's place in the index.
    losers: HashMap<u64, Vec<EntryRef>>,
    /// What the file says, sorted by id.
    pub(super) file: Vec<RecordRef>,
    owners: HashSet<Arc<Name>>,
}

/// What the sources say of one id.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    file: Option<RecordRef>,
    store: Option<RecordRef>,
}

/// What is to become of one id.
pub(super) struct Step {
    pub(super) current: Option<EntryRef>,
    id: KeyId,
    claims: Claims,
    pub(super) next: Option<RecordRef>,
}

/// Two keys that cannot both be in force as they are written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// One id in both sources.
    #[error("the key `{0}` is in the file and in the store; what the file says of it is in force")]
    Id(KeyId),
    /// One secret of two keys.
    #[error("the keys `{winner}` and `{loser}` have the same secret; it is that of `{winner}`")]
    Secret {
        /// The key that the secret leads to.
        winner: KeyId,
        /// The key that it would lead to otherwise.
        loser: KeyId,
    },
}

impl Claims {
    fn put(&mut self, source: Source, claim: Option<RecordRef>) {
        match source {
            Source::File => self.file = claim,
            Source::Store => self.store = claim,
        }
    }

    /// What is in force of it.
    fn in_force(&self) -> Option<RecordRef> {
        match (&self.file, &self.store) {
            (None, None) => None,
            (Some(only), None) | (None, Some(only)) => Some(only.clone()),
            (Some(file), Some(store)) if is_revoked(file) || is_revoked(store) => {
                let of_file = file.digests().next().is_some();
                let (named, other) = if of_file { (file, store) } else { (store, file) };
                Some(named.followed_by(named.revoked_with(other)))
            }
            (Some(file), Some(store)) => {
                Some(file.with_ends_of(store).map_or(file.clone(), |next| file.followed_by(next)))
            }
        }
    }

    fn are_both(&self) -> bool {
        self.file.is_some() && self.store.is_some()
    }
}

impl Writer {
    /// The first copy of a name, so that a million keys share it.
    pub(super) fn shared(&mut self, name: Name) -> Arc<Name> {
        if let Some(known) = self.owners.get(&name) {
            return Arc::clone(known);
        }
        let name = Arc::new(name);
        self.owners.insert(Arc::clone(&name));
        name
    }

    /// Makes room for so many keys more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.held.reserve(more);
    }

    /// The entry of the key with this id.
    pub(super) fn entry(&self, id: &KeyId) -> Option<&EntryRef> {
        self.held.find(id)
    }

    /// What a source says of a key, for the key's entry; a key that has none yet gets one.
    pub(super) fn claim(&self, record: Record) -> RecordRef {
        match self.entry(&record.id) {
            Some(entry) => RecordRef::later(EntryRef::clone(entry), record),
            None => RecordRef::first(record),
        }
    }

    /// What follows if `source` says this of the key with this id from now on. Changes nothing.
    pub(super) fn step(&self, source: Source, id: &KeyId, claim: Option<RecordRef>) -> Step {
        let current = self.entry(id).cloned();
        let former = current.clone().map(|entry| RecordRef::in_force(entry).0);
        let mut claims = self.both.get(id).cloned().unwrap_or_default();
        if let (false, Some(former)) = (claims.are_both(), &former) {
            claims.put(former.source, Some(former.clone()));
        }
        claims.put(source, claim);
        let next = match (claims.in_force(), former) {
            (Some(next), Some(former)) => Some(match next.succeeding(&former) {
                Some(other) => next.followed_by(other),
                None => next,
            }),
            (next, _) => next,
        };
        Step { current, id: id.clone(), claims, next }
    }

    /// Brings it into force.
    pub(super) fn take(&mut self, keys: &Keys, step: Step) {
        let Step { current, id, claims, next } = step;
        match (current, next) {
            (None, None) => {}
            (None, Some(next)) => self.add(keys, &next),
            (Some(entry), Some(next)) => self.change(keys, &entry, &next),
            (Some(entry), None) => self.remove(keys, &entry),
        }
        if claims.are_both() {
            self.both.insert(id, claims);
        } else {
            self.both.remove(&id);
        }
    }

    fn add(&mut self, keys: &Keys, record: &RecordRef) {
        keys.recount(None, counted(record));
        self.held.insert(EntryRef::clone(record.entry_ref()));
        record.digests().for_each(|digest| self.claim_digest(keys, &digest, record.entry_ref()));
    }

    /// New digests lead here before the record has them, and old ones as long as it has.
    fn change(&mut self, keys: &Keys, entry: &EntryRef, next: &RecordRef) {
        let (former, _) = RecordRef::in_force(EntryRef::clone(entry));
        if *former == **next {
            return;
        }
        keys.recount(counted(&former), counted(next));
        let gained = next.digests().filter(|digest| former.secret(digest).is_none());
        gained.for_each(|digest| self.claim_digest(keys, &digest, entry));
        entry.set_record(next);
        next.digests().for_each(|digest| self.settle(keys, &digest));
        let lost = former.digests().filter(|digest| next.secret(digest).is_none());
        lost.for_each(|digest| self.leave(keys, &digest, entry));
        if is_revoked(next) && !is_revoked(&former) {
            keys.count_revocation();
        }
    }

    fn remove(&mut self, keys: &Keys, entry: &EntryRef) {
        let record = entry.record();
        keys.recount(counted(&record), None);
        record.digests().for_each(|digest| self.leave(keys, &digest, entry));
        self.held.remove(entry.id());
    }

    /// Leads a digest to this entry, or notes that another has it.
    fn claim_digest(&mut self, keys: &Keys, digest: &Digest, entry: &EntryRef) {
        match keys.entry(digest) {
            None => keys.insert(digest, entry),
            Some(holder) if EntryRef::ptr_eq(&holder, entry) => {}
            Some(_) => {
                self.losers.entry(digest.spread()).or_default().push(EntryRef::clone(entry));
                self.settle(keys, digest);
            }
        }
    }

    /// Gives a digest that several claim to the first among them.
    fn settle(&mut self, keys: &Keys, digest: &Digest) {
        let Some(losers) = self.losers.get_mut(&digest.spread()) else { return };
        let best = losers.iter_mut().max_by_key(|entry| rank(entry, digest)).expect("losers are never an empty list");
        match keys.entry(digest) {
            Some(holder) if rank(&holder, digest) >= rank(best, digest) => {}
            Some(holder) => keys.insert(digest, &std::mem::replace(best, holder)),
            None => keys.insert(digest, best),
        }
    }

    /// Takes a digest from this entry; who claims it too has it then.
    fn leave(&mut self, keys: &Keys, digest: &Digest, entry: &EntryRef) {
        let holds = keys.entry(digest).is_some_and(|holder| EntryRef::ptr_eq(&holder, entry));
        let Some(losers) = self.losers.get_mut(&digest.spread()) else {
            if holds {
                keys.remove(digest);
            }
            return;
        };
        if holds {
            let heir = (0..losers.len()).max_by_key(|place| rank(&losers[*place], digest));
            keys.insert(digest, &losers.swap_remove(heir.expect("losers are never an empty list")));
        } else {
            losers.retain(|loser| !EntryRef::ptr_eq(loser, entry));
        }
        if losers.is_empty() {
            self.losers.remove(&digest.spread());
        }
    }

    /// What cannot be in force as it is written down.
    pub(super) fn conflicts(&self, keys: &Keys) -> Vec<Conflict> {
        let same_id = |(id, claims): (&KeyId, &Claims)| {
            let mut each = [&claims.file, &claims.store].into_iter().flatten();
            each.all(|claim| !is_revoked(claim)).then(|| Conflict::Id(id.clone()))
        };
        let mut conflicts: Vec<_> = self.both.iter().filter_map(same_id).collect();
        for (spread, losers) in &self.losers {
            let Some(winner) = keys.entry_at(*spread).map(|entry| entry.id().clone()) else { continue };
            let lost = losers.iter().map(|loser| loser.id().clone());
            conflicts.extend(lost.map(|loser| Conflict::Secret { winner: winner.clone(), loser }));
        }
        conflicts
    }

    /// The keys of the store that the file alone says are revoked, with the digests that they have in the file.
    pub(super) fn revoked_by_file(&self) -> Vec<(KeyId, Vec<Digest>)> {
        let by_file = |(id, claims): (&KeyId, &Claims)| {
            let file = claims.file.as_deref().filter(|file| is_revoked(file))?;
            let is_adopted = claims.store.as_deref().is_some_and(is_revoked);
            (!is_adopted).then(|| (id.clone(), file.digests().collect()))
        };
        self.both.iter().filter_map(by_file).collect()
    }
}

fn is_revoked(record: &Record) -> bool {
    record.state == State::Revoked
}

/// An id that is revoked and nothing more is no key.
fn counted(record: &Record) -> Option<State> {
    record.digests().next().map(|_| record.state)
}

/// Who has a digest that several claim.
fn rank(entry: &Entry, digest: &Digest) -> (bool, Source) {
    let record = entry.record();
    (record.secret(digest).is_some_and(|secret| record.is_over(secret)), record.source)
}

//! The key index: from the digest of a presented secret to the entry of its key.
//!
//! Readers take no lock and never wait for the writer. The index only says where to look: an entry is found by 64 bits of the
//! digest, and its record says whether the whole digest is the key's. Called by `gateway` for every request with a key; only
//! `catalog` changes it.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::record::{Entry, EntryRef, RecordRef, SecretNumber, Source};
use super::rules::Rules;
use super::table::Table;
use crate::key::{Digest, Digests, State};
use crate::time::Timestamp;

/// All keys in force, by digest.
pub struct Keys {
    entries: Table<Entry>,
    /// Number of keys by state, in the order of [`slot`].
    counts: [AtomicUsize; 3],
    /// How many keys have been revoked so far.
    revocations: AtomicU64,
}

/// A key as it stands under certain rules, found by one of its secrets.
#[derive(Debug)]
pub struct Found {
    /// What is known of it, and where its use is counted.
    pub record: RecordRef,
    /// Which of its secrets.
    pub secret: SecretNumber,
    /// What its use is counted under: the same for as long as its owner and plan are, never given to another.
    pub account: u64,
}

/// For maps by digest.
pub(super) type HashByDigest = BuildHasherDefault<AsGiven>;

impl Keys {
    pub(super) fn new() -> Self {
        Self { entries: Table::new(), counts: Default::default(), revocations: AtomicU64::new(0) }
    }

    /// The key with this digest, as of now. Digests are compared in constant time.
    pub fn find(&self, digest: &Digest) -> Option<Found> {
        let (record, account) = RecordRef::in_force(self.entry(digest)?);
        let secret = record.secret(digest)?;
        Some(Found { record, secret, account })
    }

    /// The key with this digest as it stands under `rules`, even while the next configuration is being brought into force.
    ///
    /// So a request is decided by the rules and the keys of one configuration, the old or the new, never by a mixture.
    pub fn find_under(&self, rules: &Rules, digest: &Digest) -> Option<Found> {
        let now = self.find(digest);
        // Asked for after the index was: what the writer does to the index it does after this was filled in.
        match rules.former().and_then(|former| former.find(digest)) {
            Some(then) => then,
            None => now,
        }
    }

    /// The key with any of the digests that one secret can be stored under; the work never tells whether there is one.
    ///
    /// A secret can have been written down twice, with a pepper and without. A key has it before all others then for which it is
    /// over, the file's before the store's.
    pub fn find_secret(&self, rules: &Rules, digests: &Digests) -> Option<Found> {
        let rank = |found: &Found| (found.record.is_over(found.secret), found.record.source);
        digests.iter().fold(None, |best, digest| match (best, self.find_under(rules, digest)) {
            (Some(best), Some(found)) if rank(&best) >= rank(&found) => Some(best),
            (best, found) => found.or(best),
        })
    }

    /// When the secret with this digest was last used, to the second; none: not since the start.
    pub fn last_use(&self, digest: &Digest) -> Option<Timestamp> {
        self.find(digest).and_then(|found| found.record.entry().last_use(&found.record, found.secret))
    }

    /// Gives each secret of the store's keys that was used at or after `since` to `each`, with when that was. Takes no lock.
    pub fn used_since(&self, since: Timestamp, each: &mut dyn FnMut(Digest, Timestamp)) {
        self.entries.for_each(&mut |spread, entry| {
            let record = entry.record();
            if record.source != Source::Store {
                return;
            }
            for digest in record.digests().filter(|digest| digest.spread() == spread) {
                let Some(secret) = record.secret(&digest) else { continue };
                if let Some(used) = entry.last_use(&record, secret).filter(|used| *used >= since) {
                    each(digest, used);
                }
            }
        });
    }

    /// Moves with each key that is revoked, after it is in force.
    pub fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Acquire)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys in this state.
    pub fn count(&self, state: State) -> usize {
        self.counts[slot(state)].load(Ordering::Relaxed)
    }

    /// The entry that this digest leads to, whether its key has the digest or not.
    pub(super) fn entry(&self, digest: &Digest) -> Option<EntryRef> {
        self.entry_at(digest.spread())
    }

    /// The entry at a digest's place.
    pub(super) fn entry_at(&self, spread: u64) -> Option<EntryRef> {
        self.entries.find(spread)
    }

    /// Leads this digest to this entry from now on.
    pub(super) fn insert(&self, digest: &Digest, entry: &EntryRef) {
        self.entries.insert(digest.spread(), EntryRef::clone(entry));
    }

    /// Forgets this digest.
    pub(super) fn remove(&self, digest: &Digest) {
        self.entries.remove(digest.spread());
    }

    /// Counts a key that was revoked.
    pub(super) fn count_revocation(&self) {
        self.revocations.fetch_add(1, Ordering::Release);
    }

    /// Frees outgrown tables and removed keys as soon as no reader can be looking at them, to be called after changes.
    pub(super) fn free_garbage(&self) {
        self.entries.free_garbage();
    }

    /// Counts a key that went from one state to another; none is out of the index.
    pub(super) fn recount(&self, from: Option<State>, to: Option<State>) {
        if let Some(from) = from {
            self.counts[slot(from)].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(to) = to {
            self.counts[slot(to)].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The hash of a digest is the one number that it gives, which needs no hashing any more.
#[derive(Default)]
pub(super) struct AsGiven(u64);

impl Hasher for AsGiven {
    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "a digest hashes as one u64");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

const fn slot(state: State) -> usize {
    match state {
        State::Active => 0,
        State::Disabled => 1,
        State::Revoked => 2,
    }
}

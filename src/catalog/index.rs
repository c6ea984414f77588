//! The key index: from the digest of a presented secret to the entry of its key.
//!
//! Readers take no lock and never wait for the writer. A change of a key swaps its record and leaves the entry where it is,
//! so that its limiter state outlives every change. Called by `gateway` for every request with a key; only `catalog` changes it.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;
use papaya::Guard as _;

use super::rules::{PlanId, Rules};
use crate::key::{Digest, Key, KeyId, Name, Scope, State};
use crate::limit;
use crate::policy::Rights;
use crate::time::Timestamp;

/// A record as it was when it was read; turn it into an `Arc` with `Arc::clone` to keep it.
pub type RecordGuard = Guard<Arc<Record>>;

/// All keys in force, by digest.
pub struct Keys {
    shards: Box<[Shard]>,
    /// Number of keys by state, in the order of [`slot`].
    counts: [AtomicUsize; 3],
}

/// One key: what is known of it, and what its limits have counted. Several digests can lead to one entry.
#[derive(Debug)]
pub struct Entry {
    record: ArcSwap<Record>,
    limits: limit::State,
}

/// What requests need to know of one key: no names, and no room for bounds that most keys do not have. Never changed, only
/// replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Its public id.
    pub id: KeyId,
    /// Whom it belongs to.
    pub owner: Option<Name>,
    /// Its plan, for [`Rules::plan`]; none means no limits.
    pub plan: Option<PlanId>,
    /// Active, disabled or revoked.
    pub state: State,
    bounds: Option<Box<Bounds>>,
}

/// What narrows a key's use beyond its plan.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bounds {
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    scopes: Box<[Scope]>,
    networks: Box<[IpNet]>,
}

/// A key as it stands under certain rules.
#[derive(Debug)]
pub struct Found {
    /// Where its limits are counted.
    pub entry: Arc<Entry>,
    /// What is known of it.
    pub record: RecordGuard,
}

/// Many small maps instead of a large one: no insert has to make way for more than a share of the keys.
type Shard = papaya::HashMap<Digest, Arc<Entry>, HashByDigest>;

/// For maps by digest.
pub(super) type HashByDigest = BuildHasherDefault<AsGiven>;

impl Keys {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), counts: Default::default() }
    }

    /// The entry under this digest, as of now. Digests are compared in constant time.
    pub fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.shard(digest).pin().get(digest).cloned()
    }

    /// The key under this digest as it stands under `rules`, even while the next configuration is being brought into force.
    ///
    /// So a request is decided by the rules and the keys of one configuration, the old or the new, never by a mixture.
    pub fn find_under(&self, rules: &Rules, digest: &Digest) -> Option<Found> {
        let now = self.find(digest).map(|entry| Found { record: entry.record(), entry });
        // Asked for after the index was: what the writer does to the index it does after this was filled in.
        match rules.former().and_then(|former| former.find(digest)) {
            Some(then) => then,
            None => now,
        }
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

    /// Leads this digest to this entry from now on.
    pub(super) fn insert(&self, digest: Digest, entry: &Arc<Entry>) {
        self.shard(&digest).pin().insert(digest, Arc::clone(entry));
    }

    /// Forgets this digest, unless it leads to another entry by now.
    pub(super) fn remove(&self, digest: &Digest, entry: &Arc<Entry>) {
        // An `Err` says that the digest has been given to another key, which is then its own matter.
        let _ = self.shard(digest).pin().remove_if(digest, |_, held| Arc::ptr_eq(held, entry));
    }

    /// Frees outgrown tables and removed keys as soon as no reader can be looking at them, to be called after changes.
    ///
    /// Otherwise each shard waits until it has 32 of them.
    pub(super) fn free_garbage(&self) {
        self.shards.iter().for_each(|shard| shard.guard().flush());
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

    /// The shard is chosen by bits from the middle of the hash; the maps use those at its ends.
    fn shard(&self, digest: &Digest) -> &Shard {
        &self.shards[(digest.spread() >> 40) as usize % SHARDS]
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Record {
    /// Of a key, whose plan has this id. The texts of keys that share an owner are to be shared before.
    pub(super) fn new(key: Key, plan: Option<PlanId>) -> Self {
        let Key { id, owner, state, not_before, expires, scopes, networks, .. } = key;
        let bounds = Bounds { not_before, expires, scopes: scopes.into(), networks: networks.into() };
        let bounds = (bounds != Bounds::default()).then(|| Box::new(bounds));
        Self { id, owner, plan, state, bounds }
    }

    /// What it may, under the rules that know its plan.
    pub fn rights<'r>(&'r self, rules: &'r Rules) -> Rights<'r> {
        let bounds = self.bounds.as_deref();
        Rights {
            state: self.state,
            not_before: bounds.and_then(|bounds| bounds.not_before),
            expires: bounds.and_then(|bounds| bounds.expires),
            plan: self.plan.and_then(|plan| rules.plan_name(plan)),
            scopes: bounds.map_or(&[], |bounds| &bounds.scopes),
            networks: bounds.map_or(&[], |bounds| &bounds.networks),
        }
    }
}

impl Entry {
    pub(super) fn new(record: Arc<Record>) -> Arc<Self> {
        Arc::new(Self { record: ArcSwap::new(record), limits: limit::State::default() })
    }

    /// What is known of the key, as of now. Takes no lock and counts no reference.
    pub fn record(&self) -> RecordGuard {
        self.record.load()
    }

    /// What its limits have counted.
    pub const fn limits(&self) -> &limit::State {
        &self.limits
    }

    /// Replaces what is known of the key.
    pub(super) fn set_record(&self, record: Arc<Record>) {
        self.record.store(record);
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

/// At ten million keys a map that doubles has some 120,000 of them. More maps make look-ups of random keys slower, a single
/// one stops the writer (never a reader) for tens of milliseconds: see `benches/index.rs`.
const SHARDS: usize = 64;

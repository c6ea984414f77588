//! What requests need to know of one key, and where its use is counted.
//!
//! A [`Record`] is never changed, only followed by another; the [`Entry`] that holds it stays where it is, so that what its limits
//! have counted outlives every change. The record alone says which digests are the key's: with its replacement all of a change
//! is in force at once. Most keys are never changed, so the first record lies in the entry: a decision looks at one place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use ipnet::IpNet;

use super::rules::{PlanId, Rules};
use crate::key::{Digest, Extra, Key, KeyId, Name, Scope, State};
use crate::limit;
use crate::policy::Rights;
use crate::time::Timestamp;

/// A shared entry. It is counted in one word, as nobody wants weak pointers to one.
pub(super) type EntryRef = triomphe::Arc<Entry>;

/// A record as it was when it was read, and the entry of its key.
#[derive(Clone)]
pub struct RecordRef {
    entry: EntryRef,
    /// None: the entry's first.
    later: Option<Arc<Record>>,
}

/// A record as it was when it was read.
pub(super) struct RecordGuard<'e> {
    entry: &'e Entry,
    later: Option<Arc<Record>>,
}

/// One key: what is known of it, what its limits have counted, when it was used.
#[derive(Debug)]
pub struct Entry {
    first: Record,
    /// The record in force, if that is another.
    later: ArcSwapOption<Record>,
    /// See [`Entry::account`]; above the bit that says whether a later record is in force.
    standing: AtomicU64,
    limits: limit::State,
    /// When its secrets were last used, in seconds since 1970; 0: not since the start. See [`Record::turn`].
    used_s: [AtomicU32; 2],
}

/// What requests need to know of one key: no names, and no room for bounds that most keys do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its public id.
    pub id: KeyId,
    /// Whom it belongs to.
    pub owner: Option<Arc<Name>>,
    /// The plan it names; [`Rules::plan_of`] tells the one that it is on.
    pub plan: Option<PlanId>,
    /// Active, disabled or revoked.
    pub state: State,
    /// Who speaks of it.
    pub source: Source,
    /// Which of the entry's two instants of use is the newest secret's; the other is that of all older ones.
    turn: u8,
    /// Of its newest secret; none if only its id is known, as of a revoked key that is nowhere else.
    digest: Option<Digest>,
    bounds: Option<Box<Bounds>>,
}

// A million of them are as many times this.
const _: () = assert!(size_of::<Record>() == 80 && size_of::<Entry>() == 152);

/// Where a key is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In the store: made through the admin API.
    Store,
    /// In the configuration file.
    File,
}

/// What narrows a key's use beyond its plan, and its older secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bounds {
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    scopes: Box<[Scope]>,
    networks: Box<[IpNet]>,
    extra: Extra,
    older: Box<[Secret]>,
}

/// One of a key's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) digest: Digest,
    /// Not valid from this time on.
    pub(super) until: Option<Timestamp>,
}

/// One of a key's secrets, as its record numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretNumber(u8);

impl Record {
    /// Of a key with these secrets, the newest first; its owner is shared with all keys of that owner, its plan has this id.
    pub(super) fn new(
        key: Key,
        owner: Option<Arc<Name>>,
        plan: Option<PlanId>,
        source: Source,
        secrets: &[Secret],
    ) -> Self {
        let Key { id, state, not_before, expires, scopes, networks, extra, .. } = key;
        let newest = secrets.first();
        // The end of the newest secret is the key's own end.
        let expires = expires.into_iter().chain(newest.and_then(|secret| secret.until)).min();
        let older = secrets.iter().skip(1).take(MOST_OLDER).copied().collect();
        let bounds = Bounds { not_before, expires, scopes: scopes.into(), networks: networks.into(), extra, older };
        let bounds = (bounds != Bounds::default()).then(|| Box::new(bounds));
        Self { id, owner, plan, state, source, turn: 0, digest: newest.map(|secret| secret.digest), bounds }
    }

    /// What the holder of this secret may, under the rules that know its plan.
    pub fn rights<'r>(&'r self, rules: &'r Rules, secret: SecretNumber) -> Rights<'r> {
        let bounds = self.bounds.as_deref();
        let older = self.older(secret);
        let ends = bounds.and_then(|bounds| bounds.expires).into_iter().chain(older.and_then(|older| older.until));
        Rights {
            state: self.state,
            not_before: bounds.and_then(|bounds| bounds.not_before),
            expires: ends.min(),
            plan: rules.plan_of(self).and_then(|plan| rules.plan_name(plan)),
            scopes: bounds.map_or(&[], |bounds| &bounds.scopes),
            networks: bounds.map_or(&[], |bounds| &bounds.networks),
        }
    }

    /// What it may use up beyond its plan's quotas.
    pub fn extra(&self) -> Extra {
        self.bounds.as_deref().map_or(Extra::default(), |bounds| bounds.extra)
    }

    /// Whether this digest is of one of its secrets, and of which. Compared in constant time.
    pub(super) fn secret(&self, digest: &Digest) -> Option<SecretNumber> {
        if self.digest.as_ref() == Some(digest) {
            return Some(SecretNumber(0));
        }
        let older = &self.bounds.as_deref()?.older;
        (1_u8..).zip(older).find(|(_, secret)| secret.digest == *digest).map(|(number, _)| SecretNumber(number))
    }

    /// Whether it is over with this secret: the key is revoked, or has rotated it out and its end is known. Whoever else claims
    /// such a secret does not get it.
    pub(super) fn is_over(&self, secret: SecretNumber) -> bool {
        self.state == State::Revoked || self.older(secret).is_some_and(|older| older.until.is_some())
    }

    /// The digests of its secrets, the newest first.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        let older = self.bounds.iter().flat_map(|bounds| bounds.older.iter().map(|secret| secret.digest));
        self.digest.into_iter().chain(older)
    }

    /// The same key, revoked, and with the digests of another that says so too.
    pub(super) fn revoked_with(&self, other: &Self) -> Self {
        let mut revoked = self.clone();
        revoked.state = State::Revoked;
        let mut others = other.digests().filter(|digest| self.secret(digest).is_none()).peekable();
        if revoked.digest.is_none() {
            revoked.digest = others.next();
        }
        if others.peek().is_some() {
            let bounds = revoked.bounds.get_or_insert_default();
            let more = others.map(|digest| Secret { digest, until: None });
            bounds.older = bounds.older.iter().copied().chain(more).take(MOST_OLDER).collect();
        }
        revoked
    }

    /// The same key, but no secret outlives the end that another record of the key knows for it: what was rotated out in the
    /// store does not come back with the file, neither for this key nor for another. None: that is so as it is.
    pub(super) fn with_ends_of(&self, other: &Self) -> Option<Self> {
        let older = other.bounds.iter().flat_map(|bounds| bounds.older.iter());
        let mut ended = older.filter(|secret| secret.until.is_some()).peekable();
        ended.peek()?;
        let mut next = self.clone();
        let bounds = next.bounds.get_or_insert_default();
        let mut older = std::mem::take(&mut bounds.older).into_vec();
        for secret in ended {
            if self.digest == Some(secret.digest) {
                bounds.expires = bounds.expires.into_iter().chain(secret.until).min();
            } else if let Some(known) = older.iter_mut().find(|known| known.digest == secret.digest) {
                known.until = secret.until;
            } else if older.len() < MOST_OLDER {
                older.push(Secret { until: Some(LONG_AGO), ..*secret });
            }
        }
        bounds.older = older.into();
        Some(next)
    }

    /// As it follows on `former` in the same entry: whose instant of use is whose stays as it was. None: it does as it is.
    pub(super) fn succeeding(&self, former: &Self) -> Option<Self> {
        let turn = if self.digest == former.digest { former.turn } else { 1 - former.turn };
        (self.turn != turn).then(|| Self { turn, ..self.clone() })
    }

    /// One of the older secrets; none: it is the newest.
    fn older(&self, secret: SecretNumber) -> Option<&Secret> {
        let place = secret.0.checked_sub(1)?;
        self.bounds.as_deref()?.older.get(usize::from(place))
    }

    /// Where a secret's use is counted; none of those that were rotated out before the last.
    fn slot(&self, secret: SecretNumber) -> Option<usize> {
        match secret.0 {
            0 => Some(usize::from(self.turn)),
            1 => Some(usize::from(1 - self.turn)),
            _ => None,
        }
    }
}

impl RecordRef {
    /// The first record of a key, in an entry of its own.
    pub(super) fn first(record: Record) -> Self {
        let entry = Entry {
            first: record,
            later: ArcSwapOption::empty(),
            standing: AtomicU64::new(new_account() << 1),
            limits: limit::State::default(),
            used_s: Default::default(),
        };
        Self { entry: EntryRef::new(entry), later: None }
    }

    /// Another record of an entry's key; it is in force when the entry says so.
    pub(super) fn later(entry: EntryRef, record: Record) -> Self {
        debug_assert_eq!(record.id, *entry.id());
        Self { entry, later: Some(Arc::new(record)) }
    }

    /// Another record of the same key.
    pub(super) fn followed_by(&self, next: Record) -> Self {
        Self::later(EntryRef::clone(&self.entry), next)
    }

    /// The record that is in force, and the account as it was before that was read: see [`Entry::account`].
    pub(super) fn in_force(entry: EntryRef) -> (Self, u64) {
        let (later, account) = entry.standing();
        (Self { entry, later }, account)
    }

    /// Where the key's use is counted.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) const fn entry_ref(&self) -> &EntryRef {
        &self.entry
    }
}

impl Deref for RecordRef {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.later.as_deref().unwrap_or(&self.entry.first)
    }
}

impl Deref for RecordGuard<'_> {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.later.as_deref().unwrap_or(&self.entry.first)
    }
}

impl fmt::Debug for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Entry {
    /// The key's id, which all its records have.
    pub(super) const fn id(&self) -> &KeyId {
        &self.first.id
    }

    /// What is known of the key, as of now. Takes no lock.
    pub(super) fn record(&self) -> RecordGuard<'_> {
        RecordGuard { entry: self, later: self.standing().0 }
    }

    /// Whether the key is active, disabled or revoked, as of now.
    pub fn state(&self) -> State {
        self.record().state
    }

    /// The same for as long as the key's owner and plan are; never given to another key, owner or plan while the process lives.
    ///
    /// To be read before the record: then a new number is never taken for that of an old record.
    fn account(&self) -> u64 {
        self.standing.load(Ordering::Acquire) >> 1
    }

    /// The record that is in force, if it is not the first, and the account before it was read.
    fn standing(&self) -> (Option<Arc<Record>>, u64) {
        let standing = self.standing.load(Ordering::Acquire);
        let later = if standing & 1 == 1 { self.later.load_full() } else { None };
        (later, standing >> 1)
    }

    /// What its limits have counted.
    pub const fn limits(&self) -> &limit::State {
        &self.limits
    }

    /// Notes that a secret was used. Writes once a second at most.
    pub fn note_use(&self, record: &Record, secret: SecretNumber, now: Timestamp) {
        let Some(slot) = record.slot(secret).map(|slot| &self.used_s[slot]) else { return };
        let now_s = u32::try_from(now.as_unix_s()).unwrap_or(u32::MAX);
        if slot.load(Ordering::Relaxed) != now_s {
            slot.store(now_s, Ordering::Relaxed);
        }
    }

    /// When a secret was last used, to the second; none: not since the start.
    pub fn last_use(&self, record: &Record, secret: SecretNumber) -> Option<Timestamp> {
        let used_s = self.used_s[record.slot(secret)?].load(Ordering::Relaxed);
        (used_s > 0).then(|| Timestamp::from_unix_ms(i64::from(used_s) * 1000))
    }

    /// Replaces what is known of the key; its record must be [`Record::succeeding`] the one before.
    pub(super) fn set_record(&self, next: &RecordRef) {
        let former = self.record();
        if next.turn != former.turn {
            self.used_s[usize::from(next.turn)].store(0, Ordering::Relaxed);
        }
        let is_other = next.owner != former.owner || next.plan != former.plan;
        let account = if is_other { new_account() } else { self.account() };
        self.later.store(next.later.clone());
        // Whoever has read this before goes on with the record that was in force then, or finds the next one already.
        self.standing.store(account << 1 | u64::from(next.later.is_some()), Ordering::Release);
    }
}

/// A number that was never given before; never 0. 40 bits of it, which one process does not use up.
pub(super) fn new_account() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Since when it is over with a secret that only another record of the key has.
const LONG_AGO: Timestamp = Timestamp::from_unix_ms(0);
/// So that a [`SecretNumber`] can name each of them. A key has one older secret that may be live, and some that have ended.
const MOST_OLDER: usize = 64;

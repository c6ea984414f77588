//! One key out of two sources: what the store and the file know of an id, and how it stands in force.
//!
//! A key that either source, or what is in force, calls revoked is revoked. Called by everything that shows or changes keys.

use super::Api;
use super::auth::Caller;
use super::problem::{Code, Problem};
use crate::catalog::FileKey;
use crate::key::{Digest, Key, KeyId, State};
use crate::store::{Revision, StoreError, StoredKey};
use crate::time::Timestamp;

/// What the sources have under one id: at least one of them has something.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) file: Option<FileKey>,
    pub(super) stored: Option<(Revision, StoredKey)>,
}

/// A key as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// With the state in force.
    pub(super) key: Key,
    pub(super) source: Source,
    pub(super) secrets: Vec<ShownSecret>,
    pub(super) created: Option<Timestamp>,
    pub(super) changed: Option<Timestamp>,
    pub(super) revision: Option<Revision>,
    pub(super) conflict: Option<String>,
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Store,
    File,
}

/// What is shown of a secret.
#[derive(Clone, Debug)]
pub(super) struct ShownSecret {
    pub(super) hint: Option<String>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) last_used: Option<Timestamp>,
}

impl Api {
    /// What there is under an id for this caller.
    pub(super) fn found(&self, caller: &Caller, id: &str) -> Result<Found, Problem> {
        let id: KeyId = id.parse().map_err(|_| Problem::not_found())?;
        let found = self.look_up(&id)?.filter(|found| caller.sees(found.key()));
        found.ok_or_else(Problem::not_found)
    }

    /// What there is under an id.
    pub(super) fn look_up(&self, id: &KeyId) -> Result<Option<Found>, StoreError> {
        let found = Found { file: self.in_file(id), stored: self.parts.follower.store().key(id)? };
        Ok((found.file.is_some() || found.stored.is_some()).then_some(found))
    }

    pub(super) fn in_file(&self, id: &KeyId) -> Option<FileKey> {
        let keys = self.parts.file_keys.load();
        let place = keys.binary_search_by(|known| known.key.id.cmp(id)).ok()?;
        Some(keys[place].clone())
    }

    /// The key as it is shown at a time.
    pub(super) fn show(&self, found: &Found, now: Timestamp) -> Shown {
        let state = self.state(found, now);
        let conflict = self.conflict(found, now);
        let of_store = found.stored.as_ref().filter(|_| found.file.is_none());
        let shown = |secrets: Vec<ShownSecret>| Shown {
            key: Key { state, ..found.key().clone() },
            source: if of_store.is_some() { Source::Store } else { Source::File },
            secrets,
            created: of_store.map(|(_, stored)| stored.created),
            changed: of_store.map(|(_, stored)| stored.changed),
            revision: of_store.map(|(revision, _)| *revision),
            conflict,
        };
        shown(match (&found.file, &found.stored) {
            (None, Some((_, stored))) => self.stored_secrets(stored, now),
            (file, _) => file.iter().flat_map(|file| &file.digests).map(|digest| self.file_secret(digest)).collect(),
        })
    }

    /// The state in force.
    fn state(&self, found: &Found, now: Timestamp) -> State {
        let stored = found.stored.as_ref().map(|(_, stored)| stored.key.state);
        let is_revoked = |state: State| state == State::Revoked;
        let in_force = found.live_digests(now).any(|digest| {
            let in_force = self.parts.follower.catalog().keys().find(digest);
            in_force.is_some_and(|in_force| in_force.record.id == found.key().id && is_revoked(in_force.record.state))
        });
        if in_force || stored.is_some_and(is_revoked) { State::Revoked } else { found.key().state }
    }

    /// What the sources do not agree on, for people.
    fn conflict(&self, found: &Found, now: Timestamp) -> Option<String> {
        let is_tombstone = |stored: &StoredKey| stored.key.state == State::Revoked;
        if let (Some(_), Some((_, stored))) = (&found.file, &found.stored)
            && !is_tombstone(stored)
        {
            return Some(
                "the file and the store both have a key with this id: take it out of the file or revoke it".to_owned(),
            );
        }
        let id = &found.key().id;
        let holder = found.live_digests(now).find_map(|digest| {
            let holder = self.parts.follower.catalog().keys().find(digest)?.record.id.clone();
            (holder != *id).then_some(holder)
        })?;
        Some(format!("its secret is also that of the key `{holder}`, which is in force in its place"))
    }

    fn stored_secrets(&self, stored: &StoredKey, now: Timestamp) -> Vec<ShownSecret> {
        let live = stored.secrets.iter().filter(|secret| secret.is_live(now));
        let shown = live.map(|secret| ShownSecret {
            hint: Some(secret.hint.clone()),
            since: Some(secret.since),
            until: secret.until,
            last_used: secret.last_used.max(self.last_used(&secret.digest.digest)),
        });
        shown.collect()
    }

    fn file_secret(&self, digest: &Digest) -> ShownSecret {
        ShownSecret { hint: None, since: None, until: None, last_used: self.last_used(digest) }
    }

    fn last_used(&self, digest: &Digest) -> Option<Timestamp> {
        self.parts.follower.catalog().keys().last_use(digest)
    }
}

impl Found {
    /// The digest of its newest secret.
    pub(super) fn digest(&self) -> Option<Digest> {
        let of_file = self.file.as_ref().and_then(|file| file.digests.first().copied());
        let of_store = || Some(self.stored.as_ref()?.1.secrets.first()?.digest.digest);
        of_file.or_else(of_store)
    }

    /// The key under this id: that of the file if it has one.
    pub(super) fn key(&self) -> &Key {
        let stored = self.stored.as_ref().map(|(_, stored)| &stored.key);
        self.file.as_ref().map(|file| &file.key).or(stored).expect("at least one source has something")
    }

    /// The key of the store, to be changed; one that the file has is changed there.
    pub(super) fn editable(&self) -> Result<&(Revision, StoredKey), Problem> {
        let of_file = || {
            Problem::new(
                Code::Conflict,
                "the key is in the configuration file: change it there (it can be revoked here)",
            )
        };
        match (&self.file, &self.stored) {
            (None, Some(stored)) => Ok(stored),
            _ => Err(of_file()),
        }
    }

    fn live_digests(&self, now: Timestamp) -> impl Iterator<Item = &Digest> {
        let of_file = self.file.iter().flat_map(|file| &file.digests);
        let of_store = self.stored.iter().flat_map(|(_, stored)| &stored.secrets);
        of_file.chain(of_store.filter(move |secret| secret.is_live(now)).map(|secret| &secret.digest.digest))
    }
}

//! What one file changes in the keys of the one before: found by walking both in the order of ids.
//!
//! Finding changes nothing, so that readers can be given the keys as they stood before ([`Former`]). Called by
//! [`super::Catalog::apply`] on the control thread.

use std::collections::HashMap;
use std::iter::Peekable;

use super::index::{Found, HashByDigest, Keys};
use super::record::{Record, RecordRef, Secret, SecretNumber, Source, new_account};
use super::rules::Rules;
use super::writer::{Step, Writer};
use crate::key::{Digest, Key, KeyId};

/// A key as the configuration gives it, with the digests of its secrets.
#[derive(Clone, Debug)]
pub struct FileKey {
    /// The key.
    pub key: Key,
    /// The digests of its secrets: one, or two during a rotation; none of an id that is revoked and nothing more.
    pub digests: Vec<Digest>,
}

/// How many keys a configuration touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Keys that were not there before.
    pub added: usize,
    /// Keys with another record or other digests.
    pub changed: usize,
    /// Keys that are gone.
    pub removed: usize,
    /// Keys that stayed as they were.
    pub unchanged: usize,
    /// The generation that is in force now.
    pub generation: u64,
}

/// From one file to the next.
pub(super) struct Changes {
    file: Vec<RecordRef>,
    steps: Vec<Step>,
    applied: Applied,
}

/// The keys as they stood before a change, by each digest that it may give another meaning; `None`: it led to no key.
#[derive(Debug, Default)]
pub(super) struct Former(HashMap<Digest, Option<Standing>, HashByDigest>);

type Standing = (RecordRef, SecretNumber);

impl Changes {
    /// What leads from the file in force to `keys`, in any order.
    pub(super) fn between(writer: &mut Writer, mut keys: Vec<FileKey>, rules: &Rules) -> Self {
        keys.sort_by(|a, b| a.key.id.cmp(&b.key.id));
        let mut changes = Self { file: Vec::with_capacity(keys.len()), steps: Vec::new(), applied: Applied::default() };
        let mut before = std::mem::take(&mut writer.file).into_iter().peekable();
        for file_key in keys {
            let claim = claim(writer, file_key, rules);
            changes.gone(writer, take_below(&mut before, &claim.id));
            let known = before.next_if(|known| known.id == claim.id);
            changes.put(writer, known, claim);
        }
        changes.gone(writer, before);
        changes
    }

    fn gone(&mut self, writer: &Writer, records: impl Iterator<Item = RecordRef>) {
        for record in records {
            self.applied.removed += 1;
            self.steps.push(writer.step(Source::File, &record.id, None));
        }
    }

    fn put(&mut self, writer: &Writer, known: Option<RecordRef>, claim: Record) {
        match known {
            Some(known) if *known == claim => {
                self.applied.unchanged += 1;
                self.file.push(known);
                return;
            }
            Some(_) => self.applied.changed += 1,
            None => self.applied.added += 1,
        }
        let claim = writer.claim(claim);
        self.steps.push(writer.step(Source::File, &claim.id, Some(claim.clone())));
        self.file.push(claim);
    }

    /// How the keys stand that [`Changes::make`] will change; to be asked for before.
    pub(super) fn former(&self, keys: &Keys) -> Former {
        let mut former = Former::default();
        for Step { current, next, .. } in &self.steps {
            let before = current.iter().map(|entry| RecordRef::in_force(entry.clone()).0);
            for record in before.chain(next.iter().cloned()) {
                record.digests().for_each(|digest| former.note(digest, keys));
            }
        }
        former
    }

    /// Changes the index, key by key.
    pub(super) fn make(self, writer: &mut Writer, keys: &Keys) -> Applied {
        self.steps.into_iter().for_each(|step| writer.take(keys, step));
        writer.file = self.file;
        keys.free_garbage();
        self.applied
    }
}

fn claim(writer: &mut Writer, FileKey { mut key, digests }: FileKey, rules: &Rules) -> Record {
    let owner = key.owner.take().map(|owner| writer.shared(owner));
    let plan = key.plan.as_ref().map(|name| rules.plan_id(name));
    let secrets: Vec<Secret> = digests.into_iter().map(|digest| Secret { digest, until: None }).collect();
    Record::new(key, owner, plan, Source::File, &secrets)
}

/// The records whose ids come before this one: the new file does not have them.
fn take_below(records: &mut Peekable<impl Iterator<Item = RecordRef>>, id: &KeyId) -> impl Iterator<Item = RecordRef> {
    std::iter::from_fn(|| records.next_if(|record| record.id < *id))
}

impl Former {
    /// What this digest led to; the outer `None`: the same as now.
    pub(super) fn find(&self, digest: &Digest) -> Option<Option<Found>> {
        let then = self.0.get(digest)?.as_ref();
        Some(then.map(|(record, secret)| Found {
            record: record.clone(),
            secret: *secret,
            // The entry's own may be of a later record already.
            account: new_account(),
        }))
    }

    fn note(&mut self, digest: Digest, keys: &Keys) {
        let standing = |found: Found| (found.record, found.secret);
        self.0.entry(digest).or_insert_with(|| keys.find(&digest).map(standing));
    }
}

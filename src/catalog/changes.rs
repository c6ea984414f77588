//! What one configuration changes in the keys of the one before: found by walking both in the order of ids.
//!
//! Finding changes nothing; [`Changes::make`] changes the index key by key. Called by [`super::Catalog::apply`] on the control thread.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;

use arc_swap::Guard;

use super::index::{Entry, Found, HashByDigest, Keys, Record};
use super::rules::Rules;
use crate::key::{Digest, Key, Name};

/// A key as the configuration gives it, with the digests of its secrets.
#[derive(Clone, Debug)]
pub struct FileKey {
    /// The key.
    pub key: Key,
    /// The digests of its secrets: one, or two during a rotation.
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

/// A key of the file that is in force.
pub(super) struct Held {
    entry: Arc<Entry>,
    digests: Box<[Digest]>,
}

/// From one set of keys to the next.
pub(super) struct Changes {
    /// All keys of the next set, by id; those to be added are not in the index yet.
    next: Vec<Held>,
    /// Those of them that are to be changed or added.
    puts: Vec<Put>,
    /// Those that are not in the next set.
    gone: Vec<Held>,
}

/// One key that is to be changed or added.
struct Put {
    /// Its place in the next set.
    at: usize,
    change: Change,
}

enum Change {
    /// A new key; its entry has its record.
    Add,
    /// A key in force gets this record, and loses those of these digests that are not its own any more.
    Replace { record: Arc<Record>, digests: Box<[Digest]> },
}

/// The keys as they stood before a change, by each digest that it gives another meaning; `None`: it led to no key.
#[derive(Debug, Default)]
pub(super) struct Former(HashMap<Digest, Option<Standing>, HashByDigest>);

type Standing = (Arc<Entry>, Arc<Record>);

impl Changes {
    /// What leads from `held`, sorted by id, to `file` in any order. Plans that `rules` do not know become known as gone.
    pub(super) fn between(held: Vec<Held>, mut file: Vec<FileKey>, rules: &mut Rules) -> Self {
        file.sort_by(|a, b| a.key.id.cmp(&b.key.id));
        let mut changes = Self { next: Vec::with_capacity(file.len()), puts: Vec::new(), gone: Vec::new() };
        let (mut held, mut owners) = (held.into_iter().peekable(), HashSet::new());
        for FileKey { mut key, digests } in file {
            changes.gone.extend(take_below(&mut held, &key));
            let plan = key.plan.take().map(|name| rules.plan_id(name));
            key.owner = key.owner.map(|owner| shared(&mut owners, owner));
            let known = held.next_if(|held| held.entry.record().id == key.id);
            changes.put(known, Record::new(key, plan), digests.into());
        }
        changes.gone.extend(held);
        changes
    }

    fn put(&mut self, known: Option<Held>, record: Record, digests: Box<[Digest]>) {
        let at = self.next.len();
        let entry = match known {
            None => {
                self.puts.push(Put { at, change: Change::Add });
                Entry::new(Arc::new(record))
            }
            Some(held) if **held.entry.record() == record && held.digests == digests => held.entry,
            Some(held) => {
                let change = Change::Replace { record: Arc::new(record), digests: held.digests };
                self.puts.push(Put { at, change });
                held.entry
            }
        };
        self.next.push(Held { entry, digests });
    }

    /// How the keys stand that [`Changes::make`] will change; to be asked for before.
    pub(super) fn former(&self) -> Former {
        let mut former = Former::default();
        for Put { at, change } in &self.puts {
            if let Change::Replace { digests, .. } = change {
                former.add(digests, &self.next[*at].entry);
            }
        }
        for held in &self.gone {
            former.add(&held.digests, &held.entry);
        }
        for Put { at, .. } in &self.puts {
            for digest in &self.next[*at].digests {
                former.0.entry(*digest).or_default();
            }
        }
        former
    }

    /// Changes the index and returns the keys that are in force then, sorted by id.
    ///
    /// A digest that goes from one key to another is never without a key in between: it is given before it is taken.
    pub(super) fn make(self, keys: &Keys) -> (Vec<Held>, Applied) {
        let applied = self.applied();
        let Self { next, puts, gone } = self;
        let mut dropped = Vec::new();
        for Put { at, change } in puts {
            let Held { entry, digests } = &next[at];
            let former = match change {
                Change::Add => {
                    keys.recount(None, Some(entry.record().state));
                    Box::default()
                }
                Change::Replace { record, digests } => {
                    keys.recount(Some(entry.record().state), Some(record.state));
                    entry.set_record(record);
                    digests
                }
            };
            missing(digests, &former).for_each(|digest| keys.insert(*digest, entry));
            dropped.extend(missing(&former, digests).map(|digest| (*digest, at)));
        }
        dropped.iter().for_each(|(digest, at)| keys.remove(digest, &next[*at].entry));
        for held in gone {
            keys.recount(Some(held.entry.record().state), None);
            held.digests.iter().for_each(|digest| keys.remove(digest, &held.entry));
        }
        keys.free_garbage();
        (next, applied)
    }

    fn applied(&self) -> Applied {
        let added = self.puts.iter().filter(|put| matches!(put.change, Change::Add)).count();
        Applied {
            added,
            changed: self.puts.len() - added,
            removed: self.gone.len(),
            unchanged: self.next.len() - self.puts.len(),
            generation: 0,
        }
    }
}

/// The first copy of a name, so that a million keys share it.
fn shared(names: &mut HashSet<Name>, name: Name) -> Name {
    if let Some(known) = names.get(&name) {
        return known.clone();
    }
    names.insert(name.clone());
    name
}

/// The keys in force whose ids come before this one's: the file does not have them.
fn take_below(held: &mut Peekable<impl Iterator<Item = Held>>, key: &Key) -> impl Iterator<Item = Held> {
    std::iter::from_fn(|| held.next_if(|held| held.entry.record().id.cmp(&key.id) == Ordering::Less))
}

/// Those of `these` that `others` do not have.
fn missing<'d>(these: &'d [Digest], others: &'d [Digest]) -> impl Iterator<Item = &'d Digest> {
    these.iter().filter(|digest| !others.contains(digest))
}

impl Former {
    /// What this digest led to; the outer `None`: the same as now.
    pub(super) fn find(&self, digest: &Digest) -> Option<Option<Found>> {
        let then = self.0.get(digest)?.as_ref();
        Some(
            then.map(|(entry, record)| Found {
                entry: Arc::clone(entry),
                record: Guard::from_inner(Arc::clone(record)),
            }),
        )
    }

    fn add(&mut self, digests: &[Digest], entry: &Arc<Entry>) {
        for digest in digests {
            self.0.insert(*digest, Some((Arc::clone(entry), Arc::clone(&entry.record()))));
        }
    }
}

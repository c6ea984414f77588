//! All entries by the id of their key, for the writer.
//!
//! An entry knows its id, so that nothing but its pointer is held. Many small tables instead of a large one: an insert that finds
//! its table full has to look at a few thousand keys, not at all of them.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::record::EntryRef;
use crate::key::KeyId;

/// Entries by id.
pub(super) struct Held {
    tables: Box<[HashTable<EntryRef>]>,
    hasher: RandomState,
}

impl Held {
    /// The entry with this id.
    pub(super) fn find(&self, id: &KeyId) -> Option<&EntryRef> {
        let hash = self.hasher.hash_one(id);
        self.tables[table(hash)].find(hash, |entry| entry.id() == id)
    }

    /// Takes in an entry whose id is not there.
    pub(super) fn insert(&mut self, entry: EntryRef) {
        let hash = self.hasher.hash_one(entry.id());
        self.tables[table(hash)].insert_unique(hash, entry, |entry| self.hasher.hash_one(entry.id()));
    }

    /// Makes room for so many more, so that none is looked at again when a table grows.
    pub(super) fn reserve(&mut self, more: usize) {
        let each = more / TABLES;
        self.tables.iter_mut().for_each(|table| table.reserve(each, |entry| self.hasher.hash_one(entry.id())));
    }

    /// Forgets the entry with this id.
    pub(super) fn remove(&mut self, id: &KeyId) {
        let hash = self.hasher.hash_one(id);
        if let Ok(held) = self.tables[table(hash)].find_entry(hash, |entry| entry.id() == id) {
            held.remove();
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self { tables: (0..TABLES).map(|_| HashTable::new()).collect(), hasher: RandomState::new() }
    }
}

/// By bits from the middle of the hash; the tables use those at its ends.
const fn table(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

const TABLES: usize = 256;

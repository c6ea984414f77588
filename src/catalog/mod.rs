//! The catalog: what is in force now. Rules are swapped whole, keys are changed one by one; one writer, any number of readers.
//!
//! A request is decided by the rules and the keys of one configuration: it asks [`Keys::find_under`] with the rules that it
//! was routed by. Called by `gateway` (reads) and by `app` (changes: from the file now, from the store later).

mod changes;
mod index;
mod rules;
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use changes::{Changes, Held};

pub use changes::{Applied, FileKey};
pub use index::{Entry, Found, Keys, Record, RecordGuard};
pub use rules::{CompileError, PlanId, RuleSet, Rules};
pub use wire::{ClientTimeouts, Credentials, FloodGuard, Identity, LimitHeaders, Wire};

/// What is in force now.
pub struct Catalog {
    keys: Keys,
    rules: ArcSwap<Rules>,
    /// Moves last: who sees a generation sees its rules and its keys.
    generation: AtomicU64,
    /// The keys of the file that are in force, by id. Only the writer locks it.
    from_file: Mutex<Vec<Held>>,
}

impl Catalog {
    /// Nothing is in force: no routes, no keys, generation 0.
    pub fn new() -> Self {
        Self {
            keys: Keys::new(),
            rules: ArcSwap::from_pointee(Rules::empty()),
            generation: AtomicU64::new(0),
            from_file: Mutex::default(),
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
        let mut from_file = self.from_file.lock().expect("no configuration has been applied by half");
        let current = self.rules();
        rules.generation = current.generation + 1;
        let generation = rules.generation;

        let changes = Changes::between(std::mem::take(&mut *from_file), keys, &mut rules);
        if !current.routes.is_empty() {
            current.keep_former(changes.former());
        }
        let (held, applied) = changes.make(&self.keys);
        *from_file = held;

        self.rules.store(Arc::new(rules));
        self.generation.store(generation, Ordering::Release);
        Applied { generation, ..applied }
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

#[cfg(test)]
mod tests;

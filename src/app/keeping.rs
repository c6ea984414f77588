//! The store of a running gateway: opened and followed before anything is served, then told from time to time what was used.
//!
//! Called by `control`. All of it blocks: whoever serves meanwhile calls it from a thread of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::catalog::{Catalog, Follower};
use crate::key::State;
use crate::operations::Live;
use crate::store::SqliteStore;
use crate::telemetry::{KeyCounts, log};

/// Opens the store in this folder, and brings all that is in it into force.
pub(super) fn open(folder: &Path, catalog: &Arc<Catalog>) -> anyhow::Result<Arc<Follower>> {
    let store = SqliteStore::open(&folder.join(STORE)).context("the store of keys")?;
    let follower = Follower::start(Arc::new(store), Arc::clone(catalog)).context("the store of keys")?;
    log::info("keys of the store in force", &[("revision", &follower.revision()), ("keys", &catalog.keys().len())]);
    Ok(Arc::new(follower))
}

/// After a configuration: what it revokes is revoked in the store too, and what does not go together is told.
pub(super) fn reconcile(catalog: &Catalog, follower: Option<&Follower>) {
    catalog.conflicts().iter().take(CONFLICTS_TOLD).for_each(|conflict| log::warn(&conflict.to_string(), &[]));
    if let Some(Err(error)) = follower.map(Follower::adopt_revocations) {
        log::error(
            "what the file revokes cannot be revoked in the store; it holds as long as the file says so",
            &[("error", &error)],
        );
    }
}

/// Brings into force what could not be read when it was committed.
pub(super) fn catch_up(follower: &Follower) {
    if follower.store().revision() > follower.revision()
        && let Err(error) = follower.catch_up()
    {
        log::error("a change of keys is stored, but not in force: the store cannot be read", &[("error", &error)]);
    }
}

/// Notes in the store which keys were used.
pub(super) fn note_uses(follower: &Follower) {
    if let Err(error) = follower.note_uses() {
        log::error("when keys were used cannot be stored; it is tried again", &[("error", &error)]);
    }
}

/// What is in force, for those who ask.
pub(super) fn live(catalog: &Catalog, follower: Option<&Follower>) -> Live {
    let count = |state| catalog.keys().count(state) as u64;
    Live {
        keys: KeyCounts {
            active: count(State::Active),
            disabled: count(State::Disabled),
            revoked: count(State::Revoked),
        },
        revision: follower.map_or(0, |follower| follower.revision().0),
        changed: follower.and_then(Follower::last_change),
    }
}

const STORE: &str = "keygate.db";
/// More would drown the rest of the log.
const CONFLICTS_TOLD: usize = 20;

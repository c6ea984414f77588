//! The store of a running gateway: opened and followed before anything is served, then told from time to time what was used.
//!
//! Called by `control`. All of it blocks: whoever serves meanwhile calls it from a thread of its own.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::metering::Works;
use crate::catalog::{Catalog, Follower};
use crate::gateway::{Crossing, RevokedUse};
use crate::key::{KeyId, State};
use crate::operations::Live;
use crate::store::{Action, Actor, Event, Origin, Revision, SqliteStore};
use crate::telemetry::{KeyCounts, log};
use crate::time::{self, Instant};

/// Opens the store in this folder, and brings all that is in it into force.
pub(super) fn open(folder: &Path, catalog: &Arc<Catalog>) -> anyhow::Result<Arc<Follower>> {
    let store = SqliteStore::open(&folder.join(STORE)).context("the store of keys")?;
    let follower = Follower::start(Arc::new(store), Arc::clone(catalog)).context("the store of keys")?;
    warn_of_others(folder);
    if follower.revision() == Revision::default() {
        log::info("the store is new: keys and revocations of another one are not known here", &[]);
    }
    log::info("keys of the store in force", &[("revision", &follower.revision()), ("keys", &catalog.keys().len())]);
    Ok(Arc::new(follower))
}

/// Who can write into the folder can put a store or a token of his own there.
fn warn_of_others(folder: &Path) {
    let mode = fs::metadata(folder).map_or(0, |folder| folder.permissions().mode());
    if mode & 0o022 != 0 {
        log::warn("others can write into the data folder: run `chmod 700` on it", &[("folder", &folder.display())]);
    }
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
    if let Err(error) = follower.catch_up() {
        log::error("a change of keys is stored, but not in force: the store cannot be read", &[("error", &error)]);
    }
}

/// Notes in the store which keys were used.
pub(super) fn note_uses(follower: &Follower) {
    if let Err(error) = follower.note_uses() {
        log::error("when keys were used cannot be stored; it is tried again", &[("error", &error)]);
    }
}

/// Uses of revoked keys on their way into the audit log: of each key one an hour.
#[derive(Default)]
pub(super) struct RevokedUses {
    told: HashMap<KeyId, Instant>,
    waiting: Vec<Event>,
}

impl RevokedUses {
    /// Takes note of what the data plane saw.
    pub(super) fn note(&mut self, uses: impl Iterator<Item = RevokedUse>, now: Instant) {
        for RevokedUse { key, peer } in uses {
            if self.told.len() >= KEYS_TOLD {
                self.told.retain(|_, told| now.since(*told) < TOLD_EVERY);
            }
            let is_new = self.told.get(&key).is_none_or(|told| now.since(*told) >= TOLD_EVERY);
            if is_new && self.told.len() < KEYS_TOLD && self.waiting.len() < EVENTS_WAITING {
                self.told.insert(key.clone(), now);
                let origin =
                    Origin { at: time::wall(now), actor: Actor::Unknown, remote: Some(peer), request_id: None };
                self.waiting.push(Event { action: Action::RevokedUse, target: Some(key.to_string()), origin });
            }
        }
    }

    /// Whether there is something to be recorded.
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to be recorded.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.waiting)
    }
}

/// Tells that a key has used up a part of a quota.
pub(super) fn tell(crossing: &Crossing) {
    let Crossing { key, quota, allowed, percent } = crossing;
    let fields: &[(&str, &dyn std::fmt::Display)] =
        &[("key", key), ("quota", &quota.name), ("requests", allowed), ("percent", percent)];
    log::warn("a key has used up this part of a quota", fields);
}

/// Has webhooks told, on the side, of what keys have used up and of what became of them.
pub(super) fn publish(
    keeping: &mut JoinSet<()>,
    works: &Arc<Works>,
    follower: &Arc<Follower>,
    crossings: Vec<Crossing>,
) {
    if !crossings.is_empty() {
        let works = Arc::clone(works);
        keeping.spawn_blocking(move || works.publish(&crossings));
    }
    if works.herald().is_due(follower.revision()) {
        let (works, follower) = (Arc::clone(works), Arc::clone(follower));
        keeping.spawn_blocking(move || works.publish_changes(follower.store()));
    }
}

/// Writes events into the audit log.
pub(super) fn record(follower: &Follower, events: Vec<Event>) {
    for event in events {
        if let Err(error) = follower.store().record_event(event) {
            log::error("an event cannot be written into the audit log", &[("error", &error)]);
            return;
        }
    }
}

/// What is in force, for those who ask.
pub(super) fn live(catalog: &Catalog, follower: Option<&Follower>, works: Option<&Works>) -> Live {
    let count = |state| catalog.keys().count(state) as u64;
    Live {
        keys: KeyCounts {
            active: count(State::Active),
            disabled: count(State::Disabled),
            revoked: count(State::Revoked),
        },
        revision: follower.map_or(0, |follower| follower.revision().0),
        changed: follower.and_then(Follower::last_change),
        usage: works.map(Works::figures),
        sinks: works.map(|works| works.exports().figures()).unwrap_or_default(),
        unreadable: follower.map_or(0, |follower| follower.unreadable() as u64),
    }
}

const STORE: &str = "keygate.db";
/// How often the use of the same revoked key is told.
const TOLD_EVERY: Duration = Duration::from_secs(60 * 60);
/// Keys that are remembered for it.
const KEYS_TOLD: usize = 4096;
/// Events that wait for the store.
const EVENTS_WAITING: usize = 64;
/// More would drown the rest of the log.
const CONFLICTS_TOLD: usize = 20;

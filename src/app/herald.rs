//! The herald: has webhooks hear of each change of a key, out of the audit log.
//!
//! A change and its row are durable together, and so are the events and how far the log was told. So whatever dies in between, the
//! event of a change that was acknowledged comes later, once in the queue and with the same id. Asked each second by `control`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::trouble::Trouble;
use crate::meter::Event;
use crate::store::{Action, AuditRow, Chain, Revision, Store, StoreError, UsageStore};
use crate::telemetry::log;

/// Tells the queue of events what becomes of keys.
pub(super) struct Herald {
    events: Arc<UsageStore>,
    /// Up to which revision all was told, once that is known.
    told: AtomicU64,
    place: Mutex<Place>,
}

/// Held by who tells.
#[derive(Default)]
struct Place {
    /// Up to where the audit log was told; none: nobody listens.
    reached: Option<Chain>,
    trouble: Trouble,
}

/// Whether there is a sink that takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listeners {
    Some,
    None,
}

impl Herald {
    pub(super) fn new(events: &Arc<UsageStore>) -> Self {
        Self { events: Arc::clone(events), told: AtomicU64::new(u64::MAX), place: Mutex::default() }
    }

    /// Begins to tell, or leaves off. What is changed after this has returned is told; with somebody who listened before, from where it
    /// was. Blocks.
    pub(super) fn begin(&self, keys: &dyn Store, listeners: Listeners) {
        let mut place = self.place();
        let outcome = match (listeners, place.reached) {
            (Listeners::Some, Some(_)) => Ok(()),
            (Listeners::Some, None) => self.take_up(keys, &mut place),
            (Listeners::None, _) => self.leave_off(&mut place),
        };
        place.trouble.note(TROUBLE, &outcome);
    }

    /// Whether there may be something to tell at this revision of the keys, and nobody is at it.
    pub(super) fn is_due(&self, revision: Revision) -> bool {
        self.told.load(Ordering::Relaxed) < revision.0 && self.place.try_lock().is_ok()
    }

    /// Tells what has not been told; whether there was anything. Blocks.
    pub(super) fn tell(&self, keys: &dyn Store) -> bool {
        let mut place = self.place();
        let mut has_told = false;
        let outcome = loop {
            match self.tell_some(keys, &mut place) {
                Ok(true) => has_told = true,
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        place.trouble.note(TROUBLE, &outcome);
        has_told
    }

    /// Tells of some rows; false: there are no more, or there is no room for more.
    fn tell_some(&self, keys: &dyn Store, place: &mut Place) -> Result<bool, StoreError> {
        let Some(reached) = place.reached else { return Ok(false) };
        // The log keeps what is not told yet, and the queue does not keep everything.
        if self.events.events_ahead()? > MOST_AHEAD {
            return Ok(false);
        }
        let newest = keys.revision();
        let rows = keys.audit(reached.rows, ROWS)?;
        let Some(last) = rows.last() else {
            self.told.store(newest.0, Ordering::Relaxed);
            return Ok(false);
        };
        let reached = Some(Chain { rows: last.number, hash: last.hash });
        let events: Vec<Event> = rows.iter().filter_map(event).collect();
        self.events.hear(&events, reached)?;
        place.reached = reached;
        Ok(true)
    }

    fn take_up(&self, keys: &dyn Store, place: &mut Place) -> Result<(), StoreError> {
        let former = self.events.heard()?;
        let end = keys.audit_end()?;
        let is_ours = former.map(|former| is_part(keys, former)).transpose()?;
        if is_ours == Some(false) {
            log::warn(
                "the keys are of another state than was told to webhooks, as of a backup; they hear of what comes from now on",
                &[],
            );
        }
        place.reached = former.filter(|_| is_ours == Some(true)).or(Some(end));
        self.told.store(0, Ordering::Relaxed);
        if is_ours == Some(true) { Ok(()) } else { self.events.hear(&[], place.reached) }
    }

    fn leave_off(&self, place: &mut Place) -> Result<(), StoreError> {
        place.reached = None;
        self.told.store(u64::MAX, Ordering::Relaxed);
        if self.events.heard()?.is_some() { self.events.hear(&[], None) } else { Ok(()) }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the log went this way.
fn is_part(keys: &dyn Store, former: Chain) -> Result<bool, StoreError> {
    let Some(before) = former.rows.checked_sub(1) else { return Ok(true) };
    Ok(keys.audit(before, 1)?.first().is_some_and(|row| row.number == former.rows && row.hash == former.hash))
}

/// What webhooks hear of a row; most of those that are not about keys are nobody's business.
fn event(row: &AuditRow) -> Option<Event> {
    let (_, kind) = KINDS.iter().find(|(action, _)| action.as_str() == row.action)?;
    let (revision, subject) = (row.revision?.0, row.target.clone()?);
    let (before, after) = (fields(row.before.as_deref()), fields(row.after.as_deref()));
    let changed: BTreeSet<&String> =
        before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
    let mut data = json!({"revision": revision, "action": row.action, "actor": row.actor});
    for name in SHOWN {
        data[name] = after.get(name).cloned().unwrap_or_default();
    }
    if !before.is_empty() {
        data["changed"] = json!(changed);
    }
    let hash: String = row.hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // With the hash, so that no other change has it after a backup was restored.
    Some(Event { seq: 0, id: format!("key_{revision}_{hash}"), kind: (*kind).to_owned(), at: row.at, subject, data })
}

fn fields(record: Option<&str>) -> Map<String, Value> {
    record.and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default()
}

const KINDS: [(Action, &str); 7] = [
    (Action::KeyCreate, "key.created"),
    (Action::KeyImport, "key.created"),
    (Action::KeyChange, "key.updated"),
    (Action::KeyRotate, "key.rotated"),
    (Action::KeyDisable, "key.disabled"),
    (Action::KeyEnable, "key.enabled"),
    (Action::KeyRevoke, "key.revoked"),
];
/// What of a key is told; nothing of its secrets.
const SHOWN: [&str; 5] = ["name", "owner", "plan", "state", "expires"];
const TROUBLE: &str = "webhooks cannot be told what becomes of keys; it is tried again";
/// Rows that are told in one transaction.
const ROWS: usize = 500;
/// Half of what the queue of events keeps in any case.
const MOST_AHEAD: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Extra, Key, State};
    use crate::meter::{Outbox, Progress, Start};
    use crate::store::{Actor, Change, Commit, Expect, MemoryStore, Origin, StoredKey};
    use crate::time::Timestamp;

    const AT: Timestamp = Timestamp::from_unix_ms(1_782_907_200_000);

    struct World {
        _folder: tempfile::TempDir,
        events: Arc<UsageStore>,
        keys: MemoryStore,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let events = Arc::new(UsageStore::open(&folder.path().join("usage.db")).unwrap());
            Self { _folder: folder, events, keys: MemoryStore::new() }
        }

        /// A herald of another life of the process.
        fn herald(&self) -> Herald {
            let herald = Herald::new(&self.events);
            herald.begin(&self.keys, Listeners::Some);
            herald
        }

        fn told(&self) -> Vec<Event> {
            Outbox::<Event>::next(&*self.events, 0, 1000).unwrap()
        }

        fn kinds(&self) -> Vec<String> {
            self.told().into_iter().map(|event| event.kind).collect()
        }
    }

    fn commit(keys: &dyn Store, action: Action, name: &str, state: State) {
        let key = Key {
            id: "key_a".parse().unwrap(),
            name: name.to_owned(),
            owner: Some("acme".parse().unwrap()),
            plan: None,
            scopes: Vec::new(),
            networks: Vec::new(),
            not_before: None,
            expires: None,
            state,
            extra: Extra::default(),
        };
        let stored = StoredKey { key, secrets: Vec::new(), created: AT, changed: AT };
        let origin = Origin { at: AT, actor: Actor::Cli, remote: None, request_id: None };
        let change = Change::PutKey(Box::new(stored));
        keys.commit(Commit { change, expect: Expect::Anything, action, origin, idempotency: None }).unwrap();
    }

    #[test]
    fn each_change_of_a_key_is_told_in_order_and_nothing_else() {
        let world = World::new();
        let herald = world.herald();
        for (action, name, state) in [
            (Action::KeyCreate, "a", State::Active),
            (Action::KeyChange, "b", State::Active),
            (Action::KeyRotate, "b", State::Active),
            (Action::KeyDisable, "b", State::Disabled),
            (Action::KeyEnable, "b", State::Active),
            (Action::SecretReveal, "b", State::Active),
            (Action::KeyRevoke, "b", State::Revoked),
        ] {
            commit(&world.keys, action, name, state);
        }
        assert!(herald.is_due(world.keys.revision()) && herald.tell(&world.keys));
        assert!(!herald.is_due(world.keys.revision()) && !herald.tell(&world.keys));
        let expected = ["key.created", "key.updated", "key.rotated", "key.disabled", "key.enabled", "key.revoked"]
            .map(str::to_owned);
        assert_eq!(world.kinds(), expected);
        let second = &world.told()[1];
        assert!(second.id.starts_with("key_2_") && second.id.len() == 22 && second.subject == "key_a", "{second:?}");
        let expected = json!({"revision": 2, "action": "key.change", "actor": "cli", "name": "b", "owner": "acme", "plan": null,
            "state": "active", "expires": null, "changed": ["name"]});
        assert_eq!((&second.data, second.at), (&expected, AT));
    }

    #[test]
    fn what_was_changed_before_a_death_is_told_after_it_and_once() {
        let world = World::new();
        let herald = world.herald();
        commit(&world.keys, Action::KeyCreate, "a", State::Active);
        drop(herald);
        assert!(world.herald().tell(&world.keys));
        assert!(!world.herald().tell(&world.keys));
        assert_eq!(world.kinds(), ["key.created"]);
    }

    #[test]
    fn what_was_before_somebody_listened_is_not_told() {
        let world = World::new();
        commit(&world.keys, Action::KeyCreate, "a", State::Active);
        let herald = world.herald();
        commit(&world.keys, Action::KeyChange, "b", State::Active);
        assert!(herald.tell(&world.keys));
        herald.begin(&world.keys, Listeners::None);
        commit(&world.keys, Action::KeyChange, "c", State::Active);
        assert!(!herald.is_due(world.keys.revision()) && !herald.tell(&world.keys));
        herald.begin(&world.keys, Listeners::Some);
        herald.tell(&world.keys);
        assert_eq!(world.kinds(), ["key.updated"]);
        assert_eq!(world.events.heard().unwrap(), Some(world.keys.audit_end().unwrap()));
    }

    #[test]
    fn after_a_backup_was_restored_what_comes_from_then_on_is_told_under_ids_of_its_own() {
        let mut world = World::new();
        let herald = world.herald();
        commit(&world.keys, Action::KeyCreate, "a", State::Active);
        commit(&world.keys, Action::KeyChange, "b", State::Active);
        herald.tell(&world.keys);
        world.keys = MemoryStore::new();
        commit(&world.keys, Action::KeyCreate, "a", State::Active);
        let herald = world.herald();
        commit(&world.keys, Action::KeyChange, "c", State::Active);
        assert!(herald.tell(&world.keys));
        let ids: BTreeSet<String> = world.told().into_iter().map(|event| event.id).collect();
        assert_eq!((world.kinds().len(), ids.len()), (3, 3));
    }

    #[test]
    fn what_finds_no_room_in_the_queue_waits_in_the_audit_log() {
        let world = World::new();
        let name = "hooks".parse().unwrap();
        Outbox::<Event>::progress(&*world.events, &name, Start::End).unwrap();
        let event = |n: u64| Event {
            seq: 0,
            id: format!("e{n}"),
            kind: "quota.threshold".to_owned(),
            at: AT,
            subject: "key_a".to_owned(),
            data: Value::Null,
        };
        world.events.publish(&(0..=MOST_AHEAD).map(event).collect::<Vec<_>>()).unwrap();
        let herald = world.herald();
        commit(&world.keys, Action::KeyCreate, "a", State::Active);
        assert!(!herald.tell(&world.keys) && herald.is_due(world.keys.revision()));
        let taken = Progress { acknowledged: 10, note: String::new() };
        Outbox::<Event>::advance(&*world.events, &name, &taken, &[]).unwrap();
        assert!(herald.tell(&world.keys) && !herald.is_due(world.keys.revision()));
    }
}

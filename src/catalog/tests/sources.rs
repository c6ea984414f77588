//! Keys of the file and of the store together, and the follower.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use super::unreadable::Unreadable;
use super::*;
use proptest::prelude::prop_assert;

use crate::key::StoredDigest;
use crate::store::{
    Action, Actor, Change, Commit, CommitError, Expect, MemoryStore, Origin, Revision, Role, Store, StoreError,
    StoredSecret, Token,
};
use crate::time::Timestamp;

pub(super) const BEGIN: Timestamp = Timestamp::from_unix_ms(1_782_907_200_000);

fn secret(n: u64) -> StoredSecret {
    StoredSecret {
        digest: StoredDigest { pepper: None, digest: digest(n) },
        hint: String::new(),
        since: BEGIN,
        until: None,
        last_used: None,
        recoverable: None,
    }
}

pub(super) fn stored(id: &str, digests: &[u64], state: State) -> StoredKey {
    let key = Key { state, ..key(id, None) };
    StoredKey { key, secrets: digests.iter().copied().map(secret).collect(), created: BEGIN, changed: BEGIN }
}

pub(super) fn follow(catalog: &Catalog, key: StoredKey) {
    catalog.follow([key]);
}

/// What a digest leads to: id and state.
fn seen(catalog: &Catalog, n: u64) -> Option<(String, State)> {
    find(catalog, n).map(|found| (found.record.id.to_string(), found.record.state))
}

#[track_caller]
pub(super) fn leads_to(catalog: &Catalog, n: u64, id: &str, state: State) {
    assert_eq!(seen(catalog, n), Some((id.to_owned(), state)));
}

#[test]
fn keys_of_file_and_store_live_side_by_side() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[file_key("f", None, &[1])]);
    follow(&catalog, stored("s", &[2], State::Active));
    apply(&catalog, &[], &[file_key("g", None, &[3])]);
    assert_eq!([1, 2, 3].map(|n| id(&catalog, n)), ["-", "s", "g"]);
    assert_eq!((catalog.keys().len(), catalog.conflicts()), (2, vec![]));
}

#[test]
fn a_tombstone_of_the_store_wins_over_the_file() {
    let catalog = Catalog::new();
    let file = [file_key("a", None, &[1])];
    apply(&catalog, &[], &file);
    follow(&catalog, stored("a", &[1], State::Revoked));
    leads_to(&catalog, 1, "a", State::Revoked);
    apply(&catalog, &[], &file);
    leads_to(&catalog, 1, "a", State::Revoked);
    // Neither another secret nor another id helps.
    apply(&catalog, &[], &[file_key("a", None, &[2])]);
    leads_to(&catalog, 2, "a", State::Revoked);
    leads_to(&catalog, 1, "a", State::Revoked);
    apply(&catalog, &[], &[file_key("b", None, &[1])]);
    leads_to(&catalog, 1, "a", State::Revoked);
    let conflict = Conflict::Secret { winner: "a".parse().unwrap(), loser: "b".parse().unwrap() };
    assert_eq!(catalog.conflicts(), [conflict]);
}

#[test]
fn a_key_of_the_store_is_revoked_by_the_file() {
    let catalog = Catalog::new();
    follow(&catalog, stored("s", &[1], State::Active));
    let revoked = FileKey { key: Key { state: State::Revoked, ..key("s", None) }, digests: Vec::new() };
    apply(&catalog, &[], &[revoked]);
    leads_to(&catalog, 1, "s", State::Revoked);
    assert_eq!(catalog.revoked_by_file(), [("s".parse().unwrap(), vec![])]);
    assert_eq!((catalog.keys().len(), catalog.keys().revocations()), (1, 1));
    // As long as the store does not say so itself.
    apply(&catalog, &[], &[]);
    leads_to(&catalog, 1, "s", State::Active);
}

#[test]
fn an_id_in_both_is_the_files_and_the_stores_again_when_the_file_lets_it_go() {
    let catalog = Catalog::new();
    follow(&catalog, stored("a", &[1], State::Active));
    apply(&catalog, &[], &[file_key("a", None, &[2])]);
    assert_eq!([1, 2].map(|n| id(&catalog, n)), ["-", "a"]);
    assert_eq!(catalog.conflicts(), [Conflict::Id("a".parse().unwrap())]);
    apply(&catalog, &[], &[]);
    assert_eq!([1, 2].map(|n| id(&catalog, n)), ["a", "-"]);
    assert_eq!(catalog.conflicts(), []);
}

#[test]
fn a_secret_of_two_keys_is_the_files_and_comes_back_to_the_store() {
    let catalog = Catalog::new();
    follow(&catalog, stored("s", &[1], State::Active));
    let old = catalog.rules();
    apply(&catalog, &[], &[file_key("f", None, &[1])]);
    leads_to(&catalog, 1, "f", State::Active);
    follow(&catalog, stored("s", &[1], State::Revoked));
    leads_to(&catalog, 1, "s", State::Revoked);
    apply(&catalog, &[], &[]);
    leads_to(&catalog, 1, "s", State::Revoked);
    assert_eq!(catalog.conflicts(), []);
    assert!(old.former().is_none(), "nobody was decided by rules without routes");
}

#[test]
fn requests_under_the_old_rules_see_the_stores_key_behind_the_files() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[]);
    follow(&catalog, stored("s", &[1], State::Active));
    let old = catalog.rules();
    apply(&catalog, &[], &[file_key("f", None, &[1])]);
    let then = catalog.keys().find_under(&old, &digest(1)).unwrap();
    assert_eq!((then.record.id.as_str(), id(&catalog, 1).as_str()), ("s", "f"));
}

#[test]
fn a_secret_that_is_written_down_twice_is_that_of_the_revoked_key() {
    let pepper = ("p1".parse().unwrap(), zeroize::Zeroizing::new(vec![7; 32]));
    let hasher = crate::key::Hasher::new(vec![pepper]).unwrap();
    let digests = hasher.digests(b"a-secret-of-another-form");
    let (plain, peppered) = (digests.iter().next().unwrap(), digests.iter().nth(1).unwrap());
    for (revoked, other) in [(plain, peppered), (peppered, plain)] {
        let catalog = Catalog::new();
        let of = |id: &str, digest: &Digest, state| {
            let key = Key { state, ..key(id, None) };
            FileKey { key, digests: vec![*digest] }
        };
        apply(&catalog, &[], &[of("a", other, State::Active), of("r", revoked, State::Revoked)]);
        let found = catalog.keys().find_secret(&catalog.rules(), &digests).unwrap();
        assert_eq!(found.record.id.as_str(), "r");
    }
}

#[test]
fn each_secret_has_its_own_last_use_through_a_rotation() {
    let catalog = Catalog::new();
    let at = |s: i64| Timestamp::from_unix_ms(BEGIN.as_unix_ms() + s * 1000);
    let used = |n, now| {
        let found = find(&catalog, n).unwrap();
        found.record.entry().note_use(&found.record, found.secret, now);
    };
    follow(&catalog, stored("s", &[1], State::Active));
    used(1, at(5));
    follow(&catalog, stored("s", &[2, 1], State::Active));
    assert_eq!([1, 2].map(|n| catalog.keys().last_use(&digest(n))), [Some(at(5)), None]);
    used(2, at(7));
    used(1, at(6));
    follow(&catalog, stored("s", &[3, 2], State::Active));
    assert_eq!([2, 3].map(|n| catalog.keys().last_use(&digest(n))), [Some(at(7)), None]);
    let mut uses = Vec::new();
    catalog.keys().used_since(at(7), &mut |digest, at| uses.push((digest, at)));
    assert_eq!(uses, [(digest(2), at(7))]);
}

#[derive(Clone, Debug)]
enum Step {
    File(Vec<(u8, u8, bool)>),
    Store(u8, Vec<u8>, State),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = (0..5_u8, 0..6_u8, proptest::bool::weighted(0.2));
    let file = proptest::collection::vec(key, 0..5).prop_map(Step::File);
    let state = proptest::sample::select(vec![State::Active, State::Disabled, State::Revoked]);
    let digests = proptest::collection::btree_set(0..6_u8, 1..3).prop_map(|set| set.into_iter().collect());
    let store = (0..5_u8, digests, state).prop_map(|(id, digests, state)| Step::Store(id, digests, state));
    proptest::collection::vec(proptest::prop_oneof![file, store], 1..12)
}

/// What is in force of one id, by the rules alone.
fn effective(file: Option<&FileKey>, store: Option<&StoredKey>) -> Option<(State, bool, BTreeSet<Digest32>)> {
    let of_file = file.map(|file| file.digests.iter().map(|digest| *digest.as_bytes()).collect::<BTreeSet<_>>());
    let of_store = store.map(|s| s.secrets.iter().map(|secret| *secret.digest.digest.as_bytes()).collect());
    let revoked = [file.map(|file| file.key.state), store.map(|store| store.key.state)].contains(&Some(State::Revoked));
    Some(match (of_file, of_store) {
        (None, None) => return None,
        (Some(file), Some(store)) if revoked => (State::Revoked, true, file.union(&store).copied().collect()),
        (Some(digests), _) => (file.unwrap().key.state, true, digests),
        (None, Some(digests)) => (store.unwrap().key.state, false, digests),
    })
}

type Digest32 = [u8; 32];

proptest! {
    #[test]
    fn whatever_file_and_store_say_each_secret_leads_to_the_first_that_may_have_it(steps in steps()) {
        let catalog = Catalog::new();
        let (mut file, mut store) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::File(keys) => {
                    file.clear();
                    let mut taken = BTreeSet::new();
                    for (id, digest, revoked) in keys {
                        if taken.insert(digest) {
                            let state = if revoked { State::Revoked } else { State::Active };
                            file.entry(id).or_insert_with(|| in_state(&format!("k{id}"), digest.into(), state));
                        }
                    }
                    apply(&catalog, &[], &file.values().cloned().collect::<Vec<_>>());
                }
                Step::Store(id, digests, state) => {
                    let free = |digest: &u8| !store.iter().any(|(other, key): (&u8, &StoredKey)| {
                        *other != id && key.secrets.iter().any(|secret| secret.digest.digest == super::digest((*digest).into()))
                    });
                    let digests: Vec<u64> = digests.into_iter().filter(free).map(u64::from).collect();
                    store.insert(id, stored(&format!("k{id}"), &digests, state));
                    follow(&catalog, store[&id].clone());
                }
            }
            let all: Vec<_> = (0..5_u8)
                .filter_map(|id| effective(file.get(&id), store.get(&id)).map(|key| (format!("k{id}"), key)))
                .collect();
            for n in 0..6_u64 {
                let has = |(_, (_, _, digests)): &&(String, (State, bool, BTreeSet<Digest32>))| digests.contains(digest(n).as_bytes());
                let rank = |(_, (state, of_file, _)): &(String, (State, bool, BTreeSet<Digest32>))| (*state == State::Revoked, *of_file);
                let best = all.iter().filter(has).map(rank).max();
                let may: Vec<_> = all.iter().filter(has).filter(|key| Some(rank(key)) == best).map(|(id, (state, ..))| (id.clone(), *state)).collect();
                match seen(&catalog, n) {
                    None => prop_assert!(may.is_empty(), "digest {} should lead to one of {:?}", n, may),
                    Some(found) => prop_assert!(may.contains(&found), "digest {} leads to {:?}, not to one of {:?}", n, found, may),
                }
            }
            let counted = all.iter().filter(|(_, (.., digests))| !digests.is_empty()).count();
            prop_assert_eq!(catalog.keys().len(), counted);
        }
    }
}

fn commit(change: Change) -> Commit {
    let origin = Origin { at: BEGIN, actor: Actor::Cli, remote: None, request_id: None };
    Commit { change, expect: Expect::Anything, action: Action::KeyChange, origin, idempotency: None }
}

pub(super) fn put(id: &str, digests: &[u64]) -> Commit {
    commit(Change::PutKey(Box::new(stored(id, digests, State::Active))))
}

fn token(digest: Digest) -> Token {
    Token {
        id: "tok_0000000000000000".parse().unwrap(),
        name: "first".to_owned(),
        digest,
        role: Role::Operator,
        created: BEGIN,
        expires: None,
        revoked: None,
    }
}

#[test]
fn a_start_brings_everything_that_is_stored_into_force() {
    let store = Arc::new(MemoryStore::new());
    store.commit_all(vec![put("a", &[1]), put("b", &[2]), commit(Change::RevokeKey("b".parse().unwrap()))]).unwrap();
    store.commit(commit(Change::PutToken(token(digest(9))))).unwrap();
    let follower = Follower::start(store, Arc::new(Catalog::new())).unwrap();
    leads_to(follower.catalog(), 1, "a", State::Active);
    leads_to(follower.catalog(), 2, "b", State::Revoked);
    assert_eq!((follower.revision(), follower.token(&digest(9))), (Revision(4), Some(token(digest(9)))));
}

#[test]
fn a_change_is_in_force_when_it_answers() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    assert_eq!(follower.commit(put("a", &[1])).unwrap(), Revision(1));
    leads_to(follower.catalog(), 1, "a", State::Active);
    follower.commit(commit(Change::RevokeKey("a".parse().unwrap()))).unwrap();
    leads_to(follower.catalog(), 1, "a", State::Revoked);
    assert_eq!((follower.revision(), follower.catalog().keys().revocations()), (Revision(2), 1));
}

#[test]
fn a_token_with_another_digest_has_lost_the_old_one() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    for n in [1, 2] {
        follower.commit(commit(Change::PutToken(token(digest(n))))).unwrap();
    }
    assert_eq!([1, 2].map(|n| follower.token(&digest(n)).is_some()), [false, true]);
}

#[test]
fn what_the_file_revokes_is_revoked_in_the_store_for_good() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    follower.commit(put("s", &[1])).unwrap();
    let revoked = FileKey { key: Key { state: State::Revoked, ..key("s", None) }, digests: Vec::new() };
    apply(follower.catalog(), &[], &[revoked]);
    follower.adopt_revocations().unwrap();
    apply(follower.catalog(), &[], &[]);
    leads_to(follower.catalog(), 1, "s", State::Revoked);
    let row = follower.store().audit(1, 1).unwrap().remove(0);
    assert_eq!((row.action.as_str(), row.actor.as_str()), ("key.revoke", "file"));
    assert!(follower.catalog().revoked_by_file().is_empty());
}

#[test]
fn very_many_revocations_of_the_file_are_adopted_even_if_one_is_known_already() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    let ids: Vec<String> = (0..1200).map(|n| format!("k{n}")).collect();
    follower.commit_all((0..1200).map(|n| put(&ids[n as usize], &[n])).collect()).unwrap();
    let revoked = |id: &String| FileKey { key: Key { state: State::Revoked, ..key(id, None) }, digests: Vec::new() };
    apply(follower.catalog(), &[], &ids.iter().map(revoked).collect::<Vec<_>>());
    // Behind the follower's back, so that it meets a refusal.
    follower.store().commit(commit(Change::RevokeKey("k7".parse().unwrap()))).unwrap();
    follower.adopt_revocations().unwrap();
    apply(follower.catalog(), &[], &[]);
    assert_eq!(follower.catalog().keys().count(State::Revoked), 1200);
}

#[test]
fn uses_are_noted_in_the_store() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    follower.commit(put("s", &[1])).unwrap();
    let now = crate::time::wall(crate::time::now());
    let found = find(follower.catalog(), 1).unwrap();
    found.record.entry().note_use(&found.record, found.secret, now);
    follower.note_uses().unwrap();
    let (_, key) = follower.store().key(&"s".parse().unwrap()).unwrap().unwrap();
    assert_eq!(key.secrets[0].last_used.map(Timestamp::as_unix_s), Some(now.as_unix_s()));
}

#[test]
fn a_change_that_cannot_be_followed_is_not_acknowledged_and_comes_into_force_later() {
    let store = Unreadable { inner: MemoryStore::new(), failures: AtomicUsize::new(1) };
    let follower = Follower::start(Arc::new(store), Arc::new(Catalog::new())).unwrap();
    assert!(matches!(follower.commit(put("a", &[1])), Err(CommitError::Unavailable(StoreError::Closed))));
    assert_eq!((id(follower.catalog(), 1).as_str(), follower.revision()), ("-", Revision(0)));
    follower.catch_up().unwrap();
    assert_eq!((id(follower.catalog(), 1).as_str(), follower.revision()), ("a", Revision(1)));
}

#[test]
fn changes_from_many_threads_are_each_in_force_when_they_answer() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    thread::scope(|scope| {
        for client in 0..8_u64 {
            let follower = &follower;
            scope.spawn(move || {
                for n in (client * 50)..(client * 50 + 50) {
                    let name = format!("k{n}");
                    follower.commit(put(&name, &[n])).unwrap();
                    leads_to(follower.catalog(), n, &name, State::Active);
                    follower.commit(commit(Change::RevokeKey(name.parse().unwrap()))).unwrap();
                    leads_to(follower.catalog(), n, &name, State::Revoked);
                }
            });
        }
    });
    assert_eq!(follower.revision(), Revision(800));
}

//! Keys, tokens and commits for the tests of the store, made from small numbers.

use std::path::Path;

use crate::key::{Digest, Extra, Key, KeyId, State, StoredDigest, TokenId};
use crate::store::{
    Action, Actor, Answer, Change, Commit, CommitError, Expect, Idempotency, MemoryStore, Origin, Record, Refusal,
    Revision, Role, SqliteStore, Store, StoredKey, StoredSecret, Token,
};
use crate::time::Timestamp;

pub(in crate::store) const NOW: Timestamp = at(0);

/// So many seconds after [`NOW`].
pub(in crate::store) const fn at(s: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_782_907_200_000 + s * 1000)
}

/// Runs a test against both stores.
pub(in crate::store) fn both(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::new());
    let folder = tempfile::tempdir().unwrap();
    test(&open(folder.path()));
}

/// The store in this folder.
pub(in crate::store) fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("store.db")).unwrap()
}

pub(in crate::store) fn id(n: u8) -> KeyId {
    format!("key_{n}").parse().unwrap()
}

pub(in crate::store) fn digest(n: u8) -> Digest {
    Digest::from([n; 32])
}

pub(in crate::store) fn secret(n: u8) -> StoredSecret {
    let pepper = (n % 2 == 1).then(|| "p1".parse().unwrap());
    StoredSecret {
        digest: StoredDigest { pepper, digest: digest(n) },
        hint: format!("kg_live_{n:04}…"),
        since: at(i64::from(n)),
        until: (n % 3 == 1).then_some(at(100)),
        last_used: None,
        recoverable: None,
    }
}

/// A key with these secrets, and with something in every field if its number is odd.
pub(in crate::store) fn key_with(n: u8, secrets: &[u8]) -> StoredKey {
    let full = n % 2 == 1;
    let key = Key {
        id: id(n),
        name: format!("Key {n} ä"),
        owner: full.then(|| "Acme Inc".parse().unwrap()),
        plan: full.then(|| "free".parse().unwrap()),
        scopes: if full { vec!["a:read".parse().unwrap(), "b".parse().unwrap()] } else { Vec::new() },
        networks: if full { vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()] } else { Vec::new() },
        not_before: full.then_some(at(-5)),
        expires: full.then_some(at(500)),
        state: State::Active,
        extra: if full { Extra { day: 5, month: Extra::MOST } } else { Extra::default() },
    };
    StoredKey { key, secrets: secrets.iter().copied().map(secret).collect(), created: at(1), changed: at(2) }
}

/// A key whose one secret has its number.
pub(in crate::store) fn key(n: u8) -> StoredKey {
    key_with(n, &[n])
}

pub(in crate::store) fn in_state(mut key: StoredKey, state: State) -> StoredKey {
    key.key.state = state;
    key
}

pub(in crate::store) fn token_id(n: u8) -> TokenId {
    format!("tok_{n:016}").parse().unwrap()
}

pub(in crate::store) fn token(n: u8) -> Token {
    Token {
        id: token_id(n),
        name: format!("Token {n}"),
        digest: digest(n),
        role: if n == 1 { Role::Operator } else { Role::Owner("Acme Inc".parse().unwrap()) },
        created: NOW,
        expires: (n == 1).then_some(at(60)),
        revoked: None,
    }
}

pub(in crate::store) fn origin() -> Origin {
    let remote = Some([192, 0, 2, 1].into());
    Origin { at: NOW, actor: Actor::Token(token_id(7)), remote, request_id: Some("r-1".to_owned()) }
}

pub(in crate::store) fn commit(change: Change, expect: Expect) -> Commit {
    let action = match &change {
        Change::PutKey(_) => Action::KeyChange,
        Change::RevokeKey(_) => Action::KeyRevoke,
        Change::PutToken(_) => Action::TokenCreate,
        Change::RevokeToken(_) => Action::TokenRevoke,
    };
    Commit { change, expect, action, origin: origin(), idempotency: None }
}

pub(in crate::store) fn put(key: StoredKey) -> Commit {
    commit(Change::PutKey(Box::new(key)), Expect::Anything)
}

pub(in crate::store) fn create(n: u8) -> Commit {
    Commit { expect: Expect::Absent, ..put(key(n)) }
}

pub(in crate::store) fn revoke(n: u8) -> Commit {
    commit(Change::RevokeKey(id(n)), Expect::Anything)
}

pub(in crate::store) fn idempotency(key: &str, request: u8) -> Idempotency {
    let answer = Answer { request: [request; 32], status: 201, body: format!("{{\"asked\":{request}}}") };
    Idempotency { who: token_id(7).to_string(), key: key.to_owned(), answer }
}

#[track_caller]
pub(in crate::store) fn refusal(outcome: Result<Revision, CommitError>) -> Refusal {
    match outcome {
        Err(CommitError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// All there is, in the order of last changes.
pub(in crate::store) fn loaded(store: &dyn Store) -> Vec<(Revision, Record)> {
    let mut records = Vec::new();
    store.load(&mut |revision, record| records.push((revision, record.unwrap()))).unwrap();
    records.sort_by_key(|(revision, _)| *revision);
    records
}

pub(in crate::store) fn since(store: &dyn Store, revision: u64) -> Option<Vec<(Revision, Record)>> {
    let mut records = Vec::new();
    let newest =
        store.changes_since(Revision(revision), &mut |changed, record| records.push((changed, record.unwrap())));
    newest.unwrap().map(|_| records)
}

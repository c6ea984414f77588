//! What every store does: one suite against both.

mod fixture;
mod model;

use std::collections::BTreeSet;
use std::thread;

use super::*;
use crate::key::State;

pub(in crate::store) use fixture::{
    NOW, at, both, commit, create, digest, id, idempotency, in_state, key, key_with, loaded, open, origin, put,
    refusal, revoke, secret, since, token, token_id,
};

#[test]
fn a_key_is_found_as_it_was_put() {
    both(|store| {
        assert_eq!(store.revision(), Revision(0));
        for n in 0..4 {
            assert_eq!(store.commit(create(n)).unwrap(), Revision(u64::from(n) + 1));
            assert_eq!(store.key(&id(n)).unwrap(), Some((Revision(u64::from(n) + 1), key(n))));
        }
        let changed = in_state(key_with(1, &[9, 1]), State::Disabled);
        assert_eq!(store.commit(put(changed.clone())).unwrap(), Revision(5));
        assert_eq!(store.key(&id(1)).unwrap(), Some((Revision(5), changed)));
        assert_eq!(store.key(&id(9)).unwrap(), None);
        assert_eq!(store.revision(), Revision(5));
    });
}

#[test]
fn a_change_is_made_only_if_what_it_expects_holds() {
    both(|store| {
        let change = |expect| store.commit(Commit { expect, ..put(key(1)) });
        assert_eq!(refusal(change(Expect::Revision(Revision(1)))), Refusal::Missing);
        change(Expect::Absent).unwrap();
        assert_eq!(refusal(change(Expect::Absent)), Refusal::Exists(Revision(1)));
        assert_eq!(refusal(change(Expect::Revision(Revision(7)))), Refusal::Stale(Revision(1)));
        change(Expect::Revision(Revision(1))).unwrap();
        assert_eq!(refusal(change(Expect::Revision(Revision(1)))), Refusal::Stale(Revision(2)));
        let stale = Commit { expect: Expect::Revision(Revision(1)), ..revoke(1) };
        assert_eq!(refusal(store.commit(stale)), Refusal::Stale(Revision(2)));
        assert_eq!(refusal(store.commit(revoke(2))), Refusal::Missing);
        assert_eq!(store.revision(), Revision(2));
        assert_eq!(store.audit(0, 10).unwrap().len(), 2);
    });
}

#[test]
fn what_can_be_shown_again_is_kept_until_its_secret_has_ended() {
    both(|store| {
        let hidden = |n: u8| Recoverable::new(vec![n; 3]);
        let with = |key: StoredKey, place: usize, n: u8| {
            let mut key = key;
            key.secrets[place].recoverable = Some(hidden(n));
            put(key)
        };
        let kept = |n: u8| store.recoverable(&digest(n)).unwrap();
        store.commit(with(key(2), 0, 2)).unwrap();
        store.commit(with(key(5), 0, 5)).unwrap();
        assert_eq!((kept(2), kept(5), kept(3)), (Some(hidden(2)), Some(hidden(5)), None));
        assert_eq!(store.key(&id(2)).unwrap().unwrap().1, key(2));
        store.commit(put(in_state(key(2), State::Disabled))).unwrap();
        // The second secret of these ends at 100 s.
        store.commit(with(key_with(2, &[3, 4, 2]), 1, 4)).unwrap();
        assert_eq!((kept(2), kept(4)), (Some(hidden(2)), Some(hidden(4))));
        store.commit(put(StoredKey { changed: at(100), ..key_with(2, &[3, 4, 2]) })).unwrap();
        assert_eq!((kept(2), kept(4)), (Some(hidden(2)), None));
        store.commit(put(key_with(2, &[3]))).unwrap();
        assert_eq!(kept(2), None);
        store.commit(revoke(5)).unwrap();
        assert_eq!(kept(5), None);
    });
}

#[test]
fn revoked_is_final() {
    both(|store| {
        store.commit(put(key_with(1, &[1, 2]))).unwrap();
        store.commit(Commit { origin: Origin { at: at(9), ..origin() }, ..revoke(1) }).unwrap();
        let (_, tombstone) = store.key(&id(1)).unwrap().unwrap();
        let expected = StoredKey { changed: at(9), ..in_state(key_with(1, &[1, 2]), State::Revoked) };
        assert_eq!(tombstone, expected);

        assert_eq!(refusal(store.commit(put(key(1)))), Refusal::Revoked);
        assert_eq!(refusal(store.commit(create(1))), Refusal::Revoked);
        assert_eq!(refusal(store.commit(revoke(1))), Refusal::Revoked);
        for digest in [1, 2] {
            assert_eq!(refusal(store.commit(put(key_with(3, &[digest])))), Refusal::DigestRevoked(id(1)));
        }
        assert_eq!(store.revision(), Revision(2));
    });
}

#[test]
fn a_tombstone_can_be_put_for_a_key_from_elsewhere() {
    both(|store| {
        store.commit(put(in_state(key(1), State::Revoked))).unwrap();
        store.commit(put(in_state(key_with(2, &[]), State::Revoked))).unwrap();
        assert_eq!(refusal(store.commit(put(key(2)))), Refusal::Revoked);
        assert_eq!(refusal(store.commit(put(key_with(3, &[1])))), Refusal::DigestRevoked(id(1)));
    });
}

#[test]
fn a_key_that_is_put_as_a_tombstone_keeps_the_digests_it_had() {
    both(|store| {
        store.commit(put(key_with(1, &[1, 2]))).unwrap();
        store.commit(put(in_state(key_with(1, &[2, 3]), State::Revoked))).unwrap();
        let (_, tombstone) = store.key(&id(1)).unwrap().unwrap();
        assert_eq!(tombstone.secrets, [2, 3, 1].map(secret));
    });
}

#[test]
fn a_digest_belongs_to_one_key() {
    both(|store| {
        store.commit(create(1)).unwrap();
        assert_eq!(refusal(store.commit(put(key_with(2, &[2, 1])))), Refusal::DigestTaken(id(1)));
        assert_eq!(refusal(store.commit(put(key_with(2, &[2, 2])))), Refusal::DigestTaken(id(2)));
        store.commit(put(key_with(1, &[3]))).unwrap();
        store.commit(put(key_with(2, &[2, 1]))).unwrap();
    });
}

#[test]
fn a_batch_is_made_whole_or_not_at_all() {
    both(|store| {
        let revisions = store.commit_all(vec![create(1), put(key_with(1, &[2])), create(3)]).unwrap();
        assert_eq!(revisions, [1, 2, 3].map(Revision));
        let before = loaded(store);
        let outcome = store.commit_all(vec![create(4), put(key_with(5, &[4])), create(6)]);
        let Err(CommitError::Refused { place: 1, refusal: Refusal::DigestTaken(holder) }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(holder, id(4));
        assert_eq!((loaded(store), store.revision()), (before, Revision(3)));
        assert_eq!(store.audit(0, 10).unwrap().len(), 3);
        assert_eq!(store.commit_all(Vec::new()).unwrap(), []);
        assert_eq!(store.commit(create(4)).unwrap(), Revision(4));
        assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: 4 });
    });
}

#[test]
fn a_request_that_was_answered_is_answered_alike_for_a_day() {
    both(|store| {
        let asked = |n: u8, s: i64, name: &str| {
            let origin = Origin { at: at(s), ..origin() };
            store.commit(Commit { idempotency: Some(idempotency(name, n)), origin, ..create(n) })
        };
        store.commit(create(9)).unwrap();
        asked(1, 0, "a").unwrap();
        asked(2, 0, "b").unwrap();
        let first = Replay { answer: idempotency("a", 1).answer, revision: Revision(2) };
        assert_eq!(refusal(asked(1, 5, "a")), Refusal::Answered(Box::new(first.clone())));
        assert_eq!(refusal(asked(3, 5, "a")), Refusal::Answered(Box::new(first.clone())));
        assert_eq!(store.key(&id(3)).unwrap(), None);
        let day = 24 * 3600;
        assert_eq!(store.replay(token_id(7).as_str(), "a", at(day - 1)).unwrap(), Some(first));
        assert_eq!(store.replay(token_id(7).as_str(), "a", at(day)).unwrap(), None);
        assert_eq!(store.replay(token_id(8).as_str(), "a", at(0)).unwrap(), None);
        asked(4, day, "a").unwrap();
        let second = store.replay(token_id(7).as_str(), "a", at(day)).unwrap().unwrap();
        assert_eq!((second.answer.request, second.revision), ([4; 32], Revision(4)));
    });
}

#[test]
fn a_refused_change_leaves_no_answer_behind() {
    both(|store| {
        store.commit(create(1)).unwrap();
        let again = || Commit { idempotency: Some(idempotency("a", 1)), ..create(1) };
        assert_eq!(refusal(store.commit(again())), Refusal::Exists(Revision(1)));
        assert_eq!(refusal(store.commit(again())), Refusal::Exists(Revision(1)));
        assert_eq!(store.replay(token_id(7).as_str(), "a", NOW).unwrap(), None);
    });
}

#[test]
fn the_last_use_only_moves_forward() {
    both(|store| {
        store.commit(put(key_with(1, &[1, 2]))).unwrap();
        let used = || store.key(&id(1)).unwrap().unwrap().1.secrets.into_iter().map(|secret| secret.last_used);
        store.note_used(&[(digest(2), at(10)), (digest(8), at(10)), (digest(2), at(5))]).unwrap();
        assert!(used().eq([None, Some(at(10))]));
        store.note_used(&[(digest(2), at(7)), (digest(1), at(3))]).unwrap();
        assert!(used().eq([Some(at(3)), Some(at(10))]));
        // Whoever changes the key has read it before the use was noted.
        let mut rotated = key_with(1, &[3, 1]);
        rotated.secrets[1].last_used = Some(at(1));
        store.commit(put(rotated)).unwrap();
        assert!(used().eq([None, Some(at(3))]));
        assert_eq!((store.revision(), store.audit(0, 10).unwrap().len()), (Revision(2), 2));
    });
}

#[test]
fn what_changed_since_a_revision_is_told_once_and_in_order() {
    both(|store| {
        for n in 1..=3 {
            store.commit(create(n)).unwrap();
        }
        store.commit(commit(Change::PutToken(token(1)), Expect::Absent)).unwrap();
        store.commit(revoke(1)).unwrap();
        store.commit(put(key_with(2, &[2, 9]))).unwrap();
        let all = loaded(store);
        assert_eq!(all.iter().map(|(revision, _)| revision.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
        for revision in 0..=6 {
            let expected: Vec<_> = all.iter().filter(|(changed, _)| changed.0 > revision).cloned().collect();
            assert_eq!(since(store, revision), Some(expected));
        }
        assert_eq!(since(store, 7), None);
    });
}

#[test]
fn tokens_are_kept_and_revoked_for_good() {
    both(|store| {
        let put = |token: Token| store.commit(commit(Change::PutToken(token), Expect::Anything));
        put(token(2)).unwrap();
        put(token(1)).unwrap();
        assert_eq!(store.tokens(None, 9).unwrap(), [(Revision(2), token(1)), (Revision(1), token(2))]);
        assert_eq!(store.tokens(None, 1).unwrap(), [(Revision(2), token(1))]);
        assert_eq!(store.tokens(Some(&token(1).id), 1).unwrap(), [(Revision(1), token(2))]);
        assert_eq!(store.tokens(Some(&token(2).id), 1).unwrap(), []);
        assert_eq!(store.token(&token(1).id).unwrap(), Some((Revision(2), token(1))));
        assert_eq!(store.token(&token(3).id).unwrap(), None);
        assert_eq!(refusal(put(Token { id: token_id(3), ..token(1) })), Refusal::TokenTaken(token_id(1)));
        put(Token { name: "new".to_owned(), ..token(1) }).unwrap();
        let revoke = |n| store.commit(commit(Change::RevokeToken(token_id(n)), Expect::Anything));
        assert_eq!(revoke(1).unwrap(), Revision(4));
        assert_eq!(refusal(revoke(1)), Refusal::Revoked);
        assert_eq!(refusal(revoke(3)), Refusal::Missing);
        assert_eq!(refusal(put(token(1))), Refusal::Revoked);
        let expected = Token { name: "new".to_owned(), revoked: Some(NOW), ..token(1) };
        assert_eq!(store.tokens(None, 9).unwrap()[0], (Revision(4), expected));
    });
}

#[test]
fn a_token_that_has_ended_changes_nothing() {
    both(|store| {
        store.commit(commit(Change::PutToken(token(1)), Expect::Absent)).unwrap();
        store.commit(commit(Change::PutToken(token(2)), Expect::Absent)).unwrap();
        let by = |actor: u8, s: i64, n: u8| {
            let origin = Origin { at: at(s), actor: Actor::Token(token_id(actor)), ..origin() };
            store.commit(Commit { origin, idempotency: Some(idempotency("a", n)), ..create(n) })
        };
        by(1, 59, 1).unwrap();
        assert_eq!(refusal(by(1, 60, 2)), Refusal::ActorRevoked);
        by(2, 60, 2).unwrap_err();
        store.commit(Commit { idempotency: None, ..create(2) }).unwrap();
        store.commit(commit(Change::RevokeToken(token_id(2)), Expect::Anything)).unwrap();
        assert_eq!(refusal(by(2, 0, 3)), Refusal::ActorRevoked);
        let guest = Actor::Portal { owner: "Acme Inc".parse().unwrap(), by: Some(token_id(2)) };
        let by_link = Commit { origin: Origin { actor: guest, ..origin() }, ..create(3) };
        assert_eq!(refusal(store.commit(by_link)), Refusal::ActorRevoked);
        assert_eq!((store.key(&id(3)).unwrap(), store.revision()), (None, Revision(5)));
    });
}

#[test]
fn keys_are_listed_by_id_in_pages_and_by_filter() {
    both(|store| {
        for n in [3, 1, 4, 2, 5] {
            store.commit(create(n)).unwrap();
        }
        store.commit(revoke(5)).unwrap();
        let list = |filter: &Filter, after: Option<u8>, limit| -> Vec<String> {
            let page = store.keys(filter, after.map(id).as_ref(), limit).unwrap();
            page.into_iter().map(|(_, key)| key.key.id.to_string()).collect()
        };
        let all = Filter::default();
        assert_eq!(list(&all, None, 2), ["key_1", "key_2"]);
        assert_eq!(list(&all, Some(2), 2), ["key_3", "key_4"]);
        assert_eq!(list(&all, Some(5), 2), [""; 0]);
        let acme = Filter { owner: Some("Acme Inc".parse().unwrap()), ..all.clone() };
        assert_eq!(list(&acme, None, 9), ["key_1", "key_3", "key_5"]);
        assert_eq!(list(&Filter { state: Some(State::Active), ..acme }, Some(1), 9), ["key_3"]);
        assert_eq!(list(&Filter { plan: Some("gold".parse().unwrap()), ..all.clone() }, None, 9), [""; 0]);
        for text in ["KEY 2", "key_2"] {
            assert_eq!(list(&Filter { text: Some(text.to_owned()), ..all.clone() }, None, 9), ["key_2"]);
        }
        assert_eq!(list(&Filter { text: Some("2key".to_owned()), ..all }, None, 9), [""; 0]);
    });
}

#[test]
fn the_audit_log_tells_who_did_what_from_where() {
    both(|store| {
        store.commit(create(1)).unwrap();
        store.commit(Commit { action: Action::KeyRotate, ..put(key_with(1, &[2, 1])) }).unwrap();
        let origin = Origin { actor: Actor::Unknown, request_id: None, remote: None, at: at(3) };
        store.record_event(Event { action: Action::LoginFail, target: None, origin }).unwrap();

        let rows = store.audit(0, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3]);
        let AuditRow { revision, at: when, actor, remote, action, target, request_id, .. } = &rows[1];
        assert_eq!((*revision, *when, actor.as_str()), (Some(Revision(2)), NOW, "tok_0000000000000007"));
        assert_eq!((remote.as_deref(), action.as_str()), (Some("192.0.2.1"), "key.rotate"));
        assert_eq!((target.as_deref(), request_id.as_deref()), (Some("key_1"), Some("r-1")));
        let shown = |text: &Option<String>| serde_json::from_str::<serde_json::Value>(text.as_ref().unwrap()).unwrap();
        let (before, after) = (shown(&rows[1].before), shown(&rows[1].after));
        assert_eq!(before["secrets"].as_array().unwrap().len(), 1);
        assert_eq!(after["secrets"][0]["hint"], "kg_live_0002…");
        assert_eq!((&after["state"], &after["owner"]), (&"active".into(), &"Acme Inc".into()));
        assert_eq!(rows[0].before, None);
        assert_eq!((&rows[2].action[..], &rows[2].actor[..], rows[2].revision), ("login.fail", "unknown", None));
        assert_eq!((&rows[2].before, &rows[2].after, &rows[2].target), (&None, &None, &None));

        assert_eq!(store.audit(1, 1).unwrap(), [rows[1].clone()]);
        assert_eq!(store.audit(u64::MAX, 1).unwrap(), []);
        assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: 3 });
        assert_eq!(store.revision(), Revision(2));
    });
}

#[test]
fn no_digest_is_in_the_audit_log() {
    both(|store| {
        store.commit(put(key_with(1, &[1, 2]))).unwrap();
        store.commit(commit(Change::PutToken(token(2)), Expect::Absent)).unwrap();
        let text = format!("{:?}", store.audit(0, 10).unwrap());
        for hex in ["010101", "0x01", "1, 1, 1", "020202", "2, 2, 2", "digest"] {
            assert!(!text.contains(hex), "{hex} in {text}");
        }
    });
}

#[test]
fn commits_from_many_threads_have_one_order() {
    both(|store| {
        let create_some = |thread: u8| move || (0..8).map(|n| store.commit(create(thread * 8 + n)).unwrap()).collect();
        let revisions: Vec<Vec<Revision>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(create_some(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(revisions.iter().all(|own| own.is_sorted()));
        let all: BTreeSet<Revision> = revisions.iter().flatten().copied().collect();
        assert!(all.into_iter().eq((1..=64).map(Revision)));
        for (thread, own) in revisions.iter().enumerate() {
            for (n, revision) in own.iter().enumerate() {
                let id = id(u8::try_from(thread * 8 + n).unwrap());
                assert_eq!(store.key(&id).unwrap().unwrap().0, *revision);
            }
        }
        assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: 64 });
    });
}

#[test]
fn whoever_receives_a_load_may_call_the_store() {
    both(|store| {
        store.commit_all(vec![create(1), create(2)]).unwrap();
        let newest = store.load(&mut |_, record| {
            if let Ok(Record::Key(key)) = record {
                assert!(store.key(&key.key.id).unwrap().is_some());
                store.commit(put(key)).unwrap();
            }
        });
        assert_eq!((newest.unwrap(), store.revision()), (Revision(2), Revision(4)));
    });
}

#[test]
fn both_stores_write_the_same_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [&dyn Store; 2] = [&MemoryStore::new(), &open(folder.path())];
    let rows = stores.map(|store| {
        store.commit_all(vec![create(1), create(2), revoke(1)]).unwrap();
        store.commit(commit(Change::PutToken(token(1)), Expect::Absent)).unwrap();
        store.audit(0, 10).unwrap()
    });
    assert_eq!(rows[0], rows[1]);
}

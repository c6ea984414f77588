//! Secrets that are shown again.

use serde_json::{Value, json};

use super::world::{ACME, VIEWER, World, body_of, named, run, run_on_both, text};
use crate::key::Digest;
use crate::store::{Action, Actor, Change, Commit, Expect, Origin, Recoverable};
use crate::time::Timestamp;

async fn reveal(world: &World, id: &str) -> super::world::Got {
    world.ask(&format!("POST /v1/keys/{id}/reveal"), Value::Null).await
}

#[test]
fn a_secret_that_was_made_here_is_shown_again_and_each_time_is_noted() {
    run_on_both(async |world| {
        let (id, secret) = world.make(named("n")).await;
        for _ in 0..2 {
            assert_eq!(reveal(&world, &id).await.expect(200), json!({"secret": secret}));
        }
        let rotated = world.ask(&format!("POST /v1/keys/{id}/rotate"), json!({"grace": "1h"})).await.expect(200);
        assert_eq!(reveal(&world, &id).await.expect(200)["secret"], rotated["secret"]);
        let rows = world.rows();
        let noted: Vec<_> = rows.iter().filter(|row| row.action == "secret.reveal").collect();
        assert_eq!(noted.len(), 3);
        assert!(noted.iter().all(|row| row.target.as_deref() == Some(id.as_str()) && row.actor.starts_with("tok_")));
        assert!(!format!("{rows:?}").contains(body_of(&secret)));
        world.ask(&format!("POST /v1/keys/{id}/disable"), Value::Null).await.expect(200);
        reveal(&world, &id).await.expect(200);
        world.ask(&format!("DELETE /v1/keys/{id}"), Value::Null).await.expect(200);
        reveal(&world, &id).await.refused(409, "revoked");
        assert_eq!(world.store.inner().recoverable(&Digest::of(secret.as_bytes())).unwrap(), None);
    });
}

#[test]
fn secrets_of_a_batch_are_kept_if_they_were_made_here() {
    run(async |world| {
        let brought = "kg_live_000000000000000000000000000000004eeaNr";
        let batch = json!({"keys": [{"name": "made"}, {"name": "brought", "secret": brought}]});
        let done = world.ask("POST /v1/keys:batch", batch).await.expect(200);
        let made = text(&done, "/results/0/id");
        assert_eq!(reveal(&world, &made).await.expect(200)["secret"], done["results"][0]["secret"]);
        reveal(&world, &text(&done, "/results/1/id")).await.refused(409, "conflict");
        reveal(&world, "key_file").await.refused(409, "conflict");
        reveal(&world, "key_gone").await.refused(409, "revoked");
        reveal(&world, "nothing").await.refused(404, "not_found");
    });
}

#[test]
fn an_owner_is_shown_its_own_secrets_and_a_viewer_none() {
    run(async |world| {
        let (own, secret) = world.make(json!({"name": "n", "owner": "acme"})).await;
        let (theirs, _) = world.make(json!({"name": "n", "owner": "other"})).await;
        let call = |id: &str| format!("POST /v1/keys/{id}/reveal");
        assert_eq!(world.call(ACME, &call(&own), Value::Null).await.expect(200)["secret"], secret.as_str());
        world.call(ACME, &call(&theirs), Value::Null).await.refused(404, "not_found");
        world.call(VIEWER, &call(&own), Value::Null).await.refused(403, "forbidden");
    });
}

#[test]
fn nothing_is_shown_that_cannot_be_noted() {
    run(async |world| {
        let (id, secret) = world.make(named("n")).await;
        world.store.fail();
        let got = reveal(&world, &id).await;
        got.refused(503, "unavailable");
        assert!(!got.text.contains(body_of(&secret)));
    });
}

#[test]
fn what_was_moved_from_another_key_is_not_shown() {
    run(async |world| {
        let [(from, secret), (to, other)] = [world.make(named("a")).await, world.make(named("b")).await];
        let store = world.store.inner();
        let hidden = store.recoverable(&Digest::of(secret.as_bytes())).unwrap().unwrap();
        let put = |hidden: Recoverable| {
            let (_, mut stored) = store.key(&to.parse().unwrap()).unwrap().unwrap();
            stored.secrets[0].recoverable = Some(hidden);
            let origin = Origin { at: Timestamp::from_unix_ms(0), actor: Actor::Cli, remote: None, request_id: None };
            let change = Change::PutKey(Box::new(stored));
            let (expect, action) = (Expect::Anything, Action::KeyChange);
            store.commit(Commit { change, expect, action, origin, idempotency: None }).unwrap();
        };
        let own = store.recoverable(&Digest::of(other.as_bytes())).unwrap().unwrap();
        put(hidden);
        let got = reveal(&world, &to).await;
        got.refused(409, "conflict");
        assert!(!got.text.contains(body_of(&secret)));
        put(own);
        assert_eq!(reveal(&world, &to).await.expect(200)["secret"], other.as_str());
        reveal(&world, &from).await.expect(200);
    });
}

//! Many clients at once.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{ACME, OPERATOR, World, named, run_on_both, run_with, text, token};
use crate::admin::Limits;

async fn ask(world: &World, call: &str, body: Value) -> Value {
    let authorization = format!("Bearer {}", token(OPERATOR));
    let got = world.send(&[("authorization", &authorization)], call, body).await;
    assert!(got.status < 300, "{call}: {}", got.text);
    got.json()
}

#[test]
fn revisions_of_parallel_clients_are_distinct_and_the_end_is_right() {
    run_on_both(async |world| {
        let world = Arc::new(world);
        let clients: Vec<_> = (0..64)
            .map(|n| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    let made = ask(&world, "POST /v1/keys", named(&format!("n{n}"))).await;
                    let id = text(&made, "/key/id");
                    let mut revisions = vec![made["revision"].as_u64().unwrap()];
                    if n % 2 == 0 {
                        let revoked = ask(&world, &format!("DELETE /v1/keys/{id}"), Value::Null).await;
                        revisions.push(revoked["revision"].as_u64().unwrap());
                    }
                    (id, n % 2 == 0, text(&made, "/secret"), revisions)
                })
            })
            .collect();
        let mut all = Vec::new();
        for client in clients {
            let (id, is_revoked, secret, revisions) = client.await.unwrap();
            let (state, outcome) = if is_revoked { ("revoked", "key_revoked") } else { ("active", "active") };
            assert_eq!(world.key(&id).await["state"], state);
            let verified = ask(&world, "POST /v1/keys/verify", json!({"secret": secret})).await;
            assert_eq!(verified["outcome"], outcome);
            all.extend(revisions);
        }
        assert_eq!(all.len(), 96);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 96);
        assert_eq!(world.ask("GET /v1/status", Value::Null).await.expect(200)["keys"]["revoked"], 33);
    });
}

#[test]
fn changes_of_one_key_from_many_sides_all_count() {
    run_on_both(async |world| {
        let world = Arc::new(world);
        let (id, _) = world.make(named("n")).await;
        let call = format!("PATCH /v1/keys/{id}");
        let clients: Vec<_> = (0..16)
            .map(|n| {
                let (world, call) = (Arc::clone(&world), call.clone());
                let field = ["owner", "plan", "name", "networks"][n % 4];
                let value = [json!("acme"), json!("pro"), json!(format!("n{n}")), json!([format!("10.0.0.{n}/32")])];
                tokio::spawn(async move { ask(&world, &call, json!({field: value[n % 4]})).await })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        let key = world.key(&id).await;
        assert_eq!((&key["owner"], &key["plan"]), (&json!("acme"), &json!("pro")));
        assert!(text(&key, "/name") != "n" && key["networks"] != json!([]));
    });
}

#[test]
fn parallel_clients_of_an_owner_make_no_more_keys_than_it_may_have() {
    let changes_per_minute = NonZeroU32::new(1000).unwrap();
    let limits =
        Limits { keys_per_owner: 10, changes_per_minute, queue_time: Duration::from_secs(60), ..Limits::default() };
    run_with(limits, async |world| {
        let world = Arc::new(world);
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let world = Arc::clone(&world);
                tokio::spawn(async move { world.call(ACME, "POST /v1/keys", named("n")).await.status })
            })
            .collect();
        let mut made = 0;
        for client in clients {
            match client.await.unwrap() {
                201 => made += 1,
                status => assert_eq!(status, 409),
            }
        }
        let listed = world.call(ACME, "GET /v1/keys?state=active", Value::Null).await.expect(200);
        assert_eq!((made, listed["keys"].as_array().unwrap().len()), (10, 11), "the file's key does not count");
    });
}

#[test]
fn one_revocation_of_many_is_made() {
    run_on_both(async |world| {
        let world = Arc::new(world);
        let (id, _) = world.make(named("n")).await;
        let call = format!("DELETE /v1/keys/{id}");
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let (world, call) = (Arc::clone(&world), call.clone());
                tokio::spawn(async move { ask(&world, &call, Value::Null).await })
            })
            .collect();
        let mut revisions = BTreeSet::new();
        for client in clients {
            revisions.insert(client.await.unwrap()["revision"].as_u64());
        }
        assert_eq!(revisions.len(), 1);
        assert_eq!(world.rows().iter().filter(|row| row.action == "key.revoke").count(), 1);
    });
}

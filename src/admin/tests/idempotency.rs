//! Requests that are sent twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{OPERATOR, named, run_on_both, text, token};

#[test]
fn the_same_request_again_makes_nothing_and_tells_no_secret() {
    run_on_both(async |world| {
        let field = ("idempotency-key", "one");
        let first = world.ask_with(field, "POST /v1/keys", json!({"name": "n", "expires": "1d"})).await;
        let again = world.ask_with(field, "POST /v1/keys", json!({"name": "n", "expires": "1d"})).await;
        let mut expected = first.expect(201);
        assert_eq!((first.field("idempotent-replayed"), again.field("idempotent-replayed")), ("", "true"));
        expected["secret"] = Value::Null;
        assert_eq!(again.expect(201), expected);
        assert_eq!((again.field("etag"), again.field("location")), (first.field("etag"), first.field("location")));
        world.ask_with(field, "POST /v1/keys", named("other")).await.refused(409, "conflict");
        let id = text(&expected, "/key/id");
        world.ask_with(field, &format!("POST /v1/keys/{id}/rotate"), Value::Null).await.refused(409, "conflict");
        assert_eq!(world.rows().iter().filter(|row| row.action == "key.create").count(), 1);
    });
}

#[test]
fn a_rotation_that_is_asked_for_twice_is_made_once() {
    run_on_both(async |world| {
        let (id, _) = world.make(named("n")).await;
        let call = format!("POST /v1/keys/{id}/rotate");
        let field = ("idempotency-key", "one");
        let first = world.ask_with(field, &call, json!({"grace": "1h"})).await.expect(200);
        let again = world.ask_with(field, &call, json!({"grace": "1h"})).await;
        assert_eq!(again.field("idempotent-replayed"), "true");
        assert_eq!((&again.json()["key"], &again.json()["secret"]), (&first["key"], &Value::Null));
        assert_eq!(again.json()["revision"], first["revision"]);
    });
}

#[test]
fn names_of_requests_have_bounds() {
    run_on_both(async |world| {
        for bad in ["", "a b", &"a".repeat(129)] {
            world.ask_with(("idempotency-key", bad), "POST /v1/keys", named("n")).await.refused(400, "malformed");
        }
        world.ask_with(("idempotency-key", &"a".repeat(128)), "POST /v1/keys", named("n")).await.expect(201);
    });
}

#[test]
fn eight_at_once_make_one_key() {
    run_on_both(async |world| {
        let world = std::sync::Arc::new(world);
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let world = std::sync::Arc::clone(&world);
                let authorization = format!("Bearer {}", token(OPERATOR));
                tokio::spawn(async move {
                    let fields = [("authorization", authorization.as_str()), ("idempotency-key", "one")];
                    world.send(&fields, "POST /v1/keys", named("n")).await.expect(201)
                })
            })
            .collect();
        let (mut ids, mut secrets) = (BTreeSet::new(), 0);
        for call in calls {
            let made = call.await.unwrap();
            ids.insert(text(&made, "/key/id"));
            secrets += usize::from(made["secret"].is_string());
        }
        assert_eq!((ids.len(), secrets), (1, 1));
    });
}

//! A store that does not work: nothing is changed, and everybody is told.

use serde_json::{Value, json};

use super::world::{named, run, text};

#[test]
fn nothing_changes_while_the_store_does_not_work() {
    run(async |world| {
        let (id, secret) = world.make(named("n")).await;
        let (rows, revision) = (world.rows().len(), world.follower.revision());
        world.store.fail();
        for (call, body) in [
            ("POST /v1/keys".to_owned(), named("n")),
            ("GET /v1/keys".to_owned(), Value::Null),
            (format!("GET /v1/keys/{id}"), Value::Null),
            (format!("PATCH /v1/keys/{id}"), named("m")),
            (format!("DELETE /v1/keys/{id}"), Value::Null),
            (format!("POST /v1/keys/{id}/disable"), Value::Null),
            (format!("POST /v1/keys/{id}/rotate"), Value::Null),
            ("POST /v1/keys:batch".to_owned(), json!({"keys": [{"name": "n"}]})),
            ("POST /v1/tokens".to_owned(), json!({"role": "viewer"})),
            ("GET /v1/audit".to_owned(), Value::Null),
        ] {
            let got = world.ask(&call, body).await;
            let problem = got.refused(503, "unavailable");
            assert!(text(&problem, "/detail").contains("a change may have been made or not: look"), "{problem}");
            assert!(!got.text.contains("closed") && got.field("retry-after") == "5", "{problem}");
        }
        let status = world.ask("GET /v1/status", Value::Null).await.expect(200);
        assert_eq!(status["store"], "the store is closed");
        world.store.recover();
        assert_eq!((world.rows().len(), world.follower.revision()), (rows, revision));
        let verified = world.ask("POST /v1/keys/verify", json!({"secret": secret})).await.expect(200);
        assert_eq!((&verified["outcome"], &verified["key"]["name"]), (&json!("active"), &json!("n")));
    });
}

#[test]
fn a_named_request_can_be_sent_again_after_a_failure() {
    run(async |world| {
        let field = ("idempotency-key", "one");
        world.store.fail();
        world.ask_with(field, "POST /v1/keys", named("n")).await.refused(503, "unavailable");
        world.store.recover();
        assert!(world.ask_with(field, "POST /v1/keys", named("n")).await.expect(201)["secret"].is_string());
    });
}

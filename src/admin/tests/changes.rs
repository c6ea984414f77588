//! Keys from their making to their end.

use serde_json::{Value, json};

use super::world::{FILE_SECRET, OPERATOR, World, body_of, named, run, text, token_commit};
use crate::key::Digest;
use crate::store::{Change, Commit, Expect, Store as _};

async fn outcome(world: &World, secret: &str) -> String {
    text(&world.ask("POST /v1/keys/verify", json!({"secret": secret})).await.expect(200), "/outcome")
}

#[test]
fn a_name_is_enough_for_a_key() {
    run(async |world| {
        let got = world.ask("POST /v1/keys", named("Acme production")).await;
        let made = got.expect(201);
        let id = text(&made, "/key/id");
        assert_eq!(got.field("etag"), format!("\"{}\"", made["revision"]));
        assert_eq!(got.field("location"), format!("/v1/keys/{id}"));
        let secret = text(&made, "/secret");
        assert_eq!(made["key"]["secrets"][0]["hint"], format!("{}…", &secret[..12]));
        let expected = json!({"name": "Acme production", "owner": null, "plan": null, "scopes": [], "networks": [],
            "not_before": null, "expires": null, "state": "active", "source": "store", "last_used": null,
            "extra_allowance": {"day": 0, "month": 0}, "revision": made["revision"], "conflict": null});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(made["key"][field], *value, "{field}");
        }
        assert_eq!(world.key(&id).await, made["key"]);
        assert_eq!(outcome(&world, &secret).await, "active");
    });
}

#[test]
fn all_fields_of_a_key_come_back_in_their_one_form() {
    run(async |world| {
        let asked = json!({"name": "ä", "owner": "acme", "plan": "pro", "scopes": ["b", "a", "b"],
            "networks": ["10.0.0.0/8", "192.0.2.1"], "not_before": "2027-01-01T01:00:00+01:00", "expires": "2028-01-01T00:00:00.5Z",
            "env": "test", "extra_allowance": {"month": 1_000_000_000_000_u64}});
        let made = world.ask("POST /v1/keys", asked).await.expect(201);
        let expected = json!({"scopes": ["a", "b"], "networks": ["10.0.0.0/8", "192.0.2.1/32"],
            "not_before": "2027-01-01T00:00:00Z", "expires": "2028-01-01T00:00:00.5Z", "plan": "pro", "owner": "acme",
            "extra_allowance": {"day": 0, "month": 1_000_000_000_000_u64}});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(made["key"][field], *value, "{field}");
        }
        assert!(text(&made, "/secret").starts_with("kg_test_"));
    });
}

#[test]
fn everything_that_is_wrong_with_a_body_is_told_at_once() {
    run(async |world| {
        let asked = json!({"name": "a\u{1b}", "owner": " x", "plan": "gold", "scopes": ["ok", "not ok"],
            "networks": ["10.1.0.0/8"], "not_before": "tomorrow", "expires": "never", "env": "LIVE",
            "extra_allowance": {"month": 1_000_000_000_001_u64}});
        let got = world.ask("POST /v1/keys", asked).await;
        let faults = got.fields_at_fault();
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        let expected = [
            "name",
            "owner",
            "plan",
            "scopes[1]",
            "networks[0]",
            "not_before",
            "expires",
            "env",
            "extra_allowance.month",
        ];
        assert_eq!(fields, expected);
        assert_eq!(faults[2].1, "unknown_plan");
        assert!(got.text.contains("the file has free, pro"), "{}", got.text);
        let check = async |body: Value, field: &str, code: &str| {
            let faults = world.ask("POST /v1/keys", body).await.fields_at_fault();
            assert_eq!(faults, [(field.to_owned(), code.to_owned())]);
        };
        check(json!({}), "name", "required").await;
        check(json!({"name": "n", "colour": 1}), "colour", "unknown_field").await;
        check(json!({"name": 7}), "name", "type").await;
        check(json!({"name": "n", "scopes": ["a", 7]}), "scopes[1]", "type").await;
        check(json!({"name": "n", "extra_allowance": {"day": -1}}), "extra_allowance.day", "type").await;
        check(json!({"name": "n", "extra_allowance": {"day": 1.5}}), "extra_allowance.day", "type").await;
        check(json!({"name": "n", "extra_allowance": {"week": 1}}), "extra_allowance.week", "unknown_field").await;
        check(json!({"name": "n", "extra_allowance": [1, 2]}), "extra_allowance", "type").await;
        check(json!([]), "", "type").await;
        check(json!(["n", null, null, null, null, null, null, null]), "", "type").await;
        check(json!({"name": "n", "expires": "2020-01-01T00:00:00Z"}), "expires", "value").await;
        let upside_down = json!({"name": "n", "not_before": "2028-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"});
        check(upside_down, "expires", "value").await;
    });
}

#[test]
fn a_wrong_type_does_not_repeat_a_secret() {
    run(async |world| {
        for body in [
            json!({"name": "n", "scopes": FILE_SECRET}),
            json!({"keys": FILE_SECRET}),
            json!({"secret": [FILE_SECRET]}),
        ] {
            for call in ["POST /v1/keys", "POST /v1/keys:batch", "POST /v1/keys/verify"] {
                let got = world.ask(call, body.clone()).await;
                assert!(got.status == 422 && !got.text.contains(body_of(FILE_SECRET)), "{}", got.text);
            }
        }
    });
}

#[test]
fn a_patch_keeps_what_is_absent_clears_what_is_null_and_sets_the_rest() {
    run(async |world| {
        let all = json!({"name": "n", "owner": "acme", "plan": "pro", "scopes": ["a"], "networks": ["10.0.0.0/8"],
            "not_before": "2027-01-01T00:00:00Z", "expires": "2028-01-01T00:00:00Z"});
        let (id, _) = world.make(all.clone()).await;
        let call = format!("PATCH /v1/keys/{id}");
        let before = world.key(&id).await;
        assert_eq!(world.ask(&call, json!({})).await.expect(200)["key"], before);
        for (field, set) in [
            ("owner", "other"),
            ("plan", "free"),
            ("not_before", "2027-06-01T00:00:00Z"),
            ("expires", "2029-01-01T00:00:00Z"),
        ] {
            let got = world.ask(&call, json!({field: set})).await;
            assert_eq!(got.expect(200)["key"][field], set);
            assert_eq!(got.field("etag"), format!("\"{}\"", got.json()["revision"]));
            assert_eq!(world.ask(&call, json!({field: null})).await.expect(200)["key"][field], Value::Null);
        }
        for (field, set) in [("scopes", json!(["x", "y"])), ("networks", json!(["192.0.2.1/32"]))] {
            assert_eq!(world.ask(&call, json!({field: set})).await.expect(200)["key"][field], set);
            assert_eq!(world.ask(&call, json!({field: null})).await.expect(200)["key"][field], json!([]));
        }
        for (set, day, month) in [
            (json!({"day": 5}), 5, 0),
            (json!({"month": 7}), 5, 7),
            (json!({"day": null}), 0, 7),
            (json!({}), 0, 7),
            (json!({"day": 3, "month": 0}), 3, 0),
            (Value::Null, 0, 0),
        ] {
            let got = world.ask(&call, json!({"extra_allowance": set})).await.expect(200);
            assert_eq!(got["key"]["extra_allowance"], json!({"day": day, "month": month}));
        }
        assert_eq!(
            world.ask(&call, json!({"name": null})).await.fields_at_fault(),
            [("name".into(), "required".into())]
        );
        let after = world.key(&id).await;
        assert_eq!(
            (&after["name"], &after["state"], &after["secrets"]),
            (&before["name"], &before["state"], &before["secrets"])
        );
    });
}

#[test]
fn a_change_on_a_condition_that_does_not_hold_is_not_made() {
    run(async |world| {
        let (id, _) = world.make(named("n")).await;
        let revision = world.key(&id).await["revision"].as_u64().unwrap();
        let (good, stale) = (format!("\"{revision}\""), format!("\"{}\"", revision - 1));
        for (method, rest, body) in [
            ("PATCH", "", named("m")),
            ("POST", "/disable", Value::Null),
            ("POST", "/rotate", Value::Null),
            ("DELETE", "", Value::Null),
        ] {
            for wrong in [stale.as_str(), "7", "W/\"1\"", "\"x\""] {
                let got =
                    world.ask_with(("if-match", wrong), &format!("{method} /v1/keys/{id}{rest}"), body.clone()).await;
                got.refused(412, "precondition_failed");
            }
        }
        let list = format!("\"1\", {good}");
        let changed =
            world.ask_with(("if-match", &list), &format!("PATCH /v1/keys/{id}"), named("m")).await.expect(200);
        world
            .ask_with(("if-match", &good), &format!("PATCH /v1/keys/{id}"), named("o"))
            .await
            .refused(412, "precondition_failed");
        world.ask_with(("if-match", "*"), &format!("POST /v1/keys/{id}/disable"), Value::Null).await.expect(200);
        assert_eq!(changed["key"]["name"], "m");
        assert_eq!(world.key(&id).await["state"], "disabled");
    });
}

#[test]
fn a_key_is_disabled_enabled_and_revoked_for_ever() {
    run(async |world| {
        let (id, secret) = world.make(named("n")).await;
        let to = async |call: &str| world.ask(&format!("POST /v1/keys/{id}/{call}"), Value::Null).await;
        for (call, state, denial) in [
            ("enable", "active", "active"),
            ("disable", "disabled", "key_disabled"),
            ("disable", "disabled", "key_disabled"),
            ("enable", "active", "active"),
            ("disable", "disabled", "key_disabled"),
            ("revoke", "revoked", "key_revoked"),
        ] {
            let before = world.key(&id).await;
            let after = to(call).await.expect(200);
            assert_eq!(after["key"]["state"], state);
            assert_eq!(after["key"]["revision"], after["revision"]);
            assert_eq!(before["state"] == after["key"]["state"], before["revision"] == after["revision"]);
            assert_eq!(outcome(&world, &secret).await, denial);
        }
        let revoked = world.key(&id).await;
        assert_eq!(to("revoke").await.expect(200)["key"], revoked);
        assert_eq!(world.ask(&format!("DELETE /v1/keys/{id}"), Value::Null).await.expect(200)["key"], revoked);
        for call in ["enable", "disable", "rotate"] {
            to(call).await.refused(409, "revoked");
        }
        world.ask(&format!("PATCH /v1/keys/{id}"), named("m")).await.refused(409, "revoked");
        assert_eq!(world.key(&id).await, revoked);
    });
}

#[test]
fn a_rotation_has_two_secrets_at_most() {
    run(async |world| {
        let (id, first) = world.make(json!({"name": "n", "env": "test"})).await;
        let call = format!("POST /v1/keys/{id}/rotate");
        let rotated = world.ask(&call, Value::Null).await.expect(200);
        let second = text(&rotated, "/secret");
        assert!(second.starts_with("kg_test_") && second != first);
        assert_eq!(rotated["key"]["secrets"].as_array().unwrap().len(), 2);
        assert_eq!(rotated["key"]["secrets"][0]["until"], Value::Null);
        assert!(rotated["key"]["secrets"][1]["until"].is_string());
        assert_eq!((outcome(&world, &first).await, outcome(&world, &second).await), ("active".into(), "active".into()));
        let third = text(&world.ask(&call, json!({"grace": "1h"})).await.expect(200), "/secret");
        assert_eq!(
            (outcome(&world, &first).await, outcome(&world, &second).await),
            ("key_expired".into(), "active".into())
        );
        let last = world.ask(&call, json!({"grace": "0s"})).await.expect(200);
        assert_eq!(last["key"]["secrets"].as_array().unwrap().len(), 1);
        for gone in [&first, &second, &third] {
            assert_eq!(outcome(&world, gone).await, "key_expired");
        }
        assert_eq!(outcome(&world, &text(&last, "/secret")).await, "active");
        for bad in ["31d", "soon", "-1s"] {
            assert_eq!(
                world.ask(&call, json!({"grace": bad})).await.fields_at_fault(),
                [("grace".into(), "value".into())]
            );
        }
        world.ask(&format!("POST /v1/keys/{id}/disable"), Value::Null).await.expect(200);
        assert_eq!(world.ask(&call, json!({})).await.expect(200)["key"]["state"], "disabled");
    });
}

#[test]
fn a_key_of_the_file_is_changed_there_and_revoked_here() {
    run(async |world| {
        let shown = world.key("key_file").await;
        assert_eq!((&shown["source"], &shown["state"]), (&json!("file"), &json!("active")));
        for null in ["/created", "/changed", "/revision", "/secrets/0/hint", "/conflict"] {
            assert_eq!(shown.pointer(null), Some(&Value::Null), "{null}");
        }
        world.ask("PATCH /v1/keys/key_file", named("m")).await.refused(409, "conflict");
        for call in ["disable", "enable", "rotate"] {
            world.ask(&format!("POST /v1/keys/key_file/{call}"), Value::Null).await.refused(409, "conflict");
        }
        assert_eq!(outcome(&world, FILE_SECRET).await, "active");
        let revoked = world.ask("DELETE /v1/keys/key_file", Value::Null).await.expect(200);
        assert_eq!((&revoked["key"]["state"], &revoked["key"]["source"]), (&json!("revoked"), &json!("file")));
        assert_eq!(revoked["key"]["conflict"], Value::Null);
        assert_eq!(outcome(&world, FILE_SECRET).await, "key_revoked");
        let revision = world.follower.revision();
        assert_eq!(world.ask("DELETE /v1/keys/key_file", Value::Null).await.expect(200), revoked);
        assert_eq!(world.follower.revision(), revision);
        assert_eq!(world.key("key_gone").await["state"], "revoked");
    });
}

/// Gives a key of the store the secret of the one in the file.
fn share_the_file_secret(world: &World, id: &str) {
    let (_, mut stored) = world.store.key(&id.parse().unwrap()).unwrap().unwrap();
    stored.secrets[0].digest.digest = Digest::of(FILE_SECRET.as_bytes());
    let change = Change::PutKey(Box::new(stored));
    world.follower.commit(Commit { change, expect: Expect::Anything, ..token_commit(OPERATOR, "x") }).unwrap();
}

#[test]
fn a_key_of_the_file_is_not_revoked_while_its_secret_lives_on_as_that_of_another() {
    run(async |world| {
        let (id, _) = world.make(named("n")).await;
        share_the_file_secret(&world, &id);
        let before = world.follower.revision();
        let problem = world.ask("DELETE /v1/keys/key_file", Value::Null).await.refused(409, "conflict");
        assert!(text(&problem, "/detail").contains(&format!("revoke `{id}` too")), "{problem}");
        assert_eq!(world.follower.revision(), before);
        world.ask(&format!("DELETE /v1/keys/{id}"), Value::Null).await.expect(200);
        assert_eq!(world.ask("DELETE /v1/keys/key_file", Value::Null).await.expect(200)["key"]["state"], "revoked");
        assert_eq!(world.store.key(&"key_file".parse().unwrap()).unwrap().unwrap().1.secrets, []);
    });
}

#[test]
fn a_secret_that_was_rotated_out_cannot_be_brought_back() {
    run(async |world| {
        let (id, leaked) = world.make(named("n")).await;
        let call = format!("POST /v1/keys/{id}/rotate");
        let rotated = world.ask(&call, json!({"grace": "0s"})).await.expect(200);
        assert_eq!(rotated["key"]["secrets"].as_array().unwrap().len(), 1);
        assert_eq!(world.key(&id).await, rotated["key"]);
        let batch = json!({"keys": [{"name": "again", "secret": leaked}]});
        let row = world.ask("POST /v1/keys:batch", batch).await.expect(200)["results"][0].clone();
        assert_eq!((text(&row, "/status"), text(&row, "/code")), ("refused".into(), "conflict".into()));
        assert!(text(&row, "/detail").contains("rotated out"), "{row}");
        assert_eq!(outcome(&world, &leaked).await, "key_expired");
    });
}

#[test]
fn the_newest_secrets_that_have_ended_are_kept() {
    run(async |world| {
        let (id, _) = world.make(named("n")).await;
        for _ in 0..12 {
            let rotated = world.ask(&format!("POST /v1/keys/{id}/rotate"), Value::Null).await.expect(200);
            assert_eq!(rotated["key"]["secrets"].as_array().unwrap().len(), 2);
        }
        let (_, stored) = world.store.key(&id.parse().unwrap()).unwrap().unwrap();
        assert_eq!(stored.secrets.len(), 2 + 8);
        assert!(stored.secrets[2..].is_sorted_by_key(|secret| std::cmp::Reverse(secret.since)));
    });
}

#[test]
fn no_secret_is_shown_a_second_time() {
    run(async |world| {
        let (id, first) = world.make(named("n")).await;
        let rotated =
            world.ask_with(("idempotency-key", "r"), &format!("POST /v1/keys/{id}/rotate"), Value::Null).await;
        let second = text(&rotated.expect(200), "/secret");
        let row = json!({"name": "b", "secret": "K7MDENGbPxRfiCYEXAMz8T2qK7MDENGbPxRf"});
        world.ask("POST /v1/keys:batch", json!({"keys": [row]})).await.expect(200);
        let token = text(&world.ask("POST /v1/tokens", json!({"role": "viewer"})).await.expect(201), "/secret");
        world.ask("POST /v1/explain", json!({"secret": first, "method": "GET", "path": "/"})).await.expect(200);
        let mut texts = vec![format!("{:?} {:?} {:?}", world.rows(), world.questions, world.follower)];
        for call in ["GET /v1/keys", "GET /v1/tokens", "GET /v1/audit", "GET /v1/status", &format!("GET /v1/keys/{id}")]
        {
            texts.push(world.ask(call, Value::Null).await.text);
        }
        let again = world.ask_with(("idempotency-key", "r"), &format!("POST /v1/keys/{id}/rotate"), Value::Null).await;
        texts.push(again.text);
        for secret in [&first, &second, &token, "K7MDENGbPxRfiCYEXAMz8T2qK7MDENGbPxRf"] {
            assert!(texts.iter().all(|text| !text.contains(body_of(secret))));
        }
    });
}

#[test]
fn what_is_done_is_in_the_audit_log_with_who_and_where() {
    run(async |world| {
        let (id, _) = world.make(named("n")).await;
        let got = world.ask(&format!("DELETE /v1/keys/{id}"), Value::Null).await;
        let page = world.ask("GET /v1/audit?from_end=true&limit=1", Value::Null).await.expect(200);
        let row = &page["rows"][0];
        let expected = json!({"revision": got.expect(200)["revision"], "remote": "127.0.0.1", "action": "key.revoke",
            "target": id, "request_id": got.field("x-request-id")});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(row[field], *value, "{field}");
        }
        assert_eq!((&row["before"]["state"], &row["after"]["state"]), (&json!("active"), &json!("revoked")));
        assert!(text(row, "/actor").starts_with("tok_") && text(row, "/hash").len() == 64);
    });
}

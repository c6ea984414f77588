//! Tokens, explanations, rules and the program itself.

use serde_json::{Value, json};

use super::world::{ACME, FILE_SECRET, body_of, named, run, text};

#[test]
fn tokens_are_made_listed_and_revoked() {
    run(async |world| {
        let made = world
            .ask("POST /v1/tokens", json!({"role": "owner:Acme Inc", "name": "n", "expires": "90d"}))
            .await
            .expect(201);
        assert_eq!(made["id"], made["token"]["id"]);
        assert_eq!((&made["token"]["role"], &made["token"]["revoked"]), (&json!("owner:Acme Inc"), &Value::Null));
        assert!(text(&made, "/secret").starts_with("kga_") && made["token"]["expires"].is_string());
        let listed = world.ask("GET /v1/tokens", Value::Null).await.expect(200);
        assert!(listed["tokens"].as_array().unwrap().contains(&made["token"]));
        let revoked = world.ask(&format!("DELETE /v1/tokens/{}", text(&made, "/id")), Value::Null).await.expect(200);
        assert!(revoked["token"]["revoked"].is_string());
        for id in ["tok_0123456789abcdef", "nothing"] {
            world.ask(&format!("DELETE /v1/tokens/{id}"), Value::Null).await.refused(404, "not_found");
        }
        let bad = json!({"role": "king", "name": "", "expires": "2020-01-01T00:00:00Z"});
        let faults = world.ask("POST /v1/tokens", bad).await.fields_at_fault();
        assert_eq!(faults.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["role", "name", "expires"]);
    });
}

#[test]
fn tokens_are_listed_in_pages() {
    run(async |world| {
        for _ in 0..4 {
            world.ask("POST /v1/tokens", json!({"role": "viewer"})).await.expect(201);
        }
        let ids = |page: &Value| -> Vec<String> {
            page["tokens"].as_array().unwrap().iter().map(|token| text(token, "/id")).collect()
        };
        let all = world.ask("GET /v1/tokens", Value::Null).await.expect(200);
        assert_eq!((ids(&all).len(), &all["next"]), (7, &Value::Null));
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for size in [3, 3, 1] {
            let page = world.ask(&format!("GET /v1/tokens?limit=3{cursor}"), Value::Null).await.expect(200);
            assert_eq!(ids(&page).len(), size);
            seen.extend(ids(&page));
            cursor = page["next"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        }
        assert_eq!((seen, cursor), (ids(&all), String::new()));
        for bad in ["limit=0", "limit=1001", "cursor=%2F", "cursor=YQ", "after=x"] {
            world.ask(&format!("GET /v1/tokens?{bad}"), Value::Null).await.refused(400, "malformed");
        }
    });
}

#[test]
fn an_explanation_is_asked_of_the_data_plane() {
    run(async |world| {
        let (id, secret) = world.make(named("n")).await;
        for credential in [json!({}), json!({"secret": secret}), json!({"key": id}), json!({"key": "key_file"})] {
            let mut asked =
                json!({"method": "GET", "path": "/v1/orders?a=b", "host": "api.example.com", "client": "192.0.2.1"});
            asked.as_object_mut().unwrap().extend(credential.as_object().unwrap().clone());
            let explained = world.ask("POST /v1/explain", asked).await.expect(200);
            assert_eq!((&explained["outcome"], &explained["route"]), (&json!("forwarded"), &Value::Null));
        }
        let questions = world.questions.lock().unwrap().join("\n");
        assert!(
            questions.contains("192.0.2.1") && questions.contains("/v1/orders?a=b") && questions.contains("Digest(")
        );
        assert!(!questions.contains(body_of(&secret)));
        let bad = json!({"secret": "x", "key": "y", "method": "G T", "path": "x", "client": "here"});
        let faults = world.ask("POST /v1/explain", bad).await.fields_at_fault();
        assert_eq!(
            faults.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(),
            ["key", "method", "path", "client"]
        );
        let unknown = json!({"key": "nothing", "method": "GET", "path": "/"});
        assert_eq!(world.ask("POST /v1/explain", unknown).await.fields_at_fault(), [("key".into(), "value".into())]);
    });
}

#[test]
fn a_secret_is_looked_at() {
    run(async |world| {
        let outcome = async |role: &str, secret: &str| {
            let verified = world.call(role, "POST /v1/keys/verify", json!({"secret": secret})).await.expect(200);
            (text(&verified, "/outcome"), verified["key"]["id"].as_str().map(str::to_owned))
        };
        assert_eq!(outcome(ACME, FILE_SECRET).await, ("active".into(), Some("key_file".into())));
        assert_eq!(outcome(ACME, "gone").await, ("key_revoked".into(), Some("key_gone".into())));
        assert_eq!(outcome(ACME, "nobodys").await, ("key_unknown".into(), None));
        for bad in ["", "a b", "kg_live_0123", "ä"] {
            assert_eq!(outcome(ACME, bad).await, ("key_malformed".into(), None));
        }
        let (early, early_secret) = world.make(json!({"name": "n", "not_before": "9000-01-01T00:00:00Z"})).await;
        assert_eq!(outcome("operator", &early_secret).await, ("key_not_yet_valid".into(), Some(early)));
        let (late, late_secret) = world.make(named("n")).await;
        world.ask(&format!("PATCH /v1/keys/{late}"), json!({"expires": "2020-01-01T00:00:00Z"})).await.expect(200);
        assert_eq!(outcome("operator", &late_secret).await, ("key_expired".into(), Some(late)));
    });
}

#[test]
fn the_file_is_loaded_and_checked() {
    run(async |world| {
        assert_eq!(world.ask("POST /v1/reload", Value::Null).await.expect(200), json!({"generation": 7}));
        let refused = world.ask("POST /v1/reload", Value::Null).await.refused(422, "invalid");
        assert_eq!(
            refused["errors"],
            json!([{"field": "k.yaml:3:7", "code": "file", "detail": "error: no such plan: x"}])
        );
        let checked = world.ask("POST /v1/config/check", Value::Null).await.expect(200);
        assert_eq!(checked, json!({"problems": ["k.yaml:1:1: error: nothing is right"]}));
    });
}

#[test]
fn the_rules_and_the_state_are_shown() {
    run(async |world| {
        let plans = world.ask("GET /v1/plans", Value::Null).await.expect(200);
        let limits = json!([{"name": "burst", "requests": 10, "per_seconds": 1.0, "burst": 20}]);
        assert_eq!(plans["plans"][0], json!({"name": "free", "limits": limits, "concurrency": null}));
        world.make(named("n")).await;
        let status = world.ask("GET /v1/status", Value::Null).await.expect(200);
        let expected = json!({"version": env!("CARGO_PKG_VERSION"), "revision": 4, "generation": 1,
            "keys": {"active": 2, "disabled": 0, "revoked": 1}, "store": "ok", "last_reload": null});
        assert_eq!(status, expected);
    });
}

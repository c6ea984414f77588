//! Every call with every role, and without a token.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::world::{ACME, OPERATOR, VIEWER, World, named, run, run_with};
use crate::admin::Limits;
use crate::admin::openapi::described;
use crate::admin::roles::{OPEN, TABLE};

/// Call, body, and the statuses for operator, viewer and owner.
type Row = (&'static str, Value, [u16; 3]);

fn expected() -> Vec<Row> {
    let none = || Value::Null;
    vec![
        ("POST /v1/keys", named("n"), [201, 403, 201]),
        ("GET /v1/keys", none(), [200, 200, 200]),
        ("GET /v1/keys/{id}", none(), [200, 200, 200]),
        ("PATCH /v1/keys/{id}", named("m"), [200, 403, 200]),
        ("DELETE /v1/keys/{id}", none(), [200, 403, 200]),
        ("POST /v1/keys/{id}/revoke", none(), [200, 403, 200]),
        ("POST /v1/keys/{id}/disable", none(), [200, 403, 200]),
        ("POST /v1/keys/{id}/enable", none(), [200, 403, 403]),
        ("POST /v1/keys/{id}/rotate", none(), [200, 403, 200]),
        ("POST /v1/keys/{id}/reveal", none(), [200, 403, 200]),
        ("GET /v1/keys/{id}/allowance", none(), [200, 200, 200]),
        ("GET /v1/usage", none(), [200, 200, 200]),
        ("GET /v1/usage/proof", none(), [200, 200, 403]),
        ("GET /v1/sinks", none(), [200, 200, 403]),
        ("POST /v1/sinks/{name}/pause", none(), [200, 403, 403]),
        ("POST /v1/sinks/{name}/resume", none(), [200, 403, 403]),
        ("POST /v1/keys:batch", json!({"keys": []}), [200, 403, 403]),
        ("POST /v1/keys/verify", json!({"secret": "x"}), [200, 200, 200]),
        ("POST /v1/explain", json!({"method": "GET", "path": "/"}), [200, 200, 403]),
        ("GET /v1/plans", none(), [200, 200, 403]),
        ("GET /v1/routes", none(), [200, 200, 403]),
        ("GET /v1/upstreams", none(), [200, 200, 403]),
        ("POST /v1/reload", none(), [200, 403, 403]),
        ("POST /v1/config/check", none(), [200, 403, 403]),
        ("GET /v1/audit", none(), [200, 200, 403]),
        ("GET /v1/status", none(), [200, 200, 403]),
        ("POST /v1/tokens", json!({"role": "viewer"}), [201, 403, 403]),
        ("GET /v1/tokens", none(), [200, 200, 403]),
        ("DELETE /v1/tokens/{id}", none(), [200, 403, 403]),
        ("POST /v1/portal-sessions", json!({"owner": "acme"}), [201, 403, 403]),
        ("POST /v1/session", json!({"token": "x"}), [403, 403, 403]),
        ("GET /v1/session", none(), [200, 200, 200]),
        ("DELETE /v1/session", none(), [409, 409, 409]),
        ("GET /v1/openapi.json", none(), [200, 200, 200]),
        ("GET /v1/nothing", none(), [404, 404, 404]),
        ("PUT /v1/keys", none(), [405, 405, 405]),
    ]
}

/// The one call that only a page of the console can make.
fn is_sign_in(call: &str) -> bool {
    call == "POST /v1/session"
}

/// The call about a fresh key of acme, or a fresh token.
async fn concrete(world: &World, call: &str) -> String {
    let id = match (call.contains("{id}"), call.contains("tokens")) {
        (false, _) => return call.replace("{name}", "hooks"),
        (true, true) => world.ask("POST /v1/tokens", json!({"role": "viewer"})).await.expect(201)["id"].clone(),
        (true, false) => world.make(json!({"name": "n", "owner": "acme"})).await.0.into(),
    };
    call.replace("{id}", id.as_str().unwrap())
}

#[test]
fn each_role_may_what_the_table_says() {
    run(async |world| {
        for (call, body, statuses) in expected() {
            for (role, status) in [OPERATOR, VIEWER, ACME].into_iter().zip(statuses) {
                let got = world.call(role, &concrete(&world, call).await, body.clone()).await;
                assert_eq!(got.status, status, "{role}: {call}: {}", got.text);
                if status == 403 {
                    got.refused(403, if is_sign_in(call) { "cross_site" } else { "forbidden" });
                }
            }
        }
    });
}

#[test]
fn nothing_but_the_description_is_told_without_a_token() {
    run(async |world| {
        for (call, body, _) in expected() {
            let got = world.send(&[], &concrete(&world, call).await, body).await;
            if call.ends_with(OPEN) {
                got.expect(200);
            } else if is_sign_in(call) {
                got.refused(403, "cross_site");
            } else {
                got.refused(401, "unauthenticated");
                assert_eq!(got.field("www-authenticate"), "Bearer realm=\"keygate-admin\"");
            }
        }
        let before = world.rows().len();
        world.send(&[], "POST /v1/keys", named("n")).await.refused(401, "unauthenticated");
        assert_eq!(world.rows().len(), before);
    });
}

#[test]
fn every_route_is_in_the_table_and_the_other_way_round() {
    let (_, document) = described();
    let document = serde_json::to_value(&document).unwrap();
    let mut routes = BTreeSet::from([("GET".to_owned(), OPEN.to_owned())]);
    for (path, item) in document["paths"].as_object().unwrap() {
        routes.extend(item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let table: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(routes, table);
    let tested = expected()
        .into_iter()
        .map(|(call, ..)| call.split_once(' ').unwrap())
        .filter(|(method, path)| TABLE.iter().any(|(m, p, _)| m == method && p == path));
    assert_eq!(tested.count(), TABLE.len());
}

#[test]
fn a_method_that_there_is_not_tells_those_that_there_are() {
    run(async |world| {
        let got = world.ask("PUT /v1/keys", Value::Null).await;
        got.refused(405, "method_not_allowed");
        assert_eq!(got.field("allow"), "POST, GET, HEAD");
        assert_eq!(world.ask("HEAD /v1/keys", Value::Null).await.status, 200);
        world.call(ACME, "HEAD /v1/audit", Value::Null).await;
        assert_eq!(world.call(ACME, "HEAD /v1/audit", Value::Null).await.status, 403);
    });
}

#[test]
fn an_owner_has_its_own_keys_and_no_others() {
    run(async |world| {
        let (theirs, secret) = world.make(json!({"name": "n", "owner": "other"})).await;
        let (nobodys, _) = world.make(named("n")).await;
        for id in [&theirs, &nobodys, "key_nothing", "%20", "key_%00"] {
            for call in
                ["GET /v1/keys/{id}", "DELETE /v1/keys/{id}", "POST /v1/keys/{id}/rotate", "POST /v1/keys/{id}/disable"]
            {
                let got = world.call(ACME, &call.replace("{id}", id), Value::Null).await;
                assert_eq!(got.refused(404, "not_found")["detail"], "there is nothing of this id", "{call}");
            }
            world.call(ACME, &format!("PATCH /v1/keys/{id}"), named("m")).await.refused(404, "not_found");
        }
        let verified = world.call(ACME, "POST /v1/keys/verify", json!({"secret": secret})).await.expect(200);
        assert_eq!((verified["outcome"].as_str(), &verified["key"]), (Some("key_unknown"), &Value::Null));
        let listed = world.call(ACME, "GET /v1/keys", Value::Null).await.expect(200);
        let owners: BTreeSet<_> =
            listed["keys"].as_array().unwrap().iter().map(|key| key["owner"].clone().to_string()).collect();
        assert_eq!(owners, BTreeSet::from(["\"acme\"".to_owned()]));
        assert_eq!(world.call(ACME, "GET /v1/keys?owner=other", Value::Null).await.expect(200)["keys"], json!([]));
        assert_eq!(world.key(&theirs).await["state"], "active");
    });
}

#[test]
fn an_owner_cannot_give_itself_more() {
    run(async |world| {
        let made = world.call(ACME, "POST /v1/keys", named("n")).await.expect(201);
        assert_eq!(made["key"]["owner"], "acme");
        let id = made["key"]["id"].as_str().unwrap();
        world.call(ACME, "POST /v1/keys", json!({"name": "n", "owner": "acme"})).await.expect(201);
        for more in [
            json!({"owner": "other"}),
            json!({"plan": "pro"}),
            json!({"scopes": ["a"]}),
            json!({"extra_allowance": {"day": 1}}),
        ] {
            let mut asked = more.clone();
            asked["name"] = "n".into();
            world.call(ACME, "POST /v1/keys", asked).await.refused(403, "forbidden");
            world.call(ACME, &format!("PATCH /v1/keys/{id}"), more).await.refused(403, "forbidden");
        }
        for cleared in ["owner", "plan", "scopes", "extra_allowance"] {
            world.call(ACME, &format!("PATCH /v1/keys/{id}"), json!({cleared: null})).await.refused(403, "forbidden");
        }
        let renamed = world.call(ACME, &format!("PATCH /v1/keys/{id}"), json!({"name": "m"})).await.expect(200);
        assert_eq!(renamed["key"]["name"], "m");
    });
}

#[test]
fn an_owner_takes_back_nothing_that_an_operator_has_narrowed() {
    run(async |world| {
        let narrow = json!({"name": "n", "owner": "acme", "networks": ["10.0.0.0/8"], "expires": "1d",
            "not_before": "2020-01-01T00:00:00Z"});
        let (id, _) = world.make(narrow).await;
        world.ask(&format!("POST /v1/keys/{id}/disable"), Value::Null).await.expect(200);
        let before = world.key(&id).await;
        for wide in [
            json!({"networks": null}),
            json!({"networks": ["0.0.0.0/0"]}),
            json!({"expires": null}),
            json!({"expires": "90d"}),
            json!({"not_before": null}),
            json!({"name": "m", "networks": []}),
        ] {
            world.call(ACME, &format!("PATCH /v1/keys/{id}"), wide).await.refused(403, "forbidden");
        }
        world.call(ACME, &format!("POST /v1/keys/{id}/enable"), Value::Null).await.refused(403, "forbidden");
        assert_eq!(world.key(&id).await, before);
        let rotated = world.call(ACME, &format!("POST /v1/keys/{id}/rotate"), Value::Null).await.expect(200);
        for kept in ["state", "networks", "expires", "not_before"] {
            assert_eq!(rotated["key"][kept], before[kept], "{kept}");
        }
    });
}

#[test]
fn an_owner_makes_only_so_many_keys() {
    run_with(Limits { keys_per_owner: 2, ..Limits::default() }, async |world| {
        let first = world.call(ACME, "POST /v1/keys", named("n")).await.expect(201);
        let second = world.call(ACME, "POST /v1/keys", named("n")).await.expect(201);
        let id = |made: &Value| made["key"]["id"].as_str().unwrap().to_owned();
        world.call(ACME, &format!("POST /v1/keys/{}/disable", id(&first)), Value::Null).await.expect(200);
        world.call(ACME, "POST /v1/keys", named("n")).await.refused(409, "conflict");
        world.make(json!({"name": "n", "owner": "acme"})).await;
        world.call(ACME, &format!("DELETE /v1/keys/{}", id(&first)), Value::Null).await.expect(200);
        world.call(ACME, &format!("DELETE /v1/keys/{}", id(&second)), Value::Null).await.expect(200);
        world.call(ACME, "POST /v1/keys", named("n")).await.expect(201);
    });
}

#[test]
fn an_owner_makes_only_so_many_changes() {
    let limits = Limits { changes_per_minute: NonZeroU32::new(4).unwrap(), ..Limits::default() };
    run_with(limits, async |world| {
        for _ in 0..2 {
            world.call(ACME, "POST /v1/keys", named("n")).await.expect(201);
        }
        let got = world.call(ACME, "POST /v1/keys", named("n")).await;
        got.refused(429, "too_many_requests");
        assert!((1..=15).contains(&got.field("retry-after").parse::<u64>().unwrap()));
        world.call(ACME, "GET /v1/keys", Value::Null).await.expect(200);
        world.call(ACME, "POST /v1/keys/verify", json!({"secret": "x"})).await.expect(200);
        for _ in 0..5 {
            world.make(named("n")).await;
        }
    });
}

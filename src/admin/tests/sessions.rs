//! Browsers: sessions, links for owners, sign-on proxies, and pages of others.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::world::{ACME, Got, OPERATOR, VIEWER, World, named, run, run_with, text, token};
use crate::admin::Limits;
use crate::time;

const HOST: (&str, &str) = ("host", "127.0.0.1:9180");
const OWN_PAGE: (&str, &str) = ("sec-fetch-site", "same-origin");

async fn signed_in(world: &World, token: &str) -> Got {
    world.send(&[HOST, OWN_PAGE], "POST /v1/session", json!({"token": token})).await
}

/// The cookie that an answer sets, as the browser sends it.
#[track_caller]
fn cookie(got: &Got) -> String {
    let field = got.field("set-cookie");
    assert!(
        field.starts_with("__Host-keygate=") && field.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"),
        "{got:?}"
    );
    field.split(';').next().unwrap().to_owned()
}

/// A call of a page of the console.
async fn page(world: &World, cookie: &str, call: &str, body: Value) -> Got {
    world.send(&[HOST, OWN_PAGE, ("cookie", cookie)], call, body).await
}

/// The cookie of somebody who has followed a link for this owner.
async fn portal(world: &World, asked: Value) -> String {
    let link = world.ask("POST /v1/portal-sessions", asked).await.expect(201);
    let secret = text(&link, "/url").strip_prefix("http://127.0.0.1:9180/portal/").unwrap().to_owned();
    world.sessions.follow(&secret, time::now()).unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_session_may_what_its_token_may() {
    run(async |world| {
        for (role, word, owner) in
            [(OPERATOR, "operator", Value::Null), (VIEWER, "viewer", Value::Null), (ACME, "owner", "acme".into())]
        {
            let got = signed_in(&world, token(role)).await;
            let shown = got.expect(200);
            assert_eq!((&shown["role"], &shown["owner"]), (&json!(word), &owner));
            assert!(shown["expires"].is_string() && shown["display_name"].is_null());
            assert_eq!(page(&world, &cookie(&got), "GET /v1/session", Value::Null).await.expect(200), shown);
            let statuses =
                [("GET /v1/keys", Value::Null), ("POST /v1/keys", named("n")), ("GET /v1/audit", Value::Null)];
            for (call, body) in statuses {
                let by_token = world.call(role, call, body.clone()).await.status;
                assert_eq!(page(&world, &cookie(&got), call, body).await.status, by_token, "{role} {call}");
            }
        }
    });
}

#[test]
fn a_change_of_a_session_is_noted_as_one_of_its_token() {
    run(async |world| {
        world.make(named("by the token")).await;
        let cookie = cookie(&signed_in(&world, token(OPERATOR)).await);
        page(&world, &cookie, "POST /v1/keys", named("by the session")).await.expect(201);
        let actors: Vec<String> =
            world.rows().into_iter().filter(|row| row.action == "key.create").map(|row| row.actor).collect();
        assert!(actors.len() == 2 && actors[0] == actors[1] && actors[0].starts_with("tok_"), "{actors:?}");
    });
}

#[test]
fn signing_out_ends_the_session_and_no_other() {
    run(async |world| {
        let one = cookie(&signed_in(&world, token(VIEWER)).await);
        let other = cookie(&signed_in(&world, token(VIEWER)).await);
        assert_ne!(one, other);
        let got = page(&world, &one, "DELETE /v1/session", Value::Null).await;
        assert_eq!((got.status, got.text.as_str()), (204, ""));
        assert!(
            got.field("set-cookie").starts_with("__Host-keygate=;") && got.field("set-cookie").contains("Max-Age=0")
        );
        page(&world, &one, "GET /v1/session", Value::Null).await.refused(401, "unauthenticated");
        page(&world, &one, "DELETE /v1/session", Value::Null).await.refused(401, "unauthenticated");
        page(&world, &other, "GET /v1/session", Value::Null).await.expect(200);
    });
}

#[test]
fn signing_in_again_makes_another_cookie_and_ends_the_session_before() {
    run(async |world| {
        let first = cookie(&signed_in(&world, token(VIEWER)).await);
        let again = page(&world, &first, "POST /v1/session", json!({"token": token(OPERATOR)})).await;
        assert_eq!(again.expect(200)["role"], "operator");
        page(&world, &first, "GET /v1/session", Value::Null).await.refused(401, "unauthenticated");
        // What somebody else has set is never taken for a session.
        let fixed = format!("__Host-keygate={}", "A".repeat(43));
        let got = page(&world, &fixed, "POST /v1/session", json!({"token": token(VIEWER)})).await;
        assert_ne!(cookie(&got), fixed);
        page(&world, &fixed, "GET /v1/session", Value::Null).await.refused(401, "unauthenticated");
        let tossed = format!("{}; {fixed}", cookie(&got));
        page(&world, &tossed, "GET /v1/session", Value::Null).await.refused(401, "unauthenticated");
    });
}

#[test]
fn a_session_ends_at_once_with_its_token() {
    run(async |world| {
        let made = world.ask("POST /v1/tokens", json!({"role": "operator"})).await.expect(201);
        let cookie = cookie(&signed_in(&world, &text(&made, "/secret")).await);
        page(&world, &cookie, "GET /v1/session", Value::Null).await.expect(200);
        let link = page(&world, &cookie, "POST /v1/portal-sessions", json!({"owner": "acme"})).await.expect(201);
        let secret = text(&link, "/url").rsplit_once('/').unwrap().1.to_owned();
        let guest = world.sessions.follow(&secret, time::now()).unwrap().split(';').next().unwrap().to_owned();
        page(&world, &guest, "GET /v1/keys", Value::Null).await.expect(200);
        world.ask(&format!("DELETE /v1/tokens/{}", text(&made, "/id")), Value::Null).await.expect(200);
        for cookie in [cookie, guest] {
            page(&world, &cookie, "GET /v1/keys", Value::Null).await.refused(401, "unauthenticated");
            page(&world, &cookie, "POST /v1/keys", named("n")).await.refused(401, "unauthenticated");
        }
    });
}

#[test]
fn a_session_does_not_outlive_a_token_that_expires() {
    run(async |world| {
        let made = world.ask("POST /v1/tokens", json!({"role": "viewer", "expires": "300ms"})).await.expect(201);
        let got = signed_in(&world, &text(&made, "/secret")).await;
        assert_eq!(got.expect(200)["expires"], made["token"]["expires"]);
        let deadline = time::now().after(std::time::Duration::from_secs(10));
        while page(&world, &cookie(&got), "GET /v1/session", Value::Null).await.status == 200 {
            assert!(time::now() < deadline, "the session is still there");
        }
    });
}

#[test]
fn wrong_tokens_are_refused_and_counted_as_everywhere() {
    let limits = Limits { failed_logins_per_minute: NonZeroU32::new(3).unwrap(), ..Limits::default() };
    run_with(limits, async |world| {
        for wrong in ["", "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6T", "x y"] {
            let got = signed_in(&world, wrong).await;
            got.refused(401, "unauthenticated");
            assert_eq!(got.field("set-cookie"), "");
        }
        signed_in(&world, "kga_x").await.refused(429, "too_many_requests");
        signed_in(&world, token(VIEWER)).await.expect(200);
        let got = world.send(&[HOST, OWN_PAGE], "POST /v1/session", json!({})).await;
        assert_eq!(got.fields_at_fault(), [("token".to_owned(), "required".to_owned())]);
    });
}

#[test]
fn pages_of_others_can_do_nothing_with_a_session() {
    run(async |world| {
        let session = cookie(&signed_in(&world, token(OPERATOR)).await);
        let with = ("cookie", session.as_str());
        for from in [
            &[HOST][..],
            &[HOST, ("sec-fetch-site", "cross-site")],
            &[HOST, ("sec-fetch-site", "same-site")],
            &[HOST, ("sec-fetch-site", "none")],
            &[HOST, ("origin", "http://evil.example")],
            &[HOST, ("origin", "http://127.0.0.1:8000")],
            &[HOST, ("origin", "null")],
            &[("host", "evil.example"), OWN_PAGE, ("origin", "http://evil.example")],
        ] {
            let fields = [from, &[with]].concat();
            world.send(&fields, "POST /v1/keys", named("n")).await.refused(403, "cross_site");
            world.send(&fields, "DELETE /v1/session", Value::Null).await.refused(403, "cross_site");
            let sign_in = json!({"token": token(ACME)});
            world.send(from, "POST /v1/session", sign_in).await.refused(403, "cross_site");
        }
        for from in ["cross-site", "same-site"] {
            let fields = [HOST, ("sec-fetch-site", from), with];
            world.send(&fields, "GET /v1/keys", Value::Null).await.refused(403, "cross_site");
        }
        let rebound = [("host", "evil.example:9180"), OWN_PAGE, with];
        world.send(&rebound, "GET /v1/keys", Value::Null).await.refused(403, "cross_site");
        assert!(world.rows().iter().all(|row| row.action != "key.create"));
        world.send(&[HOST, with], "GET /v1/keys", Value::Null).await.expect(200);
        world.send(&[HOST, with, ("origin", "http://127.0.0.1:9180")], "POST /v1/keys", named("n")).await.expect(201);
    });
}

#[test]
fn a_token_in_the_request_goes_before_the_cookie() {
    run(async |world| {
        let cookie = cookie(&signed_in(&world, token(OPERATOR)).await);
        for (authorization, status) in [(format!("Bearer {}", token(VIEWER)), 403), ("Bearer wrong".to_owned(), 401)] {
            let fields = [HOST, OWN_PAGE, ("cookie", cookie.as_str()), ("authorization", authorization.as_str())];
            world.send(&fields, "POST /v1/keys", named("n")).await.expect(status);
        }
    });
}

#[test]
fn a_link_shows_its_owner_alone() {
    run(async |world| {
        let (theirs, _) = world.make(json!({"name": "n", "owner": "other"})).await;
        let asked = json!({"owner": "acme", "display_name": "Acme Ltd", "return_url": "https://app.example/back", "theme": "dark"});
        let cookie = portal(&world, asked).await;
        let shown = page(&world, &cookie, "GET /v1/session", Value::Null).await.expect(200);
        for (field, value) in [
            ("role", "owner"),
            ("owner", "acme"),
            ("display_name", "Acme Ltd"),
            ("return_url", "https://app.example/back"),
            ("theme", "dark"),
        ] {
            assert_eq!(shown[field], value);
        }
        let made = page(&world, &cookie, "POST /v1/keys", named("mine")).await.expect(201);
        assert_eq!(made["key"]["owner"], "acme");
        assert_eq!(world.rows().last().unwrap().actor, "portal:acme");
        page(&world, &cookie, &format!("GET /v1/keys/{theirs}"), Value::Null).await.refused(404, "not_found");
        page(&world, &cookie, &format!("DELETE /v1/keys/{theirs}"), Value::Null).await.refused(404, "not_found");
        page(&world, &cookie, "POST /v1/keys", json!({"name": "n", "plan": "pro"})).await.refused(403, "forbidden");
        for call in ["GET /v1/audit", "GET /v1/tokens", "GET /v1/status"] {
            page(&world, &cookie, call, Value::Null).await.refused(403, "forbidden");
        }
        let link = page(&world, &cookie, "POST /v1/portal-sessions", json!({"owner": "other"})).await;
        link.refused(403, "forbidden");
    });
}

#[test]
fn an_owner_behind_links_makes_only_so_many_changes() {
    let limits = Limits { changes_per_minute: NonZeroU32::new(4).unwrap(), ..Limits::default() };
    run_with(limits, async |world| {
        let cookies = [portal(&world, json!({"owner": "acme"})).await, portal(&world, json!({"owner": "acme"})).await];
        for cookie in &cookies {
            page(&world, cookie, "POST /v1/keys", named("n")).await.expect(201);
        }
        page(&world, &cookies[0], "POST /v1/keys", named("n")).await.refused(429, "too_many_requests");
        let other = portal(&world, json!({"owner": "other"})).await;
        page(&world, &other, "POST /v1/keys", named("n")).await.expect(201);
    });
}

#[test]
fn a_repeated_call_of_a_link_is_not_that_of_another_owner() {
    run(async |world| {
        let call = async |owner: &str| {
            let cookie = portal(&world, json!({"owner": owner})).await;
            let fields = [HOST, OWN_PAGE, ("cookie", cookie.as_str()), ("idempotency-key", "once")];
            world.send(&fields, "POST /v1/keys", named("n")).await.expect(201)
        };
        let (first, again, other) = (call("acme").await, call("acme").await, call("other").await);
        assert_eq!(first["key"]["id"], again["key"]["id"]);
        assert!(first["secret"].is_string() && again["secret"].is_null() && other["secret"].is_string());
    });
}

#[test]
fn what_a_link_says_is_checked() {
    run(async |world| {
        for (asked, field) in [
            (json!({"owner": ""}), "owner"),
            (json!({"owner": "a", "display_name": "\u{1b}[31m"}), "display_name"),
            (json!({"owner": "a", "return_url": "javascript:alert(1)"}), "return_url"),
            (json!({"owner": "a", "return_url": "http://app.example"}), "return_url"),
            (json!({"owner": "a", "return_url": "//evil.example"}), "return_url"),
            (json!({"owner": "a", "theme": "pink"}), "theme"),
        ] {
            let got = world.ask("POST /v1/portal-sessions", asked).await;
            assert_eq!(got.fields_at_fault()[0].0, field);
        }
    });
}

#[test]
fn the_word_of_a_sign_on_proxy_counts_from_its_own_address_alone() {
    run(async |mut world| {
        let says = [HOST, OWN_PAGE, ("x-user", "alice@example.com")];
        world.send(&says, "GET /v1/keys", Value::Null).await.refused(401, "unauthenticated");
        world.peer = "192.0.2.16:1".parse().unwrap();
        world.send(&says, "GET /v1/keys", Value::Null).await.refused(401, "unauthenticated");
        world.peer = "[::ffff:192.0.2.7]:1".parse().unwrap();
        let shown = world.send(&says, "GET /v1/session", Value::Null).await.expect(200);
        assert_eq!((&shown["role"], &shown["display_name"]), (&json!("operator"), &json!("alice@example.com")));
        world.send(&says, "POST /v1/keys", named("n")).await.expect(201);
        assert_eq!(world.rows().last().unwrap().actor, "sso:alice@example.com");
        world.send(&[HOST, says[2]], "POST /v1/keys", named("n")).await.refused(403, "cross_site");
        let rebound = [("host", "evil.example"), OWN_PAGE, says[2]];
        world.send(&rebound, "GET /v1/keys", Value::Null).await.refused(403, "cross_site");
        for wrong in [&[("x-user", "")][..], &[("x-user", "a"), ("x-user", "b")], &[("x-user", " \t")]] {
            let fields = [&[HOST, OWN_PAGE], wrong].concat();
            world.send(&fields, "GET /v1/keys", Value::Null).await.refused(401, "unauthenticated");
        }
        // Who looks at the page as an owner stays that owner.
        let cookie = portal(&world, json!({"owner": "acme"})).await;
        let fields = [says[0], says[1], says[2], ("cookie", cookie.as_str())];
        assert_eq!(world.send(&fields, "GET /v1/session", Value::Null).await.expect(200)["role"], "owner");
    });
}

//! Wrong tokens: refused alike, counted, and noted.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::world::{ACME, OPERATOR, VIEWER, World, body_of, run, run_with, text, token};
use crate::admin::Limits;

const WRONG: &str = "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6T";

fn few() -> Limits {
    Limits { failed_logins_per_minute: NonZeroU32::new(3).unwrap(), ..Limits::default() }
}

async fn try_token(world: &World, authorization: &str) -> super::world::Got {
    world.send(&[("authorization", authorization)], "GET /v1/status", Value::Null).await
}

#[test]
fn what_is_no_valid_token_is_refused_alike() {
    run(async |world| {
        let operator = token(OPERATOR);
        let expired = world.ask("POST /v1/tokens", json!({"role": "operator", "expires": "1ms"})).await.expect(201);
        let revoked = world.ask("POST /v1/tokens", json!({"role": "operator"})).await.expect(201);
        world.ask(&format!("DELETE /v1/tokens/{}", text(&revoked, "/id")), Value::Null).await.expect(200);
        // Its millisecond is over as soon as another can be told from it.
        let born = crate::time::wall(crate::time::now());
        while crate::time::wall(crate::time::now()).as_unix_ms() <= born.as_unix_ms() + 1 {
            tokio::task::yield_now().await;
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            operator,
            &format!("Basic {operator}"),
            &format!("Bearer {operator} x"),
            &format!("Bearer {WRONG}"),
            &format!("Bearer {}", text(&expired, "/secret")),
            &format!("Bearer {}", text(&revoked, "/secret")),
        ] {
            let problem = try_token(&world, bad).await.refused(401, "unauthenticated");
            assert_eq!(problem["detail"], "send a valid admin token as `Authorization: Bearer kga_…`");
        }
        let both = format!("Bearer {operator}");
        let twice = [("authorization", both.as_str()), ("authorization", both.as_str())];
        world.send(&twice, "GET /v1/status", Value::Null).await.refused(401, "unauthenticated");
        try_token(&world, &format!("bearer {operator}")).await.expect(200);
    });
}

#[test]
fn a_revoked_token_is_refused_at_once() {
    run(async |world| {
        let made = world.ask("POST /v1/tokens", json!({"role": "viewer", "name": "n"})).await.expect(201);
        let bearer = format!("Bearer {}", text(&made, "/secret"));
        try_token(&world, &bearer).await.expect(200);
        let call = format!("DELETE /v1/tokens/{}", text(&made, "/id"));
        let first = world.ask(&call, Value::Null).await.expect(200);
        try_token(&world, &bearer).await.refused(401, "unauthenticated");
        assert_eq!(world.ask(&call, Value::Null).await.expect(200), first);
    });
}

#[test]
fn too_many_wrong_tokens_from_one_network_have_to_wait_and_good_ones_have_not() {
    run_with(few(), async |mut world| {
        world.peer = "[2001:db8:1:2::3]:5000".parse().unwrap();
        for _ in 0..3 {
            try_token(&world, &format!("Bearer {WRONG}")).await.refused(401, "unauthenticated");
        }
        world.peer = "[2001:db8:1:2:ffff::4]:5000".parse().unwrap();
        let got = try_token(&world, &format!("Bearer {WRONG}")).await;
        got.refused(429, "too_many_requests");
        assert!((1..=60).contains(&got.field("retry-after").parse::<u32>().unwrap()));
        try_token(&world, &format!("Bearer {}", token(VIEWER))).await.expect(200);
        world.send(&[], "GET /v1/status", Value::Null).await.refused(401, "unauthenticated");
        world.peer = "[2001:db8:1:3::3]:5000".parse().unwrap();
        try_token(&world, &format!("Bearer {WRONG}")).await.refused(401, "unauthenticated");
    });
}

#[test]
fn failed_logins_and_denials_are_noted_once_per_network_and_minute() {
    run(async |mut world| {
        for _ in 0..5 {
            try_token(&world, &format!("Bearer {WRONG}")).await.refused(401, "unauthenticated");
        }
        world.peer = "192.0.2.7:1".parse().unwrap();
        let denied = world.call(ACME, "GET /v1/audit", Value::Null).await;
        denied.refused(403, "forbidden");
        // Rows are written beside the answer; the runtime gets to them when there is nothing else to do.
        let noted = || world.rows().into_iter().filter(|row| row.action == "login.fail").collect::<Vec<_>>();
        while noted().len() < 2 {
            tokio::task::yield_now().await;
        }
        world.ask("GET /v1/status", Value::Null).await.expect(200);
        let rows = noted();
        assert_eq!(rows.len(), 2);
        let of_denial = rows.iter().find(|row| row.remote.as_deref() == Some("192.0.2.7")).unwrap();
        assert_eq!(of_denial.request_id.as_deref(), Some(denied.field("x-request-id")));
        assert!(of_denial.actor.starts_with("tok_"));
        let of_login = rows.iter().find(|row| row.remote.as_deref() == Some("127.0.0.1")).unwrap();
        assert_eq!((of_login.actor.as_str(), &of_login.target), ("unknown", &None));
        assert!(!format!("{rows:?}").contains(body_of(WRONG)));
    });
}

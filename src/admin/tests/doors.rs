//! What holds for every request and every answer, and the listener itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::world::{Got, OPERATOR, VIEWER, World, named, run, run_with, token};
use crate::admin::{Limits, serve};

#[test]
fn every_answer_has_a_request_id_and_is_not_to_be_kept() {
    run(async |world| {
        let mut ids = std::collections::BTreeSet::new();
        for call in
            ["GET /v1/status", "GET /v1/nothing", "GET /", "PUT /v1/keys", "GET /v1/openapi.json", "GET /v1/keys/%ff"]
        {
            for fields in [vec![], vec![("x-request-id", "mine")]] {
                let got = world.send(&fields, call, Value::Null).await;
                assert_eq!((got.field("cache-control"), got.field("x-content-type-options")), ("no-store", "nosniff"));
                assert_eq!(got.field("x-request-id").len(), 36);
                ids.insert(got.field("x-request-id").to_owned());
            }
        }
        assert_eq!(ids.len(), 12);
        world.ask("GET /", Value::Null).await.refused(404, "not_found");
        world.ask("GET /v1/keys/%ff", Value::Null).await.refused(400, "malformed");
    });
}

#[test]
fn pages_of_other_origins_are_refused() {
    run(async |world| {
        let bearer = format!("Bearer {}", token(OPERATOR));
        let from = async |origin: &str, host: &str| {
            let fields = [("authorization", bearer.as_str()), ("origin", origin), ("host", host)];
            world.send(&fields, "GET /v1/status", Value::Null).await
        };
        from("http://127.0.0.1:9180", "127.0.0.1:9180").await.expect(200);
        from("https://admin.example.com", "admin.example.com").await.expect(200);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9181", "http://127.0.0.1:9180.evil.example", ""]
        {
            from(origin, "127.0.0.1:9180").await.refused(403, "cross_site");
        }
    });
}

#[test]
fn a_body_is_json_and_not_too_large() {
    let limits = Limits { body_bytes: 1000, batch_bytes: 2000, ..Limits::default() };
    run_with(limits, async |world| {
        let bearer = format!("Bearer {}", token(OPERATOR));
        let send = async |kind: &str, call: &str, body: String| {
            world.send_text(&[("authorization", &bearer), ("content-type", kind)], call, body).await
        };
        let good = named("n").to_string();
        send("application/json; charset=utf-8", "POST /v1/keys", good.clone()).await.expect(201);
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            send(kind, "POST /v1/keys", good.clone()).await.refused(415, "unsupported_media_type");
        }
        for bad in ["", "{", "{\"name\": \"n\"} x", "\u{feff}{}", "{\"name\": \"\\ud800\"}"] {
            send("application/json", "POST /v1/keys", bad.to_owned()).await.refused(400, "malformed");
        }
        let of = |bytes: usize| format!("{{\"name\": \"{}\"}}", "a".repeat(bytes - 12));
        send("application/json", "POST /v1/keys", of(1001)).await.refused(413, "too_large");
        send("application/json", "POST /v1/keys", of(1000)).await.refused(422, "invalid");
        send("application/json", "POST /v1/keys:batch", of(2000)).await.refused(422, "invalid");
        send("application/json", "POST /v1/keys:batch", of(2001)).await.refused(413, "too_large");
    });
}

#[test]
#[expect(clippy::await_holding_lock, reason = "who waits for it has a thread of its own")]
fn a_request_that_finds_no_place_is_told_to_come_again() {
    let limits = Limits { running: 1, queue_time: Duration::ZERO, ..Limits::default() };
    run_with(limits, async |world| {
        let world = Arc::new(world);
        let questions = Arc::clone(&world.questions);
        let held = {
            let _silence = questions.lock().unwrap();
            let mut held = tokio::spawn(explain(Arc::clone(&world)));
            let busy = loop {
                let got = world.ask("GET /v1/status", Value::Null).await;
                if got.status == 503 {
                    break got;
                }
                if held.is_finished() {
                    // It came when the other one had the place.
                    held = tokio::spawn(explain(Arc::clone(&world)));
                }
                tokio::task::yield_now().await;
            };
            busy.refused(503, "unavailable");
            assert_eq!(busy.field("retry-after"), "1");
            world.send(&[], "GET /v1/status", Value::Null).await.refused(401, "unauthenticated");
            held
        };
        held.await.unwrap().expect(200);
        world.ask("GET /v1/status", Value::Null).await.expect(200);
    });
}

#[test]
#[expect(clippy::await_holding_lock, reason = "who waits for it has a thread of its own")]
fn a_request_that_takes_too_long_is_ended_and_its_work_keeps_the_place() {
    let limits =
        Limits { running: 1, queue_time: Duration::ZERO, request_time: Duration::from_millis(20), ..Limits::default() };
    run_with(limits, async |world| {
        let world = Arc::new(world);
        let questions = Arc::clone(&world.questions);
        {
            let _silence = questions.lock().unwrap();
            explain(Arc::clone(&world)).await.refused(408, "timeout");
            world.ask("GET /v1/status", Value::Null).await.refused(503, "unavailable");
        }
        while world.ask("GET /v1/status", Value::Null).await.status != 200 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
#[expect(clippy::await_holding_lock, reason = "who waits for it has a thread of its own")]
fn viewers_leave_places_to_operators() {
    let limits = Limits { running: 2, queue_time: Duration::ZERO, ..Limits::default() };
    run_with(limits, async |world| {
        let world = Arc::new(world);
        let questions = Arc::clone(&world.questions);
        let held = {
            let _silence = questions.lock().unwrap();
            let asked = Arc::clone(&world);
            // The requests below may have the place when it comes.
            let held = tokio::spawn(async move {
                loop {
                    let got = asked.call(VIEWER, "POST /v1/explain", json!({"method": "GET", "path": "/"})).await;
                    if got.status != 503 {
                        return got;
                    }
                }
            });
            while world.call(VIEWER, "GET /v1/status", Value::Null).await.status != 503 {
                tokio::task::yield_now().await;
            }
            world.ask("GET /v1/status", Value::Null).await.expect(200);
            held
        };
        held.await.unwrap().expect(200);
    });
}

#[test]
fn a_body_that_does_not_come_takes_no_place() {
    let limits = Limits { running: 1, queue_time: Duration::ZERO, ..Limits::default() };
    run_with(limits, async |world| {
        served(&world, limits, async |address| {
            let meanwhile = async { world.ask("GET /v1/status", Value::Null).await.expect(200) };
            let body = named("n").to_string();
            let answer = said_slowly(address, "POST /v1/keys", token(OPERATOR), &body, meanwhile).await;
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        })
        .await;
    });
}

async fn explain(world: Arc<World>) -> Got {
    world.ask("POST /v1/explain", json!({"method": "GET", "path": "/"})).await
}

/// Sends a head, and the body only when `between` has happened: after the gateway has asked for it.
async fn said_slowly(address: SocketAddr, call: &str, bearer: &str, body: &str, between: impl Future) -> String {
    let head = format!(
        "{call} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; "HTTP/1.1 100 Continue\r\n\r\n".len()]).await.unwrap();
    between.await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Serves a world on its listener while `test` runs.
async fn served(world: &World, limits: Limits, test: impl AsyncFnOnce(SocketAddr)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, world.router.clone(), limits, async move {
        drop(stopped.await);
    }));
    test(address).await;
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[test]
fn a_token_that_is_revoked_before_the_body_arrives_changes_nothing() {
    run(async |world| {
        served(&world, Limits::default(), async |address| {
            for (call, body) in [
                ("POST /v1/keys", named("n")),
                ("POST /v1/tokens", json!({"role": "operator"})),
                ("POST /v1/keys:batch", json!({"keys": [{"name": "n"}]})),
            ] {
                let made = world.ask("POST /v1/tokens", json!({"role": "operator"})).await.expect(201);
                let (bearer, id) = (made["secret"].as_str().unwrap(), made["id"].as_str().unwrap());
                let delete = format!("DELETE /v1/tokens/{id}");
                let revoke = async { world.ask(&delete, Value::Null).await.expect(200) };
                let answer = said_slowly(address, call, bearer, &body.to_string(), revoke).await;
                assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
                assert_eq!(world.rows().last().unwrap().action, "token.revoke");
            }
        })
        .await;
    });
}

#[test]
fn the_listener_serves_the_same_and_tells_the_clients_address() {
    run(async |world| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, world.router.clone(), Limits::default(), async move {
            drop(stopped.await);
        }));
        let body = json!({"name": "n"}).to_string();
        let request = format!(
            "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token(OPERATOR),
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(world.rows().last().unwrap().remote.as_deref(), Some("127.0.0.1"));
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    });
}

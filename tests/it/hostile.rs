//! Hostile clients: smuggling, slowness, leaving at every stage, floods, and resources that run out.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{
    ALICE, BOB, CAROL, Client, Gateway, Random, Settings, Upstream, get, keyless, mistyped, post, wait_for, wait_until,
};

/// A whole request that must never be seen by an upstream, with a key that would be good.
fn smuggled() -> String {
    get("/smuggled", &["X-Smuggled: yes"])
}

#[track_caller]
fn only_good_ones_arrived(upstream: &Upstream, expected: &[&str]) {
    let targets: Vec<String> =
        upstream.heads().iter().filter_map(|head| Some(head.request_line().ok()?.1.to_owned())).collect();
    assert_eq!(targets, expected);
}

#[test]
fn a_request_inside_the_unread_body_of_a_denied_one_is_never_a_request() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let hidden = smuggled();
    let length = format!("Content-Length: {}", hidden.len());
    let denied = keyless("POST", "/denied", &[&length, "X-API-Key: wrong"]) + &hidden;
    let mut client = gateway.client();
    client.send(denied + &get("/good", &[]));
    client.read_response().expect(401);
    client.read_response().expect(200);
    only_good_ones_arrived(&upstream, &["/good"]);
}

#[test]
fn the_same_holds_for_chunked_bodies() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let hidden = smuggled();
    let head = keyless("POST", "/denied", &["Transfer-Encoding: chunked"]);
    let mut client = gateway.client();
    client.send(format!("{head}{:x}\r\n{hidden}\r\n0\r\n\r\n{}", hidden.len(), get("/good", &[])));
    client.read_response().expect(401);
    client.read_response().expect(200);
    only_good_ones_arrived(&upstream, &["/good"]);
}

#[test]
fn the_same_holds_for_every_kind_of_denial() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .plan_for_alice(&["limits: {burst: {requests: 10, per: 1h}}"])
        .plan("tiny", &["limits: {burst: {requests: 1, per: 1h}}"])
        .key(BOB, &["plan: tiny"])
        .route("all", &["path: /v1"])
        .route("scoped", &["path: /v1/scoped", "scopes: [admin]"])
        .route("small", &["path: /v1/small", "max_body_bytes: 10B"])
        .start();
    let bob = format!("X-API-Key: {}", BOB.secret);
    gateway.ask(keyless("GET", "/v1/first", &[&bob])).expect(200);
    let hidden = smuggled();
    let length = format!("Content-Length: {}", hidden.len());
    let alice = format!("X-API-Key: {}", ALICE.secret);
    for (path, fields, status) in [
        ("/nowhere", vec![alice.as_str()], 404),
        ("/v1/scoped", vec![alice.as_str()], 403),
        ("/v1/small", vec![alice.as_str()], 413),
        ("/v1", vec![alice.as_str(), bob.as_str()], 400),
        ("/v1", vec![bob.as_str()], 429),
        ("/v1/%zz", vec![alice.as_str()], 400),
        ("/v1", vec![alice.as_str(), "Expect: tea"], 417),
    ] {
        let mut fields = fields;
        fields.push(&length);
        let mut client = gateway.client();
        client.send(keyless("POST", path, &fields) + &hidden);
        client.read_response().expect(status);
        match client.send(keyless("GET", "/nowhere", &[])).try_response("GET") {
            Ok(next) => assert_eq!(next.status, 404, "after {status} on {path}"),
            Err(_closed) => {}
        }
    }
    only_good_ones_arrived(&upstream, &["/v1/first"]);
}

#[test]
fn a_chunk_that_is_one_too_many_is_never_read_as_a_request() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("max_body_bytes: 10B").start();
    let alice = format!("X-API-Key: {}", ALICE.secret);
    let hidden = format!("\r\n0\r\n\r\n{}", get("/smuggled", &[]));
    let body = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let mut client = gateway.client();
    client.send(keyless("POST", "/", &[&alice, "Transfer-Encoding: chunked"]) + &body);
    client.read_response().expect(413);
    if let Ok(next) = client.send(get("/last", &[])).try_response("GET") {
        next.expect(200);
        assert_eq!(upstream.last().target(), "/last");
    }
    assert!(upstream.heads().iter().all(|head| !head.start.contains("/smuggled")));
}

#[test]
fn the_rest_of_a_body_that_the_upstream_did_not_want_is_never_read_as_a_request() {
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let upstream = Upstream::with_little_room(move |connection| {
        loop {
            let head = connection.head()?;
            wait_for("the way up to be full", || is_full.load(Ordering::SeqCst));
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            connection.body(&head, &mut |_| {})?;
        }
    });
    let gateway = Settings::before(&upstream).start();
    let alice = format!("X-API-Key: {}", ALICE.secret);
    let hidden = get("/smuggled", &[]);
    let mut client = gateway.client();
    client.send(keyless("POST", "/early", &[&alice, "Content-Length: 1000000000"]));
    let room = client.send_until_full(&[b'-'; 32 * 1024]);
    // Around what there is room for, the gateway is in the middle of writing the last pieces when the answer comes.
    for bytes in [room - 40_000, room - 16_000, room, room + 16_000, room + 40_000] {
        full.store(false, Ordering::SeqCst);
        let body = hidden.repeat(bytes / hidden.len());
        let mut client = gateway.client();
        client.send(keyless("POST", "/early", &[&alice, &format!("Content-Length: {}", body.len())]));
        client.send(&body).wait_read_or_full();
        full.store(true, Ordering::SeqCst);
        client.read_response().expect(200);
        client.finish_writing();
        assert!(client.try_response("GET").is_err(), "bytes of a body of {} were answered", body.len());
    }
}

#[test]
fn a_client_that_waits_for_a_100_and_is_answered_otherwise_is_not_read_any_further() {
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::hanging(early);
    let gateway = Settings::before(&upstream).start();
    let alice = format!("X-API-Key: {}", ALICE.secret);
    for (request, status) in [
        (keyless("POST", "/", &[&alice, "Expect: 100-continue", "Content-Length: 50"]), 200),
        (keyless("POST", "/%zz", &[&alice, "Expect: 100-continue", "Content-Length: 50"]), 400),
        (keyless("POST", "/", &[&alice, "Expect: tea", "Content-Length: 50"]), 417),
        (keyless("TRACE", "/", &[&alice, "Expect: 100-continue", "Content-Length: 50"]), 405),
    ] {
        let mut client = gateway.client();
        client.send(&request);
        let answer = client.read_response().expect(status);
        assert!(answer.says_close() && client.is_closed(), "{request}");
    }
}

#[test]
fn a_large_body_of_a_denied_request_ends_its_connection() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let hidden = smuggled().repeat(100_000);
    let mut client = gateway.client();
    client.send(keyless("POST", "/denied", &[&format!("Content-Length: {}", hidden.len())]));
    client.read_response().expect(401);
    client.send(hidden + &get("/good", &[]));
    assert!(client.is_closed());
    only_good_ones_arrived(&upstream, &[]);
}

#[test]
fn a_denied_body_that_never_comes_ends_its_connection() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("body_timeout: 500ms").start();
    let mut client = gateway.client();
    client.send(keyless("POST", "/denied", &["Content-Length: 1000"]) + "only this");
    client.read_response().expect(401);
    assert!(client.is_closed());
}

#[test]
fn nothing_after_a_malformed_head_is_read() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for malformed in [
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(malformed.to_owned() + &smuggled());
        client.read_response().expect(400);
        assert!(client.is_closed(), "{malformed:?}");
    }
    only_good_ones_arrived(&upstream, &[]);
}

#[test]
fn the_body_of_an_early_answered_request_is_never_a_request() {
    let upstream = Upstream::start(|connection| {
        connection.head()?;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")?;
        connection.wait_closed()
    });
    let gateway = Settings::before(&upstream).start();
    let hidden = smuggled();
    let mut client = gateway.client();
    client.send(get("/good", &[&format!("Content-Length: {}", hidden.len())]));
    client.read_response().expect(200);
    client.send(hidden);
    client.send(keyless("GET", "/denied", &[]));
    if let Ok(next) = client.try_response("GET") {
        assert_eq!(next.status, 401);
    }
    only_good_ones_arrived(&upstream, &["/good"]);
}

/// Starts a request whose upstream hangs, lets `leave` end the client, and waits for the end of the upstream's connection.
fn leaving_ends_the_upstream_request(answer_begun: &'static str, request: &str, leave: impl FnOnce(Client)) {
    let upstream = Upstream::hanging(answer_begun);
    let lines = ["response_timeout: 10m", "idle_timeout: 10m"];
    let settings =
        Settings::before(&upstream).upstream("backend", &[upstream.address()], &lines).top("body_timeout: 10m");
    let gateway = settings.start();
    let mut client = gateway.client();
    client.send(request);
    if answer_begun.is_empty() {
        wait_for("the request at the upstream", || upstream.heads().len() == 1);
    } else {
        client.read_head();
    }
    leave(client);
    wait_for("the end of the upstream's connection", || upstream.open_connections() == 0);
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_the_upstream_request() {
    leaving_ends_the_upstream_request("", &get("/", &[]), Client::leave);
    leaving_ends_the_upstream_request("", &get("/", &[]), Client::reset);
}

#[test]
fn a_client_that_leaves_after_its_body_ends_the_upstream_request() {
    leaving_ends_the_upstream_request("", &post("/", &[], "body"), Client::leave);
    leaving_ends_the_upstream_request("", &post("/", &[], "body"), Client::reset);
}

#[test]
fn a_client_that_leaves_in_its_body_ends_the_upstream_request() {
    leaving_ends_the_upstream_request("", &(get("/", &["Content-Length: 10"]) + "hal"), Client::leave);
    leaving_ends_the_upstream_request("", &(get("/", &["Transfer-Encoding: chunked"]) + "5\r\nhel"), Client::reset);
}

#[test]
fn a_client_that_leaves_in_the_answer_ends_the_upstream_request() {
    const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    leaving_ends_the_upstream_request(EVENTS, &get("/", &[]), Client::leave);
    leaving_ends_the_upstream_request(EVENTS, &get("/", &[]), Client::reset);
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    leaving_ends_the_upstream_request(LENGTH, &get("/", &[]), Client::leave);
}

#[test]
fn clients_that_leave_in_the_middle_of_a_head_are_forgotten() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let whole = get("/", &[]);
    for end in 0..whole.len() {
        gateway.client().send(&whole.as_bytes()[..end]);
    }
    gateway.get("/good").expect(200);
    only_good_ones_arrived(&upstream, &["/good"]);
    wait_for("all client connections to be forgotten", || {
        gateway.metrics().sum("keygate_connections", &[("side", "client")]) == 0.0
    });
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).top("body_timeout: 300ms").start();
    let mut client = gateway.client();
    client.send(get("/", &["Content-Length: 10"]) + "hal");
    match client.try_response("GET") {
        Ok(answer) => assert_eq!(answer.expect(408).status, 408),
        Err(_cut) => return,
    }
    assert!(client.is_closed());
    wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn more_connections_than_allowed_neither_fall_over_nor_harm_the_others() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("max_connections: 8").start();
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.ask(get("/", &[])).expect(200)));
    let mut extra = gateway.client();
    extra.send(get("/extra", &[]));
    clients.iter_mut().for_each(|client| drop(client.ask(get("/", &[])).expect(200)));
    assert!(upstream.heads().iter().all(|head| !head.start.contains("/extra")), "one more than allowed was served");
    drop(clients);
    let answer = extra.try_response("GET");
    assert!(
        answer.is_ok_and(|answer| matches!(answer.status, 200 | 503)),
        "answered with 503 or held back, never dropped"
    );
    gateway.wait_for_status(&get("/", &[]), 200);
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).top("max_connections: 1000");
    let mut gateway = Gateway::start_with_few_files(&settings, 64);
    wait_for("descriptors to run out", || {
        let flood: Vec<TcpStream> = (0..150).filter_map(|_| TcpStream::connect(gateway.address()).ok()).collect();
        assert!(flood.len() > 64, "only {} connections", flood.len());
        drop(flood);
        gateway.metrics().sum("keygate_accept_errors_total", &[]) > 0.0
    });
    gateway.wait_for_status(&get("/", &[]), 200);
    gateway.operations("/healthz").expect(200);
    assert!(gateway.process().is_running());
}

#[test]
fn a_request_for_which_no_descriptor_is_left_is_told_that_the_gateway_is_overloaded() {
    let upstream = Upstream::echo();
    let mut gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(keyless("GET", "/", &[])).expect(401);
    let few = gateway.process().limit_files(0);
    let refused = client.ask(get("/", &[])).expect_problem(503, "overloaded");
    assert!(refused.value("retry-after").is_some());
    assert_eq!(upstream.connections(), 0);
    gateway.process().limit_files(few);
    gateway.get("/").expect(200);
}

#[test]
fn a_network_that_fails_again_and_again_is_refused_but_never_its_good_keys() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("flood_guard: {failures: 5, per: 1h}").start();
    let mut good = gateway.client();
    let bad = keyless("GET", "/", &[&format!("X-API-Key: {}", mistyped(ALICE.secret))]);
    let refused = wait_until("the flood guard", || {
        good.ask(get("/", &[])).expect(200);
        let mut client = gateway.client();
        let answer = client.ask(&bad);
        (answer.status != 401).then_some((answer, client))
    });
    let (answer, mut client) = refused;
    assert_eq!((answer.status, answer.code()), (429, "too_many_failures".to_owned()));
    assert!(client.is_closed());
    for _ in 0..20 {
        gateway.get("/").expect(200);
        gateway.ask(&bad).expect(429);
    }
    good.ask(get("/", &[])).expect(200);
}

#[test]
fn good_keys_are_never_told_to_wait_however_many_others_fail_beside_them() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).threads(2).top("flood_guard: {failures: 5, per: 1h}");
    let gateway = settings.key(BOB, &[]).revoke(BOB.id).start();
    let bad: Vec<String> = [BOB.secret, CAROL.secret, &mistyped(ALICE.secret), "unknown"]
        .map(|secret| keyless("GET", "/", &[&format!("X-API-Key: {secret}")]))
        .to_vec();
    (0..8).for_each(|_| drop(gateway.ask(&bad[0])));
    std::thread::scope(|scope| {
        for bad in &bad {
            let gateway = &gateway;
            scope.spawn(move || {
                for _ in 0..250 {
                    gateway.ask(bad).expect_problem(429, "too_many_failures");
                }
            });
        }
        let mut kept = gateway.client();
        for _ in 0..250 {
            kept.ask(get("/", &[])).expect(200);
            gateway.get("/").expect(200);
        }
    });
}

#[test]
fn the_flood_guard_lets_the_configured_number_of_failures_through() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("flood_guard: {failures: 5, per: 1h}").start();
    for _ in 0..5 {
        gateway.ask(keyless("GET", "/", &["X-API-Key: wrong"])).expect(401);
    }
    for _ in 0..20 {
        gateway.ask(keyless("GET", "/", &[])).expect(401);
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("head_timeout: 1s\nbody_timeout: 1s").start();
    let mut random = Random(1);
    for _ in 0..200 {
        let length = random.below(600);
        let blob: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        gateway.client().send(blob).finish_writing();
    }
    gateway.get("/good").expect(200);
    only_good_ones_arrived(&upstream, &["/good"]);
}

#[test]
fn damaged_requests_never_become_malformed_ones_upstream() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().top("head_timeout: 1s\nbody_timeout: 1s").start();
    let whole = get("/a/b?c=d", &["X-A: b", "Connection: x-a, close", "Transfer-Encoding: chunked"])
        + "3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    let mut random = Random(2);
    for _ in 0..500 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.byte(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n: ,;\0\t0a"[random.below(10)]),
            }
        }
        let mut client = gateway.client();
        client.send(bytes).finish_writing();
        let _ = client.try_response("POST");
    }
    gateway.get("/good").expect(200);
}

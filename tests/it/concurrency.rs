//! The bound on requests at once: given back on every kind of ending, never twice.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::harness::{Client, Connection, Gateway, Request, Settings, Step, Upstream, get, post, wait_for};

/// An upstream that ends each request in the way that its path names.
fn moody() -> Upstream {
    Upstream::start(|connection| {
        loop {
            let head = connection.head()?;
            let target = head.request_line().map_or(String::new(), |(_, target)| target.to_owned());
            if target == "/early" {
                connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                return connection.wait_closed();
            }
            let mut body = Vec::new();
            let trailers = connection.body(&head, &mut |bytes| body.extend_from_slice(bytes))?;
            end(connection, &target, &Request { head, body, trailers })?;
        }
    })
}

fn end(connection: &mut Connection, target: &str, request: &Request) -> Step {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    match target {
        "/reset" => {
            connection.reset_at_end();
            None
        }
        "/close" => None,
        "/garbage" => connection.write(b"garbage\r\n\r\n").and(None),
        "/short" => connection.write(begun).and(None),
        "/hang" => connection.wait_closed(),
        "/half" => connection.write(begun).and_then(|()| connection.wait_closed()),
        _ => connection.answer(request, b"fine"),
    }
}

fn one_at_a_time(upstream: &Upstream) -> Gateway {
    let upstream_lines = ["response_timeout: 2s", "idle_timeout: 2s"];
    Settings::before(upstream)
        .upstream("backend", &[upstream.address()], &upstream_lines)
        .plan_for_alice(&["concurrency: 1"])
        .route("scoped", &["path: /scoped", "scopes: [admin]"])
        .top("max_body_bytes: 1KiB\nbody_timeout: 2s")
        .start()
}

/// After one ending of a request there is exactly one place again.
fn gives_back(ending: impl FnOnce(&Gateway, &Upstream)) {
    let upstream = moody();
    let gateway = one_at_a_time(&upstream);
    ending(&gateway, &upstream);
    gateway.wait_for_status(&get("/fine", &[]), 200);
    let mut first = gateway.client();
    first.send(get("/half", &[])).read_head();
    gateway.get("/fine").expect_problem(429, "concurrency_exceeded");
}

/// Sends a request whose answer hangs and waits until the upstream has it.
fn hanging(gateway: &Gateway, upstream: &Upstream, request: &str) -> Client {
    let before = upstream.heads().len();
    let mut client = gateway.client();
    client.send(request);
    wait_for("the request at the upstream", || upstream.heads().len() > before);
    client
}

#[test]
fn one_more_than_allowed_at_once_is_refused_and_the_others_are_unharmed() {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::start(move |connection| {
        loop {
            let request = connection.request()?;
            released.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
            connection.answer(&request, b"done")?;
        }
    });
    let gateway = Settings::before(&upstream).plan_for_alice(&["concurrency: 3"]).threads(2).start();
    let mut clients: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(get("/", &[]));
    }
    wait_for("three requests at the upstream", || upstream.heads().len() == 3);
    let answer = gateway.get("/").expect_problem(429, "concurrency_exceeded");
    assert!(!answer.says_close());
    release_all(&release, 4);
    clients.iter_mut().for_each(|client| drop(client.read_response().expect(200)));
    gateway.get("/").expect(200);
}

fn release_all(release: &Sender<()>, count: usize) {
    (0..count).for_each(|_| release.send(()).unwrap());
}

#[test]
fn a_finished_request_gives_its_place_back() {
    gives_back(|gateway, _| {
        let mut client = gateway.client();
        for _ in 0..5 {
            client.ask(get("/fine", &[])).expect(200);
        }
    });
}

#[test]
fn a_client_that_leaves_before_the_answer_gives_its_place_back() {
    gives_back(|gateway, upstream| hanging(gateway, upstream, &get("/hang", &[])).leave());
}

#[test]
fn a_client_that_resets_before_the_answer_gives_its_place_back() {
    gives_back(|gateway, upstream| hanging(gateway, upstream, &get("/hang", &[])).reset());
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_gives_its_place_back() {
    gives_back(|gateway, upstream| hanging(gateway, upstream, &get("/fine", &["Content-Length: 100"])).leave());
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_gives_its_place_back() {
    gives_back(|gateway, _| {
        let mut client = gateway.client();
        client.send(get("/half", &[])).read_head();
        client.leave();
    });
}

#[test]
fn an_upstream_that_fails_gives_the_place_back() {
    gives_back(|gateway, _| {
        gateway.get("/reset").expect(502);
        gateway.wait_for_status(&get("/close", &[]), 502);
        gateway.wait_for_status(&get("/garbage", &[]), 502);
    });
}

#[test]
fn an_upstream_that_cuts_its_answer_gives_the_place_back() {
    gives_back(|gateway, _| assert!(gateway.client().send(get("/short", &[])).try_response("GET").is_err()));
}

#[test]
fn an_upstream_that_is_too_slow_gives_the_place_back() {
    gives_back(|gateway, _| drop(gateway.get("/hang").expect(504)));
}

#[test]
fn an_upstream_that_stalls_in_its_answer_gives_the_place_back() {
    gives_back(|gateway, _| assert!(gateway.client().send(get("/half", &[])).try_response("GET").is_err()));
}

#[test]
fn an_early_answer_gives_the_place_back() {
    gives_back(|gateway, _| {
        let mut client = gateway.client();
        client.send(get("/early", &["Content-Length: 1000"])).read_response().expect(413);
    });
}

#[test]
fn denials_take_no_place_and_give_none_back() {
    gives_back(|gateway, _| {
        gateway.get("/scoped").expect(403);
        gateway.ask(post("/fine", &[], &"a".repeat(1025))).expect(413);
        gateway.get("/%zz").expect(400);
    });
}

#[test]
fn a_body_that_grows_too_large_gives_the_place_back() {
    gives_back(|gateway, _| {
        let chunk = format!("400\r\n{}\r\n", "a".repeat(1024));
        let head = get("/fine", &["Transfer-Encoding: chunked"]);
        gateway.ask(format!("{head}{chunk}{chunk}0\r\n\r\n")).expect(413);
    });
}

#[test]
fn a_body_that_is_malformed_gives_the_place_back() {
    gives_back(|gateway, _| {
        let _ = gateway.client().send(get("/fine", &["Transfer-Encoding: chunked"]) + "zz\r\n").try_response("POST");
    });
}

#[test]
fn a_body_that_stalls_gives_the_place_back() {
    gives_back(|gateway, upstream| {
        let mut client = hanging(gateway, upstream, &get("/fine", &["Content-Length: 100"]));
        let _ = client.try_response("GET");
    });
}

//! Upstreams that are dead, slow, or lie at some stage; failover, the one replay, and targets that are left alone.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::harness::{Broken, Settings, Upstream, get, post, wait_for};

/// A port where connections are refused, for as long as the socket is held, and which can listen later.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A port where connections neither come about nor fail: its backlog is full.
fn silent() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let (socket, address) = refusing();
    socket.listen(0).unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    (socket, filling, address)
}

#[track_caller]
fn answers_502(answer: &str) {
    let upstream = Upstream::closing(answer);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    let problem = client.ask(get("/", &[]));
    assert_eq!(problem.status, 502, "{answer:?} gave {}", problem.text());
    assert_eq!(problem.code(), "upstream_failed");
    assert_eq!(upstream.connections(), 1, "a fresh connection that fails is not tried again");
}

#[test]
fn an_upstream_that_refuses_connections_has_failed() {
    let (_held, address) = refusing();
    let gateway = Settings::before_address(address).start();
    let mut client = gateway.client();
    let answer = client.ask(get("/", &[])).expect_problem(502, "upstream_failed");
    assert!(!answer.says_close(), "the client's connection is in order");
}

#[test]
fn an_upstream_that_resets_has_failed() {
    let upstream = Upstream::reset();
    Settings::before(&upstream).start().get("/").expect_problem(502, "upstream_failed");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn an_upstream_that_closes_before_the_end_of_its_head_has_failed() {
    ["", "H", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nX: 1\r\n"].into_iter().for_each(answers_502);
}

#[test]
fn an_upstream_that_does_not_speak_http_has_failed() {
    [
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
    ]
    .into_iter()
    .for_each(answers_502);
}

#[test]
fn a_malformed_field_of_an_answer_is_a_failure() {
    ["no colon", ": a", "X : a", "X: a\u{0}b", "X\u{1}: a", "X: a\rb"]
        .into_iter()
        .for_each(|line| answers_502(&format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n")));
}

#[test]
fn an_ambiguously_framed_answer_is_a_failure() {
    [
        "Content-Length: abc",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5, 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ]
    .into_iter()
    .for_each(|line| answers_502(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")));
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_a_failure() {
    answers_502("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
}

#[test]
fn an_answer_whose_head_has_no_end_is_a_failure_in_bounded_memory() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\n")?;
        (0..4096).try_for_each(|_| connection.write(format!("X: {}\r\n", "a".repeat(64 << 10)).as_bytes()))
    });
    let gateway = Settings::before(&upstream).start();
    gateway.get("/").expect_problem(502, "upstream_failed");
    assert!(gateway.peak_memory_bytes() < 96 << 20);
}

/// The client must notice that this answer is not whole, and nothing may follow it on either connection.
#[track_caller]
fn is_cut(answer: &str) {
    let upstream = Upstream::closing(answer);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    match client.send(get("/", &[])).try_response("GET") {
        Err(Broken::Cut | Broken::Closed) => {}
        Ok(whole) if whole.status == 502 => {}
        other => panic!("{answer:?} gave {other:?}"),
    }
}

#[test]
fn an_answer_that_ends_too_early_is_cut() {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n",
    ]
    .into_iter()
    .for_each(is_cut);
}

#[test]
fn an_answer_whose_chunks_are_malformed_is_cut() {
    [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
    ]
    .into_iter()
    .for_each(|body| is_cut(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n{body}")));
}

#[test]
fn an_answer_that_is_cut_by_a_reset_is_cut() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
        connection.reset_at_end();
        None
    });
    let gateway = Settings::before(&upstream).start();
    let answer = gateway.client().send(get("/", &[])).try_response("GET");
    assert!(!matches!(&answer, Ok(whole) if whole.status == 200), "{answer:?}");
}

#[test]
fn what_follows_a_whole_answer_is_never_taken_for_the_next_one() {
    const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ] {
        let upstream = Upstream::fixed(format!("{first}{SMUGGLED}"));
        let gateway = Settings::before(&upstream).start();
        let mut client = gateway.client();
        for _ in 0..3 {
            let answer = client.ask(get("/", &[]));
            assert!(answer.head.start == first.split("\r\n").next().unwrap(), "{first:?} gave {}", answer.head.start);
            assert!(!answer.text().contains("smuggled"));
        }
        assert_eq!(upstream.connections(), 3, "a connection with something left over is never used again");
    }
}

#[test]
fn a_body_after_an_answer_to_head_is_never_taken_for_the_next_one() {
    let upstream = Upstream::fixed("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHTTP/1.1");
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/", &[]).replace("GET", "HEAD")).expect(200);
    assert_eq!(client.ask(get("/", &[])).expect(200).text(), "HTTP/1.1");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_answer_that_nobody_asked_for_is_thrown_away_with_its_connection() {
    let (speak, order) = channel::<()>();
    let (said, done) = channel::<()>();
    let pair = Mutex::new((order, said));
    let upstream = Upstream::start(move |connection| {
        let request = connection.request()?;
        connection.answer(&request, b"good")?;
        if connection.number == 0 {
            let pair = pair.lock().unwrap_or_else(PoisonError::into_inner);
            pair.0.recv().ok()?;
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
            pair.1.send(()).ok()?;
        }
        connection.wait_closed()
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/", &[])).expect(200).text(), "good");
    speak.send(()).unwrap();
    done.recv().unwrap();
    assert_eq!(client.ask(get("/", &[])).expect(200).text(), "good");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_too_slow() {
    for begun in ["", "HTTP/1.1 200 OK\r\nX:"] {
        let upstream = Upstream::hanging(begun);
        let settings = Settings::before(&upstream);
        let gateway = settings.upstream("backend", &[upstream.address()], &["response_timeout: 300ms"]).start();
        let answer = gateway.get("/").expect_problem(504, "upstream_timeout");
        assert!(!answer.says_close());
        wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
    }
}

#[test]
fn an_upstream_that_stalls_in_its_body_is_cut() {
    let upstream = Upstream::hanging("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let settings = Settings::before(&upstream);
    let gateway = settings.upstream("backend", &[upstream.address()], &["idle_timeout: 300ms"]).start();
    let answer = gateway.client().send(get("/", &[])).try_response("GET");
    assert_eq!(answer.err(), Some(Broken::Cut));
    wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
}

#[test]
fn an_upstream_that_never_accepts_is_too_slow() {
    let (_socket, _filling, address) = silent();
    let settings = Settings::before_address(address);
    let gateway = settings.upstream("backend", &[address], &["connect_timeout: 300ms"]).start();
    gateway.get("/").expect_problem(504, "upstream_timeout");
}

#[test]
fn a_failed_connect_goes_to_the_next_target() {
    let upstream = Upstream::echo();
    let (_held, refused) = refusing();
    let (_socket, _filling, stuck) = silent();
    let lines = ["connect_timeout: 300ms"];
    let settings = Settings::before(&upstream).upstream("backend", &[refused, stuck, upstream.address()], &lines);
    let gateway = settings.start();
    for number in 0..20 {
        gateway.ask(post("/", &[], "body")).expect(200);
        assert_eq!(upstream.seen().len(), number + 1);
    }
}

#[test]
fn targets_share_the_load() {
    let (first, second) = (Upstream::echo(), Upstream::echo());
    let settings = Settings::before(&first).upstream("backend", &[first.address(), second.address()], &[]);
    let gateway = settings.start();
    let mut client = gateway.client();
    for _ in 0..60 {
        client.ask(get("/", &[])).expect(200);
    }
    let (a, b) = (first.seen().len(), second.seen().len());
    assert!(a + b == 60 && a > 0 && b > 0, "{a} and {b}");
}

#[test]
fn a_target_can_be_a_host_name() {
    let upstream = Upstream::echo();
    let url = format!("http://localhost:{}", upstream.address().port());
    let gateway = Settings::before(&upstream).upstream_at("backend", &[url], &["preserve_host: false"]).start();
    gateway.get("/").expect(200);
    assert_eq!(upstream.last().value("host"), Some(format!("localhost:{}", upstream.address().port()).as_str()));
}

#[test]
fn upstream_connections_are_kept_and_used_again() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for _ in 0..10 {
        gateway.get("/").expect(200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_connection_that_says_close_is_not_used_again() {
    let upstream = Upstream::fixed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert!(!client.ask(get("/", &[])).expect(200).says_close());
    }
    assert_eq!(upstream.connections(), 3);
}

/// Answers the first request of each connection in `alive`, closes when anything more comes.
fn dying(alive: impl Fn(usize) -> bool + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |connection| {
        let request = connection.request()?;
        if alive(connection.number) {
            connection.answer(&request, b"fine")?;
            connection.request()?;
        }
        None
    })
}

#[test]
fn a_request_without_a_body_on_a_stale_connection_is_sent_once_more() {
    let upstream = dying(|_| true);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for _ in 0..4 {
        client.ask(get("/", &[])).expect(200);
    }
    assert_eq!((upstream.connections(), upstream.seen().len()), (4, 7));
}

#[test]
fn a_connection_that_the_upstream_closed_while_idle_costs_no_request() {
    let upstream = Upstream::closing("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for number in 1..=5 {
        client.ask(get("/", &[])).expect(200);
        wait_for("the upstream to close", || upstream.open_connections() == 0);
        assert_eq!(upstream.seen().len(), number);
    }
}

#[test]
fn a_replay_happens_once_and_only_on_a_fresh_connection() {
    let upstream = dying(|number| number == 0);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/first", &[])).expect(200);
    client.ask(get("/second", &[])).expect_problem(502, "upstream_failed");
    let targets: Vec<String> = upstream.seen().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/first", "/second", "/second"]);
}

#[test]
fn a_request_whose_body_was_sent_is_never_replayed() {
    let upstream = dying(|_| true);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/first", &[])).expect(200);
    client.ask(post("/second", &[], "body")).expect_problem(502, "upstream_failed");
    assert_eq!(upstream.seen().iter().filter(|request| request.target() == "/second").count(), 1);
}

#[test]
fn a_request_whose_answer_had_begun_is_never_replayed() {
    let upstream = Upstream::start(|connection| {
        let request = connection.request()?;
        connection.answer(&request, b"fine")?;
        connection.request()?;
        connection.write(b"HTTP/1.1 2")
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/first", &[])).expect(200);
    client.ask(get("/second", &[])).expect_problem(502, "upstream_failed");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_request_that_got_an_interim_answer_is_never_replayed() {
    let upstream = Upstream::start(|connection| {
        let request = connection.request()?;
        connection.answer(&request, b"fine")?;
        connection.request()?;
        connection.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/first", &[])).expect(200);
    client.ask(get("/second", &[])).expect_problem(502, "upstream_failed");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn an_empty_chunked_body_on_a_stale_connection_never_leaves_half_a_request_behind() {
    let upstream = dying(|_| true);
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/first", &[])).expect(200);
    client.send(get("/second", &["Transfer-Encoding: chunked"]) + "0\r\n\r\n");
    let status = client.read_response().status;
    assert!(matches!(status, 200 | 502), "{status}");
    gateway.get("/third").expect(200);
    let broken: Vec<String> = upstream
        .seen()
        .iter()
        .filter(|seen| seen.value("transfer-encoding").is_some())
        .map(|seen| seen.target().to_owned())
        .collect();
    assert!(broken.iter().all(|target| target == "/second"), "{broken:?}");
}

#[test]
fn a_body_that_comes_late_to_an_answer_to_head_is_never_taken_for_the_next_one() {
    let (tell, told) = channel::<()>();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |connection| {
        loop {
            let request = connection.request()?;
            if request.method() == "HEAD" {
                connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")?;
                told.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
                connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Forged: yes\r\n\r\nforged")?;
            } else {
                connection.answer(&request, b"real")?;
            }
        }
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send(get("/", &[]).replacen("GET", "HEAD", 1));
    client.try_response("HEAD").expect("the answer to HEAD").expect(200);
    client.send(get("/next", &[]));
    tell.send(()).unwrap();
    assert_eq!(client.read_response().expect(200).text(), "real");
}

#[test]
fn a_client_that_leaves_is_seen_behind_what_it_sent_ahead() {
    let upstream = Upstream::events();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send(get("/", &[]));
    wait_for("the request at the upstream", || upstream.heads().len() == 1);
    client.send("x".repeat(200_000));
    client.leave();
    wait_for("the upstream to be left alone", || upstream.open_connections() == 0);
}

#[test]
fn a_line_feed_that_an_upstream_let_in_makes_no_field() {
    answers_502("HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_target_that_fails_again_and_again_is_left_alone() {
    let (good, bad) = (Upstream::echo(), Upstream::reset());
    let gateway = Settings::before(&good).upstream("backend", &[good.address(), bad.address()], &[]).start();
    let failures = (0..200).filter(|_| gateway.get("/").status != 200).count();
    assert!((1..60).contains(&failures), "{failures} of 200 requests failed");
    assert!(bad.connections() < 60, "{} attempts", bad.connections());
}

#[test]
fn a_client_that_makes_the_only_target_reset_takes_it_from_nobody() {
    let upstream = Upstream::start(|connection| {
        loop {
            let request = connection.request()?;
            if request.target() == "/crash" {
                connection.reset_at_end();
                return None;
            }
            connection.answer(&request, b"fine")?;
        }
    });
    let gateway = Settings::before(&upstream).start();
    for _ in 0..20 {
        gateway.get("/crash").expect(502);
        gateway.get("/").expect(200);
    }
}

#[test]
fn no_healthy_target_is_a_503_that_says_when_to_come_again() {
    let (_held, address) = refusing();
    let gateway = Settings::before_address(address).start();
    gateway.wait_for_status(&get("/", &[]), 503);
    let answer = gateway.get("/");
    if answer.status == 503 {
        assert_eq!(answer.code(), "upstream_unavailable");
        assert!(answer.value("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
}

#[test]
fn a_target_that_comes_back_is_used_again() {
    let (socket, address) = refusing();
    let gateway = Settings::before_address(address).start();
    gateway.wait_for_status(&get("/", &[]), 503);
    wait_for("a word about it", || gateway.logs().contains("refuses connections"));
    socket.listen(128).unwrap();
    let _upstream = Upstream::on(TcpListener::from(socket), |connection| {
        loop {
            let request = connection.request()?;
            connection.answer(&request, b"back")?;
        }
    });
    gateway.wait_for_status(&get("/", &[]), 200);
    wait_for("the good news", || gateway.logs().contains("takes connections again"));
}

#[test]
fn the_result_of_each_attempt_is_counted_per_target() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    gateway.get("/").expect(200);
    let target = upstream.address().to_string();
    wait_for("the count", || {
        gateway.metrics().sum("keygate_upstream_requests_total", &[("upstream", "backend"), ("target", &target)]) == 1.0
    });
}

//! Bodies: any size, both framings, both ways, streamed and never held back.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

use crate::harness::{Broken, Checker, Pattern, Settings, Upstream, get, keyless, post, wait_for};

fn pattern(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Pattern::new().pieces(length, |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    bytes
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in body.chunks(70_001) {
        bytes.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn bodies_of_every_size_pass_both_ways_with_a_length() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for length in [0, 1, 2, 1000, 65_535, 65_536, 200_000, 1 << 20] {
        let body = pattern(length);
        let head = get("/", &[&format!("Content-Length: {length}")]).replace("GET", "POST");
        let answer = client.ask([head.as_bytes(), &body].concat()).expect(200);
        assert!(answer.body == body, "{length} bytes came back as {}", answer.body.len());
        assert!(upstream.last().body == body);
        assert_eq!(upstream.last().value("content-length"), Some(length.to_string().as_str()));
    }
}

#[test]
fn bodies_of_every_size_pass_both_ways_in_chunks() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for length in [0, 1, 2, 1000, 65_535, 65_536, 1 << 20] {
        let body = pattern(length);
        let head = get("/", &["Transfer-Encoding: chunked"]).replace("GET", "POST");
        let answer = client.ask([head.as_bytes(), &chunked(&body)].concat()).expect(200);
        assert!(answer.body == body, "{length} bytes came back as {}", answer.body.len());
        assert!(upstream.last().body == body);
    }
}

#[test]
fn requests_and_answers_that_come_one_byte_at_a_time_are_whole() {
    let upstream = Upstream::in_pieces(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
    );
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send_byte_by_byte(post("/1", &["X: 1"], "hello"));
    assert_eq!(client.read_response().expect(200).text(), "abcde");
    assert_eq!(upstream.last().body, b"hello");
    let head = get("/2", &["Transfer-Encoding: chunked"]);
    client.send_byte_by_byte(format!("{head}3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n"));
    assert_eq!(client.read_response().expect(200).text(), "abcde");
    assert_eq!((upstream.last().target(), upstream.last().body.as_slice()), ("/2", b"abc".as_slice()));
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n",
    );
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    let head = get("/", &["Transfer-Encoding: chunked", "Trailer: Check"]);
    let answer = client
        .ask(format!("{head}2\r\nab\r\n0\r\nCheck: 1\r\nX-Keygate-Key: evil\r\nX_Keygate_Owner: evil\r\n\r\n"))
        .expect(200);
    assert_eq!(answer.trailers, [("Sum".to_owned(), "7".to_owned())]);
    assert_eq!(upstream.last().trailers, [("Check".to_owned(), "1".to_owned())]);
    client.ask(get("/", &[])).expect(200);
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let upstream = Upstream::fixed(head);
        let gateway = Settings::before(&upstream).start();
        let mut client = gateway.client();
        for _ in 0..2 {
            let answer = client.ask(get("/", &[]));
            assert_eq!(answer.head.start, head.split("\r\n").next().unwrap());
            assert_eq!((answer.text().as_str(), answer.says_close()), ("", false));
        }
        assert_eq!(upstream.connections(), 1, "{head}");
    }
}

#[test]
fn an_answer_to_head_tells_the_length_and_has_no_body() {
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let upstream = Upstream::fixed(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        let gateway = Settings::before(&upstream).start();
        let mut client = gateway.client();
        for _ in 0..2 {
            let answer = client.ask(get("/", &[]).replace("GET", "HEAD")).expect(200);
            if framing.starts_with("Content") {
                assert_eq!(answer.value("content-length"), Some("1000"));
            }
            assert!(!answer.says_close());
        }
        assert_eq!(upstream.last().method(), "HEAD");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let body = "x".repeat(100_000);
    let upstream = Upstream::closing(format!("HTTP/1.1 200 OK\r\n\r\n{body}"));
    let gateway = Settings::before(&upstream).start();
    assert_eq!(gateway.get("/").expect(200).body.len(), body.len());
    assert_eq!(gateway.get("/").expect(200).body.len(), body.len());
}

#[test]
fn an_http_1_0_upstream_is_understood() {
    let upstream = Upstream::closing("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/", &[])).expect(200).text(), "ok");
    assert_eq!(client.ask(get("/", &[])).expect(200).text(), "ok");
    assert_eq!(upstream.connections(), 2);
}

fn http_1_0(fields: &str) -> String {
    get("/", &[]).replace("HTTP/1.1", "HTTP/1.0").replace("\r\n\r\n", &format!("\r\n{fields}\r\n"))
}

#[test]
fn an_http_1_0_client_is_served_and_its_connection_closed() {
    let upstream = Upstream::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    assert_eq!(client.ask(http_1_0("")).expect(200).text(), "ok");
    assert!(client.is_closed());
}

#[test]
fn an_http_1_0_client_never_sees_chunks_or_interim_answers() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n",
    );
    let gateway = Settings::before(&upstream).start();
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut client = gateway.client();
        let answer = client.ask(http_1_0(fields)).expect(200);
        assert_eq!((answer.text().as_str(), answer.value("transfer-encoding")), ("ok", None));
        assert!(answer.interim.is_empty());
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_asks_to_close_is_closed() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    assert!(client.ask(get("/", &["Connection: close"])).expect(200).says_close());
    assert!(client.is_closed());
}

#[test]
fn a_continue_of_the_upstream_comes_before_the_body_is_sent() {
    let upstream = Upstream::start(|connection| {
        loop {
            let head = connection.head()?;
            if head.value("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
                connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut body = Vec::new();
            connection.body(&head, &mut |bytes| body.extend_from_slice(bytes))?;
            connection.answer_chunked(&body)?;
        }
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(get("/", &["Expect: 100-Continue", "Content-Length: 5"]));
        assert_eq!(client.read_head().status(), Ok(100));
        assert_eq!(client.send("hello").read_response().expect(200).text(), "hello");
    }
}

#[test]
fn a_denied_request_that_expects_a_continue_gets_its_final_answer_at_once() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let answer = gateway.ask(keyless("POST", "/", &["Expect: 100-continue", "Content-Length: 5"])).expect(401);
    assert!(answer.interim.is_empty());
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn a_client_that_does_not_wait_for_its_continue_is_served() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    assert_eq!(gateway.ask(post("/", &["Expect: 100-continue"], "hello")).expect(200).text(), "hello");
}

#[test]
fn a_final_answer_instead_of_a_continue_reaches_the_client() {
    let upstream = Upstream::start(|connection| {
        connection.head()?;
        connection.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")?;
        connection.wait_closed()
    });
    let gateway = Settings::before(&upstream).start();
    let answer = gateway.ask(get("/", &["Expect: 100-continue", "Content-Length: 5"])).expect(403);
    assert_eq!(answer.text(), "no");
}

#[test]
fn interim_answers_pass_to_the_client_in_order() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(get("/", &[])).expect(200);
        let statuses: Vec<u16> = answer.interim.iter().map(|head| head.status().unwrap()).collect();
        assert_eq!((statuses, answer.text().as_str()), (vec![102, 103], "ok"));
        assert_eq!(answer.interim[1].value("link"), Some("</a>"));
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::start(|connection| {
        connection.head()?;
        connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
    });
    let gateway = Settings::before(&upstream).start();
    let head = get("/", &["Content-Length: 1048576"]);
    let mut waiting = gateway.client();
    let answer = waiting.send(head.clone() + "begun").read_response().expect(413);
    assert_eq!(answer.text(), "large");
    let mut pushing = gateway.client();
    pushing.send([head.as_bytes(), &pattern(1 << 20)].concat());
    pushing.read_response().expect(413);
}

#[test]
fn a_large_body_does_not_cost_a_denied_client_its_answer() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let head = keyless("POST", "/", &["Content-Length: 1048576"]);
    let mut client = gateway.client();
    client.send([head.as_bytes(), &pattern(1 << 20)].concat()).read_response().expect(401);
}

#[test]
fn what_follows_a_large_body_at_once_is_the_next_request() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    let body = pattern(LARGE);
    let head = get("/", &[&format!("Content-Length: {LARGE}")]).replace("GET", "POST");
    let next = post("/", &[], "next");
    for _ in 0..3 {
        client.send([head.as_bytes(), &body, next.as_bytes()].concat());
        assert!(client.read_response().expect(200).body == body);
        assert_eq!(client.read_response().expect(200).text(), "next");
    }
    assert_eq!(upstream.connections(), 1, "a connection that a large body went over is used again");
}

#[test]
fn what_a_client_did_not_take_of_a_large_answer_reaches_nobody_else() {
    let (stalled, stall) = channel();
    let stalled = Mutex::new(stalled);
    let upstream = Upstream::start(move |connection| {
        if connection.request()?.target() == "/endless" {
            connection.write_timeout(std::time::Duration::from_millis(500));
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
            while connection.write(&[b'x'; 1 << 16]).is_some() {}
            return stalled.lock().unwrap_or_else(PoisonError::into_inner).send(()).ok();
        }
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())?;
        connection.write(&pattern(LARGE))
    });
    let gateway = Settings::before(&upstream).start();
    for _ in 0..3 {
        let mut leaving = gateway.client();
        leaving.send(get("/endless", &[])).read_head();
        // Every buffer on the way is full, the gateway's too.
        stall.recv_timeout(crate::harness::DEADLINE).expect("the upstream stalls");
        leaving.reset();
        assert!(gateway.get("/").expect(200).body == pattern(LARGE));
    }
}

#[test]
fn a_large_answer_that_breaks_off_or_stalls_is_cut() {
    let begun = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", 2 * LARGE, "a".repeat(1 << 20));
    for upstream in [Upstream::closing(begun.as_str()), Upstream::hanging(begun.as_str())] {
        let settings = Settings::before(&upstream);
        let gateway = settings.upstream("backend", &[upstream.address()], &["idle_timeout: 300ms"]).start();
        let answer = gateway.client().send(get("/", &[])).try_response("GET");
        assert_eq!(answer.err(), Some(Broken::Cut));
        wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
    }
}

#[test]
fn large_bodies_pass_when_nothing_more_can_be_opened() {
    let upstream = Upstream::mirror();
    let mut gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(get("/", &[])).expect(200);
    gateway.process().limit_files(0);
    let body = pattern(LARGE);
    let head = get("/", &[&format!("Content-Length: {LARGE}")]).replace("GET", "POST");
    assert!(client.ask([head.as_bytes(), &body].concat()).expect(200).body == body);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    let mut all = String::new();
    for number in 0..20 {
        let chunk = format!("{:x}\r\nchunk {number}\r\n0\r\n\r\n", format!("chunk {number}").len());
        all += &post("/", &[], &format!("length {number}"));
        all += &(get("/", &["Transfer-Encoding: chunked"]) + &chunk);
        all += &keyless("GET", "/denied", &[]);
    }
    client.send(all);
    for number in 0..20 {
        assert_eq!(client.read_response().expect(200).text(), format!("length {number}"));
        assert_eq!(client.read_response().expect(200).text(), format!("chunk {number}"));
        client.read_response().expect(401);
    }
}

#[test]
fn server_sent_events_are_not_held_back() {
    for framing in ["", "Transfer-Encoding: chunked\r\n"] {
        let (tell, told) = channel::<String>();
        let told = Mutex::new(told);
        let is_chunked = !framing.is_empty();
        let upstream = Upstream::start(move |connection| {
            connection.request()?;
            connection
                .write(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n").as_bytes())?;
            while let Ok(event) = told.lock().unwrap_or_else(PoisonError::into_inner).recv() {
                let event = if is_chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event };
                connection.write(event.as_bytes())?;
            }
            None
        });
        let gateway = Settings::before(&upstream).start();
        let mut client = gateway.client();
        let head = client.send(get("/", &[])).read_head();
        for number in 0..10 {
            let event = format!("data: {number}\n\n");
            tell.send(event.clone()).unwrap();
            assert_eq!(client.read_streamed(&head, event.len()), event.as_bytes());
        }
        drop(tell);
        wait_for("the end of the stream", || upstream.open_connections() == 0);
    }
}

#[test]
fn a_request_body_is_not_held_back_either() {
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let upstream = Upstream::start(move |connection| {
        let head = connection.head()?;
        let tell = arrived.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connection.body(&head, &mut |bytes| drop(tell.send(bytes.to_vec())))?;
        connection.answer_chunked(b"all")
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send(get("/", &["Transfer-Encoding: chunked"]));
    for number in 0..10 {
        client.send(format!("1\r\n{number}\r\n"));
        assert_eq!(arrivals.recv_timeout(crate::harness::DEADLINE).unwrap(), number.to_string().as_bytes());
    }
    client.send("0\r\n\r\n").read_response().expect(200);
}

#[test]
fn a_get_with_a_body_and_unusual_methods_pass() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    for method in ["GET", "DELETE", "PATCH", "PROPFIND", "M-SEARCH", "x!#$%&'*+-.^_`|~1"] {
        let answer = gateway.ask(post("/", &[], "body").replacen("POST", method, 1)).expect(200);
        assert_eq!((answer.text().as_str(), upstream.last().method()), ("body", method));
    }
}

#[test]
fn a_truncated_request_never_looks_whole_to_the_upstream() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    for begun in [
        get("/", &["Content-Length: 10"]) + "hello",
        get("/", &["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n",
        get("/", &["Transfer-Encoding: chunked"]) + "5\r\nhel",
        get("/", &["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n0\r\n",
    ] {
        let mut client = gateway.client();
        client.send(begun).finish_writing();
        assert!(!matches!(client.try_response("POST"), Ok(answer) if answer.status < 400));
    }
    wait_for("the upstream connections to end", || upstream.open_connections() == 0);
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let (written, total) = channel();
    let written = Mutex::new(written);
    let upstream = Upstream::start(move |connection| {
        connection.request()?;
        connection.write_timeout(std::time::Duration::from_secs(1));
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
        let mut sent = 0_u64;
        Pattern::new().pieces(1 << 30, |piece| {
            sent += piece.len() as u64;
            connection.write(piece).is_some()
        });
        written.lock().unwrap_or_else(PoisonError::into_inner).send(sent).ok()
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send(get("/", &[]));
    let sent = total.recv_timeout(crate::harness::DEADLINE).expect("the upstream stalls");
    assert!(sent < 64 << 20, "{sent} bytes were taken from the upstream though nobody reads them");
    assert!(gateway.peak_memory_bytes() < BOUND);
}

#[test]
fn a_gigabyte_passes_upstream_with_a_length_in_bounded_memory() {
    upload("Content-Length: 1073741824", |client, piece| client.try_send(piece), "");
}

#[test]
fn a_gigabyte_passes_upstream_in_chunks_in_bounded_memory() {
    let send = |client: &mut crate::harness::Client, piece: &[u8]| {
        client.try_send(format!("{:x}\r\n", piece.len()).as_bytes())
            && client.try_send(piece)
            && client.try_send(b"\r\n")
    };
    upload("Transfer-Encoding: chunked", send, "0\r\n\r\n");
}

fn upload(framing: &str, send: impl Fn(&mut crate::harness::Client, &[u8]) -> bool, end: &str) {
    let upstream = Upstream::start(|connection| {
        let head = connection.head()?;
        let mut checker = Checker::new();
        connection.body(&head, &mut |bytes| checker.feed(bytes))?;
        connection.answer_chunked(format!("{} {}", checker.length, checker.intact).as_bytes())
    });
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.send(get("/", &[framing]));
    Pattern::new().pieces(GIGABYTE, |piece| send(&mut client, piece));
    assert_eq!(client.send(end).read_response().expect(200).text(), "1073741824 true");
    assert!(gateway.peak_memory_bytes() < BOUND, "{} bytes", gateway.peak_memory_bytes());
}

#[test]
fn a_gigabyte_passes_downstream_with_a_length_in_bounded_memory() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
        Pattern::new().pieces(GIGABYTE, |piece| connection.write(piece).is_some());
        connection.wait_closed()
    });
    download(&upstream);
}

#[test]
fn a_gigabyte_passes_downstream_in_chunks_in_bounded_memory() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        Pattern::new().pieces(GIGABYTE, |piece| {
            let size = format!("{:x}\r\n", piece.len());
            connection
                .write(size.as_bytes())
                .and_then(|()| connection.write(piece))
                .and_then(|()| connection.write(b"\r\n"))
                .is_some()
        });
        connection.write(b"0\r\n\r\n")?;
        connection.wait_closed()
    });
    download(&upstream);
}

fn download(upstream: &Upstream) {
    let gateway = Settings::before(upstream).start();
    let mut client = gateway.client();
    let head = client.send(get("/", &[])).read_head();
    let mut checker = Checker::new();
    assert_eq!(client.read_body(&head, &mut |bytes| checker.feed(bytes)), Ok::<(), Broken>(()));
    assert_eq!((checker.length, checker.intact), (GIGABYTE, true));
    assert!(gateway.peak_memory_bytes() < BOUND, "{} bytes", gateway.peak_memory_bytes());
}

const GIGABYTE: u64 = 1 << 30;
/// More than is copied through the gateway's memory, and more than sockets and pipes hold.
const LARGE: u64 = (8 << 20) + 1;

/// Far below any body here and far above what an unoptimised gateway needs.
const BOUND: u64 = 96 << 20;

//! Request heads: every row of the table "Accepting a request head" of the wire specification.
//!
//! All routes here are public, so that nothing but the head decides.

use crate::harness::{Client, Settings, Upstream, get, keyless, wait_for};

/// Sends each request on a connection of its own: each gets `status`, a problem and a closed connection, and nothing is forwarded.
fn refused_and_closed(status: u16, requests: &[String]) {
    refused(status, requests, |client, request| {
        assert!(client.is_closed(), "the connection stays open after {request:?}");
    });
}

fn refused(status: u16, requests: &[String], mut then: impl FnMut(&mut Client, &str)) {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    for request in requests {
        let mut client = gateway.client();
        let answer = client.send(request).try_response("GET");
        let answer = answer.unwrap_or_else(|broken| panic!("{request:?} got {broken:?}"));
        assert_eq!(answer.status, status, "{request:?} got {}", answer.text());
        assert_eq!(answer.problem()["status"], status, "{request:?}");
        then(&mut client, request);
    }
    let forwarded: Vec<_> = upstream.heads().into_iter().map(|head| head.start).collect();
    assert!(forwarded.is_empty(), "forwarded: {forwarded:?}");
}

fn owned(requests: &[&str]) -> Vec<String> {
    requests.iter().map(|&request| request.to_owned()).collect()
}

fn with_field(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| keyless("GET", "/", &[line])).collect()
}

#[test]
fn a_malformed_request_line_is_refused() {
    let lines = [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/",
        "GET / XTTP/1.1",
        "GET /",
        "GET",
        "G@T / HTTP/1.1",
        "G\u{0}T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
    ];
    refused_and_closed(400, &lines.map(|line| format!("{line}\r\nHost: api.test\r\n\r\n")));
}

#[test]
fn a_bare_line_feed_or_carriage_return_is_refused() {
    refused_and_closed(
        400,
        &owned(&[
            "GET / HTTP/1.1\nHost: api.test\n\n",
            "GET / HTTP/1.1\nHost: api.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: api.test\nX: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: api.test\r\nX: 1\n\r\n",
            "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\rHost: api.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\r\r\n\r\n",
        ]),
    );
}

#[test]
fn control_bytes_in_a_field_are_refused() {
    refused_and_closed(
        400,
        &with_field(&["X: a\u{0}b", "X: a\u{1}b", "X: a\u{7f}b", "X: \u{b}a", "X\u{0}: a", "X\u{1}: a"]),
    );
}

#[test]
fn a_malformed_field_line_is_refused() {
    refused_and_closed(
        400,
        &with_field(&[
            "X: a\r\n b",
            "X: a\r\n\tb",
            "X : a",
            "X\t: a",
            ": a",
            "X(y): a",
            "X@y: a",
            "X y: a",
            "no colon",
            " X: a",
        ]),
    );
}

#[test]
fn what_is_not_http_is_refused() {
    refused_and_closed(400, &owned(&["\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n\r\n"]));
}

#[test]
fn one_empty_line_before_the_request_line_is_tolerated() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    gateway.ask(format!("\r\n{}", get("/", &[]))).expect(200);
    let mut client = gateway.client();
    client.ask(get("/1", &[])).expect(200);
    client.ask(format!("\r\n{}", get("/2", &[]))).expect(200);
}

#[test]
fn a_second_empty_line_before_the_request_line_is_refused() {
    refused_and_closed(400, &[format!("\r\n\r\n{}", get("/", &[]))]);
}

#[test]
fn other_versions_are_not_supported() {
    let lines = ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/3.0", "PRI * HTTP/2.0"];
    refused_and_closed(505, &lines.map(|line| format!("{line}\r\nHost: api.test\r\n\r\n")));
}

#[test]
fn connect_and_trace_are_not_allowed() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    for request in
        ["CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n"]
    {
        let answer = gateway.ask(request).expect(405);
        let allow = answer.value("allow").expect("405 names what is allowed");
        assert!(allow.contains("GET") && !allow.contains("TRACE") && !allow.contains("CONNECT"), "{allow}");
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn a_target_in_no_known_form_is_refused() {
    let targets = [
        "foo",
        "*",
        "?a=1",
        "ftp://api.test/",
        "http:///a",
        "http://",
        "//",
        "/a#b",
        "http://api.test/#b",
        "http://u@api.test/",
    ];
    refused(400, &targets.map(|target| keyless("GET", target, &[])), |_, _| {});
}

#[test]
fn the_asterisk_target_is_only_for_options() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    assert_ne!(gateway.ask(keyless("OPTIONS", "*", &[])).status, 400);
    gateway.ask(keyless("POST", "*", &[])).expect(400);
}

#[test]
fn the_authority_of_an_absolute_target_replaces_the_host() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .upstream("backend", &[upstream.address()], &["preserve_host: true"])
        .without_route("all")
        .route("a", &["path: /", "host: a.test", "access: public"])
        .start();
    gateway.ask("GET http://a.test:8080/x?y=1 HTTP/1.1\r\nHost: b.test\r\n\r\n").expect(200);
    let seen = upstream.last();
    assert_eq!((seen.target(), seen.value("host")), ("/x?y=1", Some("a.test:8080")));
    assert_eq!(seen.value("x-forwarded-host"), Some("a.test:8080"));
    gateway.ask("GET HTTP://a.test?y=1 HTTP/1.1\r\nHost: b.test\r\n\r\n").expect(200);
    assert_eq!(upstream.last().target(), "/?y=1");
    gateway.ask("GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n").expect_problem(404, "route_unknown");
}

#[test]
fn a_request_without_exactly_one_valid_host_is_refused() {
    let hosts = [
        "",
        "Host: api.test\r\nHost: api.test\r\n",
        "Host: api.test\r\nHost: other.test\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@api.test\r\n",
        "Host: a,b\r\n",
        "Host: api.test:http\r\n",
        "Host: [::1\r\n",
        "Host: a?b\r\n",
        "Host: a\\b\r\n",
    ];
    refused(400, &hosts.map(|host| format!("GET / HTTP/1.1\r\n{host}\r\n")), |_, _| {});
}

#[test]
fn a_valid_host_of_any_kind_is_accepted() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    for host in ["api.test", "API.test:80", "127.0.0.1:8080", "[::1]:8080", "[2001:db8::1]", "a-b.c_d"] {
        gateway.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
    }
}

#[test]
fn http_1_0_needs_no_host() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    gateway.ask("GET / HTTP/1.0\r\n\r\n").expect(200);
}

#[test]
fn a_content_length_that_is_not_one_plain_number_is_refused() {
    let values = ["+5", "-1", "0x5", "5 5", "5, 5", "5,5", "", "5.0", "5;", "99999999999999999999", "five"];
    let mut lines: Vec<String> = values.iter().map(|value| format!("Content-Length: {value}")).collect();
    lines.push("Content-Length: 5\r\nContent-Length: 5".to_owned());
    lines.push("Content-Length: 5\r\ncontent-length: 6".to_owned());
    let requests: Vec<String> = lines.iter().map(|line| keyless("POST", "/", &[line])).collect();
    refused_and_closed(400, &requests);
}

#[test]
fn an_ambiguous_transfer_encoding_is_refused() {
    let lines = [
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:",
    ];
    let mut requests = lines.map(|line| keyless("POST", "/", &[line]) + "0\r\n\r\n").to_vec();
    requests.push("POST / HTTP/1.0\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    refused_and_closed(400, &requests);
}

#[test]
fn an_unknown_transfer_coding_is_not_implemented() {
    let lines = ["Transfer-Encoding: gzip", "Transfer-Encoding: xchunked", "Transfer-Encoding: identity"];
    refused_and_closed(501, &lines.map(|line| keyless("POST", "/", &[line]) + "0\r\n\r\n"));
}

#[test]
fn codings_beside_chunked_are_refused_one_way_or_the_other() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    for coding in ["gzip, chunked", "chunked, gzip", "chunked;q=1", "chunked,", "\"chunked\""] {
        let mut client = gateway.client();
        let answer = client.ask(keyless("POST", "/", &[&format!("Transfer-Encoding: {coding}")]) + "0\r\n\r\n");
        assert!(matches!(answer.status, 400 | 501), "{coding}: {}", answer.status);
        assert!(client.is_closed(), "{coding}");
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn chunked_is_understood_in_any_case() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().start();
    let answer = gateway.ask(keyless("POST", "/", &["transfer-encoding: CHUNKED"]) + "2\r\nab\r\n0\r\n\r\n");
    assert_eq!(answer.expect(200).text(), "ab");
}

#[test]
fn a_malformed_chunk_is_never_forwarded_as_a_whole_request() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().start();
    let long_extension = format!("2;x={}\r\nab\r\n0\r\n\r\n", "y".repeat(300));
    let bodies = [
        "\r\nab\r\n0\r\n\r\n",
        "g\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        " 2\r\nab\r\n0\r\n\r\n",
        "2 \r\nab\r\n0\r\n\r\n",
        "00000000000000002\r\nab\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
        "2\rab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nab0\r\n\r\n",
        "2;x\ny\r\nab\r\n0\r\n\r\n",
        "2;x=\u{0}\r\nab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nX : y\r\n\r\n",
        "2\r\nab\r\n0\r\nX: y\n\r\n",
        "2\r\nab\r\n0\r\n folded\r\n\r\n",
        "2\r\nab\r\n0\n\n",
        long_extension.as_str(),
    ];
    for body in bodies {
        let mut client = gateway.client();
        client.send(keyless("POST", "/", &["Transfer-Encoding: chunked"]) + body);
        match client.try_response("POST") {
            Ok(answer) => assert!(matches!(answer.status, 400..=499), "{body:?} got {}", answer.status),
            Err(_cut) => continue,
        }
        assert!(client.is_closed(), "{body:?}");
    }
    let whole: Vec<_> = upstream.seen().into_iter().map(|request| request.body).collect();
    assert!(whole.is_empty(), "arrived as whole requests: {whole:?}");
}

#[test]
fn chunk_sizes_and_extensions_within_bounds_are_accepted() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().start();
    for body in [
        "2;x=y\r\nab\r\n0\r\n\r\n",
        "0000000000000002\r\nab\r\n0;last\r\n\r\n",
        "1\r\na\r\n1\r\nb\r\n0\r\nT: 1\r\n\r\n",
    ] {
        let answer = gateway.ask(keyless("POST", "/", &["Transfer-Encoding: chunked"]) + body);
        assert_eq!(answer.expect(200).text(), "ab", "{body:?}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let large = |bytes: usize| keyless("GET", "/", &[&format!("X: {}", "a".repeat(bytes))]);
    refused_and_closed(431, &[large(33 * 1024), large(200 * 1024)]);
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    gateway.ask(large(30 * 1024)).expect(200);
}

#[test]
fn the_bound_on_heads_is_configurable() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().top("max_head_bytes: 1KiB").start();
    gateway.ask(keyless("GET", "/", &[&format!("X: {}", "a".repeat(900))])).expect(200);
    gateway.ask(keyless("GET", "/", &[&format!("X: {}", "a".repeat(1000))])).expect(431);
}

#[test]
fn too_many_fields_are_refused() {
    let fields = |count: usize| keyless("GET", "/", &vec!["X: 1"; count - 1]);
    refused_and_closed(431, &[fields(101), fields(1000)]);
    let upstream = Upstream::echo();
    Settings::before(&upstream).public().start().ask(fields(100)).expect(200);
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let target = |bytes: usize| keyless("GET", &format!("/{}", "a".repeat(bytes - 1)), &[]);
    refused_and_closed(414, &[target(8 * 1024 + 1), target(20 * 1024)]);
    let upstream = Upstream::echo();
    Settings::before(&upstream).public().start().ask(target(8 * 1024)).expect(200);
}

#[test]
fn a_head_that_does_not_come_to_its_end_times_out() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().top("head_timeout: 300ms").start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: api");
    client.read_response().expect(408);
    assert!(client.is_closed());
}

#[test]
fn a_head_that_trickles_times_out_all_the_same() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().top("head_timeout: 300ms").start();
    let mut client = gateway.client();
    wait_for("the gateway to end a trickling head", || !client.try_send(b"a"));
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().top("idle_timeout: 300ms").start();
    let mut used = gateway.client();
    let mut unused = gateway.client();
    used.ask(get("/", &[])).expect(200);
    assert!(used.is_closed());
    assert!(unused.is_closed());
}

#[test]
fn a_declared_body_that_is_too_large_is_refused_unread() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().top("max_body_bytes: 1KiB").start();
    gateway.ask(keyless("POST", "/", &["Content-Length: 1025"])).expect(413);
    assert_eq!(upstream.heads().len(), 0);
    let within = keyless("POST", "/", &["Content-Length: 1024"]) + &"a".repeat(1024);
    assert_eq!(gateway.ask(within).expect(200).body.len(), 1024);
}

#[test]
fn a_chunked_body_that_grows_too_large_is_refused() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).public().top("max_body_bytes: 1KiB").start();
    let chunk = format!("200\r\n{}\r\n", "a".repeat(512));
    let head = keyless("POST", "/", &["Transfer-Encoding: chunked"]);
    gateway.ask(format!("{head}{chunk}{chunk}{chunk}0\r\n\r\n")).expect(413);
    assert_eq!(upstream.seen().len(), 0, "a part of a body is not a request");
    gateway.ask(format!("{head}{chunk}{chunk}0\r\n\r\n")).expect(200);
}

#[test]
fn a_route_has_its_own_bound_on_bodies() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream)
        .public()
        .top("max_body_bytes: 10B")
        .route("files", &["path: /files", "access: public", "max_body_bytes: 1KiB"])
        .start();
    let body =
        |path, length: usize| keyless("POST", path, &[&format!("Content-Length: {length}")]) + &"a".repeat(length);
    gateway.ask(body("/files", 1000)).expect(200);
    gateway.ask(body("/files", 1025)).expect(413);
    gateway.ask(body("/other", 11)).expect(413);
}

#[test]
fn an_unknown_expectation_fails() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    gateway.ask(keyless("GET", "/", &["Expect: tea"])).expect(417);
    gateway.ask(keyless("POST", "/", &["Expect: 100-continue, tea", "Content-Length: 0"])).expect(417);
    assert_eq!(upstream.heads().len(), 0);
}

//! The harness tried on itself, without a gateway: a harness that cannot fail proves nothing.

use super::message::Head;
use super::{ALICE, BOB, Broken, Client, Settings, Upstream, digest_of, get, keyless, mistyped, wait_for};

#[test]
fn a_client_and_an_echo_upstream_understand_each_other() {
    let upstream = Upstream::echo();
    let mut client = Client::connect(upstream.address());
    let request = get("/a", &["X: 1"]);
    assert_eq!(client.ask(&request).expect(200).text(), request);
    assert_eq!(client.ask(keyless("HEAD", "/b", &[])).body, b"");
    client.send_byte_by_byte(get("/c", &[])).read_response().expect(200);
    let targets: Vec<String> = upstream.seen().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/a", "/b", "/c"]);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bodies_come_back_from_a_mirror_in_their_framing() {
    let upstream = Upstream::mirror();
    let mut client = Client::connect(upstream.address());
    let request = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    let response = client.ask(request);
    assert_eq!((response.text().as_str(), response.value("transfer-encoding")), ("abc", Some("chunked")));
    assert_eq!(upstream.last().trailers, [("T".to_owned(), "1".to_owned())]);
    let response = client.ask("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nde");
    assert_eq!((response.text().as_str(), response.value("content-length")), ("de", Some("2")));
}

#[test]
fn broken_answers_are_told_apart() {
    let check = |response: &str, expected: fn(&Broken) -> bool| {
        let upstream = Upstream::closing(response);
        let broken = Client::connect(upstream.address()).send(get("/", &[])).try_response("GET").unwrap_err();
        assert!(expected(&broken), "{response:?} gave {broken:?}");
    };
    let malformed = |broken: &Broken| matches!(broken, Broken::Malformed(_));
    check("", |broken| *broken == Broken::Closed);
    check("HTTP/1.1 200", |broken| *broken == Broken::Cut);
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", |broken| *broken == Broken::Cut);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", |broken| *broken == Broken::Cut);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", malformed);
    check("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", malformed);
    check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", malformed);
    check("HTTP/1.1 200 OK\r\n folded\r\n\r\n", malformed);
}

#[test]
fn a_malformed_request_fails_the_test_of_its_upstream() {
    let outcome = std::panic::catch_unwind(|| {
        let upstream = Upstream::echo();
        let mut client = Client::connect(upstream.address());
        client.send("GET /a b HTTP/1.1\r\n\r\n");
        assert!(client.is_closed());
    });
    assert!(outcome.is_err());
}

#[test]
fn an_upstream_knows_when_its_peer_leaves() {
    let upstream = Upstream::hanging("");
    let mut orderly = Client::connect(upstream.address());
    let mut rude = Client::connect(upstream.address());
    orderly.send(get("/", &[]));
    rude.send(get("/", &[]));
    wait_for("both requests", || upstream.heads().len() == 2);
    orderly.leave();
    wait_for("the first end", || upstream.open_connections() == 1);
    rude.reset();
    wait_for("the second end", || upstream.open_connections() == 0);
}

#[test]
fn a_reset_upstream_resets() {
    let upstream = Upstream::reset();
    let mut client = Client::connect(upstream.address());
    client.send(get("/", &[]));
    assert!(client.is_closed());
    wait_for("the end", || upstream.open_connections() == 0);
}

#[test]
fn a_head_counts_spoofed_names_in_every_spelling() {
    let head =
        Head::parse(b"GET / HTTP/1.1\r\nX_Keygate-KEY: a\r\nx-keygate-key: b\r\nX-Keygate-Key2: c\r\n\r\n").unwrap();
    assert_eq!(head.count_in_any_spelling("X-Keygate-Key"), 2);
}

#[test]
fn settings_replace_entries_of_the_same_name() {
    let upstream = Upstream::echo();
    let settings =
        Settings::before(&upstream).public().key(BOB, &["plan: free"]).without_key(ALICE.id).revoke("key_old");
    let yaml = settings.yaml();
    assert_eq!(yaml.matches("  all:\n").count(), 1);
    assert!(yaml.contains("    access: public\n") && yaml.ends_with("revoked: [key_old]\n"), "{yaml}");
    assert!(yaml.contains("  key_bob:\n") && !yaml.contains("key_alice"), "{yaml}");
}

#[test]
fn the_keys_are_the_vectors_of_the_key_format() {
    for key in [ALICE, BOB, super::CAROL, super::DAVE, super::ACME] {
        assert_eq!(digest_of(key.secret), key.digest, "{key:?}");
        assert_eq!(mistyped(key.secret).len(), key.secret.len());
        assert_ne!(mistyped(key.secret), key.secret);
    }
}

//! Paths and routing: one normalised form is routed, authorised and forwarded.

use crate::harness::{Settings, Upstream, keyless};

fn refused(settings: &Settings, upstream: &Upstream, targets: &[&str]) {
    let gateway = settings.start();
    let before = upstream.heads().len();
    for target in targets {
        let answer = gateway.ask(keyless("GET", target, &[]));
        assert_eq!(answer.status, 400, "{target:?} got {}", answer.text());
    }
    assert_eq!(upstream.heads().len(), before);
}

fn forwarded(settings: &Settings, upstream: &Upstream, targets: &[(&str, &str)]) {
    let gateway = settings.start();
    for (sent, expected) in targets {
        gateway.ask(keyless("GET", sent, &[])).expect(200);
        assert_eq!(upstream.last().target(), *expected, "{sent:?}");
    }
}

#[test]
fn invalid_escapes_are_refused() {
    let upstream = Upstream::echo();
    let targets = ["/%", "/%1", "/%zz", "/a%2", "/%g1/b", "/%00", "/a%00b", "/%01", "/%1f", "/%7f", "/%0d%0a"];
    refused(&Settings::before(&upstream).public(), &upstream, &targets);
}

#[test]
fn backslashes_are_refused_in_every_spelling() {
    let upstream = Upstream::echo();
    refused(&Settings::before(&upstream).public(), &upstream, &["/a\\b", "/%5c", "/a%5Cb", "/..\\b", "/..%5cb"]);
}

#[test]
fn hidden_dot_segments_are_refused() {
    let upstream = Upstream::echo();
    let targets = [
        "/%2e",
        "/a/%2e/b",
        "/%2e%2e/b",
        "/a/.%2e/b",
        "/a/%2E./b",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/..%3bx/b",
        "/a/.%3b/b",
    ];
    refused(&Settings::before(&upstream).public(), &upstream, &targets);
}

#[test]
fn dot_segments_that_leave_the_root_are_refused() {
    let upstream = Upstream::echo();
    refused(&Settings::before(&upstream).public(), &upstream, &["/..", "/../a", "/a/../..", "/a/../../b", "/./../b"]);
}

#[test]
fn encoded_slashes_and_empty_segments_are_refused_by_default() {
    let upstream = Upstream::echo();
    refused(&Settings::before(&upstream).public(), &upstream, &["/a%2fb", "/a%2Fb", "//", "/a//b", "/a//", "//a"]);
}

#[test]
fn bytes_that_do_not_belong_into_a_path_are_refused() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    for byte in [0x80_u8, 0xc3, 0xff, b'"', b'<', b'>'] {
        let mut request = b"GET /a".to_vec();
        request.push(byte);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: api.test\r\n\r\n");
        assert_eq!(gateway.ask(request).status, 400, "byte {byte:#x}");
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn a_path_is_forwarded_in_its_normal_form() {
    let upstream = Upstream::echo();
    let targets = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/.a/..b/...", "/.a/..b/..."),
        ("/%41%7e", "/A~"),
        ("/a%20b", "/a%20b"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%253Fb%3f", "/a%253Fb%3F"),
        ("/a%252e%252e/b", "/a%252e%252e/b"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a^{b}|c", "/a^{b}|c"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
    ];
    forwarded(&Settings::before(&upstream).public(), &upstream, &targets);
}

#[test]
fn a_query_is_forwarded_byte_for_byte() {
    let upstream = Upstream::echo();
    let targets = [
        ("/?a=1", "/?a=1"),
        ("/?", "/?"),
        ("/?a=%2e%2e/../b//c&&x==?&%41=%zz", "/?a=%2e%2e/../b//c&&x==?&%41=%zz"),
        ("/a/./b?../c", "/a/b?../c"),
        ("/?[x]={y}|z", "/?[x]={y}|z"),
    ];
    forwarded(&Settings::before(&upstream).public(), &upstream, &targets);
}

#[test]
fn encoded_slashes_can_be_kept() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).public().top("paths: {encoded_slashes: keep}");
    forwarded(&settings, &upstream, &[("/a%2fb", "/a%2Fb"), ("/%2f%2F", "/%2F%2F")]);
    refused(&settings, &upstream, &["/a%2f..%2fb", "/..%2fb", "/a%2f.", "/%2e%2e%2fb"]);
}

#[test]
fn empty_segments_can_be_merged_or_kept() {
    let upstream = Upstream::echo();
    let merged = Settings::before(&upstream).public().top("paths: {empty_segments: merge}");
    forwarded(&merged, &upstream, &[("//a///b//", "/a/b/"), ("/a//../b", "/b")]);
    let kept = Settings::before(&upstream).public().top("paths: {empty_segments: keep}");
    forwarded(&kept, &upstream, &[("/a//b", "/a//b")]);
}

#[test]
fn what_is_forwarded_is_what_was_authorised() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .top("paths: {empty_segments: merge}")
        .without_route("all")
        .route("open", &["path: /", "access: public"])
        .route("admin", &["path: /admin", "access: key"])
        .start();
    for target in
        ["/admin", "/admin/", "/admin/x", "/%61dmin", "/a/../admin", "/./admin", "//admin", "/a/..//%61dmin/x"]
    {
        gateway.ask(keyless("GET", target, &[])).expect(401);
    }
    assert_eq!(upstream.heads().len(), 0);
    gateway.ask(keyless("GET", "/administrator", &[])).expect(200);
}

#[test]
fn a_prefix_ends_at_a_segment_border_and_the_longest_wins() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .without_route("all")
        .route("orders", &["path: /v1/orders", "access: public"])
        .route("public", &["path: /v1/orders/public", "access: public", "strip_prefix: true"])
        .route("secret", &["path: /v1/orders/secret", "access: key"])
        .start();
    for (target, status) in [
        ("/v1/orders", 200),
        ("/v1/orders/", 200),
        ("/v1/orders/7", 200),
        ("/v1/orders/secrets", 200),
        ("/v1/orders/secret", 401),
        ("/v1/orders/secret/7", 401),
        ("/v1/ordersX", 404),
        ("/v1", 404),
        ("/", 404),
    ] {
        assert_eq!(gateway.ask(keyless("GET", target, &[])).status, status, "{target}");
    }
}

#[test]
fn no_route_is_a_404_of_its_own() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).route("all", &["path: /v1"]).start();
    let mut client = gateway.client();
    client.ask(keyless("GET", "/v2", &[])).expect_problem(404, "route_unknown");
    client.ask(keyless("GET", "/v2", &[])).expect_problem(404, "route_unknown");
}

#[test]
fn a_prefix_can_be_stripped() {
    let upstream = Upstream::echo();
    let stripping =
        Settings::before(&upstream).route("all", &["path: /v1/orders", "access: public", "strip_prefix: true"]);
    let targets = [
        ("/v1/orders", "/"),
        ("/v1/orders/", "/"),
        ("/v1/orders/7/x", "/7/x"),
        ("/v1/orders?a=1", "/?a=1"),
        ("/v1/orders/7?a=%20", "/7?a=%20"),
    ];
    forwarded(&stripping, &upstream, &targets);
}

#[test]
fn a_route_with_a_host_beats_one_without() {
    let (exact, wildcard, any) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let gateway = Settings::before(&any)
        .public()
        .upstream("exact", &[exact.address()], &[])
        .upstream("wildcard", &[wildcard.address()], &[])
        .route("exact", &["path: /", "host: api.example.com", "upstream: exact", "access: public"])
        .route("wildcard", &["path: /", "host: \"*.example.com\"", "upstream: wildcard", "access: public"])
        .start();
    let ask = |host: &str| gateway.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
    let counts = || [exact.seen().len(), wildcard.seen().len(), any.seen().len()];
    ask("api.example.com");
    ask("API.Example.COM:8443");
    assert_eq!(counts(), [2, 0, 0]);
    ask("other.example.com");
    ask("a.b.example.com");
    assert_eq!(counts(), [2, 2, 0]);
    ask("example.com");
    ask("api.example.com.evil.test");
    ask("badexample.com");
    assert_eq!(counts(), [2, 2, 3]);
}

#[test]
fn among_routes_of_one_path_the_method_chooses() {
    let (reads, writes) = (Upstream::echo(), Upstream::echo());
    let gateway = Settings::before(&reads)
        .upstream("writes", &[writes.address()], &[])
        .route("all", &["path: /", "methods: [GET]", "access: public"])
        .route("write", &["path: /", "methods: [POST, PUT]", "access: public", "upstream: writes"])
        .start();
    gateway.ask(keyless("GET", "/", &[])).expect(200);
    gateway.ask(keyless("HEAD", "/", &[])).expect(200);
    gateway.ask(keyless("PUT", "/", &["Content-Length: 0"])).expect(200);
    assert_eq!((reads.seen().len(), writes.seen().len()), (2, 1));
}

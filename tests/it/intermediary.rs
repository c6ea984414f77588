//! The header duties of an intermediary: what is taken out, what is put in, and that nobody can pretend to be the gateway.

use crate::harness::{ALICE, Settings, Upstream, get, keyless};

/// Alice's key with an owner and a plan, so that there is an identity to send.
fn identified(upstream: &Upstream) -> Settings {
    Settings::before(upstream).plan("gold", &["concurrency: 100"]).key(ALICE, &["owner: wonderland", "plan: gold"])
}

#[test]
fn the_upstream_learns_who_is_calling() {
    let upstream = Upstream::echo();
    identified(&upstream).start().get("/").expect(200);
    let seen = upstream.last();
    assert_eq!(seen.value("x-keygate-key"), Some("key_alice"));
    assert_eq!(seen.value("x-keygate-owner"), Some("wonderland"));
    assert_eq!(seen.value("x-keygate-plan"), Some("gold"));
}

#[test]
fn identity_fields_can_be_renamed_and_turned_off() {
    let upstream = Upstream::echo();
    let renamed = "identity_headers: {key: X-Consumer, owner: null, plan: null}";
    let gateway = identified(&upstream).top(renamed).start();
    gateway.ask(get("/", &["X-Consumer: evil", "x_consumer: evil"])).expect(200);
    let seen = upstream.last();
    assert_eq!(seen.value("x-consumer"), Some("key_alice"));
    assert_eq!(seen.head.count_in_any_spelling("x-consumer"), 1);
    assert!(seen.value("x-keygate-owner").is_none() && seen.value("x-keygate-plan").is_none());
}

#[test]
fn a_spoofed_identity_is_dropped_in_every_spelling() {
    let upstream = Upstream::echo();
    let gateway = identified(&upstream).start();
    let names = ["X-Keygate-Key", "x-keygate-key", "X-KEYGATE-KEY", "X_Keygate_Key", "X-Keygate_Key", "x_keygate-key"];
    for name in names {
        gateway.ask(get("/", &[&format!("{name}: evil"), &format!("{name}: evil2")])).expect(200);
        let seen = upstream.last();
        assert_eq!(seen.value("x-keygate-key"), Some("key_alice"), "{name}");
        assert_eq!(seen.head.count_in_any_spelling("x-keygate-key"), 1, "{name}");
    }
    gateway.ask(get("/", &["X-Keygate-Owner: evil", "X_KEYGATE_OWNER: evil", "X-Keygate-Plan: evil"])).expect(200);
    let seen = upstream.last();
    assert_eq!((seen.value("x-keygate-owner"), seen.value("x-keygate-plan")), (Some("wonderland"), Some("gold")));
    assert_eq!(seen.head.count_in_any_spelling("x-keygate-owner"), 1);
}

#[test]
fn a_spoofed_identity_is_dropped_where_there_is_none_to_put_in_its_place() {
    let upstream = Upstream::echo();
    let fields = ["X-Keygate-Key: evil", "X_Keygate_Owner: evil", "x-keygate-plan: evil"];
    let spoofed = |seen: &crate::harness::Request| {
        ["x-keygate-key", "x-keygate-owner", "x-keygate-plan"].map(|name| seen.head.count_in_any_spelling(name))
    };
    Settings::before(&upstream).public().start().ask(keyless("GET", "/", &fields)).expect(200);
    assert_eq!(spoofed(&upstream.last()), [0, 0, 0]);
    Settings::before(&upstream).start().ask(get("/", &fields)).expect(200);
    assert_eq!(spoofed(&upstream.last()), [1, 0, 0], "Alice's key has neither owner nor plan here");
}

#[test]
fn underscores_that_are_let_through_still_spoof_nothing() {
    let upstream = Upstream::echo();
    let gateway = identified(&upstream).top("headers: {allow_underscores: true}").start();
    gateway.ask(get("/", &["X_Keygate_Key: evil", "X_Forwarded_For: 1.2.3.4", "My_Field: 1"])).expect(200);
    let seen = upstream.last();
    assert_eq!(seen.head.count_in_any_spelling("x-keygate-key"), 1);
    assert_eq!(seen.head.count_in_any_spelling("x-forwarded-for"), 1);
    assert_eq!(seen.value("my_field"), Some("1"));
}

#[test]
fn names_with_underscores_are_dropped_by_default() {
    let upstream = Upstream::echo();
    Settings::before(&upstream).start().ask(get("/", &["My_Field: 1", "My-Field: 2"])).expect(200);
    assert_eq!(upstream.last().head.count_in_any_spelling("my-field"), 1);
    assert_eq!(upstream.last().value("my-field"), Some("2"));
}

#[test]
fn a_field_that_connection_names_cannot_remove_what_the_gateway_adds() {
    let upstream = Upstream::echo();
    let gateway = identified(&upstream).start();
    for connection in ["X-Keygate-Key", "x-keygate-key, X-Forwarded-For, X-Request-Id, Via", "close, X-Keygate-Key"] {
        gateway.ask(get("/", &[&format!("Connection: {connection}")])).expect(200);
        let seen = upstream.last();
        assert_eq!(seen.value("x-keygate-key"), Some("key_alice"), "{connection}");
        assert!(seen.value("x-forwarded-for").is_some() && seen.value("x-request-id").is_some(), "{connection}");
    }
}

#[test]
fn a_connection_field_that_names_the_credential_does_not_smuggle_it_past_the_check() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let answer = gateway.ask(get("/", &["Connection: Authorization"]));
    assert!(matches!(answer.status, 200 | 401), "{}", answer.status);
    assert!(upstream.seen().iter().all(|seen| seen.value("authorization").is_none()));
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_are_removed() {
    let upstream = Upstream::echo();
    let fields = [
        "Connection: keep-alive, X-Gone",
        "Connection: X-Gone-Too",
        "X-Gone: 1",
        "x-gone-too: 1",
        "X-Stays: 1",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
    ];
    Settings::before(&upstream).start().ask(get("/", &fields)).expect(200);
    let seen = upstream.last();
    for name in ["x-gone", "x-gone-too", "proxy-connection", "keep-alive", "te", "upgrade", "http2-settings"] {
        assert_eq!(seen.value(name), None, "{name}");
    }
    assert_eq!(seen.value("x-stays"), Some("1"));
    assert!(!seen.value("connection").unwrap_or_default().to_ascii_lowercase().contains("gone"));
}

#[test]
fn an_upgrade_on_an_ordinary_route_is_an_ordinary_request() {
    let upstream = Upstream::echo();
    let fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    Settings::before(&upstream).start().ask(get("/", &fields)).expect(200);
    assert_eq!(upstream.last().value("upgrade"), None);
}

#[test]
fn other_fields_pass_in_order_and_byte_for_byte() {
    let upstream = Upstream::echo();
    let request = b"GET / HTTP/1.1\r\nHost: api.test\r\nX-API-Key: kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm\r\n\
        aCCEPT: */*\r\nX-B: \t two  blanks \t\r\nX-A: caf\xe9\r\nx-b: again\r\nX-Empty:\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    Settings::before(&upstream).start().ask(request).expect(200);
    let head = upstream.last().head;
    let ours = ["accept", "x-a", "x-b", "x-empty", "traceparent"];
    let passed: Vec<_> = head.fields.iter().filter(|(name, _)| ours.contains(&&*name.to_ascii_lowercase())).collect();
    let values: Vec<&str> = passed.iter().map(|(_, value)| value.as_str()).collect();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(values, ["*/*", "two  blanks", "caf\u{e9}", "again", "", trace]);
}

#[test]
fn the_host_that_goes_upstream_is_the_targets_or_the_clients() {
    let upstream = Upstream::echo();
    let host = |preserve: &str| {
        let settings = Settings::before(&upstream).upstream("backend", &[upstream.address()], &[preserve]);
        settings.start().get("/").expect(200);
        upstream.last().value("host").map(str::to_owned)
    };
    assert_eq!(host("preserve_host: false"), Some(upstream.address().to_string()));
    assert_eq!(host("preserve_host: true"), Some("api.test".to_owned()));
}

#[test]
fn forwarding_fields_of_strangers_are_replaced() {
    let upstream = Upstream::echo();
    let fields = [
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "X_Forwarded_For: 1.1.1.1",
    ];
    Settings::before(&upstream).start().ask(get("/", &fields)).expect(200);
    let seen = upstream.last();
    assert_eq!(seen.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.value("x-forwarded-host"), Some("api.test"));
    assert_eq!(seen.head.count_in_any_spelling("x-forwarded-for"), 1);
}

#[test]
fn forwarding_fields_of_trusted_proxies_are_kept() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("trusted_proxies: [127.0.0.0/8]").start();
    gateway.ask(get("/", &["X-Forwarded-For: 203.0.113.9, 198.51.100.7", "X-Forwarded-Proto: https"])).expect(200);
    let seen = upstream.last();
    let list = seen.value("x-forwarded-for").unwrap_or_default();
    assert!(list.starts_with("203.0.113.9, 198.51.100.7"), "{list}");
    assert_eq!(seen.value("x-forwarded-proto"), Some("https"));
}

#[test]
fn the_client_address_is_the_last_that_is_not_trusted() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .top("trusted_proxies: [127.0.0.0/8, \"10.0.0.0/8\"]")
        .key(ALICE, &["networks: [203.0.113.0/24, \"2001:db8::/32\"]"])
        .start();
    for (list, status) in [
        ("203.0.113.9", 200),
        ("203.0.113.9, 10.1.2.3", 200),
        ("198.51.100.1, 203.0.113.9", 200),
        ("203.0.113.9:4711", 200),
        ("2001:db8::7", 200),
        ("[2001:db8::7]:4711", 200),
        ("::ffff:203.0.113.9", 200),
        ("203.0.113.9, 198.51.100.1", 403),
        ("203.0.113.9, 198.51.100.1, 10.1.2.3", 403),
        ("203.0.113.9, garbage", 403),
        ("2001:db9::7", 403),
    ] {
        let answer = gateway.ask(get("/", &[&format!("X-Forwarded-For: {list}")]));
        assert_eq!(answer.status, status, "{list}");
    }
    gateway.ask(get("/", &["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.1"])).expect(403);
}

#[test]
fn nobody_is_trusted_by_default() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).key(ALICE, &["networks: [203.0.113.0/24]"]).start();
    gateway.ask(get("/", &["X-Forwarded-For: 203.0.113.9"])).expect_problem(403, "not_permitted");
}

#[test]
fn a_sane_request_id_is_kept_and_echoed() {
    let upstream = Upstream::echo();
    let answer = Settings::before(&upstream).start().ask(get("/", &["X-Request-Id: order-7.a-b"]));
    assert_eq!(answer.expect(200).value("x-request-id"), Some("order-7.a-b"));
    assert_eq!(upstream.last().value("x-request-id"), Some("order-7.a-b"));
}

#[test]
fn a_missing_or_insane_request_id_is_made() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let long = format!("X-Request-Id: {}", "a".repeat(2000));
    let mut made = Vec::new();
    for fields in [vec![], vec!["X-Request-Id:"], vec!["X-Request-Id: a b\"<c>"], vec![long.as_str()]] {
        let answer = gateway.ask(get("/", &fields)).expect(200);
        let id = answer.value("x-request-id").expect("every answer has a request id").to_owned();
        assert_eq!(upstream.last().value("x-request-id"), Some(id.as_str()));
        assert!(!id.is_empty() && id.len() <= 128 && !id.contains(['"', ' ']), "{id}");
        assert!(!made.contains(&id), "{id} twice");
        made.push(id);
    }
}

#[test]
fn every_answer_of_the_gateways_own_carries_the_request_id() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).route("all", &["path: /v1"]).start();
    for (request, status) in [
        (keyless("GET", "/v1", &["X-Request-Id: mine"]), 401),
        (get("/v2", &["X-Request-Id: mine"]), 404),
        (get("/%zz", &["X-Request-Id: mine"]), 400),
    ] {
        let answer = gateway.ask(request).expect(status);
        assert_eq!(answer.value("x-request-id"), Some("mine"));
        assert_eq!(answer.problem()["request_id"], "mine");
    }
    let answer = gateway.ask("GET / HTTP/1.1\r\nX : 1\r\n\r\n").expect(400);
    assert_eq!(answer.problem()["request_id"].as_str(), answer.value("x-request-id"));
}

#[test]
fn an_upstreams_own_request_id_does_not_stand_beside_ours() {
    let upstream = Upstream::fixed("HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n");
    let answer = Settings::before(&upstream).start().ask(get("/", &["X-Request-Id: mine"])).expect(200);
    assert_eq!(answer.value("x-request-id"), Some("mine"));
}

#[test]
fn via_names_the_gateway_unless_it_is_off() {
    let upstream = Upstream::echo();
    let via = |settings: Settings| {
        settings.start().ask(get("/", &["Via: 1.0 first"])).expect(200);
        upstream.last().head.values("via").join(", ")
    };
    assert_eq!(via(Settings::before(&upstream)), "1.0 first, 1.1 keygate");
    assert_eq!(via(Settings::before(&upstream).top("via: false")), "1.0 first");
}

#[test]
fn hop_by_hop_fields_of_an_answer_are_removed() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Upgrade: h2c\r\nTE: x\r\nSet-Cookie: a=1\r\nServer: theirs\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = Settings::before(&upstream).start().get("/").expect(200);
    for name in ["x-gone", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(answer.value(name), None, "{name}");
    }
    assert_eq!(answer.head.values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.value("server"), answer.text().as_str()), (Some("theirs"), "ok"));
    assert!(!answer.says_close());
}

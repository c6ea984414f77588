//! Credentials: where a key may be, what each way of not having a good one is answered, and that none goes upstream.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::{
    ACME, ALICE, BOB, CAROL, DAVE, Response, Settings, Upstream, digest_of, get, keyless, mistyped, wait_for,
    wait_until,
};

/// `GET path` with these field lines and no other credential.
fn with(path: &str, fields: &[&str]) -> String {
    keyless("GET", path, fields)
}

fn bearer(secret: &str) -> String {
    with("/", &[&format!("Authorization: Bearer {secret}")])
}

#[track_caller]
fn challenge(answer: &Response, error: &str) {
    let error = if error.is_empty() { String::new() } else { format!(", error=\"{error}\"") };
    assert_eq!(answer.value("www-authenticate"), Some(format!("Bearer realm=\"wonder\"{error}").as_str()));
    for field in ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "retry-after"] {
        assert_eq!(answer.value(field), None, "{field} would leak another's traffic");
    }
}

#[test]
fn a_good_key_is_let_through_from_either_default_place() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for field in
        ["Authorization: Bearer", "authorization: bearer", "AUTHORIZATION: BEARER ", "X-API-Key:", "x-api-key: "]
    {
        gateway.ask(with("/", &[&format!("{field} {}", ALICE.secret)])).expect(200);
    }
}

#[test]
fn no_or_an_empty_credential_is_key_missing() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("realm: wonder").start();
    let mut client = gateway.client();
    let cases: [&[&str]; 6] = [
        &[],
        &["Authorization:"],
        &["Authorization: Bearer"],
        &["Authorization: Bearer  "],
        &["X-API-Key:"],
        &["X-API-Key: \t "],
    ];
    for fields in cases {
        let answer = client.ask(with("/", fields)).expect_problem(401, "key_missing");
        challenge(&answer, "");
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn a_key_in_a_place_that_is_not_configured_is_missing() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for (path, field) in [("/?key=", "A: "), ("/?api_key=", "A: "), ("/?x=", "Cookie: key="), ("/?x=", "Api-Key: ")] {
        let field = format!("{field}{}", ALICE.secret);
        gateway.ask(with(&format!("{path}{}", ALICE.secret), &[&field])).expect_problem(401, "key_missing");
    }
}

#[test]
fn another_authentication_scheme_is_not_a_key() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    gateway.ask(with("/", &["Authorization: Basic dXNlcjpwYXNz"])).expect(401);
    gateway.ask(with("/", &[&format!("Authorization: Basic {}", ALICE.secret)])).expect(401);
    gateway.ask(with("/", &[&format!("Authorization: Bearer{}", ALICE.secret)])).expect(401);
    assert_eq!(upstream.heads().len(), 0);
}

/// Every way of having a key that is not good, with the true reason.
fn gateway_with_bad_keys(upstream: &Upstream) -> (Settings, Vec<String>) {
    let settings = Settings::before(upstream)
        .top("realm: wonder")
        .key(BOB, &["disabled: true"])
        .key(CAROL, &["expires: 2020-01-01T00:00:00Z"])
        .key(DAVE, &["not_before: 2120-01-01T00:00:00Z"])
        .key_with_digest("key_old", &digest_of("an-imported-secret-that-was-revoked-0001"), &[])
        .revoke("key_old");
    let secrets = vec![
        "x".to_owned(),
        mistyped(ALICE.secret),
        ALICE.secret[..45].to_owned(),
        format!("{}0", ALICE.secret),
        ALICE.secret.to_ascii_lowercase(),
        ACME.secret.to_owned(),
        "an-imported-secret-that-nobody-ever-heard-of".to_owned(),
        "a".repeat(4000),
        format!("{} x", ALICE.secret),
        format!("{}\u{e9}", ALICE.secret),
        BOB.secret.to_owned(),
        CAROL.secret.to_owned(),
        DAVE.secret.to_owned(),
        "an-imported-secret-that-was-revoked-0001".to_owned(),
    ];
    (settings, secrets)
}

#[test]
fn every_key_that_is_not_good_gets_the_same_answer() {
    let upstream = Upstream::echo();
    let (settings, secrets) = gateway_with_bad_keys(&upstream);
    let gateway = settings.start();
    let mut answers = Vec::new();
    for secret in &secrets {
        let mut client = gateway.client();
        let request = with("/", &["X-Request-Id: same", &format!("Authorization: Bearer {secret}")]);
        let answer = client.ask(request).expect_problem(401, "key_invalid");
        challenge(&answer, "invalid_token");
        client.ask(get("/", &[])).expect(200);
        let fields: Vec<_> =
            answer.head.fields.iter().filter(|(name, _)| name != "Date" && name != "date").cloned().collect();
        answers.push((secret, fields, answer.text()));
    }
    for (secret, fields, body) in &answers {
        assert_eq!((fields, body), (&answers[0].1, &answers[0].2), "{secret} looks different from outside");
    }
    assert_eq!(upstream.heads().len(), secrets.len(), "only the good ones went through");
}

#[test]
fn the_true_reason_goes_to_the_metric() {
    let upstream = Upstream::echo();
    let (settings, secrets) = gateway_with_bad_keys(&upstream);
    let gateway = settings.start();
    for secret in &secrets {
        gateway.ask(bearer(secret)).expect(401);
    }
    // A request is counted at its end, when its client may have its answer already.
    let metrics = wait_until("all requests to be counted", || {
        let metrics = gateway.metrics();
        let counted = metrics.sum("keygate_denials_total", &[("code", "key_invalid")]);
        assert!(counted <= secrets.len() as f64, "{counted}");
        (counted == secrets.len() as f64).then_some(metrics)
    });
    let reasons = metrics
        .text()
        .lines()
        .filter(|line| line.starts_with("keygate_denials_total{") && line.contains("key_invalid"));
    let counted = reasons.filter(|line| !line.ends_with(" 0")).count();
    assert_eq!(counted, 6, "malformed, unknown, revoked, disabled, expired, not yet valid:\n{}", metrics.text());
}

#[test]
fn a_key_that_expires_stops_working_without_a_reload() {
    let upstream = Upstream::echo();
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(3);
    let gateway = Settings::before(&upstream).key(ALICE, &[&format!("expires: {soon}")]).start();
    let mut client = gateway.client();
    client.ask(get("/", &[])).expect(200);
    wait_for("the key to expire", || client.ask(get("/", &[])).status == 401);
}

#[test]
fn more_than_one_credential_is_ambiguous_even_if_equal() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).top("realm: wonder").key(BOB, &[]);
    let gateway =
        settings.top("credentials: {headers: [Authorization, X-API-Key], query: [key], cookies: [key]}").start();
    let (alice, bob) = (ALICE.secret, BOB.secret);
    let bearer = format!("Authorization: Bearer {alice}");
    let cases = [
        ("/".to_owned(), format!("{bearer}\r\nX-API-Key: {alice}")),
        ("/".to_owned(), format!("{bearer}\r\nX-API-Key: {bob}")),
        ("/".to_owned(), format!("{bearer}\r\n{bearer}")),
        ("/".to_owned(), format!("X-API-Key: {alice}\r\nx-api-key: {alice}")),
        (format!("/?key={alice}"), bearer.clone()),
        (format!("/?key={alice}&key={alice}"), "A: b".to_owned()),
        (format!("/?key={alice}&a=1&%6bey={bob}"), "A: b".to_owned()),
        ("/".to_owned(), format!("{bearer}\r\nCookie: key={alice}")),
        ("/".to_owned(), format!("Cookie: key={alice}; key={alice}")),
        ("/".to_owned(), format!("Cookie: key={alice}\r\nCookie: key={alice}")),
    ];
    for (path, fields) in cases {
        let answer = gateway.ask(with(&path, &[&fields]));
        assert_eq!(answer.status, 400, "{path} {fields}");
        assert_eq!(answer.code(), "key_ambiguous");
        challenge(&answer, "invalid_request");
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[test]
fn a_good_key_that_may_not_do_this_is_not_permitted() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream)
        .top("realm: wonder")
        .plan("free", &["concurrency: 10"])
        .plan("pro", &["concurrency: 10"])
        .key(ALICE, &["plan: free", "scopes: [orders:read]"])
        .key(BOB, &["networks: [10.0.0.0/8, \"2001:db8::/32\"]"])
        .key(CAROL, &["plan: pro", "scopes: [orders:write, orders:read]"])
        .route("scoped", &["path: /scoped", "scopes: [orders:read, orders:write]"])
        .route("pro", &["path: /pro", "plans: [pro]"])
        .route("reads", &["path: /reads", "methods: [GET]"]);
    let gateway = settings.start();
    let post = |path| keyless("POST", path, &[&format!("X-API-Key: {}", ALICE.secret), "Content-Length: 0"]);
    let cases = [get("/scoped", &[]), get("/pro", &[]), post("/reads"), bearer(BOB.secret)];
    for request in &cases {
        let mut client = gateway.client();
        let answer = client.ask(request).expect_problem(403, "not_permitted");
        challenge(&answer, "insufficient_scope");
        client.ask(get("/", &[])).expect(200);
    }
    for path in ["/scoped", "/pro", "/reads"] {
        gateway.ask(with(path, &[&format!("X-API-Key: {}", CAROL.secret)])).expect(200);
    }
    assert_eq!(upstream.heads().len(), cases.len() + 3);
}

#[test]
fn a_key_works_from_its_networks() {
    let upstream = Upstream::echo();
    Settings::before(&upstream).key(ALICE, &["networks: [192.0.2.0/24, 127.0.0.1/32]"]).start().get("/").expect(200);
}

#[test]
fn a_public_route_needs_no_key_and_ignores_a_bad_one() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).public().start();
    let ambiguous = format!("X-API-Key: {}", BOB.secret);
    for request in [
        with("/", &[]),
        bearer("nonsense"),
        get("/", &[]),
        get("/", &[&ambiguous]),
        with("/", &["Authorization: Basic x"]),
    ] {
        gateway.ask(request).expect(200);
    }
    assert!(upstream.seen().iter().all(|seen| seen.value("x-keygate-key").is_none()));
}

#[test]
fn a_credential_in_a_field_is_taken_out() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for field in ["Authorization: Bearer", "aUTHORIZATION: bEARER", "X-API-Key:", "x-api-key:"] {
        let answer = gateway.ask(with("/", &[&format!("{field} {}", ALICE.secret), "X: 1"])).expect(200);
        assert!(!answer.text().contains(ALICE.secret), "{}", answer.text());
        assert_eq!(upstream.last().value("x"), Some("1"));
    }
}

#[test]
fn a_credential_in_a_query_is_taken_out_and_the_rest_keeps_its_bytes() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("credentials: {query: [key, api-key]}").start();
    for (sent, forwarded) in [
        ("/p?key=<K>", "/p"),
        ("/p?key=<K>&a=1", "/p?a=1"),
        ("/p?a=1&key=<K>", "/p?a=1"),
        ("/p?a=%20+%2b&key=<K>&b=%zz&&c", "/p?a=%20+%2b&b=%zz&&c"),
        ("/p?%6Bey=<K>&keys=1&Key=2&xkey=3", "/p?keys=1&Key=2&xkey=3"),
        ("/p?a=key=1&%61pi%2Dkey=<K>", "/p?a=key=1"),
        ("/./p?b=2&a=1&key=<K>&a=../0", "/p?b=2&a=1&a=../0"),
    ] {
        gateway.ask(with(&sent.replace("<K>", ALICE.secret), &[])).expect(200);
        assert_eq!(upstream.last().target(), forwarded, "{sent}");
    }
}

#[test]
fn a_percent_encoded_secret_in_a_query_is_decoded_once() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("credentials: {query: [key]}").start();
    gateway.ask(with(&format!("/?key={}", ALICE.secret.replace('k', "%6b")), &[])).expect(200);
    gateway.ask(with(&format!("/?key={}", ALICE.secret.replace('k', "%256b")), &[])).expect_problem(401, "key_invalid");
    gateway.ask(with("/?key=&a=1", &[])).expect_problem(401, "key_missing");
}

#[test]
fn a_credential_in_a_cookie_is_taken_out_and_the_rest_keeps_its_order() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("credentials: {cookies: [session]}").start();
    for (sent, forwarded) in [
        ("session=K", vec![]),
        ("a=1; session=K; b=2", vec!["a=1; b=2"]),
        ("session=K; b=2", vec!["b=2"]),
        ("a=1; session=K", vec!["a=1"]),
        ("a=session=1; Session=2; session=K", vec!["a=session=1; Session=2"]),
    ] {
        gateway.ask(with("/", &[&format!("Cookie: {}", sent.replace('K', ALICE.secret))])).expect(200);
        assert_eq!(upstream.last().head.values("cookie"), forwarded, "{sent}");
    }
}

#[test]
fn a_configured_header_replaces_the_default_places() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("credentials: {headers: [X-Token]}").start();
    gateway.ask(with("/", &[&format!("x-token: {}", ALICE.secret), "Authorization: Bearer theirs"])).expect(200);
    assert_eq!(upstream.last().value("authorization"), Some("Bearer theirs"));
    gateway.ask(bearer(ALICE.secret)).expect_problem(401, "key_missing");
}

#[test]
fn a_credential_is_forwarded_where_the_file_says_so() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).top("credentials: {query: [key], forward: true}").start();
    gateway.ask(with(&format!("/?a=1&key={}", ALICE.secret), &[])).expect(200);
    assert_eq!(upstream.last().target(), format!("/?a=1&key={}", ALICE.secret));
}

#[test]
fn a_key_in_a_trailer_never_counts() {
    let upstream = Upstream::mirror();
    let gateway = Settings::before(&upstream).start();
    let body = format!("2\r\nab\r\n0\r\nAuthorization: Bearer {}\r\n\r\n", ALICE.secret);
    let head = keyless("POST", "/", &["Transfer-Encoding: chunked", "Trailer: Authorization"]);
    gateway.ask(head + &body).expect_problem(401, "key_missing");
    let head = get("/", &["Transfer-Encoding: chunked"]);
    let answer = gateway.ask(head + &body.replace(ALICE.secret, BOB.secret)).expect(200);
    assert!(upstream.last().trailers.iter().all(|(_, value)| !value.contains(BOB.secret)));
    assert_eq!(answer.text(), "ab");
}

#[test]
fn answers_to_a_key_that_shared_caches_do_not_know_are_private() {
    let plain = Upstream::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let cached = Upstream::fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n");
    let places = "credentials: {headers: [Authorization, X-API-Key], query: [key], cookies: [key]}";
    let gateway = Settings::before(&plain)
        .top(places)
        .upstream("cached", &[cached.address()], &[])
        .route("cached", &["path: /cached", "upstream: cached"])
        .route("open", &["path: /open", "access: public"])
        .start();
    let secret = ALICE.secret;
    let cache_control = |request: String| gateway.ask(request).expect(200).value("cache-control").map(str::to_owned);
    let private = Some("private".to_owned());
    assert_eq!(cache_control(with("/", &[&format!("X-API-Key: {secret}")])), private);
    assert_eq!(cache_control(with(&format!("/?key={secret}"), &[])), private);
    assert_eq!(cache_control(with("/", &[&format!("Cookie: key={secret}")])), private);
    assert_eq!(cache_control(bearer(secret)), None);
    assert_eq!(cache_control(with("/open", &[])), None);
    let theirs = cache_control(with("/cached", &[&format!("X-API-Key: {secret}")]));
    assert_eq!(theirs.as_deref(), Some("max-age=60"));
}

#[test]
fn a_denial_is_a_problem_that_no_cache_keeps() {
    let upstream = Upstream::echo();
    let answer = Settings::before(&upstream).start().ask(with("/", &[])).expect(401);
    let problem = answer.problem();
    for member in ["type", "title", "detail", "code", "request_id"] {
        assert!(problem[member].is_string(), "{member} in {problem}");
    }
    assert_eq!(problem["status"], 401);
    assert_eq!(answer.value("cache-control"), Some("no-store"));
    assert!(!answer.says_close());
}

#[test]
fn a_denied_head_request_gets_the_head_alone() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let mut client = gateway.client();
    client.ask(keyless("HEAD", "/", &[])).expect(401);
    client.ask(keyless("HEAD", "/", &[])).expect(401);
}

#[test]
fn a_denied_grpc_request_is_told_in_grpcs_own_way() {
    let upstream = Upstream::echo();
    let limits = "limits: {once: {requests: 1, per: 1h}}";
    let gateway = Settings::before(&upstream)
        .plan_for_alice(&[limits])
        .route("scoped", &["path: /scoped", "scopes: [admin]"])
        .start();
    let grpc = |path: &str, field: &str| {
        keyless("POST", path, &["Content-Type: application/grpc+proto", "Content-Length: 0", field])
    };
    let key = format!("X-API-Key: {}", ALICE.secret);
    let status = |request: String| {
        let answer = gateway.ask(request).expect(200);
        assert!(answer.value("content-type").is_some_and(|value| value.starts_with("application/grpc")));
        assert_eq!(answer.text(), "");
        answer.value("grpc-status").map(str::to_owned)
    };
    assert_eq!(status(grpc("/", "A: b")).as_deref(), Some("16"));
    assert_eq!(status(grpc("/scoped", &key)).as_deref(), Some("7"));
    gateway.get("/").expect(200);
    assert_eq!(status(grpc("/", &key)).as_deref(), Some("8"));
}

#[test]
fn keys_of_another_brand_and_imported_keys_work() {
    let upstream = Upstream::echo();
    let imported = "7f3c9d1e-an-imported-key-of-another-shape-0b6a";
    let gateway = Settings::before(&upstream)
        .top("brand: acme")
        .key(ACME, &[])
        .key_with_digest("key_imported", &digest_of(imported), &[])
        .start();
    gateway.ask(bearer(ACME.secret)).expect(200);
    gateway.ask(bearer(imported)).expect(200);
    gateway.ask(bearer(ALICE.secret)).expect(200);
    gateway.ask(bearer(&mistyped(ACME.secret))).expect_problem(401, "key_invalid");
}

#[test]
fn a_plain_secret_in_the_file_works_and_is_warned_of() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).key_lines("key_bob", &[&format!("secret: {}", BOB.secret)]).start();
    gateway.ask(bearer(BOB.secret)).expect(200);
    assert_eq!(upstream.last().value("x-keygate-key"), Some("key_bob"));
    assert!(gateway.logs().contains("key_bob") && !gateway.logs().contains(BOB.secret), "{}", gateway.logs());
}

#[test]
fn a_digest_under_a_pepper_works() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let pepper = folder.path().join("pepper.p1");
    let content = "0123456789abcdef0123456789abcdef";
    std::fs::write(&pepper, content).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(content.as_bytes()).unwrap();
    mac.update(BOB.secret.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let gateway = Settings::before(&upstream)
        .top(&format!("hashing: {{peppers: {{p1: \"{}\"}}}}", pepper.display()))
        .key_with_digest("key_bob", &format!("hmac-sha256:p1:{hex}"), &[])
        .start();
    gateway.ask(bearer(BOB.secret)).expect(200);
    gateway.get("/").expect(200);
    gateway.ask(bearer(CAROL.secret)).expect(401);
}

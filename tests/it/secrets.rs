//! Secrets: sent in every place there is, whole and mistyped, and found in no output.

use std::fs;

use crate::harness::{ALICE, BOB, Gateway, Settings, Upstream, keyless, mistyped, run};

/// Panics if `output` has any sixteen characters in a row of the random part of a secret.
#[track_caller]
fn holds_nothing_of(secret: &str, what: &str, output: &str) {
    let random: Vec<char> = secret.chars().skip("kg_live_".len()).collect();
    for window in random.windows(16) {
        let needle: String = window.iter().collect();
        if let Some(line) = output.lines().find(|line| line.contains(&needle)) {
            panic!("{needle} of a secret stands in {what}: {line}");
        }
    }
}

/// Requests with `secret` in each place where a client can put it.
fn requests_with(secret: &str) -> Vec<String> {
    let in_field = |name: &str| keyless("GET", "/", &[&format!("{name}{secret}")]);
    let body = |framing: &str, body: &str| keyless("POST", "/", &[framing]) + body;
    vec![
        in_field("Authorization: Bearer "),
        in_field("Authorization: "),
        in_field("Authorization: Basic "),
        in_field("X-API-Key: "),
        in_field("X-API-Key: x"),
        in_field("Cookie: session="),
        in_field("Cookie: other="),
        in_field("User-Agent: "),
        in_field("Referer: http://x/?key="),
        in_field("X-Request-Id: "),
        in_field("X-Forwarded-For: "),
        in_field("traceparent: "),
        in_field("Connection: "),
        in_field("Expect: "),
        in_field("Transfer-Encoding: "),
        in_field("Content-Length: "),
        keyless("GET", "/", &[&format!("{secret}: a")]),
        keyless("GET", "/", &[&format!("{secret} : a")]),
        keyless("GET", &format!("/?key={secret}"), &[]),
        keyless("GET", &format!("/?other={secret}"), &[]),
        keyless("GET", &format!("/?{secret}"), &[]),
        keyless("GET", &format!("/{secret}"), &[]),
        keyless("GET", &format!("/open/{secret}/x"), &[]),
        keyless("GET", &format!("/open/{}", secret.replace('_', "%5f")), &[]),
        keyless("GET", &format!("/%zz/{secret}"), &[]),
        keyless("GET", &format!("http://{secret}/"), &[]),
        keyless("GET", &format!("{secret}:443"), &[]),
        keyless(secret, "/", &[]),
        keyless(&format!("{secret}:"), "/", &[]),
        format!("GET / HTTP/1.1\r\nHost: {secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {secret}.test:80\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x@{secret}\r\n\r\n"),
        format!("GET / {secret}\r\n\r\n"),
        format!("{secret}\r\n\r\n"),
        body(&format!("Content-Length: {}", secret.len()), secret),
        body("Transfer-Encoding: chunked", &format!("2e;{secret}\r\n{secret}\r\n0\r\nX: {secret}\r\n\r\n")),
        body("Transfer-Encoding: chunked", &format!("{secret}\r\n")),
    ]
}

fn watched_gateway(upstream: &Upstream) -> Gateway {
    Settings::before(upstream)
        .top("credentials: {headers: [Authorization, X-API-Key], query: [key], cookies: [session]}")
        .top("logs: {format: json, requests: stdout, sample: 1.0}")
        .top("head_timeout: 2s\nbody_timeout: 2s")
        .route("open", &["path: /open", "access: public"])
        .key(BOB, &["plan: once"])
        .plan("once", &["limits: {burst: {requests: 1, per: 1h}}"])
        .start()
}

#[test]
fn no_output_ever_holds_a_secret() {
    let upstream = Upstream::mirror();
    let mut gateway = watched_gateway(&upstream);
    let secrets = [
        ALICE.secret.to_owned(),
        mistyped(ALICE.secret),
        BOB.secret.to_owned(),
        mistyped(BOB.secret),
        ALICE.secret[..44].to_owned(),
    ];
    for secret in &secrets {
        for request in requests_with(secret) {
            let mut client = gateway.client();
            client.send(&request).finish_writing();
            if let Ok(answer) = client.try_response("GET")
                && answer.value("content-type") == Some("application/problem+json")
                && !request.contains("X-Request-Id")
            {
                holds_nothing_of(secret, "an answer", &answer.text());
            }
        }
    }
    let (metrics, status) = (gateway.metrics().text().to_owned(), gateway.status().to_string());
    assert_eq!(gateway.stop(), Some(0));
    assert!(gateway.request_log().len() > 50, "the request log was on:\n{}", gateway.logs());
    for secret in &secrets {
        holds_nothing_of(secret, "the logs", &gateway.logs());
        holds_nothing_of(secret, "the metrics", &metrics);
        holds_nothing_of(secret, "the status", &status);
    }
}

#[test]
fn a_text_log_and_a_log_file_hold_no_secret_either() {
    let upstream = Upstream::mirror();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.log");
    let mut gateway = Settings::before(&upstream)
        .top(&format!("logs: {{format: text, requests: {{file: \"{}\"}}}}", log.display()))
        .top("head_timeout: 2s\nbody_timeout: 2s")
        .start();
    for request in requests_with(ALICE.secret) {
        let mut client = gateway.client();
        client.send(&request).finish_writing();
        let _ = client.try_response("GET");
    }
    assert_eq!(gateway.stop(), Some(0));
    let written = fs::read_to_string(log).unwrap();
    assert!(written.lines().count() > 10, "{written}");
    holds_nothing_of(ALICE.secret, "the log file", &written);
    holds_nothing_of(ALICE.secret, "the process log", &gateway.logs());
}

/// Files with a secret on a line that is wrong, or beside one.
fn faulty_files() -> [String; 5] {
    let secret = ALICE.secret;
    [
        format!("keys:\n  key_a:\n    secret: {secret}\n    no_such_field: 1\n"),
        format!("keys:\n  key_a:\n    secrets: {secret}\n"),
        format!("keys:\n  key_a: {{secret: {secret}, plan: {secret}}}\n"),
        format!("keys:\n  key_a:\n    digest: {secret}\n  {secret}: [\n"),
        format!("keys:\n  key_a:\n   secret: \"{secret}\n"),
    ]
}

#[test]
fn a_problem_in_a_configuration_file_is_shown_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keygate.yaml");
    let path = config.to_str().unwrap();
    for file in faulty_files() {
        fs::write(&config, &file).unwrap();
        for arguments in [
            vec!["check", "--config", path],
            vec!["check", "--json", "--config", path],
            vec!["serve", "--config", path],
        ] {
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(2), "{file}");
            holds_nothing_of(ALICE.secret, "stdout", &String::from_utf8_lossy(&output.stdout));
            holds_nothing_of(ALICE.secret, "stderr", &String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn a_refused_reload_is_logged_without_its_secrets() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for file in faulty_files() {
        gateway.reload_text(&file).expect_refused();
    }
    holds_nothing_of(ALICE.secret, "the process log", &gateway.logs());
    holds_nothing_of(ALICE.secret, "the status", &gateway.status().to_string());
}

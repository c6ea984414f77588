//! The request log: one line per request that tells what happened, where the file says so.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{ALICE, BOB, Gateway, Settings, Upstream, get, keyless, wait_for, wait_until};

/// The line of the request with this id, once it is written.
fn line_of(gateway: &Gateway, request_id: &str) -> Value {
    wait_until("a line of the request log", || gateway.request_log().into_iter().find(|line| says(line, request_id)))
}

/// Whether a line has this text or number as a value, whatever its field is called.
fn says(line: &Value, wanted: &str) -> bool {
    match line {
        Value::Object(fields) => fields.values().any(|value| says(value, wanted)),
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        _ => false,
    }
}

fn logging(upstream: &Upstream, logs: &str) -> Settings {
    Settings::before(upstream).top(&format!("logs: {{{logs}}}"))
}

#[test]
fn a_forwarded_request_is_told_in_full() {
    let upstream = Upstream::echo();
    let gateway = logging(&upstream, "format: json, requests: stdout").key(ALICE, &["owner: wonderland"]).start();
    gateway.ask(get("/v1/orders?secret=query", &["X-Request-Id: id-1"])).expect(200);
    let line = line_of(&gateway, "id-1");
    let target = upstream.address().to_string();
    for wanted in ["127.0.0.1", "GET", "/v1/orders", "200", "key_alice", "wonderland", "all", target.as_str()] {
        assert!(says(&line, wanted), "{wanted} is missing in {line}");
    }
    assert!(!line.to_string().contains("query"), "{line}");
}

#[test]
fn a_denied_request_is_told_with_its_true_reason() {
    let upstream = Upstream::echo();
    let gateway = logging(&upstream, "format: json, requests: stdout").key(BOB, &[]).revoke(BOB.id).start();
    gateway.ask(keyless("GET", "/x", &["X-Request-Id: id-1", &format!("X-API-Key: {}", BOB.secret)])).expect(401);
    let line = line_of(&gateway, "id-1");
    for wanted in ["401", "key_invalid", "/x"] {
        assert!(says(&line, wanted), "{wanted} is missing in {line}");
    }
    assert!(line.to_string().contains("revoked"), "{line}");
}

#[test]
fn malformed_requests_and_failing_upstreams_have_a_line_too() {
    let upstream = Upstream::closing("");
    let gateway = logging(&upstream, "format: json, requests: stdout").start();
    gateway.ask(get("/%zz", &["X-Request-Id: id-1"])).expect(400);
    gateway.ask(get("/", &["X-Request-Id: id-2"])).expect(502);
    line_of(&gateway, "id-1");
    let failed = line_of(&gateway, "id-2");
    assert!(says(&failed, "upstream_failed") && says(&failed, "reset"), "{failed}");
}

#[test]
fn sampling_leaves_out_forwarded_requests_but_no_denial() {
    let upstream = Upstream::echo();
    let gateway = logging(&upstream, "format: json, requests: stdout, sample: 0.0").start();
    let mut client = gateway.client();
    for _ in 0..20 {
        client.ask(get("/", &["X-Request-Id: forwarded"])).expect(200);
    }
    client.ask(keyless("GET", "/", &["X-Request-Id: denied"])).expect(401);
    line_of(&gateway, "denied");
    assert!(!gateway.logs().contains("forwarded\""), "{}", gateway.logs());
}

#[test]
fn the_request_log_can_be_off() {
    let upstream = Upstream::echo();
    let mut gateway = logging(&upstream, "format: json, requests: off").start();
    gateway.ask(get("/", &["X-Request-Id: id-1"])).expect(200);
    gateway.stop();
    assert!(!gateway.logs().contains("id-1"));
}

#[test]
fn a_log_file_is_opened_again_on_sighup() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let (log, rotated) = (folder.path().join("requests.log"), folder.path().join("requests.log.1"));
    let gateway = logging(&upstream, &format!("requests: {{file: \"{}\"}}", log.display())).start();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    gateway.ask(get("/", &["X-Request-Id: id-1"])).expect(200);
    wait_for("the first line", || read(&log).contains("id-1"));
    fs::rename(&log, &rotated).unwrap();
    gateway.signal(Signal::HUP);
    wait_for("the new file", || log.exists());
    gateway.ask(get("/", &["X-Request-Id: id-2"])).expect(200);
    wait_for("the second line", || read(&log).contains("id-2"));
    assert!(read(&rotated).contains("id-1"));
}

#[test]
fn text_lines_are_one_line_each() {
    let upstream = Upstream::echo();
    let gateway = logging(&upstream, "format: text, requests: stdout").start();
    gateway.ask(get("/first", &["X-Request-Id: id-1"])).expect(200);
    gateway.ask(get("/second", &["X-Request-Id: id-2"])).expect(200);
    wait_for("both lines", || gateway.logs().contains("id-2"));
    let logs = gateway.logs();
    let line = logs.lines().find(|line| line.contains("id-1")).unwrap();
    assert!(line.contains("/first") && line.contains("200") && !line.contains("/second"), "{line}");
}

//! The operations listener: health, readiness, status and metrics.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{ALICE, Gateway, Settings, Upstream, get, keyless, wait_for};

fn busy_gateway(upstream: &Upstream) -> Gateway {
    let gateway =
        Settings::before(upstream).threads(2).plan_for_alice(&["limits: {burst: {requests: 3, per: 1h}}"]).start();
    for _ in 0..4 {
        let _ = gateway.get("/");
    }
    gateway.ask(keyless("GET", "/", &[])).expect(401);
    gateway.ask(keyless("GET", "/", &["X-API-Key: wrong"])).expect(401);
    gateway.ask("nonsense\r\n\r\n").expect(400);
    gateway
}

#[test]
fn health_and_readiness_are_told() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    gateway.operations("/healthz").expect(200);
    gateway.operations("/readyz").expect(200);
    gateway.operations("/nothing").expect(404);
}

#[test]
fn the_data_plane_does_not_serve_the_operations_paths() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    for path in ["/healthz", "/metrics", "/status"] {
        gateway.ask(keyless("GET", path, &[])).expect(401);
    }
}

#[test]
fn the_status_tells_what_is_in_force() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let status = gateway.status();
    let text = status.to_string();
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    assert!(text.contains(&gateway.address().to_string()), "{text}");
    assert!(text.contains(&gateway.operations_address().to_string()), "{text}");
    assert!(!text.contains(&ALICE.digest["sha256:".len()..]), "{text}");
}

#[test]
fn the_series_of_the_contract_are_there() {
    let upstream = Upstream::echo();
    let metrics = busy_gateway(&upstream).metrics();
    for name in [
        "keygate_requests_total",
        "keygate_request_duration_seconds_count",
        "keygate_request_duration_seconds_bucket",
        "keygate_gateway_duration_seconds_count",
        "keygate_denials_total",
        "keygate_keys",
        "keygate_config_generation",
        "keygate_config_last_reload_success",
        "keygate_config_reloads_total",
        "keygate_connections",
        "keygate_upstream_requests_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.has(name), "{name} is missing in\n{}", metrics.text());
    }
    assert_eq!(metrics.sum("keygate_keys", &[("state", "active")]), 1.0);
    assert_eq!(metrics.sum("keygate_config_last_reload_success", &[]), 1.0);
}

#[test]
fn every_request_is_counted_once() {
    let upstream = Upstream::echo();
    let gateway = busy_gateway(&upstream);
    let is = |outcome: &str, count: f64| {
        wait_for(outcome, || gateway.metrics().sum("keygate_requests_total", &[("outcome", outcome)]) == count);
    };
    is("forwarded", 3.0);
    is("limit_exceeded", 1.0);
    is("key_missing", 1.0);
    is("key_invalid", 1.0);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("keygate_requests_total", &[]), 7.0, "{}", metrics.text());
    assert_eq!(metrics.sum("keygate_requests_total", &[("route", "all"), ("outcome", "forwarded")]), 3.0);
    assert_eq!(metrics.sum("keygate_denials_total", &[]), 4.0);
    assert_eq!(metrics.sum("keygate_request_duration_seconds_count", &[("route", "all")]), 6.0);
}

#[test]
fn counters_never_go_back_over_a_reload() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    gateway.get("/").expect(200);
    gateway.reload(&settings.clone().without_route("all").route("other", &["path: /"]));
    gateway.get("/").expect(200);
    let count =
        |route: &str| gateway.metrics().sum("keygate_requests_total", &[("route", route), ("outcome", "forwarded")]);
    wait_for("both counts", || count("all") == 1.0 && count("other") == 1.0);
}

#[test]
fn clients_cannot_make_new_series() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let series = || gateway.metrics().text().lines().count();
    for request in requests_of_many_kinds("a") {
        let _ = gateway.client().ask(request);
    }
    wait_for("the counts of the first requests", || gateway.metrics().sum("keygate_requests_total", &[]) == 4.0);
    let before = series();
    for number in 0..20 {
        for request in requests_of_many_kinds(&format!("b{number}")) {
            let _ = gateway.client().ask(request);
        }
    }
    wait_for("the counts of all requests", || gateway.metrics().sum("keygate_requests_total", &[]) == 84.0);
    assert_eq!(series(), before);
}

fn requests_of_many_kinds(word: &str) -> [String; 4] {
    [
        get(&format!("/{word}?{word}"), &[]),
        get("/", &[]).replace("GET", word),
        get("/", &[]).replace("api.test", word),
        keyless("GET", "/", &[&format!("X-API-Key: {word}")]),
    ]
}

#[test]
fn promtool_is_content() {
    let upstream = Upstream::echo();
    let text = busy_gateway(&upstream).metrics().text().to_owned();
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checker =
        command.spawn().expect("promtool is installed (Debian package prometheus; `make test` installs it)");
    checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = checker.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.trim().is_empty(), "{words}");
}

#[test]
fn client_connections_are_gauged() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let open = || gateway.metrics().sum("keygate_connections", &[("side", "client")]);
    let mut clients = [gateway.client(), gateway.client()];
    clients.iter_mut().for_each(|client| drop(client.ask(get("/", &[])).expect(200)));
    wait_for("two connections", || open() == 2.0);
    drop(clients);
    wait_for("no connection", || open() == 0.0);
}

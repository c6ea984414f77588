//! The admin API of the real program: what it changes is in force on the data plane when the call answers.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{ALICE, Client, Gateway, Settings, Upstream, files_below, get, keyless, wait_for, wait_until};

/// A gateway with an admin API, and how it is asked.
struct Managed {
    gateway: Gateway,
    admin: SocketAddr,
    token: String,
}

impl Managed {
    fn start(settings: Settings) -> Self {
        let gateway = settings.top("admin: {address: 127.0.0.1:0}\ndata_dir: ../data").start();
        let admin = wait_until("the address of the admin API", || admin_address(&gateway.logs()));
        let token = fs::read_to_string(gateway.folder().join("data/admin.token")).unwrap().trim().to_owned();
        Self { gateway, admin, token }
    }

    fn data(&self) -> PathBuf {
        self.gateway.folder().join("data")
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.call_as(&self.token, method, path, body)
    }

    fn call_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let response = Client::connect(self.admin).ask(request);
        let body = if response.body.is_empty() { Value::Null } else { serde_json::from_slice(&response.body).unwrap() };
        (response.status, body)
    }

    /// Makes a key: its id and its secret.
    fn create(&self, body: &Value) -> (String, String) {
        let (status, answer) = self.call("POST", "/v1/keys", body);
        assert_eq!(status, 201, "{answer}");
        (text(&answer["key"]["id"]), text(&answer["secret"]))
    }

    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    fn status_with(&self, secret: &str) -> u16 {
        self.gateway.ask(with(secret)).status
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn with(secret: &str) -> String {
    keyless("GET", "/", &[&format!("X-API-Key: {secret}")])
}

fn admin_address(logs: &str) -> Option<SocketAddr> {
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "listening").find_map(|line| line["admin"].as_str()?.parse().ok())
}

#[test]
fn each_change_is_in_force_when_it_answers() {
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream));
    let (id, secret) = managed.create(&json!({"name": "first"}));
    let path = format!("/v1/keys/{id}");
    assert_eq!(managed.status_with(&secret), 200);
    for (call, expected) in [("disable", 401), ("enable", 200)] {
        managed.done("POST", &format!("{path}/{call}"), &Value::Null);
        assert_eq!(managed.status_with(&secret), expected, "{call}");
    }
    managed.done("PATCH", &path, &json!({"expires": "2020-01-01T00:00:00Z"}));
    assert_eq!(managed.status_with(&secret), 401);
    managed.done("PATCH", &path, &json!({"expires": null}));
    assert_eq!(managed.status_with(&secret), 200);
    let rotated = managed.done("POST", &format!("{path}/rotate"), &json!({"grace": "1h"}));
    let newer = text(&rotated["secret"]);
    assert_eq!([&secret, &newer].map(|secret| managed.status_with(secret)), [200, 200]);
    let newest = text(&managed.done("POST", &format!("{path}/rotate"), &json!({"grace": "0s"}))["secret"]);
    assert_eq!([&secret, &newer, &newest].map(|secret| managed.status_with(secret)), [401, 401, 200]);
    managed.done("DELETE", &path, &Value::Null);
    assert_eq!(managed.status_with(&newest), 401);
    assert_eq!(managed.done("GET", &path, &Value::Null)["key"]["state"], "revoked");
}

#[test]
fn both_secrets_of_a_rotation_share_limits_and_tell_their_last_use() {
    let upstream = Upstream::echo();
    let plan = ["limits: {few: {requests: 3, per: 1h}}"];
    let managed = Managed::start(Settings::before(&upstream).plan("three", &plan));
    let (id, secret) = managed.create(&json!({"name": "rotated", "plan": "three"}));
    assert_eq!(managed.status_with(&secret), 200);
    let rotated = managed.done("POST", &format!("/v1/keys/{id}/rotate"), &json!({}));
    let newer = text(&rotated["secret"]);
    assert!(
        rotated["key"]["secrets"][1]["last_used"].is_string() && rotated["key"]["secrets"][0]["last_used"].is_null()
    );
    assert_eq!([&newer, &secret, &newer].map(|secret| managed.status_with(secret)), [200, 200, 429]);
    let secrets = managed.done("GET", &format!("/v1/keys/{id}"), &Value::Null)["key"]["secrets"].clone();
    assert!(secrets[0]["last_used"].is_string() && secrets[1]["last_used"].is_string(), "{secrets}");
    assert!(secrets[0]["until"].is_null() && secrets[1]["until"].is_string(), "{secrets}");
}

#[test]
fn an_old_secret_ends_with_its_grace_without_a_restart() {
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream));
    let (id, secret) = managed.create(&json!({"name": "rotated"}));
    let newer = text(&managed.done("POST", &format!("/v1/keys/{id}/rotate"), &json!({"grace": "2s"}))["secret"]);
    managed.gateway.wait_for_status(&with(&secret), 401);
    assert_eq!(managed.status_with(&newer), 200);
}

#[test]
fn a_key_of_the_file_is_revoked_for_good_and_not_edited() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let managed = Managed::start(settings.clone());
    let path = format!("/v1/keys/{}", ALICE.id);
    assert_eq!(managed.call("PATCH", &path, &json!({"name": "x"})).0, 409);
    assert_eq!(managed.done("GET", &path, &Value::Null)["key"]["source"], "file");
    managed.gateway.get("/").expect(200);
    managed.done("DELETE", &path, &Value::Null);
    managed.gateway.get("/").expect(401);
    managed.gateway.reload(&settings.clone().key(crate::harness::BOB, &[]));
    managed.gateway.get("/").expect(401);
    // Under another id it is the same secret.
    managed.gateway.reload(&settings.without_key(ALICE.id).key_with_digest("key_other", ALICE.digest, &[]));
    managed.gateway.get("/").expect(401);
}

#[test]
fn a_key_of_the_store_that_the_file_revoked_once_stays_revoked() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let managed = Managed::start(settings.clone());
    let (id, secret) = managed.create(&json!({"name": "made"}));
    managed.gateway.reload(&settings.clone().revoke(&id));
    assert_eq!(managed.status_with(&secret), 401);
    managed.gateway.reload(&settings);
    assert_eq!(managed.status_with(&secret), 401);
    assert_eq!(managed.done("GET", &format!("/v1/keys/{id}"), &Value::Null)["key"]["state"], "revoked");
}

#[test]
fn a_damaged_row_keeps_no_revocation_from_coming_into_force() {
    let upstream = Upstream::echo();
    let mut managed = Managed::start(Settings::before(&upstream));
    let [(damaged, its_secret), (revoked, other_secret), (_, good_secret)] =
        ["a", "b", "c"].map(|name| managed.create(&json!({"name": name})));
    let damage = "CREATE TRIGGER damage AFTER UPDATE OF name ON keys WHEN new.name = 'damaged'
        BEGIN UPDATE keys SET owner = ' x' WHERE number = new.number; END";
    rusqlite::Connection::open(managed.data().join("keygate.db")).unwrap().execute_batch(damage).unwrap();
    managed.done("PATCH", &format!("/v1/keys/{damaged}"), &json!({"name": "damaged"}));
    managed.done("DELETE", &format!("/v1/keys/{revoked}"), &Value::Null);
    for _ in 0..2 {
        let statuses = [&its_secret, &other_secret, &good_secret].map(|secret| managed.status_with(secret));
        assert_eq!(statuses, [401, 401, 200]);
        assert_eq!(managed.gateway.status()["unreadable_records"], 1);
        let listed = managed.done("GET", "/v1/keys?state=revoked", &Value::Null);
        assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(managed.gateway.metrics().sum("keygate_store_unreadable_records", &[]), 1.0);
        assert!(managed.gateway.logs().contains("a row of the store cannot be read"));
        managed.gateway.kill();
        managed.gateway.start_again();
        managed.admin = wait_until("the address of the admin API", || admin_address(&managed.gateway.logs()));
    }
}

#[test]
fn silent_and_slow_connections_keep_no_operator_out() {
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream));
    for said in ["", "GET /v1/status HTTP/1.1\r\nHost: x\r\n"] {
        let connections: Vec<TcpStream> = (0..300)
            .map(|_| {
                let mut stream = TcpStream::connect(managed.admin).unwrap();
                stream.write_all(said.as_bytes()).unwrap();
                stream
            })
            .collect();
        let begin = Instant::now();
        managed.done("GET", "/v1/status", &Value::Null);
        assert!(begin.elapsed() < Duration::from_secs(4), "others were waited for: {:?}", begin.elapsed());
        drop(connections);
    }
}

#[test]
fn running_answers_end_when_their_key_is_revoked_by_a_call() {
    let upstream = Upstream::events();
    let managed = Managed::start(Settings::before(&upstream));
    let (id, secret) = managed.create(&json!({"name": "listener"}));
    let mut client = managed.gateway.client();
    let head = client.send(with(&secret)).read_head();
    assert_eq!(client.read_streamed(&head, 13), b"data: first\n\n");
    managed.done("POST", &format!("/v1/keys/{id}/revoke"), &Value::Null);
    assert!(client.is_closed());
    wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
}

/// A key in use on many connections at once: whoever begins a request after the revocation has answered is refused.
#[test]
fn no_request_that_begins_after_the_revocation_is_let_in() {
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream).threads(2).top("flood_guard: off"));
    for _ in 0..15 {
        let (id, secret) = managed.create(&json!({"name": "hammer"}));
        let at_work = AtomicUsize::new(0);
        let (last_admitted, answered) = thread::scope(|scope| {
            let hammer = || {
                let mut client = managed.gateway.client();
                let (mut last_admitted, mut refused) = (Instant::now(), 0);
                assert_eq!(client.ask(with(&secret)).status, 200);
                at_work.fetch_add(1, Ordering::Relaxed);
                while refused < 20 {
                    let begun = Instant::now();
                    match client.ask(with(&secret)).status {
                        200 => last_admitted = begun,
                        401 => refused += 1,
                        other => panic!("status {other}"),
                    }
                }
                last_admitted
            };
            let hammers: Vec<_> = (0..6).map(|_| scope.spawn(hammer)).collect();
            wait_for("all to be at work", || at_work.load(Ordering::Relaxed) == 6);
            managed.done("POST", &format!("/v1/keys/{id}/revoke"), &Value::Null);
            let answered = Instant::now();
            let last_admitted = hammers.into_iter().map(|hammer| hammer.join().unwrap()).max().unwrap();
            (last_admitted, answered)
        });
        assert!(last_admitted <= answered, "admitted after the revocation had answered");
    }
}

#[test]
fn the_use_of_a_revoked_key_is_told_once() {
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream));
    let (id, secret) = managed.create(&json!({"name": "revoked"}));
    managed.done("DELETE", &format!("/v1/keys/{id}"), &Value::Null);
    assert_eq!([(); 5].map(|()| managed.status_with(&secret)), [401; 5]);
    let told = || {
        let rows = managed.done("GET", "/v1/audit", &Value::Null)["rows"].as_array().unwrap().clone();
        rows.into_iter().filter(|row| row["action"] == "key.revoked_use").collect::<Vec<_>>()
    };
    wait_for("the event", || !told().is_empty());
    assert_eq!([(); 5].map(|()| managed.status_with(&secret)), [401; 5]);
    // A later event would come after this one.
    let (other, secret) = managed.create(&json!({"name": "revoked too"}));
    managed.done("DELETE", &format!("/v1/keys/{other}"), &Value::Null);
    managed.status_with(&secret);
    wait_for("the other event", || told().len() > 1);
    let targets: Vec<_> = told().iter().map(|row| (text(&row["target"]), text(&row["remote"]))).collect();
    assert_eq!(targets, [(id, "127.0.0.1".to_owned()), (other, "127.0.0.1".to_owned())]);
}

#[test]
fn explaining_says_what_happens_and_takes_nothing() {
    let upstream = Upstream::echo();
    let plan = ["limits: {two: {requests: 2, per: 1h}}"];
    let managed = Managed::start(Settings::before(&upstream).plan("small", &plan));
    let (id, secret) = managed.create(&json!({"name": "asked about", "plan": "small", "owner": "acme"}));
    let ask = |who: Value| {
        let mut question = json!({"method": "GET", "path": "/a/../b?c=d", "host": "h"});
        question.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        managed.done("POST", "/v1/explain", &question)
    };
    for _ in 0..5 {
        for who in [json!({"key": id}), json!({"secret": secret})] {
            let explained = ask(who);
            assert_eq!((&explained["outcome"], &explained["path"]), (&json!("forwarded"), &json!("/b")), "{explained}");
            assert_eq!((&explained["plan"], &explained["owner"]), (&json!("small"), &json!("acme")));
            assert_eq!(explained["limits"][0]["remaining"], 2);
        }
    }
    assert_eq!([200, 200, 429], [(); 3].map(|()| managed.status_with(&secret)));
    let explained = ask(json!({"key": id}));
    assert_eq!((&explained["outcome"], &explained["status"]), (&json!("limit_exceeded"), &json!(429)), "{explained}");
    managed.done("DELETE", &format!("/v1/keys/{id}"), &Value::Null);
    assert_eq!(ask(json!({"key": id}))["outcome"], "key_revoked");
    assert_eq!(ask(json!({"secret": "nobody-ever-heard-of-this-one"}))["outcome"], "key_unknown");
}

#[test]
fn a_reload_that_is_asked_for_answers_when_it_is_in_force_or_with_every_problem() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let managed = Managed::start(settings.clone());
    assert_eq!(managed.done("POST", "/v1/config/check", &Value::Null)["problems"], json!([]));
    let generation = managed.done("POST", "/v1/reload", &Value::Null)["generation"].as_u64().unwrap();
    assert!(generation >= 2);
    fs::write(managed.gateway.config(), "listeners: 7\n").unwrap();
    let (status, answer) = managed.call("POST", "/v1/reload", &Value::Null);
    assert_eq!((status, answer["code"].as_str()), (422, Some("invalid")), "{answer}");
    managed.gateway.get("/").expect(200);
}

#[test]
fn no_secret_is_anywhere_but_in_its_answer() {
    let upstream = Upstream::echo();
    let mut managed = Managed::start(Settings::before(&upstream));
    let (id, first) = managed.create(&json!({"name": "quiet"}));
    let second = text(&managed.done("POST", &format!("/v1/keys/{id}/rotate"), &json!({}))["secret"]);
    let token = managed.done_created("/v1/tokens", &json!({"role": "viewer"}));
    assert_eq!([&first, &second].map(|secret| managed.status_with(secret)), [200, 200]);
    managed.done("POST", "/v1/keys/verify", &json!({"secret": first}));
    managed.call_as("kga_0123456789abcdefghijklmnopqrstuv000000", "GET", "/v1/keys", &Value::Null);
    let mut texts = vec![managed.gateway.logs()];
    for path in ["/v1/keys", "/v1/audit", "/v1/tokens", "/v1/status"] {
        texts.push(managed.done("GET", path, &Value::Null).to_string());
    }
    managed.gateway.stop();
    for file in files_below(&managed.data()) {
        if !file.ends_with("admin.token") {
            texts.push(String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned());
        }
    }
    for secret in [&first, &second, &token, &managed.token] {
        let body = &secret[secret.len() - 38..];
        assert!(texts.iter().all(|text| !text.contains(body)), "a secret has got out");
    }
}

impl Managed {
    fn done_created(&self, path: &str, body: &Value) -> String {
        let (status, answer) = self.call("POST", path, body);
        assert_eq!(status, 201, "{answer}");
        text(&answer["secret"])
    }
}

#[test]
fn a_start_makes_a_token_that_only_its_owner_can_read_and_keeps_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = Upstream::echo();
    let managed = Managed::start(Settings::before(&upstream));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(managed.data()), 0o700);
    for file in ["admin.token", "keygate.db"] {
        assert_eq!(mode(managed.data().join(file)), 0o600, "{file}");
    }
    assert_eq!(managed.call_as("", "GET", "/v1/keys", &Value::Null).0, 401);
    assert_eq!(managed.call_as(ALICE.secret, "GET", "/v1/keys", &Value::Null).0, 401);
    managed.gateway.ask(get("/", &[])).expect(200);
}

#[test]
fn an_owner_makes_no_key_without_limits() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).plan("small", &["limits: {one: {requests: 1, per: 1h}}"]);
    let managed = Managed::start(settings.clone());
    let token = managed.done_created("/v1/tokens", &json!({"role": "owner:acme"}));
    let make = || managed.call_as(&token, "POST", "/v1/keys", &json!({"name": "mine"}));
    assert_eq!(make().0, 409);
    managed.gateway.reload(&settings.top("default_plan: small\nadmin: {address: 127.0.0.1:0}\ndata_dir: ../data"));
    let (status, answer) = make();
    assert_eq!(status, 201, "{answer}");
    let secret = text(&answer["secret"]);
    assert_eq!([(); 2].map(|()| managed.status_with(&secret)), [200, 429]);
}

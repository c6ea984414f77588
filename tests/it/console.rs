//! The web console of the real program: its page, sessions of browsers, links for owners.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway, Response, Settings, Upstream, files_below, keyless, wait_until};

/// A gateway with a console, and a browser that sends what it is told.
struct Console {
    gateway: Gateway,
    _upstream: Upstream,
    address: SocketAddr,
    token: String,
}

const OWN_PAGE: &str = "Sec-Fetch-Site: same-origin";
const NAVIGATION: &str = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document";

impl Console {
    fn start(lines: &str) -> Self {
        let upstream = Upstream::echo();
        let settings =
            Settings::before(&upstream).top(&format!("admin: {{address: 127.0.0.1:0}}\ndata_dir: ../data\n{lines}"));
        let gateway = settings.start();
        let address = wait_until("the address of the admin API", || admin_address(&gateway.logs()));
        let token = fs::read_to_string(gateway.folder().join("data/admin.token")).unwrap().trim().to_owned();
        Self { gateway, _upstream: upstream, address, token }
    }

    /// A request with these fields, one a line, and a JSON body unless it is null.
    fn ask(&self, call: &str, fields: &[&str], body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: {}\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        Client::connect(self.address).ask(request)
    }

    /// A call with the operator's token.
    fn as_operator(&self, call: &str, body: &Value) -> Value {
        let response = self.ask(call, &[&format!("Authorization: Bearer {}", self.token)], body);
        assert!(response.status < 300, "{call}: {}", response.text());
        document(&response)
    }

    /// Signs in: the field with the cookie.
    fn sign_in(&self, token: &str) -> String {
        cookie(&self.ask("POST /v1/session", &[OWN_PAGE], &json!({"token": token})).expect(200))
    }

    /// A call of a page of the console.
    fn page(&self, cookie: &str, call: &str, body: &Value) -> Response {
        self.ask(call, &[OWN_PAGE, cookie], body)
    }

    /// A link for an owner, less its origin.
    fn link(&self, owner: &str) -> String {
        let link = self.as_operator("POST /v1/portal-sessions", &json!({"owner": owner}));
        let url = link["url"].as_str().unwrap();
        url.strip_prefix(&format!("http://{}", self.address)).unwrap().to_owned()
    }

    fn open(&self, link: &str) -> Response {
        self.ask(&format!("GET {link}"), &[NAVIGATION], &Value::Null)
    }
}

fn document(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// The field by which a browser sends the cookie of an answer back.
#[track_caller]
fn cookie(response: &Response) -> String {
    let field = response.value("set-cookie").expect("a cookie");
    let (pair, attributes) = field.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    assert!(pair.len() == "__Host-keygate=".len() + 43, "{pair}");
    format!("Cookie: {pair}")
}

fn admin_address(logs: &str) -> Option<SocketAddr> {
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "listening").find_map(|line| line["admin"].as_str()?.parse().ok())
}

#[test]
fn an_operator_signs_in_makes_a_key_and_signs_out() {
    let console = Console::start("");
    let session = console.sign_in(&console.token);
    let made = document(&console.page(&session, "POST /v1/keys", &json!({"name": "made in a browser"})).expect(201));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(console.gateway.ask(keyless("GET", "/", &[&format!("X-API-Key: {secret}")])).status, 200);
    console.page(&session, "DELETE /v1/session", &Value::Null).expect(204);
    console.page(&session, "GET /v1/keys", &Value::Null).expect(401);
    // Sessions are not made to be sent to the gateway's clients, nor written anywhere.
    let value = session.split_once('=').unwrap().1;
    assert!(!console.gateway.logs().contains(value));
}

#[test]
fn a_session_ends_at_once_when_its_token_is_revoked() {
    let console = Console::start("");
    let made = console.as_operator("POST /v1/tokens", &json!({"role": "viewer"}));
    let session = console.sign_in(made["secret"].as_str().unwrap());
    console.page(&session, "GET /v1/keys", &Value::Null).expect(200);
    console.as_operator(&format!("DELETE /v1/tokens/{}", made["id"].as_str().unwrap()), &Value::Null);
    console.page(&session, "GET /v1/keys", &Value::Null).expect_problem(401, "unauthenticated");
}

#[test]
fn requests_of_other_pages_are_refused_though_they_bring_the_cookie() {
    let console = Console::start("");
    let session = console.sign_in(&console.token);
    let body = json!({"name": "forged"});
    for from in
        ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:1", "X-Nothing: 1"]
    {
        console.ask("POST /v1/keys", &[from, &session], &body).expect_problem(403, "cross_site");
    }
    let own = format!("Origin: http://{}", console.address);
    console.ask("POST /v1/keys", &[&own, &session], &body).expect(201);
    let rebound = format!("GET /v1/keys HTTP/1.1\r\nHost: evil.example\r\n{OWN_PAGE}\r\n{session}\r\n\r\n");
    Client::connect(console.address).ask(rebound).expect_problem(403, "cross_site");
}

#[test]
fn a_link_works_once() {
    let console = Console::start("");
    let link = console.link("acme");
    // Neither who looks whether it is there, nor a frame, nor a picture, nor a browser that fetches ahead.
    assert_eq!(Client::connect(console.address).ask(format!("HEAD {link} HTTP/1.1\r\nHost: x\r\n\r\n")).status, 403);
    for field in ["Sec-Fetch-Dest: iframe", "Sec-Fetch-Dest: image", "Sec-Purpose: prefetch;prerender"] {
        console.ask(&format!("GET {link}"), &[field], &Value::Null).expect(403);
    }
    let opened = console.open(&link).expect(303);
    assert_eq!(opened.value("location"), Some("/"));
    let session = cookie(&opened);
    let shown = document(&console.page(&session, "GET /v1/session", &Value::Null).expect(200));
    assert_eq!((&shown["role"], &shown["owner"]), (&json!("owner"), &json!("acme")));
    let again = console.open(&link).expect(410);
    assert!(again.value("set-cookie").is_none() && again.text().contains("This link has ended"));
    console.open("/portal/nothing").expect(410);
}

#[test]
fn an_owner_sees_nothing_of_another() {
    let console = Console::start("");
    let theirs = console.as_operator("POST /v1/keys", &json!({"name": "theirs", "owner": "other"}));
    let path = format!("/v1/keys/{}", theirs["key"]["id"].as_str().unwrap());
    let session = cookie(&console.open(&console.link("acme")).expect(303));
    console.page(&session, &format!("GET {path}"), &Value::Null).expect_problem(404, "not_found");
    console.page(&session, &format!("DELETE {path}"), &Value::Null).expect_problem(404, "not_found");
    assert_eq!(document(&console.page(&session, "GET /v1/keys", &Value::Null).expect(200))["keys"], json!([]));
    console.page(&session, "GET /v1/audit", &Value::Null).expect_problem(403, "forbidden");
}

#[test]
fn every_answer_is_guarded() {
    let console = Console::start("");
    for (call, status) in [
        ("GET /", 200),
        ("GET /assets/nothing.js", 404),
        ("GET /portal/nothing", 410),
        ("GET /v1/session", 401),
        ("GET /v1/openapi.json", 200),
        ("GET /nothing", 404),
        ("POST /", 405),
    ] {
        let response = console.ask(call, &[], &Value::Null).expect(status);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.value(name), Some(value), "{call}");
        }
        let policy = response.value("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{call}: {policy}");
    }
}

#[test]
fn a_sign_on_proxy_is_believed_from_its_network_alone() {
    let says = [OWN_PAGE, "X-Auth-User: alice"];
    let header = |networks: &str| format!("console: {{trusted_header: {{name: X-Auth-User, networks: [{networks}]}}}}");
    let foreign = Console::start(&header("192.0.2.1"));
    foreign.ask("GET /v1/keys", &says, &Value::Null).expect_problem(401, "unauthenticated");
    let known = Console::start(&header("127.0.0.0/8"));
    known.ask("POST /v1/keys", &says, &json!({"name": "n"})).expect(201);
    known.ask("POST /v1/keys", &["X-Auth-User: alice"], &json!({"name": "n"})).expect_problem(403, "cross_site");
    let rows = known.as_operator("GET /v1/audit", &Value::Null);
    assert_eq!(rows["rows"].as_array().unwrap().last().unwrap()["actor"], "sso:alice");
}

#[test]
fn a_console_that_is_off_lets_no_browser_in() {
    let console = Console::start("console: {enabled: false}");
    console.ask("GET /", &[], &Value::Null).expect(404);
    console.ask("POST /v1/session", &[OWN_PAGE], &json!({"token": console.token})).expect(404);
    let bearer = format!("Authorization: Bearer {}", console.token);
    console.ask("POST /v1/portal-sessions", &[&bearer], &json!({"owner": "acme"})).expect(404);
    console.ask("GET /v1/keys", &[&bearer], &Value::Null).expect(200);
}

#[test]
fn a_secret_is_shown_again_if_the_operator_wants_that_and_is_nowhere_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "5a".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut console = Console::start(&format!("console: {{recoverable_secrets: {{key_file: \"{}\"}}}}", key.display()));
    let made = console.as_operator("POST /v1/keys", &json!({"name": "kept", "owner": "acme"}));
    let path = format!("/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    let session = cookie(&console.open(&console.link("acme")).expect(303));
    assert_eq!(document(&console.page(&session, "GET /v1/session", &Value::Null))["recoverable_secrets"], true);
    let revealed = document(&console.page(&session, &format!("POST {path}/reveal"), &Value::Null).expect(200));
    assert_eq!(revealed["secret"], made["secret"]);
    let rows = console.as_operator("GET /v1/audit", &Value::Null);
    let last = rows["rows"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["action"], &last["actor"]), (&json!("secret.reveal"), &json!("portal:acme")));
    let secret = made["secret"].as_str().unwrap();
    let body = &secret[secret.len() - 38..];
    let data = console.gateway.folder().join("data");
    console.gateway.stop();
    let files = files_below(&data).into_iter().map(|file| fs::read(file).unwrap());
    let texts: Vec<String> = files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    assert!(!texts.is_empty() && texts.iter().all(|text| !text.contains(body)));
    assert!(!rows.to_string().contains(body) && !console.gateway.logs().contains(body));
}

#[test]
fn without_the_operators_wish_no_secret_is_shown_twice() {
    let console = Console::start("");
    let made = console.as_operator("POST /v1/keys", &json!({"name": "once"}));
    let call = format!("POST /v1/keys/{}/reveal", made["key"]["id"].as_str().unwrap());
    let bearer = format!("Authorization: Bearer {}", console.token);
    console.ask(&call, &[&bearer], &Value::Null).expect_problem(409, "conflict");
}

#[test]
fn links_lead_to_the_public_url_and_its_pages_are_believed() {
    let console = Console::start("console: {public_url: \"https://keys.example.com/\"}");
    let link = console.as_operator("POST /v1/portal-sessions", &json!({"owner": "acme"}));
    let path = link["url"].as_str().unwrap().strip_prefix("https://keys.example.com").unwrap().to_owned();
    let session = cookie(&console.open(&path).expect(303));
    let origin = "Origin: https://keys.example.com";
    console.ask("POST /v1/keys", &[origin, &session], &json!({"name": "n"})).expect(201);
}

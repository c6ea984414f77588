//! The command line as a client of the admin API: what it asks, and what it makes of each answer.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::{fs, net};

use serde_json::{Value, json};

use crate::harness::{ALICE, Admin, BOB, Ran, Reply, TOKEN, command, run, run_on_terminal, wait_for, wait_until};

fn key(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "owner": "acme", "plan": "free", "scopes": ["a:read", "b"], "networks": ["10.0.0.0/8"],
        "not_before": null, "expires": "2027-01-01T00:00:00Z", "state": "active", "source": "store",
        "secrets": [{"hint": "kg_live_0123…", "since": "2026-01-01T00:00:00Z", "until": null, "last_used": null}],
        "last_used": "2026-07-01T12:00:00.123Z", "created": "2026-01-01T00:00:00Z", "changed": "2026-01-01T00:00:00Z",
        "revision": 12, "conflict": null, "extra_allowance": {"day": 0, "month": 7}, "of_a_later_version": {"x": 1}})
}

fn changed() -> Value {
    json!({"key": key("key_1", "Acme production"), "revision": 13})
}

fn made() -> Value {
    json!({"key": key("key_1", "Acme production"), "secret": ALICE.secret, "revision": 12})
}

fn token() -> Value {
    json!({"id": "tok_0123456789abcdef", "name": "ci", "role": "viewer", "created": "2026-01-01T00:00:00Z", "expires": null,
        "revoked": null})
}

fn row(number: u64) -> Value {
    json!({"number": number, "revision": number, "at": "2026-07-01T12:00:00.005Z", "actor": "cli", "remote": "127.0.0.1",
        "action": "key.create", "target": "key_1", "before": null, "after": {"name": "x"}, "request_id": "r", "hash": "00"})
}

fn sink() -> Value {
    json!({"name": "hooks", "type": "webhook", "paused": true, "alarm": true, "queues": [
        {"queue": "usage", "state": "paused", "guarantee": "at_least_once", "waiting": 0, "lag_seconds": 0.0, "set_aside": 0,
            "taken": 7, "failures": 0, "trouble": null},
        {"queue": "events", "state": "retrying", "guarantee": "at_least_once", "waiting": 3, "lag_seconds": 61.7, "set_aside": 1,
            "taken": 2, "failures": 4, "trouble": {"at": "2026-07-01T12:00:00Z", "kind": "credentials",
            "detail": "the answer has status 401"}}]})
}

fn problem(status: u16, code: &str) -> Reply {
    let detail = format!("This is {code}.");
    Reply::Json(status, json!({"title": "No", "status": status, "code": code, "detail": detail, "request_id": "r-1"}))
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The value that a table of fields shows.
fn field<'r>(ran: &'r Ran, name: &str) -> Option<&'r str> {
    ran.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  ")).map(str::trim_start)
}

/// Runs a command, which does one call and succeeds.
#[track_caller]
fn check(arguments: &[&str], answer: Value, expected: (&str, &str, Value)) -> Ran {
    let admin = Admin::always(200, answer);
    let ran = admin.run(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    let (method, target, body) = expected;
    assert_eq!(admin.calls(), [(method.to_owned(), target.to_owned(), body)], "{arguments:?}");
    ran
}

#[test]
fn each_command_asks_as_the_api_has_it() {
    let none = Value::Null;
    let page = json!({"keys": [key("key_1", "x")], "next": null});
    check(&["keys", "list"], page.clone(), ("GET", "/v1/keys?limit=1000", none.clone()));
    let filters = [
        "keys", "list", "--owner", "Acme Inc", "--plan", "free", "--state", "active", "--search", "a&b", "--limit", "5",
    ];
    let target = "/v1/keys?owner=Acme%20Inc&plan=free&state=active&q=a%26b&limit=5";
    check(&filters, page, ("GET", target, none.clone()));
    check(&["keys", "show", "key_1"], changed(), ("GET", "/v1/keys/key_1", none.clone()));
    check(&["keys", "disable", "key_1"], changed(), ("POST", "/v1/keys/key_1/disable", none.clone()));
    check(&["keys", "enable", "key_1"], changed(), ("POST", "/v1/keys/key_1/enable", none.clone()));
    check(&["keys", "revoke", "--yes", "key_1"], changed(), ("POST", "/v1/keys/key_1/revoke", none.clone()));
    let rotate = "/v1/keys/key_1/rotate";
    check(&["keys", "rotate", "key_1"], made(), ("POST", rotate, json!({"grace": "24h"})));
    check(&["keys", "rotate", "key_1", "--grace", "0s", "--yes"], made(), ("POST", rotate, json!({"grace": "0s"})));
    check(&["keys", "create", "--name", "x"], made(), ("POST", "/v1/keys", json!({"name": "x", "env": "live"})));
    let tokens = json!({"tokens": [token()]});
    check(&["tokens", "list"], tokens, ("GET", "/v1/tokens?limit=1000", none.clone()));
    let revoked = json!({"token": token(), "revision": 3});
    let path = "/v1/tokens/tok_0123456789abcdef";
    check(&["tokens", "revoke", "tok_0123456789abcdef", "-y"], revoked, ("DELETE", path, none.clone()));
    let sinks = json!({"sinks": [sink()]});
    check(&["sinks"], sinks.clone(), ("GET", "/v1/sinks", none.clone()));
    check(&["sinks", "list"], sinks, ("GET", "/v1/sinks", none.clone()));
    for verb in ["pause", "resume"] {
        let path = format!("/v1/sinks/hooks/{verb}");
        check(&["sinks", verb, "hooks"], json!({"sink": sink()}), ("POST", &path, none.clone()));
    }
    let rows = json!({"rows": [row(1)], "next": null});
    check(&["audit"], rows.clone(), ("GET", "/v1/audit?from_end=true&limit=100", none.clone()));
    check(&["audit", "--after", "7", "--limit", "5"], rows, ("GET", "/v1/audit?after=7&limit=5", none.clone()));
    check(&["status"], json!({"version": "1"}), ("GET", "/v1/status", none.clone()));
    check(&["reload"], json!({"generation": 2}), ("POST", "/v1/reload", none));
}

#[test]
fn a_key_is_made_with_all_that_was_said_of_it() {
    let arguments = [
        "keys",
        "create",
        "--name",
        "Acme",
        "--owner",
        "acme",
        "--plan",
        "pro",
        "--scope",
        "a",
        "--scope",
        "b",
        "--network",
        "10.0.0.0/8",
        "--expires",
        "90d",
        "--not-before",
        "2026-12-01T00:00:00Z",
        "--env",
        "test",
        "--extra-day",
        "5",
        "--extra-month",
        "0",
    ];
    let body = json!({"name": "Acme", "owner": "acme", "plan": "pro", "scopes": ["a", "b"], "networks": ["10.0.0.0/8"],
        "expires": "90d", "not_before": "2026-12-01T00:00:00Z", "env": "test",
        "extra_allowance": {"day": 5, "month": 0}});
    let ran = check(&arguments, made(), ("POST", "/v1/keys", body));
    assert_eq!(ran.stdout, format!("{}\n", ALICE.secret), "where there is no terminal the secret stands alone");
    assert!(ran.stderr.contains("key_1") && !ran.stderr.contains(ALICE.secret), "{}", ran.stderr);
}

#[test]
fn a_new_secret_is_printed_in_the_form_that_was_asked_for() {
    let admin = Admin::always(201, made());
    let ran = |output| admin.run(&["keys", "create", "--name", "x", "--output", output]);
    assert_eq!(parsed(&ran("json")), made());
    assert_eq!(field(&ran("table"), "secret    "), Some(ALICE.secret), "{:?}", ran("table"));
    let csv = ran("csv").stdout;
    assert!(csv.starts_with("id,name,") && csv.ends_with(&format!(",{}\r\n", ALICE.secret)), "{csv}");
    assert_eq!(ran("secret").stdout, format!("{}\n", ALICE.secret));
    assert_eq!(ran("yaml").code, Some(2));
}

#[test]
fn a_secret_is_not_lost_because_its_key_is_of_a_strange_form() {
    let ran =
        Admin::always(201, json!({"key": {"odd": 1}, "secret": ALICE.secret})).run(&["keys", "create", "--name", "x"]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{}\n", ALICE.secret)));
    let ran = Admin::always(201, json!({"key": null, "secret": "\u{1b}[2J"})).run(&["keys", "create", "--name", "x"]);
    assert!(ran.code == Some(1) && !ran.stderr.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn on_a_terminal_a_new_secret_comes_with_its_key() {
    let admin = Admin::always(201, made());
    let (code, shown) = run_on_terminal(&mut admin.command(&["keys", "create", "--name", "x"]), "");
    assert_eq!(code, Some(0), "{shown}");
    for part in ["Acme production", ALICE.secret, "shown only this once"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_lost_connection_is_tried_once_more_under_the_same_name() {
    let admin = Admin::answering(vec![Reply::Raw(Vec::new()), Reply::Json(201, made())]);
    let ran = admin.run(&["keys", "create", "--name", "x"]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{}\n", ALICE.secret)));
    let seen = admin.seen();
    let names: Vec<_> = seen.iter().map(|request| request.value("idempotency-key").unwrap()).collect();
    assert!(names.len() == 2 && names[0] == names[1] && names[0].len() == 32, "{names:?}");
    admin.run(&["keys", "create", "--name", "x"]);
    assert_ne!(admin.seen()[2].value("idempotency-key"), Some(names[0]), "each run has its own");
}

#[test]
fn a_replay_without_its_secret_is_told() {
    let mut replay = made();
    replay["secret"] = Value::Null;
    let reply = Reply::With(201, "Idempotent-Replayed: true\r\n", replay);
    let admin =
        Admin::answering(vec![Reply::Raw(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{".to_vec()), reply]);
    let ran = admin.run(&["keys", "create", "--name", "x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("key_1 is there") && ran.stderr.contains("rotate or revoke it"), "{}", ran.stderr);
}

#[test]
fn a_lost_answer_to_what_has_no_name_is_not_asked_for_again() {
    let admin = Admin::answering(vec![Reply::Raw(Vec::new())]);
    let ran = admin.run(&["keys", "disable", "key_1"]);
    assert_eq!((ran.code, admin.seen().len()), (Some(6), 1));
    assert!(ran.stderr.contains("whether it was done is not known"), "{}", ran.stderr);
    let ran = admin.run(&["keys", "show", "key_1"]);
    assert_eq!((ran.code, admin.seen().len()), (Some(6), 3), "a question can be asked twice");
    assert!(!ran.stderr.contains("whether it was done"), "{}", ran.stderr);
}

#[test]
fn each_problem_has_its_exit_code() {
    for (status, code, exit) in [
        (400, "malformed", 2),
        (401, "unauthenticated", 4),
        (403, "forbidden", 4),
        (404, "not_found", 3),
        (409, "conflict", 5),
        (409, "revoked", 4),
        (412, "precondition_failed", 5),
        (422, "invalid", 2),
        (429, "too_many_requests", 4),
        (500, "internal", 1),
        (503, "unavailable", 6),
    ] {
        let ran = Admin::answering(vec![problem(status, code)]).run(&["keys", "show", "key_1"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(exit), ""), "{status} {code}");
        assert!(ran.stderr.contains(&format!("This is {code}.")), "{}", ran.stderr);
    }
}

#[test]
fn what_is_wrong_with_fields_is_told() {
    let errors = json!([{"field": "scopes[1]", "code": "scope", "detail": "no\u{1b}[2J scope"}]);
    let admin = Admin::always(422, json!({"code": "invalid", "detail": "Not a key.", "errors": errors}));
    let ran = admin.run(&["keys", "create", "--name", "x"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.stderr, "keygate: Not a key. (invalid)\n  scopes[1]: no\\u{1b}[2J scope\n");
}

#[test]
fn when_to_try_again_is_told() {
    let body = json!({"code": "too_many_requests", "detail": "Too many failed logins."});
    let ran = Admin::answering(vec![Reply::With(429, "Retry-After: 7\r\n", body)]).run(&["status"]);
    assert_eq!(ran.code, Some(4));
    assert_eq!(ran.stderr, "keygate: Too many failed logins. (too_many_requests)\n  try again in 7 s\n");
}

#[test]
fn a_gateway_that_is_not_there_is_6() {
    let admin = Admin::always(200, json!({}));
    let free = net::TcpListener::bind("127.0.0.78:0").unwrap().local_addr().unwrap();
    let ran = run(&["status", "--admin", &format!("http://{free}"), "--token-file", &admin.token_file()]);
    assert_eq!(ran.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("cannot be reached"), "{ran:?}");
}

#[test]
fn what_no_gateway_answers_is_1() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let large = format!("{}{}", head(17 << 20), " ".repeat(17 << 20));
    for (answer, words) in [
        (format!("{}{{\"keys\":", head(8)).into_bytes(), "no JSON"),
        (format!("{}[]", head(2)).into_bytes(), "no JSON object"),
        (format!("{}{{}}", head(2)).into_bytes(), "not of the form"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), "not the answer of a gateway"),
        (redirect, "points elsewhere"),
        (large.into_bytes(), "larger than 16 MiB"),
    ] {
        let admin = Admin::answering(vec![Reply::Raw(answer)]);
        let ran = admin.run(&["keys", "show", "key_1"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[test]
fn a_token_that_comes_back_is_not_shown() {
    let admin = Admin::always(403, json!({"code": "forbidden", "detail": format!("The token {TOKEN} may not.")}));
    let ran = admin.run(&["keys", "show", "key_1"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("The token [redacted] may not."), "{}", ran.stderr);
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let admin = Admin::always(200, json!({"version": "1"}));
    let mut status = admin.command(&["status"]);
    let output =
        status.env("http_proxy", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(admin.check(&output).code, Some(0));
}

#[test]
fn the_connection_can_come_from_the_environment() {
    let admin = Admin::always(200, json!({"version": "1"}));
    let mut status = command(&["status"]);
    let output =
        status.env("KEYGATE_ADMIN", admin.url()).env("KEYGATE_TOKEN_FILE", admin.token_file()).output().unwrap();
    assert_eq!(admin.check(&output).code, Some(0));
    assert_eq!(admin.seen().len(), 1);
}

#[test]
fn the_connection_and_the_output_can_stand_before_and_behind_a_command() {
    let page = json!({"keys": [key("key_1", "x")], "next": null});
    let tokens = json!({"tokens": [token()], "next": null});
    for (group, verb, answer) in [("keys", "list", page), ("tokens", "list", tokens)] {
        let admin = Admin::always(200, answer);
        let (url, file) = (admin.url(), admin.token_file());
        let options = ["--admin", &url, "--token-file", &file, "--output", "json"];
        let before = [&[group], options.as_slice(), &[verb]].concat();
        let behind = [&[group, verb], options.as_slice()].concat();
        let around = [&[group], &options[..2], &[verb], &options[2..]].concat();
        for arguments in [before, behind, around] {
            let ran = admin.check(&command(&arguments).output().unwrap());
            assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
            assert_eq!(
                parsed(&ran)[0]["id"].as_str().map(|id| &id[..3]),
                Some(if group == "keys" { "key" } else { "tok" })
            );
        }
    }
    let admin = Admin::always(200, json!({"keys": [], "next": null}));
    let ran = admin.run(&["keys", "--output", "json", "list", "--output", "csv"]);
    assert!(ran.stdout.starts_with("id,name,"), "what stands behind a command holds: {ran:?}");
    assert_eq!(run(&["keys", "--output", "json", "hash", "-"]).status.code(), Some(2), "a digest has no form");
}

#[test]
fn a_new_secret_is_printed_in_the_form_that_was_asked_for_before_the_command() {
    let admin = Admin::always(201, made());
    assert_eq!(parsed(&admin.run(&["keys", "--output", "json", "create", "--name", "x"])), made());
    assert_eq!(parsed(&admin.run(&["keys", "--output", "json", "rotate", "key_1"])), made());
}

#[test]
fn the_usage_asks_for_no_more_than_there_must_be() {
    let usage = |arguments: &[&str]| {
        let mut asked = command(arguments);
        let asked = asked.env("KEYGATE_ADMIN", "http://127.0.0.1:1").env("KEYGATE_TOKEN_FILE", "t");
        let output = asked.env("KEYGATE_INSECURE", "1").output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        told.lines().find_map(|line| line.strip_prefix("Usage: keygate ")).unwrap_or_default().to_owned()
    };
    assert_eq!(usage(&["keys", "show"]), "keys show <ID>");
    assert_eq!(usage(&["keys", "create"]), "keys create --name <NAME>");
    assert_eq!(usage(&["audit", "verify"]), "audit verify --store <FILE>");
    assert_eq!(usage(&["keys", "list", "--help"]), "keys list [OPTIONS]");
    assert_eq!(usage(&["explain"]), "explain --path <PATH> <->");
}

#[test]
fn a_connection_that_cannot_be_is_wrong_usage() {
    let admin = Admin::always(200, json!({}));
    let ran = |arguments: &[&str]| admin.check(&command(arguments).output().unwrap());
    let file = admin.token_file();
    let https = ran(&["status", "--admin", "https://127.0.0.1", "--token-file", &file]);
    assert!(https.code == Some(2) && https.stderr.contains("not supported in this build"), "{https:?}");
    let password = ran(&["status", "--admin", "http://u:pass@127.0.0.1", "--token-file", &file]);
    assert!(password.code == Some(2) && !password.stderr.contains("pass@"), "{password:?}");
    let missing = ran(&["status", "--admin", &admin.url(), "--token-file", "/no/such/token"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("/no/such/token"), "{missing:?}");
    for text in [" \n", "machine-7\n", "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6T\n", ALICE.secret] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let none = ran(&["status", "--admin", &admin.url(), "--token-file", &file]);
        assert!(none.code == Some(2) && none.stderr.contains("holds no admin token"), "{none:?}");
        assert!(!none.stderr.contains("chmod"), "{none:?}");
    }
    assert!(admin.seen().is_empty());
}

#[test]
fn a_token_goes_to_another_machine_only_if_that_is_said() {
    let admin = Admin::always(200, json!({}));
    let elsewhere = ["status", "--admin", "http://no-such-host.invalid:1", "--token-file", &admin.token_file()];
    let refused = admin.check(&command(&elsewhere).output().unwrap());
    assert!(refused.code == Some(2) && refused.stderr.contains("SSH tunnel"), "{refused:?}");
    let off = admin.check(&command(&elsewhere).env("KEYGATE_INSECURE", "0").output().unwrap());
    assert_eq!(off.code, Some(2));
    assert_eq!(admin.run(&["status", "--insecure"]).code, Some(0));
    let mut status = admin.command(&["status"]);
    assert_eq!(admin.check(&status.env("KEYGATE_INSECURE", "1").output().unwrap()).code, Some(0));
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    let admin = Admin::always(200, json!({"version": "1"}));
    assert_eq!(admin.run(&["status"]).stderr, "");
    fs::set_permissions(admin.token_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = admin.run(&["status"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("others can read the admin token"), "{}", ran.stderr);
}

#[test]
fn all_pages_of_a_list_are_shown_or_as_many_as_were_asked_for() {
    let page = |first: u32, next: Value| {
        let keys: Vec<_> = (first..first + 2).map(|n| key(&format!("key_{n}"), "x")).collect();
        Reply::Json(200, json!({"keys": keys, "next": next}))
    };
    let ids = |ran: Ran| -> Vec<String> {
        parsed(&ran).as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    let admin = Admin::answering(vec![page(1, json!("c+1")), page(3, json!("c2")), page(5, Value::Null)]);
    assert_eq!(ids(admin.run(&["keys", "list", "--output", "json"])).len(), 6);
    let targets: Vec<_> = admin.calls().into_iter().map(|(_, target, _)| target).collect();
    assert_eq!(targets, ["/v1/keys?limit=1000", "/v1/keys?cursor=c%2B1&limit=1000", "/v1/keys?cursor=c2&limit=1000"]);
    let admin = Admin::answering(vec![page(1, json!("c1")), page(3, json!("c2"))]);
    assert_eq!(ids(admin.run(&["keys", "list", "--output", "json", "--limit", "3"])), ["key_1", "key_2", "key_3"]);
    assert_eq!(admin.calls()[1].1, "/v1/keys?cursor=c1&limit=1");
}

#[test]
fn all_pages_of_tokens_are_shown() {
    let page = |next: Value| Reply::Json(200, json!({"tokens": [token()], "next": next}));
    let admin = Admin::answering(vec![page(json!("a=")), page(Value::Null)]);
    let ran = admin.run(&["tokens", "list", "--output", "json"]);
    assert_eq!(parsed(&ran).as_array().unwrap().len(), 2);
    let targets: Vec<_> = admin.calls().into_iter().map(|(_, target, _)| target).collect();
    assert_eq!(targets, ["/v1/tokens?limit=1000", "/v1/tokens?cursor=a%3D&limit=1000"]);
}

#[test]
fn names_of_strangers_do_no_harm() {
    let keys = json!([key("key_1", "\u{1b}]0;boo\u{7}\u{9b}2J"), key("key_2", "=cmd()"), key("key_3", "a\nkey_9")]);
    let admin = Admin::always(200, json!({"keys": keys, "next": null}));
    let list = |output| admin.run(&["keys", "list", "--output", output]).stdout;
    for output in ["table", "csv", "json"] {
        let shown = list(output);
        assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r')), "{output}: {shown:?}");
    }
    assert_eq!(list("table").lines().count(), 4);
    let csv = list("csv");
    assert!(csv.contains("\r\nkey_2,'=cmd(),acme,") && csv.lines().count() == 4, "{csv}");
    assert_eq!(serde_json::from_str::<Value>(&list("json")).unwrap(), keys);
}

#[test]
fn a_table_of_keys_is_aligned() {
    let admin = Admin::always(200, json!({"keys": [key("key_1", "Acme"), key("key_22", "東京")], "next": null}));
    let expected = "\
ID      NAME  OWNER  PLAN  STATE   EXPIRES               LAST USED             SOURCE
key_1   Acme  acme   free  active  2027-01-01T00:00:00Z  2026-07-01T12:00:00Z  store
key_22  東京  acme   free  active  2027-01-01T00:00:00Z  2026-07-01T12:00:00Z  store
";
    assert_eq!(admin.run(&["keys", "list"]).stdout, expected);
}

#[test]
fn sinks_are_listed_queue_by_queue() {
    let admin = Admin::always(200, json!({"sinks": [sink()]}));
    let expected = "\
SINK   TYPE     QUEUE   STATE     WAITING  LAG SECONDS  SET ASIDE  TROUBLE      DETAIL
hooks  webhook  usage   paused    0        0            0          -            -
hooks  webhook  events  retrying  3        62           1          credentials  the answer has status 401
";
    assert_eq!(admin.run(&["sinks"]).stdout, expected);
    assert_eq!(parsed(&admin.run(&["sinks", "--output", "json"])), json!({"sinks": [sink()]}));
    let seen = admin.seen().len();
    assert_eq!(admin.run(&["sinks", "pause", ALICE.secret]).code, Some(2));
    assert_eq!(admin.run(&["sinks", "pause", ".."]).code, Some(2));
    assert_eq!(admin.seen().len(), seen);
}

#[test]
fn an_update_keeps_clears_and_sets() {
    let body = json!({"name": "New", "scopes": ["a"], "expires": "2028-01-01T00:00:00Z", "plan": null, "networks": null,
            "extra_allowance": {"month": 9}});
    let arguments = [
        "keys",
        "update",
        "key_1",
        "--name",
        "New",
        "--scope",
        "a",
        "--expires",
        "2028-01-01T00:00:00Z",
        "--extra-month",
        "9",
        "--clear",
        "plan",
        "networks",
    ];
    check(&arguments, changed(), ("PATCH", "/v1/keys/key_1", body));
    let admin = Admin::always(200, changed());
    let ran = admin.run(&["keys", "update", "key_1", "--clear", "expires", "--if-revision", "12", "--output", "json"]);
    assert_eq!(parsed(&ran), changed());
    assert_eq!(admin.seen()[0].value("if-match"), Some("\"12\""));
    assert_eq!(admin.run(&["keys", "update", "key_1"]).code, Some(2), "nothing to change");
    assert_eq!(admin.run(&["keys", "update", "key_1", "--plan", "pro", "--clear", "plan"]).code, Some(2), "both");
    assert_eq!(admin.run(&["keys", "update", "key_1", "--extra-day", "1000000000001"]).code, Some(2), "too many");
    assert_eq!(admin.seen().len(), 1);
    let ran = admin.run(&["keys", "update", "key_1", "--clear", "extra-allowance", "--output", "csv"]);
    assert_eq!(admin.calls()[1].2, json!({"extra_allowance": null}));
    let cells: Vec<&str> = ran.stdout.lines().next().unwrap().split(',').collect();
    let place = cells.iter().position(|name| *name == "extra_day").unwrap();
    assert_eq!((cells[place + 1], ran.stdout.contains(",,7,")), ("extra_month", true), "{}", ran.stdout);
}

#[test]
fn one_key_that_fails_does_not_keep_the_others() {
    let admin = Admin::answering(vec![problem(404, "not_found"), Reply::Json(200, changed())]);
    let ran = admin.run(&["keys", "disable", "key_0", "key_1"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("key_0: This is not_found.") && ran.stdout.contains("key_1"), "{ran:?}");
}

#[test]
fn what_cannot_be_undone_wants_a_yes() {
    let admin = Admin::always(200, changed());
    for arguments in [
        ["keys", "revoke", "key_1"].as_slice(),
        &["keys", "rotate", "key_1", "--grace", "0s"],
        &["tokens", "revoke", "tok_0123456789abcdef"],
    ] {
        let ran = admin.run_with_input(arguments, "y\n");
        assert!(ran.code == Some(2) && ran.stderr.contains("--yes"), "{ran:?}");
    }
    assert!(admin.seen().is_empty());
}

#[test]
fn a_person_is_asked_before_a_key_is_revoked() {
    let question = "Revoke key_1 (Acme production, last used 2026-07-01T12:00:00Z)? [y/N]";
    for (typed, code, calls) in [("y\n", 0, 2), ("n\n", 1, 1), ("\n", 1, 1), ("\u{4}", 1, 1)] {
        let admin = Admin::always(200, changed());
        let (exit, shown) = run_on_terminal(&mut admin.command(&["keys", "revoke", "key_1"]), typed);
        assert!(shown.contains(question), "{shown}");
        assert_eq!((exit, admin.seen().len()), (Some(code), calls), "{typed:?}: {shown}");
    }
    let admin = Admin::answering(vec![
        Reply::Json(200, json!({"tokens": [token()]})),
        Reply::Json(200, json!({"token": token(), "revision": 3})),
    ]);
    let revoke = ["tokens", "revoke", "tok_0123456789abcdef"];
    let (exit, shown) = run_on_terminal(&mut admin.command(&revoke), "y\n");
    assert!(exit == Some(0) && shown.contains("Revoke tok_0123456789abcdef (ci, viewer)? [y/N]"), "{shown}");
}

#[test]
fn a_secret_is_verified_from_standard_input() {
    let admin = Admin::always(200, json!({"outcome": "active", "key": key("key_1", "Acme")}));
    let ran = admin.run_with_input(&["keys", "verify", "-"], &format!("{}\n", ALICE.secret));
    assert_eq!((ran.code, field(&ran, "outcome   ")), (Some(0), Some("active")), "{ran:?}");
    let body = json!({"secret": ALICE.secret});
    assert_eq!(admin.calls(), [("POST".to_owned(), "/v1/keys/verify".to_owned(), body)]);
    let admin = Admin::always(200, json!({"outcome": "key_unknown", "key": null}));
    let ran = admin.run_with_input(&["keys", "verify", "-"], BOB.secret);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "outcome  key_unknown\n"));
}

#[test]
fn a_secret_in_an_argument_goes_nowhere() {
    let admin = Admin::always(200, changed());
    for arguments in [
        ["keys", "verify", ALICE.secret].as_slice(),
        &["keys", "show", ALICE.secret],
        &["keys", "revoke", "--yes", ALICE.secret],
        &["explain", "--key", ALICE.secret, "--path", "/"],
        &["explain", ALICE.secret, "--path", "/"],
        &["keys", "list", ALICE.secret],
        &["keys", "list", "--search", ALICE.secret],
        &["keys", "show", OF_ANOTHER_BRAND],
        &["keys", "revoke", "--yes", "key_1", OF_ANOTHER_BRAND],
        &["keys", "show", FOREIGN],
        &["explain", "--key", FOREIGN, "--path", "/"],
        &["keys", "show", "sk+live/secret"],
        &[ALICE.secret],
    ] {
        let ran = admin.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        for secret in [ALICE.secret, OF_ANOTHER_BRAND, FOREIGN, "sk+live/secret"] {
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        }
    }
    assert!(admin.seen().is_empty());
}

#[test]
fn a_request_is_explained() {
    let explanation = json!({"outcome": "rate_limited", "status": 429, "detail": "The limit `burst` is used up.",
        "route": "orders", "upstream": "orders", "path": "/v1/orders/7", "key": "key_1", "owner": "acme", "plan": "free",
        "limits": [{"name": "burst", "requests": 10, "per_seconds": 1.0, "burst": 20, "remaining": 0,
            "retry_after_seconds": 0.1}]});
    let admin = Admin::always(200, explanation.clone());
    let by_id = ["explain", "--key", "key_1", "--path", "/v1/x/../orders/7", "--host", "h", "--client", "192.0.2.1"];
    let ran = admin.run(&by_id);
    let expected = "\
outcome   rate_limited
status    429
why       The limit `burst` is used up.
route     orders
upstream  orders
path      /v1/orders/7
key       key_1
owner     acme
plan      free

LIMIT  RATE        BURST  REMAINING  RETRY AFTER
burst  10 per 1 s  20     0          0.1 s
";
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), expected));
    let ran =
        admin.run_with_input(&["explain", "-", "--path", "/", "--method", "POST", "--output", "json"], ALICE.secret);
    assert_eq!(parsed(&ran), explanation);
    let bodies: Vec<_> = admin.calls().into_iter().map(|(_, _, body)| body).collect();
    let by_id =
        json!({"key": "key_1", "method": "GET", "path": "/v1/x/../orders/7", "host": "h", "client": "192.0.2.1"});
    assert_eq!(bodies, [by_id, json!({"secret": ALICE.secret, "method": "POST", "path": "/"})]);
}

#[test]
fn a_token_is_made_and_printed_once() {
    let answer = json!({"id": "tok_0123456789abcdef", "secret": "kga_new_token", "token": token(), "revision": 3});
    let expires = "2027-01-01T00:00:00Z";
    let arguments = ["tokens", "create", "--role", "owner:acme", "--name", "ci", "--expires", expires];
    let body = json!({"role": "owner:acme", "name": "ci", "expires": expires});
    let ran = check(&arguments, answer, ("POST", "/v1/tokens", body));
    assert_eq!(ran.stdout, "kga_new_token\n");
    let admin = Admin::always(200, json!({}));
    assert_eq!(admin.run(&["tokens", "create", "--role", "root"]).code, Some(2));
}

#[test]
fn a_reload_that_is_refused_tells_what_is_wrong_with_the_file() {
    let errors = json!([{"field": "keygate.yaml:7:5", "detail": "unknown field `rutes`"}]);
    let refused = json!({"code": "invalid", "detail": "The file was refused.", "errors": errors});
    let ran = Admin::always(422, refused).run(&["reload"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("\n  keygate.yaml:7:5: unknown field `rutes`\n"), "{}", ran.stderr);
}

#[test]
fn the_status_is_shown_flat() {
    let status = json!({"version": "0.1.0", "keys": {"active": 3, "revoked": 1}, "store": "ok", "last_reload": null});
    let ran = Admin::always(200, status.clone()).run(&["status"]);
    assert_eq!(ran.stdout, "keys active   3\nkeys revoked  1\nstore         ok\nversion       0.1.0\n");
    let ran = Admin::always(200, status.clone()).run(&["status", "--output", "json"]);
    assert_eq!(parsed(&ran), status);
}

#[test]
fn the_audit_log_is_followed_row_by_row() {
    let rows = |rows: Vec<Value>| Reply::Json(200, json!({"rows": rows, "next": null}));
    let admin = Admin::answering(vec![rows(vec![row(1), row(2)]), rows(vec![row(3)]), rows(Vec::new())]);
    let mut follow = admin.command(&["audit", "--follow", "--output", "json"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let numbers: Vec<u64> = (0..3)
        .map(|_| serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    wait_for("the next question", || admin.seen().len() >= 3);
    let targets: Vec<_> = admin.calls().into_iter().map(|(_, target, _)| target).collect();
    let expected =
        ["/v1/audit?from_end=true&limit=100", "/v1/audit?after=2&limit=1000", "/v1/audit?after=3&limit=1000"];
    assert_eq!(targets[..3], expected);
    drop(lines);
    let status = wait_until("the end after the pipe was closed", || child.try_wait().unwrap());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_audit_log_is_followed_while_its_gateway_is_away() {
    let rows = |rows: Vec<Value>| Reply::Json(200, json!({"rows": rows, "next": null}));
    let away = || problem(503, "unavailable");
    let admin = Admin::answering(vec![rows(vec![row(1)]), away(), away(), rows(vec![row(2)]), rows(Vec::new())]);
    let mut follow = admin.command(&["audit", "--follow", "--output", "json"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        lines.next().unwrap().unwrap();
    }
    drop(lines);
    wait_until("the end after the pipe was closed", || child.try_wait().unwrap());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let count = |words| stderr.matches(words).count();
    assert_eq!((count("This is unavailable."), count("trying on"), count("is back")), (1, 1, 1), "{stderr}");
}

#[test]
fn more_of_the_audit_log_than_a_page_is_shown() {
    let rows =
        |from: u64, to: u64| Reply::Json(200, json!({"rows": (from..=to).map(row).collect::<Vec<_>>(), "next": to}));
    let admin = Admin::answering(vec![rows(1501, 2500), rows(1, 1000), rows(1001, 1500)]);
    let shown = parsed(&admin.run(&["audit", "--limit", "5000", "--output", "json"]));
    let numbers: Vec<_> = shown.as_array().unwrap().iter().map(|row| row["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=2500).collect::<Vec<_>>());
    let targets: Vec<_> = admin.calls().into_iter().map(|(_, target, _)| target).collect();
    let expected =
        ["/v1/audit?from_end=true&limit=1000", "/v1/audit?after=0&limit=1000", "/v1/audit?after=1000&limit=500"];
    assert_eq!(targets, expected);
}

#[test]
fn audit_rows_are_a_table_or_csv() {
    let admin = Admin::always(200, json!({"rows": [row(2), row(1)], "next": null}));
    let expected = "\
NUMBER  AT                    ACTOR  REMOTE     ACTION      TARGET  REVISION
1       2026-07-01T12:00:00Z  cli    127.0.0.1  key.create  key_1   1
2       2026-07-01T12:00:00Z  cli    127.0.0.1  key.create  key_1   2
";
    assert_eq!(admin.run(&["audit"]).stdout, expected);
    let followed = |output| {
        let mut command = admin.command(&["audit", "--follow", "--after", "0", "--output", output]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines: Vec<_> = lines.take(2).collect();
        wait_until("the end after the pipe was closed", || child.try_wait().unwrap());
        lines
    };
    let table = followed("table");
    assert!(
        table[0].starts_with("NUMBER   AT ") && table[1].starts_with("2        2026-07-01T12:00:00Z "),
        "{table:?}"
    );
    let csv = followed("csv");
    assert!(csv[0].starts_with("number,at,actor") && csv[1].starts_with("2,2026-07-01T12:00:00Z,cli"), "{csv:?}");
    let csv = admin.run(&["audit", "--output", "csv"]).stdout;
    assert!(
        csv.contains(
            "\r\n1,2026-07-01T12:00:00Z,cli,127.0.0.1,key.create,key_1,1,,\"{\"\"name\"\":\"\"x\"\"}\",r,00\r\n"
        ),
        "{csv}"
    );
}

#[test]
fn completions_know_the_commands_of_the_admin_api() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        let script = String::from_utf8_lossy(&output.stdout);
        for word in ["rotate", "verify", "tokens", "audit", "backup", "explain", "if-revision", "token-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

const OF_ANOTHER_BRAND: &str = "acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe";
const FOREIGN: &str = "9f86d081884c7d659a2feaa0c55ad0157d793037";

//! `keygate keys import`: the files of other gateways, what the admin API is asked, and what is told of each row.

use std::fs::{self, File};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Admin, Ran, Reply};

/// A file below `tests/data/import`.
fn sample(name: &str) -> String {
    format!("{}/tests/data/import/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A file of its own for one test.
fn written(content: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys").to_str().unwrap().to_owned();
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// A table of keys with these numbers.
fn numbered(numbers: std::ops::Range<usize>) -> String {
    let rows: String = numbers.map(|n| format!("owner-{n},{}\n", secret(n))).collect();
    format!("owner,secret\n{rows}")
}

fn secret(n: usize) -> String {
    format!("Zk3vVw9QeRt7YuIoPa2S-{n}")
}

fn created(n: usize) -> Value {
    json!({"status": "created", "id": format!("key_{n}"), "secret": null, "code": null, "detail": null})
}

fn unchanged(n: usize) -> Value {
    json!({"status": "unchanged", "id": format!("key_{n}"), "secret": null, "code": null, "detail": null})
}

fn refused(detail: &str) -> Value {
    json!({"status": "refused", "id": null, "secret": null, "code": "invalid", "detail": detail})
}

fn answer(results: &[Value]) -> Reply {
    Reply::Json(200, json!({"results": results, "revision": 7}))
}

fn all_created(numbers: std::ops::Range<usize>) -> Reply {
    answer(&numbers.map(created).collect::<Vec<_>>())
}

/// What one call sent of each key.
fn sent(admin: &Admin, call: usize) -> Vec<Value> {
    let (method, target, body) = admin.calls().swap_remove(call);
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/v1/keys:batch"));
    body["keys"].as_array().unwrap().clone()
}

/// How many rows of the JSON report have a status.
fn count(ran: &Ran, status: &str) -> usize {
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    rows.iter().filter(|row| row["status"] == status).count()
}

/// Imports a sample, and makes sure that what was sent is not shown, in no form.
#[track_caller]
fn check_sample(kind: &str, file: &str, keys: usize, skipped: usize) {
    for output in ["table", "json", "csv"] {
        let admin = Admin::answering(vec![all_created(0..keys)]);
        let ran = admin.run(&["keys", "import", kind, &sample(file), "--output", output]);
        assert_eq!(ran.code, Some(1), "some rows of the sample are skipped: {ran:?}");
        assert_eq!(ran.stderr, format!("{keys} created, 0 unchanged, 0 refused, {skipped} skipped\n"));
        let sent = sent(&admin, 0);
        assert_eq!(sent.len(), keys);
        for secret in sent.iter().filter_map(|key| key["secret"].as_str()) {
            assert!(!ran.stdout.contains(&secret[..8]) && !ran.stderr.contains(&secret[..8]), "{secret}: {ran:?}");
        }
        if output == "json" {
            assert_eq!((count(&ran, "created"), count(&ran, "skipped")), (keys, skipped));
        } else {
            assert_eq!(ran.stdout.lines().count(), 1 + keys + skipped, "{ran:?}");
        }
    }
}

#[test]
fn each_kind_of_file_is_imported() {
    check_sample("kong", "kong.yaml", 5, 13);
    check_sample("apisix", "apisix.yaml", 3, 4);
    check_sample("apisix", "apisix-admin.json", 2, 2);
    check_sample("nginx", "nginx.conf", 6, 14);
    check_sample("csv", "keys.csv", 3, 11);
}

#[test]
fn each_row_has_its_line_in_the_report() {
    let file = "name,owner,secret\nA,acme,Zk3vVw9QeRt7YuIo\nB,beta,Yk3vVw9QeRt7YuIo\nC,gamma,112233\nD,delta,\n";
    let weak = "the secret is too weak: below 112 bits, and there is no pepper";
    let admin = Admin::answering(vec![answer(&[created(1), unchanged(2), refused(weak)])]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], file);
    let expected = "\
STATUS     LINE  ORIGIN  OWNER  ID     REASON
created    2     -       acme   key_1  -
unchanged  3     -       beta   key_2  -
refused    4     -       gamma  -      the secret is too weak: below 112 bits, and there is no pepper
skipped    5     -       delta  -      has no secret; there is nothing to take
";
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), expected));
    assert_eq!(ran.stderr, "1 created, 1 unchanged, 1 refused, 1 skipped\n");
    let call = admin.calls().remove(0);
    let keys = json!([{"name": "A", "owner": "acme", "secret": "Zk3vVw9QeRt7YuIo"},
        {"name": "B", "owner": "beta", "secret": "Yk3vVw9QeRt7YuIo"},
        {"name": "C", "owner": "gamma", "secret": "112233"}]);
    assert_eq!(call, ("POST".to_owned(), "/v1/keys:batch".to_owned(), json!({"dry_run": false, "keys": keys})));
    let ran = admin.run_with_input(&["keys", "import", "csv", "-", "--output", "json"], file);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let first = json!({"status": "created", "line": 2, "origin": null, "owner": "acme", "id": "key_1", "reason": null});
    assert_eq!(rows[0], first);
}

#[test]
fn an_import_that_takes_every_row_is_0_also_when_run_again() {
    for results in [[created(0), created(1)], [unchanged(0), created(1)], [unchanged(0), unchanged(1)]] {
        let admin = Admin::answering(vec![answer(&results)]);
        let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &numbered(0..2));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn a_dry_run_says_so_to_the_gateway_and_to_people() {
    let admin = Admin::answering(vec![all_created(0..2)]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-", "--dry-run"], &numbered(0..2));
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.stderr, "dry run, nothing was written: 2 created, 0 unchanged, 0 refused, 0 skipped\n");
    assert_eq!(admin.calls()[0].2["dry_run"], json!(true));
}

#[test]
fn many_keys_go_in_several_calls_and_into_one_report() {
    let admin = Admin::answering(vec![all_created(0..500), all_created(500..1000), all_created(1000..1201)]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-", "--output", "csv"], &numbered(0..1201));
    assert_eq!((ran.code, admin.seen().len()), (Some(0), 3));
    let all: Vec<Value> = (0..3).flat_map(|call| sent(&admin, call)).collect();
    for (n, (key, line)) in all.iter().zip(ran.stdout.lines().skip(1)).enumerate() {
        assert_eq!(key["secret"], json!(secret(n)));
        assert_eq!(line, format!("created,{},,owner-{n},key_{n},", n + 2));
    }
    assert_eq!(ran.stdout.lines().count(), 1202);
}

#[test]
fn long_keys_go_in_calls_that_a_gateway_takes() {
    let row = |n: usize| format!("{},{}\n", "x".repeat(60_000), secret(n));
    let file: String = std::iter::once("name,secret\n".to_owned()).chain((0..100).map(row)).collect();
    let admin = Admin::answering(vec![all_created(0..69), all_created(69..100)]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &file);
    assert_eq!((ran.code, admin.seen().len()), (Some(0), 2), "{}", ran.stderr);
    assert!(admin.seen().iter().all(|request| request.body.len() <= 4 << 20));
    let file = format!("name,secret\n{},{}\n", "x".repeat(70_000), secret(0));
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &file);
    assert_eq!((ran.code, admin.seen().len()), (Some(1), 2), "a key that is too long is not sent");
    assert!(ran.stdout.contains("more than 64 KiB"), "{}", ran.stdout);
}

#[test]
fn a_call_whose_answer_was_lost_is_done_again() {
    let admin = Admin::answering(vec![all_created(0..500), Reply::Raw(Vec::new()), answer(&[unchanged(500)])]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &numbered(0..501));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "500 created, 1 unchanged, 0 refused, 0 skipped\n"));
    assert_eq!(sent(&admin, 1), sent(&admin, 2));
}

#[test]
fn an_import_that_is_cut_off_tells_what_is_known() {
    let lost = (Reply::Raw(Vec::new()), 6, "did not answer");
    let body = json!({"code": "unavailable", "detail": "The disk is full."});
    let full = (Reply::Json(503, body), 6, "The disk is full. (unavailable)");
    let body = json!({"code": "forbidden", "detail": "Not with this token."});
    let forbidden = (Reply::Json(403, body), 4, "Not with this token. (forbidden)");
    let short = (all_created(0..7), 1, "tells of 7 keys where 500 were asked for");
    let strange = (Reply::Json(200, json!({})), 1, "not of the form");
    for (reply, code, words) in [lost, full, forbidden, short, strange] {
        let admin = Admin::answering(vec![all_created(0..500), reply]);
        let ran = admin.run_with_input(&["keys", "import", "csv", "-", "--output", "json"], &numbered(0..1200));
        assert_eq!(ran.code, Some(code), "{words}: {}", ran.stderr);
        assert_eq!((count(&ran, "created"), count(&ran, "unanswered")), (500, 700), "{words}");
        let (summary, failure) = ran.stderr.split_once('\n').unwrap();
        assert_eq!(summary, "500 created, 0 unchanged, 0 refused, 0 skipped, 700 unanswered");
        let end = "ended the import at line 502 to line 1001; what was imported before stays, and the command can be run again";
        assert!(failure.contains(words) && failure.contains(end), "{failure}");
    }
}

#[test]
fn a_gateway_that_repeats_secrets_does_not_get_them_shown() {
    let echo = |n| json!({"status": "refused", "id": secret(n), "code": "invalid", "detail": format!("`{}` is bad", secret(n))});
    let admin = Admin::answering(vec![answer(&[echo(0), echo(1)])]);
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &numbered(0..2));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("owner-1  -   invalid") && !ran.stdout.contains("Zk3v"), "{}", ran.stdout);
    let errors = json!([{"field": "keys[1].secret", "code": "invalid", "detail": secret(1)}]);
    let admin = Admin::always(422, json!({"code": "invalid", "detail": "No.", "errors": errors}));
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], &numbered(0..2));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("words that repeat a secret") && !ran.stderr.contains("Zk3v"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_read_is_wrong_usage_and_nobody_is_asked() {
    let admin = Admin::always(200, json!({}));
    let (folder, path) = written("name,secret\n");
    let folder = folder.path();
    let large = folder.join("large");
    File::create(&large).unwrap().set_len((256 << 20) + 1).unwrap();
    let latin = folder.join("latin");
    fs::write(&latin, b"name,secret\nM\xfcller,x\n").unwrap();
    for (kind, file, words) in [
        ("csv", "/no/such/file", "/no/such/file: cannot be read: No such file"),
        ("csv", folder.to_str().unwrap(), "Is a directory"),
        ("csv", large.to_str().unwrap(), "larger than 256 MiB"),
        ("csv", latin.to_str().unwrap(), "no UTF-8 text from byte 14 on"),
        ("csv", path.as_str(), "there is nothing to import"),
        ("kong", &sample("apisix.yaml"), "it looks like a file for `apisix`"),
        ("tyk", path.as_str(), "possible values: kong, apisix, nginx, csv"),
    ] {
        let ran = admin.run(&["keys", "import", kind, file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{words}: {ran:?}");
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    let ran = admin.run_with_input(&["keys", "import", "nginx", "-"], "map $http_x_api_key $c {\n");
    assert!(ran.code == Some(2) && ran.stderr.starts_with("keygate: standard input: "), "{}", ran.stderr);
    assert!(admin.seen().is_empty());
}

#[test]
fn a_file_without_a_single_key_to_send_asks_nobody() {
    let admin = Admin::always(200, json!({}));
    let ran = admin.run_with_input(&["keys", "import", "csv", "-"], "owner,secret\na,\nb,\n");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "0 created, 0 unchanged, 0 refused, 2 skipped\n"));
    assert!(admin.seen().is_empty());
}

#[test]
fn the_help_tells_the_exit_codes() {
    let ran = Admin::always(200, json!({})).run(&["keys", "import", "--help"]);
    let words: Vec<_> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("1: some were refused or skipped"), "{}", ran.stdout);
}

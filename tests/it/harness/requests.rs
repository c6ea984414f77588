//! The everyday requests, as text; a test that is about a request's bytes writes them itself.

use super::ALICE;

/// `GET path` with Alice's key and the given field lines (without their CRLF).
pub(crate) fn get(path: &str, fields: &[&str]) -> String {
    keyless("GET", path, &with_key(fields))
}

/// `POST path` with Alice's key, a Content-Length, the given field lines and the body.
pub(crate) fn post(path: &str, fields: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let mut all = with_key(fields);
    all.push(&length);
    format!("{}{body}", keyless("POST", path, &all))
}

/// A request head with a Host and the given field lines, and no key.
pub(crate) fn keyless(method: &str, path: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n")
}

fn with_key<'a>(fields: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![KEY_FIELD];
    all.extend_from_slice(fields);
    all
}

const KEY_FIELD: &str = "Authorization: Bearer kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

#[test]
fn the_key_field_carries_alices_secret() {
    assert!(KEY_FIELD.ends_with(ALICE.secret));
}

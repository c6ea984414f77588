//! Kong: decK state files and declarative configuration, `consumers` with `keyauth_credentials` or both at the top level.
//!
//! The owner is `custom_id`, or else `username`. Called by [`super::read`].

use std::collections::HashMap;

use crate::key::Name;
use crate::time::Timestamp;

use super::document::Node;
use super::reason::{FieldProblem, FileError, Reason};
use super::rows::{Found, Rows, name};
use super::{Candidate, Kind, Row, material};

/// The rows of a file.
pub(super) fn rows(root: &Node<'_>) -> Result<Vec<Row>, FileError> {
    let mut rows = Rows::default();
    let mut known = HashMap::new();
    for (i, consumer) in root.items_of("consumers").iter().enumerate() {
        for handle in ["username", "id"].into_iter().filter_map(|field| consumer.text_of(field)) {
            known.entry(handle).or_insert(consumer);
        }
        let origin = format!("consumers[{i}].");
        for_each_credential(consumer, |credential, list, what| {
            push(&mut rows, credential, &format!("{origin}{list}"), what, Some(consumer));
        });
    }
    for_each_credential(root, |credential, list, what| {
        let consumer = credential.entry("consumer").and_then(reference).and_then(|handle| known.get(handle).copied());
        push(&mut rows, credential, &list, what, consumer);
    });
    if rows.is_empty() { Err(FileError::Nothing(Kind::Kong)) } else { Ok(rows.into_rows()) }
}

/// Calls `each` with a credential, its place such as `jwt_secrets[0]`, and what it is if it is no API key.
fn for_each_credential<'n, 's>(holder: &'n Node<'s>, mut each: impl FnMut(&'n Node<'s>, String, Option<&'static str>)) {
    for (list, what) in CREDENTIALS {
        for (i, credential) in holder.items_of(list).iter().enumerate() {
            each(credential, format!("{list}[{i}]"), what);
        }
    }
}

/// The consumer that a credential names: its name or id, or a mapping with one of them.
fn reference<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    node.text().or_else(|| ["id", "username"].into_iter().find_map(|field| node.text_of(field)))
}

fn push(rows: &mut Rows, credential: &Node<'_>, origin: &str, what: Option<&'static str>, consumer: Option<&Node<'_>>) {
    let owner = consumer.and_then(|consumer| consumer.text_of("custom_id").or_else(|| consumer.text_of("username")));
    let outcome = match (what, consumer) {
        (Some(what), _) => Err(Reason::OtherCredential(what)),
        (None, None) => Err(Reason::NoConsumer),
        (None, Some(consumer)) => candidate(credential, consumer),
    };
    let raw = secret_of(credential, what);
    rows.push(Found { line: credential.line, origin: origin.to_owned(), raw, owner, outcome });
}

/// What must not be shown of a credential.
fn secret_of<'n>(credential: &'n Node<'_>, what: Option<&str>) -> &'n str {
    let fields: &[&str] = if what.is_none() { &["key"] } else { &["password", "secret", "client_secret"] };
    fields.iter().find_map(|field| credential.text_of(field)).unwrap_or_default()
}

fn candidate(credential: &Node<'_>, consumer: &Node<'_>) -> Result<Candidate, Reason> {
    let material = material::secret(credential.text_of("key").unwrap_or_default())?;
    let (label, owner) = names(consumer)?;
    let mut candidate = Candidate::new(label, Some(owner), material);
    candidate.id = credential.text_of("id").and_then(|id| id.parse().ok());
    candidate.expires = expires(credential)?;
    Ok(candidate)
}

/// What a consumer is called, and whom its keys belong to.
fn names<'n>(consumer: &'n Node<'_>) -> Result<(&'n str, Name), Reason> {
    let (username, custom_id) = (consumer.text_of("username"), consumer.text_of("custom_id"));
    let owner = match (custom_id, username) {
        (Some(custom_id), _) => name("custom_id", custom_id)?,
        (None, Some(username)) => name("username", username)?,
        (None, None) => return Err(Reason::Nameless),
    };
    Ok((username.or(custom_id).ok_or(Reason::Nameless)?, owner))
}

/// The end of a credential with a lifetime, which Kong counts in seconds.
///
/// The Admin API tells what is left of it, a file what it was at first. Counted from the creation it is never too late.
fn expires(credential: &Node<'_>) -> Result<Option<Timestamp>, Reason> {
    let wrong = |field| Reason::Field { field, problem: FieldProblem::Seconds };
    let Some(ttl) = credential.entry("ttl") else { return Ok(None) };
    let ttl_s: u32 = ttl.text().and_then(|text| text.parse().ok()).ok_or_else(|| wrong("ttl"))?;
    if ttl_s == 0 {
        return Ok(None);
    }
    let created = credential.entry("created_at").ok_or(Reason::NoCreation)?;
    let created_s: f64 = created.text().and_then(|text| text.parse().ok()).ok_or_else(|| wrong("created_at"))?;
    if !(0.0..=CREATED_MAX_S).contains(&created_s) {
        return Err(wrong("created_at"));
    }
    Ok(Some(Timestamp::from_unix_ms((created_s as i64 + i64::from(ttl_s)) * 1000)))
}

/// The lists of credentials, each with what is in it if it is not API keys.
const CREDENTIALS: [(&str, Option<&str>); 7] = [
    ("keyauth_credentials", None),
    ("keyauth_enc_credentials", Some("an encrypted key (key-auth-enc)")),
    ("basicauth_credentials", Some("a user name with a password (basic-auth)")),
    ("jwt_secrets", Some("a secret for signing tokens (jwt)")),
    ("hmacauth_credentials", Some("a secret for signing requests (hmac-auth)")),
    ("oauth2_credentials", Some("an OAuth 2.0 client")),
    ("mtls_auth_credentials", Some("a client certificate (mtls-auth)")),
];
/// The year 2286.
const CREATED_MAX_S: f64 = 9_999_999_999.0;

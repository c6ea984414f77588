//! How messages are read and written: credentials, identity fields, bounds, deadlines, hashing.
//!
//! Called by [`super::settings`].

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::{Outside, usage};
use crate::catalog::{ClientTimeouts, Credentials, FloodGuard, Identity, LimitHeaders, Wire};
use crate::config::fields::{CREDENTIALS, FLOOD_GUARD, HASHING, HEADERS, IDENTITY, PATHS};
use crate::config::node::Value;
use crate::config::problem::{Mark, Problems, named, shown};
use crate::config::reader::Reader;
use crate::config::scalar;
use crate::http1::HeadLimits;
use crate::key::{Form, Hasher, MAX_PEPPERS, PepperError, PepperId};
use crate::route::{EmptySegments, EncodedSlashes, PathOptions};

pub(super) fn wire(root: Reader<'_>, hasher: Option<Hasher>, problems: &mut Problems) -> Option<Wire> {
    note_field_names(root, problems);
    let credentials = credentials(root, problems);
    Some(Wire {
        realm: root.text("realm")?.to_owned(),
        form: Form::new(root.text("brand")?).ok()?,
        hasher: hasher?,
        credentials: credentials?,
        identity: identity(root),
        limit_headers: limit_headers(root)?,
        trusted_proxies: root
            .texts("trusted_proxies")
            .into_iter()
            .filter_map(|(text, _)| scalar::network(text).ok())
            .collect(),
        paths: paths(root)?,
        head: head_limits(root)?,
        max_body_bytes: root.size("max_body_bytes"),
        timeouts: ClientTimeouts {
            head: root.duration("head_timeout")?,
            idle: root.duration("idle_timeout")?,
            body: root.duration("body_timeout")?,
        },
        allow_underscores: root.object("headers", HEADERS).switch("allow_underscores")?,
        via: root.switch("via")?,
        ends_revoked: root.text("on_revocation")? == "end",
        metering: usage::metering(root)?,
        flood_guard: flood_guard(root),
    })
}

fn credentials(root: Reader<'_>, problems: &mut Problems) -> Option<Credentials> {
    let reader = root.object("credentials", CREDENTIALS);
    let names = |field| reader.texts(field).into_iter().map(|(text, _)| text.to_owned()).collect::<Vec<_>>();
    let credentials = Credentials {
        headers: names("headers"),
        query: names("query"),
        cookies: names("cookies"),
        forward: reader.switch("forward")?,
    };
    if [&credentials.headers, &credentials.query, &credentials.cookies].iter().all(|names| names.is_empty()) {
        let message = "no request could carry a key: there is no place for it";
        problems.error(reader.at("headers"), message, "name a header field, as in `headers: [Authorization]`");
    }
    note_twice(&reader.texts("query"), str::to_owned, "query parameter", problems);
    note_twice(&reader.texts("cookies"), str::to_owned, "cookie", problems);
    Some(credentials)
}

fn identity(root: Reader<'_>) -> Identity {
    let reader = root.object("identity_headers", IDENTITY);
    let name = |field| reader.text(field).filter(|name| *name != OFF).map(str::to_owned);
    Identity { key: name("key"), owner: name("owner"), plan: name("plan") }
}

/// Fields that are asked for or set: none of them twice, and none that the gateway needs for itself.
fn note_field_names(root: Reader<'_>, problems: &mut Problems) {
    let credentials = root.object("credentials", CREDENTIALS);
    let identity = root.object("identity_headers", IDENTITY);
    let mut fields: Vec<(&str, Mark)> = credentials.texts("headers");
    for field in ["key", "owner", "plan"] {
        let name = identity.text(field).filter(|name| *name != OFF);
        fields.extend(name.map(|name| (name, identity.at(field))));
    }
    for (name, at) in &fields {
        if OURS.contains(&canonical(name).as_str()) {
            let message = format!("the field {} cannot be used for this: it has a meaning of its own", shown(name));
            problems.error(*at, message, "take another name, as in X-API-Key or X-Keygate-Key");
        }
    }
    note_twice(&fields, canonical, "field", problems);
}

fn note_twice(names: &[(&str, Mark)], canonical: fn(&str) -> String, what: &str, problems: &mut Problems) {
    let mut first: HashMap<String, Mark> = HashMap::new();
    for (name, at) in names {
        match first.get(&canonical(name)) {
            Some(other) => {
                // The later one in the file is where it shows, and a default has no line of its own.
                let (at, other) = (*at.max(other), *at.min(other));
                let message = format!("the {what} {} is used for two things", shown(name));
                problems.conflict(
                    at,
                    other,
                    message,
                    "give each its own name; names are compared without case and with `_` as `-`",
                );
            }
            None => drop(first.insert(canonical(name), *at)),
        }
    }
}

/// Field names that differ in case or in `_` for `-` alone are the same to many servers.
fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The hasher with all peppers. `None`: one is missing, which has been noted.
pub(super) fn hasher(root: Reader<'_>, outside: &mut Outside<'_>, problems: &mut Problems) -> Option<Hasher> {
    let hashing = root.object("hashing", HASHING);
    let entries = hashing.node("peppers").map(|node| node.entries()).unwrap_or_default();
    if entries.len() > MAX_PEPPERS {
        let message = format!("{} peppers are more than the {MAX_PEPPERS} that can be known at once", entries.len());
        problems.error(entries[MAX_PEPPERS].at, message, "retire the oldest ones");
    }
    let mut peppers: Vec<(PepperId, Zeroizing<Vec<u8>>)> = Vec::new();
    let mut complete = true;
    for entry in entries {
        let who = named(&["hashing", "peppers", &entry.name]);
        let bytes = match &entry.node.value {
            Value::Map(_) => outside.value(&entry.node, &who, problems),
            _ => entry.node.text().and_then(|path| outside.file(entry.node.at, path, &who, problems)),
        };
        match (entry.name.parse(), bytes) {
            (Ok(id), Some(bytes)) => {
                complete &= !is_short(&id, &bytes, entry.node.at, &who, problems);
                peppers.push((id, bytes));
            }
            _ => complete = false,
        }
    }
    if complete { Hasher::new(peppers).ok() } else { None }
}

fn is_short(id: &PepperId, bytes: &Zeroizing<Vec<u8>>, at: Mark, who: &str, problems: &mut Problems) -> bool {
    let short = matches!(Hasher::new(vec![(id.clone(), bytes.clone())]), Err(PepperError::TooShort(_)));
    if short {
        let remedy = "write 32 random bytes into it, as in `head -c 32 /dev/urandom | base64`";
        problems.error(at, format!("{who} has fewer than 16 bytes"), remedy);
    }
    short
}

fn limit_headers(root: Reader<'_>) -> Option<LimitHeaders> {
    Some(match root.text("limit_headers")? {
        "legacy" => LimitHeaders::Legacy,
        "both" => LimitHeaders::Both,
        "none" => LimitHeaders::None,
        _ => LimitHeaders::Standard,
    })
}

fn paths(root: Reader<'_>) -> Option<PathOptions> {
    let reader = root.object("paths", PATHS);
    let encoded_slashes = match reader.text("encoded_slashes")? {
        "keep" => EncodedSlashes::Keep,
        _ => EncodedSlashes::Reject,
    };
    let empty_segments = match reader.text("empty_segments")? {
        "keep" => EmptySegments::Keep,
        "merge" => EmptySegments::Merge,
        _ => EmptySegments::Reject,
    };
    Some(PathOptions { encoded_slashes, empty_segments })
}

fn head_limits(root: Reader<'_>) -> Option<HeadLimits> {
    Some(HeadLimits {
        max_head_bytes: usize::try_from(root.size("max_head_bytes")?).ok()?,
        max_fields: root.integer("max_fields")?,
        max_target_bytes: usize::try_from(root.size("max_target_bytes")?).ok()?,
    })
}

/// Absent: the guard with its defaults; null or `off`: none.
fn flood_guard(root: Reader<'_>) -> Option<FloodGuard> {
    if root.node("flood_guard").is_some_and(|node| !matches!(node.value, Value::Map(_))) {
        return None;
    }
    let reader = root.object("flood_guard", FLOOD_GUARD);
    Some(FloodGuard { failures: reader.integer("failures")?, per: reader.duration("per")? })
}

const OFF: &str = "off";

/// Fields of framing, routing and forwarding, which the gateway reads or sets itself.
const OURS: [&str; 20] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "set-cookie",
];

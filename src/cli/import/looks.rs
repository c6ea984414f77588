//! What a file looks like: asked when it is not what it was said to be, so that the answer helps.

use super::Kind;
use super::document::{self, Node};
use super::reason::FileError;
use super::table;

/// The files that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Looks {
    /// One that can be imported.
    #[error("a file for `{0}`")]
    Like(Kind),
    /// Custom resources.
    #[error("a Kubernetes manifest")]
    Kubernetes,
    /// Keys or key hashes of Tyk.
    #[error("an export of Tyk")]
    Tyk,
    /// A KrakenD configuration.
    #[error("a configuration of KrakenD")]
    KrakenD,
}

impl Looks {
    /// What to do with such a file.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Like(_) => "name that kind instead",
            Self::Kubernetes => {
                "export the state of the gateway instead (`deck gateway dump`, or the Admin API of APISIX)"
            }
            Self::Tyk => {
                "Tyk keeps murmur hashes by default, from which no key can be taken over; if the secrets themselves are known, list them as CSV"
            }
            Self::KrakenD => {
                "FNV and SHA-1 hashes of KrakenD cannot be taken over; list plain keys, or SHA-256 digests without a salt, as CSV"
            }
        }
    }
}

/// The error for a text that is not a `wanted` file: what it looks like instead, or else `error`.
pub(super) fn instead(wanted: Kind, text: &str, error: FileError) -> FileError {
    match of_text(text) {
        Some(found) if found != Looks::Like(wanted) => FileError::Looks { wanted, found },
        _ => error,
    }
}

/// What a parsed file looks like.
pub(super) fn of_tree(root: &Node<'_>) -> Option<Looks> {
    let has = |name: &str| root.entry(name).is_some();
    if has("apiVersion") && has("kind") {
        return Some(Looks::Kubernetes);
    }
    if has("_format_version") || has("keyauth_credentials") {
        return Some(Looks::Like(Kind::Kong));
    }
    if has("extra_config") || root.text_of("$schema").is_some_and(|schema| schema.contains("krakend")) {
        return Some(Looks::KrakenD);
    }
    if is_tyk(root) || ["data", "keys"].iter().any(|name| root.entry(name).is_some_and(is_tyk)) {
        return Some(Looks::Tyk);
    }
    if (has("list") && has("total")) || has("node") || (has("key") && has("value")) {
        return Some(Looks::Like(Kind::Apisix));
    }
    root.items_of("consumers").iter().find_map(of_consumer)
}

/// Plugins are a list in Kong and a mapping in APISIX.
fn of_consumer(consumer: &Node<'_>) -> Option<Looks> {
    let has = |name: &str| consumer.entry(name).is_some();
    if has("keyauth_credentials") || has("custom_id") {
        return Some(Looks::Like(Kind::Kong));
    }
    let is_apisix = has("credentials") || consumer.entry("plugins").is_some_and(Node::is_map);
    is_apisix.then_some(Looks::Like(Kind::Apisix))
}

fn is_tyk(node: &Node<'_>) -> bool {
    let marks = |node: &Node<'_>| TYK.iter().any(|name| node.entry(name).is_some());
    marks(node) || node.items().iter().take(LOOKED_AT).any(|item| marks(item) || item.entry("data").is_some_and(marks))
}

fn of_text(text: &str) -> Option<Looks> {
    if table::has_header(text) {
        return Some(Looks::Like(Kind::Csv));
    }
    let is_map = |line: &str| {
        line.trim_start().strip_prefix("map").is_some_and(|rest| rest.trim_start().starts_with(['$', '"']))
    };
    if text.lines().any(is_map) {
        return Some(Looks::Like(Kind::Nginx));
    }
    let lines = || text.lines().map(str::trim_end);
    match document::parse(text) {
        Ok(root) => of_tree(&root),
        // Manifests come many in a file.
        Err(_) if lines().any(|line| line.starts_with("apiVersion:")) => Some(Looks::Kubernetes),
        Err(_) if lines().any(|line| line.starts_with("_format_version:")) => Some(Looks::Like(Kind::Kong)),
        Err(_) if lines().next_back() == Some("#END") => Some(Looks::Like(Kind::Apisix)),
        Err(_) => None,
    }
}

/// Fields of keys of Tyk that no other gateway has.
const TYK: [&str; 5] = ["key_hash", "access_rights", "apply_policies", "quota_renewal_rate", "hmac_enabled"];
const LOOKED_AT: usize = 10;

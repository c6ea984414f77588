//! APISIX: `apisix.yaml` of the standalone mode, and JSON of the Admin API with consumers or credentials.
//!
//! The owner is the `username` of the consumer; a credential has it in its path. Called by [`super::read`].

use super::document::Node;
use super::reason::{FileError, Reason};
use super::rows::{Found, Rows, name};
use super::{Candidate, Kind, Row, material};

/// The rows of a file.
pub(super) fn rows(root: &Node<'_>) -> Result<Vec<Row>, FileError> {
    let mut rows = Rows::default();
    for (i, consumer) in root.items_of("consumers").iter().enumerate() {
        push_all(&mut rows, consumer, None, &format!("consumers[{i}]"));
    }
    for (i, item) in root.items_of("list").iter().enumerate() {
        push_item(&mut rows, item, &format!("list[{i}]"));
    }
    // Before version 3.0.
    if let Some(node) = root.entry("node") {
        for (i, item) in node.items_of("nodes").iter().enumerate() {
            push_item(&mut rows, item, &format!("node.nodes[{i}]"));
        }
        push_item(&mut rows, node, "node");
    }
    push_item(&mut rows, root, "");
    for (i, item) in root.items().iter().enumerate() {
        push_item(&mut rows, item, &format!("[{i}]"));
    }
    if rows.is_empty() { Err(FileError::Nothing(Kind::Apisix)) } else { Ok(rows.into_rows()) }
}

/// An element of an answer of the Admin API: `{key: PATH, value: CONSUMER}`.
fn push_item(rows: &mut Rows, item: &Node<'_>, origin: &str) {
    let Some(value) = item.entry("value") else { return };
    let dot = if origin.is_empty() { "" } else { "." };
    push_all(rows, value, item.text_of("key"), &format!("{origin}{dot}value"));
}

/// The credentials of a consumer or credential object.
fn push_all(rows: &mut Rows, object: &Node<'_>, path: Option<&str>, origin: &str) {
    let owner = owner(object, path);
    if let Some(plugins) = object.entry("plugins") {
        for (plugin, settings) in plugins.entries() {
            push(rows, plugin, settings, owner, &format!("{origin}.plugins.{}", known(plugin)));
        }
    }
    // As the command line tool of APISIX (ADC) writes them.
    for (i, credential) in object.items_of("credentials").iter().enumerate() {
        let origin = format!("{origin}.credentials[{i}]");
        if let (Some(plugin), Some(settings)) = (credential.text_of("type"), credential.entry("config")) {
            push(rows, plugin, settings, owner, &origin);
        }
        for (plugin, settings) in credential.entry("plugins").into_iter().flat_map(Node::entries) {
            push(rows, plugin, settings, owner, &format!("{origin}.plugins.{}", known(plugin)));
        }
    }
}

/// The consumer of `…/consumers/NAME/credentials/ID`, or else the name in the object.
fn owner<'n>(object: &'n Node<'_>, path: Option<&'n str>) -> Option<&'n str> {
    let of_path = |path: &'n str| {
        let (before, _) = path.split_once("/credentials/")?;
        before.rsplit('/').next().filter(|name| !name.is_empty())
    };
    let id = object.text_of("id");
    let plain_id = id.filter(|id| !id.contains('/'));
    path.and_then(of_path)
        .or_else(|| id.and_then(of_path))
        .or_else(|| object.text_of("username"))
        .or_else(|| path.is_none().then_some(plain_id).flatten())
}

fn push(rows: &mut Rows, plugin: &str, settings: &Node<'_>, owner: Option<&str>, origin: &str) {
    let outcome = match OTHER.iter().find(|(name, _)| *name == plugin) {
        Some((_, what)) => Err(Reason::OtherCredential(what)),
        None if plugin == KEY_AUTH => candidate(settings, owner),
        // Limits and the like.
        None => return,
    };
    // What must not be shown.
    let fields: &[&str] = if plugin == KEY_AUTH { &["key"] } else { &["password", "secret", "secret_key"] };
    let raw = fields.iter().find_map(|field| settings.text_of(field)).unwrap_or_default();
    rows.push(Found { line: settings.line, origin: origin.to_owned(), raw, owner, outcome });
}

fn candidate(settings: &Node<'_>, owner: Option<&str>) -> Result<Candidate, Reason> {
    let material = material::secret(settings.text_of("key").unwrap_or_default())?;
    let label = owner.ok_or(Reason::Nameless)?;
    let mut candidate = Candidate::new(label, Some(name("username", label)?), material);
    let meta = settings.entry("_meta");
    candidate.disabled = meta.and_then(|meta| meta.text_of("disable")) == Some("true");
    Ok(candidate)
}

/// A plugin's name for an origin, which never quotes the file.
fn known(plugin: &str) -> &'static str {
    let mut names = OTHER.iter().map(|(name, _)| *name).chain([KEY_AUTH]);
    names.find(|name| *name == plugin).unwrap_or("…")
}

const KEY_AUTH: &str = "key-auth";
const OTHER: [(&str, &str); 6] = [
    ("basic-auth", "a user name with a password (basic-auth)"),
    ("jwt-auth", "a secret for signing tokens (jwt-auth)"),
    ("hmac-auth", "a secret for signing requests (hmac-auth)"),
    ("jwe-decrypt", "a secret for encrypting tokens (jwe-decrypt)"),
    ("ldap-auth", "a user of a directory (ldap-auth)"),
    ("wolf-rbac", "an account of a wolf server (wolf-rbac)"),
];

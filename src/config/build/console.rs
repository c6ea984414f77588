//! The web console: where browsers find it, who is believed when it says who asks, and whether secrets can be shown again.
//!
//! Called by [`super::settings`].

use ipnet::IpNet;

use super::Outside;
use crate::admin::{Console, TrustedHeader, Vault};
use crate::config::fields::{CONSOLE, RECOVERABLE_SECRETS, TRUSTED_HEADER};
use crate::config::problem::Problems;
use crate::config::reader::Reader;
use crate::config::scalar;

/// The console; none: it is off, as it is without an admin API.
pub(super) fn console(root: Reader<'_>, problems: &mut Problems) -> Option<Console> {
    let reader = root.object("console", CONSOLE);
    if root.node("admin").is_none() {
        if root.node("console").is_some() {
            problems.error(
                root.at("console"),
                "`console` is served by the admin listener, and there is none",
                "add `admin: {address: 127.0.0.1:9180}`, or take it out",
            );
        }
        return None;
    }
    let trusted_header = trusted_header(reader, problems);
    let (public_url, gateway_url) = (reader.parsed("public_url"), reader.parsed("gateway_url"));
    reader.switch("enabled")?.then_some(Console { public_url, gateway_url, trusted_header })
}

/// The key that new secrets are hidden under; none: they are not kept.
pub(super) fn vault(root: Reader<'_>, outside: &mut Outside<'_>, problems: &mut Problems) -> Option<Vault> {
    let reader = root.object("console", CONSOLE).object("recoverable_secrets", RECOVERABLE_SECRETS);
    let (at, path) = (reader.at("key_file"), reader.text("key_file")?);
    let content = outside.private_file(at, path, "`console.recoverable_secrets`", problems)?;
    let vault = Vault::from_file(&content);
    let remedy = "`head -c 32 /dev/urandom >FILE` makes one; keep a copy of it apart from copies of the store";
    vault
        .map_err(|error| problems.error(at, format!("the key file of `console.recoverable_secrets`: {error}"), remedy))
        .ok()
}

fn trusted_header(console: Reader<'_>, problems: &mut Problems) -> Option<TrustedHeader> {
    console.node("trusted_header")?;
    let reader = console.object("trusted_header", TRUSTED_HEADER);
    let networks: Option<Vec<IpNet>> =
        reader.texts("networks").iter().map(|(text, _)| scalar::network(text).ok()).collect();
    let networks = networks?;
    if networks.iter().any(|network| network.prefix_len() == 0) {
        problems.error(
            reader.at("networks"),
            "`console.trusted_header.networks` has everybody in it, who could then be an operator",
            "write the addresses of the sign-on proxy alone",
        );
    }
    Some(TrustedHeader { name: reader.text("name")?.to_owned(), networks })
}

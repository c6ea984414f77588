//! The process: listeners, operations, threads, draining, logs.
//!
//! Called by [`super::settings`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::Outside;
use crate::config::Admin;
use crate::config::fields::{ADMIN, LISTENER, LOG_FILE, LOGS, OPERATIONS};
use crate::config::node::{Node, Scalar};
use crate::config::problem::{Mark, Problems};
use crate::config::reader::Reader;
use crate::telemetry::{AccessLogOptions, LogFormat, LogOutput};
use crate::{gateway, operations, telemetry};

pub(super) fn gateway(root: Reader<'_>, problems: &mut Problems) -> Option<gateway::Options> {
    let addresses = addresses(root);
    note_shared_addresses(&addresses, root, problems);
    let threads: Option<NonZeroUsize> = match root.scalar("threads")? {
        Scalar::Integer(number) => NonZeroUsize::new(usize::try_from(number).ok()?),
        _ => None,
    };
    Some(gateway::Options {
        listeners: addresses.into_iter().map(|(address, _)| address).collect(),
        threads,
        max_connections: root.integer("max_connections").and_then(NonZeroUsize::new),
        drain_timeout: root.duration("drain_timeout")?,
    })
}

pub(super) fn operations(root: Reader<'_>) -> Option<operations::Options> {
    let address = root.object("operations", OPERATIONS).parsed("address")?;
    Some(operations::Options { address })
}

/// The admin API, and where the store is.
pub(super) fn admin(
    root: Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> (Option<Admin>, Option<PathBuf>) {
    let place = |node: Option<&Node<'_>>| node.and_then(|node| Some(outside.path(node.at, node.text()?)));
    let data_dir = place(root.node("data_dir"));
    let Some(node) = root.node("admin") else { return (None, data_dir) };
    let data_dir = data_dir.unwrap_or_else(|| outside.path(node.at, DATA_DIR));
    let reader = root.object("admin", ADMIN);
    let token_files = match reader.node("token_files") {
        Some(files) => files.items().iter().filter_map(|file| place(Some(file))).collect(),
        None => vec![data_dir.join(TOKEN_FILE)],
    };
    let admin = reader.parsed::<SocketAddr>("address").map(|address| Admin { address, token_files });
    if let Some(Admin { address, .. }) = &admin
        && !address.ip().is_loopback()
        && reader.switch("allow_insecure") == Some(false)
    {
        problems.error(
            reader.at("address"),
            format!("`admin.address` {address} can be reached by others, and tokens would pass in clear"),
            "use a loopback address such as 127.0.0.1:9180 behind a TLS proxy, or say `allow_insecure: true`",
        );
    }
    (admin, Some(data_dir))
}

pub(super) fn telemetry(root: Reader<'_>, outside: &Outside<'_>) -> Option<telemetry::Options> {
    let logs = root.object("logs", LOGS);
    let format = match logs.text("format")? {
        "text" => LogFormat::Text,
        _ => LogFormat::Json,
    };
    let output = match logs.text("requests") {
        Some("off") => LogOutput::Off,
        Some(_) => LogOutput::Stdout,
        None => {
            let file = logs.object("requests", LOG_FILE);
            LogOutput::File(outside.path(file.at("file"), file.text("file")?))
        }
    };
    Some(telemetry::Options { format, access: AccessLogOptions { output, sample: logs.share("sample")? } })
}

fn addresses(root: Reader<'_>) -> Vec<(SocketAddr, Mark)> {
    let items = root.node("listeners").map(|node| node.items()).unwrap_or_default();
    let readers = items.iter().map(|item| Reader::new(item, item.at, LISTENER));
    readers.filter_map(|reader| Some((reader.parsed("address")?, reader.at("address")))).collect()
}

fn note_shared_addresses(listeners: &[(SocketAddr, Mark)], root: Reader<'_>, problems: &mut Problems) {
    let operations = root.object("operations", OPERATIONS);
    let operations = operations.parsed::<SocketAddr>("address").map(|address| (address, operations.at("address")));
    let admin = root.object("admin", ADMIN);
    let admin = admin.parsed::<SocketAddr>("address").map(|address| (address, admin.at("address")));
    let mut taken: HashMap<SocketAddr, Mark> = HashMap::new();
    for (address, at) in
        listeners.iter().copied().chain(operations).chain(admin).filter(|(address, _)| address.port() != 0)
    {
        match taken.get(&address) {
            Some(other) => problems.conflict(
                at,
                *other,
                format!("the address {address} is used twice"),
                "give each listener a port of its own",
            ),
            None => drop(taken.insert(address, at)),
        }
    }
}

/// Beside the file, if it does not say another place.
const DATA_DIR: &str = "./data";
/// In the data folder, if the file does not say another place.
const TOKEN_FILE: &str = "admin.token";

//! `keygate quickstart`: from nothing to an answered request, on one machine and with nothing else installed.
//!
//! The starter file is written once and never overwritten; each run makes a fresh key, in a file of its own.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Exit;
use super::keys::Made;
use super::serve;
use super::terminal::{print, say};
use crate::app::Companion;
use crate::config;
use crate::key::{Form, Hasher};
use crate::operations::Addresses;
use crate::upstream;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the starter file goes
    #[arg(long, value_name = "DIR", default_value = "keygate-quickstart")]
    dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let dir = &arguments.dir;
    fs::create_dir_all(dir.join(KEYS_DIR)).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join("keygate.yaml");
    let companion = if file.exists() { earlier_companion(&file)? } else { Companion::Echo(write_starter(&file)?) };
    let front = match &companion {
        Companion::Echo(_) => "a built-in echo upstream",
        Companion::None => "what the file names",
    };
    let made = Made::new(&Form::default(), "live", &Hasher::default(), None)?;
    let key_file = dir.join(KEYS_DIR).join("quickstart.yaml");
    write_private(&key_file, &key_yaml(&made), OpenOptions::new().write(true).create(true).truncate(true))?;
    serve::run(&file, companion, |addresses| greet(addresses, front, &file, &made))
}

/// What an earlier run left is used again, unless it is running still: its key must not be taken from it.
fn earlier_companion(file: &Path) -> anyhow::Result<Companion> {
    let Ok(loaded) = config::load(file) else { return Ok(Companion::None) };
    for address in &loaded.settings.gateway.listeners {
        TcpListener::bind(address).with_context(|| format!("{address} is taken: is a quick start running already?"))?;
    }
    Ok(listen_again(loaded.settings.rules.upstreams).map_or(Companion::None, Companion::Echo))
}

/// Writes the starter file with addresses that are free now; the listener is the echo upstream's.
fn write_starter(file: &Path) -> anyhow::Result<TcpListener> {
    let echo = free_listener(9000)?;
    let starter = STARTER
        .replace("{listener}", &free_address(8080)?.to_string())
        .replace("{admin}", &free_address(9180)?.to_string())
        .replace("{operations}", &free_address(9100)?.to_string())
        .replace("{echo}", &echo.local_addr()?.to_string());
    write_private(file, &starter, OpenOptions::new().write(true).create_new(true))?;
    Ok(echo)
}

/// The echo upstream's address stands in a starter file of an earlier run, unless it has been edited away.
fn listen_again(upstreams: Vec<upstream::Options>) -> Option<TcpListener> {
    let echo = upstreams.into_iter().find(|upstream| upstream.name.as_str() == "echo")?;
    TcpListener::bind(echo.targets.first()?.literal()?).ok()
}

fn free_address(wanted: u16) -> anyhow::Result<SocketAddr> {
    Ok(free_listener(wanted)?.local_addr()?)
}

fn free_listener(wanted: u16) -> anyhow::Result<TcpListener> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    bind(wanted).or_else(|_| bind(0)).context("no port is free")
}

fn key_yaml(made: &Made) -> String {
    format!(
        "# Written anew by each `keygate quickstart`; the secret itself stands nowhere.\n\
         keys:\n  {}:\n    name: Quick start\n    owner: me\n    plan: free\n    digest: {}\n",
        made.id, made.digest
    )
}

fn write_private(path: &Path, text: &str, options: &mut OpenOptions) -> anyhow::Result<()> {
    let written = options.mode(0o600).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn greet(addresses: &Addresses, front: &str, file: &Path, made: &Made) {
    let Some(listener) = addresses.listeners.first() else { return };
    let operations = addresses
        .operations
        .map_or_else(String::new, |address| format!("  metrics              curl http://{address}/metrics\n"));
    let program = std::env::args().next().unwrap_or_else(|| "keygate".to_owned());
    let keys = match addresses.admin {
        Some(admin) => {
            let token = file.with_file_name("data").join("admin.token");
            let there = format!("--admin http://{admin} --token-file {}", token.display());
            format!(
                "  another key          {program} keys create --name \"My app\" {there}\n\
                 \x20 all keys             {program} keys list {there}\n"
            )
        }
        None => format!("  another key          {program} keys create --offline --name \"My app\" --plan free\n"),
    };
    let text = format!(
        "\nkeygate serves http://{listener} in front of {front}.\n\n\
         Your key (shown only now):\n\n  {secret}\n\n\
         Try it:\n\n  curl -i http://{listener}/v1/hello -H 'Authorization: Bearer {secret}'\n\n\
         Then:\n\
         \x20 without a key (401)  curl -i http://{listener}/v1/hello\n\
         \x20 a burst (429)        for i in $(seq 15); do curl -s -o /dev/null -w '%{{http_code}} ' http://{listener}/v1/hello -H 'X-API-Key: {secret}'; done\n\
         {operations}\
         \x20 your own backend     edit upstreams in {file}; it is in force as soon as it is saved\n\
         \x20 revoke the key       add `revoked: [{id}]` to the same file\n\
         {keys}\n\
         Ctrl-C stops it.\n",
        secret = made.secret.expose(),
        file = file.display(),
        id = made.id,
    );
    if print(&text).is_err() {
        say("standard output cannot be written to: the key is lost; start again");
    }
}

const KEYS_DIR: &str = "keys.d";

const STARTER: &str = include_str!("starter.yaml");

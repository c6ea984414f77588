//! `keygate keys`: keys of a running gateway through its admin API; making keys and digests without one.

mod columns;
mod create;
mod import;
mod list;
mod offline;
mod rotate;
mod states;
mod update;
mod verify;

use crate::key::KeyId;

use super::client::Connection;
use super::secret_input::is_secret_like;
use super::table::Output;
use super::{Exit, Failure};

use columns::{COLUMNS, Key};

pub(super) use offline::Made;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// How answers are printed, if the command does not say
    #[arg(long)]
    output: Option<Output>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key; its secret is shown only then
    Create(create::Arguments),
    /// List keys in the order of their ids
    List(list::List),
    /// Show a key
    Show(list::Show),
    /// Change what a key may do
    Update(update::Arguments),
    /// Refuse keys until they are enabled again
    Disable(states::Ids),
    /// Let disabled keys in again
    Enable(states::Ids),
    /// Refuse keys for ever
    Revoke(states::Revoke),
    /// Give a key a new secret; the old one works on for a while
    Rotate(rotate::Arguments),
    /// Tell what would become of a request with the secret on standard input
    Verify(verify::Arguments),
    /// Take over the keys in the file of another gateway; clients keep their secrets
    #[command(after_help = "Exit code 0: each row was created or is unchanged; 1: some were refused or skipped. \
        What was interrupted can be run again: known secrets change nothing. No part of a secret is printed.")]
    Import(import::Arguments),
    /// Print the digest of the secret on standard input; asks no gateway
    Hash(offline::Hash),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let open = || arguments.connection.open();
    let output = arguments.output;
    match &arguments.command {
        Command::Create(create) if create.offline => offline::create(create, output),
        Command::Create(create) => create.run(&open()?, output),
        Command::List(list) => list.run(&open()?, output),
        Command::Show(show) => show.run(&open()?, output),
        Command::Update(update) => update.run(&open()?, output),
        Command::Disable(ids) => ids.run("disable", &open()?, output),
        Command::Enable(ids) => ids.run("enable", &open()?, output),
        Command::Revoke(revoke) => revoke.run(&open()?, output),
        Command::Rotate(rotate) => rotate.run(&open()?, output),
        Command::Verify(verify) => verify.run(&open()?, output),
        Command::Import(import) => import.run(&open()?, output),
        Command::Hash(_) if output.is_some() => Err(Failure::usage("a digest has one form: leave out --output").into()),
        Command::Hash(hash) => hash.run(),
    }
}

/// Where a key is in the API. What looks like a secret is not sent: addresses end up in logs.
pub(super) fn path_of(id: &KeyId) -> Result<String, Failure> {
    let text = id.as_str();
    if is_secret_like(text) {
        return Err(Failure::usage("this looks like a secret, and was not sent: a key is named by its id, key_…"));
    }
    Ok(format!("/v1/keys/{text}"))
}

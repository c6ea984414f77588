//! `keygate audit`: who changed what, and whether the log of it is as it was written.

mod log;
mod verify;

use super::Exit;
use super::client::Connection;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    log: log::Log,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Walk the audit log of a store's file; exit 1 if it is not as it was written. Asks no gateway
    Verify(verify::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.command {
        Some(Command::Verify(verify)) => verify.run(),
        None => arguments.log.run(&arguments.connection.open()?),
    }
}

pub(super) use verify::verdict_words;

//! The command line: arguments in, exit code out. Data goes to standard output, words to standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or an invalid file, 3 not found, 4 refused, 5 conflict, 6 gateway not reachable.

mod audit;
mod call;
mod check;
mod client;
mod explain;
mod failure;
mod healthcheck;
mod import;
mod keys;
mod problem;
mod quickstart;
mod reveal;
mod secret_input;
mod serve;
mod sinks;
mod status;
mod store;
mod table;
mod terminal;
mod tokens;
mod usage;
mod usage_report;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::app::Companion;

use failure::Failure;
use terminal::{print, say};

/// A reverse-proxy authentication gateway: API keys, limits and identity in front of HTTP backends.
#[derive(Debug, Parser)]
#[command(name = "keygate", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a starter file, make a key, and serve both with a built-in echo upstream
    Quickstart(quickstart::Arguments),
    /// Serve a configuration until SIGTERM or SIGINT; SIGHUP reloads it
    Serve(ConfigFile),
    /// Print every problem of a configuration; exit 0 if it is fine, 2 if it is not
    Check(check::Arguments),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Make, list, change and revoke keys
    Keys(keys::Arguments),
    /// Tell what would become of a request, and why
    Explain(explain::Arguments),
    /// Make, list and revoke the tokens of the admin API
    Tokens(tokens::Arguments),
    /// Print who changed what
    Audit(audit::Arguments),
    /// Print what was used, the running minute included
    Usage(usage_report::Arguments),
    /// List the sinks of usage, and have them wait or go on
    Sinks(sinks::Arguments),
    /// Check, copy and look into a store's file
    #[command(subcommand)]
    Store(store::Command),
    /// Print how a running gateway is
    Status(status::Arguments),
    /// Have a running gateway read its configuration again
    Reload(status::Arguments),
    /// Ask a running gateway whether it is ready, for containers
    Healthcheck(healthcheck::Arguments),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The configuration file.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "KEYGATE_CONFIG", default_value = "keygate.yaml")]
    config: PathBuf,
}

/// How a command ended, other than with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done,
    Failed,
    Invalid,
    NotFound,
    Refused,
    Conflict,
    NotReachable,
}

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::tell(error),
    };
    let exit = match run(arguments.command) {
        Ok(exit) => exit,
        Err(error) => {
            say(&format!("keygate: {error:#}"));
            Failure::exit_of(&error)
        }
    };
    ExitCode::from(match exit {
        Exit::Done => 0,
        Exit::Failed => 1,
        Exit::Invalid => 2,
        Exit::NotFound => 3,
        Exit::Refused => 4,
        Exit::Conflict => 5,
        Exit::NotReachable => 6,
    })
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Quickstart(arguments) => quickstart::run(&arguments),
        Command::Serve(file) => serve::run(&file.config, Companion::None, |_| {}),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => print(&format!("{:#}\n", crate::config::schema())),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Tokens(arguments) => tokens::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Usage(arguments) => usage_report::run(&arguments),
        Command::Sinks(arguments) => sinks::run(&arguments),
        Command::Store(command) => store::run(&command),
        Command::Status(arguments) => status::status(&arguments),
        Command::Reload(arguments) => status::reload(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keygate", &mut script);
    print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Arguments::command().debug_assert();
    }
}

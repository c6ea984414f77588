//! `keygate store`: looks into a store's file and copies it, whether a gateway has it open or not.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Exit;
use super::audit::verdict_words;
use super::table::{Output, json, print_fields};
use super::terminal::{print, say};
use crate::key::State;
use crate::store::{self, Checked, Inspected};
use crate::telemetry::log::Rfc3339;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check that all of it goes together; exit 1 if it does not
    Check(File),
    /// Copy it as it stands now to a new file
    Backup {
        /// The store's file
        file: PathBuf,
        /// The copy; there must be nothing yet
        to: PathBuf,
    },
    /// Tell what is in it
    Inspect(File),
}

#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The store's file
    file: PathBuf,
    /// How it is printed
    #[arg(long, default_value = "table")]
    output: Output,
}

pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check(file) => check(file),
        Command::Backup { file, to } => backup(file, to),
        Command::Inspect(file) => inspect(file),
    }
}

fn check(file: &File) -> anyhow::Result<Exit> {
    let checked = store::check(&file.file)?;
    let is_sound = checked.is_sound();
    let Checked { faults, audit } = checked;
    let audit = audit.map_or_else(|| "cannot be read".to_owned(), |verdict| verdict_words(&verdict));
    match file.output {
        Output::Json => print(&json(&json!({"sound": is_sound, "faults": faults, "audit": audit})))?,
        output => {
            let state = if is_sound { "sound" } else { "not sound" };
            let mut fields = vec![("store", state.to_owned()), ("audit_log", audit)];
            fields.extend(faults.into_iter().map(|fault| ("fault", fault)));
            print_fields(output, &fields)?
        }
    };
    Ok(if is_sound { Exit::Done } else { Exit::Failed })
}

fn backup(file: &Path, to: &Path) -> anyhow::Result<Exit> {
    store::backup(file, to)?;
    say(&format!("{} is a copy of {}", to.display(), file.display()));
    Ok(Exit::Done)
}

fn inspect(file: &File) -> anyhow::Result<Exit> {
    let Inspected { schema, revision, keys, tokens, size_bytes, last_audit } = store::inspect(&file.file)?;
    let count = |wanted| keys.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count);
    let (active, disabled, revoked) = (count(State::Active), count(State::Disabled), count(State::Revoked));
    let row = last_audit.map(|row| (row.number, Rfc3339(row.at).to_string(), row.action));
    if file.output == Output::Json {
        return print(&json(&json!({
            "schema": schema,
            "revision": revision.0,
            "keys": {"active": active, "disabled": disabled, "revoked": revoked},
            "tokens": tokens,
            "size_bytes": size_bytes,
            "last_audit": row.map(|(number, at, action)| json!({"number": number, "at": at, "action": action})),
        })));
    }
    let fields = [
        ("schema", schema.to_string()),
        ("revision", revision.to_string()),
        ("active_keys", active.to_string()),
        ("disabled_keys", disabled.to_string()),
        ("revoked_keys", revoked.to_string()),
        ("tokens", tokens.to_string()),
        ("size_bytes", size_bytes.to_string()),
        ("last_audit", row.map_or_else(String::new, |(number, at, action)| format!("row {number}, {at}, {action}"))),
    ];
    print_fields(file.output, &fields)
}

//! `keygate keys disable`, `enable` and `revoke`: the same for several keys, each for itself.

use serde_json::Value;

use super::{COLUMNS, Key, path_of};
use crate::cli::Exit;
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::table::{Output, decoded, print_list, seconds};
use crate::cli::terminal::{Consent, ask, expect_person, say};
use crate::key::KeyId;

#[derive(Debug, clap::Args)]
pub(super) struct Ids {
    /// The ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<KeyId>,
    /// How the keys are printed
    #[arg(long)]
    output: Option<Output>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    ids: Ids,
    #[command(flatten)]
    consent: Consent,
}

impl Ids {
    /// Goes on after a failure, so that one mistyped id does not leave the others as they were.
    pub(super) fn run(&self, verb: &str, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let paths = self.ids.iter().map(path_of).collect::<Result<Vec<_>, _>>()?;
        let output = self.output.or(output).unwrap_or_default();
        let mut keys = Vec::new();
        let mut exit = Exit::Done;
        for (id, path) in self.ids.iter().zip(paths) {
            match client.send(&Call::post(format!("{path}/{verb}"))) {
                Ok(mut answer) => keys.push(answer.body["key"].take()),
                Err(failure) => {
                    say(&format!("keygate: {id}: {failure}"));
                    exit = if exit == Exit::Done { failure.exit } else { exit };
                }
            }
        }
        if !keys.is_empty() || output == Output::Json {
            print_list(output, &COLUMNS, &keys)?;
        }
        Ok(exit)
    }
}

impl Revoke {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        if !self.consent.is_given() {
            expect_person()?;
            for id in &self.ids.ids {
                ask(&format!("Revoke {}?", described(client, id)?))?;
            }
        }
        self.ids.run("revoke", client, output)
    }
}

/// A key so that a person knows which one it is.
pub(super) fn described(client: &Client, id: &KeyId) -> anyhow::Result<String> {
    let answer = client.send(&Call::get(path_of(id)?))?;
    let key: Key = decoded::<Key>(answer.body.get("key").unwrap_or(&Value::Null))?;
    let used = match &key.last_used {
        Some(at) => format!("last used {}", seconds(Some(at))),
        None => "never used".to_owned(),
    };
    Ok(format!("{} ({}, {used})", key.id, key.name))
}

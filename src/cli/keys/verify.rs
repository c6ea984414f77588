//! `keygate keys verify -`: what would become of a request with a secret. Exit code 0 if it is active, 4 if not.

use serde_json::{Value, json};

use super::COLUMNS;
use crate::cli::Exit;
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::secret_input;
use crate::cli::table::{self, Output, fields, print_fields};
use crate::cli::terminal::print;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `-`: the secret is read from standard input, never from an argument
    #[arg(value_name = "-", allow_hyphen_values = true)]
    input: String,
    /// How it is printed
    #[arg(long)]
    output: Option<Output>,
}

impl Arguments {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let secret = secret_input::read_text(&self.input)?;
        let answer = client.send(&Call::post_json("/v1/keys/verify", &json!({"secret": secret.as_str()})))?;
        let outcome: String = table::decoded(&answer.body["outcome"])?;
        let exit = if outcome == "active" { Exit::Done } else { Exit::Refused };
        match self.output.or(output).unwrap_or_default() {
            Output::Json => print(&table::json(&answer.body))?,
            output => print_fields(output, &shown(outcome, &answer.body["key"])?)?,
        };
        Ok(exit)
    }
}

fn shown(outcome: String, key: &Value) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut shown = vec![("outcome", outcome)];
    if !key.is_null() {
        shown.extend(fields(&COLUMNS, key)?);
    }
    Ok(shown)
}

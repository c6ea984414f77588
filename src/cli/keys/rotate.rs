//! `keygate keys rotate`.

use serde_json::json;

use super::states::described;
use super::{COLUMNS, Key, path_of};
use crate::cli::Exit;
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::reveal::{Made, Reveal, print_secret};
use crate::cli::table::Output;
use crate::cli::terminal::{Consent, ask, expect_person};
use crate::cli::when::{While, lasting};
use crate::key::KeyId;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its id
    id: KeyId,
    /// How long the old secret works on, up to 30d; 0s ends it at once
    #[arg(long, default_value = "24h", value_parser = lasting)]
    grace: While,
    /// How the new secret is printed
    #[arg(long)]
    output: Option<Reveal>,
    #[command(flatten)]
    consent: Consent,
}

impl Arguments {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let path = path_of(&self.id)?;
        if self.grace.is_zero() && !self.consent.is_given() {
            expect_person()?;
            ask(&format!("Rotate {}, and end its old secret now?", described(client, &self.id)?))?;
        }
        let call = Call::post_json(format!("{path}/rotate"), &json!({"grace": self.grace.as_str()}));
        let answer = client.send(&call.once()?)?;
        let made = Made::<Key> { part: "key", columns: &COLUMNS, remedy: "rotate it once more" };
        print_secret(&answer, self.output.or(output.map(Reveal::from)), &made)
    }
}

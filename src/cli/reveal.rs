//! Shows a secret that has just been made, the only time that anybody can.
//!
//! On a terminal with what it belongs to; elsewhere alone on its line, so that `KEY=$(keygate keys create --name x)` works. A
//! secret that could not be written is told, not shrugged off. Called by what makes keys and tokens.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::Answer;
use super::table::{Columns, Output, csv, decoded, field_lines, fields, json};
use super::terminal::{is_terminal, print_all, say};
use super::{Exit, Failure};
use crate::key::Secret;

/// How a new secret is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Reveal {
    /// With what it belongs to; what a terminal gets
    Table,
    /// As the API gives it
    Json,
    /// With all there is, by RFC 4180
    Csv,
    /// The secret alone; what is no terminal gets
    Secret,
}

impl From<Output> for Reveal {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Self::Table,
            Output::Json => Self::Json,
            Output::Csv => Self::Csv,
        }
    }
}

/// What a secret was made for.
pub(super) struct Made<'a, T: 'static> {
    /// Where it stands in the answer.
    pub(super) part: &'static str,
    /// How it is shown.
    pub(super) columns: &'a Columns<T>,
    /// What to do if the secret got lost.
    pub(super) remedy: &'a str,
}

#[derive(Deserialize)]
struct Parts {
    secret: Option<PlainSecret>,
}

/// Visible ASCII, whatever the answer said.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct PlainSecret(Secret);

impl TryFrom<String> for PlainSecret {
    type Error = crate::key::Malformed;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Secret::try_from(text).map(Self)
    }
}

/// Prints the secret of an answer; fails if there is none, because it was given away before.
pub(super) fn print_secret<T: DeserializeOwned>(
    answer: &Answer,
    reveal: Option<Reveal>,
    made: &Made<'_, T>,
) -> anyhow::Result<Exit> {
    let parts: Parts = decoded(&answer.body)?;
    // Better a secret without what it belongs to than none.
    let mut fields = fields(made.columns, &answer.body[made.part]).unwrap_or_default();
    let id = fields.first().map_or_else(|| format!("the new {}", made.part), |(_, id)| id.clone());
    let Some(PlainSecret(secret)) = parts.secret else {
        return Err(no_secret(answer, &id, made.remedy).into());
    };
    fields.push(("secret", secret.expose().to_owned()));
    let reveal = reveal.unwrap_or(if is_terminal() { Reveal::Table } else { Reveal::Secret });
    let text = match reveal {
        Reveal::Table => field_lines(&fields),
        Reveal::Json => json(&answer.body),
        Reveal::Csv => {
            let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
            csv(&names, &[values])
        }
        Reveal::Secret => format!("{}\n", secret.expose()),
    };
    let lost =
        |error| Failure::new(Exit::Failed, format!("{id} was made, but its secret is lost: {error}; {}", made.remedy));
    print_all(&text).map_err(lost)?;
    say(&format!("The secret of {id} is shown only this once."));
    Ok(Exit::Done)
}

fn no_secret(answer: &Answer, id: &str, remedy: &str) -> Failure {
    let why = if answer.is_replay {
        "the first answer, which had its secret, was lost on the way, and the secret is not told twice"
    } else {
        "the gateway did not tell its secret"
    };
    Failure::new(Exit::Failed, format!("{id} is there, but {why}: {remedy}"))
}

//! `keygate tokens`: who may use the admin API.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Exit;
use super::call::Call;
use super::client::{Client, Connection};
use super::reveal::{Made, Reveal, print_secret};
use super::table::{Column, Columns, Output, decoded, print_list, seconds};
use super::terminal::{Consent, ask, expect_person};
use super::when::{When, when};
use crate::key::TokenId;
use crate::store::Role;

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
    /// Make a token; it is shown only then
    Create(Create),
    /// List all tokens, revoked ones too
    List {
        /// How they are printed
        #[arg(long)]
        output: Option<Output>,
    },
    /// Refuse a token for ever
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it may do: `operator`, `viewer` or `owner:<name>`
    #[arg(long)]
    role: Role,
    /// Who has it
    #[arg(long)]
    name: Option<String>,
    /// How long it is valid, `90d`, or until when
    #[arg(long, value_parser = when)]
    expires: Option<When>,
    /// How it is printed
    #[arg(long)]
    output: Option<Reveal>,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its id
    id: TokenId,
    /// How it is printed
    #[arg(long)]
    output: Option<Output>,
    #[command(flatten)]
    consent: Consent,
}

/// A token as the admin API tells of it.
#[derive(Debug, Deserialize)]
struct Token {
    id: String,
    name: Option<String>,
    role: String,
    created: Option<String>,
    expires: Option<String>,
    revoked: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    tokens: Vec<Value>,
    next: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let client = arguments.connection.open()?;
    let before = arguments.output;
    match &arguments.command {
        Command::Create(create) => create.run(&client, before),
        Command::List { output } => print_list(output.or(before).unwrap_or_default(), &COLUMNS, &all(&client)?),
        Command::Revoke(revoke) => revoke.run(&client, before),
    }
}

impl Create {
    fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let expires = self.expires.as_ref().and_then(When::at);
        let fields = [
            ("role", Some(json!(self.role.to_string()))),
            ("name", self.name.as_ref().map(|name| json!(name))),
            ("expires", expires.map(|at| json!(at.to_string()))),
        ];
        let body: Map<_, _> = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let answer = client.send(&Call::post_json("/v1/tokens", &body.into()))?;
        let made = Made::<Token> { part: "token", columns: &COLUMNS, remedy: "revoke it and make another" };
        print_secret(&answer, self.output.or(output.map(Reveal::from)), &made)
    }
}

impl Revoke {
    fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        if !self.consent.is_given() {
            expect_person()?;
            ask(&format!("Revoke {}?", self.described(client)?))?;
        }
        let mut answer = client.send(&Call::delete(format!("/v1/tokens/{}", self.id)))?;
        print_list(self.output.or(output).unwrap_or_default(), &COLUMNS, &[answer.body["token"].take()])
    }

    /// The token so that a person knows which one it is. One that is not there is the gateway's to refuse.
    fn described(&self, client: &Client) -> anyhow::Result<String> {
        let id = self.id.as_str();
        let tokens = all(client)?;
        let Some(token) = tokens.iter().find(|token| token["id"] == id) else { return Ok(id.to_owned()) };
        let token: Token = decoded(token)?;
        Ok(format!("{id} ({}, {})", token.name.unwrap_or_default(), token.role))
    }
}

/// All of them, page by page.
fn all(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut tokens = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let call = Call::get("/v1/tokens").query("cursor", cursor.as_deref()).query("limit", Some("1000"));
        let page: Page = decoded(&client.send(&call)?.body)?;
        tokens.extend(page.tokens);
        if page.next.is_none() || page.next == cursor {
            return Ok(tokens);
        }
        cursor = page.next;
    }
}

const COLUMNS: Columns<Token> = Columns {
    all: &[
        Column { name: "id", cell: |token| token.id.clone() },
        Column { name: "name", cell: |token| token.name.clone().unwrap_or_default() },
        Column { name: "role", cell: |token| token.role.clone() },
        Column { name: "created", cell: |token| seconds(token.created.as_deref()) },
        Column { name: "expires", cell: |token| seconds(token.expires.as_deref()) },
        Column { name: "revoked", cell: |token| seconds(token.revoked.as_deref()) },
    ],
    in_table: 6,
};

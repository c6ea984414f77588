//! `keygate explain`: what would become of a request, and why. Nothing is forwarded, no allowance is taken.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::client::Connection;
use super::table::{Output, decoded, field_lines, json, print_fields, table};
use super::terminal::print;
use super::{Exit, Failure, secret_input};
use crate::key::KeyId;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// `-`: the secret is read from standard input, never from an argument
    #[arg(value_name = "-", allow_hyphen_values = true, required_unless_present = "key", conflicts_with = "key")]
    input: Option<String>,
    /// The key, by its id
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// The path that is asked for
    #[arg(long)]
    path: String,
    /// The method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The host that is asked
    #[arg(long)]
    host: Option<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// How it is printed
    #[arg(long, default_value = "table")]
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    outcome: String,
    status: Option<u16>,
    detail: Option<String>,
    route: Option<String>,
    upstream: Option<String>,
    path: Option<String>,
    key: Option<String>,
    owner: Option<String>,
    plan: Option<String>,
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Debug, Deserialize)]
struct Limit {
    name: String,
    requests: u64,
    per_seconds: f64,
    burst: u64,
    remaining: u64,
    retry_after_seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let client = arguments.connection.open()?;
    let answer = client.send(&Call::post_json("/v1/explain", &arguments.body()?))?;
    if arguments.output == Output::Json {
        return print(&json(&answer.body));
    }
    let explanation: Explanation = decoded(&answer.body)?;
    let limits: Vec<_> = explanation.limits.iter().map(Limit::cells).collect();
    let in_a_word: Vec<_> = explanation.limits.iter().map(Limit::in_a_word).collect();
    let mut fields = explanation.fields();
    match arguments.output {
        Output::Csv => {
            fields.push(("limits", in_a_word.join(" ")));
            print_fields(Output::Csv, &fields)
        }
        Output::Table | Output::Json if limits.is_empty() => print(&field_lines(&fields)),
        Output::Table | Output::Json => print(&format!("{}\n{}", field_lines(&fields), table(&LIMIT_COLUMNS, &limits))),
    }
}

impl Arguments {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = Map::new();
        if let Some(key) = &self.key {
            super::keys::path_of(key)?;
            body.insert("key".to_owned(), json!(key.as_str()));
        } else {
            let input = self.input.as_deref().ok_or_else(|| Failure::usage("name the key with --key ID"))?;
            body.insert("secret".to_owned(), json!(secret_input::read_text(input)?.as_str()));
        }
        body.insert("method".to_owned(), json!(self.method));
        body.insert("path".to_owned(), json!(self.path));
        let client = self.client.map(|client| client.to_string());
        for (name, value) in [("host", &self.host), ("client", &client)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        Ok(body.into())
    }
}

impl Explanation {
    fn fields(self) -> Vec<(&'static str, String)> {
        vec![
            ("outcome", self.outcome),
            ("status", self.status.map(|status| status.to_string()).unwrap_or_default()),
            ("why", self.detail.unwrap_or_default()),
            ("route", self.route.unwrap_or_default()),
            ("upstream", self.upstream.unwrap_or_default()),
            ("path", self.path.unwrap_or_default()),
            ("key", self.key.unwrap_or_default()),
            ("owner", self.owner.unwrap_or_default()),
            ("plan", self.plan.unwrap_or_default()),
        ]
    }
}

impl Limit {
    fn in_a_word(&self) -> String {
        format!("{}:{}/{}", self.name, self.remaining, self.burst)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            format!("{} per {} s", self.requests, self.per_seconds),
            self.burst.to_string(),
            self.remaining.to_string(),
            format!("{} s", self.retry_after_seconds),
        ]
    }
}

const LIMIT_COLUMNS: [&str; 5] = ["limit", "rate", "burst", "remaining", "retry_after"];

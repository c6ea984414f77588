//! `keygate status` and `keygate reload`: how a running gateway is, and that it reads its file again.

use serde_json::Value;

use super::Exit;
use super::call::Call;
use super::client::Connection;
use super::table::{Output, json, print_fields};
use super::terminal::print;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// How it is printed
    #[arg(long, default_value = "table")]
    output: Output,
}

pub(super) fn status(arguments: &Arguments) -> anyhow::Result<Exit> {
    print_answer(arguments, &Call::get("/v1/status"))
}

/// A file that is refused is told as `keygate check` tells it, and nothing is changed.
pub(super) fn reload(arguments: &Arguments) -> anyhow::Result<Exit> {
    print_answer(arguments, &Call::post("/v1/reload"))
}

fn print_answer(arguments: &Arguments, call: &Call) -> anyhow::Result<Exit> {
    let answer = arguments.connection.open()?.send(call)?;
    if arguments.output == Output::Json {
        return print(&json(&answer.body));
    }
    let mut fields = Vec::new();
    flatten(&mut fields, "", &answer.body);
    let fields: Vec<(&str, String)> = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    print_fields(arguments.output, &fields)
}

/// Objects within an object become fields whose names begin with theirs.
fn flatten(fields: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}_{key}") };
                flatten(fields, &name, value);
            }
        }
        Value::Null => fields.push((name.to_owned(), String::new())),
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        value => fields.push((name.to_owned(), value.to_string())),
    }
}

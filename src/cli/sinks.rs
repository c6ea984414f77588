//! `keygate sinks`: where usage is sent to, how far that has come, and a pause.

use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::client::Connection;
use super::secret_input::is_secret_like;
use super::table::{Column, Columns, Output, decoded, json, print_list, seconds};
use super::terminal::print;
use super::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// How answers are printed, if the command does not say
    #[arg(long)]
    output: Option<Output>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all sinks, queue by queue; what is done if nothing is said
    List {
        /// How they are printed
        #[arg(long)]
        output: Option<Output>,
    },
    /// Have a sink end the batch at hand and wait, until it is resumed or the gateway is started again
    Pause(One),
    /// Have a sink go on, at once even after failures
    Resume(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its name in the configuration
    #[arg(value_parser = name)]
    name: String,
    /// How it is printed
    #[arg(long)]
    output: Option<Output>,
}

/// A sink as the admin API tells of it.
#[derive(Deserialize)]
struct Sink {
    name: String,
    r#type: String,
    queues: Vec<Value>,
}

/// A queue of a sink: a row of what is printed.
#[derive(Deserialize)]
struct Queue {
    sink: String,
    r#type: String,
    queue: String,
    state: String,
    guarantee: String,
    waiting: Option<u64>,
    lag_seconds: f64,
    set_aside: Option<u64>,
    taken: u64,
    failures: u64,
    trouble: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    at: String,
    kind: String,
    detail: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (call, output) = match &arguments.command {
        None => (Call::get("/v1/sinks"), None),
        Some(Command::List { output }) => (Call::get("/v1/sinks"), *output),
        Some(Command::Pause(one)) => (one.call("pause"), one.output),
        Some(Command::Resume(one)) => (one.call("resume"), one.output),
    };
    let answer = arguments.connection.open()?.send(&call)?;
    match output.or(arguments.output).unwrap_or_default() {
        Output::Json => print(&json(&answer.body)),
        output => print_list(output, &COLUMNS, &rows(&answer.body)?),
    }
}

impl One {
    fn call(&self, verb: &str) -> Call {
        Call::post(format!("/v1/sinks/{}/{verb}", self.name)).idempotent()
    }
}

/// The queues of all sinks, or of the one, each with the name of its sink.
fn rows(body: &Value) -> Result<Vec<Value>, Failure> {
    let one = body.get("sink").map(std::slice::from_ref);
    let sinks = one.or_else(|| body["sinks"].as_array().map(Vec::as_slice)).unwrap_or_default();
    let mut rows = Vec::new();
    for sink in sinks {
        let Sink { name, r#type, queues } = decoded(sink)?;
        for mut queue in queues {
            if let Some(fields) = queue.as_object_mut() {
                fields.insert("sink".to_owned(), name.clone().into());
                fields.insert("type".to_owned(), r#type.clone().into());
            }
            rows.push(queue);
        }
    }
    Ok(rows)
}

/// The name of a sink as the configuration takes it.
fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_plain) && !text.bytes().all(|byte| byte == b'.');
    // It would stand in an address, and these end up in logs.
    if fits && !is_secret_like(text) {
        Ok(text.to_owned())
    } else {
        Err("the name of a sink is 1 to 64 of A-Z a-z 0-9 _ . -")
    }
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

const COLUMNS: Columns<Queue> = Columns {
    all: &[
        Column { name: "sink", cell: |queue| queue.sink.clone() },
        Column { name: "type", cell: |queue| queue.r#type.clone() },
        Column { name: "queue", cell: |queue| queue.queue.clone() },
        Column { name: "state", cell: |queue| queue.state.clone() },
        Column { name: "waiting", cell: |queue| number(queue.waiting) },
        Column { name: "lag_seconds", cell: |queue| format!("{:.0}", queue.lag_seconds) },
        Column { name: "set_aside", cell: |queue| number(queue.set_aside) },
        Column { name: "trouble", cell: |queue| queue.trouble.as_ref().map(|it| it.kind.clone()).unwrap_or_default() },
        Column { name: "detail", cell: |queue| queue.trouble.as_ref().map(|it| it.detail.clone()).unwrap_or_default() },
        Column { name: "trouble_at", cell: |queue| seconds(queue.trouble.as_ref().map(|it| it.at.as_str())) },
        Column { name: "taken", cell: |queue| queue.taken.to_string() },
        Column { name: "failures", cell: |queue| queue.failures.to_string() },
        Column { name: "guarantee", cell: |queue| queue.guarantee.clone() },
    ],
    in_table: 9,
};

//! `keygate usage`: what was used, by time or by whatever it is asked by.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Exit;
use super::call::Call;
use super::client::{Client, Connection};
use super::table::{Column, Columns, Output, decoded, print_list};
use super::terminal::say;
use super::when::{When, While, lasting, when};
use crate::key::{KeyId, Name};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    report: Report,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hold what was sealed day by day against what is kept and what sinks have taken; exit 1 if something disagrees
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// How far back
    #[arg(long, default_value = "7d", value_parser = lasting)]
    since: While,
    /// How it is printed
    #[arg(long, default_value = "table")]
    output: Output,
}

/// A day as the admin API tells of it.
#[derive(Debug, Deserialize)]
struct Day {
    day: String,
    sealed: Sums,
    sinks: Vec<SinkDay>,
    faults: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Sums {
    rows: u64,
    requests: u64,
    units: u64,
}

#[derive(Debug, Deserialize)]
struct SinkDay {
    sink: String,
    acknowledged: u64,
    waiting: u64,
    set_aside: u64,
    overrun: u64,
}

#[derive(Debug, clap::Args)]
struct Report {
    /// Only of this owner
    #[arg(long)]
    owner: Option<Name>,
    /// Only of the key with this id
    #[arg(long)]
    key: Option<KeyId>,
    /// Only on this route
    #[arg(long)]
    route: Option<Name>,
    /// Only under this plan
    #[arg(long)]
    plan: Option<Name>,
    /// How far back, `7d`; whole days, hours or minutes as `--by` says
    #[arg(long, default_value = "7d", value_parser = lasting)]
    since: While,
    /// Until when; now if it is not given
    #[arg(long, value_parser = when)]
    until: Option<When>,
    /// What the rows are for
    #[arg(long, default_value = "day")]
    by: By,
    /// How they are printed
    #[arg(long, default_value = "table")]
    output: Output,
}

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Minute,
    Hour,
    Day,
    Key,
    Owner,
    Plan,
    Route,
    Class,
}

#[derive(Deserialize)]
struct Page {
    rows: Vec<Map<String, Value>>,
    next: Option<String>,
}

/// A row as it is shown.
#[derive(Debug, Deserialize)]
struct Row {
    start: Option<String>,
    key: Option<String>,
    owner: Option<String>,
    plan: Option<String>,
    route: Option<String>,
    class: Option<String>,
    code: Option<String>,
    requests: u64,
    units: u64,
    bytes_in: u64,
    bytes_out: u64,
    latency_seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let client = arguments.connection.open()?;
    if let Some(Command::Verify(verify)) = &arguments.command {
        return verify.run(&client);
    }
    let report = &arguments.report;
    let rows = report.rows(&client)?;
    let rows = if report.by.step().is_some() { rows } else { summed(&rows, report.by.word()) };
    let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    let columns = match report.by {
        By::Minute | By::Hour | By::Day => &BY_TIME,
        By::Key => &BY_KEY,
        By::Owner => &BY_OWNER,
        By::Plan => &BY_PLAN,
        By::Route => &BY_ROUTE,
        By::Class => &BY_CLASS,
    };
    print_list(report.output, columns, &rows)
}

impl Verify {
    fn run(&self, client: &Client) -> anyhow::Result<Exit> {
        let now = crate::time::wall(crate::time::now()).as_unix_s();
        let from = jiff::Timestamp::from_second(now.saturating_sub(self.since.as_seconds()))?;
        let call = Call::get("/v1/usage/proof").query("from", Some(&from.to_string()));
        let answer = client.send(&call)?.body;
        let days: Vec<Value> = decoded(&answer["days"])?;
        print_list(self.output, &PROOF, &days)?;
        if answer["sound"] == true {
            return Ok(Exit::Done);
        }
        say("keygate: the usage that is kept does not agree with what was sealed");
        Ok(Exit::Failed)
    }
}

/// Where the buckets of a day are on their way, sink by sink.
fn on_the_way(day: &Day) -> String {
    let of_sink = |sink: &SinkDay| {
        let SinkDay { sink, acknowledged, waiting, set_aside, overrun } = sink;
        format!("{sink}: {acknowledged} taken, {waiting} waiting, {set_aside} set aside, {overrun} overrun")
    };
    day.sinks.iter().map(of_sink).collect::<Vec<_>>().join("; ")
}

const PROOF: Columns<Day> = Columns {
    all: &[
        Column { name: "day", cell: |day| day.day.clone() },
        Column { name: "buckets", cell: |day| day.sealed.rows.to_string() },
        Column { name: "requests", cell: |day| day.sealed.requests.to_string() },
        Column { name: "units", cell: |day| day.sealed.units.to_string() },
        Column { name: "sinks", cell: on_the_way },
        Column { name: "faults", cell: |day| day.faults.join("; ") },
    ],
    in_table: 6,
};

impl Report {
    fn rows(&self, client: &Client) -> anyhow::Result<Vec<Map<String, Value>>> {
        let until = self.until.as_ref().and_then(When::at);
        let now = crate::time::wall(crate::time::now()).as_unix_s();
        let end = until.map_or(now, jiff::Timestamp::as_second);
        let from = jiff::Timestamp::from_second(end.saturating_sub(self.since.as_seconds()))?;
        let (mut rows, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let call = Call::get("/v1/usage")
                .query("owner", self.owner.as_ref().map(Name::as_str))
                .query("key", self.key.as_ref().map(KeyId::as_str))
                .query("route", self.route.as_ref().map(Name::as_str))
                .query("plan", self.plan.as_ref().map(Name::as_str))
                .query("from", Some(&from.to_string()))
                .query("to", until.map(|until| until.to_string()).as_deref())
                .query("by", Some(self.by.step().unwrap_or("day")))
                .query("group", if self.by.step().is_some() { None } else { Some(self.by.word()) })
                .query("limit", Some("1000"))
                .query("cursor", cursor.as_deref());
            let page: Page = decoded(&client.send(&call)?.body)?;
            rows.extend(page.rows);
            if page.next.is_none() || page.next == cursor {
                return Ok(rows);
            }
            cursor = page.next;
        }
    }
}

/// The rows of all times together, by what they are for.
fn summed(rows: &[Map<String, Value>], by: &str) -> Vec<Map<String, Value>> {
    let mut sums: BTreeMap<[String; 2], Map<String, Value>> = BTreeMap::new();
    for row in rows {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let sum = sums.entry([text(by), text("code")]).or_insert_with(|| {
            let mut empty = row.clone();
            empty.remove("start");
            empty.values_mut().filter(|value| value.is_number()).for_each(|value| *value = 0.into());
            empty.remove("latency");
            empty
        });
        for (name, value) in row {
            let Some(so_far) = sum.get_mut(name) else { continue };
            match (value.as_u64(), so_far.as_u64(), value.as_f64()) {
                (Some(more), Some(before), _) => *so_far = before.saturating_add(more).into(),
                (_, _, Some(more)) => *so_far = (so_far.as_f64().unwrap_or(0.0) + more).into(),
                _ => {}
            }
        }
    }
    sums.into_values().collect()
}

impl By {
    /// What the API calls a step of time.
    const fn step(self) -> Option<&'static str> {
        match self {
            Self::Minute => Some("minute"),
            Self::Hour => Some("hour"),
            Self::Day => Some("day"),
            Self::Key | Self::Owner | Self::Plan | Self::Route | Self::Class => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Key => "key",
            Self::Owner => "owner",
            Self::Plan => "plan",
            Self::Route => "route",
            Self::Class => "class",
        }
    }
}

const START: Column<Row> = Column { name: "start", cell: |row| row.start.clone().unwrap_or_default() };
const KEY: Column<Row> = Column { name: "key", cell: |row| row.key.clone().unwrap_or_default() };
const OWNER: Column<Row> = Column { name: "owner", cell: |row| row.owner.clone().unwrap_or_default() };
const PLAN: Column<Row> = Column { name: "plan", cell: |row| row.plan.clone().unwrap_or_default() };
const ROUTE: Column<Row> = Column { name: "route", cell: |row| row.route.clone().unwrap_or_default() };
const CLASS: Column<Row> = Column { name: "class", cell: |row| row.class.clone().unwrap_or_default() };
const CODE: Column<Row> = Column { name: "code", cell: |row| row.code.clone().unwrap_or_default() };
const REQUESTS: Column<Row> = Column { name: "requests", cell: |row| row.requests.to_string() };
const UNITS: Column<Row> = Column { name: "units", cell: |row| row.units.to_string() };
const BYTES_IN: Column<Row> = Column { name: "bytes_in", cell: |row| row.bytes_in.to_string() };
const BYTES_OUT: Column<Row> = Column { name: "bytes_out", cell: |row| row.bytes_out.to_string() };
const LATENCY: Column<Row> = Column { name: "latency_seconds", cell: |row| format!("{:.3}", row.latency_seconds) };

const BY_TIME: Columns<Row> = Columns { all: &[START, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 6 };
const BY_KEY: Columns<Row> = Columns { all: &[KEY, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 6 };
const BY_OWNER: Columns<Row> = Columns { all: &[OWNER, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 6 };
const BY_PLAN: Columns<Row> = Columns { all: &[PLAN, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 6 };
const BY_ROUTE: Columns<Row> = Columns { all: &[ROUTE, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 6 };
const BY_CLASS: Columns<Row> =
    Columns { all: &[CLASS, CODE, REQUESTS, UNITS, BYTES_IN, BYTES_OUT, LATENCY], in_table: 7 };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_several_days_add_up_by_what_they_are_for() {
        let row = |start: &str, route: Option<&str>, requests: u64, latency: f64| {
            let row = json!({"start": start, "route": route, "requests": requests, "latency_seconds": latency,
                "latency": {"under_10ms": requests}});
            row.as_object().unwrap().clone()
        };
        let rows = [row("a", Some("x"), 1, 0.5), row("b", Some("x"), 2, 0.25), row("b", None, 4, 0.0)];
        let sums: Vec<Value> = summed(&rows, "route").into_iter().map(Value::Object).collect();
        let none = json!({"route": null, "requests": 4, "latency_seconds": 0.0});
        let x = json!({"route": "x", "requests": 3, "latency_seconds": 0.75});
        assert_eq!(sums, [none, x]);
    }
}

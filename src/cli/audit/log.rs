//! Rows of the audit log, the older ones first; with `--follow` also those that are still to come.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::table::{
    Column, Columns, Output, cells, csv, csv_line, decoded, heading, json_line, line, print_list, seconds,
};
use crate::cli::terminal::{Reader, print_some, say, wait_while_read};
use crate::cli::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Log {
    /// Only rows after this number; the newest if it is not given
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// At most so many; with --follow, of those that are there already
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on with each row that is written, until interrupted; JSON is then one row a line
    #[arg(long, short)]
    follow: bool,
    /// How they are printed
    #[arg(long, default_value = "table")]
    output: Output,
}

#[derive(Deserialize)]
struct Page {
    rows: Vec<Value>,
    next: Option<u64>,
}

/// A row as the admin API gives it.
#[derive(Debug, Deserialize)]
struct Row {
    number: u64,
    revision: Option<u64>,
    at: String,
    actor: String,
    remote: Option<String>,
    action: String,
    target: Option<String>,
    #[serde(default)]
    before: Value,
    #[serde(default)]
    after: Value,
    request_id: Option<String>,
    hash: Option<String>,
}

/// Whether the gateway answered when it was asked the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    Away,
}

impl Log {
    pub(super) fn run(&self, client: &Client) -> anyhow::Result<Exit> {
        let rows = match self.after {
            Some(after) => rows_after(client, after, self.limit)?,
            None => newest_rows(client, self.limit)?,
        };
        if !self.follow {
            return print_list(self.output, &COLUMNS, &rows);
        }
        self.follow(client, rows)
    }

    fn follow(&self, client: &Client, first: Vec<Value>) -> anyhow::Result<Exit> {
        let mut last = self.after.unwrap_or(0);
        let mut rows = first;
        let mut connection = Presence::There;
        let mut reader = print_some(&self.header())?;
        while reader == Reader::There {
            for row in &rows {
                let (number, text) = self.row(row)?;
                last = last.max(number);
                if print_some(&text)? == Reader::Gone {
                    return Ok(Exit::Done);
                }
            }
            reader = wait_while_read(PAUSE)?;
            rows = if reader == Reader::There { connection.rows_after(client, last)? } else { Vec::new() };
        }
        Ok(Exit::Done)
    }

    fn header(&self) -> String {
        let names = |columns: &[Column<Row>]| columns.iter().map(|column| column.name).collect::<Vec<_>>();
        match self.output {
            Output::Table => {
                let headings: Vec<_> = names(in_table()).into_iter().map(heading).collect();
                line(&headings, &WIDTHS)
            }
            Output::Csv => csv(&names(COLUMNS.all), &[]),
            Output::Json => String::new(),
        }
    }

    /// The number of a row, and the row as it is printed.
    fn row(&self, row: &Value) -> Result<(u64, String), Failure> {
        let item: Row = decoded(row)?;
        let text = match self.output {
            Output::Table => line(&cells(in_table(), &item), &WIDTHS),
            Output::Csv => csv_line(&cells(COLUMNS.all, &item)),
            Output::Json => json_line(row),
        };
        Ok((item.number, text))
    }
}

impl Presence {
    /// The rows that there are by now; none while the gateway is away, which is told once, and so is its return.
    fn rows_after(&mut self, client: &Client, last: u64) -> Result<Vec<Value>, Failure> {
        match page(client, last, PAGE) {
            Ok(page) => {
                if *self == Self::Away {
                    say("keygate: the gateway is back");
                }
                *self = Self::There;
                Ok(page.rows)
            }
            Err(failure) if failure.exit == Exit::NotReachable => {
                if *self == Self::There {
                    say(&format!("keygate: {failure}\nkeygate: trying on, each second"));
                }
                *self = Self::Away;
                Ok(Vec::new())
            }
            Err(failure) => Err(failure),
        }
    }
}

/// A gateway gives a page of the newest; the rows before them are asked for by number.
fn newest_rows(client: &Client, limit: u64) -> Result<Vec<Value>, Failure> {
    let newest = newest_page(client, limit)?;
    let first = newest.first().and_then(|row| row["number"].as_u64()).unwrap_or(1).max(1);
    let missing = limit.saturating_sub(newest.len() as u64).min(first - 1);
    if (newest.len() as u64) < PAGE || missing == 0 {
        return Ok(newest);
    }
    let mut rows = rows_after(client, first - 1 - missing, missing)?;
    rows.retain(|row| row["number"].as_u64().is_some_and(|number| number < first));
    rows.extend(newest);
    Ok(rows)
}

fn newest_page(client: &Client, limit: u64) -> Result<Vec<Value>, Failure> {
    let call = Call::get("/v1/audit").query("from_end", Some("true"));
    let page: Page = decoded(&client.send(&call.query("limit", Some(&limit.min(PAGE).to_string())))?.body)?;
    let mut rows = page.rows;
    rows.sort_by_key(|row| row["number"].as_u64());
    Ok(rows)
}

fn rows_after(client: &Client, after: u64, limit: u64) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    let mut after = after;
    loop {
        let left = limit - rows.len() as u64;
        let page = page(client, after, PAGE.min(left))?;
        rows.extend(page.rows);
        match page.next {
            Some(next) if next > after && (rows.len() as u64) < limit => after = next,
            _ => return Ok(rows),
        }
    }
}

fn page(client: &Client, after: u64, limit: u64) -> Result<Page, Failure> {
    let call = Call::get("/v1/audit").query("after", Some(&after.to_string()));
    decoded(&client.send(&call.query("limit", Some(&limit.to_string())))?.body)
}

fn in_table() -> &'static [Column<Row>] {
    &COLUMNS.all[..COLUMNS.in_table]
}

/// What was before or after; nothing if it was not there.
fn object(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

const COLUMNS: Columns<Row> = Columns {
    all: &[
        Column { name: "number", cell: |row| row.number.to_string() },
        Column { name: "at", cell: |row| seconds(Some(&row.at)) },
        Column { name: "actor", cell: |row| row.actor.clone() },
        Column { name: "remote", cell: |row| row.remote.clone().unwrap_or_default() },
        Column { name: "action", cell: |row| row.action.clone() },
        Column { name: "target", cell: |row| row.target.clone().unwrap_or_default() },
        Column { name: "revision", cell: |row| row.revision.map(|revision| revision.to_string()).unwrap_or_default() },
        Column { name: "before", cell: |row| object(&row.before) },
        Column { name: "after", cell: |row| object(&row.after) },
        Column { name: "request_id", cell: |row| row.request_id.clone().unwrap_or_default() },
        Column { name: "hash", cell: |row| row.hash.clone().unwrap_or_default() },
    ],
    in_table: 7,
};

/// How wide the columns are of a table whose rows are not known yet.
const WIDTHS: [usize; 7] = [7, 20, 20, 15, 14, 20, 8];

/// The most that a gateway gives at once.
const PAGE: u64 = 1000;

const PAUSE: Duration = Duration::from_secs(1);

//! How answers are printed: a table for people, JSON and CSV for programs.
//!
//! Names are a stranger's text. No control character of theirs goes out raw, in no form; and a CSV cell that a spreadsheet
//! would take for a formula begins with a single quote. Times are shown in whole seconds, except in JSON.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::terminal::{is_obeyed, plain, print};
use super::{Exit, Failure};

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// Columns for people
    #[default]
    Table,
    /// As the API gives it
    Json,
    /// All there is, by RFC 4180
    Csv,
}

/// How a list, or one thing of it, is shown.
pub(super) struct Columns<T: 'static> {
    /// All of them; CSV has them all.
    pub(super) all: &'static [Column<T>],
    /// How many of them a table of many rows has.
    pub(super) in_table: usize,
}

/// What a column shows of one thing.
pub(super) struct Column<T> {
    /// Its name, in small letters.
    pub(super) name: &'static str,
    /// What stands in it; empty if there is nothing to say.
    pub(super) cell: fn(&T) -> String,
}

/// Prints things as a list.
pub(super) fn print_list<T: DeserializeOwned>(
    output: Output,
    columns: &Columns<T>,
    items: &[Value],
) -> anyhow::Result<Exit> {
    let shown = match output {
        Output::Json => return print(&json(&Value::Array(items.to_vec()))),
        Output::Table => &columns.all[..columns.in_table],
        Output::Csv => columns.all,
    };
    let names: Vec<_> = shown.iter().map(|column| column.name).collect();
    let rows = items.iter().map(|item| Ok(cells(shown, &decoded(item)?))).collect::<Result<Vec<_>, Failure>>()?;
    match output {
        Output::Csv => print(&csv(&names, &rows)),
        Output::Table | Output::Json => print(&table(&names, &rows)),
    }
}

/// Prints one thing: as a table, its fields one below the other.
pub(super) fn print_one<T: DeserializeOwned>(
    output: Output,
    columns: &Columns<T>,
    item: &Value,
) -> anyhow::Result<Exit> {
    if output == Output::Json {
        return print(&json(item));
    }
    print_fields(output, &fields(columns, item)?)
}

/// Prints names with their values; not as JSON.
pub(super) fn print_fields(output: Output, fields: &[(&str, String)]) -> anyhow::Result<Exit> {
    print(&match output {
        Output::Csv => {
            let (names, values): (Vec<&str>, Vec<String>) = fields.iter().cloned().unzip();
            csv(&names, &[values])
        }
        Output::Table | Output::Json => field_lines(fields),
    })
}

/// The names of all columns, with what they show of one thing.
pub(super) fn fields<T: DeserializeOwned>(
    columns: &Columns<T>,
    item: &Value,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let item = decoded(item)?;
    Ok(columns.all.iter().map(|column| (column.name, (column.cell)(&item))).collect())
}

/// Names and values, a line each; what is empty is left out.
pub(super) fn field_lines(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "{:width$}  {}", name.replace('_', " "), plain(value));
    }
    out
}

/// Rows under a line of names; columns are as wide as what stands in them.
pub(super) fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = names.iter().map(|name| heading(name)).collect();
    let mut widths: Vec<usize> = header.iter().map(|name| name.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown(cell).width());
        }
    }
    std::iter::once(&header).chain(rows).map(|row| line(row, &widths)).collect()
}

/// One line of a table; a cell that is wider than its column pushes the others.
pub(super) fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = shown(cell);
        let gap = width.saturating_sub(cell.width()) + GAP;
        out.push_str(&cell);
        out.extend(std::iter::repeat_n(' ', gap));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// What a table writes above a column.
pub(super) fn heading(name: &str) -> String {
    name.replace('_', " ").to_ascii_uppercase()
}

/// By RFC 4180, with a header.
pub(super) fn csv(names: &[&str], rows: &[Vec<String>]) -> String {
    let header = format!("{}\r\n", names.join(","));
    std::iter::once(header).chain(rows.iter().map(|row| csv_line(row))).collect()
}

/// One line of CSV.
pub(super) fn csv_line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

/// JSON on several lines.
pub(super) fn json(value: &Value) -> String {
    escaped(format!("{value:#}\n"))
}

/// JSON on one line.
pub(super) fn json_line(value: &Value) -> String {
    escaped(format!("{value}\n"))
}

/// A time of the API without its fraction of a second.
pub(super) fn seconds(time: Option<&str>) -> String {
    let time = time.unwrap_or_default();
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// Takes a thing out of an answer.
pub(super) fn decoded<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value)
        .map_err(|error| Failure::new(Exit::Failed, format!("the answer is not of the form it should be: {error}")))
}

/// What columns show of one thing.
pub(super) fn cells<T>(columns: &[Column<T>], item: &T) -> Vec<String> {
    columns.iter().map(|column| (column.cell)(item)).collect()
}

fn shown(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { plain(cell).into_owned() }
}

fn csv_cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
    let text = format!("{guard}{}", plain(text));
    if text.contains([',', '"', ';']) || text.starts_with(' ') || text.ends_with(' ') {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

/// JSON leaves some characters raw that a terminal obeys. They can stand in strings only, and are escaped there.
fn escaped(json: String) -> String {
    let raw = |letter: char| letter != '\n' && is_obeyed(letter);
    if !json.contains(raw) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 8);
    for letter in json.chars() {
        if raw(letter) {
            let _ = write!(out, "\\u{:04x}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

/// Blanks between two columns.
const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_seen_of_their_cells() {
        let rows = rows(&[&["key_1", "東京", "active"], &["key_22", "", "revoked"], &["k", "Müller", ""]]);
        let expected = "ID      LAST USED  STATE\n\
                        key_1   東京       active\n\
                        key_22  -          revoked\n\
                        k       Müller     -\n";
        assert_eq!(table(&["id", "last_used", "state"], &rows), expected);
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        assert_eq!(table(&["id", "name"], &[]), "ID  NAME\n");
    }

    #[test]
    fn a_name_cannot_leave_its_cell() {
        let rows = rows(&[&["\u{1b}[2Jboo\nfake row"]]);
        assert_eq!(table(&["name"], &rows), "NAME\n\\u{1b}[2Jboo\\nfake row\n");
        assert_eq!(field_lines(&[("name", "a\nb".to_owned()), ("plan", String::new())]), "name  a\\nb\n");
    }

    #[test]
    fn csv_quotes_what_has_to_be_quoted() {
        let rows = rows(&[&["plain", "a,b", "say \"x\"", "", " x"]]);
        assert_eq!(csv(&["a", "b", "c", "d", "e"], &rows), "a,b,c,d,e\r\nplain,\"a,b\",\"say \"\"x\"\"\",,\" x\"\r\n");
    }

    #[test]
    fn a_spreadsheet_finds_no_formula() {
        for (text, cell) in [
            ("=cmd()", "'=cmd()"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("\r=1", "'\\r=1"),
            ("=a,b", "\"'=a,b\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }

    #[test]
    fn json_is_the_same_after_it_was_made_harmless() {
        let value = json!({"name": "\u{1b}[2J\u{9b}1m\u{202e}\u{7f}é\"\n"});
        for text in [json(&value), json_line(&value)] {
            assert!(!text.trim_end().contains(|c| c != '\n' && is_obeyed(c)), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn times_are_shown_in_whole_seconds() {
        assert_eq!(seconds(Some("2027-01-01T00:00:00.123Z")), "2027-01-01T00:00:00Z");
        assert_eq!(seconds(Some("2027-01-01T00:00:00Z")), "2027-01-01T00:00:00Z");
        assert_eq!(seconds(None), "");
    }
}

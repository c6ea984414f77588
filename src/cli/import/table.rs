//! CSV: RFC 4180 with a header, one key a row.
//!
//! Columns that are not known are an error, because one that was meant as a condition would let more in when it is
//! passed over. Called by [`super::read`].

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::key::Extra;
use crate::time::Timestamp;

use super::reason::{FieldProblem, FileError, Hash, Reason};
use super::rows::{Found, Rows, name};
use super::{Candidate, Kind, Material, Row, material};

/// The rows of a file.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, FileError> {
    let mut records = Records { text, at: 0, line: 1 };
    let header = records.next_record()?.ok_or(FileError::Empty)?;
    let columns = columns(&header)?;
    let mut rows = Rows::default();
    while let Some(record) = records.next_record()? {
        let cells = Cells { columns: &columns, record: &record };
        let outcome = match (columns.len(), record.cells.len()) {
            (expected, found) if expected != found => Err(Reason::Cells { expected, found }),
            _ => cells.candidate(),
        };
        let owner = if matches!(outcome, Err(Reason::Cells { .. })) { None } else { cells.text(Column::Owner) };
        rows.push(Found { line: record.line, origin: String::new(), raw: cells.raw(), owner, outcome });
    }
    if rows.is_empty() { Err(FileError::Nothing(Kind::Csv)) } else { Ok(rows.into_rows()) }
}

/// Whether the first line is a header of such a table: then it has at least a name or an owner, and something to check.
pub(super) fn has_header(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let known = |wanted: &[Column]| {
        first.split(',').map(|cell| cell.trim_matches('"')).filter_map(column).any(|column| wanted.contains(&column))
    };
    known(&[Column::Name, Column::Owner]) && known(&[Column::Secret, Column::Digest, Column::Sha256])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Owner,
    Plan,
    Secret,
    Digest,
    Sha256,
    Id,
    Scopes,
    Networks,
    Expires,
    ExtraDay,
    ExtraMonth,
    Disabled,
    /// Hashes that nothing can be made of.
    Hash(Hash),
}

fn column(name: &str) -> Option<Column> {
    let name = name.trim().to_ascii_lowercase();
    let known = COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, column)| *column);
    known.or_else(|| material::hash_named(&name).map(Column::Hash))
}

fn columns(header: &Record<'_>) -> Result<Vec<Column>, FileError> {
    let found: Vec<Option<Column>> = header.cells.iter().map(|cell| column(cell.as_str())).collect();
    let known = || COLUMNS.map(|(name, _)| name).join(", ");
    if found.iter().all(Option::is_none) {
        return Err(FileError::NoHeader { columns: known() });
    }
    if found.contains(&None) {
        let unknown = found.iter().zip(&header.cells).enumerate().filter(|(_, (column, _))| column.is_none());
        let is_header = found.iter().flatten().any(has_secrets);
        let shown = |i, cell: &Cell<'_>| if is_header { column_name(i, cell.as_str()) } else { column_number(i) };
        let names: Vec<String> = unknown.map(|(i, (_, cell))| shown(i, cell)).collect();
        return Err(FileError::UnknownColumns { names: names.join(", "), columns: known() });
    }
    let columns: Vec<Column> = found.into_iter().flatten().collect();
    let twice = COLUMNS.iter().find(|(_, column)| columns.iter().filter(|other| *other == column).count() > 1);
    if let Some((name, _)) = twice {
        return Err(FileError::ColumnTwice(name));
    }
    if columns.iter().any(has_secrets) { Ok(columns) } else { Err(FileError::NoSecretColumn) }
}

const fn has_secrets(column: &Column) -> bool {
    matches!(column, Column::Secret | Column::Digest | Column::Sha256 | Column::Hash(_))
}

/// An unknown column by its name if that looks like one: in a file without a header it may be a secret.
fn column_name(index: usize, name: &str) -> String {
    let name = name.trim();
    let is_word = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | ' ');
    let is_name = (1..=NAME_CHARS).contains(&name.len()) && name.chars().all(is_word);
    if is_name { format!("`{name}`") } else { column_number(index) }
}

fn column_number(index: usize) -> String {
    format!("number {}", index + 1)
}

/// A row by its columns.
struct Cells<'a> {
    columns: &'a [Column],
    record: &'a Record<'a>,
}

impl Cells<'_> {
    /// The text of a cell; none if it is empty.
    fn text(&self, column: Column) -> Option<&str> {
        let index = self.columns.iter().position(|other| *other == column)?;
        self.record.cells.get(index).map(|cell| cell.as_str().trim()).filter(|text| !text.is_empty())
    }

    /// What stands where a secret should.
    fn raw(&self) -> &str {
        [Column::Secret, Column::Digest, Column::Sha256]
            .into_iter()
            .find_map(|column| self.text(column))
            .unwrap_or_default()
    }

    fn candidate(&self) -> Result<Candidate, Reason> {
        let material = self.material()?;
        let owner = self.text(Column::Owner).map(|text| name("owner", text)).transpose()?;
        let label = self.text(Column::Name).or_else(|| self.text(Column::Owner));
        let label = label.map_or_else(|| Cow::Owned(format!("csv line {}", self.record.line)), Cow::Borrowed);
        let mut candidate = Candidate::new(&label, owner, material);
        candidate.id = self.text(Column::Id).map(|text| text.parse().map_err(text_problem("id"))).transpose()?;
        candidate.plan = self.text(Column::Plan).map(|text| name("plan", text)).transpose()?;
        let scopes = self.words(Column::Scopes).map(|text| text.parse().map_err(text_problem("scopes")));
        candidate.scopes = scopes.collect::<Result<_, _>>()?;
        candidate.networks = self.words(Column::Networks).map(network).collect::<Result<_, _>>()?;
        candidate.expires = self.text(Column::Expires).map(expires).transpose()?;
        candidate.extra = Extra {
            day: self.text(Column::ExtraDay).map_or(Ok(0), |text| units("extra_day", text))?,
            month: self.text(Column::ExtraMonth).map_or(Ok(0), |text| units("extra_month", text))?,
        };
        candidate.disabled = self.text(Column::Disabled).map_or(Ok(false), switch)?;
        Ok(candidate)
    }

    fn words(&self, column: Column) -> impl Iterator<Item = &str> {
        self.text(column).unwrap_or_default().split_ascii_whitespace()
    }

    fn material(&self) -> Result<Material, Reason> {
        match (self.text(Column::Secret), self.text(Column::Digest), self.text(Column::Sha256)) {
            (Some(secret), None, None) => material::secret(secret),
            (None, Some(digest), None) => material::digest(digest),
            (None, None, Some(digest)) => material::sha256(digest),
            (None, None, None) => Err(self.hash().map_or(Reason::NoSecret, Reason::Hash)),
            _ => Err(Reason::TwoSecrets),
        }
    }

    fn hash(&self) -> Option<Hash> {
        self.columns.iter().find_map(|column| match column {
            Column::Hash(hash) => self.text(*column).map(|_| *hash),
            _ => None,
        })
    }
}

fn text_problem(field: &'static str) -> impl Fn(crate::key::TextError) -> Reason {
    move |error| Reason::Field { field, problem: FieldProblem::Text(error) }
}

fn network(text: &str) -> Result<IpNet, Reason> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = || text.parse::<IpNet>().ok().filter(|network| network.addr() == network.network());
    address().or_else(network).ok_or(Reason::Field { field: "networks", problem: FieldProblem::Network })
}

fn expires(text: &str) -> Result<Timestamp, Reason> {
    let parsed = text.parse::<jiff::Timestamp>();
    let wrong = |_| Reason::Field { field: "expires", problem: FieldProblem::Time };
    parsed.map(|time| Timestamp::from_unix_ms(time.as_millisecond())).map_err(wrong)
}

fn units(field: &'static str, text: &str) -> Result<u64, Reason> {
    let units = text.parse().ok().filter(|units| *units <= Extra::MOST);
    units.ok_or(Reason::Field { field, problem: FieldProblem::Units })
}

fn switch(text: &str) -> Result<bool, Reason> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(Reason::Field { field: "disabled", problem: FieldProblem::Switch }),
    }
}

struct Record<'t> {
    line: usize,
    cells: Vec<Cell<'t>>,
}

enum Cell<'t> {
    Plain(&'t str),
    Unquoted(Zeroizing<String>),
}

impl Cell<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Unquoted(text) => text,
        }
    }
}

struct Records<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Records<'t> {
    /// The next row that is not blank; none at the end.
    fn next_record(&mut self) -> Result<Option<Record<'t>>, FileError> {
        while self.at < self.text.len() {
            let (line, mut cells) = (self.line, Vec::new());
            loop {
                cells.push(self.cell()?);
                if !self.skip(",") {
                    break;
                }
            }
            self.end_of_line()?;
            if !matches!(cells.as_slice(), [Cell::Plain(only)] if only.trim().is_empty()) {
                return Ok(Some(Record { line, cells }));
            }
        }
        Ok(None)
    }

    fn cell(&mut self) -> Result<Cell<'t>, FileError> {
        let rest = &self.text[self.at..];
        let Some(quoted) = rest.strip_prefix('"') else {
            let length = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
            self.at += length;
            if rest[..length].contains('"') {
                return Err(self
                    .problem("a quote inside a cell without quotes; put the cell in quotes and double those inside"));
            }
            return Ok(Cell::Plain(&rest[..length]));
        };
        let mut end = 0;
        loop {
            let Some(quote) = quoted[end..].find('"') else { return Err(self.problem("a quote is not closed")) };
            end += quote;
            if !quoted[end + 1..].starts_with('"') {
                break;
            }
            end += 2;
        }
        self.at += 1 + end + 1;
        let inside = &quoted[..end];
        self.line += inside.matches('\n').count();
        Ok(if inside.contains('"') {
            Cell::Unquoted(Zeroizing::new(inside.replace("\"\"", "\"")))
        } else {
            Cell::Plain(inside)
        })
    }

    fn end_of_line(&mut self) -> Result<(), FileError> {
        let ended = self.skip("\r\n") || self.skip("\n") || self.skip("\r") || self.at == self.text.len();
        if !ended {
            return Err(self.problem("a comma is missing after a closing quote"));
        }
        self.line += 1;
        Ok(())
    }

    fn skip(&mut self, text: &str) -> bool {
        let here = self.text[self.at..].starts_with(text);
        self.at += if here { text.len() } else { 0 };
        here
    }

    const fn problem(&self, problem: &'static str) -> FileError {
        FileError::Csv { line: self.line, problem }
    }
}

const COLUMNS: [(&str, Column); 13] = [
    ("name", Column::Name),
    ("owner", Column::Owner),
    ("plan", Column::Plan),
    ("secret", Column::Secret),
    ("digest", Column::Digest),
    ("sha256", Column::Sha256),
    ("id", Column::Id),
    ("scopes", Column::Scopes),
    ("networks", Column::Networks),
    ("expires", Column::Expires),
    ("extra_day", Column::ExtraDay),
    ("extra_month", Column::ExtraMonth),
    ("disabled", Column::Disabled),
];
const NAME_CHARS: usize = 24;

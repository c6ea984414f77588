//! `keygate keys import`: the keys in the file of another gateway, and what became of each of its rows.
//!
//! A secret that a key has already changes nothing: whatever was lost on the way is asked again, by this command or by
//! who runs it. Exit code 1 if a row was refused or skipped.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::import::{self, Batch, FileError, Kind, MAX_FILE_BYTES, Mode, Reported, Row, Status};
use crate::cli::table::{Column, Columns, Output, decoded, print_list};
use crate::cli::terminal::say;
use crate::cli::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whose file it is
    kind: Kind,
    /// The file; `-` reads standard input
    file: PathBuf,
    /// Only tell what would become of each row
    #[arg(long)]
    dry_run: bool,
    /// How the rows are printed
    #[arg(long)]
    output: Option<Output>,
}

impl Arguments {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let rows = self.rows()?;
        let (results, end) = self.send(client, &rows);
        let report = import::report(&rows, &results);
        let lines: Vec<Value> = report.iter().map(line).collect();
        let printed = print_list(self.output.or(output).unwrap_or_default(), &COLUMNS, &lines);
        say(&self.summary(&report));
        end?;
        printed?;
        let is_whole = report.iter().all(|row| matches!(row.status, Status::Created | Status::Unchanged));
        Ok(if is_whole { Exit::Done } else { Exit::Failed })
    }

    fn rows(&self) -> Result<Vec<Row>, Failure> {
        let wrong = |what: String| Failure::usage(format!("{}: {what}", self.shown()));
        let bytes = self.bytes().map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| wrong(format!("is no UTF-8 text from byte {} on", error.valid_up_to() + 1)))?;
        import::read(self.kind, text).map_err(|error| wrong(error.to_string()))
    }

    fn bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        if self.is_stdin() {
            return whole(io::stdin().lock(), FIRST_BYTES, MAX_FILE_BYTES);
        }
        let file = File::open(&self.file)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > MAX_FILE_BYTES {
            return Err(io::Error::other(FileError::TooLarge));
        }
        // One more, so that its end is seen without growing.
        whole(file, length.max(FIRST_BYTES) + 1, MAX_FILE_BYTES)
    }

    /// What the gateway says of the keys, and why it does not of all.
    fn send(&self, client: &Client, rows: &[Row]) -> (Vec<Value>, Result<(), Failure>) {
        let mut results = Vec::new();
        for batch in import::batches(rows, self.mode()) {
            let place = batch.place();
            match asked(client, batch) {
                Ok(more) => results.extend(more),
                Err(failure) => return (results, Err(self.stopped(&failure, &place))),
            }
        }
        (results, Ok(()))
    }

    fn stopped(&self, failure: &Failure, place: &str) -> Failure {
        let rest = match self.mode() {
            Mode::Import => "what was imported before stays, and the command can be run again",
            Mode::DryRun => "nothing was written",
        };
        Failure::new(failure.exit, format!("{}\n  this ended the import at {place}; {rest}", failure.words))
    }

    fn summary(&self, report: &[Reported<'_>]) -> String {
        let prefix = match self.mode() {
            Mode::Import => "",
            Mode::DryRun => "dry run, nothing was written: ",
        };
        let all = [Status::Created, Status::Unchanged, Status::Refused, Status::Skipped, Status::Unanswered];
        let counts = all.map(|status| (report.iter().filter(|row| row.status == status).count(), status));
        let told = counts.iter().filter(|(count, status)| *count > 0 || *status != Status::Unanswered);
        let told: Vec<_> = told.map(|(count, status)| format!("{count} {}", status.as_str())).collect();
        format!("{prefix}{}", told.join(", "))
    }

    fn mode(&self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Import }
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn shown(&self) -> String {
        if self.is_stdin() { "standard input".to_owned() } else { self.file.display().to_string() }
    }
}

/// What the gateway says of each key of a batch.
fn asked(client: &Client, mut batch: Batch<'_>) -> Result<Vec<Value>, Failure> {
    let body = std::mem::take(&mut batch.body);
    let results = client.send(&Call::post_bytes("/v1/keys:batch", body).idempotent()).and_then(|answer| {
        let results: Vec<Value> = decoded(&answer.body["results"])?;
        if results.len() == batch.len() {
            return Ok(results);
        }
        let words = format!("the answer tells of {} keys where {} were asked for", results.len(), batch.len());
        Err(Failure::new(Exit::Failed, words))
    });
    results.map_err(|failure| {
        if batch.is_revealed_by(&failure.words) {
            return Failure::new(failure.exit, "the gateway said no in words that repeat a secret; they are not shown");
        }
        failure
    })
}

/// Reads to the end. A vector that grows leaves a copy behind that is not wiped, so this one is replaced by larger ones.
fn whole(mut reader: impl Read, first_bytes: usize, most_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; first_bytes]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            let mut larger = Zeroizing::new(vec![0; 2 * filled]);
            larger[..filled].copy_from_slice(&buffer);
            buffer = larger;
        }
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > most_bytes {
            return Err(io::Error::other(FileError::TooLarge));
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn line(row: &Reported<'_>) -> Value {
    let origin = (!row.origin.is_empty()).then_some(row.origin);
    json!({"status": row.status.as_str(), "line": row.line, "origin": origin, "owner": row.owner, "id": row.id,
        "reason": row.reason})
}

const COLUMNS: Columns<Value> = Columns {
    all: &[
        Column { name: "status", cell: |row| text(row, "status") },
        Column { name: "line", cell: |row| row["line"].to_string() },
        Column { name: "origin", cell: |row| text(row, "origin") },
        Column { name: "owner", cell: |row| text(row, "owner") },
        Column { name: "id", cell: |row| text(row, "id") },
        Column { name: "reason", cell: |row| text(row, "reason") },
    ],
    in_table: 6,
};

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

/// What is made ready for a file of unknown length.
const FIRST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused_as_too_large() {
        for first_bytes in [1, 7, 1000, 1001, 5000] {
            let read = |most_bytes| whole([b'x'; 1000].as_slice(), first_bytes, most_bytes);
            assert_eq!(read(1000).unwrap().as_slice(), [b'x'; 1000]);
            assert!(read(999).unwrap_err().to_string().contains("larger than"));
        }
        assert!(whole(io::repeat(b'x'), 1, 5000).is_err());
    }
}

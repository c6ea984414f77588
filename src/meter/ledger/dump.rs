//! The ledger for people: a line per cell, as it stands in the files.
//!
//! Takes no lock and changes nothing, so it can be used beside a running gateway. Cells are not merged: one that was
//! carried to another file is shown with both.

use std::io::{self, Write};
use std::path::Path;

use super::cell::Found;
use super::error::LedgerError;
use super::folder;
use super::merge::{Cell, read};
use super::replay::{Damage, Fault, read_file};
use super::segment::Segment;
use crate::key::Name;

/// Writes all cells of a folder as lines of words apart by tabs, below a line that names them.
///
/// # Errors
/// A file cannot be read, or a newer program wrote it; nothing can be written.
pub fn dump(folder: &Path, into: &mut dyn Write) -> Result<(), LedgerError> {
    let failed = |source| LedgerError::Io { path: folder.to_owned(), source };
    writeln!(into, "{}", COLUMNS.join("\t")).map_err(failed)?;
    for path in folder::files(folder)? {
        let written = match read_file(&path)? {
            Ok(segment) => dump_segment(&path, &segment, into),
            Err(fault) => writeln!(into, "# {}", Damage { path, fault }),
        };
        written.map_err(failed)?;
    }
    Ok(())
}

fn dump_segment(path: &Path, segment: &Segment, into: &mut dyn Write) -> io::Result<()> {
    let mut torn = 0;
    for (place, found) in segment.found() {
        match found {
            Found::Nothing => {}
            Found::Torn => torn += 1,
            Found::Whole(label) => match read(segment, &label) {
                Some(cell) => {
                    let cell = Cell { amount: segment.cell(place).amount(), ..cell };
                    dump_cell(&cell, label.minute <= segment.sealed_minute(), into)?;
                }
                None => torn += 1,
            },
        }
    }
    if torn > 0 {
        writeln!(into, "# {}", Damage { path: path.to_owned(), fault: Fault::Cells(torn) })?;
    }
    Ok(())
}

fn dump_cell(cell: &Cell, is_sealed: bool, into: &mut dyn Write) -> io::Result<()> {
    let name = |name: &Option<Name>| name.as_ref().map_or("-", |name| name.as_str()).to_owned();
    let minute = jiff::Timestamp::from_second(cell.minute.start().as_unix_s()).unwrap_or_default();
    let amount = &cell.amount;
    let words = [
        format!("{minute:.0}"),
        cell.key.as_ref().map_or("-", |key| key.as_str()).to_owned(),
        name(&cell.owner),
        name(&cell.plan),
        name(&cell.route),
        cell.class.code().unwrap_or(cell.class.label()).to_owned(),
        cell.band.label().to_owned(),
        amount.requests.to_string(),
        amount.units.to_string(),
        amount.bytes_in.to_string(),
        amount.bytes_out.to_string(),
        (amount.latency_ns / 1_000_000).to_string(),
        if is_sealed { "sealed" } else { "open" }.to_owned(),
        format!("{:016x}/{}", cell.epoch.id, cell.writer),
    ];
    writeln!(into, "{}", words.join("\t"))
}

const COLUMNS: [&str; 14] = [
    "minute",
    "key",
    "owner",
    "plan",
    "route",
    "class",
    "took",
    "requests",
    "units",
    "bytes_in",
    "bytes_out",
    "latency_ms",
    "state",
    "writer",
];

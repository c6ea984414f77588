//! Copies of a store's file, and what SQLite says of one: whether a gateway has it open or not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::file::{self, beside, create_private, io_error, rename_durably, sqlite_error};
use super::schema::Schema;
use super::{OpenError, StoreError};

/// Copies a store as it stands now to a new file, also while a gateway writes.
///
/// The copy is whole, on disk and readable by its owner alone before it has its name. It is a single file.
pub(super) fn copy(path: &Path, to: &Path, schema: &Schema) -> Result<(), OpenError> {
    let from = file::open_to_read(path, schema)?;
    // Holds the name, so that nobody else's file is overwritten in the end.
    create_private(to)?;
    let copied = copy_to(&from, &beside(to, ".partial")).and_then(|partial| rename_durably(&partial, to));
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

/// What SQLite finds wrong with pages and indexes.
pub(super) fn page_faults(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Makes the copy under a name of its own; takes it away again if that fails.
fn copy_to(from: &Connection, partial: &Path) -> Result<PathBuf, OpenError> {
    create_private(partial)?;
    let filled = fill(from, partial).map_err(|error| sqlite_error(partial, error));
    let synced = filled.and_then(|()| {
        let file = File::open(partial).and_then(|file| file.sync_all());
        file.map_err(|error| io_error(partial, error))
    });
    match synced {
        Ok(()) => Ok(partial.to_owned()),
        Err(error) => {
            let _ = fs::remove_file(partial);
            Err(error)
        }
    }
}

fn fill(from: &Connection, partial: &Path) -> rusqlite::Result<()> {
    let mut to = Connection::open(partial)?;
    // All pages in one step, so that they are of one moment. Readers of the log do not stop the writer.
    let step = Backup::new(from, &mut to)?.step(-1)?;
    if step != StepResult::Done {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    // The copy has taken over that there is a log; without one it stays a single file.
    to.pragma_update(None, "journal_mode", "DELETE")?;
    to.close().map_err(|(_, error)| error)
}

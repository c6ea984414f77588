//! The files of a store in SQLite: made with the right modes, locked for one process, opened only when sound.
//!
//! Which store it is, its [`Schema`] says. Called by the stores for keys (`sqlite`) and for usage (`usage`).
//!
//! Beside the store itself lie `-wal` and `-shm` (SQLite's) and `.lock` (ours). No code may open the store's file other
//! than through SQLite while a connection is open: closing any descriptor of it drops SQLite's POSIX locks.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::OpenError;
use super::schema::Schema;

/// A lock on a store, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do while a process that was forked off has it too, on its way to another program.
        let _ = self.0.unlock();
    }
}

/// Opens the store for writing, makes it if there is none.
pub(super) fn open(path: &Path, schema: &Schema) -> Result<(Lock, Connection), OpenError> {
    check_library()?;
    let folder = folder_of(path);
    create_folder(folder)?;
    let lock = lock(&beside(path, ".lock"))?;
    if !path.try_exists().map_err(|error| io_error(path, error))? {
        create(path, schema)?;
    }
    make_private(path).map_err(|error| io_error(path, error))?;
    let mut connection = connect(path, schema, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_pages(path, schema)?;
    prepare(&mut connection, schema).map_err(|error| sqlite_error(path, error))?;
    Ok((lock, connection))
}

/// Opens the store for reading, whether another process has it or not.
pub(super) fn open_to_read(path: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    check_library()?;
    if !path.try_exists().map_err(|error| io_error(path, error))? {
        return Err(OpenError::Missing(path.to_owned()));
    }
    connect(path, schema, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Another connection to a store that this process has open.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The path with something appended to the file's name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes an empty file that only its owner may read; there must be nothing yet.
pub(super) fn create_private(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OpenError::Exists(path.to_owned()),
        _ => io_error(path, error),
    })
}

/// Renames a file whose content is on disk, and waits until its name is too.
pub(super) fn rename_durably(from: &Path, to: &Path) -> Result<(), OpenError> {
    let folder = folder_of(to);
    fs::rename(from, to).map_err(|error| io_error(to, error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(folder, error))
}

pub(super) fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

/// What an error of SQLite says of the file.
pub(super) fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, source.to_string()),
        _ => OpenError::Sqlite { path: path.to_owned(), source },
    }
}

fn create_folder(folder: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OpenError::NoFolder(folder.to_owned()),
        _ => io_error(folder, error),
    })
}

/// A backup that was copied back may be open to others.
fn make_private(path: &Path) -> io::Result<()> {
    let open_to_others = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if open_to_others { fs::set_permissions(path, Permissions::from_mode(0o600)) } else { Ok(()) }
}

fn check_library() -> Result<(), OpenError> {
    let fits = rusqlite::version_number() >= LIBRARY_MIN;
    if fits { Ok(()) } else { Err(OpenError::Library { found: rusqlite::version(), wanted: LIBRARY_MIN_TEXT }) }
}

fn lock(path: &Path) -> Result<Lock, OpenError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(|error| io_error(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(path, error)),
    }
}

/// Makes an empty store under another name first, so that a file under this name is always a whole one.
fn create(path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(OpenError::LogAlone { path: path.to_owned(), log });
    }
    let new = beside(path, ".new");
    // Left behind by a process that died here; we have the lock, so nobody is at it.
    let _ = fs::remove_file(&new);
    create_private(&new)?;
    let mut connection = Connection::open(&new).map_err(|error| sqlite_error(&new, error))?;
    schema.migrate(&mut connection).map_err(|error| sqlite_error(&new, error))?;
    connection.close().map_err(|(_, error)| sqlite_error(&new, error))?;
    rename_durably(&new, path)
}

/// Opens a file that must be a sound store of a version that we know. Changes nothing in it.
fn connect(path: &Path, schema: &Schema, access: OpenFlags) -> Result<Connection, OpenError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| sqlite_error(path, error))?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let sqlite_error = |error| sqlite_error(path, error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite_error)?;
    if pragma("page_count").map_err(sqlite_error)? == 0 {
        return Err(damaged(path, "it is empty".to_owned()));
    }
    if is_cut_short(path).map_err(|error| io_error(path, error))? {
        return Err(damaged(path, "its end is cut off".to_owned()));
    }
    if pragma("application_id").map_err(sqlite_error)? != i64::from(schema.application_id) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let found = Schema::seen(&connection).map_err(sqlite_error)?;
    if found > schema.version() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: schema.version() });
    }
    Ok(connection)
}

/// Whether the last page is not whole. With a log it may be: that has the page, and SQLite takes it from there.
fn is_cut_short(path: &Path) -> io::Result<bool> {
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    Ok(!has_log && !fs::metadata(path)?.len().is_multiple_of(PAGE_BYTES))
}

/// Checks the pages of what the gateway decides by. The rest is most of the file, and is left to a thorough check.
fn check_pages(path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let check = |table: &'static str| {
        move || reader(path)?.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get::<_, String>(0))
    };
    let found = thread::scope(|scope| {
        let checks: Vec<_> = schema.vital.iter().map(|table| scope.spawn(check(table))).collect();
        checks.into_iter().map(|check| check.join().expect("a query does not panic")).collect::<Result<Vec<_>, _>>()
    });
    match found.map_err(|error| sqlite_error(path, error))?.into_iter().find(|line| line != "ok") {
        Some(fault) => Err(damaged(path, fault)),
        None => Ok(()),
    }
}

/// Makes the connection the writer's: nothing is acknowledged before it is on disk.
fn prepare(connection: &mut Connection, schema: &Schema) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // Plans do not depend on values, or each statement would be made anew each time: the library has STAT4.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    schema.migrate(connection)
}

pub(super) fn damaged(path: &Path, what: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), what }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The first version in which no known fault of the write-ahead log is left.
const LIBRARY_MIN: i32 = 3_051_003;
const LIBRARY_MIN_TEXT: &str = "3.51.3";
/// For what little SQLite itself locks out: recovery of the log, and its reset by another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite's own choice, which a file keeps.
const PAGE_BYTES: u64 = 4096;
/// 16 MiB: a checkpoint each few hundred commits, so that it does not show at the 99th percentile.
const CHECKPOINT_PAGES: i64 = 4000;
const LOG_BYTES_KEPT: i64 = 64 << 20;
const WRITER_CACHE_KIB: i64 = 16 << 10;
const STATEMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_even_while_a_process_being_forked_off_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db.lock");
        let held = lock(&path).unwrap();
        let forked = held.0.try_clone().unwrap();
        assert!(matches!(lock(&path), Err(OpenError::Locked(_))));
        drop(held);
        lock(&path).unwrap();
        drop(forked);
    }
}

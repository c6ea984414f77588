//! What can be done to a store's file without being its owner, whether a gateway has it open or not.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::read::Tables;
use super::schema::SCHEMA;
use crate::key::State;
use crate::store::audit::{AuditRow, Verdict};
use crate::store::copy::{self, page_faults};
use crate::store::file::{self, beside, io_error, sqlite_error};
use crate::store::record::Revision;
use crate::store::schema::Schema;
use crate::store::{OpenError, StoreError};

/// What a thorough check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong with the file, in words; empty if it is sound.
    pub faults: Vec<String>,
    /// The audit log; none if it cannot be read.
    pub audit: Option<Verdict>,
}

/// What is in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The version of its schema.
    pub schema: i64,
    /// The newest revision.
    pub revision: Revision,
    /// Number of keys by state.
    pub keys: [(State, u64); 3],
    /// Number of tokens, revoked ones too.
    pub tokens: usize,
    /// Size of the file and its write-ahead log.
    pub size_bytes: u64,
    /// The newest row of the audit log.
    pub last_audit: Option<AuditRow>,
}

impl Checked {
    /// Whether nothing at all is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && matches!(self.audit, Some(Verdict::Sound { .. }))
    }
}

/// Reads all there is and checks that it goes together: pages, indexes, references, each record, the audit log.
///
/// An error means that the file could not be looked into at all.
pub fn check(path: &Path) -> Result<Checked, OpenError> {
    let mut connection = file::open_to_read(path, &SCHEMA)?;
    let transaction = connection.transaction().map_err(|error| sqlite_error(path, error))?;
    let tables = Tables(&transaction);
    let mut faults = Vec::new();
    note(&mut faults, page_faults(&transaction));
    note(&mut faults, reference_faults(&transaction));
    note(&mut faults, record_faults(tables));
    let audit = tables.verify_audit();
    let audit = audit.map_err(|error| faults.push(error.to_string())).ok();
    Ok(Checked { faults, audit })
}

/// What a store has in it.
pub fn inspect(path: &Path) -> Result<Inspected, OpenError> {
    let mut connection = file::open_to_read(path, &SCHEMA)?;
    let transaction = connection.transaction().map_err(|error| sqlite_error(path, error))?;
    let tables = Tables(&transaction);
    let (revision, chain) = tables.head()?;
    Ok(Inspected {
        schema: Schema::seen(&transaction).map_err(|error| sqlite_error(path, error))?,
        revision,
        keys: tables.key_counts()?,
        tokens: tables.tokens(None, usize::MAX)?.len(),
        size_bytes: size_bytes(path).map_err(|error| io_error(path, error))?,
        last_audit: tables.audit(chain.rows.saturating_sub(1), 1)?.pop(),
    })
}

/// Copies the store as it stands now to a new file, also while a gateway writes.
///
/// The copy is whole, on disk and readable by its owner alone before it has its name. It is a single file.
pub fn backup(path: &Path, to: &Path) -> Result<(), OpenError> {
    copy::copy(path, to, &SCHEMA)
}

/// Notes what was found, or that nothing could be.
fn note(faults: &mut Vec<String>, found: Result<Vec<String>, StoreError>) {
    faults.extend(found.unwrap_or_else(|error| vec![error.to_string()]));
}

/// Rows that belong to rows which are not there.
fn reference_faults(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let tables = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(tables.into_iter().map(|table| format!("a row of table `{table}` belongs to nothing")).collect())
}

/// Records that cannot be read, or are newer than the newest.
fn record_faults(tables: Tables<'_>) -> Result<Vec<String>, StoreError> {
    let (newest, _) = tables.head()?;
    let mut faults = Vec::new();
    tables.each(&mut |revision, record| match record {
        Ok(record) if revision > newest => {
            faults.push(format!("`{}` is of revision {revision}, but the newest is {newest}", record.id()));
        }
        Ok(_) => {}
        Err(damaged) => faults.push(damaged.to_string()),
    })?;
    Ok(faults)
}

fn size_bytes(path: &Path) -> io::Result<u64> {
    let log = fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    Ok(fs::metadata(path)?.len() + log)
}

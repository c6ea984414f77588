//! The store in an SQLite file: one writer, any number of readers.
//!
//! The files are `store::file`'s matter; `schema` has the tables, `writer` the one thread that writes, `read` and
//! `row` what the readers do, `offline` what can be done to a file without being its owner.

mod offline;
mod read;
mod row;
mod schema;
mod write;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::Connection;

use super::Store;
use super::audit::{AuditRow, Chain, Verdict};
use super::change::{Commit, Event, Replay};
use super::decide::View;
use super::error::{CommitError, OpenError, StoreError};
use super::file;
use super::record::{Damaged, Filter, Record, Recoverable, Revision, StoredKey, Token};
use crate::key::{Digest, KeyId, TokenId};
use crate::time::Timestamp;

use read::Tables;
use schema::SCHEMA;
use write::Head;
use writer::{Work, Writer};

pub use offline::{Checked, Inspected, backup, check, inspect};

/// A store in a file, held by this process alone.
pub struct SqliteStore {
    path: PathBuf,
    /// Idle connections. Dropped before the writer, so that this one is the last and clears the write-ahead log away.
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
    /// Let go last.
    _lock: file::Lock,
}

impl SqliteStore {
    /// Opens the store at `path`, or makes an empty one if there is nothing; the folder, too.
    ///
    /// A file that is damaged, foreign or newer is refused and left as it is.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (lock, connection) = file::open(path, &SCHEMA)?;
        let head = Head::read(&connection).map_err(|error| file::damaged(path, error.to_string()))?;
        let writer = Writer::start(connection, head).map_err(|error| file::io_error(path, error))?;
        Ok(Self { path: path.to_owned(), readers: Mutex::default(), writer, _lock: lock })
    }

    /// Reads from one state of the store, while the writer goes on.
    fn read<T>(&self, read: impl FnOnce(Tables<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => file::reader(&self.path)?,
        };
        let transaction = connection.transaction()?;
        let outcome = read(Tables(&transaction));
        transaction.finish()?;
        let mut readers = self.readers();
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        outcome
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().expect("nothing is done under this lock that can panic")
    }
}

impl Store for SqliteStore {
    fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        let outcome = self.writer.ask(Work::Commit(commits))?;
        outcome.map_err(|(place, refusal)| CommitError::Refused { place, refusal })
    }

    fn record_event(&self, event: Event) -> Result<(), StoreError> {
        self.writer.ask(Work::Event(event)).map(drop)
    }

    fn note_used(&self, used: &[(Digest, Timestamp)]) -> Result<(), StoreError> {
        // In pieces, so that no commit waits for all of them.
        used.chunks(USED_AT_ONCE).try_for_each(|used| self.writer.ask(Work::Used(used.to_vec())).map(drop))
    }

    fn has_ended(&self) -> bool {
        self.writer.has_ended()
    }

    fn revision(&self) -> Revision {
        self.writer.newest()
    }

    fn keys_at_most(&self) -> usize {
        // Numbers are given one after the other, and rows stay. Whoever cannot read will hear of it from what comes next.
        self.read(|tables| tables.highest_number()).unwrap_or(0)
    }

    fn load(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<Revision, StoreError> {
        self.read(|tables| {
            let (newest, _) = tables.head()?;
            tables.each(each)?;
            Ok(newest)
        })
    }

    fn changes_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<Option<Revision>, StoreError> {
        self.read(|tables| {
            let (newest, _) = tables.head()?;
            if revision > newest {
                return Ok(None);
            }
            tables.each_since(revision, each)?;
            Ok(Some(newest))
        })
    }

    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        self.read(|tables| tables.key(id))
    }

    fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError> {
        self.read(|tables| tables.keys(filter, after, limit))
    }

    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        self.read(|tables| tables.token(id))
    }

    fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError> {
        self.read(|tables| tables.tokens(after, limit))
    }

    fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError> {
        self.read(|tables| tables.recoverable(digest))
    }

    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        self.read(|tables| tables.replay(who, key, now))
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.read(|tables| tables.audit(after, limit))
    }

    fn audit_end(&self) -> Result<Chain, StoreError> {
        self.read(|tables| Ok(tables.head()?.1))
    }

    fn verify_audit(&self) -> Result<Verdict, StoreError> {
        self.read(|tables| tables.verify_audit())
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

const READERS_KEPT: usize = 4;
const USED_AT_ONCE: usize = 250;

#[cfg(test)]
mod tests;

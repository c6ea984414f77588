//! Usage that is sealed: buckets by minute, hour and day, what quotas were charged with, and the queues to the sinks.
//!
//! A file of its own, with one writer and any number of readers. `seal` takes over what the ledger counted; when it
//! returns, that is on disk and the ledger may let go of it. `fold` makes the old small. Reading is done in a [`Snapshot`].
//! All calls block. Called by `app`, and by `sink` through [`crate::meter::Outbox`].

mod calendar;
mod fold;
mod heard;
mod names;
mod outbox;
mod query;
mod read;
mod report;
mod retention;
mod schema;
mod seal;
mod snapshot;
mod used;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::copy::{copy, page_faults};
use super::error::{OpenError, StoreError};
use super::file;
use crate::meter::Event;
use crate::meter::ledger::{Cell, Minute};
use crate::time::Timestamp;

use retention::{Bounds, OUTBOX};
use schema::SCHEMA;
use seal::Draft;

pub use query::{CursorError, Dimension, UsageCursor, UsageQuery, UsageReport, UsageRow};
pub use read::Step;
pub use retention::{Folded, Retention};
pub use seal::Sealed;
pub use snapshot::{QuotaUse, Snapshot};
pub use used::Used;
pub use verify::{DayProof, SinkProof};

/// Usage in a file, held by this process alone.
pub struct UsageStore {
    path: PathBuf,
    /// Idle connections. Dropped before the writer, so that this one is the last and clears the write-ahead log away.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
    /// Let go last.
    _lock: file::Lock,
}

impl UsageStore {
    /// Opens the store at `path`, or makes an empty one if there is nothing; the folder, too.
    ///
    /// # Errors
    /// A file that is damaged, foreign or newer is refused and left as it is.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (lock, connection) = file::open(path, &SCHEMA)?;
        read::Marks::read(&connection).map_err(|error| file::damaged(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), readers: Mutex::default(), writer: Mutex::new(connection), _lock: lock })
    }

    /// Copies the store at `path` as it stands now to a new file, also while a gateway has it open.
    ///
    /// # Errors
    /// It cannot be read; there is something at `to` already.
    pub fn backup(path: &Path, to: &Path) -> Result<(), OpenError> {
        copy(path, to, &SCHEMA)
    }

    /// Reads all there is at `path` and checks that it goes together: pages, indexes, the sums of each day. What is wrong, in
    /// words; nothing if it is sound. A gateway may have it open.
    ///
    /// # Errors
    /// It could not be looked into at all.
    pub fn check(path: &Path) -> Result<Vec<String>, OpenError> {
        let mut connection = file::open_to_read(path, &SCHEMA)?;
        let transaction = connection.transaction().map_err(|error| file::sqlite_error(path, error))?;
        let mut faults = page_faults(&transaction)?;
        let days = verify::verify(&transaction, calendar::time(0), calendar::time(u32::MAX))?;
        faults.extend(days.into_iter().flat_map(|day| day.faults));
        Ok(faults)
    }

    /// Makes buckets of the cells, for good. To be given all cells of a process up to `until` that it has not released; later
    /// ones are left out. `doubtful` are the minutes in which the clock was set.
    ///
    /// What of a process is sealed up to a minute stays as it is: its cells are left out if they come again. So what was
    /// sealed twice, because somebody died before the ledger let go of it, counts once. What a process left that will never
    /// count again is sealed up to [`Minute::from_unix`] of the greatest number.
    ///
    /// # Errors
    /// Nothing was sealed. It may work later, when the disk has space.
    pub fn seal(
        &self,
        cells: impl Iterator<Item = Cell>,
        until: Minute,
        doubtful: impl Fn(Minute) -> bool,
    ) -> Result<Sealed, StoreError> {
        let sealed = self.write(|transaction| {
            transaction.pragma_update(None, "cache_size", -SEALING_CACHE_KIB)?;
            let mut draft = Draft::new(transaction, until)?;
            draft.take(cells)?;
            draft.write(doubtful)
        });
        // Gives the memory back; it serves the next time that it is not done.
        let _ = self.writer().pragma_update(None, "cache_size", -CACHE_KIB);
        sealed
    }

    /// Folds what is over into hours and days, and deletes what is older than it is to be kept. To be called each minute or so.
    ///
    /// A bucket is not deleted while a sink waits for it, until it has waited for seven days or 2 GiB of them are waiting.
    /// It is done in pieces, and sealing waits for one of them at most. What has been done stays if it fails half way.
    ///
    /// # Errors
    /// The disk is full or broken; it is gone on with at the next call.
    pub fn fold(&self, now: Timestamp, retention: &Retention) -> Result<Folded, StoreError> {
        self.fold_within(now, retention, &OUTBOX)
    }

    /// Adds events to their queue, in this order. Their places are given here; one that is there already, by its id, stays.
    ///
    /// # Errors
    /// None of them was added.
    pub fn publish(&self, events: &[Event]) -> Result<(), StoreError> {
        self.write(|transaction| outbox::publish(transaction, events))
    }

    /// One state of the store, while sealing goes on.
    ///
    /// Who wants what is not sealed to be reported too reads those cells *before*: what is sealed in between is then in the
    /// snapshot, and left out of the cells.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => file::reader(&self.path)?,
        };
        Snapshot::of(self, connection)
    }

    fn fold_within(&self, now: Timestamp, retention: &Retention, bounds: &Bounds) -> Result<Folded, StoreError> {
        let mut folded = Folded::default();
        let over = calendar::minute(now).saturating_sub(GRACE_MINUTES);
        for step in Step::FOLDED {
            while self.write(|transaction| fold::fold_next(transaction, step, over))? {
                folded.spans += 1;
            }
        }
        loop {
            let deleted = self.write(|transaction| retention::delete_some(transaction, now, retention, bounds))?;
            let has_more = deleted.has_more;
            folded.note(deleted);
            if !has_more {
                return Ok(folded);
            }
        }
    }

    /// Does something in one transaction: on disk when it returns, or not done at all.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = work(&transaction)?;
        transaction.commit()?;
        Ok(outcome)
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // Whoever panicked has rolled back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for UsageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A minute is sealed some time after its end; what comes even later is added to what was folded, at more cost.
const GRACE_MINUTES: u32 = 5;
/// The names of a million keys: with less, new ones are written many times over.
const SEALING_CACHE_KIB: i64 = 128 << 10;
const CACHE_KIB: i64 = 8 << 10;

#[cfg(test)]
mod tests;

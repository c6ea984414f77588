//! Reading from one state of the store: reports, and what quotas were charged with.

use rusqlite::{Connection, params};

use super::UsageStore;
use super::calendar::{DAY, floor, minute, month};
use super::names::account;
use super::query::{UsageQuery, UsageReport};
use super::report::report;
use super::verify::{DayProof, verify};
use crate::key::KeyId;
use crate::meter::ledger::Cell;
use crate::store::StoreError;
use crate::time::Timestamp;

/// One state of the store. Give it back soon: what is sealed meanwhile stays in the log.
#[derive(Debug)]
pub struct Snapshot<'s> {
    store: &'s UsageStore,
    /// Inside a transaction that reads. Only taken away to be given back.
    connection: Option<Connection>,
}

/// What a key's quotas were charged with, in units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// The key.
    pub key: KeyId,
    /// This day, of UTC.
    pub today: u64,
    /// This month, the day included.
    pub this_month: u64,
}

impl<'s> Snapshot<'s> {
    pub(super) fn of(store: &'s UsageStore, connection: Connection) -> Result<Self, StoreError> {
        // The first read is what fixes the state.
        connection.execute_batch("BEGIN; SELECT 1 FROM head;")?;
        Ok(Self { store, connection: Some(connection) })
    }

    /// Usage in the order of time, together with what of these cells is not sealed: a page, and the totals of all pages.
    ///
    /// Time for which only hours or days are kept any more has no rows by minute or hour.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn usage(&self, query: &UsageQuery, unsealed: &[Cell]) -> Result<UsageReport, StoreError> {
        report(self.connection(), query, unsealed)
    }

    /// Tells what was charged in the day and the month of `now`, in no particular order.
    ///
    /// A key that changed its owner or plan comes once for each: the uses add up.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn quotas(&self, now: Timestamp, each: &mut dyn FnMut(QuotaUse)) -> Result<(), StoreError> {
        let (now, connection) = (minute(now), self.connection());
        let sql = "SELECT account, used, coalesce(
                (SELECT used FROM quotas AS today WHERE period = 'day' AND start = ?1 AND account = quotas.account), 0)
            FROM quotas WHERE period = 'month' AND start = ?2";
        let mut charged = connection.prepare_cached(sql)?;
        let mut rows = charged.query(params![floor(now, DAY), month(now)])?;
        while let Some(row) = rows.next()? {
            let used = |column| Ok::<u64, StoreError>(row.get::<_, i64>(column)?.cast_unsigned());
            let (key, ..) = account(connection, row.get(0)?)?;
            if let Some(key) = key {
                each(QuotaUse { key, this_month: used(1)?, today: used(2)? });
            }
        }
        Ok(())
    }

    /// Holds what was sealed on each day of a time against all tables that have the day, and tells how far sinks have come.
    ///
    /// It reads all rows of the time: seconds for many millions.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn verify(&self, from: Timestamp, to: Timestamp) -> Result<Vec<DayProof>, StoreError> {
        verify(self.connection(), from, to)
    }

    pub(super) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back only when the snapshot is dropped")
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let mut readers = self.store.readers();
        if readers.len() < READERS_KEPT && connection.execute_batch("ROLLBACK").is_ok() {
            readers.push(connection);
        }
    }
}

const READERS_KEPT: usize = 4;

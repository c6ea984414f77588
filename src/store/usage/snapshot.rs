//! Reading from one state of the store: reports, and what quotas were charged with.

use rusqlite::{Connection, params};

use super::UsageStore;
use super::calendar::{DAY, floor, minute, month, time};
use super::names::name;
use super::query::{UsageQuery, UsageReport};
use super::report::report;
use super::verify::{DayProof, verify};
use crate::key::KeyId;
use crate::meter::ledger::Cell;
use crate::policy::Period;
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
    /// Of what.
    pub period: Period,
    /// When the day or month began, in UTC.
    pub start: Timestamp,
    /// How much.
    pub used: u64,
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

    /// Tells what was charged in the day and the month of `now`, and in the next ones: a clock that has been ahead and was set back
    /// gives nobody a day twice. In no particular order.
    ///
    /// A key that changed its owner or plan comes once for each: the uses add up.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn quotas(&self, now: Timestamp, each: &mut dyn FnMut(QuotaUse)) -> Result<(), StoreError> {
        let now = minute(now);
        let (today, this_month) = (floor(now, DAY), month(now));
        let starts = [(Period::Day, [today, today + DAY]), (Period::Month, [this_month, month(this_month + 32 * DAY)])];
        let sql = "SELECT start, account, used, key FROM quotas LEFT JOIN accounts ON number = account
            WHERE period = ? AND start IN (?, ?)";
        let mut charged = self.connection().prepare_cached(sql)?;
        for (period, [start, next]) in starts {
            let mut rows = charged.query(params![period.label(), start, next])?;
            while let Some(row) = rows.next()? {
                let key: Option<KeyId> = name(row, 3, "accounts", row.get(1)?)?;
                let (start, used) = (time(row.get(0)?), row.get::<_, i64>(2)?.cast_unsigned());
                if let Some(key) = key {
                    each(QuotaUse { key, period, start, used });
                }
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

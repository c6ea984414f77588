//! How long usage is kept: what is older is deleted, piece by piece; SQLite uses its pages again.
//!
//! Nothing is deleted before it has been folded.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::calendar::{DAY, floor, minute, month};
use super::read::{Marks, Step};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How long usage is kept, by how finely it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Buckets by minute.
    pub minutes: Duration,
    /// What they are folded into first.
    pub hours: Duration,
    /// And then.
    pub days: Duration,
}

/// What folding came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Hours and days that were folded.
    pub spans: u64,
    /// Rows that were deleted.
    pub deleted: u64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        let days = |days| Duration::from_secs(days * DAY);
        Self { minutes: days(7), hours: days(90), days: days(5 * 365) }
    }
}

impl Retention {
    /// The first minute that is still kept.
    fn first_kept(&self, now: Timestamp, step: Step) -> u32 {
        let kept = match step {
            Step::Minute => self.minutes,
            Step::Hour => self.hours,
            Step::Day => self.days,
        };
        minute(now).saturating_sub(u32::try_from(kept.as_secs() / 60).unwrap_or(u32::MAX))
    }
}

/// Deletes a piece of what is too old. False if there was no more than a piece of it.
pub(super) fn delete_some(
    connection: &Connection,
    now: Timestamp,
    retention: &Retention,
    folded: &mut Folded,
) -> Result<bool, StoreError> {
    let mut has_more = false;
    for step in [Step::Minute, Step::Hour, Step::Day] {
        let deleted = delete_from(connection, step, retention.first_kept(now, step))?;
        folded.deleted += deleted as u64;
        has_more |= deleted >= PIECE as usize;
    }
    let (now, month) = (minute(now), month(minute(now)));
    let days = delete_quotas(connection, "day", floor(now, DAY).saturating_sub(QUOTA_DAYS * DAY))?;
    let months = delete_quotas(connection, "month", month.saturating_sub(QUOTA_MONTHS * 31 * DAY))?;
    Ok(has_more || days.max(months) >= PIECE as usize)
}

fn delete_from(connection: &Connection, step: Step, first_kept: u32) -> Result<usize, StoreError> {
    let marks = Marks::read(connection)?;
    let folded_until = match step {
        Step::Minute => marks.until(Step::Hour),
        Step::Hour => marks.until(Step::Day),
        Step::Day => u32::MAX,
    };
    let before = floor(first_kept, step.span()).min(folded_until);
    let deleted = match step {
        Step::Minute => delete_minutes(connection, before)?,
        Step::Hour | Step::Day => delete_folded(connection, step, before)?,
    };
    if deleted > 0 && before > marks.from(step) {
        connection.execute(&format!("UPDATE head SET {}_from = ?", step.table()), [before])?;
    }
    Ok(deleted)
}

fn delete_minutes(connection: &Connection, before: u32) -> Result<usize, StoreError> {
    let sql = "DELETE FROM minutes WHERE seq IN (SELECT seq FROM minutes WHERE start < ? ORDER BY start LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute([before, PIECE])?)
}

fn delete_folded(connection: &Connection, step: Step, before: u32) -> Result<usize, StoreError> {
    let (table, place) = (step.table(), "start, account, route, class");
    let sql = format!(
        "DELETE FROM {table} WHERE ({place}) IN (SELECT {place} FROM {table} WHERE start < ? ORDER BY start LIMIT ?)"
    );
    Ok(connection.prepare_cached(&sql)?.execute([before, PIECE])?)
}

fn delete_quotas(connection: &Connection, period: &str, before: u32) -> Result<usize, StoreError> {
    let sql = "DELETE FROM quotas WHERE (period, start, account) IN
        (SELECT period, start, account FROM quotas WHERE period = ? AND start < ? LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute(params![period, before, PIECE])?)
}

/// Nobody asks for more than the period that runs; but clocks have been known to be wrong for a while.
const QUOTA_DAYS: u32 = 8;
const QUOTA_MONTHS: u32 = 3;
/// Rows that are deleted in one transaction.
const PIECE: u32 = 10_000;

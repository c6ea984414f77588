//! How long usage is kept: what is older is deleted, piece by piece; SQLite uses its pages again.
//!
//! Nothing is deleted before it has been folded.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Params, params};

use super::calendar::{DAY, floor, minute, month};
use super::outbox::{BUCKETS, EVENTS, Queue};
use super::read::{Marks, Step};
use super::used::column;
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
    /// How many buckets and events were deleted before these sinks had taken them, because too many waited for too long.
    pub overruns: BTreeMap<String, u64>,
}

/// How much waits for sinks that do not take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In minutes.
    pub(super) age: u32,
    pub(super) buckets: u64,
    pub(super) events: u64,
    /// In minutes, whether anybody waits for them or not: an event that comes again is known by what is kept.
    pub(super) events_age: u32,
}

/// Seven days or 2 GiB.
pub(super) const OUTBOX: Bounds =
    Bounds { age: 7 * DAY, buckets: (2 << 30) / BUCKET_BYTES, events: 100_000, events_age: 35 * DAY };

/// What was deleted in one transaction.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    rows: u64,
    overruns: BTreeMap<String, u64>,
    pub(super) has_more: bool,
}

impl Folded {
    pub(super) fn note(&mut self, deleted: Deleted) {
        self.deleted += deleted.rows;
        for (sink, lost) in deleted.overruns {
            *self.overruns.entry(sink).or_default() += lost;
        }
    }
}

impl Deleted {
    fn count(&mut self, rows: usize) {
        self.rows += rows as u64;
        self.has_more |= rows >= PIECE as usize;
    }
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

/// Deletes a piece of what is too old.
pub(super) fn delete_some(
    connection: &Connection,
    now: Timestamp,
    retention: &Retention,
    bounds: &Bounds,
) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    let minute = minute(now);
    let before = first_kept(connection, now, retention, Step::Minute)?;
    delete_minutes(connection, before, minute, bounds, &mut deleted)?;
    delete_events(connection, minute, bounds, &mut deleted)?;
    for step in Step::FOLDED {
        let before = first_kept(connection, now, retention, step)?;
        let rows = delete_folded(connection, step, before)?;
        note_deleted(connection, step, before, rows)?;
        deleted.count(rows);
    }
    let (day, month) = (floor(minute, DAY), month(minute));
    deleted.count(delete_quotas(connection, "day", day.saturating_sub(QUOTA_DAYS * DAY))?);
    deleted.count(delete_quotas(connection, "month", month.saturating_sub(QUOTA_MONTHS * 31 * DAY))?);
    Ok(deleted)
}

/// Where a table is to begin: never before everything earlier is in the next coarser one.
fn first_kept(connection: &Connection, now: Timestamp, retention: &Retention, step: Step) -> Result<u32, StoreError> {
    let marks = Marks::read(connection)?;
    let folded_until = match step {
        Step::Minute => marks.until(Step::Hour),
        Step::Hour => marks.until(Step::Day),
        Step::Day => u32::MAX,
    };
    Ok(floor(retention.first_kept(now, step), step.span()).min(folded_until))
}

fn note_deleted(connection: &Connection, step: Step, before: u32, rows: usize) -> Result<(), StoreError> {
    if rows > 0 {
        let table = step.table();
        connection.execute(&format!("UPDATE head SET {table}_from = max({table}_from, ?)"), [before])?;
    }
    Ok(())
}

/// What all sinks have taken, and what has waited for too long.
fn delete_minutes(
    connection: &Connection,
    before: u32,
    now: u32,
    bounds: &Bounds,
    deleted: &mut Deleted,
) -> Result<(), StoreError> {
    let sql = "SELECT seq, start FROM minutes
        WHERE start < ?1 AND (seq <= ?2 OR start < ?3 OR seq <= (SELECT bucket FROM head) - ?4)
        ORDER BY start LIMIT ?5";
    let taken = taken_by_all(connection, BUCKETS)?;
    let values = params![before, taken, now.saturating_sub(bounds.age), column(bounds.buckets), PIECE];
    let rows = delete_queued(connection, BUCKETS, sql, values, deleted)?;
    note_deleted(connection, Step::Minute, before, rows)
}

fn delete_events(connection: &Connection, now: u32, bounds: &Bounds, deleted: &mut Deleted) -> Result<(), StoreError> {
    let sql = "SELECT seq, at / 60000 FROM events
        WHERE at < ?1 * 60000 OR seq <= (SELECT event FROM head) - ?2 ORDER BY seq LIMIT ?3";
    let values = params![now.saturating_sub(bounds.events_age), column(bounds.events), PIECE];
    delete_queued(connection, EVENTS, sql, values, deleted).map(drop)
}

/// The place up to which no sink waits for anything.
fn taken_by_all(connection: &Connection, queue: Queue) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(min(acknowledged), ?) FROM sinks WHERE queue = ?";
    Ok(connection.query_row(sql, params![i64::MAX, queue.name], |row| row.get(0))?)
}

/// Deletes what a query finds, by place and minute, and counts what sinks will not get therefore.
fn delete_queued(
    connection: &Connection,
    queue: Queue,
    sql: &str,
    values: impl Params,
    deleted: &mut Deleted,
) -> Result<usize, StoreError> {
    let mut find = connection.prepare_cached(sql)?;
    let found = find.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Ok(0);
    }
    for (sink, acknowledged) in sinks(connection, queue)? {
        let lost = found.iter().filter(|(seq, _)| *seq > acknowledged).map(|(_, minute)| floor(*minute, DAY));
        for day in lost {
            *deleted.overruns.entry(sink.clone()).or_default() += 1;
            let sql = "INSERT INTO overruns (queue, sink, day, lost) VALUES (?, ?, ?, 1)
                ON CONFLICT DO UPDATE SET lost = lost + 1";
            connection.prepare_cached(sql)?.execute(params![queue.name, sink, day])?;
        }
    }
    let mut delete = connection.prepare_cached(&format!("DELETE FROM {} WHERE seq = ?", queue.table))?;
    found.iter().try_for_each(|(seq, _): &(i64, u32)| delete.execute([seq]).map(drop))?;
    forget_set_aside(connection, queue)?;
    deleted.count(found.len());
    Ok(found.len())
}

fn sinks(connection: &Connection, queue: Queue) -> Result<Vec<(String, i64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name, acknowledged FROM sinks WHERE queue = ?")?;
    let sinks = statement.query_map([queue.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(sinks.collect::<Result<Vec<_>, _>>()?)
}

/// Notes about what is not kept any more.
fn forget_set_aside(connection: &Connection, queue: Queue) -> Result<(), StoreError> {
    let first = format!("SELECT coalesce(min(seq), 0) FROM {}", queue.table);
    let sql = format!("DELETE FROM set_aside WHERE queue = ? AND seq < ({first})");
    connection.prepare_cached(&sql)?.execute([queue.name])?;
    Ok(())
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
/// A row of `minutes` with its index, about.
const BUCKET_BYTES: u64 = 64;

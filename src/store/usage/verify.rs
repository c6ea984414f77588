//! The proof: what was sealed on a day, held against each table that has the day, and where it is on its way to each sink.

use std::collections::HashSet;
use std::ops::Range;

use rusqlite::{Connection, Row, params};

use super::calendar::{DAY, floor, minute, time};
use super::outbox::BUCKETS;
use super::read::{Marks, Step, Whose, first_start, scan};
use super::seal::{Sealed, tally};
use super::used::Used;
use crate::store::StoreError;
use crate::time::Timestamp;

/// What is known of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayProof {
    /// When it begins, in UTC.
    pub day: Timestamp,
    /// What was sealed, noted apart when it was.
    pub sealed: Sealed,
    /// What the minutes come to; none if they are not all kept any more.
    pub minutes: Option<Sealed>,
    /// What the hours come to, and how many rows they are; none if they are not all kept, or not all folded.
    pub hours: Option<Sealed>,
    /// What the day comes to, and in how many rows; none if it is not kept any more or not folded.
    pub days: Option<Sealed>,
    /// Where the buckets that are kept are on their way.
    pub sinks: Vec<SinkProof>,
    /// What does not agree, in words. There is nothing in a sound store.
    pub faults: Vec<String>,
}

/// Where the buckets of a day are on their way to a sink. Together they are all that are kept, but for the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkProof {
    /// Its name.
    pub sink: String,
    /// From before there was the sink.
    pub earlier: u64,
    /// Taken by it.
    pub acknowledged: u64,
    /// Not taken yet.
    pub waiting: u64,
    /// Not taken, and never will be by themselves.
    pub set_aside: u64,
    /// Deleted before it had taken them, because too many waited for too long.
    pub overrun: u64,
}

/// What holds for a sink at all times.
struct Sink {
    name: String,
    began: i64,
    acknowledged: i64,
    set_aside: HashSet<i64>,
}

/// The days of a time in which something was used.
pub(super) fn verify(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Vec<DayProof>, StoreError> {
    let marks = Marks::read(connection)?;
    let sinks = sinks(connection)?;
    let mut proofs = Vec::new();
    let mut next = floor(minute(from), DAY);
    while let Some(day) = first_day(connection, next..minute(to))? {
        proofs.push(proof(connection, &marks, &sinks, day)?);
        next = day + DAY;
    }
    Ok(proofs)
}

/// The first day in this time that anything is known of.
fn first_day(connection: &Connection, time: Range<u32>) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT min(day) FROM tallies WHERE day >= ? AND day < ?";
    let tallied: Option<u32> = connection.query_row(sql, params![time.start, time.end], |row| row.get(0))?;
    let mut first = tallied;
    for step in [Step::Minute, Step::Hour, Step::Day] {
        let found = first_start(connection, step, time.clone())?.map(|start| floor(start, DAY));
        first = first.into_iter().chain(found).min();
    }
    Ok(first)
}

fn proof(connection: &Connection, marks: &Marks, sinks: &[Sink], day: u32) -> Result<DayProof, StoreError> {
    let sealed = tally(connection, day)?;
    let sum = |step: Step| {
        let is_whole = marks.from(step) <= day && marks.until(step) >= day + DAY;
        is_whole.then(|| sum(connection, step, day)).transpose()
    };
    let (minutes, hours, days) = (sum(Step::Minute)?, sum(Step::Hour)?, sum(Step::Day)?);
    let mut faults = Vec::new();
    for (step, found) in [(Step::Minute, minutes), (Step::Hour, hours), (Step::Day, days)] {
        let Some(found) = found else { continue };
        // Hours and days have fewer rows than there were buckets.
        let buckets = if step == Step::Minute { sealed.buckets } else { found.buckets };
        let wanted = Sealed { buckets, ..sealed };
        if found != wanted {
            let table = step.table();
            faults.push(format!("{} was sealed, but {} is in `{table}`", told(&wanted), told(&found)));
        }
    }
    let sinks = sinks.iter().map(|sink| sink.proof(connection, day)).collect::<Result<_, _>>()?;
    Ok(DayProof { day: time(day), sealed, minutes, hours, days, sinks, faults })
}

fn sum(connection: &Connection, step: Step, day: u32) -> Result<Sealed, StoreError> {
    let (mut rows, mut sum) = (0, Used::default());
    scan(
        connection,
        step,
        &(day..day + DAY),
        &Whose::All,
        |_| true,
        |_, _, used| {
            rows += 1;
            sum.add(used);
            Ok(())
        },
    )?;
    Ok(Sealed { buckets: rows, requests: sum.requests, units: sum.units })
}

fn told(sealed: &Sealed) -> String {
    let Sealed { buckets, requests, units } = sealed;
    format!("{requests} requests and {units} units in {buckets} rows")
}

fn sinks(connection: &Connection) -> Result<Vec<Sink>, StoreError> {
    let mut statement = connection.prepare("SELECT name, began, acknowledged FROM sinks WHERE queue = ?")?;
    let read = |row: &Row<'_>| {
        Ok(Sink { name: row.get(0)?, began: row.get(1)?, acknowledged: row.get(2)?, set_aside: HashSet::new() })
    };
    let mut sinks = statement.query_map([BUCKETS.name], read)?.collect::<Result<Vec<_>, _>>()?;
    for sink in &mut sinks {
        let mut statement = connection.prepare("SELECT seq FROM set_aside WHERE queue = ? AND sink = ?")?;
        let places = statement.query_map([BUCKETS.name, &sink.name], |row| row.get(0))?;
        sink.set_aside = places.collect::<Result<_, _>>()?;
    }
    Ok(sinks)
}

impl Sink {
    fn proof(&self, connection: &Connection, day: u32) -> Result<SinkProof, StoreError> {
        let mut proof = SinkProof { sink: self.name.clone(), ..SinkProof::default() };
        let mut statement = connection.prepare_cached("SELECT seq FROM minutes WHERE start >= ? AND start < ?")?;
        let mut rows = statement.query([day, day + DAY])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let count = match seq {
                _ if self.set_aside.contains(&seq) => &mut proof.set_aside,
                _ if seq <= self.began => &mut proof.earlier,
                _ if seq <= self.acknowledged => &mut proof.acknowledged,
                _ => &mut proof.waiting,
            };
            *count += 1;
        }
        let sql = "SELECT coalesce(sum(lost), 0) FROM overruns WHERE queue = ? AND sink = ? AND day = ?";
        let lost: i64 = connection.query_row(sql, params![BUCKETS.name, self.name, day], |row| row.get(0))?;
        Ok(SinkProof { overrun: lost.cast_unsigned(), ..proof })
    }
}

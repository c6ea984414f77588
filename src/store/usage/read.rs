//! The tables of buckets: minutes, and the hours and days that they are folded into.
//!
//! Before a table's mark in `head`, everything is in it; what is later is only in the finer ones. So a sum over some time takes each
//! piece of it from exactly one table ([`Marks::pieces`]).

use std::collections::HashSet;
use std::ops::Range;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::calendar::{DAY, HOUR};
use super::used::{SUMS, Used};
use crate::store::StoreError;

/// How finely usage is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// By minutes.
    Minute,
    /// By hours.
    Hour,
    /// By days of UTC.
    Day,
}

/// Up to where, and from where on, each table is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    hours_until: u32,
    days_until: u32,
    minutes_from: u32,
    hours_from: u32,
    days_from: u32,
}

/// What a row is about, by numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub(super) account: u32,
    pub(super) route: u32,
    pub(super) class: u8,
}

/// Whose rows are read.
#[derive(Clone, Debug)]
pub(super) enum Whose {
    All,
    /// From one account to another.
    Between(u32, u32),
    /// Looked up one by one.
    Few(Vec<u32>),
    /// All rows are looked at.
    Many(HashSet<u32>),
}

impl Step {
    /// What minutes are folded into.
    pub(super) const FOLDED: [Self; 2] = [Self::Hour, Self::Day];

    /// In minutes.
    pub(super) const fn span(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Minute => "minutes",
            Self::Hour => "hours",
            Self::Day => "days",
        }
    }

    /// The next finer one.
    pub(super) const fn finer(self) -> Self {
        match self {
            Self::Minute | Self::Hour => Self::Minute,
            Self::Day => Self::Hour,
        }
    }
}

impl Marks {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT hours_until, days_until, minutes_from, hours_from, days_from FROM head";
        let read = |row: &Row<'_>| {
            Ok(Self {
                hours_until: row.get(0)?,
                days_until: row.get(1)?,
                minutes_from: row.get(2)?,
                hours_from: row.get(3)?,
                days_from: row.get(4)?,
            })
        };
        Ok(connection.query_row(sql, [], read)?)
    }

    /// Before this minute everything is in the table.
    pub(super) const fn until(&self, step: Step) -> u32 {
        match step {
            Step::Minute => u32::MAX,
            Step::Hour => self.hours_until,
            Step::Day => self.days_until,
        }
    }

    /// Before this minute the table is not whole any more.
    pub(super) const fn from(&self, step: Step) -> u32 {
        match step {
            Step::Minute => self.minutes_from,
            Step::Hour => self.hours_from,
            Step::Day => self.days_from,
        }
    }

    /// Which tables have the pieces of a time, none coarser than `step`; in order.
    pub(super) fn pieces(&self, step: Step, time: Range<u32>) -> Vec<(Step, Range<u32>)> {
        let (mut pieces, mut from) = (Vec::new(), time.start);
        for step in [Step::Day, Step::Hour, Step::Minute].into_iter().filter(|finer| *finer <= step) {
            let until = self.until(step).min(time.end);
            if from < until {
                pieces.push((step, from..until));
                from = until;
            }
        }
        pieces
    }
}

/// Reads the rows of a table in the order of their starts; of each only what it is about, if that is not wanted.
pub(super) fn scan(
    connection: &Connection,
    step: Step,
    time: &Range<u32>,
    whose: &Whose,
    wanted: impl Fn(&Slot) -> bool,
    mut each: impl FnMut(u32, Slot, &Used) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let columns = format!("SELECT start, account, route, class, {SUMS} FROM {}", step.table());
    let mut visit = |row: &Row<'_>| {
        let slot = Slot { account: row.get(1)?, route: row.get(2)?, class: row.get(3)? };
        if wanted(&slot) { each(row.get(0)?, slot, &Used::read(row, 4)?) } else { Ok(()) }
    };
    if let Whose::All | Whose::Many(_) = whose {
        let sql = format!("{columns} WHERE start >= ? AND start < ? ORDER BY start");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![time.start, time.end])?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&format!("{columns} WHERE start = ? AND account BETWEEN ? AND ?"))?;
    let mut from = time.start;
    while let Some(start) = first_start(connection, step, from..time.end)? {
        for (first, last) in whose.ranges() {
            let mut rows = statement.query(params![start, first, last])?;
            while let Some(row) = rows.next()? {
                visit(row)?;
            }
        }
        from = start + 1;
    }
    Ok(())
}

/// The first start in this time that a table has a row of.
pub(super) fn first_start(connection: &Connection, step: Step, time: Range<u32>) -> Result<Option<u32>, StoreError> {
    let sql = format!("SELECT start FROM {} WHERE start >= ? AND start < ? ORDER BY start LIMIT 1", step.table());
    let mut first = connection.prepare_cached(&sql)?;
    Ok(first.query_row(params![time.start, time.end], |row| row.get(0)).optional()?)
}

impl Whose {
    /// Those that are looked up.
    fn ranges(&self) -> Vec<(u32, u32)> {
        match self {
            Self::Between(first, last) => vec![(*first, *last)],
            Self::Few(accounts) => accounts.iter().map(|account| (*account, *account)).collect(),
            Self::All | Self::Many(_) => Vec::new(),
        }
    }

    /// Whether these accounts are among them.
    pub(super) fn has(&self, account: u32) -> bool {
        match self {
            Self::Many(accounts) => accounts.contains(&account),
            Self::All | Self::Between(..) | Self::Few(_) => true,
        }
    }
}

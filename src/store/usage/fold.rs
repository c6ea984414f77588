//! Folding: minutes that are over for a while become hours, and hours days, so that what is old takes little space.
//!
//! A span is folded once, in one transaction with the mark that says so; what is sealed later for that span is added to what
//! was folded, in the transaction that seals it.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params, params_from_iter};

use super::calendar::floor;
use super::read::{Marks, Slot, Step, Whose, first_start, scan};
use super::used::{SUMS, Used};
use crate::store::StoreError;

/// Folds the first span that is over by this minute, has something in it and is not folded yet. False if there is none.
pub(super) fn fold_next(connection: &Connection, step: Step, over: u32) -> Result<bool, StoreError> {
    let (marks, finer, limit) = (Marks::read(connection)?, step.finer(), floor(over, step.span()));
    let Some(first) = first_start(connection, finer, marks.until(step)..limit)? else { return Ok(false) };
    let (start, end) = (floor(first, step.span()), floor(first, step.span()) + step.span());
    if finer != Step::Minute && first_start(connection, finer.finer(), marks.until(finer)..end)?.is_some() {
        return Ok(false);
    }
    fold(connection, step, start)?;
    let sql = match step {
        Step::Minute | Step::Hour => "UPDATE head SET hours_until = ?1",
        // All its hours are folded, those in which nothing was used included.
        Step::Day => "UPDATE head SET days_until = ?1, hours_until = max(hours_until, ?1)",
    };
    connection.execute(sql, [end])?;
    Ok(true)
}

/// Adds to a span that was folded already.
pub(super) fn add_late(
    connection: &Connection,
    step: Step,
    minute: u32,
    slot: Slot,
    more: &Used,
) -> Result<(), StoreError> {
    let start = floor(minute, step.span());
    let table = step.table();
    let sql = format!("SELECT {SUMS} FROM {table} WHERE start = ? AND account = ? AND route = ? AND class = ?");
    let mut find = connection.prepare_cached(&sql)?;
    let place = params![start, slot.account, slot.route, slot.class];
    let found = find.query_row(place, |row| Ok(Used::read(row, 0))).optional()?;
    let mut sum = found.transpose()?.unwrap_or_default();
    sum.add(more);
    put(&mut putting(connection, step)?, start, slot, &sum)
}

/// Account by account, so that memory does not grow with their number.
fn fold(connection: &Connection, step: Step, start: u32) -> Result<(), StoreError> {
    let (time, mut statement) = (start..start + step.span(), putting(connection, step)?);
    let last: u32 = connection.query_row("SELECT coalesce(max(number), 0) FROM accounts", [], |row| row.get(0))?;
    for first in (0..=last).step_by(ACCOUNTS as usize) {
        let mut sums: BTreeMap<Slot, Used> = BTreeMap::new();
        let whose = Whose::Between(first, first + (ACCOUNTS - 1));
        scan(
            connection,
            step.finer(),
            &time,
            &whose,
            |_| true,
            |_, slot, used| {
                sums.entry(slot).or_default().add(used);
                Ok(())
            },
        )?;
        sums.iter().try_for_each(|(slot, used)| put(&mut statement, start, *slot, used))?;
    }
    Ok(())
}

fn putting(connection: &Connection, step: Step) -> Result<CachedStatement<'_>, StoreError> {
    let (table, values) = (step.table(), ["?"; 13].join(", "));
    let sql = format!("INSERT OR REPLACE INTO {table} (start, account, route, class, {SUMS}) VALUES ({values})");
    Ok(connection.prepare_cached(&sql)?)
}

fn put(statement: &mut CachedStatement<'_>, start: u32, slot: Slot, used: &Used) -> Result<(), StoreError> {
    let place = [start, slot.account, slot.route, u32::from(slot.class)].map(i64::from);
    statement.execute(params_from_iter(place.into_iter().chain(used.row())))?;
    Ok(())
}

/// Accounts that are summed up at a time.
const ACCOUNTS: u32 = 1 << 16;

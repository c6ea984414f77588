//! Sealing: the cells of minutes that are over become buckets, once and for good, in one transaction.
//!
//! What was sealed before is known by its epoch and minute and left out, so that sealing again what a process could not
//! release before it died changes nothing. Cells that differ only in writer, turn, token or band become one bucket.

use std::mem;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params_from_iter};

use super::calendar::{DAY, floor, month};
use super::fold::add_late;
use super::names::{Accounts, Lives, Routes, names};
use super::read::{Marks, Slot, Step};
use super::used::{SUMS, Used, column};
use crate::meter::ledger::{Amount, Band, Cell, Class, Minute};
use crate::store::StoreError;

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// New buckets.
    pub buckets: u64,
    /// Requests in them.
    pub requests: u64,
    /// Units in them.
    pub units: u64,
}

/// Cells on their way to become buckets.
pub(super) struct Draft<'c> {
    connection: &'c Connection,
    until: Minute,
    accounts: Accounts<'c>,
    routes: Routes<'c>,
    lives: Lives<'c>,
    parts: Vec<Part>,
}

/// What makes a bucket what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct What {
    start: u32,
    account: u32,
    route: u32,
    class: u8,
    life: u32,
}

/// A cell without its names.
struct Part {
    what: What,
    band: Band,
    amount: Amount,
}

/// A use of quotas: period, start, account, how much.
type Charge = (&'static str, u32, u32, u64);

impl<'c> Draft<'c> {
    pub(super) fn new(connection: &'c Connection, until: Minute) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            until,
            accounts: Accounts::new(connection)?,
            routes: Routes::new(connection),
            lives: Lives::new(connection),
            parts: Vec::new(),
        })
    }

    /// Takes cells in. Later minutes and what is sealed already are left out.
    pub(super) fn take(&mut self, cells: impl Iterator<Item = Cell>) -> Result<(), StoreError> {
        let until = self.until;
        // Most are of minutes that are over; to grow to a million of them would copy them several times.
        self.parts.reserve(cells.size_hint().1.unwrap_or(0));
        let mut cells = cells.filter(|cell| cell.minute <= until).peekable();
        while cells.peek().is_some() {
            // In pieces, because names are long; each in the order of names, so that neighbours are looked up together.
            let mut piece: Vec<Cell> = cells.by_ref().take(PIECE).collect();
            piece.sort_unstable_by(|one, other| names(one).cmp(&names(other)));
            for same in piece.chunk_by(|one, other| names(one) == names(other)) {
                self.take_account(same)?;
            }
        }
        Ok(())
    }

    /// Takes in cells of one account.
    fn take_account(&mut self, cells: &[Cell]) -> Result<(), StoreError> {
        let mut account = None;
        for cell in cells {
            let life = self.lives.life(cell.epoch)?;
            let start = cell.minute.as_unix();
            if start <= life.sealed {
                continue;
            }
            let account = match account {
                Some(number) => number,
                None => *account.insert(self.accounts.number(names(cell))?),
            };
            let route = self.routes.number(cell.route.as_ref())?;
            let what = What { start, account, route, class: cell.class.number(), life: life.number };
            self.parts.push(Part { what, band: cell.band, amount: cell.amount });
        }
        Ok(())
    }

    /// Writes buckets and uses of quotas, and marks as sealed what was taken in.
    pub(super) fn write(mut self, doubtful: impl Fn(Minute) -> bool) -> Result<Sealed, StoreError> {
        let mut parts = mem::take(&mut self.parts);
        parts.sort_unstable_by_key(|part| part.what);
        let mut buckets = Buckets::new(self.connection)?;
        let mut charges = Vec::new();
        for same in parts.chunk_by(|one, other| one.what == other.what) {
            let what = same[0].what;
            let mut used = Used::default();
            same.iter().for_each(|part| used.add(&Used::of(&part.amount, part.band)));
            if what.class == Class::Admitted.number() {
                charges.extend(charged(&what, used.units));
            } else {
                buckets.add(&what, &used, &doubtful)?;
            }
        }
        charge(self.connection, charges)?;
        self.lives.seal(self.until)?;
        buckets.finish()
    }
}

/// The end of the queue.
struct Buckets<'c> {
    connection: &'c Connection,
    marks: Marks,
    insert: CachedStatement<'c>,
    last: u64,
    /// Of the day that is being written.
    day: u32,
    tally: Sealed,
    all: Sealed,
}

impl<'c> Buckets<'c> {
    fn new(connection: &'c Connection) -> Result<Self, StoreError> {
        let values = ["?"; 16].join(", ");
        let columns = format!("seq, start, account, route, class, life, doubtful, {SUMS}");
        let insert = connection.prepare_cached(&format!("INSERT INTO minutes ({columns}) VALUES ({values})"))?;
        let last: i64 = connection.query_row("SELECT bucket FROM head", [], |row| row.get(0))?;
        let (tally, all) = (Sealed::default(), Sealed::default());
        let marks = Marks::read(connection)?;
        Ok(Self { connection, marks, insert, last: last.cast_unsigned(), day: 0, tally, all })
    }

    fn add(&mut self, what: &What, used: &Used, doubtful: impl Fn(Minute) -> bool) -> Result<(), StoreError> {
        let &What { start, account, route, class, life } = what;
        let is_doubtful = doubtful(Minute::from_unix(start));
        self.last += 1;
        let first = [start, account, route, u32::from(class), life, u32::from(is_doubtful)].map(i64::from);
        let values = [column(self.last)].into_iter().chain(first).chain(used.row());
        self.insert.execute(params_from_iter(values))?;
        for step in Step::FOLDED.into_iter().filter(|step| start < self.marks.until(*step)) {
            add_late(self.connection, step, start, Slot { account, route, class }, used)?;
        }
        let day = floor(start, DAY);
        if day != self.day {
            self.note_tally()?;
            self.day = day;
        }
        let tally = &mut self.tally;
        tally.buckets += 1;
        tally.requests = tally.requests.saturating_add(used.requests);
        tally.units = tally.units.saturating_add(used.units);
        Ok(())
    }

    fn note_tally(&mut self) -> Result<(), StoreError> {
        let tally = mem::take(&mut self.tally);
        if tally.buckets > 0 {
            add_tally(self.connection, self.day, &tally)?;
        }
        self.all.add(&tally);
        Ok(())
    }

    fn finish(mut self) -> Result<Sealed, StoreError> {
        self.note_tally()?;
        self.connection.execute("UPDATE head SET bucket = ?", [column(self.last)])?;
        Ok(self.all)
    }
}

impl Sealed {
    pub(super) fn add(&mut self, more: &Self) {
        self.buckets = self.buckets.saturating_add(more.buckets);
        self.requests = self.requests.saturating_add(more.requests);
        self.units = self.units.saturating_add(more.units);
    }
}

/// Adds to what was sealed on a day.
fn add_tally(connection: &Connection, day: u32, more: &Sealed) -> Result<(), StoreError> {
    let mut sum = tally(connection, day)?;
    sum.add(more);
    let values = [i64::from(day), column(sum.buckets), column(sum.requests), column(sum.units)];
    connection.execute("INSERT OR REPLACE INTO tallies (day, buckets, requests, units) VALUES (?, ?, ?, ?)", values)?;
    Ok(())
}

/// What was sealed on a day.
pub(super) fn tally(connection: &Connection, day: u32) -> Result<Sealed, StoreError> {
    let read = |row: &Row<'_>| {
        let value = |column| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(column)?.cast_unsigned());
        Ok(Sealed { buckets: value(0)?, requests: value(1)?, units: value(2)? })
    };
    let sql = "SELECT buckets, requests, units FROM tallies WHERE day = ?";
    Ok(connection.query_row(sql, [day], read).optional()?.unwrap_or_default())
}

/// A use counts in its day and in its month.
fn charged(what: &What, units: u64) -> [Charge; 2] {
    let (day, month) = (floor(what.start, DAY), month(what.start));
    [("day", day, what.account, units), ("month", month, what.account, units)]
}

fn charge(connection: &Connection, mut charges: Vec<Charge>) -> Result<(), StoreError> {
    charges.sort_unstable();
    // Far from where a sum would be no integer any more.
    let sql = "INSERT INTO quotas (period, start, account, used) VALUES (?1, ?2, ?3, min(?4, 1 << 61))
        ON CONFLICT DO UPDATE SET used = min(used + excluded.used, 1 << 61)";
    let mut add = connection.prepare_cached(sql)?;
    let key = |charge: &Charge| (charge.0, charge.1, charge.2);
    for same in charges.chunk_by(|one, other| key(one) == key(other)) {
        let (period, start, account, _) = same[0];
        let units = same.iter().fold(0_u64, |sum, charge| sum.saturating_add(charge.3));
        add.execute((period, start, account, column(units)))?;
    }
    Ok(())
}

/// Cells that are held with their names at a time.
const PIECE: usize = 1 << 17;

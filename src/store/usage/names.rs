//! Numbers for what would be long in every row: accounts, routes, and the lives of processes.
//!
//! They are given inside the transaction that seals, so what is rolled back takes its numbers along.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::str::FromStr;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use crate::key::{KeyId, Name};
use crate::meter::ledger::{Cell, Class, Epoch, Minute};
use crate::store::StoreError;

/// Key, owner and plan; what is none is empty.
pub(super) type Names<'a> = [&'a str; 3];

/// Gives accounts their numbers.
pub(super) struct Accounts<'c> {
    connection: &'c Connection,
    find: CachedStatement<'c>,
    add: CachedStatement<'c>,
    /// Whether the last account was new: the next one probably is too, and need not be looked for first.
    after_new: bool,
}

/// Gives routes their numbers.
pub(super) struct Routes<'c> {
    connection: &'c Connection,
    known: HashMap<Option<Name>, u32>,
}

/// Gives the lives of processes their numbers, and knows what of them is sealed.
pub(super) struct Lives<'c> {
    connection: &'c Connection,
    known: HashMap<Epoch, Life>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) number: u32,
    /// Up to which minute everything is here; 0: nothing.
    pub(super) sealed: u32,
}

/// Whom a cell is for.
pub(super) fn names(cell: &Cell) -> Names<'_> {
    [
        cell.key.as_ref().map_or("", KeyId::as_str),
        cell.owner.as_ref().map_or("", Name::as_str),
        cell.plan.as_ref().map_or("", Name::as_str),
    ]
}

impl<'c> Accounts<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, StoreError> {
        let find = connection.prepare_cached("SELECT number FROM accounts WHERE key = ? AND owner = ? AND plan = ?")?;
        let add = connection.prepare_cached("INSERT OR IGNORE INTO accounts (key, owner, plan) VALUES (?, ?, ?)")?;
        Ok(Self { connection, find, add, after_new: false })
    }

    /// The number of an account, which may be new.
    pub(super) fn number(&mut self, names: Names<'_>) -> Result<u32, StoreError> {
        let found = if self.after_new { None } else { self.find(names)? };
        if let Some(number) = found {
            return Ok(number);
        }
        self.after_new = self.add.execute(names)? == 1;
        if self.after_new {
            return Ok(last_number(self.connection));
        }
        self.find(names)?.ok_or_else(|| corrupt("accounts", names[0], "an account that is there and is not"))
    }

    fn find(&mut self, names: Names<'_>) -> Result<Option<u32>, StoreError> {
        Ok(self.find.query_row(names, |row| row.get(0)).optional()?)
    }
}

impl<'c> Routes<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, known: HashMap::new() }
    }

    /// The number of a route, which may be new.
    pub(super) fn number(&mut self, route: Option<&Name>) -> Result<u32, StoreError> {
        if let Some(number) = self.known.get(&route.cloned()) {
            return Ok(*number);
        }
        let text = route.map_or("", Name::as_str);
        let number = match route_number(self.connection, text)? {
            Some(number) => number,
            None => {
                self.connection.execute("INSERT INTO routes (name) VALUES (?)", [text])?;
                last_number(self.connection)
            }
        };
        self.known.insert(route.cloned(), number);
        Ok(number)
    }
}

impl<'c> Lives<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, known: HashMap::new() }
    }

    /// The life of this epoch, which may be new.
    pub(super) fn life(&mut self, epoch: Epoch) -> Result<Life, StoreError> {
        let place = match self.known.entry(epoch) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(place) => place,
        };
        if let Some(life) = life(self.connection, epoch)? {
            return Ok(*place.insert(life));
        }
        let sql = "INSERT INTO sealed (epoch, started, until) VALUES (?, ?, 0)";
        self.connection.execute(sql, params![epoch.id.cast_signed(), epoch.started_ms])?;
        Ok(*place.insert(Life { number: last_number(self.connection), sealed: 0 }))
    }

    /// Marks all lives that were asked for as sealed up to this minute.
    pub(super) fn seal(self, until: Minute) -> Result<(), StoreError> {
        let mut mark = self.connection.prepare_cached("UPDATE sealed SET until = max(until, ?) WHERE number = ?")?;
        for life in self.known.values() {
            mark.execute([until.as_unix(), life.number])?;
        }
        Ok(())
    }
}

/// The life of this epoch, if anything of it is here.
pub(super) fn life(connection: &Connection, epoch: Epoch) -> Result<Option<Life>, StoreError> {
    let sql = "SELECT number, until FROM sealed WHERE epoch = ? AND started = ?";
    let read = |row: &Row<'_>| Ok(Life { number: row.get(0)?, sealed: row.get(1)? });
    let mut find = connection.prepare_cached(sql)?;
    Ok(find.query_row(params![epoch.id.cast_signed(), epoch.started_ms], read).optional()?)
}

/// The number of a route, if anything was counted on it; no route is empty.
pub(super) fn route_number(connection: &Connection, name: &str) -> Result<Option<u32>, StoreError> {
    let mut find = connection.prepare_cached("SELECT number FROM routes WHERE name = ?")?;
    Ok(find.query_row([name], |row| row.get(0)).optional()?)
}

/// The class with this number.
pub(super) fn class_numbered(class: u8) -> Result<Class, StoreError> {
    Class::numbered(class).ok_or_else(|| corrupt("minutes", class, "a class that only a newer program knows"))
}

/// Key, owner and plan of an account.
pub(super) type Account = (Option<KeyId>, Option<Name>, Option<Name>);

/// The names of an account.
pub(super) fn account(connection: &Connection, number: u32) -> Result<Account, StoreError> {
    let mut find = connection.prepare_cached("SELECT key, owner, plan FROM accounts WHERE number = ?")?;
    let mut rows = find.query([number])?;
    let row = rows.next()?.ok_or_else(|| corrupt("accounts", number, "the row is gone"))?;
    Ok((name(row, 0, "accounts", number)?, name(row, 1, "accounts", number)?, name(row, 2, "accounts", number)?))
}

/// The name of a route.
pub(super) fn route(connection: &Connection, number: u32) -> Result<Option<Name>, StoreError> {
    let mut find = connection.prepare_cached("SELECT name FROM routes WHERE number = ?")?;
    let mut rows = find.query([number])?;
    let row = rows.next()?.ok_or_else(|| corrupt("routes", number, "the row is gone"))?;
    name(row, 0, "routes", number)
}

/// A name out of a column that is empty if there is none.
pub(super) fn name<T: FromStr<Err: Display>>(
    row: &Row<'_>,
    column: usize,
    table: &'static str,
    number: u32,
) -> Result<Option<T>, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(|error| corrupt(table, number, error))?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| corrupt(table, number, error))
}

/// A row that is not as this program writes it.
pub(super) fn corrupt(table: &'static str, row: impl Display, reason: impl Display) -> StoreError {
    StoreError::Corrupt { table, row: row.to_string(), reason: reason.to_string() }
}

fn last_number(connection: &Connection) -> u32 {
    u32::try_from(connection.last_insert_rowid()).expect("fewer names than would fill the disk")
}

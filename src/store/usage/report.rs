//! A report: rows of the tables and cells that are not sealed yet, summed up by time and by what was asked for.
//!
//! Rows come in the order of time, so only the step that is being summed up is held. What is on other pages goes to the totals
//! alone.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use rusqlite::{Connection, ToSql};

use super::calendar::{floor, time};
use super::names::{account, class_numbered, life, route, route_number};
use super::query::{Dimension, Line, UsageCursor, UsageQuery, UsageReport, UsageRow};
use super::read::{Marks, Slot, Whose, scan};
use super::used::Used;
use crate::key::{KeyId, Name};
use crate::meter::ledger::{Cell, Class};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Sums up what was asked for.
pub(super) fn report(
    connection: &Connection,
    query: &UsageQuery,
    unsealed: &[Cell],
) -> Result<UsageReport, StoreError> {
    let asked = query.time();
    let mut page = Page::new(connection, query, fresh(connection, query, unsealed)?);
    if let Some((whose, route)) = chosen(connection, query)? {
        let is_wanted = |slot: &Slot| whose.has(slot.account) && route.is_none_or(|route| route == slot.route);
        for (step, time) in Marks::read(connection)?.pieces(query.by, asked.clone()) {
            scan(connection, step, &time, &whose, is_wanted, |start, slot, used| page.add(start, slot, used))?;
        }
    }
    page.finish(time(asked.start), time(asked.end))
}

/// Whose rows and of which route; none if there can be no such row.
fn chosen(connection: &Connection, query: &UsageQuery) -> Result<Option<(Whose, Option<u32>)>, StoreError> {
    let whose = whose(connection, query)?;
    let route = query.route.as_ref().map(|route| route_number(connection, route.as_str())).transpose()?;
    let is_empty = matches!(&whose, Whose::Few(accounts) if accounts.is_empty()) || route == Some(None);
    Ok((!is_empty).then(|| (whose, route.flatten())))
}

fn whose(connection: &Connection, query: &UsageQuery) -> Result<Whose, StoreError> {
    let asked = [
        ("key = ?", query.key.as_ref().map(KeyId::as_str)),
        ("owner = ?", query.owner.as_ref().map(Name::as_str)),
        ("plan = ?", query.plan.as_ref().map(Name::as_str)),
    ];
    let asked: Vec<_> = asked.iter().filter_map(|(sql, value)| Some((*sql, value.as_ref()?))).collect();
    if asked.is_empty() {
        return Ok(Whose::All);
    }
    let conditions: Vec<&str> = asked.iter().map(|(sql, _)| *sql).collect();
    // SQLite does not see by itself that an owner that was asked for is not empty.
    let indexed = if query.owner.is_some() { " AND owner <> ''" } else { "" };
    let sql = format!("SELECT number FROM accounts WHERE {}{indexed} ORDER BY number", conditions.join(" AND "));
    let values: Vec<&dyn ToSql> = asked.iter().map(|(_, value)| *value as &dyn ToSql).collect();
    let mut statement = connection.prepare_cached(&sql)?;
    let accounts = statement.query_map(values.as_slice(), |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let last: u32 = connection.query_row("SELECT coalesce(max(number), 0) FROM accounts", [], |row| row.get(0))?;
    // A look-up takes as long as reading some rows one after the other.
    let is_few = accounts.len() * ROWS_PER_LOOKUP <= last as usize;
    Ok(if is_few || accounts.is_empty() { Whose::Few(accounts) } else { Whose::Many(accounts.into_iter().collect()) })
}

/// Lines by step.
type Lines = BTreeMap<u32, BTreeMap<Line, Used>>;

/// What of the cells was asked for and is not sealed.
fn fresh(connection: &Connection, query: &UsageQuery, cells: &[Cell]) -> Result<Lines, StoreError> {
    let (asked, mut lines, mut lives) = (query.time(), Lines::new(), HashMap::new());
    for cell in cells.iter().filter(|cell| asked.contains(&cell.minute.as_unix()) && is_asked_for(cell, query)) {
        let sealed = match lives.get(&cell.epoch) {
            Some(sealed) => *sealed,
            None => *lives.entry(cell.epoch).or_insert(life(connection, cell.epoch)?.map_or(0, |life| life.sealed)),
        };
        if cell.minute.as_unix() > sealed {
            let step = floor(cell.minute.as_unix(), query.by.span());
            let sum: &mut Used = lines.entry(step).or_default().entry(line_of(cell, query)).or_default();
            sum.add(&Used::of(&cell.amount, cell.band));
        }
    }
    Ok(lines)
}

fn is_asked_for(cell: &Cell, query: &UsageQuery) -> bool {
    let fits = |asked: &Option<Name>, found: &Option<Name>| asked.is_none() || asked == found;
    cell.class != Class::Admitted
        && (query.key.is_none() || query.key == cell.key)
        && fits(&query.owner, &cell.owner)
        && fits(&query.plan, &cell.plan)
        && fits(&query.route, &cell.route)
}

fn line_of(cell: &Cell, query: &UsageQuery) -> Line {
    let told = |dimension, name: &Option<Name>| name.clone().filter(|_| query.tells(dimension));
    Line {
        key: cell.key.clone().filter(|_| query.tells(Dimension::Key)),
        owner: told(Dimension::Owner, &cell.owner),
        plan: told(Dimension::Plan, &cell.plan),
        route: told(Dimension::Route, &cell.route),
        class: query.tells(Dimension::Class).then(|| cell.class.number()),
    }
}

/// A page while it is filled.
struct Page<'a> {
    connection: &'a Connection,
    query: &'a UsageQuery,
    /// Not sealed yet, in steps that have not been told.
    fresh: Lines,
    /// The step that is being summed up, and its sums by number.
    step: Option<u32>,
    sums: HashMap<Slot, Used>,
    routes: HashMap<u32, Option<Name>>,
    rows: Vec<UsageRow>,
    next: Option<UsageCursor>,
    last: Option<UsageCursor>,
    totals: Used,
}

impl<'a> Page<'a> {
    fn new(connection: &'a Connection, query: &'a UsageQuery, fresh: Lines) -> Self {
        let mut totals = Used::default();
        fresh.values().flat_map(BTreeMap::values).for_each(|used| totals.add(used));
        let (sums, routes) = (HashMap::new(), HashMap::new());
        Self { connection, query, fresh, step: None, sums, routes, rows: Vec::new(), next: None, last: None, totals }
    }

    /// Takes in the next row.
    fn add(&mut self, start: u32, slot: Slot, used: &Used) -> Result<(), StoreError> {
        self.totals.add(used);
        let step = floor(start, self.query.by.span());
        if self.step != Some(step) {
            self.tell_step()?;
            self.step = Some(step);
        }
        if self.next.is_none() && self.query.after.as_ref().is_none_or(|after| after.start <= step) {
            let tells = |dimension| self.query.tells(dimension);
            let has_account = tells(Dimension::Key) || tells(Dimension::Owner) || tells(Dimension::Plan);
            let slot = Slot {
                account: if has_account { slot.account } else { 0 },
                route: if tells(Dimension::Route) { slot.route } else { 0 },
                class: if tells(Dimension::Class) { slot.class } else { 0 },
            };
            self.sums.entry(slot).or_default().add(used);
        }
        Ok(())
    }

    fn finish(mut self, from: Timestamp, to: Timestamp) -> Result<UsageReport, StoreError> {
        self.tell_step()?;
        self.tell_fresh(u32::MAX)?;
        Ok(UsageReport { from, to, rows: self.rows, totals: self.totals, next: self.next })
    }

    /// Makes rows of the step that was summed up, and of what is not sealed up to there.
    fn tell_step(&mut self) -> Result<(), StoreError> {
        let Some(step) = self.step else { return Ok(()) };
        let sums = mem::take(&mut self.sums);
        self.tell_fresh(step)?;
        let mut lines = self.fresh.remove(&step).unwrap_or_default();
        for (slot, used) in sums {
            lines.entry(self.line(slot)?).or_default().add(&used);
        }
        self.tell(step, lines)
    }

    /// Makes rows of the steps before this one that only have what is not sealed.
    fn tell_fresh(&mut self, before: u32) -> Result<(), StoreError> {
        while let Some(entry) = self.fresh.first_entry().filter(|entry| *entry.key() < before) {
            let (step, lines) = entry.remove_entry();
            self.tell(step, lines)?;
        }
        Ok(())
    }

    fn tell(&mut self, step: u32, lines: BTreeMap<Line, Used>) -> Result<(), StoreError> {
        for (line, used) in lines {
            let place = UsageCursor { start: step, line };
            if self.next.is_some() || self.query.after.as_ref().is_some_and(|after| place <= *after) {
                continue;
            }
            if self.rows.len() == self.query.limit.max(1) {
                self.next = self.last.take();
                return Ok(());
            }
            self.rows.push(row(&place, used)?);
            self.last = Some(place);
        }
        Ok(())
    }

    fn line(&mut self, slot: Slot) -> Result<Line, StoreError> {
        let mut line = Line::default();
        let tells = |dimension| self.query.tells(dimension);
        if slot.account != 0 {
            let (key, owner, plan) = account(self.connection, slot.account)?;
            line.key = key.filter(|_| tells(Dimension::Key));
            line.owner = owner.filter(|_| tells(Dimension::Owner));
            line.plan = plan.filter(|_| tells(Dimension::Plan));
        }
        line.class = tells(Dimension::Class).then_some(slot.class);
        if slot.route != 0 {
            line.route = match self.routes.get(&slot.route) {
                Some(route) => route.clone(),
                None => self.routes.entry(slot.route).or_insert(route(self.connection, slot.route)?).clone(),
            };
        }
        Ok(line)
    }
}

fn row(place: &UsageCursor, used: Used) -> Result<UsageRow, StoreError> {
    let Line { key, owner, plan, route, class } = place.line.clone();
    let class = class.map(class_numbered).transpose()?;
    Ok(UsageRow { start: time(place.start), key, owner, plan, route, class, used })
}

/// Rows that are read one after the other while one is looked up.
const ROWS_PER_LOOKUP: usize = 8;

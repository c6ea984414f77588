//! What a data thread counts with.
//!
//! Steady state: one look-up, one exchange of a word that only the keeper looks at, a few plain stores into the cell. The
//! first request of an account on a route in a minute opens a cell: some names and a place in a table more, and at times
//! the next segment off a queue. Never a system call, never a lock; the kernel may have to find a page.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::class::packed;
use super::layout::{Label, REFERENCE_MAX};
use super::shelf::{AT_REST, OVER, Opening, Seat, Shelf};
use super::table::{Subject, Table};
use super::usage::{Amount, Minute, Use};
use crate::key::Name;

/// Counts for one thread. Made by [`Keeper::book`](super::Keeper::book).
#[derive(Debug)]
pub struct Book {
    /// The newest minute that nobody may count in any more; the keeper moves it.
    closed: Arc<AtomicU32>,
    seat: Arc<Seat>,
    table: Table,
    shelf: Shelf,
    route_names: Vec<Option<Name>>,
    routes: HashMap<Name, RouteId>,
    minute: u32,
    /// How often the minute went back.
    turn: u8,
}

/// A route's number in one book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteId(u32);

impl RouteId {
    /// No route was found.
    pub const NONE: Self = Self(0);
}

impl Book {
    pub(super) fn new(closed: Arc<AtomicU32>, seat: Arc<Seat>) -> Self {
        let (table, shelf) = (Table::new(), Shelf::new());
        Self { closed, seat, table, shelf, route_names: vec![None], routes: HashMap::new(), minute: 0, turn: 0 }
    }

    /// The number of a route, for as long as the book is open. To be asked for when rules change, not per request.
    pub fn route(&mut self, name: &Name) -> RouteId {
        if let Some(id) = self.routes.get(name) {
            return *id;
        }
        let number = u32::try_from(self.route_names.len()).unwrap_or(u32::MAX);
        if number > REFERENCE_MAX {
            return RouteId::NONE;
        }
        self.route_names.push(Some(name.clone()));
        self.routes.insert(name.clone(), RouteId(number));
        RouteId(number)
    }

    /// Counts a use in this minute; or in the one after the newest that is closed, if this is closed already; or in the
    /// following one, if the book has counted there before.
    ///
    /// When it returns, neither the death of the process nor its memory can lose the count; it is on disk after the keeper's
    /// next [`sync`](super::Keeper::sync).
    #[inline]
    pub fn count(&mut self, used: &Use<'_>, minute: Minute) {
        let minute = self.begin(minute.as_unix());
        if minute != self.minute {
            self.follow(minute);
        }
        self.add(used);
        self.seat.turn.0.store(AT_REST, Release);
    }

    /// Says which minute is being counted in before looking whether it may be. The keeper closes a minute before it looks
    /// who is counting in it. Each is one step in the order of all such steps, so at least one of the two sees the other.
    #[inline]
    fn begin(&mut self, wanted: u32) -> u32 {
        let mut minute = wanted;
        loop {
            self.seat.turn.0.store(minute, SeqCst);
            let closed = self.closed.load(SeqCst);
            if minute > closed {
                return minute;
            }
            if closed == OVER {
                self.begin_life();
                minute = wanted;
            } else {
                minute = closed + 1;
            }
        }
    }

    /// Goes on in the next life of the ledger.
    #[cold]
    fn begin_life(&mut self) {
        let (closed, seat) = self.seat.next.get().cloned().expect("a life is over when the next one has begun");
        self.table.clear();
        self.shelf.clear();
        self.seat.turn.0.store(AT_REST, Release);
        self.seat.vacant.store(true, SeqCst);
        (self.closed, self.seat) = (closed, seat);
        (self.minute, self.turn) = (0, 0);
    }

    /// Goes on in another minute. Back only by more than one: a clock that trembles at the turn of a minute would open
    /// cells all the time. What the keeper was told is the earlier of the two then, which does no harm.
    #[cold]
    fn follow(&mut self, minute: u32) {
        if minute < self.minute {
            if self.minute - minute == 1 || self.turn == u8::MAX {
                return;
            }
            self.turn += 1;
        }
        self.minute = minute;
        self.table.clear();
        self.shelf.begin_minute();
    }

    #[inline]
    fn add(&mut self, used: &Use<'_>) {
        let subject =
            Subject { token: used.account.token, path: used.route.0 << 8 | u32::from(packed(used.class, used.band)) };
        let Some(place) = self.table.find(subject).copied() else {
            return self.add_first(used, subject);
        };
        let (segment, cell) = self.shelf.at(place);
        if segment.is_left() {
            return self.add_elsewhere(used, subject, place);
        }
        segment.cell(cell).add(&used.amount);
        segment.touch();
    }

    #[cold]
    fn add_first(&mut self, used: &Use<'_>, subject: Subject) {
        match self.open(used) {
            Some(place) => {
                self.table.insert(subject, place);
                self.add_at(place, &used.amount);
            }
            None => {
                let (requests, units) = (&self.seat.lost_requests, &self.seat.lost_units);
                requests.fetch_add(used.amount.requests, Relaxed);
                units.fetch_add(used.amount.units, Relaxed);
            }
        }
    }

    /// The cell's segment is given up: its totals go on in another one. If there is none, it still serves.
    #[cold]
    fn add_elsewhere(&mut self, used: &Use<'_>, subject: Subject, place: u32) {
        let (segment, cell) = self.shelf.at(place);
        let so_far = segment.cell(cell).amount();
        let Some(other) = self.open(used) else { return self.add_at(place, &used.amount) };
        self.add_at(other, &so_far.plus(&used.amount));
        if let Some(known) = self.table.find(subject) {
            *known = other;
        }
    }

    fn add_at(&self, place: u32, amount: &Amount) {
        let (segment, cell) = self.shelf.at(place);
        segment.cell(cell).add(amount);
        segment.touch();
    }

    fn open(&mut self, used: &Use<'_>) -> Option<u32> {
        let route = used.route.0 as usize;
        let route_name = self.route_names.get(route).and_then(Option::as_ref).map_or("", |name| name.as_str());
        let label = Label {
            minute: self.minute,
            turn: self.turn,
            class: packed(used.class, used.band),
            account: 0,
            route: 0,
            token: used.account.token,
        };
        let opening = Opening { account: &used.account, route, route_name, label };
        self.shelf.open(&opening, &self.seat)
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.shelf.close();
        let mut seat = Some(&self.seat);
        while let Some(left) = seat {
            left.vacant.store(true, SeqCst);
            seat = left.next.get().map(|(_, next)| next);
        }
    }
}

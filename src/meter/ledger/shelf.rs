//! The segments that hold a book's cells of the current minute, and the one that is being filled.
//!
//! Opening a cell takes the next place of the last segment, or another segment that the keeper has laid ready. If there is
//! none, memory of the same form takes its place, which the keeper carries to disk as soon as it can.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use super::layout::Label;
use super::names;
use super::segment::Segment;
use super::usage::Account;

/// Where a book and the keeper meet.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) writer: u32,
    pub(super) turn: Turn,
    /// Files to be filled next, and memory for when there are none.
    pub(super) ready: ArrayQueue<Arc<Segment>>,
    pub(super) reserve: ArrayQueue<Arc<Segment>>,
    /// The book is closed.
    pub(super) vacant: AtomicBool,
    /// Where the book goes on when this life of the ledger is over, and what tells there which minutes are closed.
    pub(super) next: OnceLock<(Arc<AtomicU32>, Arc<Self>)>,
    /// What was counted nowhere, because not even memory was left: requests and units.
    pub(super) lost_requests: AtomicU64,
    pub(super) lost_units: AtomicU64,
}

/// The minute that is being counted in, or [`AT_REST`]; with a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Turn(pub(super) AtomicU32);

/// The segments with cells of the current minute; the last one is being filled.
#[derive(Debug)]
pub(super) struct Shelf {
    segments: Vec<Arc<Segment>>,
    /// The next place and word in the last segment.
    cells: u32,
    words: usize,
    /// Where names are in the last segment, 0 if not yet: of routes by their number, of accounts by their token.
    routes: Vec<u32>,
    accounts: Box<[(u64, u32)]>,
}

/// A cell to be opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub(super) account: &'a Account<'a>,
    pub(super) route: usize,
    pub(super) route_name: &'a str,
    /// Without the references to names.
    pub(super) label: Label,
}

impl Seat {
    pub(super) fn new(writer: u32, spare: usize, overflow: usize) -> Self {
        Self {
            writer,
            turn: Turn(AtomicU32::new(AT_REST)),
            ready: ArrayQueue::new(spare),
            reserve: ArrayQueue::new(overflow),
            vacant: AtomicBool::new(false),
            next: OnceLock::new(),
            lost_requests: AtomicU64::new(0),
            lost_units: AtomicU64::new(0),
        }
    }
}

impl Shelf {
    pub(super) fn new() -> Self {
        let accounts = vec![(0, 0); ACCOUNTS].into();
        Self { segments: Vec::new(), cells: 0, words: 0, routes: Vec::new(), accounts }
    }

    /// The segment and the place in it.
    #[inline]
    pub(super) fn at(&self, place: u32) -> (&Segment, u32) {
        (&self.segments[(place >> PLACE_BITS) as usize], place & PLACE_MASK)
    }

    /// Opens a cell; none if there is no room anywhere.
    pub(super) fn open(&mut self, opening: &Opening<'_>, seat: &Seat) -> Option<u32> {
        if !self.has_room(opening) {
            self.turn_page(seat)?;
        }
        let route = self.route(opening);
        let account = self.account(opening.account);
        let (segment, place) = (self.segments.last()?, self.cells);
        let label = Label { account, route, ..opening.label };
        // First the minute, so that who sees the cell keeps the segment for as long.
        segment.note_minute(label.minute);
        segment.cell(place).open(&label, segment.head.epoch, place);
        self.cells += 1;
        Some(((self.segments.len() - 1) as u32) << PLACE_BITS | place)
    }

    /// Lets go of the segments that have cells of former minutes only.
    pub(super) fn begin_minute(&mut self) {
        let former = self.segments.len().saturating_sub(1);
        self.segments.drain(..former);
    }

    /// Lets go of all segments and opens no more cells in them.
    pub(super) fn clear(&mut self) {
        self.close();
        self.segments.clear();
    }

    /// Opens no more cells.
    pub(super) fn close(&mut self) {
        if let Some(segment) = self.segments.last() {
            segment.close();
        }
    }

    fn has_room(&self, opening: &Opening<'_>) -> bool {
        let Some(segment) = self.segments.last() else { return false };
        let layout = &segment.head.layout;
        let names = names::words(opening.account.names()) + names::words([opening.route_name, "", ""]);
        !segment.is_left() && self.cells < layout.cells && self.words + names <= layout.words()
    }

    /// Goes on in another segment.
    fn turn_page(&mut self, seat: &Seat) -> Option<()> {
        if self.segments.len() == SEGMENTS_MAX {
            return None;
        }
        let next = seat.ready.pop().or_else(|| seat.reserve.pop())?;
        self.close();
        self.cells = 0;
        self.words = next.head.layout.names();
        self.routes.fill(0);
        self.accounts.fill((0, 0));
        self.segments.push(next);
        Some(())
    }

    fn route(&mut self, opening: &Opening<'_>) -> u32 {
        if self.routes.len() <= opening.route {
            self.routes.resize(opening.route + 1, 0);
        }
        if self.routes[opening.route] == 0 {
            self.routes[opening.route] = self.write([opening.route_name, "", ""]);
        }
        self.routes[opening.route]
    }

    fn account(&mut self, account: &Account<'_>) -> u32 {
        let slot = account.token as usize % ACCOUNTS;
        if let (token, word @ 1..) = self.accounts[slot]
            && token == account.token
        {
            return word;
        }
        let word = self.write(account.names());
        self.accounts[slot] = (account.token, word);
        word
    }

    /// Writes names behind those that are there already.
    fn write(&mut self, texts: [&str; 3]) -> u32 {
        let word = u32::try_from(self.words).expect("a file has fewer words");
        if let Some(segment) = self.segments.last() {
            names::write(segment.words_from(word), texts);
        }
        self.words += names::words(texts);
        word
    }
}

/// No minute: nothing is being counted.
pub(super) const AT_REST: u32 = u32::MAX;
/// What is closed when a life of the ledger is over: every minute.
pub(super) const OVER: u32 = AT_REST - 1;
/// A place holds a cell of a segment: the longest has fewer than a million.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
const SEGMENTS_MAX: usize = 1 << (u32::BITS - PLACE_BITS);
/// Accounts whose names are written only once per segment.
const ACCOUNTS: usize = 1024;

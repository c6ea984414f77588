//! The other side of the books: whatever may wait.
//!
//! Belongs to one thread, which calls [`Keeper::prepare`] and [`Keeper::sync`] each sync interval, and from time to time
//! [`Keeper::sealable`] and [`Keeper::release`]. All of them wait for the disk.

use std::fs;
use std::hint;
use std::iter;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::Duration;

use super::book::Book;
use super::error::LedgerError;
use super::folder;
use super::layout::{Epoch, Head, Layout};
use super::merge::{Cell, Merged};
use super::replay::Replay;
use super::segment::Segment;
use super::shelf::Seat;
use super::usage::Minute;
use crate::time::{Instant, Timestamp};

/// Where and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder; made if it is missing, with mode 0700.
    pub folder: PathBuf,
    /// Bytes per file: 8 KiB to 64 MiB, whole pages. 4 MiB hold 36,000 cells.
    pub segment_bytes: usize,
    /// Files that lie ready per book. Two are plenty: a thread cannot fill one in a second.
    pub spare: usize,
    /// Pieces of memory per book, as large as a file, for when no file can be had.
    pub overflow: usize,
}

/// Makes files, makes them durable, hands out what is over, removes what is sealed.
#[derive(Debug)]
pub struct Keeper {
    pub(super) options: Options,
    pub(super) epoch: Epoch,
    layout: Layout,
    pub(super) lock: Arc<folder::Lock>,
    /// The newest minute that nobody may count in any more.
    pub(super) closed: Arc<AtomicU32>,
    /// The newest minute that was released.
    sealed: u32,
    pub(super) seats: Vec<Arc<Seat>>,
    pub(super) writers: u32,
    pub(super) segments: Vec<Arc<Segment>>,
    /// Segments that cannot be made durable, and those that are in their stead.
    pub(super) heirs: Vec<(Arc<Segment>, Arc<Segment>)>,
    /// Released segments whose writer has not let go yet. The last who lets go waits for the system, so that is us.
    pub(super) leaving: Vec<Arc<Segment>>,
    numbers: u32,
    /// Up to here everything is on disk.
    durable: Instant,
    pub(super) given_up: u64,
    pub(super) lost: (u64, u64),
}

/// The cells of minutes that are over, for sealing. They do not change any more, and can be read on another thread, so
/// that the keeper goes on syncing meanwhile.
#[derive(Debug)]
#[must_use = "cells that are sealed are to be released"]
pub struct Sealable {
    /// Released before.
    sealed: u32,
    until: u32,
    segments: Vec<Arc<Segment>>,
}

/// How the ledger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How old the oldest count may be that a power failure would lose.
    pub lag: Duration,
    /// Files, ready ones among them.
    pub files: usize,
    /// Files that lie ready.
    pub ready: usize,
    /// Pieces of memory that are in use because there was no file; what is in there does not outlive the process.
    pub in_memory: usize,
    /// Files that were given up because the disk failed, since the start.
    pub given_up: u64,
    /// Requests that were counted nowhere, because memory was used up too, since the start.
    pub lost_requests: u64,
    /// Their units.
    pub lost_units: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { folder: PathBuf::from("."), segment_bytes: 4 << 20, spare: 2, overflow: 16 }
    }
}

impl Keeper {
    /// Opens the ledger for this process alone.
    ///
    /// # Errors
    /// Another process has it; the folder cannot be made or read.
    pub fn open(options: Options, wall: Timestamp, now: Instant) -> Result<Self, LedgerError> {
        let lock = Arc::new(folder::lock(&options.folder)?);
        folder::remove_unfinished(&options.folder)?;
        Self::begin(options, lock, wall, now)
    }

    /// What former processes left. Nothing of it is changed.
    ///
    /// # Errors
    /// A file cannot be read, or a newer program wrote it.
    pub fn replay(&self) -> Result<Replay, LedgerError> {
        Replay::of(&self.options.folder, self.epoch)
    }

    /// A book for another thread. It can be counted in at once; [`Keeper::prepare`] gives it files.
    ///
    /// # Errors
    /// There is no memory.
    pub fn book(&mut self) -> Result<Book, LedgerError> {
        let seat = self.add_seat(self.writers)?;
        self.writers += 1;
        Ok(Book::new(Arc::clone(&self.closed), seat))
    }

    /// The newest minute that was counted in or is closed.
    pub fn newest_minute(&self) -> Minute {
        let counted = self.segments.iter().map(|segment| segment.newest_minute());
        Minute::from_unix(counted.fold(self.closed.load(Relaxed), u32::max))
    }

    /// Lays files ready for all books.
    ///
    /// # Errors
    /// No file can be made: the disk is full or broken. Counting goes on, in memory at last.
    pub fn prepare(&mut self) -> Result<(), LedgerError> {
        self.clear_vacant_seats()?;
        self.leaving.retain(|segment| Arc::strong_count(segment) > 1);
        let seats = self.seats.clone();
        seats.iter().try_for_each(|seat| self.fill_reserve(seat))?;
        for seat in seats {
            while !seat.ready.is_full() {
                let segment = self.create(seat.writer)?;
                // Nobody else adds to the queue, so there is room.
                let _ = seat.ready.push(segment);
            }
        }
        Ok(())
    }

    /// Makes durable what was counted so far. What a file cannot hold any more goes to another one.
    ///
    /// # Errors
    /// The first of all that failed; the rest is durable. What failed is tried again the next time, in another file.
    pub fn sync(&mut self, now: Instant) -> Result<(), LedgerError> {
        let dirty: Vec<_> = self.segments.iter().filter(|segment| segment.take_dirty()).map(Arc::clone).collect();
        let mut outcome = Ok(());
        for segment in dirty {
            if let Err(error) = self.save(&segment) {
                segment.touch();
                outcome = outcome.and(Err(error));
            }
        }
        if outcome.is_ok() {
            self.durable = now;
        }
        outcome
    }

    /// Closes all minutes up to this one and gives the cells that were not released yet. From now on uses of these minutes
    /// are counted in a later one.
    ///
    /// None if a book is counting in one of them this very moment: ask again.
    pub fn sealable(&self, until: Minute) -> Option<Sealable> {
        let until = self.closed.fetch_max(until.as_unix(), SeqCst).max(until.as_unix());
        // Counting takes less than a microsecond, unless its thread was put aside in the middle.
        let is_over = |seat: &Arc<Seat>| {
            (0..LOOKS).any(|_| {
                hint::spin_loop();
                seat.turn.0.load(SeqCst) > until
            })
        };
        if !self.seats.iter().all(is_over) {
            return None;
        }
        let sealed = self.sealed;
        let segments =
            self.segments.iter().filter(|segment| segment.newest_minute() > sealed).map(Arc::clone).collect();
        Some(Sealable { sealed, until, segments })
    }

    /// The cells that were not released, those of the running minute among them, as they are when they are read. Closes nothing.
    pub fn open_cells(&self) -> Sealable {
        let segments = self.segments.iter().filter(|segment| segment.newest_minute() > self.sealed).map(Arc::clone);
        Sealable { sealed: self.sealed, until: u32::MAX, segments: segments.collect() }
    }

    /// Removes what is sealed, and notes what of the rest is. To be called when the cells are durable elsewhere.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn release(&mut self, sealed: Sealable) -> Result<(), LedgerError> {
        let until = sealed.until;
        drop(sealed);
        self.sealed = self.sealed.max(until);
        let is_done = |segment: &Arc<Segment>| segment.is_closed() && segment.newest_minute() <= until;
        self.heirs.retain(|(from, _)| !is_done(from));
        let (done, rest) = mem::take(&mut self.segments).into_iter().partition(is_done);
        self.segments = rest;
        for segment in self.segments.iter().filter(|segment| !segment.is_memory() && segment.newest_minute() > 0) {
            segment.note_sealed(until);
            if !segment.is_left() {
                segment.touch();
            }
        }
        self.remove(done)
    }

    /// How the ledger is.
    pub fn figures(&self, now: Instant) -> Figures {
        let is_dirty = self.segments.iter().any(|segment| segment.is_dirty());
        let (mut requests, mut units) = self.lost;
        for seat in &self.seats {
            requests += seat.lost_requests.load(Relaxed);
            units += seat.lost_units.load(Relaxed);
        }
        let in_use = |segment: &&Arc<Segment>| segment.is_memory() && segment.newest_minute() > 0;
        let has_heir = |segment: &Arc<Segment>| self.heirs.iter().any(|(from, _)| Arc::ptr_eq(from, segment));
        Figures {
            lag: if is_dirty { now.since(self.durable) } else { Duration::ZERO },
            files: self.segments.iter().filter(|segment| !segment.is_memory()).count(),
            ready: self.seats.iter().map(|seat| seat.ready.len()).sum(),
            in_memory: self.segments.iter().filter(in_use).filter(|segment| !has_heir(segment)).count(),
            given_up: self.given_up,
            lost_requests: requests,
            lost_units: units,
        }
    }

    pub(super) fn begin(
        options: Options,
        lock: Arc<folder::Lock>,
        wall: Timestamp,
        now: Instant,
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            epoch: Epoch::random(wall).map_err(LedgerError::Random)?,
            layout: Layout::of(options.segment_bytes),
            options,
            lock,
            closed: Arc::new(AtomicU32::new(0)),
            sealed: 0,
            seats: Vec::new(),
            writers: 0,
            segments: Vec::new(),
            heirs: Vec::new(),
            leaving: Vec::new(),
            numbers: 0,
            durable: now,
            given_up: 0,
            lost: (0, 0),
        })
    }

    /// Makes a segment durable, in its own file or, for good, in another.
    fn save(&mut self, segment: &Arc<Segment>) -> Result<(), LedgerError> {
        if !segment.is_memory() && !segment.is_left() {
            if segment.make_durable().is_ok() {
                return Ok(());
            }
            self.given_up += 1;
            segment.leave();
        }
        let heir = self.heir(segment)?;
        // Memory serves until there is a file. Then its writer leaves it too, and what it counts meanwhile makes it dirty.
        segment.leave();
        heir.take_over(segment);
        let durable = heir.make_durable();
        if durable.is_err() {
            self.given_up += 1;
            heir.leave();
        }
        // It has all that those had before it which failed: on a broken disk there are no more of them than segments.
        let removed = self.remove_failed_heirs(segment, &heir);
        durable.map_err(LedgerError::of(heir.path().unwrap_or(&self.options.folder))).and(removed)
    }

    fn remove_failed_heirs(&mut self, segment: &Arc<Segment>, newest: &Arc<Segment>) -> Result<(), LedgerError> {
        let is_failed = |(from, heir): &(Arc<Segment>, Arc<Segment>)| {
            Arc::ptr_eq(from, segment) && heir.is_left() && !Arc::ptr_eq(heir, newest)
        };
        let (failed, rest) = mem::take(&mut self.heirs).into_iter().partition(is_failed);
        self.heirs = rest;
        let failed: Vec<Arc<Segment>> = Vec::into_iter(failed).map(|(_, heir)| heir).collect();
        self.segments.retain(|segment| !failed.iter().any(|other| Arc::ptr_eq(segment, other)));
        self.remove(failed)
    }

    /// Where a segment is made durable that cannot be itself: the same file, for as long as that does not fail.
    fn heir(&mut self, segment: &Arc<Segment>) -> Result<Arc<Segment>, LedgerError> {
        let is_its = |(from, heir): &&(Arc<Segment>, Arc<Segment>)| Arc::ptr_eq(from, segment) && !heir.is_left();
        if let Some((_, heir)) = self.heirs.iter().find(is_its) {
            return Ok(Arc::clone(heir));
        }
        let heir = self.create(segment.head.writer)?;
        heir.close();
        heir.note_sealed(self.sealed);
        self.heirs.push((Arc::clone(segment), Arc::clone(&heir)));
        Ok(heir)
    }

    fn create(&mut self, writer: u32) -> Result<Arc<Segment>, LedgerError> {
        let head = self.next_head(writer);
        let path = folder::path(&self.options.folder, self.epoch, head.number);
        let segment = Segment::create(&path, head).map(Arc::new).map_err(LedgerError::of(&path))?;
        self.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    pub(super) fn add_seat(&mut self, writer: u32) -> Result<Arc<Seat>, LedgerError> {
        let seat = Arc::new(Seat::new(writer, self.options.spare.max(1), self.options.overflow.max(1)));
        self.fill_reserve(&seat)?;
        self.seats.push(Arc::clone(&seat));
        Ok(seat)
    }

    /// As much memory as is allowed, what is in use included.
    fn fill_reserve(&mut self, seat: &Seat) -> Result<(), LedgerError> {
        let is_its = |segment: &&Arc<Segment>| segment.is_memory() && segment.head.writer == seat.writer;
        let missing = self.options.overflow.saturating_sub(self.segments.iter().filter(is_its).count());
        for _ in 0..missing {
            let head = self.next_head(seat.writer);
            let segment = Segment::in_memory(head).map_err(LedgerError::of(&self.options.folder))?;
            let segment = Arc::new(segment);
            self.segments.push(Arc::clone(&segment));
            let _ = seat.reserve.push(segment);
        }
        Ok(())
    }

    fn next_head(&mut self, writer: u32) -> Head {
        let number = self.numbers;
        self.numbers += 1;
        Head { epoch: self.epoch, writer, number, layout: self.layout }
    }

    /// What closed books never needed is removed; what they counted stays.
    fn clear_vacant_seats(&mut self) -> Result<(), LedgerError> {
        let (vacant, rest) = self.seats.drain(..).partition(|seat| seat.vacant.load(Acquire));
        self.seats = rest;
        let vacant: Vec<Arc<Seat>> = vacant;
        for seat in vacant {
            self.lost.0 += seat.lost_requests.load(Relaxed);
            self.lost.1 += seat.lost_units.load(Relaxed);
            let unused: Vec<_> = iter::from_fn(|| seat.ready.pop().or_else(|| seat.reserve.pop())).collect();
            self.segments.retain(|segment| !unused.iter().any(|other| Arc::ptr_eq(segment, other)));
            self.remove(unused)?;
        }
        Ok(())
    }

    fn remove(&mut self, segments: Vec<Arc<Segment>>) -> Result<(), LedgerError> {
        let mut outcome = Ok(());
        for segment in segments {
            if let Some(path) = segment.path() {
                outcome = outcome.and(fs::remove_file(path).map_err(LedgerError::of(path)));
            }
            self.leaving.push(segment);
        }
        outcome
    }
}

impl Sealable {
    /// The newest of the minutes.
    pub fn until(&self) -> Minute {
        Minute::from_unix(self.until)
    }

    /// Reads the cells, each once: a second or more for a million.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell> {
        let wanted = |_: &Segment, minute| self.sealed < minute && minute <= self.until;
        Merged::of(self.segments.clone(), wanted).into_cells()
    }
}

/// How often is looked whether a book is done with a minute.
const LOOKS: u32 = 10_000;

//! Cells of several segments, each once: where two agree in what they are about, the greater totals hold.
//!
//! Two of one kind come about when a segment is given up and its cells go on elsewhere, or are copied by the keeper.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use compact_str::CompactString;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::cell::Found;
use super::class::{Band, Class, unpacked};
use super::layout::{Epoch, Label};
use super::names;
use super::segment::Segment;
use super::usage::{Amount, Minute};
use crate::key::{KeyId, Name};

/// A cell, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The life of the process that counted.
    pub epoch: Epoch,
    /// Which of its threads.
    pub writer: u32,
    /// When.
    pub minute: Minute,
    /// How often the writer's clock had gone back before.
    pub turn: u8,
    /// Tells accounts of the same names apart that the process took for different ones: their amounts add up.
    pub token: u64,
    /// The key; none if none was known.
    pub key: Option<KeyId>,
    /// The key's owner at the time.
    pub owner: Option<Name>,
    /// The key's plan at the time.
    pub plan: Option<Name>,
    /// The route; none if none was found.
    pub route: Option<Name>,
    /// How the requests ended.
    pub class: Class,
    /// How long they took.
    pub band: Band,
    /// The totals.
    pub amount: Amount,
}

/// The cells of some segments, each once.
#[derive(Debug, Default)]
pub(super) struct Merged {
    segments: Vec<Arc<Segment>>,
    entries: Vec<Entry>,
    /// How many places of each segment held something that is no cell.
    pub(super) torn: Vec<u32>,
}

/// Which segment has a cell's names, and the greatest totals.
#[derive(Debug)]
struct Entry {
    segment: u32,
    label: Label,
    amount: Amount,
}

impl Merged {
    /// The cells of such minutes as are wanted of a segment.
    pub(super) fn of(segments: Vec<Arc<Segment>>, wanted: impl Fn(&Segment, u32) -> bool) -> Self {
        let mut merged = Self { torn: vec![0; segments.len()], segments, entries: Vec::new() };
        let mut known = HashTable::new();
        for number in 0..merged.segments.len() {
            let segment = Arc::clone(&merged.segments[number]);
            for (place, found) in segment.found() {
                match found {
                    Found::Nothing => {}
                    Found::Torn => merged.torn[number] += 1,
                    Found::Whole(label) if !wanted(&segment, label.minute) => {}
                    Found::Whole(label) if read(&segment, &label).is_none() => merged.torn[number] += 1,
                    Found::Whole(label) => {
                        let amount = segment.cell(place).amount();
                        merged.add(&mut known, Entry { segment: number as u32, label, amount });
                    }
                }
            }
        }
        merged
    }

    fn add(&mut self, known: &mut HashTable<u32>, entry: Entry) {
        let hash = self.hash(&entry);
        if let Some(&at) = known.find(hash, |&at| self.is_same(&self.entries[at as usize], &entry)) {
            let before = &mut self.entries[at as usize];
            before.amount = before.amount.max(&entry.amount);
            return;
        }
        let at = u32::try_from(self.entries.len()).expect("fewer cells than words in memory");
        self.entries.push(entry);
        known.insert_unique(hash, at, |&at| self.hash(&self.entries[at as usize]));
    }

    fn hash(&self, entry: &Entry) -> u64 {
        FxBuildHasher.hash_one(self.identity(entry))
    }

    /// What a cell is about. The sums of the names stand for these; [`Merged::is_same`] looks at them themselves.
    fn identity(&self, entry: &Entry) -> impl Hash + PartialEq {
        let (segment, label) = (&self.segments[entry.segment as usize], &entry.label);
        let sum = |word| segment.words_from(word).first().map_or(0, |word| word.load(Relaxed));
        let writer = (segment.head.epoch, segment.head.writer);
        (writer, label.minute, label.turn, label.class, label.token, sum(label.account), sum(label.route))
    }

    fn is_same(&self, one: &Entry, other: &Entry) -> bool {
        let names = |entry: &Entry| texts(&self.segments[entry.segment as usize], &entry.label);
        self.identity(one) == self.identity(other) && names(one) == names(other)
    }

    /// The cells, in the order of segments and places.
    pub(super) fn cells(&self) -> impl ExactSizeIterator<Item = Cell> {
        self.entries.iter().map(|entry| entry.cell(&self.segments))
    }

    /// The same, for good.
    pub(super) fn into_cells(self) -> impl ExactSizeIterator<Item = Cell> {
        let Self { segments, entries, .. } = self;
        entries.into_iter().map(move |entry| entry.cell(&segments))
    }
}

impl Entry {
    fn cell(&self, segments: &[Arc<Segment>]) -> Cell {
        let cell = read(&segments[self.segment as usize], &self.label);
        Cell { amount: self.amount, ..cell.expect("its names were read when it was added") }
    }
}

/// The cell with this label, without totals; none if its names are not whole.
pub(super) fn read(segment: &Segment, label: &Label) -> Option<Cell> {
    let [key, owner, plan, route] = texts(segment, label)?;
    let (class, band) = unpacked(label.class)?;
    Some(Cell {
        epoch: segment.head.epoch,
        writer: segment.head.writer,
        minute: Minute::from_unix(label.minute),
        turn: label.turn,
        token: label.token,
        key: parsed(&key)?,
        owner: parsed(&owner)?,
        plan: parsed(&plan)?,
        route: parsed(&route)?,
        class,
        band,
        amount: Amount::default(),
    })
}

fn texts(segment: &Segment, label: &Label) -> Option<[CompactString; 4]> {
    let [key, owner, plan] = names::read(segment.words_from(label.account))?;
    let [route, ..] = names::read(segment.words_from(label.route))?;
    Some([key, owner, plan, route])
}

/// What the text says; none of it if it is empty.
fn parsed<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

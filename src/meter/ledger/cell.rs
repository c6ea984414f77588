//! One cell in memory: the order of stores that makes it whole at every moment, for readers aside and after a kill.
//!
//! A cell has one writer, so adding is a load and a store. The label is stored before the tag, and all totals before
//! `requests`: who sees the one sees the other. What is in memory is what a dead process leaves.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::layout::{CELL_WORDS, Epoch, LABEL_WORDS, Label};
use super::usage::Amount;

/// The eight words of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellRef<'s>(pub(super) &'s [AtomicU64; CELL_WORDS]);

/// What is found in the place of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or a cell that was being opened.
    Nothing,
    /// A cell.
    Whole(Label),
    /// Something that nobody stored: it is not read.
    Torn,
}

impl CellRef<'_> {
    /// Makes it a cell, without totals.
    pub(super) fn open(self, label: &Label, epoch: Epoch, place: u32) {
        let [tagged, what, token] = label.encode(epoch, place);
        self.0[1].store(what, Relaxed);
        self.0[2].store(token, Relaxed);
        self.0[0].store(tagged, Release);
    }

    /// Adds to the totals. Only the writer may.
    #[inline]
    pub(super) fn add(self, amount: &Amount) {
        self.store(|word, more| word.load(Relaxed).wrapping_add(more), amount);
    }

    /// Raises the totals to at least these. Only the writer may.
    pub(super) fn raise(self, amount: &Amount) {
        self.store(|word, least| word.load(Relaxed).max(least), amount);
    }

    #[inline]
    fn store(self, value: impl Fn(&AtomicU64, u64) -> u64, amount: &Amount) {
        let [_, _, _, units, bytes_in, bytes_out, latency, requests] = self.0;
        units.store(value(units, amount.units), Relaxed);
        bytes_in.store(value(bytes_in, amount.bytes_in), Relaxed);
        bytes_out.store(value(bytes_out, amount.bytes_out), Relaxed);
        latency.store(value(latency, amount.latency_ns), Relaxed);
        requests.store(value(requests, amount.requests), Release);
    }

    /// The totals: at least what belongs to the requests among them.
    pub(super) fn amount(self) -> Amount {
        let [_, _, _, units, bytes_in, bytes_out, latency, requests] = self.0;
        let requests = requests.load(Acquire);
        let [units, bytes_in, bytes_out, latency_ns] =
            [units, bytes_in, bytes_out, latency].map(|word| word.load(Relaxed));
        Amount { requests, units, bytes_in, bytes_out, latency_ns }
    }

    /// What is here.
    pub(super) fn found(self, epoch: Epoch, place: u32) -> Found {
        let tagged = self.0[0].load(Acquire);
        if tagged == 0 {
            let counted = self.0[LABEL_WORDS..].iter().any(|word| word.load(Relaxed) != 0);
            return if counted { Found::Torn } else { Found::Nothing };
        }
        let words = [tagged, self.0[1].load(Relaxed), self.0[2].load(Relaxed)];
        Label::decode(words, epoch, place).map_or(Found::Torn, Found::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch { id: 9, started_ms: 0 };
    const LABEL: Label = Label { minute: 7, turn: 0, class: 2, account: 1000, route: 2000, token: 5 };
    const AMOUNT: Amount = Amount { requests: 1, units: 2, bytes_in: 3, bytes_out: 4, latency_ns: 5 };

    #[test]
    fn totals_grow_and_never_shrink() {
        let words = Default::default();
        let cell = CellRef(&words);
        assert_eq!(cell.found(EPOCH, 3), Found::Nothing);
        cell.open(&LABEL, EPOCH, 3);
        cell.add(&AMOUNT);
        cell.raise(&AMOUNT);
        assert_eq!(cell.amount(), AMOUNT);
        cell.add(&AMOUNT);
        assert_eq!(cell.amount(), AMOUNT.plus(&AMOUNT));
        assert_eq!(cell.found(EPOCH, 3), Found::Whole(LABEL));
        assert_eq!(cell.found(EPOCH, 4), Found::Torn);
    }

    #[test]
    fn totals_without_a_tag_are_not_read() {
        let words = Default::default();
        let cell = CellRef(&words);
        cell.open(&LABEL, EPOCH, 3);
        words[0].store(0, Relaxed);
        assert_eq!(cell.found(EPOCH, 3), Found::Nothing, "as if killed while it was opened");
        cell.add(&AMOUNT);
        assert_eq!(cell.found(EPOCH, 3), Found::Torn);
    }
}

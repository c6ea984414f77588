//! Counters that one thread writes and another reads, at the price of plain memory.
//!
//! A word has a single writer: adding is a load and a store, never a locked instruction. The scrape reads along and
//! may miss what is being added just now, never more.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A count that only its own thread adds to, and any thread may read.
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

impl Word {
    /// Adds `n`. Only one thread may ever do so, or counts are lost.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// What has been added so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that come and go on one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more. Only the thread it belongs to may call this.
    #[inline]
    pub fn up(&self) {
        self.add(1);
    }

    /// One less. Only the thread it belongs to may call this.
    #[inline]
    pub fn down(&self) {
        self.add(-1);
    }

    /// Adds `n`, which may be negative. Only the thread it belongs to may call this.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// How many there are.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, in ascending nanoseconds, each included in its bucket.
pub(super) type Bounds = [u64; BUCKETS];

/// Buckets with a bound; one more without takes the rest.
pub(super) const BUCKETS: usize = 16;

/// Durations by size.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static Bounds,
    counts: [Word; BUCKETS + 1],
    sum_ns: Word,
}

impl Histogram {
    pub(super) fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, counts: Default::default(), sum_ns: Word::default() }
    }

    #[inline]
    pub(super) fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < ns);
        self.counts[bucket].add(1);
        self.sum_ns.add(ns);
    }
}

/// Histograms of several threads, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HistogramTotals {
    /// Per bucket, not cumulative; the last has no bound.
    pub(super) counts: [u64; BUCKETS + 1],
    pub(super) sum_ns: u64,
}

impl HistogramTotals {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, word) in self.counts.iter_mut().zip(&histogram.counts) {
            *total = total.wrapping_add(word.value());
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];

    fn check(ns: u64, bucket: usize) {
        let histogram = Histogram::new(&BOUNDS);
        histogram.observe(Duration::from_nanos(ns));
        let mut totals = HistogramTotals::default();
        totals.add(&histogram);
        assert_eq!(totals.counts.iter().position(|&count| count == 1), Some(bucket), "{ns} ns");
        assert_eq!(totals.counts.iter().sum::<u64>(), 1);
        assert_eq!(totals.sum_ns, ns);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        check(0, 0);
        check(1, 0);
        check(2, 1);
        check(3, 2);
        check(32768, 15);
        check(32769, 16);
        check(u64::MAX, 16);
    }

    #[test]
    fn a_gauge_goes_down_as_far_as_it_went_up() {
        let gauge = Gauge::default();
        gauge.up();
        gauge.add(3);
        gauge.down();
        assert_eq!(gauge.value(), 3);
    }
}

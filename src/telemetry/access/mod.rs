//! The request log: one line per request, without a request ever waiting for it.
//!
//! A data thread asks its [`Sender`] whether a request is wanted, and if so copies a [`Record`] of fixed size into its
//! own bounded queue; the [`Writer`] on the log thread formats and writes. A full queue drops the record and
//! counts it. Queues exist only once the log is on.

mod line;
mod record;
mod writer;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_queue::ArrayQueue;

use super::metrics::Metrics;
use super::thread::ThreadMetrics;
use super::{LogOutput, Options};

pub use record::{MAX_METHOD, MAX_PATH, Record, Text};
pub use writer::Writer;

/// The request log as data threads share it.
#[derive(Debug)]
pub struct AccessLog {
    /// How many of 2^32 forwarded requests are logged, or [`OFF`].
    wanted: AtomicU64,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

/// How a request ended, as far as sampling cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The upstream's answer was passed on: logged by sample.
    Forwarded,
    /// A denial or a failure of the upstream: always logged.
    Refused,
}

/// One data thread's end of the request log.
#[derive(Debug)]
pub struct Sender {
    log: Arc<AccessLog>,
    lane: Arc<Lane>,
    metrics: Arc<ThreadMetrics>,
    random: Cell<u64>,
}

/// The queue between one sender and the writer.
#[derive(Debug, Default)]
struct Lane {
    queue: OnceLock<ArrayQueue<Record>>,
}

impl AccessLog {
    /// Opens the log: the shared half, and the writer for the log thread.
    ///
    /// # Errors
    ///
    /// If the file of the output cannot be opened.
    pub fn open(options: &Options, metrics: Arc<Metrics>) -> io::Result<(Arc<Self>, Writer)> {
        let log = Arc::new(Self { wanted: AtomicU64::new(OFF), lanes: Mutex::default() });
        let writer = Writer::open(Arc::clone(&log), options, metrics)?;
        Ok((log, writer))
    }

    /// A new sender, for the data thread with these metrics.
    pub fn sender(self: &Arc<Self>, metrics: Arc<ThreadMetrics>) -> Sender {
        let lane = Arc::new(Lane::default());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.push(Arc::clone(&lane));
        if self.wanted.load(Ordering::Acquire) != OFF {
            lane.allocate();
        }
        let random = Cell::new(lanes.len() as u64);
        Sender { log: Arc::clone(self), lane, metrics, random }
    }

    fn configure(&self, options: &Options) {
        // The lock makes sure that a sender which is being made sees either the queues or the switch.
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if options.access.output == LogOutput::Off {
            self.wanted.store(OFF, Ordering::Release);
            return;
        }
        lanes.iter().for_each(|lane| lane.allocate());
        let share = options.access.sample.clamp(0.0, 1.0) * ALL as f64;
        self.wanted.store(share as u64, Ordering::Release);
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sender {
    /// Whether a request that ended like this is to be logged. Ask before making a [`Record`]; it costs next to nothing.
    #[inline]
    pub fn wants(&self, ending: Ending) -> bool {
        let wanted = self.log.wanted.load(Ordering::Acquire);
        if wanted == OFF {
            return false;
        }
        ending == Ending::Refused || wanted == ALL || (wanted > 0 && self.roll() < wanted)
    }

    /// Hands a record to the writer; a full queue drops it and counts it.
    #[inline]
    pub fn push(&self, record: Record) {
        let Some(queue) = self.lane.queue.get() else {
            return;
        };
        if queue.push(record).is_err() {
            self.metrics.access_log_dropped.add(1);
        }
    }

    /// Evenly spread over 0 to 2^32 - 1 (the SplitMix64 generator); which requests are sampled is no secret.
    fn roll(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 32
    }
}

impl Lane {
    fn allocate(&self) {
        self.queue.get_or_init(|| ArrayQueue::new(QUEUE_RECORDS));
    }

    fn pop(&self) -> Option<Record> {
        self.queue.get()?.pop()
    }
}

/// Records that one data thread can be ahead of the writer; about 4 MB while the log is on.
const QUEUE_RECORDS: usize = 4096;
const ALL: u64 = 1 << 32;
const OFF: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access::record::tests::sample_record;
    use crate::telemetry::{AccessLogOptions, LogFormat};

    fn sender(output: LogOutput, sample: f64) -> (Sender, Writer) {
        let options = Options { format: LogFormat::Json, access: AccessLogOptions { output, sample } };
        let metrics = Metrics::new(&[], &[]);
        let thread = metrics.thread(0);
        let (log, writer) = AccessLog::open(&options, metrics).unwrap();
        (log.sender(thread), writer)
    }

    fn share(sender: &Sender) -> f64 {
        (0..10_000).filter(|_| sender.wants(Ending::Forwarded)).count() as f64 / 10_000.0
    }

    #[test]
    fn a_log_that_is_off_wants_nothing_and_has_no_queue() {
        let (sender, _writer) = sender(LogOutput::Off, 1.0);
        assert!(!sender.wants(Ending::Forwarded) && !sender.wants(Ending::Refused));
        sender.push(sample_record());
        assert!(sender.lane.queue.get().is_none());
    }

    #[test]
    fn refused_requests_are_always_wanted_and_forwarded_ones_by_sample() {
        for (sample, low, high) in [(0.0, 0.0, 0.0), (0.1, 0.09, 0.11), (0.5, 0.48, 0.52), (1.0, 1.0, 1.0)] {
            let (sender, _writer) = sender(LogOutput::Stdout, sample);
            assert!((low..=high).contains(&share(&sender)), "{sample}");
            assert!((0..100).all(|_| sender.wants(Ending::Refused)), "{sample}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (sender, _writer) = sender(LogOutput::Stdout, 1.0);
        for _ in 0..QUEUE_RECORDS + 3 {
            sender.push(sample_record());
        }
        assert_eq!(sender.metrics.access_log_dropped.value(), 3);
        assert_eq!(sender.lane.queue.get().unwrap().len(), QUEUE_RECORDS);
    }
}

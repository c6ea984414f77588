//! Steps of the wall clock: noticed by whoever seals, so that usage of the minutes around them can be told to be doubtful.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::meter::ledger::Minute;
use crate::telemetry::log;
use crate::time::{self, Timestamp};

/// Notices when the wall clock is set.
pub(super) struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// As it is set now.
    pub(super) fn new() -> Self {
        Self { offset_ms: Self::offset_ms() }
    }

    /// Marks the minutes before and after a step of more than a minute; whether there was one.
    pub(super) fn look(&mut self, doubtful: &Mutex<BTreeSet<Minute>>) -> bool {
        let (before, after) = (self.offset_ms, Self::offset_ms());
        self.offset_ms = after;
        if (after - before).unsigned_abs() < STEP_MS {
            return false;
        }
        log::warn("the clock was set; usage of these minutes is marked as doubtful", &[("by_ms", &(after - before))]);
        let now = time::wall(time::now());
        let mut doubtful = doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        for at in [now, Timestamp::from_unix_ms(now.as_unix_ms() - (after - before))] {
            doubtful.insert(Minute::of(at));
        }
        while doubtful.len() > DOUBTFUL_KEPT {
            doubtful.pop_first();
        }
        true
    }

    fn offset_ms() -> i64 {
        let now = time::now();
        time::wall(now).as_unix_ms() - i64::try_from(now.as_ns() / 1_000_000).unwrap_or(i64::MAX / 2)
    }
}

const STEP_MS: u64 = 60_000;
const DOUBTFUL_KEPT: usize = 256;

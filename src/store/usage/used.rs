//! Sums of usage, as they stand in a row and in a report.
//!
//! Sums stop at the greatest number that a row can hold instead of beginning anew, so that one absurd value of an upstream
//! neither makes others smaller nor stops the store.

use std::time::Duration;

use rusqlite::Row;

use crate::meter::ledger::{Amount, Band};
use crate::store::StoreError;

/// How much was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Completed requests.
    pub requests: u64,
    /// What is billed.
    pub units: u64,
    /// Bytes from the clients.
    pub bytes_in: u64,
    /// Bytes to the clients.
    pub bytes_out: u64,
    /// What the requests took, all together.
    pub latency: Duration,
    /// How many of the requests took how long, in the order of [`Band::ALL`].
    pub took: [u64; Band::ALL.len()],
}

/// The columns of [`Used`] in `minutes`, `hours` and `days`.
pub(super) const SUMS: &str =
    "requests, units, bytes_in, bytes_out, latency_ns, under_10ms, under_100ms, under_1s, over_1s";

impl Used {
    /// By requests that all took about as long.
    pub(super) fn of(amount: &Amount, band: Band) -> Self {
        let mut took = [0; Band::ALL.len()];
        took[band as usize] = amount.requests;
        let Amount { requests, units, bytes_in, bytes_out, latency_ns } = *amount;
        Self { requests, units, bytes_in, bytes_out, latency: Duration::from_nanos(latency_ns), took }
    }

    /// Adds more.
    pub fn add(&mut self, more: &Self) {
        let each = [
            (&mut self.requests, more.requests),
            (&mut self.units, more.units),
            (&mut self.bytes_in, more.bytes_in),
            (&mut self.bytes_out, more.bytes_out),
        ];
        for (sum, more) in each.into_iter().chain(self.took.iter_mut().zip(more.took)) {
            *sum = sum.saturating_add(more).min(MAX);
        }
        self.latency = self.latency.saturating_add(more.latency);
    }

    /// The columns [`SUMS`] of a row, from this column on.
    pub(super) fn read(row: &Row<'_>, first: usize) -> Result<Self, StoreError> {
        let value = |column| Ok::<u64, StoreError>(row.get::<_, i64>(first + column)?.cast_unsigned());
        Ok(Self {
            requests: value(0)?,
            units: value(1)?,
            bytes_in: value(2)?,
            bytes_out: value(3)?,
            latency: Duration::from_nanos(value(4)?),
            took: [value(5)?, value(6)?, value(7)?, value(8)?],
        })
    }

    /// The values of [`SUMS`].
    pub(super) fn row(&self) -> [i64; 9] {
        let latency_ns = u64::try_from(self.latency.as_nanos()).unwrap_or(MAX);
        let [a, b, c, d] = self.took;
        [self.requests, self.units, self.bytes_in, self.bytes_out, latency_ns, a, b, c, d].map(column)
    }

    /// The same in a bucket.
    pub(super) fn amount(&self) -> Amount {
        let latency_ns = u64::try_from(self.latency.as_nanos()).unwrap_or(MAX);
        let Self { requests, units, bytes_in, bytes_out, .. } = *self;
        Amount { requests, units, bytes_in, bytes_out, latency_ns }
    }
}

/// As much of a count as a column can hold.
pub(super) fn column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const MAX: u64 = i64::MAX.cast_unsigned();

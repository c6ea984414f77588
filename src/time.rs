//! The only reader of the system clock: monotonic instants for durations, wall-clock timestamps for records.
//!
//! Everything below takes `now` as an argument. The wall time is derived from the monotonic one through an anchor, which the
//! control thread moves once a second ([`realign`]), so that one reading gives both.

#![allow(clippy::disallowed_methods, reason = "this is the one place that may")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A monotonic instant: nanoseconds since an arbitrary point before the system started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A point of wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The monotonic clock, read now.
pub fn now() -> Instant {
    let since_boot = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative, and 64 bits hold five centuries.
    Instant(HEAD_START_NS + since_boot.tv_sec.cast_unsigned() * 1_000_000_000 + since_boot.tv_nsec.cast_unsigned())
}

/// The wall-clock time that belongs to a monotonic reading of about now.
pub fn wall(now: Instant) -> Timestamp {
    let offset = OFFSET_MS.load(Ordering::Relaxed);
    if offset == UNALIGNED {
        realign();
        return wall(now);
    }
    Timestamp(now.millis() + offset)
}

/// Reads the system's wall clock and moves the anchor between the two clocks to it.
pub fn realign() {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX / 2);
    OFFSET_MS.store(unix_ms - now().millis(), Ordering::Relaxed);
}

impl Instant {
    /// An instant from its nanoseconds, as [`Instant::as_ns`] gives them.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the arbitrary origin.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `duration` after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_ns(duration)))
    }

    fn millis(self) -> i64 {
        (self.0 / 1_000_000).cast_signed()
    }
}

impl Timestamp {
    /// A timestamp from milliseconds since the Unix epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Instants begin at one day, so that "a while before now" is never below zero.
const HEAD_START_NS: u64 = 86_400_000_000_000;
const UNALIGNED: i64 = i64::MIN;
static OFFSET_MS: AtomicI64 = AtomicI64::new(UNALIGNED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let readings: Vec<Instant> = (0..1000).map(|_| now()).collect();
        assert!(readings.is_sorted());
    }

    #[test]
    fn wall_time_follows_the_system_clock() {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ours = wall(now()).as_unix_ms();
        assert!((ours - i64::try_from(system.as_millis()).unwrap()).abs() < 5_000);
    }
}

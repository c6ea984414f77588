//! Health of one address: after repeated failures it is left alone, each time for longer.
//!
//! Shared by all threads, a few relaxed words; a lost update costs one more attempt, never correctness. What clients could
//! provoke counts apart: it makes other addresses preferred, but never leaves an upstream without one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Instant;

/// How one address has done lately.
#[derive(Debug, Default)]
pub struct Health {
    /// Connects that failed.
    pub connecting: Failures,
    /// Fresh connections that died without a byte of answer.
    pub answering: Failures,
}

/// Failures of one kind in a row, and until when the address is left alone for them.
#[derive(Debug, Default)]
pub struct Failures {
    in_a_row: AtomicU32,
    until_ns: AtomicU64,
}

impl Health {
    /// Whether nothing speaks against it.
    pub fn is_good(&self, now: Instant) -> bool {
        self.is_reachable(now) && self.answering.pause(now).is_zero()
    }

    /// Whether it may be tried at all.
    pub fn is_reachable(&self, now: Instant) -> bool {
        self.connecting.pause(now).is_zero()
    }
}

impl Failures {
    /// How long the address is still to be left alone.
    pub fn pause(&self, now: Instant) -> Duration {
        Instant::from_ns(self.until_ns.load(Ordering::Relaxed)).since(now)
    }

    /// Whether it has failed so often that the address is left alone between two attempts.
    pub fn are_repeated(&self) -> bool {
        self.in_a_row.load(Ordering::Relaxed) >= TOLERATED_FAILURES
    }

    /// Whether the last attempt worked, or there was none.
    pub fn are_over(&self) -> bool {
        self.in_a_row.load(Ordering::Relaxed) == 0
    }

    /// Takes in that it worked.
    pub fn end(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
            self.until_ns.store(0, Ordering::Relaxed);
        }
    }

    /// Takes in that it failed.
    pub fn add(&self, now: Instant) {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if let Some(round) = in_a_row.checked_sub(TOLERATED_FAILURES) {
            let pause = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(LONGEST_PAUSE);
            self.until_ns.store(now.after(pause).as_ns(), Ordering::Relaxed);
        }
    }
}

/// So many failures in a row put an address aside.
const TOLERATED_FAILURES: u32 = 3;
/// For so long the first time, twice as long each further time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// But never for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_ns(1_000_000_000);

    #[test]
    fn single_failures_are_tolerated() {
        let failures = Failures::default();
        for _ in 0..2 {
            failures.add(START);
            failures.add(START);
            assert!(failures.pause(START).is_zero());
            failures.end();
        }
    }

    #[test]
    fn repeated_failures_put_it_aside_for_longer_and_longer() {
        let failures = Failures::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            failures.add(START);
            pauses.push(failures.pause(START));
        }
        assert_eq!(pauses[2], FIRST_PAUSE);
        assert!(pauses[2..].is_sorted());
        assert_eq!(pauses[9], LONGEST_PAUSE);
        assert!(failures.pause(START.after(LONGEST_PAUSE)).is_zero());
    }

    #[test]
    fn what_clients_could_provoke_leaves_it_reachable() {
        let health = Health::default();
        (0..5).for_each(|_| health.answering.add(START));
        assert!(!health.is_good(START) && health.is_reachable(START));
        (0..5).for_each(|_| health.connecting.add(START));
        assert!(!health.is_reachable(START));
    }

    #[test]
    fn one_success_forgets_everything() {
        let failures = Failures::default();
        (0..5).for_each(|_| failures.add(START));
        failures.end();
        assert!(failures.pause(START).is_zero());
    }
}

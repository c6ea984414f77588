//! What keys have used of their quotas: one atomic word per key and period, exact under parallel use.
//!
//! Kept by key id, so that no change of a key, its plan or its source gives a second allowance. Filled at the start with what
//! ledger and store know. Called by `gateway::admit`; a key's first use of a quota allocates, no other does.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustc_hash::FxBuildHasher;

use crate::key::{Extra, KeyId};
use crate::policy::{Period, Quota};
use crate::time::Timestamp;

/// What all keys have used in the periods that are running.
#[derive(Debug, Default)]
pub struct Quotas {
    keys: papaya::HashMap<KeyId, Arc<Used>, FxBuildHasher>,
}

/// What one key has used.
#[derive(Debug, Default)]
struct Used {
    /// By [`Period::ALL`]: the period's number above, the units below.
    words: [AtomicU64; Period::ALL.len()],
}

/// How a key stands with one of its quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaStanding {
    /// Which of the plan's quotas.
    pub index: u8,
    /// What it gives, with what the key has extra.
    pub allowed: u64,
    /// What is used of it.
    pub used: u64,
}

/// A threshold that a request has crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Which of the plan's quotas.
    pub index: u8,
    /// What it gives, with what the key has extra.
    pub allowed: u64,
    /// 80 or 100.
    pub percent: u8,
}

impl Quotas {
    /// Whether `cost` more can be taken from every quota; nothing is taken.
    ///
    /// # Errors
    /// The standing with the quota whose end is furthest away, of those that are used up.
    pub fn probe(
        &self,
        key: &KeyId,
        quotas: &[Quota],
        extra: Extra,
        cost: u64,
        now: Timestamp,
    ) -> Result<(), QuotaStanding> {
        let refused = self.standings(key, quotas, extra, now).filter(|standing| !standing.has_room(cost));
        refused.max_by_key(|standing| quotas[usize::from(standing.index)].period).map_or(Ok(()), Err)
    }

    /// Takes `cost` from every quota, or from none; tells of each threshold that this has crossed. The standing afterwards with
    /// the quota that has the least left.
    ///
    /// # Errors
    /// As [`Quotas::probe`].
    ///
    /// # Panics
    /// If there are no quotas.
    pub fn take(
        &self,
        key: &KeyId,
        quotas: &[Quota],
        extra: Extra,
        cost: u64,
        now: Timestamp,
        mut crossed: impl FnMut(Crossed),
    ) -> Result<QuotaStanding, QuotaStanding> {
        let mut nearest: Option<QuotaStanding> = None;
        let keys = self.keys.pin();
        let used = keys.get(key).unwrap_or_else(|| keys.get_or_insert_with(key.clone(), Arc::default));
        for (place, quota) in quotas.iter().enumerate() {
            let index = place as u8;
            match used.take(quota, extra, cost, now) {
                Ok(before) => {
                    let standing = QuotaStanding { index, allowed: allowed(quota, extra), used: before + cost };
                    report(&standing, before, &mut crossed);
                    nearest = nearest.into_iter().chain([standing]).min_by_key(QuotaStanding::remaining);
                }
                Err(standing) => {
                    quotas[..place].iter().for_each(|taken| used.give_back(taken.period, cost, now));
                    return Err(QuotaStanding { index, ..standing });
                }
            }
        }
        // The ledger charges both periods, and so does a restart: a plan with a quota of the other one finds what was used.
        let others = Period::ALL.into_iter().filter(|period| quotas.iter().all(|quota| quota.period != *period));
        others.for_each(|period| used.add(period, cost, now));
        Ok(nearest.expect("there is a quota"))
    }

    /// How a key stands with each of its quotas.
    pub fn standings(
        &self,
        key: &KeyId,
        quotas: &[Quota],
        extra: Extra,
        now: Timestamp,
    ) -> impl Iterator<Item = QuotaStanding> {
        let used = self.keys.pin().get(key).cloned();
        (0_u8..).zip(quotas).map(move |(index, quota)| {
            let of_period = |used: &Arc<Used>| counted(used.word(quota.period).load(Relaxed), quota.period.number(now));
            QuotaStanding { index, allowed: allowed(quota, extra), used: used.as_ref().map_or(0, of_period) }
        })
    }

    /// Adds what a key is known to have used in the period that `at` is in. For the start.
    pub fn restore(&self, key: &KeyId, period: Period, units: u64, at: Timestamp) {
        let keys = self.keys.pin();
        let used = keys.get_or_insert_with(key.clone(), Arc::default);
        used.add(period, units, at);
    }
}

impl Used {
    fn word(&self, period: Period) -> &AtomicU64 {
        &self.words[period as usize]
    }

    /// Takes `cost` if there is room for it: what was used before.
    fn take(&self, quota: &Quota, extra: Extra, cost: u64, now: Timestamp) -> Result<u64, QuotaStanding> {
        let (word, number, allowed) = (self.word(quota.period), quota.period.number(now), allowed(quota, extra));
        let mut seen = word.load(Relaxed);
        loop {
            let used = counted(seen, number);
            let standing = QuotaStanding { index: 0, allowed, used };
            if !standing.has_room(cost) {
                return Err(standing);
            }
            // A thread whose clock is a little behind at a period's turn does not bring the old period back.
            let into = number.max(period_of(seen));
            match word.compare_exchange_weak(seen, packed(into, used + cost), Relaxed, Relaxed) {
                Ok(_) => return Ok(used),
                Err(other) => seen = other,
            }
        }
    }

    fn give_back(&self, period: Period, cost: u64, now: Timestamp) {
        let number = period.number(now);
        let less = |seen: u64| (period_of(seen) == number).then(|| packed(number, units_of(seen).saturating_sub(cost)));
        // An error says that another period has begun.
        let _ = self.word(period).fetch_update(Relaxed, Relaxed, less);
    }

    fn add(&self, period: Period, units: u64, at: Timestamp) {
        let number = period.number(at);
        let more = |seen: u64| {
            (period_of(seen) <= number).then(|| packed(number, counted(seen, number).saturating_add(units)))
        };
        // An error says that a later period is being counted already.
        let _ = self.word(period).fetch_update(Relaxed, Relaxed, more);
    }
}

impl QuotaStanding {
    /// What is left.
    pub const fn remaining(&self) -> u64 {
        self.allowed.saturating_sub(self.used)
    }

    const fn has_room(&self, cost: u64) -> bool {
        cost <= self.remaining()
    }
}

/// What a quota gives, with what a key has extra.
fn allowed(quota: &Quota, extra: Extra) -> u64 {
    let more = match quota.period {
        Period::Day => extra.day,
        Period::Month => extra.month,
    };
    quota.requests.get().saturating_add(more).min(UNITS_MAX)
}

/// Tells of the thresholds between what was used before and what is used now.
fn report(standing: &QuotaStanding, before: u64, crossed: &mut impl FnMut(Crossed)) {
    for percent in [80, 100] {
        let threshold = (u128::from(standing.allowed) * u128::from(percent)).div_ceil(100);
        if u128::from(before) < threshold && threshold <= u128::from(standing.used) {
            crossed(Crossed { index: standing.index, allowed: standing.allowed, percent });
        }
    }
}

/// What a word says of this period. One of a later period counts in full: the clock of whoever asks is behind.
const fn counted(word: u64, number: u32) -> u64 {
    if period_of(word) < number { 0 } else { units_of(word) }
}

const fn packed(number: u32, units: u64) -> u64 {
    let units = if units > UNITS_MAX { UNITS_MAX } else { units };
    (number as u64) << UNIT_BITS | units
}

const fn period_of(word: u64) -> u32 {
    (word >> UNIT_BITS) as u32
}

const fn units_of(word: u64) -> u64 {
    word & UNITS_MAX
}

/// 17 trillion units per period, and days until the year 4840.
const UNIT_BITS: u32 = 44;
const UNITS_MAX: u64 = (1 << UNIT_BITS) - 1;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::thread;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn key() -> KeyId {
        "key_a".parse().unwrap()
    }

    fn quota(period: Period, requests: u64) -> Quota {
        Quota { name: "q".parse().unwrap(), requests: NonZeroU64::new(requests).unwrap(), period }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_unix_ms((20_000 + day) * DAY_MS + 5)
    }

    fn take(quotas: &Quotas, of: &[Quota], cost: u64, now: Timestamp) -> Result<Vec<Crossed>, QuotaStanding> {
        let mut crossed = Vec::new();
        quotas.take(&key(), of, Extra::default(), cost, now, |one| crossed.push(one)).map(|_| crossed)
    }

    #[test]
    fn eight_threads_get_exactly_what_a_quota_gives() {
        let quotas = Quotas::default();
        let of = [quota(Period::Month, 10_000), quota(Period::Day, 20_000)];
        let admitted: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..5_000).filter(|_| take(&quotas, &of, 1, at(0)).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 10_000);
        let used: Vec<u64> =
            quotas.standings(&key(), &of, Extra::default(), at(0)).map(|standing| standing.used).collect();
        assert_eq!(used, [10_000, 10_000]);
    }

    #[test]
    fn a_new_period_begins_anew_and_the_old_one_never_comes_back() {
        let quotas = Quotas::default();
        let of = [quota(Period::Day, 2)];
        assert!(take(&quotas, &of, 2, at(0)).is_ok());
        assert!(take(&quotas, &of, 1, at(0)).is_err());
        assert!(take(&quotas, &of, 1, at(1)).is_ok());
        // A clock that is behind counts in the period that has begun.
        assert!(take(&quotas, &of, 1, at(0)).is_ok());
        assert!(take(&quotas, &of, 1, at(0)).is_err());
        assert!(take(&quotas, &of, 1, at(1)).is_err());
    }

    #[test]
    fn all_quotas_give_or_none_does() {
        let quotas = Quotas::default();
        let of = [quota(Period::Day, 10), quota(Period::Month, 3)];
        assert!(take(&quotas, &of, 3, at(0)).is_ok());
        let refused = take(&quotas, &of, 1, at(0)).unwrap_err();
        assert_eq!(refused, QuotaStanding { index: 1, allowed: 3, used: 3 });
        let used: Vec<u64> =
            quotas.standings(&key(), &of, Extra::default(), at(0)).map(|standing| standing.used).collect();
        assert_eq!(used, [3, 3]);
        assert_eq!(quotas.probe(&key(), &of, Extra::default(), 1, at(0)), Err(refused));
    }

    #[test]
    fn who_moves_to_a_quota_of_the_other_period_has_used_there_what_was_charged_before() {
        let quotas = Quotas::default();
        assert!(take(&quotas, &[quota(Period::Day, 10)], 4, at(0)).is_ok());
        let monthly = [quota(Period::Month, 5)];
        let refused = take(&quotas, &monthly, 2, at(0)).unwrap_err();
        assert_eq!(refused, QuotaStanding { index: 0, allowed: 5, used: 4 });
        assert!(take(&quotas, &monthly, 1, at(0)).is_ok());
    }

    #[test]
    fn what_is_extra_counts_at_once() {
        let quotas = Quotas::default();
        let of = [quota(Period::Month, 1)];
        assert!(take(&quotas, &of, 1, at(0)).is_ok());
        let extra = Extra { day: 0, month: 2 };
        assert_eq!(quotas.probe(&key(), &of, extra, 2, at(0)), Ok(()));
        assert!(quotas.probe(&key(), &of, extra, 3, at(0)).is_err());
    }

    #[test]
    fn each_threshold_is_told_once() {
        let quotas = Quotas::default();
        let of = [quota(Period::Month, 7)];
        let told: Vec<Vec<u8>> = (0..7)
            .map(|_| take(&quotas, &of, 1, at(0)).unwrap().iter().map(|crossed| crossed.percent).collect())
            .collect();
        // 80 % of 7 are 5.6.
        assert_eq!(told, [vec![], vec![], vec![], vec![], vec![], vec![80], vec![100]]);
        let quotas = Quotas::default();
        let both: Vec<u8> = take(&quotas, &of, 7, at(0)).unwrap().iter().map(|crossed| crossed.percent).collect();
        assert_eq!(both, [80, 100]);
    }

    #[test]
    fn what_was_used_before_a_restart_is_used() {
        let quotas = Quotas::default();
        let of = [quota(Period::Month, 10)];
        quotas.restore(&key(), Period::Month, 4, at(0));
        quotas.restore(&key(), Period::Month, 5, at(1));
        assert!(take(&quotas, &of, 1, at(1)).is_ok());
        assert!(take(&quotas, &of, 1, at(1)).is_err());
    }
}

//! Limits from outside: against `governor`, against an exact model, under parallel takers, and across changed terms.

use std::cmp::Reverse;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use governor::clock::{Clock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Allowance, Limit, LimitError, MAX_LIMITS, Refused, State, carry_over, peek, take};
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const START: Instant = Instant::from_ns(86_400_000_000_000);

fn limit(requests: u64, per: Duration, burst: u64) -> Limit {
    Limit::new("test".parse().unwrap(), requests, per, burst).unwrap()
}

fn plan(limits: impl IntoIterator<Item = Limit>) -> Vec<Limit> {
    limits.into_iter().enumerate().map(|(slot, limit)| limit.with_slot(slot)).collect()
}

fn admitted(outcome: Result<Allowance, Refused>) -> u64 {
    u64::from(outcome.is_ok())
}

#[test]
fn six_per_minute_count_down_and_come_back_every_ten_seconds() {
    let (limits, state) = (plan([limit(6, MINUTE, 6)]), State::default());
    for remaining in (0..6).rev() {
        let reset = 10 * SECOND * (6 - remaining as u32);
        assert_eq!(take(&limits, &state, 1, START), Ok(Allowance { index: 0, remaining, reset }));
    }
    for tens in 1..5 {
        let refused = Refused { index: 0, retry_after: 10 * SECOND, remaining: 0, reset: MINUTE };
        let now = START.after(10 * SECOND * (tens - 1));
        assert_eq!(take(&limits, &state, 1, now), Err(refused));
        assert_eq!(take(&limits, &state, 1, now.after(10 * SECOND)).map(|a| a.remaining), Ok(0));
    }
}

#[test]
fn terms_out_of_range_are_refused() {
    let check = |requests, per, burst, expected: Option<LimitError>| {
        assert_eq!(
            Limit::new("test".parse().unwrap(), requests, per, burst).err(),
            expected,
            "{requests} {per:?} {burst}"
        );
    };
    check(1, Duration::from_millis(1), 1, None);
    check(1, 31 * DAY, 1, None);
    check(1_000, Duration::from_millis(1), 1_000_000, None);
    check(1_000_000, SECOND, 1_000_000, None);
    check(1_000_001, SECOND, 1, Some(LimitError::TooFast));
    check(u64::MAX, SECOND, u64::MAX, Some(LimitError::TooFast));
    check(0, SECOND, 1, Some(LimitError::Requests));
    check(1, SECOND, 0, Some(LimitError::Burst));
    check(1, Duration::from_micros(999), 1, Some(LimitError::Per));
    check(1, 31 * DAY + Duration::from_nanos(1), 1, Some(LimitError::Per));
    check(1, Duration::MAX, 1, Some(LimitError::Per));
    check(1, 31 * DAY, 1_000, Some(LimitError::RefillTooLong));
    check(1, SECOND, u64::MAX, Some(LimitError::RefillTooLong));
}

#[test]
fn a_limit_that_does_not_divide_evenly_never_admits_more() {
    let (limits, state) = (plan([limit(7, SECOND, 1)]), State::default());
    let seventh = Duration::from_nanos(142_857_143);
    assert!(take(&limits, &state, 1, START).is_ok());
    assert_eq!(take(&limits, &state, 1, START).unwrap_err().retry_after, seventh);
    assert!(take(&limits, &state, 1, START.after(seventh - Duration::from_nanos(1))).is_err());
    assert!(take(&limits, &state, 1, START.after(seventh)).is_ok());
}

#[test]
fn a_reset_does_not_show_the_rounding_of_the_interval() {
    let (limits, state) = (plan([limit(7, SECOND, 7)]), State::default());
    assert_eq!(take(&limits, &state, 7, START).map(|a| a.reset), Ok(SECOND));
}

#[test]
fn a_cost_above_the_burst_is_refused_and_takes_nothing() {
    let (limits, state) = (plan([limit(10, SECOND, 10), limit(100, MINUTE, 5)]), State::default());
    let refused = take(&limits, &state, 6, START).unwrap_err();
    assert_eq!((refused.index, refused.retry_after, refused.remaining), (1, Duration::ZERO, 5));
    assert_eq!(peek(&limits, &state, START).remaining, 5);
    take(&limits, &state, 2, START).unwrap();
    assert_eq!(take(&limits, &state, 6, START).unwrap_err().retry_after, Duration::from_millis(1_200));
    assert_eq!(take(&limits, &state, u64::MAX, START).unwrap_err().index, 1);
}

#[test]
fn a_cost_of_nothing_is_admitted_when_nothing_is_left() {
    let (limits, state) = (plan([limit(1, HOUR, 1)]), State::default());
    take(&limits, &state, 1, START).unwrap();
    assert_eq!(take(&limits, &state, 0, START), Ok(peek(&limits, &state, START)));
}

#[test]
fn a_plan_without_limits_admits_everything() {
    let allowance = take(&[], &State::default(), 1_000_000, START).unwrap();
    assert_eq!((allowance.remaining, allowance.reset), (u64::MAX, Duration::ZERO));
}

#[test]
fn what_one_limit_refuses_takes_nothing_from_the_others() {
    let (limits, state) = (plan([limit(100, HOUR, 100), limit(1, MINUTE, 1), limit(2, HOUR, 2)]), State::default());
    take(&limits, &state, 1, START).unwrap();
    for _ in 0..10 {
        let refused = take(&limits, &state, 1, START).unwrap_err();
        assert_eq!((refused.index, refused.retry_after), (1, MINUTE));
    }
    assert_eq!(peek(&limits[..1], &state, START).remaining, 99);
    assert_eq!(peek(&limits[2..], &state, START).remaining, 1);
    take(&limits, &state, 1, START.after(MINUTE)).unwrap();
    let refused = take(&limits, &state, 1, START.after(MINUTE)).unwrap_err();
    assert_eq!((refused.index, refused.retry_after), (2, 29 * MINUTE), "the longest refusal is told");
}

#[test]
fn a_thread_whose_clock_is_behind_takes_at_the_time_of_the_key() {
    let (limits, state) = (plan([limit(1, SECOND, 1)]), State::default());
    let later = START.after(10 * SECOND);
    take(&limits, &state, 1, later).unwrap();
    assert_eq!(take(&limits, &state, 1, START).unwrap_err().retry_after, SECOND);
    assert_eq!(take(&limits, &state, 1, later).unwrap_err().retry_after, SECOND, "the older clock has changed nothing");
}

#[test]
fn peeking_takes_nothing() {
    let (limits, state) = (plan([limit(3, SECOND, 3)]), State::default());
    for _ in 0..10 {
        assert_eq!(peek(&limits, &state, START), Allowance { index: 0, remaining: 3, reset: Duration::ZERO });
    }
    assert_eq!(take(&limits, &state, 1, START), Ok(peek(&limits, &state, START)));
}

/// Leaky buckets, written down in another way than GCRA: nanoseconds of refill used, drained as time passes.
#[derive(Clone)]
struct Model {
    buckets: Vec<Bucket>,
    now_ns: u128,
}

#[derive(Clone)]
struct Bucket {
    interval_ns: u128,
    burst: u128,
    used_ns: u128,
}

impl Model {
    fn new(limits: &[Limit]) -> Self {
        let bucket = |limit: &Limit| {
            let interval_ns = limit.per().as_nanos().div_ceil(u128::from(limit.requests()));
            Bucket { interval_ns, burst: u128::from(limit.burst()), used_ns: 0 }
        };
        Self { buckets: limits.iter().map(bucket).collect(), now_ns: 0 }
    }

    /// The model at `now`, or at the last admitted request if that was later.
    fn at(&self, now: Instant) -> Self {
        let mut later = self.clone();
        later.now_ns = later.now_ns.max(u128::from(now.as_ns()));
        for bucket in &mut later.buckets {
            bucket.used_ns = bucket.used_ns.saturating_sub(later.now_ns - self.now_ns);
        }
        later
    }

    fn take(&mut self, cost: u64, now: Instant) -> Result<Allowance, Refused> {
        let mut later = self.at(now);
        let waits = later.buckets.iter().map(|b| b.wait_ns(u128::from(cost)));
        let longest = waits.enumerate().filter_map(|(i, wait)| wait.map(|w| (w, Reverse(i)))).max();
        if let Some((wait_ns, Reverse(index))) = longest {
            let Allowance { index, remaining, reset } = later.buckets[index].allowance(index);
            return Err(Refused { index, retry_after: Duration::from_nanos(wait_ns as u64), remaining, reset });
        }
        for bucket in &mut later.buckets {
            bucket.used_ns += bucket.interval_ns * u128::from(cost);
        }
        *self = later;
        let allowances = self.buckets.iter().enumerate().map(|(i, b)| b.allowance(i));
        Ok(allowances.min_by_key(|a| (a.remaining, Reverse(a.reset))).unwrap())
    }
}

impl Bucket {
    fn wait_ns(&self, cost: u128) -> Option<u128> {
        if cost > self.burst {
            return Some(self.used_ns);
        }
        let level = self.used_ns + cost * self.interval_ns;
        level.checked_sub(self.burst * self.interval_ns).filter(|&over| over > 0)
    }

    fn allowance(&self, index: usize) -> Allowance {
        let remaining = ((self.burst * self.interval_ns - self.used_ns) / self.interval_ns) as u64;
        Allowance { index: index as u8, remaining, reset: Duration::from_millis((self.used_ns / 1_000_000) as u64) }
    }
}

fn terms() -> impl Strategy<Value = Limit> {
    let per = prop_oneof![Just(SECOND), Just(MINUTE), Just(HOUR), (1_u64..5_000).prop_map(Duration::from_millis)];
    (1_u64..20, per, 1_u64..20).prop_map(|(requests, per, burst)| limit(requests, per, burst))
}

fn steps() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => Just(Duration::ZERO),
        2 => (0_u64..3_000_000_000).prop_map(Duration::from_nanos),
        1 => (0_u64..600).prop_map(Duration::from_secs),
    ]
}

proptest! {
    #[test]
    fn a_single_limit_does_what_governor_does(terms in terms(), steps in vec(steps(), 1..100)) {
        let interval = Duration::from_nanos(terms.per().as_nanos().div_ceil(u128::from(terms.requests())) as u64);
        let burst = NonZeroU32::new(terms.burst() as u32).unwrap();
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(interval).unwrap().allow_burst(burst);
        let oracle = RateLimiter::direct_with_clock(quota, clock.clone());
        let (limits, state, mut now) = (plan([terms]), State::default(), START);
        for step in steps {
            clock.advance(step);
            now = now.after(step);
            let expected = oracle.check().map_err(|not_until| not_until.wait_time_from(clock.now()));
            prop_assert_eq!(take(&limits, &state, 1, now).map(drop).map_err(|r| r.retry_after), expected);
        }
    }

    #[test]
    fn several_limits_with_costs_do_what_the_model_does(
        terms in vec(terms(), 1..=MAX_LIMITS),
        steps in vec((steps(), 1_u64..22, 0_u64..1_000_000_000), 1..100),
    ) {
        let (limits, state, mut now) = (plan(terms), State::default(), START);
        let mut model = Model::new(&limits);
        for (step, cost, behind_ns) in steps {
            now = now.after(step);
            let read = Instant::from_ns(now.as_ns() - behind_ns);
            prop_assert_eq!(take(&limits, &state, cost, read), model.take(cost, read));
        }
    }

    #[test]
    fn a_refused_request_is_admitted_after_the_wait_and_not_before(
        terms in vec(terms(), 1..=MAX_LIMITS),
        costs in vec(1_u64..20, 1..50),
    ) {
        let (limits, mut now) = (plan(terms), START);
        let (state, burst) = (State::default(), limits.iter().map(Limit::burst).min().unwrap());
        for cost in costs.into_iter().filter(|&cost| cost <= burst) {
            let Err(refused) = take(&limits, &state, cost, now) else { continue };
            let almost = refused.retry_after - Duration::from_nanos(1);
            prop_assert!(take(&limits, &state, cost, now.after(almost)).is_err());
            now = now.after(refused.retry_after);
            prop_assert!(take(&limits, &state, cost, now).is_ok());
        }
    }

    #[test]
    fn changed_terms_keep_what_was_used_and_lock_for_one_refill_at_most(old in terms(), new in terms(), used in 0_u64..20) {
        let state = State::default();
        let used = used.min(old.burst());
        let new = [new.succeeding(&old, START)];
        take(&[old], &state, used, START).unwrap();
        let left = new[0].burst().saturating_sub(used);
        prop_assert_eq!(peek(&new, &state, START).remaining, left);
        let refill = (new[0].per().as_nanos().div_ceil(u128::from(new[0].requests())) * u128::from(new[0].burst())) as u64;
        prop_assert_eq!(peek(&new, &state, START.after(Duration::from_nanos(refill))).remaining, new[0].burst());
    }

    #[test]
    fn cells_of_unknown_terms_lock_for_one_refill_at_most(old in terms(), new in terms()) {
        let state = State::default();
        take(std::slice::from_ref(&old), &state, old.burst(), START).unwrap();
        let refill = (new.per().as_nanos().div_ceil(u128::from(new.requests())) * u128::from(new.burst())) as u64;
        let new = [new];
        let _ = take(&new, &state, u64::MAX, START);
        let full = START.after(Duration::from_nanos(refill));
        prop_assert_eq!(peek(&new, &state, full).remaining, new[0].burst());
    }
}

#[test]
fn changed_terms_give_no_fresh_allowance() {
    let check = |old: Limit, used, new: Limit, expected| {
        let state = State::default();
        let new = [new.succeeding(&old, START)];
        take(&[old], &state, used, START).unwrap();
        let total = (0..1_000).map(|_| admitted(take(&new, &state, 1, START))).sum::<u64>();
        assert_eq!(total, expected, "{used} used, then {} per {:?}", new[0].requests(), new[0].per());
    };
    check(limit(5, HOUR, 5), 5, limit(5, HOUR, 5), 0);
    check(limit(5, HOUR, 5), 5, limit(10, HOUR, 10), 5);
    check(limit(10, HOUR, 10), 3, limit(5, HOUR, 5), 2);
    check(limit(10, HOUR, 10), 10, limit(5, HOUR, 5), 0);
    check(limit(5, HOUR, 5), 5, limit(5, DAY, 5), 0);
    check(limit(5, DAY, 5), 5, limit(5, SECOND, 5), 0);
    check(limit(5, HOUR, 5), 4, limit(5, SECOND, 5), 1);
    check(limit(10, SECOND, 10), 10, limit(600, MINUTE, 600), 590);
    check(limit(10, SECOND, 5), 5, limit(10, SECOND, 8), 3);
}

#[test]
fn terms_changed_many_times_still_know_what_was_used() {
    let (state, mut terms) = (State::default(), limit(20, HOUR, 20));
    take(std::slice::from_ref(&terms), &state, 5, START).unwrap();
    for seconds in 1..=14 {
        terms = limit(20, SECOND * seconds, 20).succeeding(&terms, START);
    }
    assert_eq!(take(std::slice::from_ref(&terms), &state, 1, START).map(|a| a.remaining), Ok(14));
    for used in 7..=20 {
        terms = limit(20, MINUTE * used, 20).succeeding(&terms, START);
        let allowance = take(std::slice::from_ref(&terms), &state, 1, START).unwrap();
        assert_eq!(allowance.remaining, u64::from(20 - used));
    }
}

#[test]
fn terms_that_were_in_force_for_a_while_take_back_only_what_they_refilled() {
    let (state, first) = (State::default(), limit(100, HOUR, 100));
    let refuse = |limit: &Limit, now| {
        assert!(take(std::slice::from_ref(limit), &state, limit.burst(), now).is_err());
    };
    let remaining = |limit: &Limit, now| peek(std::slice::from_ref(limit), &state, now).remaining;
    take(std::slice::from_ref(&first), &state, 80, START).unwrap();

    let lowered = limit(10, HOUR, 10).succeeding(&first, START);
    refuse(&lowered, START);
    let later = START.after(18 * MINUTE);
    refuse(&lowered, later);
    assert_eq!(remaining(&lowered, later), 3, "cut to 10 at the change, refilled from then on");

    let burst_only = limit(10, HOUR, 5).succeeding(&lowered, later);
    refuse(&burst_only, later);
    assert_eq!(remaining(&burst_only, later), 0);

    let raised = limit(100, HOUR, 100).succeeding(&burst_only, later);
    refuse(&raised, later);
    assert_eq!(remaining(&raised, later), 23, "80 were used, 3 have refilled");
    assert_eq!(remaining(&raised, later.after(6 * MINUTE)), 33);
}

#[test]
fn what_a_limit_that_is_lowered_admits_counts_from_what_it_was_cut_to() {
    let (state, first) = (State::default(), limit(100, HOUR, 100));
    take(std::slice::from_ref(&first), &state, 80, START).unwrap();
    let lowered = limit(10, HOUR, 10).succeeding(&first, START);
    let later = START.after(6 * MINUTE);
    assert_eq!(take(std::slice::from_ref(&lowered), &state, 1, later).map(|a| a.remaining), Ok(0));
    let raised = limit(100, HOUR, 100).succeeding(&lowered, later);
    assert_eq!(peek(&[raised], &state, later).remaining, 90);
}

#[test]
fn a_burst_that_is_lowered_alone_locks_for_one_refill_at_most() {
    let (state, first) = (State::default(), limit(60, HOUR, 60));
    take(std::slice::from_ref(&first), &state, 60, START).unwrap();
    let lowered = [limit(60, HOUR, 2).succeeding(&first, START)];
    assert_eq!(take(&lowered, &state, 1, START).unwrap_err().retry_after, MINUTE);
    assert_eq!(take(&lowered, &state, 1, START.after(MINUTE)).map(|a| a.remaining), Ok(0));
}

#[test]
fn terms_far_apart_and_back_again_lose_nothing() {
    let (state, mut terms) = (State::default(), limit(1_000_000, SECOND, 100_000_000_000));
    let used = 99_999_999_999;
    take(std::slice::from_ref(&terms), &state, used, START).unwrap();
    for _ in 0..6 {
        terms = limit(1, 31 * DAY, 1).succeeding(&terms, START);
        assert_eq!(peek(std::slice::from_ref(&terms), &state, START).remaining, 0);
        terms = limit(1_000_000, SECOND, 100_000_000_000).succeeding(&terms, START);
    }
    assert_eq!(peek(std::slice::from_ref(&terms), &state, START).remaining, 1);
}

#[test]
fn a_key_that_changes_its_plan_takes_along_what_it_has_used_by_name_and_else_by_place() {
    let named = |name: &str, requests, slot| {
        Limit::new(name.parse().unwrap(), requests, HOUR, requests).unwrap().with_slot(slot)
    };
    let free = [named("a", 10, 0), named("b", 20, 1)];
    let paid = [named("c", 100, 0), named("a", 200, 1), named("d", 300, 2), named("e", 400, 3)];
    let state = State::default();
    take(&free[..1], &state, 4, START).unwrap();
    take(&free[1..], &state, 15, START).unwrap();
    carry_over(&free, &paid, &state, START);
    let left =
        |limits: &[Limit]| limits.chunks(1).map(|limit| peek(limit, &state, START).remaining).collect::<Vec<_>>();
    assert_eq!(left(&paid), [100, 196, 300, 400], "c has the cell of a, which goes on elsewhere");
    carry_over(&paid, &[named("b", 50, 0), named("x", 3, 1)], &state, START);
    assert_eq!(left(&[named("b", 50, 0), named("x", 3, 1)]), [50, 0]);
}

#[test]
fn one_caller_is_told_that_a_key_has_changed_its_plan() {
    let state = State::default();
    assert_eq!([state.count_under(0), state.count_under(0)], [None, None]);
    assert_eq!([state.count_under(7), state.count_under(7)], [Some(0), None]);
    assert_eq!(on_threads(4, |_| state.count_under(3)).into_iter().flatten().collect::<Vec<_>>(), [7]);
}

#[test]
fn a_successor_uses_the_cell_of_its_predecessor() {
    let old = limit(5, HOUR, 5).with_slot(3);
    assert_eq!(limit(9, DAY, 9).succeeding(&old, START).slot(), 3);
}

#[test]
fn limits_that_are_gone_leave_the_others_alone() {
    let (limits, state) = (plan([limit(5, HOUR, 5), limit(7, HOUR, 7), limit(9, HOUR, 9)]), State::default());
    take(&limits, &state, 2, START).unwrap();
    assert_eq!(take(&limits[1..2], &state, 1, START).map(|a| a.remaining), Ok(4));
    assert_eq!(peek(&limits[..1], &state, START).remaining, 3);
    assert_eq!(peek(&limits[2..], &state, START).remaining, 7);
}

fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn parallel_takers_take_all_or_none_and_never_one_more() {
    const ROUNDS: usize = 3_000;
    let limits = plan([limit(9, HOUR, 9), limit(5, HOUR, 5), limit(7, HOUR, 7)]);
    let states: Vec<State> = (0..ROUNDS).map(|_| State::default()).collect();
    let barrier = Barrier::new(4);
    let taken = on_threads(4, |thread| {
        let cost = 1 + thread as u64 % 2;
        let round = |state| {
            barrier.wait();
            (0..4).map(|_| cost * admitted(take(&limits, state, cost, START))).sum::<u64>()
        };
        states.iter().map(round).collect::<Vec<u64>>()
    });
    for (round, state) in states.iter().enumerate() {
        let mut total: u64 = taken.iter().map(|of_thread| of_thread[round]).sum();
        assert!(total <= 5, "{total} in round {round}");
        for (limit, burst) in limits.chunks(1).zip([9, 5, 7]) {
            assert_eq!(peek(limit, state, START).remaining, burst - total, "round {round}");
        }
        total += (0..5).map(|_| admitted(take(&limits, state, 1, START))).sum::<u64>();
        assert_eq!(total, 5, "all of it can be had in the end");
    }
}

#[test]
fn parallel_takers_with_clocks_apart_never_take_more_than_time_refills() {
    let limits = plan([limit(1_000_000, SECOND, 40), limit(500_000, SECOND, 20), limit(800_000, SECOND, 30)]);
    let (state, clock) = (State::default(), AtomicU64::new(START.as_ns()));
    let total: u64 = on_threads(4, |_| {
        let step = |_| {
            let now_ns = clock.fetch_add(300, Ordering::Relaxed);
            if now_ns % 7 == 0 {
                thread::yield_now();
            }
            admitted(take(&limits, &state, 1, Instant::from_ns(now_ns)))
        };
        (0..50_000).map(step).sum::<u64>()
    })
    .into_iter()
    .sum();
    let elapsed_ns = clock.into_inner() - START.as_ns();
    let allowed = 20 + elapsed_ns / 2_000;
    assert!(total <= allowed, "{total} of {allowed}");
    assert!(total >= allowed * 9 / 10, "{total} of {allowed}: hardly anything is lost");
}

#[test]
fn running_requests_are_counted_exactly() {
    let (state, most) = (State::default(), AtomicU64::new(0));
    let entered: u64 = on_threads(4, |_| {
        let attempt = |_| {
            if !state.enter(2) {
                return 0;
            }
            most.fetch_max(u64::from(state.in_flight()), Ordering::Relaxed);
            state.leave();
            1
        };
        (0..50_000).map(attempt).sum::<u64>()
    })
    .into_iter()
    .sum();
    assert!(entered > 0);
    assert!(most.into_inner() <= 2);
    assert_eq!(state.in_flight(), 0);
    assert_eq!([state.enter(2), state.enter(2), state.enter(2), state.enter(0)], [true, true, false, false]);
    state.leave();
    assert_eq!([state.enter(2), state.enter(2)], [true, false]);
}

#[test]
fn a_state_is_small() {
    assert_eq!(size_of::<State>(), 48);
}

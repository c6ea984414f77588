//! Taking from every limit of a plan or from none, without a lock.
//!
//! First all limits are looked at, and nothing is written if one refuses. Then each cell is swapped in turn. If another
//! thread was faster and a later limit now refuses, what the earlier ones took is given back and all begins anew; each such
//! round means that another thread has got further. Under every interleaving a limit admits at most what it allows; a thread
//! that looks while another holds what it is about to give back can be refused a moment too early, never admitted.

use std::time::Duration;

use super::state::State;
use super::terms::{Cell, Limit};
use super::{Allowance, MAX_LIMITS, Refused};
use crate::time::Instant;

/// Takes `cost` from every limit, or from none. No allocation, no lock.
///
/// `limits` are those of one plan: at most [`MAX_LIMITS`], each with its own slot. A cost of 0 is always admitted.
pub fn take(limits: &[Limit], state: &State, cost: u64, now: Instant) -> Result<Allowance, Refused> {
    if cost == 0 {
        return Ok(peek(limits, state, now));
    }
    loop {
        let survey = Survey::of(limits, state, now);
        if let Some(refused) = survey.refusal(limits, cost) {
            survey.settle(limits, state);
            return Err(refused);
        }
        if let Some(allowance) = take_each(limits, state, cost, &survey) {
            return Ok(allowance);
        }
    }
}

/// What is left, without taking anything.
pub fn peek(limits: &[Limit], state: &State, now: Instant) -> Allowance {
    let survey = Survey::of(limits, state, now);
    let each = limits.iter().zip(survey.cells).enumerate();
    each.fold(UNLIMITED, |nearest, (index, (limit, cell))| {
        nearest_of(nearest, allowance(index, limit, limit.used_ns(cell, survey.now_ns)))
    })
}

/// What [`take`] would say, without taking anything.
pub fn probe(limits: &[Limit], state: &State, cost: u64, now: Instant) -> Result<Allowance, Refused> {
    match Survey::of(limits, state, now).refusal(limits, cost) {
        Some(refused) => Err(refused),
        None => Ok(peek(limits, state, now)),
    }
}

/// Takes what a key has used of the limits of one plan along to those of another, by the number of requests.
///
/// Each limit goes on from the one with its name, or else from the one that had its cell. A cell that the old plan did not
/// use stays as it is: it may be what is left of an earlier time on the new plan. A request that is being decided under the
/// old plan at the very moment can be forgotten.
pub fn carry_over(from: &[Limit], to: &[Limit], state: &State, now: Instant) {
    let survey = Survey::of(from, state, now);
    let mut carried = [None; MAX_LIMITS];
    for (limit, carried) in to.iter().zip(&mut carried) {
        let used_ns = |index: usize| from[index].used_ns(survey.cells[index], survey.now_ns);
        let moved_away = || from.iter().any(|old| old.slot() == limit.slot()).then_some(0);
        *carried = match origin(limit, from, to) {
            Some(index) => Some(from[index].converted(used_ns(index), limit)),
            None => moved_away(),
        };
    }
    state.publish(survey.now_ns);
    for (limit, used_ns) in to.iter().zip(carried) {
        if let Some(used_ns) = used_ns {
            state.set(limit, limit.cell(used_ns, survey.now_ns));
        }
    }
}

fn origin(limit: &Limit, from: &[Limit], to: &[Limit]) -> Option<usize> {
    let stays = |old: &Limit| to.iter().any(|other| other.name() == old.name());
    let namesake = from.iter().position(|old| old.name() == limit.name());
    namesake.or_else(|| from.iter().position(|old| old.slot() == limit.slot() && !stays(old)))
}

/// All cells of a plan, and the key's time, which was read after them.
struct Survey {
    cells: [Cell; MAX_LIMITS],
    now_ns: u64,
}

impl Survey {
    fn of(limits: &[Limit], state: &State, now: Instant) -> Self {
        debug_assert!(limits.len() <= MAX_LIMITS, "a plan has at most {MAX_LIMITS} limits");
        let mut cells = [Cell(0); MAX_LIMITS];
        for (index, limit) in limits.iter().enumerate() {
            cells[index] = state.cell(limit);
        }
        Self { cells, now_ns: state.key_time(now.as_ns()) }
    }

    /// The longest of all refusals, if there is one.
    fn refusal(&self, limits: &[Limit], cost: u64) -> Option<Refused> {
        let mut longest: Option<(u64, usize, u64)> = None;
        for (index, (limit, cell)) in limits.iter().zip(self.cells).enumerate() {
            let used_ns = limit.used_ns(cell, self.now_ns);
            if limit.used_with(used_ns, cost).is_some() {
                continue;
            }
            let wait_ns = limit.wait_ns(used_ns, cost);
            if longest.is_none_or(|(longest_ns, ..)| wait_ns > longest_ns) {
                longest = Some((wait_ns, index, used_ns));
            }
        }
        let (wait_ns, index, used_ns) = longest?;
        let Allowance { index, remaining, reset } = allowance(index, &limits[index], used_ns);
        Some(Refused { index, retry_after: Duration::from_nanos(wait_ns), remaining, reset })
    }

    /// Has foreign cells refill from now on, since they do not tell from when.
    ///
    /// One attempt each: whoever was faster has done the same, or taken, which does it too.
    fn settle(&self, limits: &[Limit], state: &State) {
        for (limit, cell) in limits.iter().zip(self.cells) {
            if limit.is_foreign(cell, self.now_ns) {
                state.publish(self.now_ns);
                let full = limit.cell(limit.used_ns(cell, self.now_ns), self.now_ns);
                let _ = state.swap(limit, cell, full);
            }
        }
    }
}

/// Takes from one limit after the other; none, with everything given back, if another thread left too little of one.
fn take_each(limits: &[Limit], state: &State, cost: u64, survey: &Survey) -> Option<Allowance> {
    state.publish(survey.now_ns);
    let mut taken_ns = [0; MAX_LIMITS];
    let mut nearest = UNLIMITED;
    for (index, limit) in limits.iter().enumerate() {
        let Some(taken) = take_one(limit, state, cost, survey.cells[index], survey.now_ns) else {
            for (limit, taken_ns) in limits[..index].iter().zip(taken_ns) {
                give_back(limit, state, cost, taken_ns);
            }
            return None;
        };
        taken_ns[index] = taken.now_ns;
        nearest = nearest_of(nearest, allowance(index, limit, taken.used_ns));
    }
    Some(nearest)
}

/// When a cost was taken from a limit, and what is used of it since.
struct Taken {
    now_ns: u64,
    used_ns: u64,
}

fn take_one(limit: &Limit, state: &State, cost: u64, mut cell: Cell, mut now_ns: u64) -> Option<Taken> {
    loop {
        let used_ns = limit.used_with(limit.used_ns(cell, now_ns), cost)?;
        match state.swap(limit, cell, limit.cell(used_ns, now_ns)) {
            Ok(()) => return Some(Taken { now_ns, used_ns }),
            Err(other) => {
                cell = other;
                now_ns = state.key_time(now_ns);
            }
        }
    }
}

/// Gives a cost back that was taken at `taken_ns`, less what may have refilled since.
///
/// A cost lies on top of what was used before it, so at `taken_ns` all of it was still to refill. Up to any later time of a
/// taker, at most that much time of it has refilled, and what has refilled is no longer in the cell: giving it back would be
/// a present. The key's time, read after the cell, bounds the time of all takers whose word is in it. When threads meet on a
/// key their times are microseconds apart, so hardly anything is kept back.
fn give_back(limit: &Limit, state: &State, cost: u64, taken_ns: u64) {
    let mut cell = state.cell(limit);
    loop {
        let refilled_ns = state.key_time(taken_ns) - taken_ns;
        let credit_ns = limit.cost_ns(cost).saturating_sub(refilled_ns);
        let Some(less) = limit.cell_less(cell, credit_ns) else { return };
        match state.swap(limit, cell, less) {
            Ok(()) => return,
            Err(other) => cell = other,
        }
    }
}

fn allowance(index: usize, limit: &Limit, used_ns: u64) -> Allowance {
    // Rounding the interval up makes a refill up to `burst` nanoseconds longer than what is written in the plan; header
    // fields round up to seconds and would show one more, hence whole milliseconds.
    let reset = Duration::from_millis(used_ns / 1_000_000);
    Allowance { index: index as u8, remaining: limit.remaining(used_ns), reset }
}

fn nearest_of(one: Allowance, other: Allowance) -> Allowance {
    let nearer = other.remaining < one.remaining || (other.remaining == one.remaining && other.reset > one.reset);
    if nearer { other } else { one }
}

const UNLIMITED: Allowance = Allowance { index: 0, remaining: u64::MAX, reset: Duration::ZERO };

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::Index;

    use super::*;

    const START: Instant = Instant::from_ns(86_400_000_000_000);
    const INTERVAL_NS: u64 = 1_000_000;

    fn limit(burst: u64, slot: usize) -> Limit {
        let per = Duration::from_nanos(INTERVAL_NS);
        Limit::new("test".parse().unwrap(), 1, per, burst).unwrap().with_slot(slot)
    }

    #[test]
    fn a_taker_that_lost_the_race_for_a_later_limit_gives_the_earlier_ones_back() {
        let (limits, state) = ([limit(9, 0), limit(8, 1), limit(1, 2)], State::default());
        let survey = Survey::of(&limits, &state, START);
        take(&limits[2..], &state, 1, START).unwrap();
        assert_eq!(take_each(&limits, &state, 1, &survey), None);
        let left = limits.each_ref().map(|limit| peek(std::slice::from_ref(limit), &state, START).remaining);
        assert_eq!(left, [9, 8, 0]);
    }

    #[test]
    fn a_taker_that_lost_the_race_for_a_cell_judges_it_anew() {
        let (limits, state) = ([limit(3, 0)], State::default());
        let survey = Survey::of(&limits, &state, START);
        take(&limits, &state, 2, START).unwrap();
        assert_eq!(take_each(&limits, &state, 2, &survey), None);
        assert_eq!(take_each(&limits, &state, 1, &survey).map(|a| a.remaining), Some(0));
    }

    #[test]
    fn a_taker_that_lost_the_race_to_a_later_clock_goes_on_at_that_time() {
        let (limits, state) = ([limit(12, 0)], State::default());
        let survey = Survey::of(&limits, &state, START);
        take(&limits, &state, 1, START.after(Duration::from_secs(1))).unwrap();
        assert_eq!(take_each(&limits, &state, 1, &survey).map(|a| a.remaining), Some(10));
    }

    #[test]
    fn nothing_is_given_back_to_a_cell_that_has_come_under_other_terms() {
        let (old, state) = (limit(12, 0), State::default());
        let taken = take_one(&old, &state, 4, Cell(0), START.as_ns()).unwrap();
        let per = Duration::from_nanos(INTERVAL_NS * 2);
        let new = [Limit::new("test".parse().unwrap(), 1, per, 12).unwrap().succeeding(&old, START)];
        take(&new, &state, 1, START).unwrap();
        give_back(&old, &state, 4, taken.now_ns);
        assert_eq!(peek(&new, &state, START).remaining, 7);
    }

    /// A take that is under way: what it costs, and when it was done.
    #[derive(Clone, Copy)]
    struct Pending {
        cost: u64,
        taken_ns: u64,
        kept: bool,
    }

    /// What is used at `now_ns` if only the takes that were kept have ever been.
    fn used_by_the_kept(takes: &[Pending], now_ns: u64) -> u64 {
        let kept = takes.iter().filter(|take| take.kept);
        let full_at_ns = kept.fold(0, |full_at_ns, take| take.taken_ns.max(full_at_ns) + take.cost * INTERVAL_NS);
        full_at_ns.saturating_sub(now_ns)
    }

    proptest! {
        #[test]
        fn giving_back_in_any_order_and_time_never_gives_a_present(
            steps in vec((0_u64..INTERVAL_NS * 2, 1_u64..4, any::<bool>(), any::<Index>()), 1..60),
            frozen in any::<bool>(),
        ) {
            let (limit, state) = (limit(12, 0), State::default());
            let (mut takes, mut now_ns): (Vec<Pending>, u64) = (Vec::new(), START.as_ns());
            for (step_ns, cost, takes_now, choice) in steps {
                now_ns += if frozen { 0 } else { step_ns };
                if takes_now || takes.is_empty() {
                    let cell = state.cell(&limit);
                    state.publish(now_ns);
                    if let Some(taken) = take_one(&limit, &state, cost, cell, now_ns) {
                        takes.push(Pending { cost, taken_ns: taken.now_ns, kept: true });
                    }
                } else {
                    let loser = choice.index(takes.len());
                    if takes[loser].kept {
                        takes[loser].kept = false;
                        give_back(&limit, &state, takes[loser].cost, takes[loser].taken_ns);
                    }
                }
                let (used_ns, expected_ns) = (limit.used_ns(state.cell(&limit), now_ns), used_by_the_kept(&takes, now_ns));
                prop_assert!(used_ns >= expected_ns, "{} of {}", used_ns, expected_ns);
                if frozen {
                    prop_assert_eq!(used_ns, expected_ns, "without time passing nothing is kept back");
                }
            }
        }
    }
}

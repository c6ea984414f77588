//! Deadlines that cost a store each: every connection has a seat here, and one ticker per thread wakes those whose time is up.
//!
//! A request moves its deadline several times and hardly ever reaches it, so no timer is registered anywhere. The price is
//! coarseness: a deadline fires up to two ticks late, never early. The same seats let a draining thread wake idle connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::time::{self, Instant};

/// The seats of one data thread.
#[derive(Debug)]
pub(super) struct Wheel {
    seats: RefCell<Seats>,
    coarse_now: Cell<Instant>,
}

#[derive(Debug, Default)]
struct Seats {
    /// Contiguous, because every tick looks at all of them.
    wake_at: Vec<u64>,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// One connection's seat; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    wheel: Rc<Wheel>,
    index: usize,
}

/// A deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

impl Wheel {
    /// A wheel without seats.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { seats: RefCell::default(), coarse_now: Cell::new(time::now()) })
    }

    /// The time, at most a tick old.
    pub(super) fn coarse_now(&self) -> Instant {
        self.coarse_now.get()
    }

    /// Reads the clock, for good.
    pub(super) fn now(&self) -> Instant {
        let now = time::now();
        self.coarse_now.set(now);
        now
    }

    /// Takes a seat, for the task whose context this is.
    pub(super) fn seat(self: &Rc<Self>, context: &Context<'_>) -> Seat {
        let mut seats = self.seats.borrow_mut();
        let index = seats.free.pop().unwrap_or_else(|| {
            seats.wake_at.push(NEVER);
            seats.wakers.push(None);
            seats.wakers.len() - 1
        });
        seats.wakers[index] = Some(context.waker().clone());
        Seat { wheel: Rc::clone(self), index }
    }

    /// Wakes every task whose deadline has passed.
    pub(super) fn tick(&self) {
        let now = self.now().as_ns();
        self.wake_where(|wake_at| wake_at <= now);
    }

    /// Wakes every task.
    pub(super) fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    /// Wakes the task of a seat; if it is taken by another one by now, that finds nothing to do.
    pub(super) fn wake(&self, seat: usize) {
        self.seats.borrow().wakers[seat].iter().for_each(Waker::wake_by_ref);
    }

    /// The deadline that lies `after` from now.
    pub(super) fn deadline(&self, after: Duration) -> Instant {
        self.coarse_now().after(after + TICK)
    }

    fn wake_where(&self, due: impl Fn(u64) -> bool) {
        let seats = &mut *self.seats.borrow_mut();
        for (wake_at, waker) in seats.wake_at.iter_mut().zip(&seats.wakers) {
            if due(*wake_at) {
                *wake_at = NEVER;
                waker.iter().for_each(Waker::wake_by_ref);
            }
        }
    }
}

impl Seat {
    /// Reads the clock, for good.
    pub(super) fn now(&self) -> Instant {
        self.wheel.now()
    }

    /// The deadline that lies `after` from now.
    pub(super) fn deadline(&self, after: Duration) -> Instant {
        self.wheel.deadline(after)
    }

    /// Which seat it is.
    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// For a task that is pending: elapsed, or to be woken at `deadline`.
    pub(super) fn poll_elapsed(&self, deadline: Instant) -> Poll<Elapsed> {
        if deadline <= self.wheel.coarse_now() {
            return Poll::Ready(Elapsed);
        }
        let wake_at = &mut self.wheel.seats.borrow_mut().wake_at[self.index];
        *wake_at = deadline.as_ns().min(*wake_at);
        Poll::Pending
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.wheel.seats.borrow_mut();
        seats.wake_at[self.index] = NEVER;
        seats.wakers[self.index] = None;
        seats.free.push(self.index);
    }
}

/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_millis(100);
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn seated(wheel: &Rc<Wheel>) -> (Seat, Arc<Counter>) {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        (wheel.seat(&Context::from_waker(&waker)), counter)
    }

    #[test]
    fn only_passed_deadlines_wake() {
        let wheel = Wheel::new();
        let (soon, soon_woken) = seated(&wheel);
        let (late, late_woken) = seated(&wheel);
        assert_eq!(soon.poll_elapsed(wheel.coarse_now().after(Duration::from_nanos(1))), Poll::Pending);
        assert_eq!(late.poll_elapsed(late.deadline(Duration::from_secs(3600))), Poll::Pending);
        wheel.tick();
        assert_eq!((soon_woken.0.load(Ordering::Relaxed), late_woken.0.load(Ordering::Relaxed)), (1, 0));
        assert_eq!(soon.poll_elapsed(wheel.coarse_now()), Poll::Ready(Elapsed));
    }

    #[test]
    fn a_deadline_never_fires_early() {
        let wheel = Wheel::new();
        let (seat, _) = seated(&wheel);
        let real = time::now().after(Duration::from_secs(1));
        assert!(seat.deadline(Duration::from_secs(1)) > real || TICK < wheel.now().since(real));
    }

    #[test]
    fn a_seat_that_was_left_wakes_nobody_and_is_taken_again() {
        let wheel = Wheel::new();
        let (seat, woken) = seated(&wheel);
        let index = seat.index;
        drop(seat);
        wheel.wake_all();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert_eq!(seated(&wheel).0.index, index);
    }
}

//! The tasks of one data thread, and their deadlines: each task has a seat, which wakes it.
//!
//! A request moves its deadline several times and hardly ever reaches it, so a deadline is a store, and all of them are looked
//! at once a tick. The price is coarseness: a deadline fires up to two ticks late, never early. Wakers of `std` wake nobody:
//! a task may only wait for what takes a [`Seat`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::time::{self, Instant};

/// The tasks of one data thread.
#[derive(Debug)]
pub struct Tasks {
    slots: RefCell<Slots>,
    woken: RefCell<Woken>,
    count: Cell<usize>,
    coarse_now: Cell<Instant>,
}

#[derive(Default)]
struct Slots {
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Debug, Default)]
struct Woken {
    /// In the order in which they were woken.
    seats: Vec<usize>,
    /// Whether a seat is among them, by seat.
    is_woken: Vec<bool>,
    /// When a seat is to be woken, by seat; contiguous, because every tick looks at all of them.
    wake_at: Vec<u64>,
}

/// The place of one task. Once the task has ended another one has it: who wakes it then wakes that one, which finds nothing new.
#[derive(Clone, Debug)]
pub struct Seat {
    tasks: Rc<Tasks>,
    index: usize,
}

/// How a task ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    Fine,
    Panicked,
}

/// A deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Tasks {
    /// No tasks.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            woken: RefCell::default(),
            count: Cell::new(0),
            coarse_now: Cell::new(time::now()),
        })
    }

    /// Starts the task that `make` makes for its seat. It is polled with the tasks that are woken.
    pub fn spawn<F: Future<Output = ()> + 'static>(self: &Rc<Self>, make: impl FnOnce(Seat) -> F) {
        let index = self.free_slot();
        let task = make(Seat { tasks: Rc::clone(self), index });
        self.slots.borrow_mut().tasks[index] = Some(Box::pin(task));
        self.count.set(self.count.get() + 1);
        self.wake(index);
    }

    /// How many have not ended.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Whether there are tasks to be polled.
    pub fn has_woken(&self) -> bool {
        !self.woken.borrow().seats.is_empty()
    }

    /// Polls every task that has been woken so far, once: how many of them have ended by a panic.
    pub fn run_woken(&self) -> usize {
        let mut panics = 0;
        let mut seats = std::mem::take(&mut self.woken.borrow_mut().seats);
        for seat in seats.drain(..) {
            self.woken.borrow_mut().is_woken[seat] = false;
            panics += usize::from(self.run(seat) == Ran::Panicked);
        }
        let woken = &mut *self.woken.borrow_mut();
        // Those who were woken meanwhile come next; the memory is kept.
        seats.append(&mut woken.seats);
        woken.seats = seats;
        panics
    }

    /// Drops every task.
    pub fn clear(&self) {
        let tasks = std::mem::take(&mut *self.slots.borrow_mut());
        drop(tasks);
        *self.woken.borrow_mut() = Woken::default();
        self.count.set(0);
    }

    /// Wakes the task in a seat: it is polled when the tasks run next.
    pub fn wake(&self, seat: usize) {
        let Woken { seats, is_woken, .. } = &mut *self.woken.borrow_mut();
        if let Some(is_woken) = is_woken.get_mut(seat)
            && !std::mem::replace(is_woken, true)
        {
            seats.push(seat);
        }
    }

    /// Wakes every task.
    pub fn wake_all(&self) {
        (0..self.slots.borrow().tasks.len()).for_each(|seat| self.wake(seat));
    }

    /// Reads the clock, and wakes every task whose deadline has passed.
    pub fn tick(&self) {
        let now = self.now().as_ns();
        let Woken { seats, is_woken, wake_at } = &mut *self.woken.borrow_mut();
        for (seat, wake_at) in wake_at.iter_mut().enumerate() {
            if *wake_at <= now {
                *wake_at = NEVER;
                if !std::mem::replace(&mut is_woken[seat], true) {
                    seats.push(seat);
                }
            }
        }
    }

    /// The time when this turn began, or later.
    pub fn coarse_now(&self) -> Instant {
        self.coarse_now.get()
    }

    /// Reads the clock, for good.
    pub fn now(&self) -> Instant {
        let now = time::now();
        self.coarse_now.set(now);
        now
    }

    /// The deadline that lies `after` from now.
    pub fn deadline(&self, after: Duration) -> Instant {
        self.coarse_now().after(after + TICK)
    }

    fn free_slot(&self) -> usize {
        let slots = &mut *self.slots.borrow_mut();
        let woken = &mut *self.woken.borrow_mut();
        let index = slots.free.pop().unwrap_or(slots.tasks.len());
        if index == slots.tasks.len() {
            slots.tasks.push(None);
            woken.is_woken.push(false);
            woken.wake_at.push(NEVER);
        }
        woken.wake_at[index] = NEVER;
        index
    }

    fn run(&self, seat: usize) -> Ran {
        let Some(mut task) = self.slots.borrow_mut().tasks[seat].take() else { return Ran::Fine };
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context)));
        if matches!(polled, Ok(Poll::Pending)) {
            self.slots.borrow_mut().tasks[seat] = Some(task);
            return Ran::Fine;
        }
        drop(task);
        self.slots.borrow_mut().free.push(seat);
        self.count.set(self.count.get() - 1);
        if polled.is_ok() { Ran::Fine } else { Ran::Panicked }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("len", &self.tasks.len()).field("free", &self.free.len()).finish()
    }
}

impl Seat {
    /// Reads the clock, for good.
    pub fn now(&self) -> Instant {
        self.tasks.now()
    }

    /// The time when this turn began, or later.
    pub fn coarse_now(&self) -> Instant {
        self.tasks.coarse_now()
    }

    /// The deadline that lies `after` from now.
    pub fn deadline(&self, after: Duration) -> Instant {
        self.tasks.deadline(after)
    }

    /// Which seat it is.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// For a task that is pending: elapsed, or to be woken at `deadline`.
    pub fn poll_elapsed(&self, deadline: Instant) -> Poll<Elapsed> {
        if deadline <= self.tasks.coarse_now() {
            return Poll::Ready(Elapsed);
        }
        let wake_at = &mut self.tasks.woken.borrow_mut().wake_at[self.index];
        *wake_at = deadline.as_ns().min(*wake_at);
        Poll::Pending
    }

    /// Lets every other task that has been woken go first.
    pub async fn give_way(&self) {
        let mut has_waited = false;
        poll_fn(|_| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            self.tasks.wake(self.index);
            Poll::Pending
        })
        .await;
    }
}

/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(100);
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a task that never ends has been polled, and its seat.
    fn seated(tasks: &Rc<Tasks>) -> (Seat, Rc<Cell<usize>>) {
        let polls = Rc::new(Cell::new(0));
        let mut given = None;
        tasks.spawn(|seat| {
            given = Some(seat);
            let polls = Rc::clone(&polls);
            poll_fn(move |_| {
                polls.set(polls.get() + 1);
                Poll::Pending
            })
        });
        (given.unwrap(), polls)
    }

    #[test]
    fn only_passed_deadlines_wake() {
        let tasks = Tasks::new();
        let ((soon, soon_polls), (late, late_polls)) = (seated(&tasks), seated(&tasks));
        tasks.run_woken();
        assert_eq!(soon.poll_elapsed(tasks.coarse_now().after(Duration::from_nanos(1))), Poll::Pending);
        assert_eq!(late.poll_elapsed(late.deadline(Duration::from_secs(3600))), Poll::Pending);
        tasks.tick();
        tasks.run_woken();
        assert_eq!((soon_polls.get(), late_polls.get()), (2, 1));
        assert_eq!(soon.poll_elapsed(tasks.coarse_now()), Poll::Ready(Elapsed));
    }

    #[test]
    fn a_deadline_never_fires_early() {
        let tasks = Tasks::new();
        let (seat, _) = seated(&tasks);
        let real = time::now().after(Duration::from_secs(1));
        assert!(seat.deadline(Duration::from_secs(1)) > real || TICK < tasks.now().since(real));
    }

    #[test]
    fn a_task_that_is_woken_many_times_is_polled_once() {
        let tasks = Tasks::new();
        let (seat, polls) = seated(&tasks);
        (0..3).for_each(|_| tasks.wake(seat.index()));
        tasks.wake_all();
        tasks.run_woken();
        assert_eq!(polls.get(), 1);
        assert!(!tasks.has_woken());
    }

    #[test]
    fn a_task_that_gives_way_comes_after_the_others() {
        let tasks = Tasks::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in ["polite", "other"] {
            let order = Rc::clone(&order);
            tasks.spawn(|seat| async move {
                if name == "polite" {
                    seat.give_way().await;
                }
                order.borrow_mut().push(name);
            });
        }
        tasks.run_woken();
        assert_eq!((&*order.borrow(), tasks.count()), (&vec!["other"], 1));
        tasks.run_woken();
        assert_eq!((&*order.borrow(), tasks.count()), (&vec!["other", "polite"], 0));
    }

    #[test]
    fn a_seat_that_was_left_wakes_nobody_and_is_taken_again_without_its_deadline() {
        let tasks = Tasks::new();
        let mut left = None;
        tasks.spawn(|seat| {
            left = Some(seat.clone());
            assert_eq!(seat.poll_elapsed(seat.deadline(Duration::ZERO)), Poll::Pending);
            async {}
        });
        tasks.run_woken();
        let left = left.unwrap().index();
        tasks.wake(left);
        tasks.run_woken();
        let (next, polls) = seated(&tasks);
        assert_eq!(next.index(), left);
        tasks.run_woken();
        tasks.coarse_now.set(tasks.now().after(Duration::from_secs(1)));
        tasks.tick();
        assert!(!tasks.has_woken());
        assert_eq!(polls.get(), 1);
    }

    #[test]
    fn a_task_that_panics_ends_and_the_others_go_on() {
        let tasks = Tasks::new();
        tasks.spawn(|_| async { panic!("as the test wants it") });
        let (_, polls) = seated(&tasks);
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!((tasks.count(), polls.get()), (1, 1));
    }
}

//! Shared values by 64-bit numbers, for one writer and any number of readers that never wait: all of the index's `unsafe`.
//!
//! No safe crate serves: their concurrent maps lead from table to node to value, and each step of a random look-up is a miss of the
//! caches; here a slot leads to the value itself. A table grows by shards, a few thousand slots at a time, so that no insert
//! stops for long. What makes it sound:
//!
//! * Whoever changes a shard holds its lock. Readers see single words change, each from one valid state to the next.
//! * A slot gets its number before its first value, and keeps both places for good: what is removed leaves [`gone`] behind. So a
//!   value that is read is one of that number. A table that is full is copied into a new one without what is gone.
//! * A pointer in a slot owns one count of its `Arc`. Whoever takes it out of the newest slots hands that count to the collector,
//!   as it does with outgrown slots; and the collector waits for every reader that had entered before.
//! * Readers enter before they load any pointer, and leave when they have a count of their own or are done.
//!
//! Called by `index` alone.
#![allow(unsafe_code, reason = "see above")]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use seize::{Collector, Guard, LocalGuard};
use triomphe::{Arc, ArcBorrow};

/// Values by numbers that are spread evenly.
pub(super) struct Table<T> {
    shards: Box<[Shard<T>]>,
    collector: Collector,
}

struct Shard<T> {
    /// Never null.
    slots: AtomicPtr<Slots<T>>,
    /// How many of them have a number. Locked by whoever changes anything.
    used: Mutex<usize>,
    _owns: PhantomData<Arc<T>>,
}

/// Some of them are always empty, so that every search ends.
struct Slots<T>(Box<[Slot<T>]>);

struct Slot<T> {
    number: AtomicU64,
    /// Null: the slot is empty, and its number means nothing.
    value: AtomicPtr<T>,
}

impl<T: Send + Sync> Table<T> {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::new()).collect(), collector: Collector::new() }
    }

    /// The value of a number.
    pub(super) fn find(&self, number: u64) -> Option<Arc<T>> {
        let guard = self.collector.enter();
        let (_, value) = self.shard(number).slots(&guard).search(number, &guard);
        if !is_value(value) {
            return None;
        }
        prefetch(value);
        // SAFETY: it came from `Arc::into_raw`, and the slot's count is given back after this guard's end at the earliest.
        Some(unsafe { ArcBorrow::from_ptr(value) }.clone_arc())
    }

    /// Hands each number and its value to `each`, in any order; what changes meanwhile may be there or not.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(u64, &T)) {
        for shard in &self.shards {
            let guard = self.collector.enter();
            for slot in &shard.slots(&guard).0 {
                let value = guard.protect(&slot.value, Ordering::Acquire);
                if is_value(value) {
                    // SAFETY: as in `find`; the reference ends before the guard.
                    each(slot.number.load(Ordering::Relaxed), unsafe { &*value });
                }
            }
        }
    }

    /// Gives a number this value from now on.
    pub(super) fn insert(&self, number: u64, value: Arc<T>) {
        let shard = self.shard(number);
        let mut used = shard.used.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        let (mut slot, before) = shard.slots(&guard).search(number, &guard);
        if before.is_null() {
            if *used >= shard.slots(&guard).most() {
                *used = shard.grow(&guard);
                (slot, _) = shard.slots(&guard).search(number, &guard);
            }
            *used += 1;
            slot.number.store(number, Ordering::Relaxed);
        }
        slot.value.store(Arc::into_raw(value).cast_mut(), Ordering::Release);
        retire(before, &guard);
    }

    /// Forgets a number.
    pub(super) fn remove(&self, number: u64) {
        let shard = self.shard(number);
        let _used = shard.used.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        let (slot, before) = shard.slots(&guard).search(number, &guard);
        if is_value(before) {
            slot.value.store(gone(), Ordering::Release);
            retire(before, &guard);
        }
    }

    /// Frees what was taken out as soon as no reader can be looking at it; otherwise that waits until there is more of it.
    pub(super) fn free_garbage(&self) {
        self.collector.enter().flush();
    }

    /// By the low bits; the place among the slots is by the high ones.
    fn shard(&self, number: u64) -> &Shard<T> {
        &self.shards[number as usize % SHARDS]
    }
}

impl<T> Shard<T> {
    fn new() -> Self {
        Self { slots: AtomicPtr::new(Slots::boxed(0)), used: Mutex::new(0), _owns: PhantomData }
    }

    fn slots<'g>(&self, guard: &'g LocalGuard<'_>) -> &'g Slots<T> {
        // SAFETY: it came from `Box::into_raw`, and is retired only after another has taken its place.
        unsafe { &*guard.protect(&self.slots, Ordering::Acquire) }
    }

    /// Makes room, with the lock held: how many slots have a number now.
    fn grow(&self, guard: &LocalGuard<'_>) -> usize {
        let old = self.slots(guard);
        let live = || old.0.iter().filter(|slot| is_value(slot.value.load(Ordering::Relaxed)));
        let count = live().count();
        let new = Slots::boxed(count);
        for slot in live() {
            let number = slot.number.load(Ordering::Relaxed);
            // SAFETY: nobody else has it yet.
            let (free, _) = unsafe { &*new }.search(number, guard);
            free.number.store(number, Ordering::Relaxed);
            free.value.store(slot.value.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let old = self.slots.swap(new, Ordering::AcqRel);
        // SAFETY: it came from `Box::into_raw`, and nobody who enters from now on can load it. It owns no values any more.
        unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
        count
    }
}

impl<T> Slots<T> {
    /// With room for so many and some more.
    fn boxed(values: usize) -> *mut Self {
        let wanted = (values + values / 16 + 1) * 5 / 4 + 1;
        // Four steps to the doubling, which are the allocator's own.
        let step = (wanted.next_power_of_two() / 8).max(1);
        let count = wanted.next_multiple_of(step).max(4);
        let empty = || Slot { number: AtomicU64::new(0), value: AtomicPtr::new(ptr::null_mut()) };
        Box::into_raw(Box::new(Self((0..count).map(|_| empty()).collect())))
    }

    /// How many may have a number: four of five.
    fn most(&self) -> usize {
        self.0.len() * 4 / 5
    }

    /// The slot of this number, or the empty one that it would get, and what is in it.
    fn search(&self, number: u64, guard: &LocalGuard<'_>) -> (&Slot<T>, *mut T) {
        let mut place = ((u128::from(number) * self.0.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.0[place];
            let value = guard.protect(&slot.value, Ordering::Acquire);
            if value.is_null() || slot.number.load(Ordering::Relaxed) == number {
                return (slot, value);
            }
            place = if place + 1 == self.0.len() { 0 } else { place + 1 };
        }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            // SAFETY: it came from `Box::into_raw`, and there are no readers.
            let slots = unsafe { Box::from_raw(*shard.slots.get_mut()) };
            for slot in slots.0 {
                let value = slot.value.into_inner();
                if is_value(value) {
                    // SAFETY: it came from `Arc::into_raw`, and this count is the slot's.
                    drop(unsafe { Arc::from_raw(value) });
                }
            }
        }
    }
}

/// Gives the count of a pointer that was taken out back, as soon as no reader can be about to take one of its own.
fn retire<T>(value: *mut T, guard: &LocalGuard<'_>) {
    if is_value(value) {
        // SAFETY: it came from `Arc::into_raw`, the count was the slot's, and nobody who enters from now on can load it there.
        unsafe { guard.defer_retire(value, |value, _| drop(Arc::from_raw(value))) };
    }
}

fn is_value<T>(value: *mut T) -> bool {
    !value.is_null() && value != gone()
}

/// What stands in the slot of a number that is removed.
const fn gone<T>() -> *mut T {
    ptr::without_provenance_mut(1)
}

/// Has all lines of a value fetched at once, where they would otherwise be waited for one after the other.
#[cfg(target_arch = "x86_64")]
fn prefetch<T>(value: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in 0..size_of::<T>().div_ceil(64) {
        // SAFETY: an address that is fetched ahead may be any.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(value.wrapping_byte_add(64 * line).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch<T>(_: *const T) {}

/// At ten million keys, a shard that grows copies some 40,000 slots: half a millisecond.
const SHARDS: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::thread;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    /// A value that says whose it is, until it is dropped.
    struct Watched<'c> {
        number: AtomicU64,
        /// Which of that number's values it is.
        turn: u64,
        living: &'c AtomicUsize,
    }

    impl<'c> Watched<'c> {
        fn new(number: u64, turn: u64, living: &'c AtomicUsize) -> Arc<Self> {
            living.fetch_add(1, Ordering::Relaxed);
            Arc::new(Self { number: AtomicU64::new(number), turn, living })
        }
    }

    impl Drop for Watched<'_> {
        fn drop(&mut self) {
            self.number.store(DROPPED, Ordering::Relaxed);
            self.living.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has the readers end, also when the writer fails.
    struct Stop<'r>(&'r AtomicBool);

    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    const DROPPED: u64 = u64::MAX;
    const NUMBERS: u64 = if cfg!(miri) { 40 } else { 4000 };
    const TURNS: u64 = if cfg!(miri) { 10 } else { 60 };

    /// All in few shards, and close together.
    fn number(n: u64) -> u64 {
        (n << 9 | n & 1).wrapping_mul(0x0001_0000_0000_0101)
    }

    fn check_reader(table: &Table<Watched<'_>>, running: &AtomicBool) -> usize {
        let (mut newest, mut hits) = (BTreeMap::new(), 0);
        while running.load(Ordering::Relaxed) {
            for n in 0..NUMBERS {
                let Some(found) = table.find(number(n)) else { continue };
                assert_eq!(found.number.load(Ordering::Relaxed), number(n));
                let newest = newest.entry(n).or_insert(0);
                assert!(*newest <= found.turn, "what has been replaced does not come back");
                *newest = found.turn;
                hits += 1;
            }
        }
        hits
    }

    #[test]
    fn readers_find_living_values_of_the_right_number_while_one_writes() {
        let living = AtomicUsize::new(0);
        let table = Table::new();
        let running = AtomicBool::new(true);
        thread::scope(|scope| {
            let stop = Stop(&running);
            let readers = [(); 3].map(|()| scope.spawn(|| check_reader(&table, &running)));
            for turn in 0..TURNS {
                for n in (0..NUMBERS).filter(|n| (n + turn) % 7 != 0) {
                    table.insert(number(n), Watched::new(number(n), turn, &living));
                }
                for n in (0..NUMBERS).filter(|n| (n + turn) % 5 == 0) {
                    table.remove(number(n));
                    assert!(table.find(number(n)).is_none());
                }
                let mut seen = 0;
                table.for_each(&mut |number, value| {
                    assert_eq!(number, value.number.load(Ordering::Relaxed));
                    seen += 1;
                });
                assert!(seen <= NUMBERS);
            }
            drop(stop);
            assert!(readers.map(|reader| reader.join().unwrap()) > [0; 3]);
        });
        drop(table);
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_table_keeps_no_room_for_what_is_gone() {
        let living = AtomicUsize::new(0);
        let table = Table::new();
        for n in 0..20 * NUMBERS {
            table.insert(number(n), Watched::new(number(n), 0, &living));
            if n >= NUMBERS / 8 {
                table.remove(number(n - NUMBERS / 8));
            }
        }
        let guard = table.collector.enter();
        let slots: usize = table.shards.iter().map(|shard| shard.slots(&guard).0.len()).sum();
        assert!(slots < 4 * SHARDS + NUMBERS as usize, "{slots}");
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(steps in proptest::collection::vec((0..60_u64, any::<bool>()), 0..400)) {
            let living = AtomicUsize::new(0);
            let (table, mut map) = (Table::new(), BTreeMap::new());
            for (turn, (n, is_insert)) in (0..).zip(steps) {
                if is_insert {
                    table.insert(number(n), Watched::new(number(n), turn, &living));
                    map.insert(number(n), turn);
                } else {
                    table.remove(number(n));
                    map.remove(&number(n));
                }
                for n in 0..60 {
                    prop_assert_eq!(table.find(number(n)).map(|found| found.turn), map.get(&number(n)).copied());
                }
            }
            let mut all = BTreeMap::new();
            table.for_each(&mut |number, value| assert_eq!(all.insert(number, value.turn), None));
            prop_assert_eq!(all, map);
            drop(table);
            prop_assert_eq!(living.into_inner(), 0);
        }
    }
}

//! Threads that count, while the keeper makes files, syncs, seals and releases.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::*;

const THREADS: u32 = 2;
const COUNTS: u32 = 30_000;
const KEYS: u32 = 40;
/// So many counts of a thread make a minute.
const MINUTE: u32 = 500;

/// Counts on the keys that all share; the clocks of the threads are not quite the same.
fn count_all(book: &mut Book, thread: u32, clock: &AtomicU32) {
    let route = book.route(&name("shared"));
    for n in 0..COUNTS {
        clock.fetch_max(n / MINUTE, Ordering::Relaxed);
        count(book, n % KEYS, route, requests(1), minute(n / MINUTE + thread));
    }
}

#[test]
fn each_count_is_sealed_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    // Room for all cells: this is not about what becomes of them without a file.
    let mut keeper = open(folder.path(), 1 << 20);
    let mut books: Vec<Book> = (0..THREADS).map(|_| keeper.book().unwrap()).collect();
    keeper.prepare().unwrap();
    let (clock, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut sealed = Totals::new();
    thread::scope(|scope| {
        let counting: Vec<_> = (0..)
            .zip(&mut books)
            .map(|(thread, book)| {
                let clock = &clock;
                scope.spawn(move || count_all(book, thread, clock))
            })
            .collect();
        let over = &over;
        scope.spawn(move || {
            counting.into_iter().for_each(|thread| thread.join().unwrap());
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            keeper.prepare().unwrap();
            keeper.sync(NOW).unwrap();
            // Not a minute behind: the threads run into what is closed all the time.
            if let Some(sealable) = keeper.sealable(minute(clock.load(Ordering::Relaxed))) {
                add(&mut sealed, sealable.cells());
                keeper.release(sealable).unwrap();
            }
        }
    });
    let rest = keeper.sealable(minute(COUNTS)).unwrap();
    add(&mut sealed, rest.cells());
    keeper.release(rest).unwrap();
    assert_eq!(keeper.figures(NOW).lost_requests, 0);
    let mut by_key = BTreeMap::<String, Amount>::new();
    for ((_, key, ..), amount) in sealed {
        let total = by_key.entry(key).or_default();
        *total = total.plus(&amount);
    }
    assert_eq!(by_key.len(), KEYS as usize);
    let each = requests(u64::from(THREADS * COUNTS / KEYS));
    assert!(by_key.values().all(|amount| *amount == each), "{by_key:?}");
}

//! Lives of the ledger that follow one another: minutes that are closed can be counted in again, and each count is sealed once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// Seals all of a life that is over, until nothing is left of it.
fn seal_to_the_end(over: &mut Keeper, sealed: &mut Totals) {
    if let Some(sealable) = over.sealable(Minute::from_unix(u32::MAX)) {
        add(sealed, sealable.cells());
        over.release(sealable).unwrap();
    }
    over.prepare().unwrap();
    over.sync(NOW).unwrap();
}

fn requests_of(totals: &Totals) -> u64 {
    totals.values().map(|amount| amount.requests).sum()
}

#[test]
fn in_a_new_life_a_closed_minute_is_counted_in_again_apart_from_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let (mut book, mut idle) = (keeper.book().unwrap(), keeper.book().unwrap());
    keeper.prepare().unwrap();
    count(&mut book, 1, RouteId::NONE, requests(1), minute(100));
    count(&mut idle, 1, RouteId::NONE, requests(2), minute(100));
    let sealable = keeper.sealable(minute(100)).unwrap();
    let before: Vec<Cell> = sealable.cells().collect();
    keeper.release(sealable).unwrap();
    count(&mut book, 1, RouteId::NONE, requests(4), minute(40));
    assert_eq!(keeper.newest_minute(), minute(101), "what is closed is counted in a later minute");

    let mut over = keeper.renew(WALL, NOW).unwrap();
    count(&mut book, 1, RouteId::NONE, requests(8), minute(40));
    count(&mut book, 1, RouteId::NONE, requests(16), minute(100));
    assert_eq!(keeper.newest_minute(), minute(100));
    let now: Vec<Cell> = keeper.sealable(minute(100)).unwrap().cells().collect();
    let counted: Vec<(Minute, u64)> = now.iter().map(|cell| (cell.minute, cell.amount.requests)).collect();
    assert_eq!(counted, [(minute(40), 8), (minute(100), 16)]);
    assert_ne!(now[0].epoch, before[0].epoch);

    let mut rest = Totals::new();
    seal_to_the_end(&mut over, &mut rest);
    assert_eq!(requests_of(&rest), 4);
    assert!(!over.is_empty(), "a book has not come along yet");
    count(&mut idle, 1, RouteId::NONE, requests(32), minute(101));
    seal_to_the_end(&mut over, &mut rest);
    seal_to_the_end(&mut over, &mut rest);
    assert_eq!(requests_of(&rest), 4);
    assert!(over.is_empty());
    assert_eq!(sum(keeper.sealable(minute(200)).unwrap().cells()), requests(8 + 16 + 32));
    let files = folder::files(folder.path()).unwrap().len();
    assert_eq!(files, keeper.figures(NOW).files, "nothing is left of the life that is over");
}

#[test]
fn what_a_dead_process_left_of_several_lives_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let mut over = Vec::new();
    for n in 0..3 {
        count(&mut book, n, RouteId::NONE, requests(1), minute(10 - n));
        over.push(keeper.renew(WALL, NOW).unwrap());
    }
    count(&mut book, 3, RouteId::NONE, requests(1), minute(1));
    drop((keeper, over, book));
    let left = open(folder.path(), SMALL).replay().unwrap();
    assert_eq!(totals(left.cells()).len(), 4);
    assert_eq!(sum(left.cells()), requests(4));
}

#[test]
fn a_book_that_is_closed_meanwhile_leaves_nothing_behind_in_any_life() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let (first, second) = (keeper.book().unwrap(), keeper.book().unwrap());
    keeper.prepare().unwrap();
    drop(first);
    let mut over = keeper.renew(WALL, NOW).unwrap();
    drop(second);
    over.prepare().unwrap();
    keeper.prepare().unwrap();
    assert!(over.is_empty() && keeper.is_empty());
    assert_eq!(folder::files(folder.path()).unwrap().len(), 0);
}

#[test]
fn each_count_is_sealed_exactly_once_while_lives_follow_one_another() {
    const COUNTS: u32 = 60_000;
    const LIVES: usize = 12;
    let folder = quick_folder();
    let mut keeper = open(folder.path(), 1 << 20);
    let mut books: Vec<Book> = (0..2).map(|_| keeper.book().unwrap()).collect();
    keeper.prepare().unwrap();
    let is_over = AtomicBool::new(false);
    let (mut sealed, mut over) = (Totals::new(), Vec::<Keeper>::new());
    thread::scope(|scope| {
        let counting: Vec<_> = books
            .iter_mut()
            .map(|book| {
                scope.spawn(move || {
                    (0..COUNTS).for_each(|n| count(book, n % 7, RouteId::NONE, requests(1), minute(n % 5)))
                })
            })
            .collect();
        let is_over = &is_over;
        scope.spawn(move || {
            counting.into_iter().for_each(|thread| thread.join().unwrap());
            is_over.store(true, Ordering::Release);
        });
        let mut lives = 0;
        while !is_over.load(Ordering::Acquire) {
            if lives < LIVES {
                over.push(keeper.renew(WALL, NOW).unwrap());
                lives += 1;
            }
            over.iter_mut().for_each(|over| seal_to_the_end(over, &mut sealed));
            keeper.prepare().unwrap();
            keeper.sync(NOW).unwrap();
        }
    });
    over.iter_mut().for_each(|over| seal_to_the_end(over, &mut sealed));
    seal_to_the_end(&mut keeper, &mut sealed);
    let lost: u64 = over.iter().chain([&keeper]).map(|life| life.figures(NOW).lost_requests).sum();
    assert_eq!((requests_of(&sealed), lost), (2 * u64::from(COUNTS), 0));
}

//! The ledger from outside: books count, the keeper keeps, and what is left is what was counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::keeper::Keeper;
use super::segment::{Backing, Segment};
use super::*;
use crate::key::{KeyId, Name};
use crate::policy::Denial;
use crate::time::{Instant, Timestamp};

mod concurrent;
mod crash;
mod disk;
mod model;
mod renewal;
mod torn;

const WALL: Timestamp = Timestamp::from_unix_ms(1_782_907_200_000);
const NOW: Instant = Instant::from_ns(1 << 50);
/// The smallest there is: 36 cells.
const SMALL: usize = 8 << 10;

/// What a cell says, by minute, key, route and class.
type Totals = BTreeMap<(u32, String, String, &'static str), Amount>;

/// A folder in memory if there is one: for tests to which it is all the same, and which would wait for the disk a lot.
fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(folder: &Path, segment_bytes: usize) -> Keeper {
    let options = Options { folder: folder.to_owned(), segment_bytes, spare: 1, overflow: 4 };
    Keeper::open(options, WALL, NOW).unwrap()
}

fn minute(n: u32) -> Minute {
    Minute::from_unix(29_715_120 + n)
}

fn key(n: u32) -> KeyId {
    format!("key_{n:016}").parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn requests(requests: u64) -> Amount {
    Amount {
        requests,
        units: 2 * requests,
        bytes_in: 30 * requests,
        bytes_out: 400 * requests,
        latency_ns: 5 * requests,
    }
}

/// Counts an amount for a key, without owner and plan.
fn count(book: &mut Book, n: u32, route: RouteId, amount: Amount, at: Minute) {
    let key = key(n);
    let account = Account { token: u64::from(n) + 1, key: Some(&key), owner: None, plan: None };
    book.count(&Use { account, route, class: Class::Success, band: Band::default(), amount }, at);
}

fn add(totals: &mut Totals, cells: impl Iterator<Item = Cell>) {
    for cell in cells {
        let key = cell.key.map_or_else(String::new, |key| key.as_str().to_owned());
        let route = cell.route.map_or_else(String::new, |route| route.as_str().to_owned());
        let total = totals.entry((cell.minute.as_unix(), key, route, cell.class.label())).or_default();
        *total = total.plus(&cell.amount);
    }
}

fn totals(cells: impl Iterator<Item = Cell>) -> Totals {
    let mut totals = Totals::new();
    add(&mut totals, cells);
    totals
}

fn sum(cells: impl Iterator<Item = Cell>) -> Amount {
    cells.fold(Amount::default(), |sum, cell| sum.plus(&cell.amount))
}

/// Takes the files that lie ready for a book and gives them a disk that fails from the first sync on.
fn break_ready_files(keeper: &mut Keeper) {
    for seat in keeper.seats.clone() {
        for _ in 0..seat.ready.len() {
            let segment = seat.ready.pop().unwrap();
            keeper.segments.retain(|other| !Arc::ptr_eq(other, &segment));
            let mut segment: Segment = Arc::try_unwrap(segment).unwrap();
            let path = segment.path().unwrap().to_owned();
            let (reader, _) = rustix::pipe::pipe().unwrap();
            segment.backing = Backing::File { file: reader.into(), path };
            let segment = Arc::new(segment);
            keeper.segments.push(Arc::clone(&segment));
            seat.ready.push(segment).unwrap();
        }
    }
}

#[test]
fn what_was_counted_is_sealed_with_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), 1 << 20);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let route = book.route(&name("orders"));
    assert_eq!(book.route(&name("orders")), route);
    let (id, owner, plan) = (key(7), name("acme"), name("pro"));
    let account = Account { token: 9, key: Some(&id), owner: Some(&owner), plan: Some(&plan) };
    let used = Use { account, route, class: Class::ClientError, band: Band::Over1S, amount: requests(3) };
    book.count(&used, minute(1));
    book.count(&used, minute(1));
    let class = Class::Denied(Denial::LimitExceeded);
    let denied =
        Use { account: Account::NOBODY, route: RouteId::NONE, class, band: Band::default(), amount: requests(1) };
    book.count(&denied, minute(1));
    book.count(&used, minute(2));

    let cells: Vec<Cell> = keeper.sealable(minute(1)).unwrap().cells().collect();
    let cell = Cell {
        epoch: keeper.epoch,
        writer: 0,
        minute: minute(1),
        turn: 0,
        token: 9,
        key: Some(id),
        owner: Some(owner),
        plan: Some(plan),
        route: Some(name("orders")),
        class: Class::ClientError,
        band: Band::Over1S,
        amount: requests(6),
    };
    assert_eq!(cells[0], cell);
    let nobody = Cell {
        token: 0,
        key: None,
        owner: None,
        plan: None,
        route: None,
        class,
        band: Band::Under10Ms,
        amount: requests(1),
        ..cell
    };
    assert_eq!(cells[1..], [nobody]);
}

#[test]
fn a_minute_that_was_handed_out_is_never_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    count(&mut book, 1, RouteId::NONE, requests(1), minute(5));
    let sealed = keeper.sealable(minute(5)).unwrap();
    count(&mut book, 1, RouteId::NONE, requests(1), minute(4));
    assert_eq!(sum(sealed.cells()), requests(1));
    keeper.release(sealed).unwrap();
    let next = keeper.sealable(minute(9)).unwrap();
    assert_eq!(next.cells().map(|cell| cell.minute).collect::<Vec<_>>(), [minute(6)]);
    assert_eq!(sum(next.cells()), requests(1));
}

#[test]
fn a_clock_that_goes_back_and_forth_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    for n in [5, 3, 5, 3, 3, 5] {
        count(&mut book, 1, RouteId::NONE, requests(1), minute(n));
    }
    let totals: Vec<Amount> = totals(keeper.sealable(minute(9)).unwrap().cells()).into_values().collect();
    assert_eq!(totals, [requests(3), requests(3)]);
}

#[test]
fn a_clock_that_trembles_at_the_turn_of_a_minute_opens_no_cells() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    for n in 0..1000 {
        count(&mut book, 1, RouteId::NONE, requests(1), minute(4 + n % 2));
    }
    let amounts: Vec<Amount> = keeper.sealable(minute(9)).unwrap().cells().map(|cell| cell.amount).collect();
    assert_eq!(amounts, [requests(1), requests(999)]);
}

#[test]
fn accounts_with_the_same_names_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let id = key(1);
    for token in [1, 2, 1] {
        let account = Account { token, key: Some(&id), owner: None, plan: None };
        let used =
            Use { account, route: RouteId::NONE, class: Class::Success, band: Band::default(), amount: requests(1) };
        book.count(&used, minute(1));
    }
    assert_eq!(sum(keeper.sealable(minute(1)).unwrap().cells()), requests(3));
}

#[test]
fn files_go_when_all_in_them_is_sealed_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    for n in 0..100 {
        keeper.prepare().unwrap();
        count(&mut book, n, RouteId::NONE, requests(1), minute(1));
    }
    let files = keeper.figures(NOW).files;
    let sealed = keeper.sealable(minute(1)).unwrap();
    assert_eq!(sealed.cells().len(), 100);
    assert_eq!(keeper.figures(NOW).files, files, "nothing goes before it is released");
    keeper.release(sealed).unwrap();
    assert!(keeper.figures(NOW).files <= files - 2);
    // The book still holds them; what it can no longer count in is let go of with its next count.
    count(&mut book, 0, RouteId::NONE, requests(1), minute(2));
    keeper.prepare().unwrap();
    keeper.sync(NOW).unwrap();
    drop((keeper, book));

    let keeper = open(folder.path(), SMALL);
    let left = keeper.replay().unwrap();
    assert_eq!(totals(left.cells()).into_keys().map(|(minute, ..)| minute).collect::<Vec<_>>(), [minute(2).as_unix()]);
}

#[test]
fn memory_serves_while_there_is_no_file_and_is_carried_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    for n in 0..50 {
        count(&mut book, n, RouteId::NONE, requests(1), minute(1));
    }
    let later = Instant::from_ns(NOW.as_ns() + 9_000_000_000);
    let figures = keeper.figures(later);
    assert_eq!((figures.in_memory, figures.lag.as_secs(), figures.lost_requests), (2, 9, 0));
    keeper.prepare().unwrap();
    keeper.sync(later).unwrap();
    let figures = keeper.figures(later);
    assert_eq!((figures.in_memory, figures.lag.as_secs()), (0, 0));
    // Half of them go on being counted, elsewhere.
    for n in 0..25 {
        count(&mut book, n, RouteId::NONE, requests(1), minute(1));
    }
    assert_eq!(sum(keeper.sealable(minute(1)).unwrap().cells()), requests(75));
    drop((keeper, book));
    let left = open(folder.path(), SMALL).replay().unwrap();
    assert_eq!((sum(left.cells()), left.cells().len()), (requests(75), 50));
}

#[test]
fn what_finds_no_room_at_all_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    for n in 0..200 {
        count(&mut book, n, RouteId::NONE, requests(1), minute(1));
    }
    let figures = keeper.figures(NOW);
    let kept = sum(keeper.sealable(minute(1)).unwrap().cells());
    assert!(figures.lost_requests > 0 && figures.in_memory == 4);
    assert_eq!((kept.requests + figures.lost_requests, kept.units + figures.lost_units), (200, 400));
}

#[test]
fn a_file_whose_sync_failed_is_given_up_and_nothing_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    break_ready_files(&mut keeper);
    (0..20).for_each(|n| count(&mut book, n, RouteId::NONE, requests(1), minute(1)));
    keeper.sync(NOW).unwrap();
    assert_eq!((keeper.figures(NOW).given_up, keeper.heirs.len()), (1, 1));
    keeper.prepare().unwrap();
    (0..10).for_each(|n| count(&mut book, n, RouteId::NONE, requests(1), minute(1)));
    keeper.sync(NOW).unwrap();
    assert_eq!(keeper.figures(NOW).given_up, 1, "it is not tried again");
    assert_eq!(sum(keeper.sealable(minute(1)).unwrap().cells()), requests(30));

    // On disk is all of it without the broken file.
    let broken = keeper.heirs[0].0.path().unwrap().to_owned();
    drop((keeper, book));
    std::fs::remove_file(broken).unwrap();
    assert_eq!(sum(open(folder.path(), SMALL).replay().unwrap().cells()), requests(30));
}

#[test]
fn a_closed_book_leaves_its_cells_and_none_of_its_spare_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let (mut book, idle) = (keeper.book().unwrap(), keeper.book().unwrap());
    keeper.prepare().unwrap();
    count(&mut book, 1, RouteId::NONE, requests(1), minute(1));
    keeper.prepare().unwrap();
    assert_eq!(keeper.figures(NOW).files, 3);
    drop((book, idle));
    keeper.prepare().unwrap();
    assert_eq!(keeper.figures(NOW).files, 1);
    let sealed = keeper.sealable(minute(1)).unwrap();
    assert_eq!(sum(sealed.cells()), requests(1));
    keeper.release(sealed).unwrap();
    assert_eq!(folder::files(folder.path()).unwrap(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn sealing_what_a_dead_process_left_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    count(&mut book, 1, RouteId::NONE, requests(1), minute(1));
    drop((keeper, book));
    std::fs::write(folder.path().join("ledger-00000000000000ab-000001.new"), "half").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();

    let keeper = open(folder.path(), SMALL);
    for _ in 0..2 {
        assert_eq!(sum(keeper.replay().unwrap().cells()), requests(1));
    }
    keeper.replay().unwrap().discard().unwrap();
    assert_eq!(keeper.replay().unwrap().cells().len(), 0);
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["ledger.lock", "notes.txt"]);
}

#[test]
fn the_dump_has_a_line_per_cell() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let route = book.route(&name("orders and more"));
    count(&mut book, 1, route, requests(1), minute(0));
    let mut text = Vec::new();
    dump(folder.path(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2);
    let words = ["2026-07-01T12:00:00Z", "key_0000000000000001", "-", "-", "orders and more", "2xx", "under_10ms"];
    assert_eq!(lines[1][..7], words);
    assert_eq!(lines[1][7..10], ["1", "2", "30"]);
    assert_eq!(lines[0].len(), lines[1].len());
}

#[test]
fn a_minute_in_which_a_book_is_counting_is_not_over() {
    let folder = quick_folder();
    let mut keeper = open(folder.path(), SMALL);
    let _book = keeper.book().unwrap();
    let counting_in = |at: u32| keeper.seats[0].turn.0.store(at, std::sync::atomic::Ordering::SeqCst);
    counting_in(minute(5).as_unix());
    assert!(keeper.sealable(minute(5)).is_none());
    assert!(keeper.sealable(minute(4)).is_none(), "it is the one that was closed already that has to be over");
    counting_in(minute(6).as_unix());
    assert_eq!(keeper.sealable(minute(5)).unwrap().until(), minute(5));
}

#[test]
fn files_that_are_there_twice_count_once() {
    let folder = quick_folder();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    (0..20).for_each(|n| count(&mut book, n, RouteId::NONE, requests(1), minute(1)));
    let before = folder::files(folder.path()).unwrap().remove(0);
    let copy = folder::path(folder.path(), keeper.epoch, 999);
    std::fs::copy(&before, &copy).unwrap();
    (0..10).for_each(|n| count(&mut book, n, RouteId::NONE, requests(1), minute(1)));
    drop((keeper, book));
    let left = open(folder.path(), SMALL).replay().unwrap();
    assert_eq!((left.cells().len(), sum(left.cells())), (20, requests(30)));
}

#[test]
fn a_long_answer_shows_while_it_runs() {
    let folder = quick_folder();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let mut running = Running::default();
    for (at, bytes_out) in [(1, 1000), (1, 3000), (2, 9000)] {
        count(&mut book, 1, RouteId::NONE, running.part(200, bytes_out), minute(at));
    }
    let whole = Amount { requests: 1, units: 1, bytes_in: 200, bytes_out: 10_000, latency_ns: 7 };
    count(&mut book, 1, RouteId::NONE, running.rest(whole), minute(3));
    let amounts: Vec<Amount> = keeper.sealable(minute(3)).unwrap().cells().map(|cell| cell.amount).collect();
    let bytes = |bytes_in, bytes_out| Amount { bytes_in, bytes_out, ..Amount::default() };
    let last = Amount { requests: 1, units: 1, latency_ns: 7, ..bytes(0, 1000) };
    assert_eq!(amounts, [bytes(200, 3000), bytes(0, 6000), last]);
}

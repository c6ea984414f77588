//! What counting a request costs: in the steady state, at the first of a key, after a sync; and a million keys in a minute.
//!
//! `cargo bench --bench meter [-- FILTER]`. The files are made in the target folder; the million keys need 160 MB there.
#![allow(missing_docs, reason = "a program whose output is its table")]

use std::cell::RefCell;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tempfile::TempDir;

use keygate::key::{KeyId, Name};
use keygate::meter::ledger::{Account, Amount, Band, Book, Class, Keeper, Minute, Options, RouteId, Use};
use keygate::time::{Instant, Timestamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WALL: Timestamp = Timestamp::from_unix_ms(1_782_907_200_000);
const NOW: Instant = Instant::from_ns(1 << 50);
/// So many calls between two looks at the clock, which costs as much as some of them.
const MANY: u32 = 1000;
const MILLION: u32 = 1_000_000;
const AMOUNT: Amount = Amount { requests: 1, units: 1, bytes_in: 200, bytes_out: 900, latency_ns: 1_000_000 };

fn main() {
    divan::main();
}

/// A ledger with one book, and keys to count for.
struct Held {
    keeper: Keeper,
    book: Book,
    route: RouteId,
    keys: Vec<KeyId>,
    owner: Name,
    plan: Name,
    minute: u32,
    _folder: TempDir,
}

impl Held {
    /// With so many keys, and files of 4 MiB that lie ready.
    fn new(keys: u32, spare: usize) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written to");
        let options = Options { folder: folder.path().to_owned(), spare, ..Options::default() };
        let mut keeper = Keeper::open(options, WALL, NOW).expect("the folder is ours");
        let mut book = keeper.book().expect("there is memory");
        keeper.prepare().expect("the disk has space");
        let route = book.route(&"orders".parse().expect("a name"));
        let keys = (0..keys).map(|n| format!("key_{n:016}").parse().expect("an id")).collect();
        let (owner, plan) = ("owner12345".parse().expect("a name"), "free".parse().expect("a name"));
        Self { keeper, book, route, keys, owner, plan, minute: Minute::of(WALL).as_unix(), _folder: folder }
    }

    #[inline]
    fn count(&mut self, n: u32) {
        let key = &self.keys[n as usize % self.keys.len()];
        let token = u64::from(n) % self.keys.len() as u64 + 1;
        let account = Account { token, key: Some(key), owner: Some(&self.owner), plan: Some(&self.plan) };
        let used = Use { account, route: self.route, class: Class::Success, band: Band::default(), amount: AMOUNT };
        self.book.count(black_box(&used), Minute::from_unix(self.minute));
    }

    fn count_all(&mut self) {
        (0..self.keys.len() as u32).for_each(|n| self.count(n));
    }
}

/// The steady state, with so many keys in turn; a million in an order of its own.
#[divan::bench(args = [1, 10_000, MILLION])]
fn count(bencher: Bencher<'_, '_>, keys: u32) {
    let mut held = Held::new(keys, if keys == MILLION { 32 } else { 2 });
    held.count_all();
    let mut n = 0_u32;
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        for _ in 0..MANY {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            held.count(n >> 8);
        }
    });
}

/// The first request of a key in a minute, of some thousand keys.
#[divan::bench(sample_size = 1)]
fn first_count(bencher: Bencher<'_, '_>) {
    let held = RefCell::new(Held::new(10_000, 2));
    held.borrow_mut().count_all();
    let next_minute = || {
        let mut held = held.borrow_mut();
        held.minute += 1;
        held.keeper.prepare().expect("the disk has space");
        let sealable = held.keeper.sealable(Minute::from_unix(held.minute - 2)).expect("nobody counts");
        held.keeper.release(sealable).expect("they can be removed");
    };
    bencher.counter(ItemsCount::new(MANY)).with_inputs(next_minute).bench_local_values(|()| {
        let mut held = held.borrow_mut();
        (0..MANY).for_each(|n| held.count(n));
    });
}

/// Just after a sync, when the system looks again who writes to a page: 1,000 cells, which are 16 pages.
#[divan::bench(sample_size = 1)]
fn count_after_sync(bencher: Bencher<'_, '_>) {
    let held = RefCell::new(Held::new(MANY, 2));
    let sync = || {
        let mut held = held.borrow_mut();
        held.count_all();
        held.keeper.sync(NOW).expect("the disk works");
    };
    bencher.counter(ItemsCount::new(MANY)).with_inputs(sync).bench_local_values(|()| held.borrow_mut().count_all());
}

/// A million keys, each for the first time.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn million_keys_in_one_minute(bencher: Bencher<'_, '_>) {
    let counter = ItemsCount::new(MILLION);
    bencher.counter(counter).with_inputs(|| Held::new(MILLION, 32)).bench_local_refs(Held::count_all);
}

/// The keeper's part in that: all their cells, merged.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn read_million_cells(bencher: Bencher<'_, '_>) {
    let mut held = Held::new(MILLION, 32);
    held.count_all();
    let until = Minute::from_unix(held.minute);
    bencher.counter(ItemsCount::new(MILLION)).bench_local(|| {
        let cells = held.keeper.sealable(until).expect("nobody counts");
        assert_eq!(cells.cells().map(|cell| black_box(cell).amount.requests).sum::<u64>(), u64::from(MILLION));
    });
}

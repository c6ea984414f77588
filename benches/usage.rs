//! What the usage store takes: sealing very many keys of one minute, folding them, and asking about a month of many keys.
//!
//! `cargo bench --bench usage -- [--cells N] [--keys N] [--dir DIR]`: cells of one minute, keys of a month.
#![allow(missing_docs, clippy::print_stdout, reason = "a program whose output is its table")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keygate::meter::ledger::{Amount, Band, Cell, Class, Epoch, Minute};
use keygate::meter::{Bucket, Outbox};
use keygate::store::{Dimension, Retention, Step, UsageQuery, UsageStore};
use keygate::time::{self, Timestamp};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2026-11-01T00:00Z.
const MONTH: u32 = 29_891_520;
const DAY: u32 = 24 * 60;
const DAYS: u32 = 30;

fn main() {
    let options = Options::from_args(std::env::args().skip(1));
    let folder = tempfile::tempdir_in(&options.folder).expect("the folder can be written to");
    minute_of_many(&folder.path().join("minute.db"), options.cells);
    month_of_many(&folder.path().join("month.db"), options.keys);
}

/// What the command line asks for.
struct Options {
    cells: u32,
    keys: u32,
    folder: PathBuf,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self { cells: 1_000_000, keys: 10_000, folder: env!("CARGO_TARGET_TMPDIR").into() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            match arg.as_str() {
                "--cells" => options.cells = value().parse().expect("--cells is a number"),
                "--keys" => options.keys = value().parse().expect("--keys is a number"),
                "--dir" => options.folder = value().into(),
                "--bench" => {} // cargo says so to every benchmark
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

/// Each cell is of another key.
fn minute_of_many(path: &Path, count: u32) {
    println!("{count} keys in one minute");
    let store = open(path);
    let seal = |minute: u32, class: Class| {
        let cells: Vec<Cell> = (0..count).map(|n| Cell { class, ..cell(n, minute) }).collect();
        let mut cells = Some(cells.into_iter());
        move |store: &UsageStore| {
            let cells = cells.take().expect("it is sealed once");
            store.seal(cells, Minute::from_unix(minute), |_| false).expect("it is sealed");
        }
    };
    let mut first = seal(MONTH, Class::Success);
    print("seal, all keys new", || first(&store));
    for minute in 1..4 {
        let mut next = seal(MONTH + minute, Class::Success);
        print("seal, all keys known", || next(&store));
    }
    let mut charges = seal(MONTH + 4, Class::Admitted);
    print("seal quotas alone", || charges(&store));
    let mut again = seal(MONTH + 4, Class::Success);
    print("seal what was sealed before", || again(&store));
    print("read all quotas", || {
        store.snapshot().expect("it is read").quotas(at(MONTH), &mut |used| drop(black_box(used))).expect("it is read");
    });
    let queue: &dyn Outbox<Bucket> = &store;
    print("1000 buckets for a sink", || drop(queue.next(500_000, 1000).expect("they are read")));
    print("fold an hour of four such minutes", || fold(&store, MONTH + 70));
    let size = std::fs::metadata(path).expect("it is there").len();
    println!("{:<44} {:>10} bytes per bucket\n", "size", size / u64::from(4 * count));
}

fn month_of_many(path: &Path, keys: u32) {
    println!("{keys} keys on each of {DAYS} days");
    let store = open(path);
    for day in 0..DAYS {
        let minute = MONTH + day * DAY;
        let cells = (0..keys).map(|n| cell(n, minute));
        store.seal(cells, Minute::from_unix(minute), |_| false).expect("it is sealed");
    }
    print("fold them", || fold(&store, MONTH + DAYS * DAY + 10));
    let (plain, by_key) = (query(Step::Day, &[]), query(Step::Day, &[Dimension::Key, Dimension::Class]));
    let ask = |what: &str, query: &UsageQuery| {
        for _ in 0..3 {
            print(what, || drop(report(&store, query)));
        }
    };
    ask("by day", &plain);
    ask("by day and key, page of 1000", &by_key);
    let mut last = by_key.clone();
    last.from = at(MONTH + (DAYS - 1) * DAY);
    let after = report(&store, &last).next;
    ask("by day and key, last page", &UsageQuery { after, ..by_key.clone() });
    ask("by day, one key", &UsageQuery { key: cell(7, MONTH).key, ..plain.clone() });
    ask("by day and key, one owner of ten keys", &UsageQuery { owner: cell(7, MONTH).owner, ..by_key });
    ask("by hour", &query(Step::Hour, &[]));
    ask("by minute, of the last seven days", &query(Step::Minute, &[]));
}

fn report(store: &UsageStore, query: &UsageQuery) -> keygate::store::UsageReport {
    store.snapshot().and_then(|snapshot| snapshot.usage(query, &[])).expect("it is read")
}

fn query(by: Step, group: &[Dimension]) -> UsageQuery {
    let group: BTreeSet<Dimension> = group.iter().copied().collect();
    let (from, to) = (at(MONTH), at(MONTH + DAYS * DAY));
    let (owner, key, route, plan, after) = (None, None, None, None, None);
    UsageQuery { from, to, by, owner, key, route, plan, group, after, limit: 1000 }
}

fn fold(store: &UsageStore, minute: u32) {
    store.fold(at(minute), &Retention::default()).expect("it is folded");
}

fn open(path: &Path) -> UsageStore {
    UsageStore::open(path).expect("it opens")
}

fn at(minute: u32) -> Timestamp {
    Timestamp::from_unix_ms(i64::from(minute) * 60_000)
}

fn cell(n: u32, minute: u32) -> Cell {
    let word = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    Cell {
        epoch: Epoch { id: 1, started_ms: 1 },
        writer: n % 2,
        minute: Minute::from_unix(minute),
        turn: 0,
        token: u64::from(n),
        key: Some(format!("key_{word:016x}").parse().expect("it is an id")),
        owner: Some(format!("owner{}", n / 10).parse().expect("it is a name")),
        plan: Some("free".parse().expect("it is a name")),
        route: Some("orders".parse().expect("it is a name")),
        class: Class::Success,
        band: Band::Under100Ms,
        amount: Amount { requests: 40, units: 40, bytes_in: 9_000, bytes_out: 120_000, latency_ns: 900_000_000 },
    }
}

fn print(what: &str, work: impl FnOnce()) {
    let busy = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("time goes on");
    let before = busy();
    let took = timed(work).as_secs_f64() * 1000.0;
    println!("{what:<44} {took:>10.1} ms {:>10.1} ms of CPU", (busy() - before).as_secs_f64() * 1000.0);
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = time::now();
    work();
    time::now().since(start)
}

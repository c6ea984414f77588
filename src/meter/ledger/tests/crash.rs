//! Killed at any moment: what was counted is there, once.
//!
//! The test starts this very program again, which then is the process that counts and is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const FOLDER: &str = "KEYGATE_TEST_LEDGER_FOLDER";
const ROUNDS: u32 = 50;
const BOOKS: u32 = 2;
const KEYS: u32 = 30;

/// The process that is killed. Does nothing when it is run as a test.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut keeper = open(Path::new(&folder), SMALL);
    let mut books: Vec<Book> = (0..BOOKS).map(|_| keeper.book().unwrap()).collect();
    let routes: Vec<RouteId> = books.iter_mut().map(|book| book.route(&name("orders"))).collect();
    let mut out = std::io::stdout();
    // The harness has begun a line.
    writeln!(out).unwrap();
    for n in 0.. {
        // Often enough that memory, which dies with the process, is never needed.
        if n % 10 == 0 {
            keeper.prepare().unwrap();
        }
        if n % 70 == 0 {
            keeper.sync(NOW).unwrap();
        }
        let book = (n % BOOKS) as usize;
        count(&mut books[book], n % KEYS, routes[book], requests(1), minute(n / 100));
        writeln!(out, "done {}", n % KEYS).unwrap();
    }
}

/// Runs the child until it has reported some counts, kills it, and returns how many of each key it had reported by then.
fn kill_after(folder: &Path, reported: usize) -> BTreeMap<String, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "meter::ledger::tests::crash::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut done = lines.filter_map(|line| line.strip_prefix("done ")?.parse::<u32>().ok());
    let mut counts = BTreeMap::<String, u64>::new();
    let mut note = |n| *counts.entry(key(n).as_str().to_owned()).or_default() += 1;
    done.by_ref().take(reported).for_each(&mut note);
    child.kill().unwrap();
    done.for_each(&mut note);
    child.wait().unwrap();
    counts
}

#[test]
fn no_reported_count_is_lost_and_none_is_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..ROUNDS {
        let some = 1 + getrandom::u32().unwrap() % 400;
        let reported = kill_after(folder.path(), some as usize);
        let keeper = open(folder.path(), SMALL);
        let left = keeper.replay().unwrap();
        assert_eq!(left.damage(), []);
        let mut kept = BTreeMap::<String, Amount>::new();
        for ((_, key, route, class), amount) in totals(left.cells()) {
            assert_eq!((route.as_str(), class), ("orders", "2xx"));
            let total = kept.entry(key).or_default();
            *total = total.plus(&amount);
        }
        let requests: u64 = kept.values().map(|amount| amount.requests).sum();
        let unreported = requests - reported.values().sum::<u64>();
        assert!(unreported <= 1, "one at most was counted and not reported yet, not {unreported}");
        for (key, count) in &reported {
            let amount = &kept[key];
            assert!((*count..=count + 1).contains(&amount.requests), "{key}: {count} and {amount:?}");
            assert!(amount.units >= 2 * amount.requests && amount.units <= 2 * (count + 1));
        }
        left.discard().unwrap();
        assert_eq!(keeper.replay().unwrap().cells().len(), 0);
    }
}

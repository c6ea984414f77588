//! Anything that can happen, in any order, beside a plain sum.

use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A book counts for some keys in a row.
    Count {
        book: usize,
        keys: (u32, u32),
        route: usize,
        class: Class,
        minute: u32,
        requests: u64,
    },
    Prepare,
    Sync,
    /// The files that lie ready are on a disk that fails.
    Break,
    Seal {
        until: u32,
        release: bool,
    },
    /// A book is closed, and another one opened in its place.
    Close {
        book: usize,
    },
    /// The process dies, and the next one begins.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let count =
        (0..2_usize, (0..60_u32, 1..30_u32), 0..3_usize, select(Class::all().collect::<Vec<_>>()), 0..6_u32, 0..4_u64)
            .prop_map(|(book, keys, route, class, minute, requests)| Step::Count {
                book,
                keys,
                route,
                class,
                minute,
                requests,
            });
    prop_oneof![
        12 => count,
        6 => any::<()>().prop_map(|()| Step::Prepare),
        3 => any::<()>().prop_map(|()| Step::Sync),
        1 => any::<()>().prop_map(|()| Step::Break),
        2 => (0..7_u32, any::<bool>()).prop_map(|(until, release)| Step::Seal { until, release }),
        1 => (0..2_usize).prop_map(|book| Step::Close { book }),
        1 => any::<()>().prop_map(|()| Step::Kill),
    ]
}

/// The ledger, and beside it what it should say.
struct World {
    folder: TempDir,
    keeper: Keeper,
    books: Vec<Book>,
    closed: u32,
    /// Where the books are in time.
    minutes: [u32; 2],
    counted: Totals,
    sealed: Totals,
}

const ROUTES: [&str; 3] = ["", "orders", "a route with a rather long name"];

impl World {
    fn new() -> Self {
        let folder = quick_folder();
        let keeper = opened(&folder);
        let (counted, sealed) = (Totals::new(), Totals::new());
        let mut world = Self { folder, keeper, books: Vec::new(), closed: 0, minutes: [0; 2], counted, sealed };
        world.open_books();
        world
    }

    fn open_books(&mut self) {
        self.books = (0..2).map(|_| self.keeper.book().unwrap()).collect();
        self.minutes = [0; 2];
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Count { book, keys: (from, many), route, class, minute: at, requests: some } => {
                (from..from + many).for_each(|n| self.count(book, n, route, class, at, some));
            }
            Step::Prepare => self.keeper.prepare().unwrap(),
            Step::Sync => self.keeper.sync(NOW).unwrap(),
            Step::Break => break_ready_files(&mut self.keeper),
            Step::Seal { until, release } => self.seal(until, release)?,
            Step::Close { book } => {
                self.books[book] = self.keeper.book().unwrap();
                self.minutes[book] = 0;
            }
            Step::Kill => self.kill()?,
        }
        Ok(())
    }

    fn count(&mut self, book: usize, n: u32, route: usize, class: Class, at: u32, some: u64) {
        let at_book = &mut self.minutes[book];
        let effective = minute(at).as_unix().max(self.closed + 1);
        if effective + 1 != *at_book {
            *at_book = effective;
        }
        let book = &mut self.books[book];
        let id = ROUTES[route].parse().map_or(RouteId::NONE, |name: Name| book.route(&name));
        let (key, owner) = (key(n), name(&"o".repeat(n as usize + 1)));
        let account = Account { token: u64::from(n) + 1, key: Some(&key), owner: Some(&owner), plan: None };
        book.count(&Use { account, route: id, class, band: Band::default(), amount: requests(some) }, minute(at));
        let entry = (*at_book, key.as_str().to_owned(), ROUTES[route].to_owned(), class.label());
        let total = self.counted.entry(entry).or_default();
        *total = total.plus(&requests(some));
    }

    fn seal(&mut self, until: u32, release: bool) -> Result<(), TestCaseError> {
        self.closed = self.closed.max(minute(until).as_unix());
        let sealable = self.keeper.sealable(minute(until)).unwrap();
        if release {
            add(&mut self.sealed, sealable.cells());
            self.keeper.release(sealable).unwrap();
            let closed = self.closed;
            let of_closed = |totals: &Totals| -> Totals {
                totals
                    .iter()
                    .filter(|((at, ..), _)| *at <= closed)
                    .map(|(what, amount)| (what.clone(), *amount))
                    .collect()
            };
            // What an earlier process counted in a later minute is sealed already.
            prop_assert_eq!(of_closed(&self.sealed), of_closed(&self.counted));
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), TestCaseError> {
        // What is in memory only dies with the process; that is what the figure is for.
        if self.keeper.figures(NOW).in_memory > 0 {
            self.keeper.sync(NOW).unwrap();
        }
        self.books.clear();
        self.keeper = {
            let nothing = quick_folder();
            drop(std::mem::replace(&mut self.keeper, opened(&nothing)));
            opened(&self.folder)
        };
        let left = self.keeper.replay().unwrap();
        prop_assert_eq!(left.damage(), []);
        add(&mut self.sealed, left.cells());
        left.discard().unwrap();
        prop_assert_eq!(&self.sealed, &self.counted);
        self.closed = 0;
        self.open_books();
        Ok(())
    }
}

fn opened(folder: &TempDir) -> Keeper {
    let options = Options { folder: folder.path().to_owned(), segment_bytes: SMALL, spare: 1, overflow: 500 };
    Keeper::open(options, WALL, NOW).unwrap()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 256, ..Default::default() })]

    #[test]
    fn whatever_happens_the_sums_are_right(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step)?;
        }
        world.seal(9, true)?;
        prop_assert_eq!(&world.sealed, &world.counted);
        prop_assert_eq!(world.keeper.figures(NOW).lost_requests, 0);
    }
}

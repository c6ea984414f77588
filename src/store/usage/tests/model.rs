//! Random lives of processes: whatever is sealed, sealed again, folded, killed or late, the sums are those of what was counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::{Config, TestCaseError};

use super::*;
use crate::meter::{Bucket, Outbox};
use crate::store::usage::calendar::{DAY, floor, month, time};

/// What can happen next.
#[derive(Clone, Debug)]
enum Act {
    /// So many minutes later, something is counted.
    Count { minutes: u32, what: [u8; 6], amount: u16 },
    /// What is over is sealed; then the ledger lets go of it, or somebody dies before.
    Seal(Then),
    /// The process is killed, and another one starts.
    Kill,
    /// What dead processes left is sealed; at last.
    Replay(Then),
    /// Hours and days are folded.
    Fold,
    /// Everything is asked for.
    Ask { dimensions: [bool; 5], by: u8, filter: [bool; 4], limit: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Release,
    Die,
}

fn act() -> impl Strategy<Value = Act> {
    let then = || prop_oneof![3 => Just(Then::Release), 1 => Just(Then::Die)];
    let minutes = prop_oneof![6 => 0..3_u32, 2 => 20..90_u32, 1 => 600..3000_u32];
    prop_oneof![
        12 => (minutes, any::<[u8; 6]>(), any::<u16>())
            .prop_map(|(minutes, what, amount)| Act::Count { minutes, what, amount }),
        4 => then().prop_map(Act::Seal),
        1 => Just(Act::Kill),
        2 => then().prop_map(Act::Replay),
        2 => Just(Act::Fold),
        4 => (any::<[bool; 5]>(), any::<u8>(), any::<[bool; 4]>(), 1..20_usize)
            .prop_map(|(dimensions, by, filter, limit)| Act::Ask { dimensions, by, filter, limit }),
    ]
}

/// What is known of the world besides the store.
struct World {
    folder: tempfile::TempDir,
    store: Option<UsageStore>,
    now: u32,
    epoch: u64,
    /// Closed by sealing: counted in a later one from now on.
    closed: u32,
    /// In the ledger of the process that lives, and of those that are dead.
    live: Vec<Cell>,
    dead: Vec<Cell>,
    /// All that was ever counted.
    all: Vec<Cell>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Some(open(&folder));
        let (live, dead, all) = Default::default();
        Self { folder, store, now: MINUTE, epoch: 1, closed: 0, live, dead, all }
    }

    fn store(&self) -> &UsageStore {
        self.store.as_ref().unwrap()
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Count { minutes, what, amount } => self.count(*minutes, *what, u64::from(*amount)),
            Act::Seal(then) => self.seal(*then),
            Act::Kill => self.kill(),
            Act::Replay(then) => {
                sealed(self.store(), &self.dead, u32::MAX);
                match then {
                    Then::Release => self.dead.clear(),
                    Then::Die => self.kill(),
                }
            }
            Act::Fold => drop(self.store().fold(time(self.now), &KEPT).unwrap()),
            Act::Ask { dimensions, by, filter, limit } => self.ask(*dimensions, *by, *filter, *limit)?,
        }
        Ok(())
    }

    fn count(&mut self, minutes: u32, what: [u8; 6], requests: u64) {
        self.now += minutes;
        let name = |text: &str, n: u8| (!n.is_multiple_of(4)).then(|| format!("{text}{}", n % 4).parse().unwrap());
        let [key, owner, plan, route, class, band] = what;
        let classes = [Class::Success, Class::Denied(Denial::LimitExceeded), Class::Admitted, Class::ClientGone];
        let cell = Cell {
            epoch: epoch(self.epoch),
            writer: u32::from(key % 2),
            minute: until(self.now.max(self.closed + 1)),
            turn: owner % 2,
            token: self.all.len() as u64,
            key: (key % 4 > 0).then(|| format!("key_{}", key % 4).parse().unwrap()),
            owner: name("owner", owner),
            plan: name("plan", plan),
            route: name("route", route),
            class: classes[usize::from(class % 4)],
            band: Band::ALL[usize::from(band % 4)],
            amount: Amount { requests, units: requests * 3, bytes_in: 1, bytes_out: 7, latency_ns: requests * 11 },
        };
        self.live.push(cell.clone());
        self.all.push(cell);
    }

    fn seal(&mut self, then: Then) {
        self.closed = self.closed.max(self.now - 1);
        sealed(self.store(), &self.live, self.closed);
        match then {
            Then::Release => self.live.retain(|cell| cell.minute > until(self.closed)),
            Then::Die => self.kill(),
        }
    }

    fn kill(&mut self) {
        drop(self.store.take());
        self.store = Some(open(&self.folder));
        self.dead.append(&mut self.live);
        self.epoch += 1;
        self.closed = 0;
    }

    /// Rows, page by page, and totals: as they are, and as they should be.
    fn ask(&self, dimensions: [bool; 5], by: u8, filter: [bool; 4], limit: usize) -> Result<(), TestCaseError> {
        use Dimension::{Class as ByClass, Key, Owner, Plan, Route};
        let group: BTreeSet<_> = [Key, Owner, Plan, Route, ByClass]
            .into_iter()
            .zip(dimensions)
            .filter_map(|(d, is)| is.then_some(d))
            .collect();
        let by = [Step::Minute, Step::Hour, Step::Day][usize::from(by % 3)];
        let mut query = UsageQuery { group, limit, ..query(by, MINUTE - DAY, self.now + 2 * DAY) };
        let [key, owner, plan, route] = filter;
        query.key = key.then(|| "key_1".parse().unwrap());
        query.owner = owner.then(|| "owner2".parse().unwrap());
        query.plan = plan.then(|| "plan3".parse().unwrap());
        query.route = route.then(|| "route1".parse().unwrap());
        let (expected, totals) = self.expected(&query);

        // A cell may be among the unsealed ones and sealed: nobody has let go of it yet.
        let unsealed = [self.live.as_slice(), &self.dead].concat();
        let snapshot = self.store().snapshot().unwrap();
        let mut rows = Vec::new();
        loop {
            let report = snapshot.usage(&query, &unsealed).unwrap();
            prop_assert_eq!(report.totals, totals);
            rows.extend(report.rows);
            match report.next {
                Some(next) => query.after = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|row| {
                let texts = [
                    row.key.map(|key| key.to_string()),
                    row.owner.map(|name| name.to_string()),
                    row.plan.map(|name| name.to_string()),
                    row.route.map(|name| name.to_string()),
                ];
                ((calendar::minute(row.start), texts, row.class.map(Class::number)), row.used)
            })
            .collect();
        prop_assert_eq!(rows, expected);
        Ok(())
    }

    #[allow(clippy::type_complexity, reason = "a row, by what it is about")]
    fn expected(&self, query: &UsageQuery) -> (Vec<((u32, [Option<String>; 4], Option<u8>), Used)>, Used) {
        let (mut rows, mut totals) = (BTreeMap::new(), Used::default());
        let told = |dimension, text: Option<String>| text.filter(|_| query.group.contains(&dimension));
        for cell in self.all.iter().filter(|cell| cell.class != Class::Admitted) {
            let chosen = (query.key.is_none() || query.key == cell.key)
                && (query.owner.is_none() || query.owner == cell.owner)
                && (query.plan.is_none() || query.plan == cell.plan)
                && (query.route.is_none() || query.route == cell.route);
            if !chosen {
                continue;
            }
            let texts = [
                told(Dimension::Key, cell.key.as_ref().map(ToString::to_string)),
                told(Dimension::Owner, cell.owner.as_ref().map(ToString::to_string)),
                told(Dimension::Plan, cell.plan.as_ref().map(ToString::to_string)),
                told(Dimension::Route, cell.route.as_ref().map(ToString::to_string)),
            ];
            let class = query.group.contains(&Dimension::Class).then(|| cell.class.number());
            let start = floor(cell.minute.as_unix(), query.by.span());
            let used = Used::of(&cell.amount, cell.band);
            rows.entry((start, texts, class)).or_insert_with(Used::default).add(&used);
            totals.add(&used);
        }
        (rows.into_iter().collect(), totals)
    }

    /// Everything that was ever counted is there once, however it is asked for, when all is sealed.
    fn check_end(&mut self) -> Result<(), TestCaseError> {
        self.kill();
        for _ in 0..2 {
            sealed(self.store(), &self.dead, u32::MAX);
        }
        self.check_quotas()?;
        self.check_queue()?;
        for _ in ["not folded", "folded"] {
            for by in 0..3 {
                self.ask([true; 5], by, [false; 4], 7)?;
                self.ask([false; 5], by, [false; 4], 7)?;
            }
            self.now += 3 * DAY;
            self.store().fold(time(self.now), &KEPT).unwrap();
        }
        self.check_queue()
    }

    /// A sink that starts at the beginning gets all there is, piece by piece, each bucket under an id of its own.
    fn check_queue(&self) -> Result<(), TestCaseError> {
        let (mut after, mut ids, mut requests) = (0, BTreeSet::new(), 0);
        let queue: &dyn Outbox<Bucket> = self.store();
        loop {
            let buckets = queue.next(after, 3).unwrap();
            let Some(last) = buckets.last() else { break };
            prop_assert_eq!(buckets[0].seq, after + 1);
            after = last.seq;
            requests += buckets.iter().map(|bucket| bucket.amount.requests).sum::<u64>();
            ids.extend(buckets.iter().map(|bucket| bucket.id));
        }
        prop_assert_eq!(ids.len() as u64, after);
        let counted = self.all.iter().filter(|cell| cell.class != Class::Admitted);
        prop_assert_eq!(requests, counted.map(|cell| cell.amount.requests).sum::<u64>());
        let proofs = self.store().snapshot().unwrap().verify(time(0), time(self.now + 2 * DAY)).unwrap();
        prop_assert_eq!(proofs.iter().map(|day| day.sealed.requests).sum::<u64>(), requests);
        prop_assert_eq!(proofs.into_iter().flat_map(|day| day.faults).collect::<Vec<_>>(), [""; 0]);
        Ok(())
    }

    fn check_quotas(&self) -> Result<(), TestCaseError> {
        let charged = self.all.iter().filter(|cell| cell.class == Class::Admitted && cell.key.is_some());
        let (mut expected, mut found) = (BTreeMap::new(), BTreeMap::new());
        let (today, this_month) = (floor(self.now, DAY), month(self.now));
        for cell in charged {
            let minute = cell.minute.as_unix();
            let (day, month_of) = (floor(minute, DAY), month(minute));
            let charges = [
                (Period::Day, day, [today, today + DAY].contains(&day)),
                (Period::Month, month_of, [this_month, month(this_month + 32 * DAY)].contains(&month_of)),
            ];
            for (period, start, _) in charges.into_iter().filter(|(_, _, is_told)| *is_told) {
                let sum: &mut u64 = expected.entry((cell.key.clone().unwrap(), period, time(start))).or_default();
                *sum += cell.amount.units;
            }
        }
        for charged in quotas(self.store(), self.now) {
            let sum: &mut u64 = found.entry((charged.key, charged.period, charged.start)).or_default();
            *sum += charged.used;
        }
        prop_assert_eq!(found, expected);
        Ok(())
    }
}

/// Longer than anybody lives here.
const KEPT: Retention = Retention { minutes: YEAR, hours: YEAR, days: YEAR };
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

proptest! {
    #![proptest_config(Config { cases: 96, ..Config::default() })]
    #[test]
    fn sums_are_those_of_what_was_counted(acts in proptest::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act)?;
        }
        world.check_end()?;
    }
}

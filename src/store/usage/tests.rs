//! Usage: sealed once, whatever dies; summed up the same however it is asked for; refused when the file is not sound.

mod model;
mod outbox;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::key::KeyId;
use crate::meter::ledger::{Amount, Band, Class, Epoch};
use crate::policy::{Denial, Period};

/// 2026-11-24T06:00Z.
const MINUTE: u32 = 29_925_000;

fn epoch(id: u64) -> Epoch {
    Epoch { id, started_ms: 1_782_907_200_000 }
}

/// Two requests of a key on a route, of five units.
fn cell(minute: u32) -> Cell {
    Cell {
        epoch: epoch(1),
        writer: 0,
        minute: Minute::from_unix(minute),
        turn: 0,
        token: 7,
        key: Some("key_a".parse().unwrap()),
        owner: Some("acme".parse().unwrap()),
        plan: Some("free".parse().unwrap()),
        route: Some("orders".parse().unwrap()),
        class: Class::Success,
        band: Band::Under10Ms,
        amount: Amount { requests: 2, units: 5, bytes_in: 10, bytes_out: 1000, latency_ns: 4_000_000 },
    }
}

fn until(minute: u32) -> Minute {
    Minute::from_unix(minute)
}

fn sealed(store: &UsageStore, cells: &[Cell], minute: u32) -> Sealed {
    store.seal(cells.iter().cloned(), until(minute), |_| false).unwrap()
}

fn open(folder: &tempfile::TempDir) -> UsageStore {
    UsageStore::open(&folder.path().join("usage.db")).unwrap()
}

fn query(by: Step, from: u32, to: u32) -> UsageQuery {
    let (from, to) = (calendar::time(from), calendar::time(to));
    let (owner, key, route, plan, after) = (None, None, None, None, None);
    UsageQuery { from, to, by, owner, key, route, plan, group: [].into(), after, limit: 1000 }
}

fn usage(store: &UsageStore, query: &UsageQuery) -> UsageReport {
    store.snapshot().unwrap().usage(query, &[]).unwrap()
}

fn quotas(store: &UsageStore, minute: u32) -> Vec<QuotaUse> {
    let mut all = Vec::new();
    store.snapshot().unwrap().quotas(calendar::time(minute), &mut |charged| all.push(charged)).unwrap();
    all
}

#[test]
fn cells_that_differ_in_writer_turn_token_or_band_become_one_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let cells = [
        cell(MINUTE),
        Cell { writer: 1, ..cell(MINUTE) },
        Cell { turn: 1, ..cell(MINUTE) },
        Cell { token: 8, band: Band::Over1S, ..cell(MINUTE) },
        Cell { class: Class::ServerError, ..cell(MINUTE) },
    ];
    assert_eq!(sealed(&store, &cells, MINUTE), Sealed { buckets: 2, requests: 10, units: 25 });
    let query = UsageQuery { group: [Dimension::Class].into(), ..query(Step::Minute, MINUTE, MINUTE + 1) };
    let report = usage(&store, &query);
    assert_eq!(report.rows.len(), 2);
    let first = &report.rows[0];
    assert_eq!((first.class, first.used.requests, first.used.took), (Some(Class::Success), 8, [6, 0, 0, 2]));
    assert_eq!(report.totals.latency, Duration::from_millis(20));
}

#[test]
fn what_is_sealed_again_counts_once_and_what_is_later_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let cells = [cell(MINUTE), cell(MINUTE + 1), cell(MINUTE + 2)];
    assert_eq!(sealed(&store, &cells, MINUTE + 1).buckets, 2);
    assert_eq!(sealed(&store, &cells, MINUTE + 1), Sealed::default());
    drop(store);
    let store = open(&folder);
    assert_eq!(sealed(&store, &cells, u32::MAX).buckets, 1);
    assert_eq!(sealed(&store, &cells, u32::MAX), Sealed::default());
    let other_life = Cell { epoch: epoch(2), ..cell(MINUTE) };
    assert_eq!(sealed(&store, &[other_life], MINUTE).buckets, 1);
    assert_eq!(usage(&store, &query(Step::Day, MINUTE, MINUTE + 3)).totals.requests, 8);
}

#[test]
fn what_is_not_sealed_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let cells = [cell(MINUTE), cell(MINUTE + 1), Cell { class: Class::Admitted, ..cell(MINUTE + 1) }];
    sealed(&store, &cells, MINUTE);
    let report = store.snapshot().unwrap().usage(&query(Step::Minute, MINUTE, MINUTE + 2), &cells).unwrap();
    assert_eq!(report.rows.iter().map(|row| row.used.requests).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(report.totals.requests, 4);
}

#[test]
fn a_snapshot_does_not_see_what_is_sealed_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let snapshot = store.snapshot().unwrap();
    sealed(&store, &[cell(MINUTE)], MINUTE);
    let query = query(Step::Minute, MINUTE, MINUTE + 1);
    assert_eq!(snapshot.usage(&query, &[]).unwrap().totals.requests, 0);
    assert_eq!(snapshot.usage(&query, &[cell(MINUTE)]).unwrap().totals.requests, 2);
    drop(snapshot);
    assert_eq!(usage(&store, &query).totals.requests, 2);
}

#[test]
fn quotas_are_charged_by_day_and_month_and_make_no_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let admitted = |minute| Cell { class: Class::Admitted, ..cell(minute) };
    let nobody = Cell { key: None, owner: None, plan: None, ..admitted(MINUTE) };
    let yesterday = MINUTE - 24 * 60;
    let cells = [admitted(yesterday), admitted(MINUTE), Cell { token: 8, ..admitted(MINUTE) }, nobody];
    assert_eq!(sealed(&store, &cells, MINUTE), Sealed::default());
    assert_eq!(sealed(&store, &cells, MINUTE), Sealed::default());
    let key: KeyId = "key_a".parse().unwrap();
    let charged = |period: Period, minute, used| QuotaUse {
        key: key.clone(),
        period,
        start: period.start(calendar::time(minute)),
        used,
    };
    let (today, month) = (charged(Period::Day, MINUTE, 10), charged(Period::Month, MINUTE, 15));
    assert_eq!(quotas(&store, MINUTE), [today.clone(), month.clone()]);
    assert_eq!(quotas(&store, yesterday), [charged(Period::Day, yesterday, 5), today, month.clone()]);
    assert_eq!(quotas(&store, MINUTE - 31 * 24 * 60), [month]);
    assert_eq!(quotas(&store, MINUTE + 31 * 24 * 60), []);
    sealed(&store, &[Cell { plan: None, ..admitted(MINUTE + 1) }], MINUTE + 1);
    let of_day = |charged: &QuotaUse| (charged.period == Period::Day).then_some(charged.used);
    assert_eq!(quotas(&store, MINUTE).iter().filter_map(of_day).sum::<u64>(), 15);
}

#[test]
fn absurd_amounts_stop_at_the_greatest_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let amount = Amount { requests: 1, units: u64::MAX, bytes_in: u64::MAX, bytes_out: 0, latency_ns: u64::MAX };
    let absurd = |minute| Cell { amount, ..cell(minute) };
    let cells = [absurd(MINUTE), absurd(MINUTE + 1), Cell { class: Class::Admitted, ..absurd(MINUTE) }];
    sealed(&store, &cells, MINUTE + 1);
    let now = calendar::time(MINUTE + 3 * 24 * 60);
    store.fold(now, &Retention::default()).unwrap();
    sealed(&store, &[Cell { epoch: epoch(2), ..absurd(MINUTE) }], MINUTE + 1);
    let totals = usage(&store, &query(Step::Day, MINUTE, MINUTE + 1)).totals;
    assert_eq!((totals.requests, totals.units), (3, i64::MAX.cast_unsigned()));
}

#[test]
fn filters_choose_and_groups_tell_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let other = Cell { key: Some("key_b".parse().unwrap()), owner: None, ..cell(MINUTE) };
    let unknown = Cell { route: None, class: Class::Denied(Denial::RouteUnknown), ..cell(MINUTE) };
    let stranger = Cell { key: None, owner: None, plan: None, ..cell(MINUTE) };
    let cells = [cell(MINUTE), other, unknown, stranger];
    sealed(&store, &cells, MINUTE);
    let check = |change: &dyn Fn(&mut UsageQuery), requests| {
        let mut query = query(Step::Hour, MINUTE, MINUTE + 1);
        change(&mut query);
        assert_eq!(usage(&store, &query).totals.requests, requests, "{query:?}");
        let empty = tempfile::tempdir().unwrap();
        let report = open(&empty).snapshot().unwrap().usage(&query, &cells).unwrap();
        assert_eq!(report.totals.requests, requests, "{query:?}");
    };
    check(&|_| (), 8);
    check(&|query| query.owner = Some("acme".parse().unwrap()), 4);
    check(&|query| query.owner = Some("nobody".parse().unwrap()), 0);
    check(&|query| query.key = Some("key_b".parse().unwrap()), 2);
    check(&|query| query.plan = Some("free".parse().unwrap()), 6);
    check(&|query| query.route = Some("orders".parse().unwrap()), 6);
    check(&|query| query.route = Some("none".parse().unwrap()), 0);
    let group = [Dimension::Key, Dimension::Route, Dimension::Class].into();
    let rows = usage(&store, &UsageQuery { group, ..query(Step::Day, MINUTE, MINUTE + 1) }).rows;
    let told: Vec<_> =
        rows.iter().map(|row| (row.key.as_ref().map(ToString::to_string), row.route.is_some())).collect();
    let [a, b] = ["key_a", "key_b"].map(|key| Some(key.to_owned()));
    assert_eq!(told, [(None, true), (a.clone(), false), (a, true), (b, true)]);
    assert_eq!(rows[1].class.and_then(Class::code), Some("route_unknown"));
    assert!(rows.iter().all(|row| row.owner.is_none() && row.start == calendar::time(calendar::floor(MINUTE, 1440))));
}

#[test]
fn what_is_old_is_kept_more_and_more_coarsely() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let day = 24 * 60;
    let cells: Vec<Cell> = (0..120).map(|n| cell(MINUTE - n * day)).collect();
    sealed(&store, &cells, MINUTE);
    let (from, now) = (MINUTE - 200 * day, calendar::time(MINUTE + day));
    let rows = |by| usage(&store, &query(by, from, MINUTE + 1)).rows.len();
    assert_eq!((rows(Step::Minute), rows(Step::Hour), rows(Step::Day)), (120, 120, 120));
    let folded = store.fold(now, &Retention::default()).unwrap();
    assert_eq!(folded.spans, 240);
    assert_eq!((rows(Step::Minute), rows(Step::Hour), rows(Step::Day)), (7, 90, 120));
    assert_eq!(store.fold(now, &Retention::default()).unwrap(), Folded::default());
    let later = calendar::time(MINUTE + 5 * 365 * day);
    store.fold(later, &Retention::default()).unwrap();
    assert_eq!((rows(Step::Minute), rows(Step::Hour), rows(Step::Day)), (0, 0, 1));
}

#[test]
fn pages_that_were_freed_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let retention = Retention { minutes: Duration::from_secs(3600), ..Retention::default() };
    let mut pages = Vec::new();
    for hour in 0..12 {
        let minute = MINUTE + hour * 60;
        let keys = (0..5000).map(|n| Cell { key: Some(format!("key_{n}").parse().unwrap()), ..cell(minute) });
        store.seal(keys, until(minute), |_| false).unwrap();
        store.fold(calendar::time(minute), &retention).unwrap();
        let bytes = fs::metadata(folder.path().join("usage.db")).unwrap().len();
        pages.push(bytes);
    }
    let rows: i64 = store.write(|t| Ok(t.query_row("SELECT count(*) FROM minutes", [], |row| row.get(0))?)).unwrap();
    assert!(rows <= 15_000, "{rows}");
    let free: i64 = store.write(|t| Ok(t.pragma_query_value(None, "freelist_count", |row| row.get(0))?)).unwrap();
    assert!(free < 500, "{free} pages are free, {pages:?}");
}

/// A folder with a closed store of one bucket.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    sealed(&open(&folder), &[cell(MINUTE)], MINUTE);
    let path = folder.path().join("usage.db");
    (folder, path)
}

fn tamper(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[track_caller]
fn refused(path: &Path) -> OpenError {
    let before = fs::read(path).ok();
    let error = UsageStore::open(path).unwrap_err();
    assert_eq!(fs::read(path).ok(), before, "the file was changed");
    error
}

#[test]
fn a_file_of_the_first_version_is_taken_along() {
    let (folder, path) = closed();
    tamper(&path, "DROP TABLE heard; PRAGMA user_version = 1");
    let store = open(&folder);
    assert_eq!(store.heard().unwrap(), None);
    let heard = Some(crate::store::Chain { rows: 7, hash: [3; 32] });
    store.hear(&[], heard).unwrap();
    assert_eq!(store.heard().unwrap(), heard);
}

#[test]
fn a_damaged_foreign_or_newer_file_is_refused_and_left_alone() {
    let (folder, path) = closed();
    let whole = fs::read(&path).unwrap();
    for len in [0, 4096, 10_000, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(refused(&path), OpenError::Damaged { .. }), "{len}");
    }
    fs::write(&path, &whole).unwrap();
    tamper(&path, "PRAGMA user_version = 42");
    assert!(matches!(refused(&path), OpenError::Newer { found: 42, .. }));
    fs::write(&path, &whole).unwrap();
    tamper(&path, "DELETE FROM head");
    assert!(matches!(refused(&path), OpenError::Damaged { .. }));
    fs::write(&path, &whole).unwrap();
    assert!(matches!(crate::store::SqliteStore::open(&path), Err(OpenError::Foreign(_))));
    let keys = folder.path().join("keys.db");
    drop(crate::store::SqliteStore::open(&keys).unwrap());
    assert!(matches!(refused(&keys), OpenError::Foreign(_)));
    let first = UsageStore::open(&path).unwrap();
    assert!(matches!(UsageStore::open(&path), Err(OpenError::Locked(_))));
    drop(first);
    assert_eq!(usage(&open(&folder), &query(Step::Day, MINUTE, MINUTE + 1)).totals.requests, 2);
}

#[test]
fn a_copy_is_sound_and_a_check_finds_what_is_not() {
    let (folder, path) = closed();
    let (store, copy) = (open(&folder), folder.path().join("copy.db"));
    sealed(&store, &[cell(MINUTE + 1)], MINUTE + 1);
    UsageStore::backup(&path, &copy).unwrap();
    assert!(matches!(UsageStore::backup(&path, &copy), Err(OpenError::Exists(_))));
    for path in [&path, &copy] {
        assert_eq!(UsageStore::check(path).unwrap(), [""; 0]);
    }
    tamper(&copy, "UPDATE minutes SET requests = 9 WHERE seq = 1");
    assert!(UsageStore::check(&copy).unwrap()[0].contains("11 requests"));
    let copied = UsageStore::open(&copy).unwrap();
    assert_eq!(usage(&copied, &query(Step::Day, MINUTE, MINUTE + 2)).totals.requests, 11);
}

#[test]
fn a_class_of_a_newer_program_is_named_where_it_is_told_and_counted_where_not() {
    let (folder, path) = closed();
    tamper(&path, "UPDATE minutes SET class = 63");
    let store = open(&folder);
    let query = query(Step::Day, MINUTE, MINUTE + 1);
    assert_eq!(usage(&store, &query).totals.requests, 2);
    let query = UsageQuery { group: [Dimension::Class].into(), ..query };
    let error = store.snapshot().unwrap().usage(&query, &[]).unwrap_err();
    assert!(error.to_string().contains("newer program"), "{error}");
}

#[test]
fn a_full_disk_seals_nothing_and_sealing_goes_on_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let limit = |pages: i64| store.write(|t| Ok(t.pragma_update(None, "max_page_count", pages)?)).unwrap();
    let cells: Vec<Cell> =
        (0..5000).map(|n| Cell { key: Some(format!("key_{n}").parse().unwrap()), ..cell(MINUTE) }).collect();
    limit(40);
    assert!(store.seal(cells.iter().cloned(), until(MINUTE), |_| false).is_err());
    assert_eq!(usage(&store, &query(Step::Day, MINUTE, MINUTE + 1)).totals.requests, 0);
    limit(1 << 30);
    assert_eq!(sealed(&store, &cells, MINUTE).buckets, 5000);
}

//! The queues: in order, kept for whom they wait, given up only when they are full; and the proof that sums agree.

use super::*;
use crate::key::Name;
use crate::meter::{Backlog, Bucket, BucketId, Cause, Outbox, Progress, Queued, SetAside, Start};
use crate::store::usage::calendar::time;

const DAY: u32 = 24 * 60;

fn buckets(store: &UsageStore) -> &dyn Outbox<Bucket> {
    store
}

fn queue_of_events(store: &UsageStore) -> &dyn Outbox<Event> {
    store
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn reached(seq: u64) -> Progress {
    Progress { acknowledged: seq, note: String::new() }
}

fn event(id: &str, minute: u32) -> Event {
    let data = serde_json::json!({"share": 0.8});
    Event { seq: 0, id: id.into(), kind: "quota.threshold".into(), at: time(minute), subject: "key_a".into(), data }
}

fn proofs(store: &UsageStore, from: u32, to: u32) -> Vec<DayProof> {
    store.snapshot().unwrap().verify(time(from), time(to)).unwrap()
}

#[test]
fn a_bucket_says_all_that_was_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let nobody = Cell { key: None, owner: None, plan: None, route: None, ..cell(MINUTE) };
    let cells = [cell(MINUTE), nobody, Cell { band: Band::Under1S, ..cell(MINUTE) }, cell(MINUTE + 1)];
    store.seal(cells.into_iter(), until(MINUTE + 1), |minute| minute == until(MINUTE + 1)).unwrap();
    let all = buckets(&store).next(0, 10).unwrap();
    assert!(all.iter().map(Queued::seq).eq(1..=3));
    let first = all.iter().find(|bucket| bucket.key.is_some() && bucket.minute == until(MINUTE)).unwrap();
    let amount = Amount { requests: 4, units: 10, bytes_in: 20, bytes_out: 2000, latency_ns: 8_000_000 };
    let cell = cell(MINUTE);
    let (key, owner, plan, route) = (cell.key, cell.owner, cell.plan, cell.route);
    let (id, seq, minute, class) = (first.id, first.seq, cell.minute, cell.class);
    let took = [2, 0, 2, 0];
    assert_eq!(*first, Bucket { id, seq, minute, key, owner, plan, route, class, amount, took, is_doubtful: false });
    assert!(all[2].is_doubtful && all[2].minute == until(MINUTE + 1));
    assert_eq!(buckets(&store).next(1, 1).unwrap(), [all[1].clone()]);
}

#[test]
fn the_id_of_a_bucket_stays_the_same_and_is_of_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let cells = [
        cell(MINUTE),
        cell(MINUTE + 1),
        Cell { class: Class::ServerError, ..cell(MINUTE) },
        Cell { owner: None, ..cell(MINUTE) },
        Cell { owner: None, plan: Some(name("acme")), ..cell(MINUTE) },
        Cell { plan: None, owner: Some(name("acmefree")), ..cell(MINUTE) },
        Cell { epoch: epoch(2), ..cell(MINUTE) },
    ];
    sealed(&store, &cells, MINUTE + 1);
    let ids = |store: &UsageStore| -> std::collections::BTreeSet<BucketId> {
        buckets(store).next(0, 100).unwrap().into_iter().map(|bucket| bucket.id).collect()
    };
    let before = ids(&store);
    assert_eq!(before.len(), cells.len());
    assert!(before.iter().any(|id| id.to_string() == "83302f1bb9612de5f7a6dbcb4ee44289"), "{before:?}");
    drop(store);
    assert_eq!(ids(&open(&folder)), before);
}

#[test]
fn each_sink_has_its_own_place_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (early, late) = (name("early"), name("late"));
    sealed(&store, &[cell(MINUTE), cell(MINUTE + 1)], MINUTE + 1);
    assert_eq!(buckets(&store).progress(&early, Start::Beginning).unwrap(), reached(0));
    assert_eq!(buckets(&store).progress(&late, Start::End).unwrap(), reached(2));
    sealed(&store, &[cell(MINUTE + 2)], MINUTE + 2);
    let moved = Progress { acknowledged: 1, note: "{\"sent\":1}".into() };
    let aside = SetAside { seq: 1, cause: Cause::Refused };
    buckets(&store).advance(&early, &moved, &[aside.clone(), aside]).unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(buckets(&store).progress(&early, Start::End).unwrap(), moved);
    let backlog = |sink| buckets(&store).backlog(sink).unwrap();
    assert_eq!(backlog(&early), Backlog { waiting: 2, oldest: Some(time(MINUTE + 1)), set_aside: 1 });
    assert_eq!(backlog(&late), Backlog { waiting: 1, oldest: Some(time(MINUTE + 2)), set_aside: 0 });
    assert_eq!(queue_of_events(&store).backlog(&early).unwrap(), Backlog::default());
    buckets(&store).retain(std::slice::from_ref(&late)).unwrap();
    assert_eq!(backlog(&early), Backlog::default());
    assert_eq!(backlog(&late).waiting, 1);
}

#[test]
fn events_keep_their_order_and_come_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.publish(&[event("a", MINUTE), event("b", MINUTE)]).unwrap();
    store.publish(&[event("b", MINUTE), event("c", MINUTE + 1)]).unwrap();
    let expected = [("a", 1, MINUTE), ("b", 2, MINUTE), ("c", 3, MINUTE + 1)];
    let expected = expected.map(|(id, seq, minute)| Event { seq, ..event(id, minute) });
    assert_eq!(queue_of_events(&store).next(0, 10).unwrap(), expected);
    assert_eq!(queue_of_events(&store).progress(&name("hook"), Start::End).unwrap(), reached(3));
    let backlog = Backlog { waiting: 0, oldest: None, set_aside: 0 };
    assert_eq!(queue_of_events(&store).backlog(&name("hook")).unwrap(), backlog);
}

#[test]
fn what_a_sink_waits_for_is_kept_until_the_outbox_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (slow, sink) = (name("slow"), name("good"));
    let hour = Duration::from_secs(3600);
    let retention = Retention { minutes: hour, ..Retention::default() };
    for sink in [&slow, &sink] {
        buckets(&store).progress(sink, Start::Beginning).unwrap();
    }
    let kept = |days: u32, bounds: &Bounds| {
        let folded = store.fold_within(time(MINUTE + days * DAY), &retention, bounds).unwrap();
        (buckets(&store).next(0, 100).unwrap().len(), folded.overruns.get("slow").copied())
    };
    sealed(&store, &(0..3).map(|day| cell(MINUTE + day * DAY)).collect::<Vec<_>>(), MINUTE + 2 * DAY);
    assert_eq!(kept(3, &OUTBOX), (3, None));
    buckets(&store).advance(&sink, &reached(3), &[]).unwrap();
    buckets(&store).advance(&slow, &reached(1), &[SetAside { seq: 1, cause: Cause::Unfit }]).unwrap();
    assert_eq!(kept(3, &OUTBOX), (2, None));
    assert_eq!(
        buckets(&store).backlog(&slow).unwrap(),
        Backlog { waiting: 2, oldest: Some(time(MINUTE + DAY)), set_aside: 0 }
    );
    assert_eq!(kept(3, &Bounds { buckets: 1, ..OUTBOX }), (1, Some(1)));
    assert_eq!(kept(12, &OUTBOX), (0, Some(1)));
    let lost = |proofs: Vec<DayProof>| proofs.iter().flat_map(|day| &day.sinks).map(|sink| sink.overrun).sum::<u64>();
    assert_eq!(lost(proofs(&store, MINUTE, MINUTE + 3 * DAY)), 2);
    assert_eq!(usage(&store, &query(Step::Day, MINUTE, MINUTE + 3 * DAY)).totals.requests, 6);
}

#[test]
fn events_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let hook = name("hook");
    queue_of_events(&store).progress(&hook, Start::Beginning).unwrap();
    store.publish(&["a", "b", "c"].map(|id| event(id, MINUTE))).unwrap();
    queue_of_events(&store).advance(&hook, &reached(1), &[]).unwrap();
    let bounds = Bounds { events: 1, ..OUTBOX };
    let folded = store.fold_within(time(MINUTE), &Retention::default(), &bounds).unwrap();
    assert_eq!((folded.deleted, folded.overruns.get("hook")), (2, Some(&1)));
    store.fold_within(time(MINUTE + 36 * DAY), &Retention::default(), &OUTBOX).unwrap();
    assert_eq!(queue_of_events(&store).next(0, 10).unwrap(), []);
    store.publish(&[event("d", MINUTE)]).unwrap();
    assert_eq!(queue_of_events(&store).next(0, 10).unwrap()[0].seq, 4);
}

#[test]
fn sums_that_agree_are_proved_and_others_are_named() {
    let (folder, path) = closed();
    let store = open(&folder);
    let sink = name("file");
    buckets(&store).progress(&sink, Start::End).unwrap();
    let life = |cell| Cell { epoch: epoch(2), ..cell };
    sealed(&store, &[cell(MINUTE), life(cell(MINUTE)), life(cell(MINUTE + 1)), life(cell(MINUTE + DAY))], u32::MAX);
    buckets(&store).advance(&sink, &reached(3), &[SetAside { seq: 2, cause: Cause::Refused }]).unwrap();
    store.fold(time(MINUTE + DAY), &Retention::default()).unwrap();
    let found = proofs(&store, MINUTE, MINUTE + 2 * DAY);
    let [first, second] = &found[..] else { panic!("{found:?}") };
    let three = Sealed { buckets: 3, requests: 6, units: 15 };
    assert_eq!((first.sealed, first.minutes), (three, Some(three)));
    assert_eq!(first.days, Some(Sealed { buckets: 1, ..three }));
    assert_eq!(first.hours, first.days);
    let (earlier, acknowledged, waiting, set_aside) = (1, 1, 0, 1);
    let on_its_way = SinkProof { sink: "file".into(), earlier, acknowledged, waiting, set_aside, overrun: 0 };
    assert_eq!(first.sinks, [on_its_way]);
    assert_eq!((second.hours, second.days, second.sinks[0].waiting), (None, None, 1));
    assert!(found.iter().all(|day| day.faults.is_empty()));
    drop(store);

    for (sql, table) in [
        ("UPDATE minutes SET units = 0 WHERE seq = 1", "minutes"),
        ("DELETE FROM minutes WHERE seq = 1", "minutes"),
        ("UPDATE hours SET requests = requests + 1", "hours"),
        ("DELETE FROM days", "days"),
    ] {
        let whole = fs::read(&path).unwrap();
        tamper(&path, sql);
        let faults = proofs(&open(&folder), MINUTE, MINUTE + DAY).remove(0).faults;
        assert!(faults.len() == 1 && faults[0].contains(&format!("`{table}`")), "{sql}: {faults:?}");
        fs::write(&path, whole).unwrap();
    }
}

//! A delivery that is dropped between any two steps, before a sink that fails as it likes: what arrives is what was sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{NOW, bucket, later, name, open, open_on, outbox, run};
use crate::key::Name;
use crate::meter::{Backlog, Bucket, Cause, MemoryOutbox, Outbox, OutboxError, Progress, SetAside, Start};
use crate::sink::{Guarantee, Outcome, Sent, Sink, Step, Trouble, TroubleKind};
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);
const WINDOW: Duration = Duration::from_secs(23 * 60 * 60);
/// For how long the sink really recognises duplicates.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// It does not arrive, and that is known.
    NotSent,
    /// It does not arrive, and nobody knows.
    LostBefore,
    /// It arrives, and nobody knows.
    LostAfter,
    /// The half of it arrives, and that is known.
    Half,
    /// The half of it arrives, and what became of the other half is not known.
    HalfLost,
    /// The batch is too large.
    TooLarge,
    /// The first item will never be taken.
    FirstRefused,
}

/// What a crash interrupts, and what happens otherwise.
#[derive(Clone, Copy, Debug)]
enum Act {
    Step(Fault),
    /// A step during which the disk fails.
    Failing(Fault, Disk),
    Crash,
    Wait(u64),
}

/// How a write to the outbox fails.
#[derive(Clone, Copy, Debug)]
enum Disk {
    /// Nothing is written.
    Before,
    /// It is written, and an error is told all the same.
    After,
}

/// An outbox whose next write may fail.
struct Flaky {
    inner: Arc<MemoryOutbox<Bucket>>,
    disk: Mutex<Option<Disk>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Upserts,
    RemovesDuplicates,
    AtLeastOnce,
}

/// What the receiver has, whoever is in front of it.
#[derive(Default)]
struct World {
    fault: Option<Fault>,
    counted: BTreeMap<u64, u64>,
    times: BTreeMap<u64, u32>,
    seen: HashMap<u64, i64>,
    /// The first sight of each call, by its first item and its number of items.
    refused: Vec<u64>,
}

struct Receiver {
    sort: Sort,
    world: Arc<Mutex<World>>,
}

impl World {
    fn take(&mut self, sort: Sort, item: &Bucket, now: Timestamp) {
        let now_ms = now.as_unix_ms();
        *self.times.entry(item.seq).or_default() += 1;
        let is_known = self.seen.get(&item.seq).is_some_and(|at| now_ms - at < MEMORY.as_millis() as i64);
        match sort {
            Sort::Upserts => drop(self.counted.insert(item.seq, item.amount.units)),
            Sort::RemovesDuplicates if is_known => {}
            _ => *self.counted.entry(item.seq).or_default() += item.amount.units,
        }
        self.seen.entry(item.seq).or_insert(now_ms);
    }
}

impl Outbox<Bucket> for Flaky {
    fn next(&self, after: u64, limit: usize) -> Result<Vec<Bucket>, OutboxError> {
        self.inner.next(after, limit)
    }

    fn progress(&self, sink: &Name, from: Start) -> Result<Progress, OutboxError> {
        self.inner.progress(sink, from)
    }

    fn advance(&self, sink: &Name, progress: &Progress, set_aside: &[SetAside]) -> Result<(), OutboxError> {
        let disk = self.disk.lock().unwrap().take();
        if !matches!(disk, Some(Disk::Before)) {
            self.inner.advance(sink, progress, set_aside)?;
        }
        disk.map_or(Ok(()), |_| Err(OutboxError("the disk fails".into())))
    }

    fn backlog(&self, sink: &Name) -> Result<Backlog, OutboxError> {
        self.inner.backlog(sink)
    }

    fn retain(&self, sinks: &[Name]) -> Result<(), OutboxError> {
        self.inner.retain(sinks)
    }
}

impl Sink<Bucket> for Receiver {
    fn guarantee(&self) -> Guarantee {
        match self.sort {
            Sort::Upserts => Guarantee::Upserts,
            Sort::RemovesDuplicates => Guarantee::RemovesDuplicates { window: WINDOW },
            Sort::AtLeastOnce => Guarantee::AtLeastOnce,
        }
    }

    fn send(&mut self, items: &[Bucket], _: &str, now: Timestamp) -> Sent {
        let mut world = self.world.lock().unwrap();
        let fault = world.fault.take().unwrap_or(Fault::None);
        let half = items.len() / 2;
        let (arrives, outcomes): (usize, Vec<Outcome>) = match fault {
            Fault::None => (items.len(), vec![Outcome::Taken; items.len()]),
            Fault::NotSent => (0, vec![Outcome::Untaken; items.len()]),
            Fault::LostBefore => (0, vec![Outcome::Unknown; items.len()]),
            Fault::LostAfter => (items.len(), vec![Outcome::Unknown; items.len()]),
            Fault::Half | Fault::HalfLost => {
                let rest = if matches!(fault, Fault::Half) { Outcome::Untaken } else { Outcome::Unknown };
                // The later half comes first, as with several calls at the same time.
                (half, (0..items.len()).map(|at| if at < items.len() - half { rest } else { Outcome::Taken }).collect())
            }
            Fault::TooLarge if items.len() > 1 => return Sent::all(Outcome::Split, items.len(), None),
            Fault::TooLarge | Fault::FirstRefused => {
                world.refused.push(items[0].seq);
                let mut outcomes = vec![Outcome::Untaken; items.len()];
                outcomes[0] = Outcome::Refused(Cause::Refused);
                (0, outcomes)
            }
        };
        for item in &items[items.len() - arrives..] {
            world.take(self.sort, item, now);
        }
        let trouble = Trouble { kind: TroubleKind::Failing, words: String::new(), retry_after: None };
        Sent { outcomes, mark: None, trouble: (!matches!(fault, Fault::None)).then_some(trouble) }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let disk = prop_oneof![Just(Disk::Before), Just(Disk::After)];
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::NotSent),
        1 => Just(Fault::LostBefore),
        2 => Just(Fault::LostAfter),
        1 => Just(Fault::Half),
        1 => Just(Fault::HalfLost),
        1 => Just(Fault::TooLarge),
        1 => Just(Fault::FirstRefused),
    ];
    let act = prop_oneof![
        12 => fault.clone().prop_map(Act::Step),
        2 => (fault, disk).prop_map(|(fault, disk)| Act::Failing(fault, disk)),
        4 => Just(Act::Crash),
        1 => (1_u64..30).prop_map(Act::Wait),
    ];
    vec(act, 0..120)
}

/// Plays the acts, then lets everything through, and holds what arrived against what was sealed.
fn play(sort: Sort, units: &[u64], batch: usize, acts: &[Act]) {
    let outbox = outbox((1..).zip(units).map(|(seq, units)| bucket(3 * seq, "acme", *units)));
    let world = Arc::new(Mutex::new(World::default()));
    let flaky = Arc::new(Flaky { inner: Arc::clone(&outbox), disk: Mutex::default() });
    let receiver = || Box::new(Receiver { sort, world: Arc::clone(&world) });
    let fresh = || open_on(Arc::<Flaky>::clone(&flaky), receiver(), batch);
    let (mut delivery, mut now) = (fresh(), NOW);
    for act in acts {
        match act {
            Act::Crash => delivery = fresh(),
            Act::Wait(hours) => now = later(now, HOUR * u32::try_from(*hours).unwrap()),
            Act::Step(fault) => {
                world.lock().unwrap().fault = Some(*fault);
                delivery.step(now).unwrap();
                now = later(now, Duration::from_secs(1));
            }
            Act::Failing(fault, disk) => {
                world.lock().unwrap().fault = Some(*fault);
                *flaky.disk.lock().unwrap() = Some(*disk);
                drop(delivery.step(now));
                *flaky.disk.lock().unwrap() = None;
            }
        }
    }
    world.lock().unwrap().fault = None;
    // The answer that is still to be noted may ask for a pause.
    let mut runs = (0..2).map(|_| run(&mut delivery, now));
    assert!(runs.any(|step| step == Step::Idle));
    compare(sort, &outbox, &world.lock().unwrap(), units);
}

fn compare(sort: Sort, outbox: &MemoryOutbox<Bucket>, world: &World, units: &[u64]) {
    let set_aside = outbox.set_aside(&name());
    let caused = |cause| set_aside.iter().filter(move |one| one.cause == cause).map(|one: &SetAside| one.seq);
    let (refused, doubtful): (Vec<u64>, Vec<u64>) =
        (caused(Cause::Refused).collect(), caused(Cause::Doubtful).collect());
    assert!(doubtful.is_empty() || sort == Sort::RemovesDuplicates, "{doubtful:?}");
    assert_eq!(outbox.backlog(&name()).unwrap().waiting, 0);
    for (seq, units) in (1..).map(|n| 3 * n).zip(units) {
        let counted = world.counted.get(&seq).copied();
        match (refused.contains(&seq) || doubtful.contains(&seq), sort) {
            // Of what is set aside for doubt, once or not at all may have arrived; never twice.
            (true, Sort::RemovesDuplicates | Sort::Upserts) => {
                assert!(counted.is_none_or(|sum| sum == *units), "{seq}")
            }
            (true, Sort::AtLeastOnce) => {}
            (false, Sort::RemovesDuplicates | Sort::Upserts) => assert_eq!(counted, Some(*units), "{seq}"),
            (false, Sort::AtLeastOnce) => assert!(counted >= Some(*units), "{seq}"),
        }
    }
    assert!(refused.iter().all(|seq| world.refused.contains(seq)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_sum_at_a_sink_is_what_was_sealed_whatever_dies_when(
        units in vec(1_u64..1000, 1..40), batch in 1_usize..9, acts in acts(),
    ) {
        for sort in [Sort::Upserts, Sort::RemovesDuplicates, Sort::AtLeastOnce] {
            play(sort, &units, batch, &acts);
        }
    }
}

fn sink_with(fault: Fault) -> (Box<Receiver>, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World { fault: Some(fault), ..World::default() }));
    (Box::new(Receiver { sort: Sort::RemovesDuplicates, world: Arc::clone(&world) }), world)
}

#[test]
fn what_was_never_sent_is_not_doubtful_however_long_the_sink_is_down() {
    let outbox = outbox((1..=3).map(|seq| bucket(seq, "acme", 1)));
    let (sink, world) = sink_with(Fault::NotSent);
    let mut delivery = open(&outbox, sink, 10);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
    let now = later(NOW, 30 * 24 * HOUR);
    assert_eq!(run(&mut delivery, now), Step::Idle);
    assert_eq!((outbox.set_aside(&name()).len(), world.lock().unwrap().counted.len()), (0, 3));
}

#[test]
fn what_was_sent_without_an_answer_is_set_aside_after_the_window_and_the_rest_goes_on() {
    let outbox = outbox((1..=5).map(|seq| bucket(seq, "acme", 1)));
    let (sink, world) = sink_with(Fault::LostAfter);
    let mut delivery = open(&outbox, sink, 2);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
    assert_eq!(run(&mut delivery, later(NOW, WINDOW)), Step::Idle);
    let aside: Vec<(u64, Cause)> = outbox.set_aside(&name()).iter().map(|one| (one.seq, one.cause)).collect();
    assert_eq!(aside, [(1, Cause::Doubtful), (2, Cause::Doubtful)]);
    assert_eq!(world.lock().unwrap().times.values().max(), Some(&1));
    assert_eq!((delivery.tally().taken, delivery.tally().set_aside), (3, 2));
}

#[test]
fn pauses_double_up_to_their_bound_and_end_with_success() {
    let outbox = outbox((1..=3).map(|seq| bucket(seq, "acme", 1)));
    let (sink, world) = sink_with(Fault::NotSent);
    let mut delivery = open(&outbox, sink, 1);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        world.lock().unwrap().fault = Some(Fault::NotSent);
        let Step::Pause(pause) = run(&mut delivery, NOW) else { panic!("it failed") };
        pauses.push(pause.as_millis());
    }
    for (number, pause) in pauses.iter().enumerate() {
        let whole = (1000 << number).min(60_000);
        assert!((whole / 2..=whole).contains(pause), "{number}: {pause}");
    }
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    assert!(delivery.tally().trouble.is_none());
}

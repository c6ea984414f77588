//! Sinks against an oracle, with faults and crashes between any two steps, and against a server that does what it is told.

mod crash;
mod files;
mod http;
mod options;
mod running;
mod server;
mod stripe;
mod tls;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Delivery, Pace, Sink, Step};
use crate::key::Name;
use crate::meter::ledger::{Amount, Class, Minute};
use crate::meter::{Bucket, BucketId, Event, MemoryOutbox, Outbox, Queued, Start};
use crate::time::Timestamp;

/// The minute in which most tests happen.
pub(super) const MINUTE: u32 = 29_715_120;

/// When it is over.
pub(super) const NOW: Timestamp = Timestamp::from_unix_ms((MINUTE as i64 + 1) * 60_000);

/// A bucket of that minute.
pub(super) fn bucket(seq: u64, owner: &str, units: u64) -> Bucket {
    Bucket {
        id: BucketId(u128::from(seq).to_be_bytes()),
        seq,
        minute: Minute::from_unix(MINUTE),
        key: Some(format!("key_{seq}").parse().unwrap()),
        owner: Some(owner.parse().unwrap()),
        plan: None,
        route: Some("orders".parse().unwrap()),
        class: Class::Success,
        amount: Amount { requests: units, units, ..Amount::default() },
        took: [0; 4],
        is_doubtful: false,
    }
}

/// An event of that time.
fn event(seq: u64) -> Event {
    let (id, kind) = (format!("evt_{seq}"), "key.revoked".to_owned());
    Event { seq, id, kind, at: NOW, subject: "key_1".into(), data: json!({"owner": "acme"}) }
}

/// An outbox with these in it.
fn outbox(buckets: impl IntoIterator<Item = Bucket>) -> Arc<MemoryOutbox<Bucket>> {
    let outbox = MemoryOutbox::default();
    buckets.into_iter().for_each(|bucket| outbox.push(bucket));
    Arc::new(outbox)
}

fn name() -> Name {
    "s".parse().unwrap()
}

fn open<T: Queued + 'static>(outbox: &Arc<MemoryOutbox<T>>, sink: Box<dyn Sink<T>>, batch: usize) -> Delivery<T> {
    let outbox: Arc<dyn Outbox<T>> = Arc::<MemoryOutbox<T>>::clone(outbox);
    open_on(outbox, sink, batch)
}

fn open_on<T: Queued>(outbox: Arc<dyn Outbox<T>>, sink: Box<dyn Sink<T>>, batch: usize) -> Delivery<T> {
    let pace = Pace { batch, backoff: Duration::from_secs(1), backoff_max: Duration::from_secs(60) };
    Delivery::open(name(), outbox, sink, Start::Beginning, pace).unwrap()
}

/// Takes steps until one asks for a pause, or nothing waits.
fn run<T: Queued>(delivery: &mut Delivery<T>, now: Timestamp) -> Step {
    for _ in 0..100_000 {
        match delivery.step(now).unwrap() {
            Step::Next => {}
            step => return step,
        }
    }
    panic!("it goes round in circles");
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_unix_ms(now.as_unix_ms() + i64::try_from(by.as_millis()).unwrap())
}

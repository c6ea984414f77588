//! Sinks on their threads: they start, pause, go on and stop.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::options::{http_options, webhook_options};
use super::server::{Act, Server};
use super::{bucket, event, name, outbox};
use crate::meter::{Bucket, Event, MemoryOutbox, Outbox, Start};
use crate::sink::{Options, Queue, Queues, Running, State, Status, Target, start};
use crate::time;

/// Asks until the status of a queue is as it should be.
fn wait_for(running: &Running, queue: Queue, fits: impl Fn(&Status) -> bool) -> Status {
    let deadline = time::now().after(Duration::from_secs(20));
    loop {
        let status = running.status().into_iter().find(|status| status.queue == queue).unwrap();
        if fits(&status) {
            return status;
        }
        assert!(time::now() < deadline, "{status:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_sink_runs_pauses_goes_on_and_stops() {
    let server = Server::willing();
    let (buckets, events) = (outbox([bucket(1, "acme", 1)]), Arc::<MemoryOutbox<Event>>::default());
    let queues = Queues {
        buckets: Arc::<MemoryOutbox<Bucket>>::clone(&buckets),
        events: Arc::<MemoryOutbox<Event>>::clone(&events),
    };
    let hour = Duration::from_secs(3600);
    let target = Target::Webhook(webhook_options(server.endpoint()));
    let options = Options { name: name(), from: Start::Beginning, batch: 10, backoff: hour, backoff_max: hour, target };
    let running = start(&options, &queues).unwrap();
    wait_for(&running, Queue::Usage, |status| status.state == State::Idle && status.tally.taken == 1);

    running.pause();
    wait_for(&running, Queue::Usage, |status| status.state == State::Paused);
    wait_for(&running, Queue::Events, |status| status.state == State::Paused);
    buckets.push(bucket(2, "acme", 1));
    events.push(event(1));
    running.wake();
    let status = wait_for(&running, Queue::Usage, |status| status.state == State::Paused);
    let backlog = status.backlog.unwrap();
    assert_eq!(
        (backlog.waiting, backlog.oldest, server.requests().len()),
        (1, Some(bucket(2, "a", 1).minute.start()), 1)
    );

    server.script(&[Act::Say(401), Act::Say(401)]);
    running.resume();
    let status = wait_for(&running, Queue::Usage, |status| status.state == State::Retrying);
    assert!(status.is_alarming());
    wait_for(&running, Queue::Events, |status| status.state == State::Retrying);
    running.resume();
    wait_for(&running, Queue::Usage, |status| status.tally.taken == 2 && !status.is_alarming());
    wait_for(&running, Queue::Events, |status| status.tally.taken == 1);
    assert!(running.join(Duration::from_secs(20)));
    assert_eq!(server.wait_for(5).len(), 5);
}

#[test]
fn a_sink_that_hangs_does_not_hold_up_the_end() {
    let server = Server::willing();
    server.script(&[Act::Hang]);
    let buckets = outbox([bucket(1, "acme", 1)]);
    let outbox = Arc::clone(&buckets);
    let queues = Queues { buckets, events: Arc::<MemoryOutbox<Event>>::default() };
    let minute = Duration::from_secs(60);
    let mut http = http_options(server.endpoint());
    http.connection.timeout = minute;
    let target = Target::Http(http);
    let options =
        Options { name: name(), from: Start::Beginning, batch: 10, backoff: minute, backoff_max: minute, target };
    let running = start(&options, &queues).unwrap();
    server.wait_for(1);
    assert!(!running.join(Duration::from_millis(50)));
    // Somebody else takes over what was being sent.
    let running = start(&options, &queues).unwrap();
    wait_for(&running, Queue::Usage, |status| status.tally.taken == 1);
    assert!(running.join(Duration::from_secs(20)));
    assert_eq!(outbox.backlog(&name()).unwrap().waiting, 0);
}

//! CloudEvents against the server that does what it is told: form, answers, faults.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::options::{TIMEOUT, http_options};
use super::server::{Act, Receiver, Server};
use super::{NOW, bucket, name, open, outbox, run};
use crate::meter::{Bucket, Cause, Outbox, Start};
use crate::sink::cloudevents::CloudEvents;
use crate::sink::{Endpoint, Step, TroubleKind};

fn cloud_events(server: &Server) -> Box<CloudEvents> {
    Box::new(CloudEvents::new(http_options(server.endpoint())))
}

#[test]
fn cloud_events_go_out_in_one_batch_in_their_form() {
    let server = Server::willing();
    let nothing = bucket(2, "acme", 0);
    let nobody = Bucket { owner: None, ..bucket(3, "acme", 9) };
    let outbox = outbox([bucket(1, "acme", 5), nothing, nobody, bucket(4, "globex", 6)]);
    let mut delivery = open(&outbox, cloud_events(&server), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.target, "/v1/events?k=1");
    assert_eq!(request.fields["content-type"], "application/cloudevents-batch+json");
    assert_eq!(request.fields["authorization"], "Bearer s3cret");
    let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(events.len(), 2);
    let mut first = events[0].clone();
    assert_eq!(first["data"].take()["units"], 5);
    let expected = json!({
        "specversion": "1.0", "id": "00000000000000000000000000000001", "source": "keygate/eu", "type": "request",
        "subject": "acme", "time": "2026-07-01T12:00:00.000Z", "datacontenttype": "application/json", "data": null,
    });
    assert_eq!(first, expected);
    assert_eq!((delivery.tally().taken, delivery.tally().passed_over), (2, 2));
}

/// What one answer makes of a delivery of two buckets: pause, trouble, and the same bytes at the second time.
fn check_fault(act: Act, kind: TroubleKind, is_doubtful: bool) {
    let server = Server::willing();
    server.script(&[act]);
    let outbox = outbox([bucket(1, "acme", 5), bucket(2, "acme", 6)]);
    let timeout = if matches!(act, Act::Hang | Act::TakeAndHang) { Duration::from_millis(200) } else { TIMEOUT };
    let mut options = http_options(server.endpoint());
    options.connection.timeout = timeout;
    let mut delivery = open(&outbox, Box::new(CloudEvents::new(options)), 10);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)), "{act:?}");
    assert_eq!(delivery.tally().trouble.as_ref().map(|(_, trouble)| trouble.kind), Some(kind), "{act:?}");
    let note: Value = serde_json::from_str(&outbox.progress(&name(), Start::End).unwrap().note).unwrap();
    assert_eq!(!note["since"].is_null(), is_doubtful, "{act:?}");
    drop(delivery);
    outbox.push(bucket(3, "acme", 7));
    let mut delivery = open(&outbox, cloud_events(&server), 5);
    assert_eq!(run(&mut delivery, NOW), Step::Idle, "{act:?}");
    let bodies: Vec<Vec<u8>> = server.requests().into_iter().map(|request| request.body).collect();
    let resent = bodies.len() - 1;
    assert!(bodies[..resent].iter().all(|body| *body == bodies[0]), "{act:?}");
    assert!(outbox.set_aside(&name()).is_empty());
}

#[test]
fn each_answer_and_each_silence_has_its_consequence() {
    for (act, kind, is_doubtful) in [
        (Act::Say(401), TroubleKind::Credentials, false),
        (Act::Say(403), TroubleKind::Credentials, false),
        (Act::Say(404), TroubleKind::Misdirected, false),
        (Act::Say(301), TroubleKind::Misdirected, false),
        (Act::Say(429), TroubleKind::Busy, false),
        (Act::Say(500), TroubleKind::Failing, true),
        (Act::TakeAndSay(503), TroubleKind::Failing, true),
        (Act::Hang, TroubleKind::NoAnswer, true),
        (Act::TakeAndHang, TroubleKind::NoAnswer, true),
        (Act::CloseBefore, TroubleKind::NoAnswer, true),
        (Act::CloseAfter, TroubleKind::NoAnswer, true),
    ] {
        check_fault(act, kind, is_doubtful);
    }
}

#[test]
fn nobody_there_leaves_nothing_in_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let outbox = outbox([bucket(1, "acme", 5)]);
    let mut delivery = open(&outbox, Box::new(CloudEvents::new(http_options(endpoint))), 10);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
    let (_, trouble) = delivery.tally().trouble.clone().unwrap();
    assert_eq!(trouble.kind, TroubleKind::Unreachable);
    let note: Value = serde_json::from_str(&outbox.progress(&name(), Start::End).unwrap().note).unwrap();
    assert!(note["since"].is_null());
}

#[test]
fn who_asks_for_a_pause_gets_it() {
    let server = Server::willing();
    server.script(&[Act::SayLater(429, 77), Act::SayLater(429, 1_000_000)]);
    let outbox = outbox([bucket(1, "acme", 5)]);
    let mut delivery = open(&outbox, cloud_events(&server), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Pause(Duration::from_secs(77)));
    assert_eq!(run(&mut delivery, NOW), Step::Pause(Duration::from_secs(3600)));
}

/// Refuses each batch with this bucket, or of more than so many.
fn picky(bad: u64, status: u16, most: usize) -> Receiver {
    Box::new(move |request| {
        let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
        let is_bad = events.iter().any(|event| event["id"] == format!("{bad:032x}"));
        (if is_bad || events.len() > most { status } else { 204 }, String::new())
    })
}

#[test]
fn one_bucket_that_is_refused_is_found_and_set_aside_and_the_others_arrive() {
    let server = Server::start(picky(11, 400, usize::MAX));
    let outbox = outbox((1..=40).map(|seq| bucket(seq, "acme", 1)));
    let mut delivery = open(&outbox, cloud_events(&server), 32);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    let aside: Vec<_> = outbox.set_aside(&name()).iter().map(|one| (one.seq, one.cause)).collect();
    assert_eq!((aside, delivery.tally().taken), (vec![(11, Cause::Refused)], 39));
    assert!(server.requests().len() < 25);
}

#[test]
fn batches_that_are_too_large_become_smaller() {
    let server = Server::start(picky(0, 413, 5));
    let outbox = outbox((1..=40).map(|seq| bucket(seq, "acme", 1)));
    let mut delivery = open(&outbox, cloud_events(&server), 32);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    assert_eq!((outbox.set_aside(&name()).len(), delivery.tally().taken), (0, 40));
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let server = Server::willing();
    server.script(&[Act::Say(401), Act::CloseAfter]);
    let outbox = outbox([bucket(1, "acme", 1)]);
    let options = http_options(server.endpoint());
    assert!(!format!("{options:?}").contains("s3cret"));
    let mut delivery = open(&outbox, Box::new(CloudEvents::new(options)), 10);
    for _ in 0..2 {
        assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
        let shown = format!("{:?}", delivery.tally());
        assert!(!shown.contains("s3cret") && !shown.contains("k=1"), "{shown}");
    }
}

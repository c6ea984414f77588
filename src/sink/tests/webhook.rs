//! Signed messages against the server that does what it is told.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::options::{SIGNING, webhook_options};
use super::server::{Act, Request, Server};
use super::{NOW, bucket, event, later, open, outbox, run};
use crate::meter::{Bucket, Event, MemoryOutbox};
use crate::sink::webhook::Webhook;
use crate::sink::{Delivery, Sink, Step};

/// Whether a message is signed as Standard Webhooks has it.
fn is_signed(request: &Request) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING).unwrap();
    let head = format!("{}.{}.", request.fields["webhook-id"], request.fields["webhook-timestamp"]);
    mac.update(head.as_bytes());
    mac.update(&request.body);
    request.fields["webhook-signature"] == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_message_is_the_same_at_every_sending_but_for_its_time_and_signature() {
    let server = Server::willing();
    server.script(&[Act::TakeAndSay(500)]);
    let outbox = outbox([bucket(1, "acme", 5), bucket(2, "acme", 0)]);
    let fresh = || open::<Bucket>(&outbox, Box::new(Webhook::new(webhook_options(server.endpoint()))), 10);
    assert!(matches!(run(&mut fresh(), NOW), Step::Pause(_)));
    assert_eq!(run(&mut fresh(), later(NOW, Duration::from_secs(60))), Step::Idle);
    let [first, second] = server.requests().try_into().unwrap();
    assert!(is_signed(&first) && is_signed(&second));
    assert_eq!((&first.body, &first.fields["webhook-id"]), (&second.body, &second.fields["webhook-id"]));
    assert_ne!(first.fields["webhook-timestamp"], second.fields["webhook-timestamp"]);
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((&body["type"], body["data"]["buckets"].as_array().unwrap().len()), (&json!("usage.recorded"), 2));
}

#[test]
fn events_are_messages_of_their_own_in_their_order() {
    let server = Server::willing();
    server.script(&[Act::Take, Act::Say(500)]);
    let outbox: Arc<MemoryOutbox<Event>> = Arc::default();
    (1..=3).for_each(|seq| outbox.push(event(seq)));
    let sink: Box<dyn Sink<Event>> = Box::new(Webhook::new(webhook_options(server.endpoint())));
    let mut delivery: Delivery<Event> = open(&outbox, sink, 10);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    let requests = server.requests();
    let ids: Vec<&str> = requests.iter().map(|request| request.fields["webhook-id"].as_str()).collect();
    assert_eq!(ids, ["evt_1", "evt_2", "evt_2", "evt_3"]);
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    let details = json!({"id": "evt_1", "subject": "key_1", "details": {"owner": "acme"}});
    assert_eq!((&body["type"], &body["data"]), (&json!("key.revoked"), &details));
    assert!(requests.iter().all(is_signed));
}

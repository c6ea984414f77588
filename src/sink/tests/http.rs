//! Sinks over HTTP against the server that does what it is told: forms, answers, faults.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::server::{Act, Receiver, Request, Server};
use super::{NOW, bucket, later, name, open, outbox, run};
use crate::meter::{Bucket, Cause, Event, MemoryOutbox, Outbox, Start};
use crate::sink::cloudevents::CloudEvents;
use crate::sink::stripe::Stripe;
use crate::sink::webhook::Webhook;
use crate::sink::{
    Carries, Credential, Delivery, Endpoint, HttpOptions, Measure, Options, Queue, Queues, Select, Sink, State, Status,
    Step, StripeOptions, Subject, Target, TroubleKind, WebhookOptions, start,
};

/// Generous, because the machine is shared.
const TIMEOUT: Duration = Duration::from_secs(20);
const SIGNING: &[u8] = b"0123456789abcdef0123456789abcdef";

fn credential(text: &[u8]) -> Credential {
    Credential::bearer(Zeroizing::new(text.to_vec())).unwrap()
}

fn http_options(endpoint: Endpoint) -> HttpOptions {
    HttpOptions {
        endpoint,
        timeout: TIMEOUT,
        token: Some(credential(b"s3cret")),
        source: "keygate/eu".into(),
        kind: "request".into(),
        subject: Subject::Owner,
        select: Select::Billed,
        duplicate_window: Some(Duration::from_secs(30 * 86_400)),
    }
}

fn stripe_options(endpoint: Endpoint) -> StripeOptions {
    StripeOptions {
        endpoint,
        timeout: TIMEOUT,
        key: credential(b"sk_s3cret"),
        meter: "api_requests".into(),
        value: Measure::Units,
        customer_field: "stripe_customer_id".into(),
        value_field: "value".into(),
        customers: BTreeMap::from([("acme".parse().unwrap(), "cus_A".to_owned())]),
        calls: 4,
    }
}

fn webhook_options(endpoint: Endpoint) -> WebhookOptions {
    let secret = Credential::signing(Zeroizing::new(SIGNING.to_vec())).unwrap();
    WebhookOptions { endpoint, timeout: TIMEOUT, secrets: vec![secret], select: Select::All, carries: Carries::Both }
}

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
    let options = HttpOptions { timeout, ..http_options(server.endpoint()) };
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

/// Stripe as its documentation has it: takes an identifier once, and says 400 to the second time.
#[derive(Default)]
struct Account {
    values: HashMap<String, u64>,
    by_customer: BTreeMap<String, u64>,
}

fn form(request: &Request) -> HashMap<String, String> {
    let text = String::from_utf8(request.body.clone()).unwrap().replace("%5B", "[").replace("%5D", "]");
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn stripe(account: &Arc<Mutex<Account>>) -> Server {
    let account = Arc::clone(account);
    Server::start(Box::new(move |request| {
        let fields = form(request);
        let mut account = account.lock().unwrap();
        let (identifier, value) = (fields["identifier"].clone(), fields["payload[value]"].parse().unwrap());
        if account.values.contains_key(&identifier) {
            let message = format!("An event already exists with identifier {identifier}.");
            return (400, json!({"error": {"type": "invalid_request_error", "message": message}}).to_string());
        }
        account.values.insert(identifier, value);
        *account.by_customer.entry(fields["payload[stripe_customer_id]"].clone()).or_default() += value;
        (200, "{\"object\":\"billing.meter_event\"}".into())
    }))
}

#[test]
fn a_meter_event_has_the_form_of_stripe() {
    let account = Arc::default();
    let server = stripe(&account);
    let unknown = bucket(4, "globex", 9);
    let old = Bucket { minute: crate::meter::ledger::Minute::from_unix(1000), ..bucket(5, "acme", 1) };
    let outbox = outbox([bucket(1, "acme", 5), bucket(2, "cus_B", 6), bucket(3, "acme", 0), unknown, old]);
    let mut delivery = open(&outbox, Box::new(Stripe::new(stripe_options(server.endpoint()))), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    let request = server.requests().into_iter().find(|request| form(request)["identifier"].ends_with('1')).unwrap();
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        "event_name=api_requests&identifier=00000000000000000000000000000001&payload%5Bstripe_customer_id%5D=cus_A\
         &payload%5Bvalue%5D=5&timestamp=1782907200"
    );
    assert_eq!(request.fields["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.fields["authorization"], "Bearer sk_s3cret");
    assert!(!request.fields.contains_key("idempotency-key"));
    assert_eq!(account.lock().unwrap().by_customer, BTreeMap::from([("cus_A".into(), 5), ("cus_B".into(), 6)]));
    let aside: Vec<_> = outbox.set_aside(&name()).iter().map(|one| (one.seq, one.cause)).collect();
    assert_eq!(aside, [(4, Cause::Unfit), (5, Cause::Unfit)]);
    assert_eq!((delivery.tally().taken, delivery.tally().passed_over), (2, 1));
}

#[test]
fn stripe_gets_one_call_at_a_time_for_each_customer_and_several_in_all() {
    let busy: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let most = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let meeting = Arc::new(std::sync::Barrier::new(3));
    let (seen, peak) = (Arc::clone(&busy), Arc::clone(&most));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (seen, peak, meeting) = (Arc::clone(&seen), Arc::clone(&peak), Arc::clone(&meeting));
            std::thread::spawn(move || watch(&stream, &seen, &peak, &meeting));
        }
    });
    // Three customers with two events each: the first ones of all meet before any is answered.
    let outbox = outbox((0..6).map(|n| bucket(n + 1, ["cus_A", "cus_B", "cus_C"][(n % 3) as usize], 1)));
    let options = StripeOptions { timeout: Duration::from_secs(20), ..stripe_options(endpoint) };
    let mut delivery = open(&outbox, Box::new(Stripe::new(options)), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    assert_eq!((most.load(Ordering::SeqCst), delivery.tally().taken), (1, 6));
}

/// Answers calls, and notes how many there are at once for one customer.
fn watch(
    stream: &std::net::TcpStream,
    busy: &Mutex<HashMap<String, usize>>,
    most: &AtomicUsize,
    meeting: &std::sync::Barrier,
) {
    use std::io::{Read as _, Write as _};
    let mut stream = stream;
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        text.extend(&chunk[..length]);
        let shown = String::from_utf8_lossy(&text).into_owned();
        let Some(customer) = shown.split("customer_id%5D=").nth(1).filter(|_| shown.contains("timestamp=")) else {
            continue;
        };
        let customer = customer.split('&').next().unwrap().to_owned();
        let number = {
            let mut busy = busy.lock().unwrap();
            let number = busy.entry(customer.clone()).or_default();
            *number += 1;
            *number
        };
        most.fetch_max(number, Ordering::SeqCst);
        meeting.wait();
        *busy.lock().unwrap().get_mut(&customer).unwrap() -= 1;
        text.clear();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    }
}

fn stripe_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Take),
        1 => Just(Act::Say(429)),
        1 => Just(Act::Say(409)),
        1 => Just(Act::Say(401)),
        1 => Just(Act::Say(500)),
        2 => Just(Act::TakeAndSay(500)),
        1 => Just(Act::CloseBefore),
        2 => Just(Act::CloseAfter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn stripe_counts_what_was_sealed_whatever_is_lost_on_the_way(
        units in vec(1_u64..100, 1..12), script in vec(stripe_act(), 0..20), crashes in vec(1_usize..12, 0..6),
    ) {
        let account: Arc<Mutex<Account>> = Arc::default();
        let server = stripe(&account);
        server.script(&script);
        let outbox = outbox((1..).zip(&units).map(|(seq, units)| bucket(seq, ["cus_A", "cus_B"][(seq % 2) as usize], *units)));
        let fresh = || open(&outbox, Box::new(Stripe::new(stripe_options(server.endpoint()))), 4);
        for steps in crashes {
            let mut delivery = fresh();
            for _ in 0..steps {
                delivery.step(NOW).unwrap();
            }
        }
        let mut delivery = fresh();
        while run(&mut delivery, NOW) != Step::Idle {}
        let sum: u64 = account.lock().unwrap().by_customer.values().sum();
        prop_assert_eq!(sum, units.iter().sum::<u64>());
        prop_assert!(outbox.set_aside(&name()).is_empty());
    }
}

#[test]
fn stripe_is_not_sent_again_what_it_may_no_longer_recognise() {
    let account = Arc::default();
    let server = stripe(&account);
    server.script(&[Act::CloseAfter]);
    let outbox = outbox([bucket(1, "acme", 5)]);
    let fresh = || open(&outbox, Box::new(Stripe::new(stripe_options(server.endpoint()))), 4);
    assert!(matches!(run(&mut fresh(), NOW), Step::Pause(_)));
    assert_eq!(run(&mut fresh(), later(NOW, Duration::from_secs(23 * 3600))), Step::Idle);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(outbox.set_aside(&name())[0].cause, Cause::Doubtful);
}

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

fn event(seq: u64) -> Event {
    let (id, kind) = (format!("evt_{seq}"), "key.revoked".to_owned());
    Event { seq, id, kind, at: NOW, subject: "key_1".into(), data: json!({"owner": "acme"}) }
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

/// Asks until the status of a queue is as it should be.
fn wait_for(running: &crate::sink::Running, queue: Queue, fits: impl Fn(&Status) -> bool) -> Status {
    let deadline = crate::time::now().after(Duration::from_secs(20));
    loop {
        let status = running.status().into_iter().find(|status| status.queue == queue).unwrap();
        if fits(&status) {
            return status;
        }
        assert!(crate::time::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(2));
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
    let queues = Queues { buckets, events: Arc::<MemoryOutbox<Event>>::default() };
    let minute = Duration::from_secs(60);
    let target = Target::Http(HttpOptions { timeout: minute, ..http_options(server.endpoint()) });
    let options =
        Options { name: name(), from: Start::Beginning, batch: 10, backoff: minute, backoff_max: minute, target };
    let running = start(&options, &queues).unwrap();
    server.wait_for(1);
    assert!(!running.join(Duration::from_millis(50)));
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

//! Meter events against an account that behaves as Stripe's documentation says.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::options::stripe_options;
use super::server::{Act, Request, Server};
use super::{NOW, bucket, later, name, open, outbox, run};
use crate::meter::ledger::Minute;
use crate::meter::{Bucket, Cause};
use crate::sink::stripe::Stripe;
use crate::sink::{Endpoint, Step};

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
    let old = Bucket { minute: Minute::from_unix(1000), ..bucket(5, "acme", 1) };
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
    let meeting = Arc::new(Barrier::new(3));
    let (seen, peak) = (Arc::clone(&busy), Arc::clone(&most));
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (seen, peak, meeting) = (Arc::clone(&seen), Arc::clone(&peak), Arc::clone(&meeting));
            thread::spawn(move || watch(&stream, &seen, &peak, &meeting));
        }
    });
    // Three customers with two events each: the first ones of all meet before any is answered.
    let outbox = outbox((0..6).map(|n| bucket(n + 1, ["cus_A", "cus_B", "cus_C"][(n % 3) as usize], 1)));
    let mut delivery = open(&outbox, Box::new(Stripe::new(stripe_options(endpoint))), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    assert_eq!((most.load(Ordering::SeqCst), delivery.tally().taken), (1, 6));
}

/// Answers calls, and notes how many there are at once for one customer.
fn watch(stream: &TcpStream, busy: &Mutex<HashMap<String, usize>>, most: &AtomicUsize, meeting: &Barrier) {
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

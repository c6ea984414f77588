//! Usage on its way to sinks that lose answers, refuse and hang, while the gateway is killed: each request arrives exactly once
//! where the receiver looks at ids, as documented.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    ALICE, BOB, Connection, Gateway, Random, Request, Settings, Step, Upstream, WallClock, command, get, keyless,
    wait_for,
};
use crate::usage::{counts, keygate_usage, metered, obliging};

/// What a receiver has, by id: the first thing that came under it, and for how much.
#[derive(Default)]
struct Received {
    by_id: BTreeMap<String, (u64, Vec<u8>)>,
    /// How often something came that was there already.
    again: u64,
    /// How often something else came under an id that was there already.
    changed: u64,
}

impl Received {
    /// Takes something; whether it is new.
    fn take(&mut self, id: String, requests: u64, bytes: Vec<u8>) -> bool {
        if let Some((_, before)) = self.by_id.get(&id) {
            self.again += 1;
            self.changed += u64::from(*before != bytes);
            return false;
        }
        self.by_id.insert(id, (requests, bytes));
        true
    }

    fn sum(&self) -> u64 {
        self.by_id.values().map(|(requests, _)| requests).sum()
    }
}

/// A sink at the other end of the wire.
struct Receiver {
    upstream: Upstream,
    received: Arc<Mutex<Received>>,
    /// Chance, until it is well.
    mood: Arc<Mutex<Option<Random>>>,
}

/// What is done with a call.
enum Mood {
    Well,
    /// Takes it, and closes instead of answering.
    TakesSilently,
    /// Takes it, and answers this.
    TakesAndSays(&'static str),
    Says(&'static str),
    Hangs,
    TakesAndHangs,
}

impl Mood {
    fn of(chance: &mut Random) -> Self {
        match chance.below(20) {
            0..2 => Self::TakesSilently,
            2 => Self::TakesAndSays("500 Broken"),
            3 => Self::TakesAndSays("503 Away"),
            4..6 => Self::Says("429 Later"),
            6..8 => Self::Says("500 Broken"),
            8 => Self::Hangs,
            9 => Self::TakesAndHangs,
            _ => Self::Well,
        }
    }
}

impl Receiver {
    /// `take` puts what came away, and says what a healthy receiver answers.
    fn start(chance: Random, take: fn(&Request, &mut Received) -> (&'static str, &'static str)) -> Self {
        let (received, mood) = (Arc::<Mutex<Received>>::default(), Arc::new(Mutex::new(Some(chance))));
        let (own, moods) = (Arc::clone(&received), Arc::clone(&mood));
        let upstream = Upstream::start(move |connection| {
            loop {
                let request = connection.request()?;
                let mood = moods.lock().unwrap().as_mut().map_or(Mood::Well, Mood::of);
                let taken = match mood {
                    Mood::Says(_) | Mood::Hangs => None,
                    _ => Some(take(&request, &mut own.lock().unwrap())),
                };
                answer(connection, &mood, taken)?;
            }
        });
        Self { upstream, received, mood }
    }

    fn get_well(&self) {
        *self.mood.lock().unwrap() = None;
    }

    fn url(&self) -> String {
        format!("http://{}/", self.upstream.address())
    }
}

fn answer(connection: &mut Connection, mood: &Mood, taken: Option<(&str, &str)>) -> Step {
    let (status, body) = match mood {
        Mood::Well => taken?,
        Mood::TakesAndSays(status) | Mood::Says(status) => (*status, ""),
        Mood::TakesSilently => return None,
        Mood::Hangs | Mood::TakesAndHangs => return connection.wait_closed(),
    };
    connection.write(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// CloudEvents, as a meter takes them that knows ids.
fn take_events(request: &Request, received: &mut Received) -> (&'static str, &'static str) {
    let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
    for event in events {
        let id = format!("{} {}", event["source"].as_str().unwrap(), event["id"].as_str().unwrap());
        let requests = event["data"]["requests"].as_u64().unwrap();
        received.take(id, requests, serde_json::to_vec(&event).unwrap());
    }
    ("202 Taken", "")
}

/// Meter events, as Stripe takes them.
fn take_meter_event(request: &Request, received: &mut Received) -> (&'static str, &'static str) {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let fields: BTreeMap<&str, &str> = body.split('&').filter_map(|field| field.split_once('=')).collect();
    let value = fields["payload%5Bvalue%5D"].parse().unwrap();
    if received.take(fields["identifier"].to_owned(), value, request.body.clone()) {
        ("200 OK", "{}")
    } else {
        let known = r#"{"error":{"message":"An event already exists with identifier."}}"#;
        ("400 Known", known)
    }
}

fn with_sinks(settings: Settings, meter: &Receiver, billing: &Receiver) -> Settings {
    let common = "from: beginning, backoff: 10ms, backoff_max: 80ms, timeout: 300ms, batch: 3";
    let (meter, billing) = (meter.url(), billing.url());
    settings.top(&format!(
        "usage:\n  sinks:\n    meter: {{type: http, url: \"{meter}\", select: all, duplicate_window: 30d, {common}}}\n\
         \x20   billing: {{type: stripe, url: \"{billing}\", key: {{env: STRIPE_KEY}}, meter: api, value: requests, {common}}}"
    ))
}

fn sealed(gateway: &Gateway) -> u64 {
    let proof: Value = serde_json::from_str(&keygate_usage(gateway, &["verify", "--output", "json"])).unwrap();
    proof.as_array().unwrap().iter().map(|day| day["sealed"]["requests"].as_u64().unwrap()).sum()
}

#[test]
fn killed_while_usage_is_on_its_way_each_request_arrives_at_the_sinks_exactly_once() {
    const KILLS: usize = 24;
    let mut random = Random::of_this_run();
    let meter = Receiver::start(random.fork(), take_events);
    let billing = Receiver::start(random.fork(), take_meter_event);
    let upstream = obliging();
    let settings = metered(Settings::before(&upstream).threads(2))
        .key(ALICE, &["owner: cus_alice"])
        .key(BOB, &["owner: cus_bob"])
        .route("status", &["path: /status"]);
    let settings = with_sinks(settings, &meter, &billing);
    let clock = WallClock::at("2027-03-10T12:00:20Z");
    let launch = || {
        let mut command: Command = clock.command(command::<&str>(&[]));
        command.env("STRIPE_KEY", "sk_test_of_nobody");
        command
    };
    let mut gateway = Gateway::start_by(&settings, |_| launch());
    let bob = keyless("GET", "/", &[&format!("X-API-Key: {}", BOB.secret)]);
    let mut answered = 0_u64;
    for _ in 0..KILLS {
        let (end, mut client) = (Duration::from_millis(random.below(700) as u64), gateway.client());
        let (begin, mut rounds) = (Instant::now(), 0);
        // Nothing is on its way to the upstream when it dies, so that what is received is what is counted.
        wait_for("the moment of the kill", || {
            if rounds % 16 == 0 {
                clock.advance(20);
                client.ask(get("/", &[])).expect(200);
                client.ask(get("/status/404", &[])).expect(404);
                client.ask(&bob).expect(200);
                answered += 3;
            }
            rounds += 1;
            begin.elapsed() >= end
        });
        gateway.kill();
        gateway.start_again_by(launch());
    }
    [&meter, &billing].iter().for_each(|receiver| receiver.get_well());
    assert_eq!(gateway.stop(), Some(0));
    gateway.start_again_by(launch());
    assert_eq!(counts(&gateway).values().map(|counts| counts[0]).sum::<u64>(), answered);
    assert_eq!(sealed(&gateway), answered);
    let waiting = || gateway.metrics().sum("keygate_usage_sink_waiting", &[]);
    let sums = || [&meter, &billing].map(|receiver| receiver.received.lock().unwrap().sum());
    wait_for("the sinks to have taken all", || sums() == [answered; 2] && waiting() == 0.0);
    assert_eq!(gateway.metrics().sum("keygate_usage_sink_set_aside", &[]), 0.0);
    let again = [&meter, &billing].map(|receiver| {
        let received = receiver.received.lock().unwrap();
        assert_eq!(received.changed, 0, "what is sent again is the same");
        received.again
    });
    println!("{answered} requests; {again:?} came again");
    assert!(again.iter().all(|again| *again > 0), "no answer was ever lost: {again:?}");
    assert_eq!(gateway.stop(), Some(0));
}

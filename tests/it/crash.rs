//! What was acknowledged outlives `kill -9`, at whatever moment it comes: two hundred times on one data folder.
//!
//! Each client keeps a journal of what it was told. What was asked for and not answered when the process died may have been
//! done or not; what is found after the restart is a fact from then on.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    AdminClient, Broken, Client, Gateway, Random, Settings, Upstream, keyless, run, store_file, wait_for, with_admin,
};

/// What a client knows of the keys that it made.
#[derive(Default)]
struct Journal {
    keys: Vec<Key>,
    /// Places of the keys that were made or changed since the last start.
    touched: Vec<usize>,
    /// Of every acknowledged change.
    revisions: Vec<u64>,
    /// Keys whose making was not acknowledged.
    creations_in_doubt: usize,
}

struct Key {
    id: String,
    secret: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// Asked for, and not acknowledged yet.
    Revoking,
    Revoked,
}

/// The two connections of a client.
struct Connections {
    admin: AdminClient,
    data: Client,
}

#[test]
fn whatever_was_acknowledged_is_there_after_each_of_two_hundred_kills() {
    let mut random = Random::of_this_run();
    let upstream = Upstream::fixed("HTTP/1.1 204 No Content\r\n\r\n");
    let mut gateway = with_admin(Settings::before(&upstream).top("flood_guard: off\nlogs: {requests: off}")).start();
    let mut journals: Vec<Journal> = (0..CLIENTS).map(|_| Journal::default()).collect();
    for kill in 1..=KILLS {
        work_until_killed(&mut gateway, &mut journals, &mut random);
        if kill % CHECKED_EVERY == 0 {
            check_store(&gateway, &journals);
        }
        gateway.start_again();
        check_revision(&gateway, &journals);
        let mut connections = Connections::to(&gateway);
        for journal in &mut journals {
            journal.check_touched(&mut connections);
            journal.check_some(&mut connections, &mut random);
        }
    }
    check_everything(&gateway, &journals);
    assert_eq!(gateway.stop(), Some(0));
    check_store(&gateway, &journals);
    let acknowledged = check_revisions(&journals);
    let in_doubt: usize = journals.iter().map(|journal| journal.creations_in_doubt).sum();
    println!("{acknowledged} changes were acknowledged, {in_doubt} keys were left in doubt");
    assert!(acknowledged > 10 * KILLS && in_doubt > 0);
}

/// Lets all clients work side by side, and kills the gateway in the middle of it.
fn work_until_killed(gateway: &mut Gateway, journals: &mut [Journal], random: &mut Random) {
    let working = Duration::from_micros(20_000 + random.below(100_000) as u64);
    let connections: Vec<Connections> = journals.iter().map(|_| Connections::to(gateway)).collect();
    thread::scope(|scope| {
        for (journal, mut connections) in journals.iter_mut().zip(connections) {
            let mut random = random.fork();
            scope.spawn(move || while journal.work(&mut connections, &mut random).is_ok() {});
        }
        let begin = Instant::now();
        wait_for("the moment of the kill", || begin.elapsed() >= working);
        gateway.kill();
    });
}

impl Connections {
    #[track_caller]
    fn to(gateway: &Gateway) -> Self {
        Self { admin: AdminClient::connect(gateway), data: gateway.client() }
    }

    /// The status of a request with this secret.
    fn ask(&mut self, secret: &str) -> Result<u16, Broken> {
        let request = keyless("GET", "/", &[&format!("X-API-Key: {secret}")]);
        Ok(self.data.send(request).try_response("GET")?.status)
    }

    /// The state that the admin API tells, which the data plane must agree with.
    fn state(&mut self, key: &Key) -> State {
        let answer = self.admin.get(&format!("/v1/keys/{}", key.id)).expect(200);
        let state = state_of(&answer.body["key"]);
        self.check_admission(key, state);
        state
    }

    fn check_admission(&mut self, key: &Key, state: State) {
        let status = self.ask(&key.secret).expect("an answer of the data plane");
        assert_eq!(status, if state == State::Active { 204 } else { 401 }, "{} is {state:?}", key.id);
    }
}

impl Journal {
    /// Makes a key or revokes one, and has the data plane agree; an error if the gateway is gone.
    fn work(&mut self, connections: &mut Connections, random: &mut Random) -> Result<(), Broken> {
        let newest = self.keys.len().saturating_sub(MOSTLY_REVOKED);
        let candidate = (newest..self.keys.len()).find(|place| self.keys[*place].state == State::Active);
        match candidate {
            Some(place) if random.below(5) < 2 => self.revoke(place, connections),
            _ => self.create(connections),
        }
    }

    fn create(&mut self, connections: &mut Connections) -> Result<(), Broken> {
        self.creations_in_doubt += 1;
        let answer = connections.admin.try_call("POST", "/v1/keys", &json!({"name": "crash"}))?.expect(201);
        self.creations_in_doubt -= 1;
        let (id, secret) = answer.created();
        self.touched.push(self.keys.len());
        self.keys.push(Key { id, secret, state: State::Active });
        self.acknowledged(&answer.body);
        self.expect_status(self.keys.len() - 1, 204, connections)
    }

    fn revoke(&mut self, place: usize, connections: &mut Connections) -> Result<(), Broken> {
        self.touched.push(place);
        let key = &mut self.keys[place];
        key.state = State::Revoking;
        let answer = connections.admin.try_call("DELETE", &format!("/v1/keys/{}", key.id), &Value::Null)?.expect(200);
        key.state = State::Revoked;
        self.acknowledged(&answer.body);
        self.expect_status(place, 401, connections)
    }

    fn expect_status(&self, place: usize, status: u16, connections: &mut Connections) -> Result<(), Broken> {
        let key = &self.keys[place];
        assert_eq!(connections.ask(&key.secret)?, status, "{} is {:?}", key.id, key.state);
        Ok(())
    }

    fn acknowledged(&mut self, answer: &Value) {
        let revision = answer["revision"].as_u64().expect("a change has a revision");
        assert!(self.revisions.last() < Some(&revision), "{revision} comes after {:?}", self.revisions.last());
        self.revisions.push(revision);
    }

    /// What was done since the last start, and what may have been done.
    fn check_touched(&mut self, connections: &mut Connections) {
        for place in std::mem::take(&mut self.touched) {
            let key = &mut self.keys[place];
            let found = connections.state(key);
            if key.state == State::Revoking {
                key.state = found;
            }
            assert_eq!(found, key.state, "{}", key.id);
        }
    }

    /// Some of the older keys.
    fn check_some(&self, connections: &mut Connections, random: &mut Random) {
        for _ in 0..SAMPLE.min(self.keys.len()) {
            let key = &self.keys[random.below(self.keys.len())];
            assert_eq!(connections.state(key), key.state, "{}", key.id);
        }
    }
}

fn state_of(key: &Value) -> State {
    match key["state"].as_str() {
        Some("active") => State::Active,
        Some("revoked") => State::Revoked,
        other => panic!("a state that nobody asked for: {other:?}"),
    }
}

/// The store has come as far as anybody was ever told.
fn check_revision(gateway: &Gateway, journals: &[Journal]) {
    let status = AdminClient::connect(gateway).get("/v1/status").expect(200);
    let told = journals.iter().filter_map(|journal| journal.revisions.last()).max();
    assert!(told <= Some(&status.revision()), "{told:?} was told before {}", status.body);
}

/// No revision was given to two changes; how many there were.
fn check_revisions(journals: &[Journal]) -> usize {
    let mut seen = HashSet::new();
    let all = journals.iter().flat_map(|journal| &journal.revisions);
    all.for_each(|revision| assert!(seen.insert(revision), "{revision} was told twice"));
    seen.len()
}

/// The file of a gateway that does not run goes together, and its audit log has a row for each acknowledged change.
fn check_store(gateway: &Gateway, journals: &[Journal]) {
    let store = store_file(gateway);
    let json = |arguments: &[&str]| {
        let output = run(&[arguments, &["--output", "json"]].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!((output.status.code(), &told["sound"]), (Some(0), &Value::from(true)), "{arguments:?}: {told}");
        told
    };
    json(&["store", "check", &store]);
    let rows = json(&["audit", "verify", "--store", &store])["rows"].as_u64().expect("a number of rows");
    let acknowledged: usize = journals.iter().map(|journal| journal.revisions.len()).sum();
    assert!(rows >= acknowledged as u64, "{rows} rows for {acknowledged} changes");
}

/// All keys, by the list of the admin API and at the data plane. Of making a key that was not acknowledged at most the key is left.
fn check_everything(gateway: &Gateway, journals: &[Journal]) {
    let mut connections = Connections::to(gateway);
    let mut listed = listed(&mut connections.admin);
    for key in journals.iter().flat_map(|journal| &journal.keys) {
        assert_eq!(listed.remove(&key.id), Some(key.state), "{}", key.id);
        connections.check_admission(key, key.state);
    }
    let in_doubt: usize = journals.iter().map(|journal| journal.creations_in_doubt).sum();
    assert!(listed.len() <= in_doubt, "{} keys that nobody asked for", listed.len() - in_doubt);
}

/// The state of every key of the store, by id.
fn listed(admin: &mut AdminClient) -> HashMap<String, State> {
    let mut states = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/v1/keys?limit=1000{cursor}")).expect(200).body;
        let keys = page["keys"].as_array().expect("a list of keys").iter();
        let of_store = keys.filter(|key| key["source"] == "store");
        states.extend(of_store.map(|key| (key["id"].as_str().expect("an id").to_owned(), state_of(key))));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return states,
        }
    }
}

const KILLS: usize = 200;
const CLIENTS: usize = 8;
/// The file itself is looked into after so many kills.
const CHECKED_EVERY: usize = 40;
/// Of each client's older keys so many are looked at after a restart.
const SAMPLE: usize = 2;
/// Only the newest so many keys of a client are revoked, so that finding one stays quick.
const MOSTLY_REVOKED: usize = 20;

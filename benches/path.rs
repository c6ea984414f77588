//! What the steps of a request cost, without sockets: digest, look-up, decision, head in and head out, taking from limits.
//!
//! `cargo bench --bench path [-- FILTER]`. The 10,000,000 keys of one case need some gigabytes and half a minute to be made.
#![allow(missing_docs, reason = "a program whose output is its table")]

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::{Bencher, black_box};

use keygate::catalog::{Catalog, FileKey, RuleSet, Rules, Wire};
use keygate::gateway::Desk;
use keygate::key::{Digest, Extra, Form, Key, State};
use keygate::limit::{self, Limit};
use keygate::meter::ledger::{self, Keeper};
use keygate::policy::Plan;
use keygate::route::Route;
use keygate::time::{self, Instant};
use keygate::upstream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Instant = Instant::from_ns(1 << 50);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// So many calls between two looks at the clock, which costs as much as some of them.
const MANY: u32 = 1000;
/// `kg_live_`, 32 random characters and 6 of checksum.
const SECRET_BYTES: usize = 46;
const ONE: usize = 1;
const MILLION: usize = 1_000_000;
const TEN_MILLION: usize = 10_000_000;

fn main() {
    divan::main();
}

/// A catalog with so many keys, routes and plans, and up to a million of the keys' secrets in an order of their own.
struct Held {
    catalog: Arc<Catalog>,
    secrets: Vec<[u8; SECRET_BYTES]>,
    digests: Vec<Digest>,
}

impl Held {
    fn new(keys: usize, rules: usize) -> Self {
        let catalog = Arc::new(Catalog::new());
        let set = rule_set(rules);
        let form = Form::new("kg").expect("a brand");
        let (mut secrets, mut digests, mut file) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..keys {
            let secret = form.generate("live").expect("random numbers").expose().as_bytes().try_into();
            let secret: [u8; SECRET_BYTES] = secret.expect("the length of a secret");
            let digest = *set.wire.hasher.digests(&secret).iter().next().expect("one digest at least");
            if n % (keys.div_ceil(MILLION)) == 0 {
                secrets.push(secret);
                digests.push(digest);
            }
            file.push(FileKey { key: key(n, rules), digests: vec![digest] });
        }
        shuffle(&mut secrets, 1);
        shuffle(&mut digests, 2);
        let rules = Rules::compile(set, None, NOW).expect("rules in order");
        catalog.apply(rules, file);
        Self { catalog, secrets, digests }
    }

    fn of(keys: usize) -> &'static Self {
        match keys {
            ONE => &HELD_ONE,
            MILLION => &HELD_MILLION,
            TEN_MILLION => &HELD_TEN_MILLION,
            other => panic!("no catalog of {other}"),
        }
    }
}

static HELD_ONE: LazyLock<Held> = LazyLock::new(|| Held::new(ONE, 1));
static HELD_MILLION: LazyLock<Held> = LazyLock::new(|| Held::new(MILLION, 1));
static HELD_TEN_MILLION: LazyLock<Held> = LazyLock::new(|| Held::new(TEN_MILLION, 1));

/// One route and plan, or many of them with one under `/`.
fn rule_set(count: usize) -> RuleSet {
    let route = |n| {
        let path = if n == 0 { "/".to_owned() } else { format!("/service-{n}/v1") };
        Route::new(format!("route-{n}").parse().expect("a name"), path.parse().expect("a path"), 0)
    };
    let plan = |n| Plan {
        name: format!("plan-{n}").parse().expect("a name"),
        limits: vec![plenty("second", 1, 0), plenty("hour", 3600, 1)],
        quotas: Vec::new(),
        billed: None,
        concurrency: None,
    };
    RuleSet {
        routes: (0..count).map(route).collect(),
        plans: (0..count.div_ceil(10)).map(plan).collect(),
        upstreams: vec![upstream()],
        default_plan: None,
        wire: Wire::default(),
    }
}

fn upstream() -> upstream::Options {
    upstream::Options {
        name: "u".parse().expect("a name"),
        targets: vec!["127.0.0.1:1".parse().expect("an authority")],
        connect_timeout: Duration::from_secs(1),
        response_timeout: None,
        idle_timeout: Duration::from_secs(1),
        keep_alive: 1,
        preserve_host: true,
    }
}

fn key(n: usize, rules: usize) -> Key {
    Key {
        id: format!("key_{n:016}").parse().expect("an id"),
        name: String::new(),
        owner: Some("acme".parse().expect("a name")),
        plan: Some(format!("plan-{}", n % rules.div_ceil(10)).parse().expect("a name")),
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Active,
        extra: Extra::default(),
    }
}

/// A limit that a bench cannot use up.
fn plenty(name: &str, per_s: u64, slot: usize) -> Limit {
    let limit = Limit::new(name.parse().expect("a name"), per_s * 1_000_000, Duration::from_secs(per_s), 1 << 40);
    limit.expect("a limit").with_slot(slot)
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut x = seed;
    for last in (1..items.len()).rev() {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (x >> 33) as usize % (last + 1));
    }
}

/// One after the other, round and round.
fn each<'s, T>(items: &'s [T], next: &Cell<usize>) -> &'s T {
    let at = next.get();
    next.set(if at + 1 == items.len() { 0 } else { at + 1 });
    &items[at]
}

fn head(path: &str, secret: &[u8]) -> Vec<u8> {
    let secret = String::from_utf8_lossy(secret);
    format!(
        "GET {path} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.9.1\r\nAccept: application/json\r\n\
         Accept-Encoding: gzip, br\r\nX-API-Key: {secret}\r\n\r\n"
    )
    .into_bytes()
}

/// What metering adds is the difference between the two.
#[divan::bench(sample_size = MANY)]
fn account_without_ledger(bencher: Bencher<'_, '_>) {
    let held = Held::of(ONE);
    account(bencher, held, &Desk::new(Arc::clone(&held.catalog), CLIENT));
}

#[divan::bench(sample_size = MANY)]
fn account_with_ledger(bencher: Bencher<'_, '_>) {
    let held = Held::of(ONE);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written to");
    let options = ledger::Options { folder: folder.path().to_owned(), ..ledger::Options::default() };
    let mut keeper = Keeper::open(options, time::wall(NOW), NOW).expect("the folder is ours");
    let book = keeper.book().expect("there is memory");
    account(bencher, held, &Desk::counting_in(Arc::clone(&held.catalog), CLIENT, Some(book)));
}

fn account(bencher: Bencher<'_, '_>, held: &Held, desk: &Desk) {
    let (head, now) = (head("/orders/7", &held.secrets[0]), time::now());
    bencher.bench_local(|| assert!(desk.account(black_box(&head), now)));
}

#[divan::bench(sample_size = MANY)]
fn digest(bencher: Bencher<'_, '_>) {
    let (hasher, secret) = (Wire::default().hasher, &Held::of(ONE).secrets[0]);
    bencher.bench_local(|| hasher.digests(black_box(secret)));
}

#[divan::bench(sample_size = MANY, args = [ONE, MILLION, TEN_MILLION])]
fn index_look_up(bencher: Bencher<'_, '_>, keys: usize) {
    let held = Held::of(keys);
    let next = Cell::new(0);
    bencher.bench_local(|| held.catalog.keys().find(each(&held.digests, &next)).is_some());
}

#[divan::bench(sample_size = MANY, args = [ONE, MILLION, TEN_MILLION])]
fn admit(bencher: Bencher<'_, '_>, keys: usize) {
    let held = Held::of(keys);
    admit_in_turn(bencher, held, "/orders/7", &held.secrets);
}

#[divan::bench(sample_size = MANY)]
fn admit_hot_key_among_a_million(bencher: Bencher<'_, '_>) {
    let held = Held::of(MILLION);
    admit_in_turn(bencher, held, "/orders/7", &held.secrets[..1]);
}

#[divan::bench(sample_size = MANY)]
fn admit_with_1000_routes_and_100_plans(bencher: Bencher<'_, '_>) {
    let held = Held::new(ONE, 1000);
    admit_in_turn(bencher, &held, "/service-777/v1/orders/7", &held.secrets);
}

fn admit_in_turn(bencher: Bencher<'_, '_>, held: &Held, path: &str, secrets: &[[u8; SECRET_BYTES]]) {
    let desk = Desk::new(Arc::clone(&held.catalog), CLIENT);
    let (head, next) = (head(path, &held.secrets[0]), Cell::new(0));
    desk.admitting(&head, time::now(), |admit| {
        bencher.bench_local(|| assert!(admit(each(secrets, &next).as_slice())));
    });
}

#[divan::bench(sample_size = MANY)]
fn head_to_head(bencher: Bencher<'_, '_>) {
    let held = Held::of(ONE);
    let desk = Desk::new(Arc::clone(&held.catalog), CLIENT);
    let head = head("/orders/7?page=2", &held.secrets[0]);
    bencher.bench_local(|| desk.decide(black_box(&head), time::now()));
}

#[divan::bench(sample_size = MANY)]
fn head_denied_unknown_key(bencher: Bencher<'_, '_>) {
    let held = Held::of(ONE);
    let desk = Desk::new(Arc::clone(&held.catalog), CLIENT);
    let other = Form::new("kg").expect("a brand").generate("live").expect("random numbers");
    let head = head("/orders/7?page=2", other.expose().as_bytes());
    bencher.bench_local(|| assert!(desk.decide(black_box(&head), NOW).is_err()));
}

#[divan::bench(sample_size = MANY, args = [1, 3], threads = [1, 2])]
fn take(bencher: Bencher<'_, '_>, limits: usize) {
    let limits: Vec<Limit> = (0..limits).map(|slot| plenty("l", 1, slot)).collect();
    let state = limit::State::default();
    bencher.bench(|| limit::take(&limits, &state, 1, black_box(NOW)).is_ok());
}

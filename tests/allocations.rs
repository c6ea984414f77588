//! Counts the heap allocations of a data thread: in the steady state a request makes none.
//!
//! A program of its own, because it needs an allocator of its own; `unsafe` because that is how an allocator is written.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; everything is passed on to mimalloc")]

use std::alloc::{GlobalAlloc, Layout};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keygate::catalog::{Catalog, FileKey, RuleSet, Rules, Wire};
use keygate::gateway::{DENIALS, Gateway, Metering, OUTCOMES, Options, start};
use keygate::key::{Extra, Key, State};
use keygate::limit::Limit;
use keygate::meter::ledger::{Account, Amount, Band, Class, Keeper, Minute, Options as LedgerOptions, Use};
use keygate::policy::{Period, Plan, Quota};
use keygate::route::Route;
use keygate::telemetry::access::AccessLog;
use keygate::telemetry::{self, AccessLogOptions, LogFormat, LogOutput, Metrics};
use keygate::time::Timestamp;
use keygate::{time, upstream};
use mimalloc::MiMalloc;

/// Counts what the watched thread allocates, and leaves the work to mimalloc.
struct Counting;

static WATCHED: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { MiMalloc.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched != 0 && rustix::thread::gettid().as_raw_nonzero().get() == watched {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECRET: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";

/// Answers every request without a body with the same bytes.
fn backend(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) && stream.write_all(answer).is_ok() {}
            });
        }
    });
    address
}

fn catalog(backend: SocketAddr) -> Arc<Catalog> {
    let catalog = Arc::new(Catalog::new());
    let limit = |name: &str| Limit::new(name.parse().unwrap(), 1_000_000, Duration::from_secs(1), 1_000_000).unwrap();
    let limits = vec![limit("a"), limit("b").with_slot(1)];
    let requests = NonZeroU64::new(1_000_000_000).unwrap();
    let quota = Quota { name: "daily".parse().unwrap(), requests, period: Period::Day };
    let plan = Plan { quotas: vec![quota], ..Plan::new("p".parse().unwrap(), limits, Some(9)).unwrap() };
    let upstream = upstream::Options {
        name: "u".parse().unwrap(),
        targets: vec![backend.to_string().parse().unwrap()],
        connect_timeout: Duration::from_secs(5),
        response_timeout: Some(Duration::from_secs(30)),
        idle_timeout: Duration::from_secs(30),
        keep_alive: 8,
        preserve_host: true,
    };
    let routes = vec![Route::new("all".parse().unwrap(), "/".parse().unwrap(), 0)];
    let set =
        RuleSet { routes, plans: vec![plan], upstreams: vec![upstream], default_plan: None, wire: Wire::default() };
    let digests = set.wire.hasher.digests(SECRET.as_bytes()).iter().copied().collect();
    let key = Key {
        id: "key_a".parse().unwrap(),
        name: String::new(),
        owner: Some("acme".parse().unwrap()),
        plan: Some("p".parse().unwrap()),
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Active,
        extra: Extra::default(),
    };
    let rules = Rules::compile(set, Some(&catalog.rules()), time::now()).unwrap();
    catalog.apply(rules, vec![FileKey { key, digests }]);
    catalog
}

/// A gateway that counts usage in a folder.
fn gateway(backend: SocketAddr, folder: &Path) -> Gateway {
    let options = Options {
        listeners: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        threads: NonZeroUsize::new(1),
        max_connections: None,
        drain_timeout: Duration::ZERO,
    };
    let metrics = Metrics::new(&OUTCOMES, &DENIALS);
    let off = AccessLogOptions { output: LogOutput::Off, sample: 0.0 };
    let log = telemetry::Options { format: LogFormat::Json, access: off };
    let (log, _) = AccessLog::open(&log, Arc::clone(&metrics)).unwrap();
    let options_of_ledger = LedgerOptions { folder: folder.to_owned(), ..LedgerOptions::default() };
    let now = time::now();
    let mut keeper = Keeper::open(options_of_ledger, time::wall(now), now).unwrap();
    let metering = Metering { books: vec![keeper.book().unwrap()], quotas: Arc::default() };
    keeper.prepare().unwrap();
    start(&options, catalog(backend), &metrics, &log, metering).unwrap()
}

/// The kernel's number of the gateway's only data thread, as soon as it runs.
fn data_thread() -> i32 {
    let is_data = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "data-0");
    loop {
        let mut tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        if let Some(task) = tasks.find(is_data) {
            return task.file_name().unwrap().to_str().unwrap().parse().unwrap();
        }
        thread::yield_now();
    }
}

/// How often a data thread allocates while it serves so many requests over some kept connections.
fn allocations(answer: &'static [u8], request: &str, status: &str, requests: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(backend(answer), folder.path());
    let mut clients: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(gateway.addresses()[0]).unwrap()).collect();
    let mut ask = |times: usize| {
        for turn in 0..times {
            let client = &mut clients[turn % 4];
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 4096];
            let length = client.read(&mut answer).unwrap();
            assert!(answer[..length].starts_with(status.as_bytes()), "{}", String::from_utf8_lossy(&answer[..length]));
        }
    };
    ask(100);
    WATCHED.store(data_thread(), Ordering::SeqCst);
    COUNT.store(0, Ordering::SeqCst);
    ask(requests);
    let count = COUNT.load(Ordering::SeqCst);
    WATCHED.store(0, Ordering::SeqCst);
    gateway.stop().unwrap();
    count
}

/// The same for requests on a connection each.
fn allocations_of_connections(request: &str, connections: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(backend(ANSWER), folder.path());
    WATCHED.store(data_thread(), Ordering::SeqCst);
    COUNT.store(0, Ordering::SeqCst);
    for _ in 0..connections {
        let mut client = TcpStream::connect(gateway.addresses()[0]).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        assert!(client.read_to_end(&mut Vec::new()).unwrap() > 0);
    }
    let count = COUNT.load(Ordering::SeqCst);
    WATCHED.store(0, Ordering::SeqCst);
    gateway.stop().unwrap();
    count
}

/// How often counting allocates, for some keys in some minutes, once it has come across all of them.
fn allocations_of_counting() -> usize {
    let folder = tempfile::tempdir().unwrap();
    let options = LedgerOptions { folder: folder.path().to_owned(), ..LedgerOptions::default() };
    let mut keeper = Keeper::open(options, Timestamp::from_unix_ms(0), time::now()).unwrap();
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    let route = book.route(&"orders".parse().unwrap());
    let keys: Vec<_> = (0..100).map(|n| format!("key_{n}").parse().unwrap()).collect();
    let amount = Amount { requests: 1, units: 1, ..Amount::default() };
    let mut count_all = |minute| {
        for (token, key) in (1..).zip(&keys) {
            let account = Account { token, key: Some(key), owner: None, plan: None };
            book.count(
                &Use { account, route, class: Class::Success, band: Band::default(), amount },
                Minute::from_unix(minute),
            );
        }
    };
    count_all(1);
    WATCHED.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
    COUNT.store(0, Ordering::SeqCst);
    (0..2_000).for_each(|turn| count_all(1 + turn / 20));
    WATCHED.store(0, Ordering::SeqCst);
    COUNT.load(Ordering::SeqCst)
}

/// What is allocated once a second, for the text of a date, in a test that takes some seconds on a slow machine.
const ONCE_IN_A_WHILE: usize = 20;

/// One test, because a process has one allocator and these look at it in turn.
#[test]
fn a_request_in_the_steady_state_allocates_nothing() {
    let admitted = format!("GET /orders/7?page=2 HTTP/1.1\r\nHost: h\r\nX-API-Key: {SECRET}\r\n\r\n");
    let posted = format!("POST /orders HTTP/1.1\r\nHost: h\r\nX-API-Key: {SECRET}\r\nContent-Length: 2\r\n\r\n{{}}");
    let wrong = admitted.replace("0123", "0124");
    let unknown = admitted.replace(SECRET, "another-form-of-secret-altogether");
    for (answer, request, status) in [
        (ANSWER, &admitted, "HTTP/1.1 200"),
        (CHUNKED, &admitted, "HTTP/1.1 200"),
        (ANSWER, &posted, "HTTP/1.1 200"),
        (ANSWER, &wrong, "HTTP/1.1 401"),
        (ANSWER, &unknown, "HTTP/1.1 401"),
    ] {
        let count = allocations(answer, request, status, 2_000);
        assert!(count < ONCE_IN_A_WHILE, "{count} allocations in 2,000 requests: {request}");
    }
    assert_eq!(allocations_of_counting(), 0);
    let not_kept = admitted.replace("Host: h", "Host: h\r\nConnection: close");
    assert!(allocations_of_connections(&not_kept, 100) >= 100, "the count is not blind: a connection does allocate");
}

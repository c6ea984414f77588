//! Usage that can be billed on, and quotas: against clients and upstreams that count for themselves, and `kill -9`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::harness::{
    ALICE, AdminClient, BOB, Broken, Client, Gateway, Random, Response, Settings, Step, Upstream, get, keyless, post,
    run, wait_for, with_admin,
};

/// What was counted under one route and class: requests, units, bytes in and out.
pub(crate) type Counts = BTreeMap<(String, String), [u64; 4]>;

/// Everything that was counted, by route and by class, or the code of a denial.
pub(crate) fn counts(gateway: &Gateway) -> Counts {
    let usage = AdminClient::connect(gateway).get("/v1/usage?group=route,class&limit=1000").expect(200).body;
    assert!(usage["next"].is_null());
    let rows: Vec<(_, [u64; 4])> = usage["rows"].as_array().unwrap().iter().map(row).collect();
    let totals = amounts(&usage["totals"]);
    let sums = rows.iter().fold([0; 4], |sum, (_, row)| std::array::from_fn(|n| sum[n] + row[n]));
    assert_eq!(sums, totals, "the totals are the sum of the rows");
    let mut counts = Counts::new();
    for (name, amounts) in rows {
        let sum = counts.entry(name).or_default();
        *sum = std::array::from_fn(|n| sum[n] + amounts[n]);
    }
    counts
}

fn row(row: &Value) -> ((String, String), [u64; 4]) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let class = if row["code"].is_null() { &row["class"] } else { &row["code"] };
    ((text(&row["route"]), text(class)), amounts(row))
}

fn amounts(row: &Value) -> [u64; 4] {
    ["requests", "units", "bytes_in", "bytes_out"].map(|name| row[name].as_u64().unwrap())
}

pub(crate) fn counted(gateway: &Gateway, route: &str, class: &str) -> [u64; 4] {
    counts(gateway).get(&(route.to_owned(), class.to_owned())).copied().unwrap_or_default()
}

pub(crate) fn metered(settings: Settings) -> Settings {
    with_admin(settings.top("flood_guard: off\nlogs: {requests: off}"))
}

/// Answers as the path says: `/status/404`, `/units/7`, else 200 with five bytes.
pub(crate) fn obliging() -> Upstream {
    Upstream::start(|connection| {
        loop {
            let request = connection.request()?;
            let (method, path) = request.head.request_line().ok()?;
            let last = path.rsplit('/').next().unwrap_or_default().to_owned();
            let answer = if path.starts_with("/status/") {
                format!("HTTP/1.1 {last} Said\r\nContent-Length: 0\r\n\r\n")
            } else if path.starts_with("/units/") {
                format!("HTTP/1.1 200 OK\r\nX-Usage-Units: {last}\r\nContent-Length: 5\r\n\r\nhello")
            } else if method == "HEAD" {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned()
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()
            };
            connection.write(answer.as_bytes())?;
        }
    })
}

#[test]
fn every_ending_is_counted_under_its_route_and_class() {
    let upstream = obliging();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = nobody.local_addr().unwrap();
    drop(nobody);
    let settings = Settings::before(&upstream)
        .upstream("gone", &[dead], &[])
        .route("gone", &["path: /gone", "upstream: gone", "cost: 3"])
        .route("status", &["path: /status", "cost: 2"])
        .plan_for_alice(&["limits: {hourly: {requests: 10, per: 1h}}"]);
    let gateway = metered(settings).start();
    gateway.ask(get("/", &[])).expect(200);
    gateway.ask(post("/", &[], "12345678")).expect(200);
    assert_eq!(gateway.client().send(keyless("HEAD", "/", &[&key_field()])).try_response("HEAD").unwrap().status, 200);
    gateway.ask(get("/status/404", &[])).expect(404);
    gateway.ask(get("/status/503", &[])).expect(503);
    let missing = gateway.ask(keyless("GET", "/", &[])).expect(401);
    let failed = gateway.ask(get("/gone", &[])).expect(502);
    let limited = gateway.ask(get("/status/404", &[])).expect(429);

    let row = |route: &str, class: &str, counts: [u64; 4]| ((route.to_owned(), class.to_owned()), counts);
    let of = |route: &str, answer: &Response| row(route, &answer.code(), [1, 0, 0, answer.body.len() as u64]);
    let expected = Counts::from([
        row("all", "2xx", [3, 3, 8, 10]),
        row("status", "4xx", [1, 2, 0, 0]),
        row("status", "5xx", [1, 2, 0, 0]),
        of("all", &missing),
        of("gone", &failed),
        of("status", &limited),
    ]);
    assert_eq!(counts(&gateway), expected);
}

fn key_field() -> String {
    format!("X-API-Key: {}", ALICE.secret)
}

#[test]
fn the_upstream_says_how_many_units_a_request_is_and_the_client_does_not_hear_of_it() {
    let upstream = obliging();
    let settings = Settings::before(&upstream)
        .route("ok", &["path: /status", "count: [2xx]"])
        .top("usage: {units_header: X-Usage-Units, count: [2xx, 4xx]}");
    let gateway = metered(settings).start();
    let answer = gateway.get("/units/7").expect(200);
    assert_eq!(answer.value("x-usage-units"), None);
    gateway.get("/units/nonsense").expect(200);
    gateway.get("/units/18446744073709551615").expect(200);
    gateway.get("/status/404").expect(404);
    gateway.get("/status/201").expect(201);
    assert_eq!(counted(&gateway, "all", "2xx")[..2], [3, 9]);
    assert_eq!(counted(&gateway, "ok", "4xx")[..2], [1, 0]);
    assert_eq!(counted(&gateway, "ok", "2xx")[..2], [1, 1]);
}

#[test]
fn what_is_counted_can_be_read_by_owner_and_key_and_by_nobody_else() {
    let upstream = obliging();
    let gateway = metered(Settings::before(&upstream).plan("basic", &["concurrency: 100"])).start();
    let mut admin = AdminClient::connect(&gateway);
    let key = admin.post("/v1/keys", &json!({"name": "a", "owner": "acme", "plan": "basic"})).expect(201);
    let (id, secret) = key.created();
    let request = keyless("GET", "/", &[&format!("X-API-Key: {secret}")]);
    gateway.ask(&request).expect(200);
    // The owner of a key can change; what was used before stays where it was.
    admin.call("PATCH", &format!("/v1/keys/{id}"), &json!({"owner": "other"})).expect(200);
    gateway.ask(&request).expect(200);
    gateway.get("/").expect(200);

    let usage = admin.get("/v1/usage?group=owner,plan&by=minute").expect(200).body;
    let rows: BTreeMap<String, u64> =
        usage["rows"].as_array().unwrap().iter().fold(BTreeMap::new(), |mut sums, row| {
            *sums.entry(format!("{} {}", row["owner"], row["plan"])).or_default() += row["requests"].as_u64().unwrap();
            sums
        });
    let expected = [("\"acme\" \"basic\"", 1), ("\"other\" \"basic\"", 1), ("null null", 1)];
    assert_eq!(rows, expected.map(|(name, requests)| (name.to_owned(), requests)).into());

    let token = admin.post("/v1/tokens", &json!({"role": "owner:acme"})).expect(201).body;
    let of_owner = |path: &str| {
        let token = token["secret"].as_str().unwrap();
        let field = format!("Authorization: Bearer {token}");
        Client::connect(admin_address(&gateway)).ask(keyless("GET", path, &[&field]))
    };
    let seen: Value = serde_json::from_slice(&of_owner("/v1/usage").expect(200).body).unwrap();
    assert_eq!(seen["totals"]["requests"], 1);
    of_owner("/v1/usage?owner=other").expect(404);
    of_owner(&format!("/v1/keys/{id}/allowance")).expect(404);
    admin.get("/v1/usage?by=century").expect_problem(422, "invalid");
    admin.get("/v1/usage?from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z").expect_problem(422, "invalid");
    admin.get("/v1/usage?by=minute&from=2020-01-01T00:00:00Z").expect_problem(422, "invalid");

    let owned = keygate_usage(&gateway, &["--by", "owner", "--output", "csv"]);
    assert!(owned.contains("\r\nacme,1,1,"), "{owned}");
}

fn admin_address(gateway: &Gateway) -> std::net::SocketAddr {
    let listening = |line: &str| serde_json::from_str::<Value>(line).ok()?["admin"].as_str()?.parse().ok();
    gateway.logs().lines().find_map(listening).unwrap()
}

pub(crate) fn keygate_usage(gateway: &Gateway, arguments: &[&str]) -> String {
    let url = format!("http://{}", admin_address(gateway));
    let token = gateway.folder().join("data/admin.token");
    let connection = ["--admin", &url, "--token-file", token.to_str().unwrap()];
    let ran = run(&[&["usage"], arguments, &connection].concat());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn eight_clients_get_exactly_what_a_quota_gives_with_restarts_in_between() {
    const QUOTA: u64 = 10_000;
    let upstream = obliging();
    let quota = format!("quotas: {{monthly: {{requests: {QUOTA}, period: month}}}}");
    let mut gateway = metered(Settings::before(&upstream).threads(2).plan_for_alice(&[&quota])).start();
    let (admitted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    for (life, most) in [2_000, 5_000, 8_000, u64::MAX].into_iter().enumerate() {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    while admitted.load(Ordering::SeqCst) < most && refused.load(Ordering::SeqCst) < 80 {
                        match client.ask(get("/", &[])).status {
                            200 => admitted.fetch_add(1, Ordering::SeqCst),
                            429 => refused.fetch_add(1, Ordering::SeqCst),
                            status => panic!("{status}"),
                        };
                    }
                });
            }
        });
        match life {
            3 => {}
            1 => gateway.kill(),
            _ => assert_eq!(gateway.stop(), Some(0)),
        }
        if life < 3 {
            gateway.start_again();
        }
    }
    assert_eq!(admitted.into_inner(), QUOTA);
    assert_eq!(counted(&gateway, "all", "2xx")[0], QUOTA);
    let answer = gateway.get("/").expect_problem(429, "quota_exceeded");
    let left: u64 = answer.value("retry-after").unwrap().parse().unwrap();
    assert!((1..=31 * 86_400).contains(&left), "{left}");
    let policy = format!("\"monthly\";q={QUOTA};w=2678400");
    assert_eq!(answer.value("ratelimit-policy"), Some(&*policy));
    assert!(answer.value("ratelimit").unwrap().starts_with("\"monthly\";r=0;t="));
    let told = || gateway.logs().lines().filter(|line| line.contains("a key has used up this part of a quota")).count();
    wait_for("the threshold of 100 %, which was crossed in this life", || told() == 1);
}

#[test]
fn a_quota_needs_a_place_to_be_kept() {
    let upstream = obliging();
    let settings = Settings::before(&upstream).plan_for_alice(&["quotas: {daily: {requests: 5, period: day}}"]);
    let gateway = metered(Settings::before(&upstream)).start();
    let yaml = settings.yaml();
    gateway.reload_text(&yaml).expect_refused();
    assert!(gateway.logs().contains("what keys have used of them is kept nowhere"));
}

/// From now on no file of the gateway may grow, as on a full disk.
fn fill_disk(gateway: &mut Gateway) {
    let pid = Pid::from_raw(i32::try_from(gateway.process().id()).unwrap());
    let maximum = prlimit(pid, Resource::Fsize, Rlimit { current: Some(0), maximum: None }).unwrap().maximum;
    assert_eq!(maximum, None, "the limit can be raised again");
}

#[test]
fn what_cannot_be_sealed_on_a_full_disk_is_sealed_at_the_next_start() {
    let upstream = obliging();
    let quota = "quotas: {daily: {requests: 12, period: day}}";
    let mut gateway = metered(Settings::before(&upstream).plan_for_alice(&[quota])).start();
    (0..5).for_each(|_| drop(gateway.get("/").expect(200)));
    fill_disk(&mut gateway);
    (0..5).for_each(|_| drop(gateway.get("/").expect(200)));
    assert_eq!(counted(&gateway, "all", "2xx")[0], 10, "counting goes on");
    assert_eq!(gateway.stop(), Some(0));
    assert!(gateway.logs().contains("it stays in the ledger for the next start"), "{}", gateway.logs());
    gateway.start_again();
    assert_eq!(counted(&gateway, "all", "2xx")[0], 10);
    (0..2).for_each(|_| drop(gateway.get("/").expect(200)));
    gateway.get("/").expect_problem(429, "quota_exceeded");
}

/// What a client saw of its requests: how many it sent, and of how many it got the whole answer.
#[derive(Default)]
struct Oracle {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Oracle {
    fn work(&self, client: &mut Client) -> Result<(), Broken> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let answer = client.send(get("/", &[])).try_response("GET")?;
        assert_eq!(answer.status, 200);
        self.received.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn killed_three_hundred_times_it_has_counted_each_answer_that_was_received_and_none_twice() {
    const KILLS: usize = 300;
    let mut random = Random::of_this_run();
    let upstream = obliging();
    let mut gateway = metered(Settings::before(&upstream).threads(2)).start();
    let oracle = Oracle::default();
    for kill in 1..=KILLS {
        let working = Duration::from_micros(random.below(30_000) as u64);
        let clients: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
        thread::scope(|scope| {
            for mut client in clients {
                let oracle = &oracle;
                scope.spawn(move || while oracle.work(&mut client).is_ok() {});
            }
            let begin = Instant::now();
            wait_for("the moment of the kill", || begin.elapsed() >= working);
            gateway.kill();
        });
        gateway.start_again();
        if kill % 10 == 0 {
            check(&oracle, &gateway);
        }
    }
    let once = counts(&gateway);
    assert_eq!(gateway.stop(), Some(0));
    gateway.start_again();
    assert_eq!(counts(&gateway), once, "a second replay changes nothing");
    check(&oracle, &gateway);
    let proof = keygate_usage(&gateway, &["verify", "--output", "json"]);
    let sealed: Value = serde_json::from_str(&proof).unwrap();
    let sealed: u64 = sealed.as_array().unwrap().iter().map(|day| day["sealed"]["requests"].as_u64().unwrap()).sum();
    assert_eq!(sealed, once.values().map(|counts| counts[0]).sum::<u64>(), "all of it was sealed at the stop");
    let received = oracle.received.into_inner();
    println!("{received} answers were received");
    assert!(received > 2 * KILLS as u64);
}

/// Received ≤ counted ≤ sent.
fn check(oracle: &Oracle, gateway: &Gateway) {
    let counted: u64 = counts(gateway).values().map(|counts| counts[0]).sum();
    let (sent, received) = (oracle.sent.load(Ordering::SeqCst), oracle.received.load(Ordering::SeqCst));
    assert!(received <= counted && counted <= sent, "{received} received, {counted} counted, {sent} sent");
}

#[test]
fn a_long_answer_is_counted_as_it_goes() {
    let go_on = Arc::new(Mutex::new(()));
    let held = Arc::clone(&go_on);
    let upstream = Upstream::start(move |connection| -> Step {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        while held.try_lock().is_err() {
            connection.write(b"5\r\nhello\r\n")?;
            thread::yield_now();
        }
        connection.write(b"0\r\n\r\n")
    });
    let gateway = metered(Settings::before(&upstream)).start();
    let running = go_on.lock().unwrap();
    let mut client = gateway.client();
    let head = client.send(get("/", &[])).read_head();
    let reading = thread::spawn(move || {
        let mut bytes = 0;
        client.read_body(&head, &mut |piece| bytes += piece.len() as u64).unwrap();
        bytes
    });
    wait_for("a part of the answer", || counted(&gateway, "all", "2xx")[3] > 0);
    assert_eq!(counted(&gateway, "all", "2xx")[0], 0, "the request has not ended");
    drop(running);
    let bytes = reading.join().unwrap();
    assert_eq!(counted(&gateway, "all", "2xx"), [1, 1, 0, bytes]);
}

/// What was answered, as both ends have it: by route, and by class or code.
#[derive(Default)]
struct Log(Mutex<Counts>);

impl Log {
    fn add(&self, route: &str, class: &str, bytes_in: usize, bytes_out: usize) {
        let mut counts = self.0.lock().unwrap();
        let sum = counts.entry((route.to_owned(), class.to_owned())).or_default();
        let billed = u64::from(class.ends_with("xx"));
        let more = [1, billed, bytes_in as u64, bytes_out as u64];
        *sum = std::array::from_fn(|n| sum[n] + more[n]);
    }
}

/// An upstream that logs what it answers: bodies mirrored, `/status/404`, `/close` after which it closes, `/slow` without an end.
fn logging(log: &Arc<Log>) -> Upstream {
    let log = Arc::clone(log);
    Upstream::start(move |connection| {
        loop {
            let request = connection.request()?;
            let path = request.target().to_owned();
            let route = path.split('/').nth(1).unwrap_or_default();
            match route {
                "status" => {
                    let status = path.rsplit('/').next().unwrap_or_default();
                    log.add(route, &format!("{}xx", &status[..1]), request.body.len(), 0);
                    connection.write(format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
                }
                "slow" => {
                    connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")?;
                    return connection.wait_closed();
                }
                "close" => {
                    log.add(route, "2xx", 0, 3);
                    return connection.answer(&request, b"bye");
                }
                _ if request.body.is_empty() => {
                    let sent = if request.method() == "HEAD" { 0 } else { path.len() };
                    log.add(route, "2xx", 0, sent);
                    connection.answer(&request, path.as_bytes())?;
                }
                _ => {
                    log.add(route, "2xx", request.body.len(), request.body.len());
                    connection.answer_chunked(&request.body)?;
                }
            }
        }
    })
}

/// One request of some kind; what the gateway answers itself goes into the client's log.
fn one_of_many(gateway: &Gateway, client: &mut Client, own: &Log, random: &mut Random) {
    let bob = format!("X-API-Key: {}", BOB.secret);
    let (method, route, request) = match random.below(1000) {
        0..450 => ("GET", "echo", get(&format!("/echo/{}", "x".repeat(random.below(50))), &[])),
        450..550 => ("HEAD", "echo", keyless("HEAD", "/echo/head", &[&key_field()])),
        550..650 => ("POST", "echo", post("/echo/post", &[], &"y".repeat(1 + random.below(3000)))),
        650..700 => ("POST", "echo", chunked(1 + random.below(500))),
        700..800 => ("GET", "status", get(["/status/404", "/status/503"][random.below(2)], &[])),
        800..900 => ("GET", "echo", keyless("GET", "/echo/nobody", &[])),
        900..970 => ("GET", "echo", keyless("GET", "/echo/bob", &[&bob])),
        970..985 => ("GET", "gone", get("/gone", &[])),
        985..995 => ("GET", "close", get("/close", &[])),
        _ => {
            let mut leaving = gateway.client();
            leaving.send(get("/slow", &[])).read_head();
            leaving.leave();
            return own.add("slow", "client_gone", 0, 0);
        }
    };
    let answer = client.send(request).try_response(method).expect("an answer");
    if answer.value("content-type") == Some("application/problem+json") {
        own.add(route, &answer.code(), 0, answer.body.len());
    }
}

fn chunked(length: usize) -> String {
    let fields = [&*key_field(), "Transfer-Encoding: chunked"];
    format!("{}{length:x}\r\n{}\r\n0\r\n\r\n", keyless("POST", "/echo/chunked", &fields), "z".repeat(length))
}

#[test]
fn usage_of_a_hundred_thousand_mixed_requests_is_what_both_ends_have_logged() {
    const CLIENTS: usize = 8;
    const EACH: usize = 12_500;
    let (theirs, own) = (Arc::new(Log::default()), Log::default());
    let upstream = logging(&theirs);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = nobody.local_addr().unwrap();
    drop(nobody);
    let route = |settings: Settings, name: &str| settings.route(name, &[&format!("path: /{name}")]);
    let settings = ["echo", "status", "slow", "close"].into_iter().fold(Settings::before(&upstream), route);
    let settings = settings
        .upstream("gone", &[dead], &[])
        .route("gone", &["path: /gone", "upstream: gone"])
        .plan("few", &["quotas: {daily: {requests: 100, period: day}}"])
        .key(BOB, &["plan: few"]);
    let gateway = metered(settings.threads(2)).start();
    let mut random = Random::of_this_run();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (gateway, own, mut random) = (&gateway, &own, random.fork());
            scope.spawn(move || {
                let mut client = gateway.client();
                (0..EACH).for_each(|_| one_of_many(gateway, &mut client, own, &mut random));
            });
        }
    });
    let left = || own.0.lock().unwrap()[&("slow".to_owned(), "client_gone".to_owned())][0];
    wait_for("the end of all that was left", || counted(&gateway, "slow", "client_gone")[0] == left());

    let mut expected = theirs.0.lock().unwrap().clone();
    expected.extend(own.0.into_inner().unwrap());
    let mut found = counts(&gateway);
    let slow = ("slow".to_owned(), "client_gone".to_owned());
    // How much of an answer had come, and of a body when the upstream closed, is chance.
    for counts in [&mut expected, &mut found] {
        counts.get_mut(&slow).unwrap()[3] = 0;
        counts.iter_mut().filter(|((_, class), _)| class == "upstream_failed").for_each(|(_, counts)| counts[2] = 0);
    }
    assert_eq!(found, expected);
    assert_eq!(found.values().map(|counts| counts[0]).sum::<u64>(), (CLIENTS * EACH) as u64);
}

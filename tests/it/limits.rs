//! Limits: exact, told on the wire, taken together or not at all, and kept over reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{ALICE, BOB, CAROL, Gateway, Response, Settings, Upstream, get, keyless};

fn limited(upstream: &Upstream, limits: &str) -> Settings {
    Settings::before(upstream).plan_for_alice(&[&format!("limits: {{{limits}}}")])
}

/// `r` and `t` of `RateLimit`, and the name of the limit.
#[track_caller]
fn remaining(answer: &Response) -> (String, u64, u64) {
    let field = answer.value("ratelimit").expect("the answer has RateLimit");
    let (name, parameters) = field.split_once(';').unwrap();
    let number = |key: &str| {
        let value = parameters.split(';').find_map(|parameter| parameter.strip_prefix(key)).unwrap();
        value.parse::<u64>().unwrap()
    };
    (name.trim_matches('"').to_owned(), number("r="), number("t="))
}

/// Which limit refused, out of `violated-policies`.
#[track_caller]
fn violated(answer: &Response) -> String {
    answer.problem()["violated-policies"].to_string()
}

#[test]
fn six_a_minute_counts_down_and_then_refuses() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "burst: {requests: 6, per: 60s}").start();
    let mut client = gateway.client();
    for expected in [5, 4, 3, 2, 1, 0] {
        let answer = client.ask(get("/", &[])).expect(200);
        assert_eq!(answer.value("ratelimit-policy"), Some("\"burst\";q=6;w=60"));
        let (name, left, reset) = remaining(&answer);
        assert_eq!((name.as_str(), left), ("burst", expected));
        assert!((1..=60).contains(&reset), "{reset}");
    }
    let refused = client.ask(get("/", &[])).expect_problem(429, "limit_exceeded");
    assert_eq!(remaining(&refused).1, 0);
    let retry_after: u64 = refused.value("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&retry_after), "{retry_after}");
    assert_eq!(refused.problem()["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert!(violated(&refused).contains("burst"), "{}", refused.text());
    assert!(!refused.says_close());
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn nothing_is_told_of_limits_on_a_401_or_a_403() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "burst: {requests: 6, per: 60s}")
        .top("limit_headers: both")
        .route("scoped", &["path: /scoped", "scopes: [admin]"])
        .start();
    for answer in [gateway.ask(keyless("GET", "/", &[])).expect(401), gateway.get("/scoped").expect(403)] {
        let told: Vec<_> =
            answer.head.fields.iter().filter(|(name, _)| name.to_ascii_lowercase().contains("ratelimit")).collect();
        assert!(told.is_empty(), "{told:?}");
    }
    assert_eq!(remaining(&gateway.get("/").expect(200)).1, 5, "the denied requests took nothing");
}

#[test]
fn the_fields_come_in_the_family_that_the_file_names() {
    let upstream = Upstream::echo();
    let fields = |family: &str| {
        let gateway =
            limited(&upstream, "burst: {requests: 6, per: 60s}").top(&format!("limit_headers: {family}")).start();
        let answer = gateway.get("/").expect(200);
        let present = |name: &str| answer.value(name).is_some();
        (
            present("ratelimit") && present("ratelimit-policy"),
            answer.value("x-ratelimit-remaining").map(str::to_owned),
            answer,
        )
    };
    let told = |family: &str| {
        let (standard, legacy, _) = fields(family);
        (standard, legacy)
    };
    let five = Some("5".to_owned());
    assert_eq!(told("standard"), (true, None));
    assert_eq!(told("legacy"), (false, five.clone()));
    assert_eq!(told("both"), (true, five));
    assert_eq!(told("none"), (false, None));
    let (_, _, answer) = fields("legacy");
    assert_eq!(answer.value("x-ratelimit-limit"), Some("6"));
    let reset: i64 = answer.value("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((0..=120).contains(&(reset - jiff::Timestamp::now().as_second())), "{reset} is not in epoch seconds");
}

#[test]
fn a_key_without_a_plan_has_no_limits() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).plan("free", &["limits: {burst: {requests: 1, per: 1h}}"]).start();
    let mut client = gateway.client();
    for _ in 0..20 {
        let answer = client.ask(get("/", &[])).expect(200);
        assert_eq!((answer.value("ratelimit"), answer.value("ratelimit-policy")), (None, None));
    }
}

#[test]
fn an_upstreams_own_limit_fields_pass_where_the_gateway_has_none() {
    let upstream = Upstream::fixed("HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 7\r\nContent-Length: 0\r\n\r\n");
    let answer = Settings::before(&upstream).start().get("/").expect(200);
    assert_eq!(answer.value("x-ratelimit-limit"), Some("7"));
}

#[test]
fn every_limit_is_listed_and_the_nearest_to_its_end_is_told() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "burst: {requests: 100, per: 60s}, daily: {requests: 3, per: 1d}").start();
    let answer = gateway.get("/").expect(200);
    let policy = answer.value("ratelimit-policy").unwrap();
    assert!(policy.contains("\"burst\";q=100;w=60") && policy.contains("\"daily\";q=3;w=86400"), "{policy}");
    assert_eq!(remaining(&answer).0, "daily");
    assert_eq!(remaining(&answer).1, 2);
}

#[test]
fn a_request_that_one_limit_refuses_takes_nothing_from_the_other() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "fast: {requests: 1, per: 100ms}, slow: {requests: 3, per: 1h}").start();
    let mut client = gateway.client();
    let (mut admitted, mut refused_by_fast) = (0, 0);
    let answer = loop {
        let answer = client.ask(get("/", &[]));
        match answer.status {
            200 => admitted += 1,
            _ if violated(&answer).contains("slow") => break answer,
            _ => refused_by_fast += 1,
        }
    };
    assert_eq!(admitted, 3, "{refused_by_fast} requests were refused by the fast limit alone");
    assert_eq!(upstream.seen().len(), 3);
    assert!(answer.value("retry-after").unwrap().parse::<u64>().unwrap() > 1);
}

#[test]
fn a_route_costs_what_the_file_says() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "burst: {requests: 7, per: 1h}")
        .route("dear", &["path: /dear", "cost: 3"])
        .route("free", &["path: /never", "cost: 8"])
        .start();
    assert_eq!(remaining(&gateway.get("/dear").expect(200)).1, 4);
    gateway.get("/never").expect_problem(429, "limit_exceeded");
    assert_eq!(remaining(&gateway.get("/dear").expect(200)).1, 1);
    gateway.get("/dear").expect_problem(429, "limit_exceeded");
    assert_eq!(remaining(&gateway.get("/").expect(200)).1, 0, "refused requests took nothing");
    gateway.get("/").expect(429);
}

#[test]
fn each_key_has_its_own_allowance_over_all_its_connections() {
    let upstream = Upstream::echo();
    let gateway =
        limited(&upstream, "burst: {requests: 2, per: 1h}").key(BOB, &["plan: basic"]).key(CAROL, &[]).start();
    let with = |secret: &str| keyless("GET", "/", &[&format!("X-API-Key: {secret}")]);
    for secret in [ALICE.secret, BOB.secret] {
        gateway.ask(with(secret)).expect(200);
        gateway.ask(with(secret)).expect(200);
        gateway.ask(with(secret)).expect(429);
    }
    gateway.ask(with(CAROL.secret)).expect(200);
}

#[test]
fn a_key_without_a_plan_of_its_own_is_on_the_default_plan() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream)
        .top("default_plan: free")
        .plan("free", &["limits: {burst: {requests: 1, per: 1h}}"])
        .start();
    gateway.get("/").expect(200);
    gateway.get("/").expect(429);
}

#[test]
fn a_public_route_is_not_limited_by_a_key_that_comes_along() {
    let upstream = Upstream::echo();
    let gateway =
        limited(&upstream, "burst: {requests: 1, per: 1h}").route("open", &["path: /open", "access: public"]).start();
    for _ in 0..3 {
        gateway.get("/open").expect(200);
    }
    gateway.get("/").expect(200);
}

#[test]
fn never_one_more_than_allowed_under_parallel_clients_on_all_threads() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "burst: {requests: 500, per: 31d}").threads(2).start();
    let admitted = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..50 {
                    let answer = client.ask(get("/", &[]));
                    assert!(matches!(answer.status, 200 | 429), "{}", answer.status);
                    admitted.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 500);
    assert_eq!(upstream.seen().len(), 500);
}

#[test]
fn a_reload_that_does_not_touch_a_limit_keeps_its_state() {
    let upstream = Upstream::echo();
    let settings = limited(&upstream, "burst: {requests: 6, per: 1h}");
    let gateway = settings.start();
    gateway.get("/").expect(200);
    assert_eq!(remaining(&gateway.get("/").expect(200)).1, 4);
    gateway.reload(&settings.clone().route("more", &["path: /more"]).key(BOB, &[]));
    assert_eq!(remaining(&gateway.get("/").expect(200)).1, 3);
}

#[test]
fn a_changed_limit_keeps_what_was_taken_and_gives_no_fresh_allowance() {
    for (changed, more) in [("3, per: 1h", 0), ("5, per: 1d", 0), ("8, per: 1h", 3)] {
        let upstream = Upstream::echo();
        let gateway = limited(&upstream, "burst: {requests: 5, per: 1h}").start();
        use_up(&gateway, 5);
        gateway.reload(&limited(&upstream, &format!("burst: {{requests: {changed}}}")));
        let mut client = gateway.client();
        let admitted = (0..20).filter(|_| client.ask(get("/", &[])).status == 200).count();
        assert_eq!(admitted, more, "after a change to {changed}");
    }
}

#[test]
fn a_limit_that_was_lowered_by_mistake_and_raised_again_gives_nothing_back() {
    for (used, left) in [(5, 0), (3, 2)] {
        let upstream = Upstream::echo();
        let settings = limited(&upstream, "burst: {requests: 5, per: 1h}");
        let gateway = settings.start();
        use_up(&gateway, used);
        gateway.reload(&limited(&upstream, "burst: {requests: 1, per: 1h}"));
        gateway.get("/").expect(429);
        gateway.reload(&settings);
        let mut client = gateway.client();
        let admitted = (0..20).filter(|_| client.ask(get("/", &[])).status == 200).count();
        assert_eq!(admitted, left, "after {used} of 5");
    }
}

#[test]
fn a_limit_with_another_name_in_the_place_of_the_old_one_gives_no_fresh_allowance() {
    let upstream = Upstream::echo();
    let gateway = limited(&upstream, "hour: {requests: 5, per: 1h}").start();
    use_up(&gateway, 5);
    gateway.reload(&limited(&upstream, "hourly: {requests: 5, per: 1h}"));
    gateway.get("/").expect(429);
}

#[test]
fn a_key_that_goes_to_another_plan_takes_along_what_it_has_used() {
    let upstream = Upstream::echo();
    let settings =
        limited(&upstream, "burst: {requests: 5, per: 1h}").plan("other", &["limits: {burst: {requests: 8, per: 1d}}"]);
    let gateway = settings.start();
    use_up(&gateway, 5);
    gateway.reload(&settings.clone().key(ALICE, &["plan: other", "owner: wonderland", "name: alice"]));
    let mut client = gateway.client();
    let admitted = (0..20).filter(|_| client.ask(get("/", &[])).status == 200).count();
    assert_eq!(admitted, 3);
    gateway.reload(&settings);
    gateway.get("/").expect(429);
}

#[test]
fn a_key_that_changes_its_metadata_keeps_its_state() {
    let upstream = Upstream::echo();
    let settings = limited(&upstream, "burst: {requests: 6, per: 1h}");
    let gateway = settings.start();
    use_up(&gateway, 6);
    gateway.reload(&settings.clone().key(ALICE, &["plan: basic", "owner: wonderland", "name: renamed"]));
    gateway.get("/").expect(429);
}

#[track_caller]
fn use_up(gateway: &Gateway, requests: usize) {
    for _ in 0..requests {
        gateway.get("/").expect(200);
    }
}

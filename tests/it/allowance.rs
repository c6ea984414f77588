//! What a key has beyond the quotas of its plan: in force with the answer that says so, and after a restart.

use serde_json::{Value, json};

use crate::harness::{ALICE, AdminClient, Gateway, Settings, Upstream, get, keyless, with_admin};

const DAILY: &str = "quotas: {daily: {requests: 5, period: day}}";

fn metered(settings: Settings) -> Settings {
    with_admin(settings.top("flood_guard: off\nlogs: {requests: off}"))
}

/// How many requests are admitted before one is refused.
fn admitted(gateway: &Gateway, secret: &str) -> usize {
    let mut client = gateway.client();
    let request = keyless("GET", "/", &[&format!("X-API-Key: {secret}")]);
    for admitted in 0..100 {
        let answer = client.ask(&request);
        if answer.status != 200 {
            answer.expect_problem(429, "quota_exceeded");
            return admitted;
        }
    }
    panic!("nothing is refused")
}

#[test]
fn an_extra_allowance_is_in_force_when_it_is_answered_and_kept_over_restarts() {
    let upstream = Upstream::echo();
    let mut gateway = metered(Settings::before(&upstream).threads(2).plan("basic", &[DAILY])).start();
    let mut admin = AdminClient::connect(&gateway);
    let (id, secret) = admin.post("/v1/keys", &json!({"name": "n", "plan": "basic"})).expect(201).created();
    let path = format!("/v1/keys/{id}");
    let set = |admin: &mut AdminClient, extra: Value| {
        admin.call("PATCH", &path, &json!({"extra_allowance": extra})).expect(200).body["key"]["extra_allowance"]
            .clone()
    };
    assert_eq!(admitted(&gateway, &secret), 5);
    set(&mut admin, json!({"month": 100}));
    assert_eq!(admitted(&gateway, &secret), 0, "that is for quotas of a month");
    assert_eq!(set(&mut admin, json!({"day": 3})), json!({"day": 3, "month": 100}));
    assert_eq!(admitted(&gateway, &secret), 3);
    let left = admin.get(&format!("{path}/allowance")).expect(200).body;
    let quota = &left["quotas"][0];
    assert_eq!([&quota["requests"], &quota["extra"], &quota["used"], &quota["remaining"]], [5, 3, 8, 0]);
    set(&mut admin, json!({"day": 10}));
    gateway.ask(keyless("GET", "/", &[&format!("X-API-Key: {secret}")])).expect(200);
    set(&mut admin, json!({"day": 4}));
    assert_eq!(admitted(&gateway, &secret), 0, "a smaller one holds at once, too");
    let row = admin.get("/v1/audit?from_end=true&limit=1").expect(200).body["rows"][0].clone();
    let told = [&row["before"]["extra_allowance"]["day"], &row["after"]["extra_allowance"]["day"]];
    assert_eq!((told, &row["action"]), ([&json!(10), &json!(4)], &json!("key.change")));

    set(&mut admin, json!({"day": 6}));
    gateway.kill();
    gateway.start_again();
    assert_eq!(admitted(&gateway, &secret), 2);
    let mut admin = AdminClient::connect(&gateway);
    assert_eq!(admin.get(&path).expect(200).body["key"]["extra_allowance"], json!({"day": 6, "month": 100}));
    set(&mut admin, Value::Null);
    assert_eq!(admitted(&gateway, &secret), 0);
}

#[test]
fn a_quota_or_an_extra_allowance_that_is_changed_in_the_file_is_in_force_with_the_reload() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).plan_for_alice(&[DAILY]);
    let settings = metered(settings);
    let gateway = settings.start();
    assert_eq!(admitted(&gateway, ALICE.secret), 5);
    gateway.reload(&settings.clone().plan("basic", &["quotas: {daily: {requests: 7, period: day}}"]));
    assert_eq!(admitted(&gateway, ALICE.secret), 2);
    gateway.reload(&settings.clone().key(ALICE, &["plan: basic", "extra_allowance: {day: 5}"]));
    assert_eq!(admitted(&gateway, ALICE.secret), 3);
    gateway.reload(&settings);
    gateway.ask(get("/", &[])).expect_problem(429, "quota_exceeded");
}

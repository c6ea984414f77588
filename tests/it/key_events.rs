//! What webhooks hear of keys: signed, in order, and whatever dies meanwhile.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{
    ALICE, AdminClient, Gateway, Random, Request, Settings, Upstream, wait_for, wait_until, with_admin,
};

const SECRET: &str = "sixteen bytes, and some more";

fn listening(receiver: SocketAddr) -> Settings {
    let hooks = format!(
        "usage: {{sinks: {{hooks: {{type: webhook, carries: events, url: \"http://{receiver}/\", \
         secret: {{file: ../hooks.secret}}, backoff: 50ms, backoff_max: 100ms}}}}}}"
    );
    with_admin(Settings::before_address(receiver).top("logs: {requests: off}").top(&hooks))
}

/// Starts a gateway whose webhook has [`SECRET`].
fn start(settings: &Settings) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("etc/keygate.yaml");
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::fs::write(folder.path().join("hooks.secret"), SECRET).unwrap();
    std::fs::write(&config, settings.yaml()).unwrap();
    Gateway::start_in(folder, config)
}

fn receiver(listener: TcpListener) -> Upstream {
    Upstream::on(listener, |connection| {
        loop {
            let request = connection.request()?;
            connection.answer(&request, b"")?;
        }
    })
}

fn signature(request: &Request) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    for name in ["webhook-id", "webhook-timestamp"] {
        mac.update(request.value(name).unwrap().as_bytes());
        mac.update(b".");
    }
    mac.update(&request.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Kind, subject and id of each event, where its signature is right; repetitions are left out.
fn events(receiver: &Upstream) -> Vec<(String, String, Value)> {
    let mut known = BTreeSet::new();
    let mut events = Vec::new();
    for request in receiver.seen() {
        assert_eq!(request.value("webhook-signature"), Some(&*signature(&request)));
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let data = message["data"].clone();
        assert_eq!(data["id"], request.value("webhook-id").unwrap());
        if known.insert(data["id"].to_string()) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            events.push((text(&message["type"]), text(&data["subject"]), data));
        }
    }
    events
}

#[test]
fn a_webhook_hears_of_a_key_from_its_creation_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = listening(listener.local_addr().unwrap());
    let gateway = start(&settings);
    let mut admin = AdminClient::connect(&gateway);
    let receiver = receiver(listener);
    let (id, secret) = admin.post("/v1/keys", &json!({"name": "n", "owner": "acme"})).expect(201).created();
    let path = format!("/v1/keys/{id}");
    admin.call("PATCH", &path, &json!({"extra_allowance": {"day": 5}})).expect(200);
    for call in ["rotate", "disable", "enable", "revoke"] {
        admin.post(&format!("{path}/{call}"), &Value::Null).expect(200);
    }
    // Of a key of the file only what the admin API does is known to the store.
    admin.post(&format!("/v1/keys/{}/revoke", ALICE.id), &Value::Null).expect(200);
    let told = wait_until("seven events", || Some(events(&receiver)).filter(|events| events.len() == 7));
    let kinds: Vec<&str> = told.iter().map(|(kind, ..)| kind.as_str()).collect();
    let expected =
        ["key.created", "key.updated", "key.rotated", "key.disabled", "key.enabled", "key.revoked", "key.revoked"];
    assert_eq!(kinds, expected);
    assert!(told[..6].iter().all(|(_, subject, _)| *subject == id) && told[6].1 == ALICE.id);
    let updated = &told[1].2["details"];
    let (actor, revision) = (updated["actor"].as_str().unwrap(), updated["revision"].as_u64().unwrap());
    assert!(actor.starts_with("tok_") && revision > 0, "{updated}");
    assert_eq!((&updated["owner"], &updated["changed"]), (&json!("acme"), &json!(["extra_allowance"])));
    assert_eq!((&updated["name"], &updated["state"]), (&json!("n"), &json!("active")));
    let bodies: String =
        receiver.seen().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert!(!bodies.contains(&secret[8..]) && !bodies.contains("digest") && !bodies.contains("sha256"), "{bodies}");
}

#[test]
fn a_change_that_was_acknowledged_before_a_kill_is_heard_of_after_it() {
    const KILLS: usize = 8;
    let mut random = Random::of_this_run();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut gateway = start(&listening(address));
    let mut made = Vec::new();
    for kill in 0..KILLS {
        let mut admin = AdminClient::connect(&gateway);
        made.push(admin.create(&format!("key {kill}")).0);
        // Before it is told to the queue, meanwhile, or after.
        let (begin, pause) = (Instant::now(), Duration::from_millis(random.below(1500) as u64));
        wait_for("the moment of the kill", || begin.elapsed() >= pause);
        gateway.kill();
        gateway.start_again();
    }
    let receiver = receiver(TcpListener::bind(address).unwrap());
    let told = wait_until("an event of each key", || Some(events(&receiver)).filter(|events| events.len() >= KILLS));
    assert_eq!(told.iter().map(|(_, subject, _)| subject.clone()).collect::<Vec<_>>(), made);
    assert!(told.iter().all(|(kind, ..)| kind == "key.created"));
    gateway.kill();
    gateway.start_again();
    let mut admin = AdminClient::connect(&gateway);
    admin.post(&format!("/v1/keys/{}/revoke", made[0]), &Value::Null).expect(200);
    let told = wait_until("the event of the end", || Some(events(&receiver)).filter(|events| events.len() > KILLS));
    assert_eq!((told.len(), told[KILLS].0.as_str()), (KILLS + 1, "key.revoked"));
}

#[test]
fn who_listens_from_a_reload_on_hears_of_all_that_comes_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let heard = listening(listener.local_addr().unwrap());
    let deaf = with_admin(Settings::before_address(listener.local_addr().unwrap()).top("logs: {requests: off}"));
    let gateway = start(&deaf);
    let mut admin = AdminClient::connect(&gateway);
    let receiver = receiver(listener);
    admin.create("before");
    gateway.reload(&heard);
    let (id, _) = admin.create("after");
    let told = wait_until("an event", || Some(events(&receiver)).filter(|events| !events.is_empty()));
    assert_eq!(told.iter().map(|(_, subject, _)| subject).collect::<Vec<_>>(), [&id]);
}

#[test]
fn a_sink_that_is_paused_waits_until_it_is_resumed_or_the_gateway_starts_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = listening(listener.local_addr().unwrap());
    let mut gateway = start(&settings);
    let mut admin = AdminClient::connect(&gateway);
    let receiver = receiver(listener);
    admin.create("first");
    wait_for("the first event", || events(&receiver).len() == 1);
    let paused = admin.post("/v1/sinks/hooks/pause", &Value::Null).expect(200).body["sink"].clone();
    assert_eq!(
        (&paused["name"], &paused["type"], &paused["paused"]),
        (&json!("hooks"), &json!("webhook"), &json!(true))
    );
    let queue = |admin: &mut AdminClient| admin.get("/v1/sinks").expect(200).body["sinks"][0]["queues"][0].clone();
    wait_for("the pause", || queue(&mut admin)["state"] == "paused");
    admin.create("second");
    wait_for("what waits", || queue(&mut admin)["waiting"] == 1);
    let metric = || gateway.metrics().sum("keygate_usage_sink_paused", &[("sink", "hooks")]);
    wait_for("the metric", || metric() == 1.0);
    gateway.reload(&settings.clone().top("realm: other"));
    assert_eq!((queue(&mut admin)["state"].clone(), events(&receiver).len()), (json!("paused"), 1));
    admin.post("/v1/sinks/nobody/pause", &Value::Null).expect_problem(404, "not_found");
    admin.post("/v1/sinks/hooks/resume", &Value::Null).expect(200);
    wait_for("the second event", || events(&receiver).len() == 2);
    let row = admin.get("/v1/audit?from_end=true&limit=1").expect(200).body["rows"][0].clone();
    assert_eq!((&row["action"], &row["target"]), (&json!("sink.resume"), &json!("hooks")));

    admin.post("/v1/sinks/hooks/pause", &Value::Null).expect(200);
    admin.create("third");
    gateway.stop();
    gateway.start_again();
    wait_for("the third event", || events(&receiver).len() == 3);
}

//! Reloads: one swap, nothing lost, a bad file refused, and every way in which people and machines replace a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::Signal;

use crate::harness::{ALICE, BOB, Client, Gateway, Head, Settings, Upstream, digest_of, get, keyless, wait_for};

fn as_bob() -> String {
    keyless("GET", "/", &[&format!("X-API-Key: {}", BOB.secret)])
}

#[test]
fn a_thousand_reloads_under_load_fail_no_request() {
    let upstream = Upstream::echo();
    let settings =
        Settings::before(&upstream).threads(2).plan_for_alice(&["limits: {much: {requests: 1000000, per: 1h}}"]);
    let other = settings.clone().route("more", &["path: /more"]).key(BOB, &["plan: basic"]);
    let gateway = settings.start();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !stop.load(Ordering::Relaxed) {
                    client.ask(get("/", &[])).expect(200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopAtEnd(&stop);
        reload_often(&gateway, &[other.yaml(), settings.yaml()], 1000);
    });
    assert!(answered.load(Ordering::Relaxed) > 100);
    assert_eq!(upstream.seen().len(), answered.load(Ordering::Relaxed));
}

/// Ends the load even if the reloads panic, so that the test fails instead of hanging.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn reload_often(gateway: &Gateway, files: &[String], times: usize) {
    let first = gateway.generation();
    for number in 0.. {
        let before = gateway.generation();
        if before >= first + times as f64 {
            return;
        }
        gateway.replace_config(&files[number % files.len()]);
        gateway.signal(Signal::HUP);
        wait_for("the next generation", || gateway.generation() > before);
    }
}

#[test]
fn a_revoked_key_is_refused_on_the_next_request_of_a_kept_alive_connection() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).key(BOB, &[]);
    let gateway = settings.start();
    let mut client = gateway.client();
    client.ask(get("/", &[])).expect(200);
    gateway.reload(&settings.clone().revoke(ALICE.id));
    client.ask(get("/", &[])).expect_problem(401, "key_invalid");
    client.ask(as_bob()).expect(200);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_key_that_is_removed_disabled_or_changed_is_refused_and_can_come_back() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).key(BOB, &[]);
    let gateway = settings.start();
    let mut client = gateway.client();
    let other_digest = digest_of("another-secret-altogether-0123456789");
    for changed in [
        settings.clone().without_key(ALICE.id),
        settings.clone().key(ALICE, &["disabled: true"]),
        settings.clone().key(ALICE, &["expires: 2020-01-01T00:00:00Z"]),
        settings.clone().key_with_digest(ALICE.id, &other_digest, &[]),
    ] {
        client.ask(get("/", &[])).expect(200);
        gateway.reload(&changed);
        client.ask(get("/", &[])).expect_problem(401, "key_invalid");
        gateway.reload(&settings);
    }
    client.ask(get("/", &[])).expect(200);
}

#[test]
fn a_new_key_works_on_the_next_request() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    let mut client = gateway.client();
    client.ask(as_bob()).expect(401);
    gateway.reload(&settings.clone().key(BOB, &["owner: bob"]));
    client.ask(as_bob()).expect(200);
    assert_eq!(upstream.last().value("x-keygate-owner"), Some("bob"));
}

#[test]
fn routes_and_upstreams_change_with_the_file() {
    let (old, new) = (Upstream::echo(), Upstream::echo());
    let settings = Settings::before(&old);
    let gateway = settings.start();
    let mut client = gateway.client();
    client.ask(get("/", &[])).expect(200);
    gateway.reload(&settings.clone().upstream("backend", &[new.address()], &[]));
    client.ask(get("/", &[])).expect(200);
    gateway.reload(&settings.clone().route("all", &["path: /v2"]));
    client.ask(get("/", &[])).expect_problem(404, "route_unknown");
    client.ask(get("/v2", &[])).expect(200);
    assert_eq!((old.seen().len(), new.seen().len()), (2, 1));
}

#[test]
fn a_running_request_ends_well_though_its_route_and_upstream_are_gone() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let slow = Upstream::start(move |connection| {
        let request = connection.request()?;
        released.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
        connection.answer(&request, b"done")
    });
    let other = Upstream::echo();
    let gateway = Settings::before(&slow).start();
    let mut client = gateway.client();
    client.send(get("/", &[]));
    wait_for("the request at the upstream", || slow.heads().len() == 1);
    gateway.reload(&Settings::before(&other).route("all", &["path: /v2"]));
    release.send(()).unwrap();
    assert_eq!(client.read_response().expect(200).text(), "done");
    client.ask(get("/v2", &[])).expect(200);
}

/// Answers with a first event, and with a second one when it is let go on.
fn two_events(go_on: &Arc<AtomicBool>) -> Upstream {
    let go_on = Arc::clone(go_on);
    Upstream::start(move |connection| {
        connection.request()?;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")?;
        wait_for("leave to go on", || go_on.load(Ordering::Relaxed));
        connection.write(b"data: 2\n\n")?;
        connection.wait_closed()
    })
}

fn first_event(client: &mut Client, request: impl AsRef<[u8]>) -> Head {
    client.send(request);
    let head = client.read_head();
    assert_eq!(client.read_streamed(&head, 9), b"data: 1\n\n");
    head
}

#[test]
fn running_answers_of_a_revoked_key_end_and_others_go_on() {
    let go_on = Arc::new(AtomicBool::new(false));
    let upstream = two_events(&go_on);
    let settings = Settings::before(&upstream).key(BOB, &[]);
    let gateway = settings.start();
    let (mut alice, mut bob) = (gateway.client(), gateway.client());
    let head = first_event(&mut alice, get("/", &[]));
    first_event(&mut bob, as_bob());
    gateway.reload(&settings.clone().revoke("key_bob"));
    assert!(bob.is_closed());
    go_on.store(true, Ordering::Relaxed);
    assert_eq!(alice.read_streamed(&head, 9), b"data: 2\n\n");
    gateway.ask(as_bob()).expect_problem(401, "key_invalid");
}

#[test]
fn running_answers_of_a_revoked_key_may_finish_if_the_operator_says_so() {
    let go_on = Arc::new(AtomicBool::new(false));
    let upstream = two_events(&go_on);
    let settings = Settings::before(&upstream).key(BOB, &[]).top("on_revocation: finish");
    let gateway = settings.start();
    let mut bob = gateway.client();
    let head = first_event(&mut bob, as_bob());
    gateway.reload(&settings.clone().revoke("key_bob"));
    gateway.ask(as_bob()).expect_problem(401, "key_invalid");
    // Longer than it takes to end those that end.
    let uptime_s = || gateway.status()["uptime_seconds"].as_u64().unwrap();
    let revoked_s = uptime_s();
    wait_for("more than a second", || uptime_s() >= revoked_s + 2);
    go_on.store(true, Ordering::Relaxed);
    assert_eq!(bob.read_streamed(&head, 9), b"data: 2\n\n");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    let generation = gateway.generation();
    let mut client = gateway.client();
    for bad in [
        settings.clone().top("no_such_field: 1").without_key(ALICE.id).yaml(),
        settings.clone().route("all", &["path: /", "upstream: nowhere"]).yaml(),
        "routes: [".to_owned(),
        String::new(),
    ] {
        gateway.reload_text(&bad).expect_refused();
        client.ask(get("/", &[])).expect(200);
        assert_eq!(gateway.generation(), generation);
    }
    wait_for("the reason in the log", || gateway.logs().contains("no_such_field"));
    assert_eq!(gateway.metrics().sum("keygate_config_last_reload_success", &[]), 0.0);
    gateway.operations("/readyz").expect(200);
    gateway.reload(&settings.clone().key(BOB, &[]));
    client.ask(as_bob()).expect(200);
    assert_eq!(gateway.metrics().sum("keygate_config_last_reload_success", &[]), 1.0);
}

#[test]
fn a_file_that_is_written_in_place_is_noticed() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    fs::write(gateway.config(), settings.clone().key(BOB, &[]).yaml()).unwrap();
    gateway.wait_for_status(&as_bob(), 200);
}

#[test]
fn a_file_that_an_editor_replaces_by_a_rename_in_its_folder_is_noticed() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    let (config, folder) = (gateway.config(), gateway.config().parent().unwrap());
    fs::rename(config, folder.join("keygate.yaml~")).unwrap();
    fs::write(folder.join(".keygate.yaml.swp"), settings.clone().key(BOB, &[]).yaml()).unwrap();
    fs::rename(folder.join(".keygate.yaml.swp"), config).unwrap();
    gateway.wait_for_status(&as_bob(), 200);
    gateway.replace_config(&settings.yaml());
    gateway.wait_for_status(&as_bob(), 401);
}

#[test]
fn a_file_that_is_gone_for_a_while_changes_nothing() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    fs::remove_file(gateway.config()).unwrap();
    gateway.signal(Signal::HUP);
    gateway.get("/").expect(200);
    gateway.replace_config(&settings.clone().key(BOB, &[]).yaml());
    gateway.wait_for_status(&as_bob(), 200);
}

#[test]
fn a_config_map_that_kubernetes_swaps_by_a_symlink_is_noticed() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let publish = |version: &str, settings: &Settings| {
        fs::create_dir(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("keygate.yaml"), settings.yaml()).unwrap();
        symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    publish("..2026_01", &settings);
    symlink(Path::new("..data/keygate.yaml"), mount.join("keygate.yaml")).unwrap();
    let gateway = Gateway::start_in(folder, mount.join("keygate.yaml"));
    gateway.ask(as_bob()).expect(401);
    publish("..2026_02", &settings.clone().key(BOB, &[]));
    gateway.wait_for_status(&as_bob(), 200);
    fs::remove_dir_all(mount.join("..2026_01")).unwrap();
    publish("..2026_03", &settings);
    gateway.wait_for_status(&as_bob(), 401);
}

#[test]
fn an_included_file_is_watched_like_the_file_itself() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("etc/keys.d");
    fs::create_dir_all(&keys).unwrap();
    fs::write(
        keys.join("a.yaml"),
        format!("keys:\n  key_carol:\n    digest: \"{}\"\n", digest_of("a-secret-of-carol-0123456789abcdef")),
    )
    .unwrap();
    let config = folder.path().join("etc/keygate.yaml");
    fs::write(&config, Settings::before(&upstream).top("include: [keys.d/*.yaml]").yaml()).unwrap();
    let gateway = Gateway::start_in(folder, config);
    gateway.get("/").expect(200);
    gateway.ask(keyless("GET", "/", &["X-API-Key: a-secret-of-carol-0123456789abcdef"])).expect(200);
    let aside = gateway.folder().join("b.yaml");
    fs::write(&aside, format!("keys:\n  key_bob:\n    digest: \"{}\"\n", BOB.digest)).unwrap();
    fs::rename(aside, keys.join("b.yaml")).unwrap();
    gateway.wait_for_status(&as_bob(), 200);
}

#[test]
fn of_many_changes_in_a_row_none_is_missed() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let other = settings.clone().key(BOB, &[]);
    let gateway = settings.start();
    for number in 0..40 {
        gateway.reload(if number % 2 == 0 { &other } else { &settings });
    }
}

#[test]
fn sighup_reloads() {
    let upstream = Upstream::echo();
    let gateway = Settings::before(&upstream).start();
    let before = gateway.metrics().sum("keygate_config_reloads_total", &[]);
    gateway.signal(Signal::HUP);
    wait_for("a reload", || gateway.metrics().sum("keygate_config_reloads_total", &[]) > before);
    gateway.get("/").expect(200);
}

#[test]
fn what_needs_a_restart_is_named_and_kept() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    gateway.reload(&settings.clone().listen_at("127.0.0.2:0").key(BOB, &[]));
    gateway.ask(as_bob()).expect(200);
    wait_for("a line that says so", || gateway.logs().contains("restart"));
}

#[test]
fn a_hundred_thousand_keys_are_a_normal_file() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream);
    let gateway = settings.start();
    let mut yaml = settings.yaml();
    for number in 0..100_000_u64 {
        let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15); // digests differ from their first byte on
        yaml += &format!(
            "  key_{number}:\n    digest: sha256:{first:016x}{number:048x}\n    owner: owner_{}\n",
            number % 1000
        );
    }
    gateway.reload_text(&yaml).expect_in_force();
    assert_eq!(gateway.metrics().sum("keygate_keys", &[("state", "active")]), 100_001.0);
    gateway.get("/").expect(200);
}

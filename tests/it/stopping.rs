//! Stopping in order, and starting where another one already runs.

use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use crate::harness::{Gateway, Settings, Upstream, get, run, wait_for};

/// Answers each request when it is told to.
fn waiting() -> (Upstream, Sender<()>) {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |connection| {
        loop {
            let request = connection.request()?;
            released.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
            connection.answer(&request, b"finished")?;
        }
    });
    (upstream, release)
}

#[test]
fn sigterm_ends_an_idle_gateway_with_0() {
    let upstream = Upstream::echo();
    let mut gateway = Settings::before(&upstream).threads(2).start();
    let mut used = gateway.client();
    let mut unused = gateway.client();
    used.ask(get("/", &[])).expect(200);
    gateway.signal(Signal::TERM);
    assert!(used.is_closed() && unused.is_closed(), "idle connections close at once");
    assert_eq!(gateway.process().exit_code(), Some(0));
}

#[test]
fn a_request_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let upstream = Upstream::echo();
    let settings = Settings::before(&upstream).top("logs: {requests: stdout}");
    let mut gateway = Gateway::start_unread(&settings);
    let mut client = gateway.client();
    // More than a pipe and a queue hold.
    for _ in 0..6000 {
        client.ask(get("/", &[])).expect(200);
    }
    wait_for("lines to be dropped", || gateway.metrics().sum("keygate_access_log_dropped_total", &[]) > 0.0);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.process().exit_code(), Some(0));
}

#[test]
fn sigint_ends_it_in_the_same_way() {
    let upstream = Upstream::echo();
    let mut gateway = Settings::before(&upstream).start();
    gateway.signal(Signal::INT);
    assert_eq!(gateway.process().exit_code(), Some(0));
}

#[test]
fn a_running_request_finishes_while_nothing_new_is_accepted() {
    let (upstream, release) = waiting();
    let mut gateway = Settings::before(&upstream).top("drain_timeout: 1m").start();
    let mut client = gateway.client();
    client.send(get("/", &[]));
    wait_for("the request at the upstream", || upstream.heads().len() == 1);
    gateway.signal(Signal::TERM);
    wait_for("readiness to turn 503", || gateway.operations("/readyz").status == 503);
    gateway.operations("/healthz").expect(200);
    wait_for("the listener to close", || TcpStream::connect(gateway.address()).is_err());
    release.send(()).unwrap();
    assert_eq!(client.read_response().expect(200).text(), "finished");
    assert!(client.is_closed());
    assert_eq!(gateway.process().exit_code(), Some(0));
}

#[test]
fn requests_that_were_pipelined_before_the_stop_do_not_keep_it_waiting() {
    let (upstream, release) = waiting();
    let mut gateway = Settings::before(&upstream).top("drain_timeout: 1m").start();
    let mut client = gateway.client();
    client.send(get("/", &[]).repeat(2));
    wait_for("the request at the upstream", || upstream.heads().len() == 1);
    gateway.signal(Signal::TERM);
    wait_for("readiness to turn 503", || gateway.operations("/readyz").status == 503);
    (0..2).for_each(|_| release.send(()).unwrap());
    client.read_response().expect(200);
    assert_eq!(gateway.process().exit_code(), Some(0));
}

#[test]
fn a_request_that_never_ends_is_cut_when_the_drain_timeout_is_over() {
    let upstream = Upstream::events();
    let mut gateway = Settings::before(&upstream).top("drain_timeout: 500ms").start();
    let mut client = gateway.client();
    client.send(get("/", &[])).read_head();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.process().exit_code(), Some(0));
    wait_for("the upstream's connection to be ended", || upstream.open_connections() == 0);
}

#[test]
fn a_second_instance_on_the_same_port_fails_loudly() {
    let upstream = Upstream::echo();
    let first = Settings::before(&upstream).threads(2).start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keygate.yaml");
    let address = first.address().to_string();
    std::fs::write(&config, Settings::before(&upstream).listen_at(&address).yaml()).unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains(&address), "{words}");
    first.get("/").expect(200);
}

#[test]
fn an_operations_port_that_is_taken_is_an_error_too() {
    let upstream = Upstream::echo();
    let first = Settings::before(&upstream).start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keygate.yaml");
    let address = first.operations_address().to_string();
    std::fs::write(&config, Settings::before(&upstream).operations_at(&address).yaml()).unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}

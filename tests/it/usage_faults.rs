//! Usage while the disk under it fails: calls that end with EIO, and a disk that is full. Counting goes on, it is told, and
//! after a clean start there is what clients have received.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Client, Gateway, Settings, SmallDisk, WallClock, command, digest_of, get, keyless, wait_for, wait_until,
};
use crate::usage::{counted, counts, keygate_usage, metered, obliging};

/// A gateway under strace, some of whose calls fail.
struct Fault<'a> {
    /// The call and how it fails, as strace is told: `fsync:error=EIO:when=1+`. Each thread counts for itself.
    inject: &'a str,
    /// Files and folders in the data folder that the calls are about; none: all.
    on: &'a [&'a str],
}

impl Fault<'_> {
    fn start(&self, settings: &Settings) -> Gateway {
        Gateway::start_by(settings, |folder| self.command(folder))
    }

    fn command(&self, folder: &Path) -> Command {
        // strace compares paths without links.
        let folder = folder.canonicalize().unwrap();
        let call = self.inject.split(':').next().unwrap();
        let mut strace = Command::new("strace");
        // The tracer stays aside, so that the process that is started here is the gateway.
        strace.args(["-D", "-f", "-y", "--seccomp-bpf", "-o"]).arg(folder.join("trace"));
        strace.arg(format!("--trace={call}")).arg(format!("--inject={}", self.inject));
        for name in self.on {
            strace.arg("-P").arg(folder.join("data").join(name));
        }
        strace.arg(command::<&str>(&[]).get_program());
        strace
    }
}

/// A gateway that goes by this clock, below strace.
fn by_clock(fault: &Fault<'_>, clock: &WallClock, folder: &Path) -> Command {
    let plain = fault.command(folder);
    let (program, mut arguments) = (plain.get_program().to_owned(), plain.get_args().map(ToOwned::to_owned));
    let mut command = Command::new(program);
    for (name, value) in clock.variables() {
        command.arg("-E").arg(format!("{name}={value}"));
    }
    command.args(arguments.by_ref());
    command
}

/// The trace of a gateway that has ended.
fn trace(gateway: &mut Gateway) -> String {
    let (path, process) = (gateway.folder().join("trace"), gateway.process().id().to_string());
    let of_process = |line: &str| line.split_whitespace().take(2).eq([process.as_str(), "+++"]);
    wait_until("the end of the trace", || fs::read_to_string(&path).ok().filter(|trace| trace.lines().any(of_process)))
}

/// No file is synced any more once that has failed.
#[track_caller]
fn expect_given_up(trace: &str) {
    let mut failed = HashSet::new();
    let mut asked = HashMap::new();
    for line in trace.lines().filter(|line| line.contains("fdatasync")) {
        let process = line.split_whitespace().next().unwrap();
        if let Some((_, rest)) = line.split_once('<').filter(|_| !line.contains("resumed>")) {
            let path = rest.split('>').next().unwrap();
            assert!(!failed.contains(path), "synced again: {line}");
            asked.insert(process, path);
        }
        if line.contains("(INJECTED)") {
            failed.insert(asked[process]);
        }
    }
    assert!(!failed.is_empty(), "no fault ever came: {trace}");
}

/// Asks until something holds; how many answers came.
fn work_until(gateway: &Gateway, mut is_enough: impl FnMut() -> bool) -> u64 {
    let (mut client, mut received) = (gateway.client(), 0);
    wait_for("the fault to show", || {
        client.ask(get("/", &[])).expect(200);
        received += 1;
        is_enough()
    });
    received
}

/// What was counted and what the proof says is what clients received; and sealed, once it was stopped.
#[track_caller]
fn expect_whole(gateway: &Gateway, received: u64) {
    assert_eq!(counted(gateway, "all", "2xx")[0], received);
    assert_eq!(counts(gateway).len(), 1);
    let proof: Value = serde_json::from_str(&keygate_usage(gateway, &["verify", "--output", "json"])).unwrap();
    let sealed: u64 = proof.as_array().unwrap().iter().map(|day| day["sealed"]["requests"].as_u64().unwrap()).sum();
    assert!(sealed <= received, "{sealed} of {received}");
}

fn ledger_files(gateway: &Gateway) -> usize {
    ledger_names(gateway).len()
}

/// The files of the ledger, and what is to become one, by their paths in the data folder.
fn ledger_names(gateway: &Gateway) -> Vec<String> {
    let files = fs::read_dir(gateway.folder().join("data/ledger")).unwrap().flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "seg" || kind == "new"));
    let mut names: Vec<_> = files.map(|file| format!("ledger/{}", file.file_name().to_str().unwrap())).collect();
    names.sort();
    names
}

#[derive(Clone, Copy)]
enum End {
    Stop,
    Kill,
}

fn check_failing_syncs(inject: &str, enough: f64, end: End) {
    let upstream = obliging();
    let settings = metered(Settings::before(&upstream));
    let mut gateway = Fault { inject, on: &[] }.start(&settings);
    let given_up = || gateway.metrics().sum("keygate_usage_given_up_files_total", &[]) >= enough;
    let received = work_until(&gateway, given_up);
    assert!(gateway.logs().contains("a file of the ledger cannot be made durable and is given up"));
    assert_eq!(counted(&gateway, "all", "2xx")[0], received, "counting goes on");
    let files = ledger_files(&gateway);
    assert!(files <= 16, "{files} files");
    match end {
        End::Stop => assert_eq!(gateway.stop(), Some(0)),
        End::Kill => gateway.kill(),
    }
    expect_given_up(&trace(&mut gateway));
    gateway.start_again();
    expect_whole(&gateway, received);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_file_of_the_ledger_that_was_not_synced_once_is_given_up_and_nothing_is_lost() {
    check_failing_syncs("fdatasync:error=EIO:when=2+3", 3.0, End::Stop);
    check_failing_syncs("fdatasync:error=EIO:when=2+3", 3.0, End::Kill);
}

#[test]
fn a_disk_that_syncs_nothing_keeps_what_is_counted_and_is_not_filled_with_attempts() {
    check_failing_syncs("fdatasync:error=EIO:when=1+", 12.0, End::Stop);
    check_failing_syncs("fdatasync:error=EIO:when=1+", 12.0, End::Kill);
}

/// No file of the ledger can be made.
fn check_no_files(fault: &Fault<'_>) {
    let upstream = obliging();
    let mut gateway = fault.start(&metered(Settings::before(&upstream)));
    let in_memory = || gateway.metrics().sum("keygate_usage_in_memory_segments", &[]) >= 1.0;
    let tries = || fs::read_to_string(gateway.folder().join("trace")).unwrap().matches("(INJECTED)").count();
    let received = work_until(&gateway, || in_memory() && tries() >= 5);
    assert!(gateway.logs().contains("usage cannot be made durable; it is counted all the same"));
    assert!(ledger_files(&gateway) <= 1, "{} files", ledger_files(&gateway));
    assert_eq!(gateway.stop(), Some(0));
    gateway.start_again();
    expect_whole(&gateway, received);
}

#[test]
fn a_ledger_that_can_have_no_files_counts_in_memory_and_leaves_nothing_half_made_lying_about() {
    check_no_files(&Fault { inject: "fallocate:error=EIO:when=1+", on: &[] });
    check_no_files(&Fault { inject: "fsync:error=EIO:when=1+", on: &["ledger"] });
}

#[test]
fn what_was_sealed_and_cannot_be_removed_from_the_ledger_counts_once() {
    let upstream = obliging();
    let mut gateway = metered(Settings::before(&upstream)).start();
    assert_eq!(gateway.stop(), Some(0));
    let fault = Fault { inject: "unlink:error=EIO:when=1+", on: &[] }.command(gateway.folder());
    gateway.start_again_by(fault);
    (0..5).for_each(|_| drop(gateway.get("/").expect(200)));
    assert_eq!(gateway.stop(), Some(0));
    assert!(trace(&mut gateway).contains("(INJECTED)"));
    assert!(ledger_files(&gateway) > 0, "files were left");
    for _ in 0..2 {
        gateway.start_again();
        expect_whole(&gateway, 5);
        assert_eq!(gateway.stop(), Some(0));
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_not_begun_anew() {
    let upstream = obliging();
    let mut gateway = metered(Settings::before(&upstream)).start();
    (0..5).for_each(|_| drop(gateway.get("/").expect(200)));
    gateway.kill();
    let left = ledger_names(&gateway);
    let on: Vec<&str> = left.iter().map(String::as_str).collect();
    let mut start = Fault { inject: "read:error=EIO:when=1+", on: &on }.command(gateway.folder());
    let output = start.args(["serve", "--config"]).arg(gateway.config()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the ledger of usage") && said.contains("Input/output error"), "{said}");
    assert!(on.iter().any(|name| said.contains(name)), "which file: {said}");
    assert_eq!(ledger_names(&gateway), left, "all of it is still there");
    gateway.start_again();
    expect_whole(&gateway, 5);
    assert_eq!(gateway.stop(), Some(0));
}

/// A minute passes each second, until something holds; how many answers came meanwhile.
fn work_by_minutes(gateway: &Gateway, clock: &WallClock, mut is_enough: impl FnMut(&str) -> bool) -> u64 {
    let (mut last, mut client) = (String::new(), gateway.client());
    let (mut received, mut second) = (0, Instant::now());
    wait_for("the minutes to be sealed", || {
        if second.elapsed() >= Duration::from_millis(1100) {
            second = Instant::now();
            clock.advance(59);
            client.ask(get("/", &[])).expect(200);
            received += 1;
            last = gateway.logs();
        }
        is_enough(&last)
    });
    received
}

fn check_failing_store(inject: &str, is_lasting: bool) {
    let upstream = obliging();
    let settings = metered(Settings::before(&upstream));
    let clock = WallClock::at("2027-03-10T12:00:20Z");
    let mut gateway = Gateway::start_by(&settings, |_| clock.command(command::<&str>(&[])));
    (0..3).for_each(|_| drop(gateway.get("/").expect(200)));
    assert_eq!(gateway.stop(), Some(0));
    let fault = Fault { inject, on: &["usage.db", "usage.db-wal"] };
    let by_clock = by_clock(&fault, &clock, gateway.folder());
    gateway.start_again_by(by_clock);
    let told = |logs: &str| logs.contains("usage cannot be sealed; it stays in the ledger\"");
    let works_again = |logs: &str| logs.contains("this works again");
    let mut received = 3 + work_by_minutes(&gateway, &clock, |logs| told(logs) && (is_lasting || works_again(logs)));
    (0..4).for_each(|_| drop(gateway.get("/").expect(200)));
    received += 4;
    assert_eq!(counted(&gateway, "all", "2xx")[0], received, "counting goes on");
    assert_eq!(gateway.stop(), Some(0));
    assert!(trace(&mut gateway).contains("(INJECTED)"));
    assert_eq!(gateway.logs().contains("it stays in the ledger for the next start"), is_lasting);
    gateway.start_again_by(clock.command(command::<&str>(&[])));
    expect_whole(&gateway, received);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn what_cannot_be_written_to_the_store_is_sealed_when_it_can_and_counts_once() {
    for when in ["1", "2", "3"] {
        check_failing_store(&format!("pwrite64:error=EIO:when={when}"), false);
    }
}

#[test]
fn what_the_store_cannot_sync_is_sealed_when_it_can_and_counts_once() {
    check_failing_store("fsync:error=EIO:when=1", false);
}

#[test]
fn what_a_broken_store_never_takes_is_sealed_at_the_next_start() {
    check_failing_store("pwrite64:error=EIO:when=1+", true);
    check_failing_store("fsync:error=EIO:when=1+", true);
}

const KEYS: usize = 200;
const ROUTES: usize = 100;

/// More cells than a file has room for: each request charges a quota and is counted.
fn crowded(settings: Settings) -> Settings {
    let settings = settings.plan("charged", &["quotas: {daily: {requests: 1000000, period: day}}"]);
    let settings =
        (0..ROUTES).fold(settings, |settings, n| settings.route(&format!("r{n}"), &[&format!("path: /r{n}/")]));
    (0..KEYS).fold(settings, |settings, n| {
        settings.key_with_digest(&format!("key_{n}"), &digest_of(&secret(n)), &["plan: charged"])
    })
}

fn secret(n: usize) -> String {
    format!("a-secret-of-this-test-that-nobody-guesses-{n:06}")
}

/// Each of a client's keys on each route.
fn crowd(mut client: Client, keys: impl Iterator<Item = usize>) {
    for key in keys {
        let field = format!("X-API-Key: {}", secret(key));
        let requests: String = (0..ROUTES).map(|n| keyless("GET", &format!("/r{n}/"), &[&field])).collect();
        client.send(requests);
        (0..ROUTES).for_each(|_| drop(client.read_response().expect(200)));
    }
}

#[test]
fn a_disk_that_fills_while_the_ledger_grows_loses_nothing_and_what_was_in_memory_is_durable_once_there_is_room() {
    let upstream = obliging();
    let settings = crowded(metered(Settings::before(&upstream)));
    let mut disk = None;
    let start = |folder: &Path| {
        disk = SmallDisk::mount(&folder.join("data"), 7);
        command::<&str>(&[])
    };
    let mut gateway = Gateway::start_by(&settings, start);
    let Some(disk) = disk else {
        println!("no file system may be mounted here; the tests with failing calls stand in for this one");
        return;
    };
    thread::scope(|scope| {
        for half in 0..2 {
            let client = gateway.client();
            scope.spawn(move || crowd(client, (0..KEYS).filter(move |key| key % 2 == half)));
        }
    });
    let in_memory = || gateway.metrics().sum("keygate_usage_in_memory_segments", &[]);
    wait_for("the gauge of what is in memory", || in_memory() >= 1.0);
    assert!(gateway.logs().contains("usage cannot be made durable; it is counted all the same"));
    let all = |gateway: &Gateway| counts(gateway).values().map(|counts| counts[0]).sum::<u64>();
    assert_eq!(all(&gateway), (KEYS * ROUTES) as u64, "counting goes on");
    disk.grow(64);
    let lag = || gateway.metrics().sum("keygate_usage_durability_lag_seconds", &[]);
    wait_for("all of it on disk", || in_memory() == 0.0 && lag() < 1.0);
    assert_eq!(gateway.metrics().sum("keygate_usage_lost_requests_total", &[]), 0.0);
    gateway.kill();
    gateway.start_again();
    assert_eq!(all(&gateway), (KEYS * ROUTES) as u64);
    assert_eq!(gateway.stop(), Some(0));
}

//! Usage and quotas while the clock of the machine is set: nothing is lost or counted twice, and sealing goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    AdminClient, Gateway, Response, Settings, WallClock, command, files_below, get, wait_for, wait_until,
};
use crate::usage::{counted, keygate_usage, metered, obliging};

fn start(settings: &Settings, clock: &WallClock) -> Gateway {
    Gateway::start_by(settings, |_| clock.command(command::<&str>(&[])))
}

fn start_again(gateway: &mut Gateway, clock: &WallClock) {
    gateway.start_again_by(clock.command(command::<&str>(&[])));
}

/// With a sink that writes all that is sealed into files.
fn archived(settings: Settings) -> Settings {
    metered(settings).top("usage: {sinks: {archive: {type: file, folder: ../archive, from: beginning}}}")
}

/// The rows that the sink has.
fn archive(gateway: &Gateway) -> Vec<Value> {
    let folder = gateway.folder().join("archive");
    let files = if folder.exists() { files_below(&folder) } else { Vec::new() };
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    // The last line may be on its way.
    texts.iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn requests(rows: &[Value]) -> u64 {
    rows.iter().map(|row| row["requests"].as_u64().unwrap()).sum()
}

/// Sets the clock by more than a minute and waits until the gateway has noticed.
fn set(gateway: &Gateway, set: impl FnOnce()) {
    let noticed = || gateway.logs().lines().filter(|line| line.contains("the clock was set")).count();
    let before = noticed();
    set();
    wait_for("the gateway to notice", || noticed() > before);
}

/// Lets minutes pass until all of it is sealed and with the sink.
#[track_caller]
fn seal(gateway: &Gateway, clock: &WallClock, sum: u64) {
    let (mut last, mut minutes) = (Instant::now(), 0);
    wait_for("all of it at the sink", || {
        // What is over is sealed within a few seconds; what is not yet, with the next minute.
        if minutes == 0 || last.elapsed() > Duration::from_secs(4) {
            assert!(minutes < 3, "{minutes} minutes are over: {}", gateway.logs());
            (last, minutes) = (Instant::now(), minutes + 1);
            clock.advance(58);
        }
        requests(&archive(gateway)) >= sum
    });
    assert_eq!(requests(&archive(gateway)), sum);
}

/// Requests, with the clock set by so many seconds before each; all of it is sealed soon, under the hour that the clock showed.
fn check_steps(steps: &[i64]) {
    let upstream = obliging();
    let clock = WallClock::at("2027-03-10T12:30:20Z");
    let mut gateway = start(&archived(Settings::before(&upstream)), &clock);
    let (mut by_hour, mut sum) = (BTreeMap::<i64, u64>::new(), 0);
    for (place, step) in (1..).zip(steps) {
        if *step != 0 {
            set(&gateway, || clock.advance(*step));
        }
        (0..place).for_each(|_| drop(gateway.get("/").expect(200)));
        *by_hour.entry(clock.now_s() / 3600).or_default() += place;
        sum += place;
        seal(&gateway, &clock, sum);
    }
    (0..2).for_each(|_| drop(gateway.get("/").expect(200)));
    *by_hour.entry(clock.now_s() / 3600).or_default() += 2;
    sum += 2;
    assert_eq!(gateway.stop(), Some(0));
    start_again(&mut gateway, &clock);
    wait_for("the rest at the sink", || requests(&archive(&gateway)) == sum);
    // Later days than today are not in a report that does not ask for them.
    let days = "/v1/usage?from=2027-03-09T00:00:00Z&to=2027-03-13T00:00:00Z";
    assert_eq!(AdminClient::connect(&gateway).get(days).expect(200).body["totals"]["requests"], sum);
    keygate_usage(&gateway, &["verify"]);

    let rows = archive(&gateway);
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "no id comes twice");
    let mut found = BTreeMap::new();
    for row in &rows {
        let minute: jiff::Timestamp = row["minute"].as_str().unwrap().parse().unwrap();
        *found.entry(minute.as_second() / 3600).or_default() += row["requests"].as_u64().unwrap();
    }
    assert_eq!(found, by_hour);
    let has_steps = steps.iter().any(|step| *step != 0);
    assert_eq!(rows.iter().any(|row| row["doubtful"] == true), has_steps, "{rows:?}");
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

#[test]
fn usage_is_sealed_under_the_hour_that_the_clock_shows_when_it_is_set_an_hour_ahead_and_back() {
    check_steps(&[0, HOUR, -HOUR]);
}

#[test]
fn usage_is_sealed_under_the_hour_that_the_clock_shows_when_it_is_set_an_hour_back_and_ahead() {
    check_steps(&[0, -HOUR, HOUR]);
}

#[test]
fn sealing_goes_on_after_the_clock_was_a_day_ahead_and_was_set_back() {
    check_steps(&[0, DAY, -DAY]);
}

#[test]
fn no_minute_is_doubtful_while_nobody_sets_the_clock() {
    check_steps(&[0, 0]);
}

/// How long the key is to wait, by the answer to a request that is one too many.
#[track_caller]
fn refused(gateway: &Gateway) -> u64 {
    gateway.get("/").expect_problem(429, "quota_exceeded").value("retry-after").unwrap().parse().unwrap()
}

/// So many requests are admitted, and no more; how long to wait then.
#[track_caller]
fn exhaust(gateway: &Gateway, admitted: usize) -> u64 {
    (0..admitted).for_each(|_| drop(gateway.get("/").expect(200)));
    refused(gateway)
}

#[test]
fn quotas_begin_anew_at_the_very_turn_of_the_month() {
    let upstream = obliging();
    let quotas = "quotas: {daily: {requests: 4, period: day}, monthly: {requests: 6, period: month}}";
    let clock = WallClock::at("2027-01-30T12:00:00Z");
    let mut gateway = start(&metered(Settings::before(&upstream).plan_for_alice(&[quotas])), &clock);
    (0..2).for_each(|_| drop(gateway.get("/").expect(200)));
    set(&gateway, || clock.set("2027-01-31T23:58:00Z"));
    // Four of the day, and six of the month.
    let wait = exhaust(&gateway, 4);
    assert!((100..=120).contains(&wait), "{wait}");
    set(&gateway, || clock.set("2027-01-31T23:59:56Z"));

    // The turn comes by itself.
    let mut client = gateway.client();
    let first = wait_until("the next month", || {
        let now = clock.now_s();
        Some((now, client.ask(get("/", &[])))).filter(|(_, answer): &(i64, Response)| answer.status == 200)
    });
    let midnight = "2027-02-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((midnight - 1..midnight + 8).contains(&first.0), "{} seconds after midnight", first.0 - midnight);
    let wait = exhaust(&gateway, 3);
    assert!((86_300..=86_400).contains(&wait), "{wait}");

    set(&gateway, || clock.set("2027-02-02T00:00:10Z"));
    let wait = exhaust(&gateway, 2);
    assert!((27 * 86_400 - 100..=27 * 86_400 - 9).contains(&wait), "the end of February: {wait}");
    assert_eq!(gateway.stop(), Some(0));
    start_again(&mut gateway, &clock);
    refused(&gateway);
    set(&gateway, || clock.set("2027-03-01T00:00:01Z"));
    exhaust(&gateway, 4);
}

#[test]
fn a_day_that_was_used_up_stays_so_when_the_clock_is_set_back_over_midnight_and_the_process_dies() {
    let upstream = obliging();
    let quotas = "quotas: {daily: {requests: 3, period: day}}";
    let clock = WallClock::at("2027-01-14T23:40:00Z");
    let mut gateway = start(&metered(Settings::before(&upstream).plan_for_alice(&[quotas])), &clock);
    exhaust(&gateway, 3);
    set(&gateway, || clock.set("2027-01-15T00:20:00Z"));
    exhaust(&gateway, 3);
    set(&gateway, || clock.set("2027-01-14T23:20:00Z"));
    let wait = refused(&gateway);
    assert!((2300..=2400).contains(&wait), "{wait}");
    gateway.kill();
    start_again(&mut gateway, &clock);
    refused(&gateway);
    set(&gateway, || clock.set("2027-01-15T00:30:00Z"));
    refused(&gateway);
    set(&gateway, || clock.set("2027-01-16T00:00:01Z"));
    exhaust(&gateway, 3);
    assert_eq!(counted(&gateway, "all", "2xx")[0], 9);
}

//! Every metric of the program: its name, its help text, its labels; and the one place they are gathered from.
//!
//! Labels come from fixed tables and from names in the configuration, never from what clients send, so the number of
//! series is bounded. Data threads count in words of their own ([`ThreadMetrics`]); the control thread sets the rest
//! here and renders everything when it is scraped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Desc;
use prometheus::proto::MetricType::{self, COUNTER, GAUGE, HISTOGRAM};
use prometheus::{Registry, TextEncoder};

use super::log;
use super::process::Process;
use super::scrape::Gatherer;
use super::thread::ThreadMetrics;
use super::usage::{SinkFigures, UsageFigures};
use super::words::{BUCKETS, Bounds};
use crate::time::Timestamp;

/// All metrics of one running program.
pub struct Metrics {
    series: Arc<Series>,
    registry: Registry,
}

/// Keys in force, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// In use.
    pub active: u64,
    /// Refused until enabled again.
    pub disabled: u64,
    /// Refused for ever.
    pub revoked: u64,
}

/// How loading a configuration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// It is in force.
    Applied,
    /// It has problems; the previous one stays in force.
    Refused,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics with the label values that a request's `outcome` and a denial's (`code`, `reason`) can take; data
    /// threads name them by their index. A label that stands in a table twice is one series.
    pub fn new(outcomes: &'static [&'static str], denials: &'static [(&'static str, &'static str)]) -> Arc<Self> {
        let series = Arc::new(Series { outcomes, denials, threads: Mutex::default(), control: Control::default() });
        let registry = Registry::new();
        registry
            .register(Box::new(Gatherer::new(Arc::clone(&series))))
            .expect("names in this file are valid and unique");
        registry.register(Box::new(Process::new())).expect("names in this file are valid and unique");
        Arc::new(Self { series, registry })
    }

    /// The counters of the data thread of this number, made at first sight.
    pub fn thread(&self, index: usize) -> Arc<ThreadMetrics> {
        let Series { outcomes, denials, .. } = *self.series;
        let mut threads = self.series.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let thread =
            threads.entry(index).or_insert_with(|| Arc::new(ThreadMetrics::new(outcomes.len(), denials.len())));
        Arc::clone(thread)
    }

    /// Counts an attempt to load the configuration, the first one included.
    pub fn config_reloaded(&self, result: ReloadResult) {
        let control = &self.series.control;
        match result {
            ReloadResult::Applied => control.reloads_applied.fetch_add(1, Ordering::Relaxed),
            ReloadResult::Refused => control.reloads_refused.fetch_add(1, Ordering::Relaxed),
        };
        control.last_reload_applied.store(u64::from(result == ReloadResult::Applied), Ordering::Relaxed);
    }

    /// Sets the generation of the configuration in force.
    pub fn generation(&self, generation: u64) {
        self.series.control.generation.store(generation, Ordering::Relaxed);
    }

    /// Sets the time of the last change, of rules or keys, that came into force.
    pub fn changed(&self, at: Timestamp) {
        self.series.control.last_change_ms.store(at.as_unix_ms(), Ordering::Relaxed);
    }

    /// Sets the newest revision that is in force.
    pub fn revision(&self, revision: u64) {
        self.series.control.revision.store(revision, Ordering::Relaxed);
    }

    /// Sets the number of keys and tokens that cannot be read from the store.
    pub fn unreadable(&self, records: u64) {
        self.series.control.unreadable.store(records, Ordering::Relaxed);
    }

    /// Sets the number of keys in force.
    pub fn keys(&self, counts: KeyCounts) {
        let control = &self.series.control;
        for (word, count) in control.keys.iter().zip([counts.active, counts.disabled, counts.revoked]) {
            word.store(count, Ordering::Relaxed);
        }
    }

    /// Sets how durable counted usage is.
    pub fn usage(&self, usage: UsageFigures) {
        let control = &self.series.control;
        let lag_ms = u64::try_from(usage.lag.as_millis()).unwrap_or(u64::MAX);
        control.usage_lag_ms.store(lag_ms, Ordering::Relaxed);
        control.usage_in_memory.store(usage.in_memory, Ordering::Relaxed);
        control.usage_given_up.store(usage.given_up, Ordering::Relaxed);
        control.usage_lost.store(usage.lost_requests, Ordering::Relaxed);
        control.usage_seal_age_s.store(usage.seal_age.as_secs(), Ordering::Relaxed);
    }

    /// Sets how the sinks of usage are.
    pub fn sinks(&self, sinks: Arc<[SinkFigures]>) {
        *self.series.control.sinks.lock().unwrap_or_else(PoisonError::into_inner) = Some(sinks);
    }

    /// Counts a failed write of the request log, and the lines it lost.
    pub fn access_log_write_failed(&self, lines: u64) {
        self.series.control.access_log_write_errors.fetch_add(1, Ordering::Relaxed);
        self.series.control.access_log_lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Everything, in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            log::error("metrics cannot be rendered", &[("error", &error)]);
        }
        text
    }
}

impl KeyCounts {
    /// All keys, whatever their state.
    pub fn total(self) -> u64 {
        self.active + self.disabled + self.revoked
    }
}

/// What the numbers are gathered from.
pub(super) struct Series {
    pub(super) outcomes: &'static [&'static str],
    pub(super) denials: &'static [(&'static str, &'static str)],
    pub(super) threads: Mutex<BTreeMap<usize, Arc<ThreadMetrics>>>,
    pub(super) control: Control,
}

/// What the control thread sets.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) generation: AtomicU64,
    pub(super) revision: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) reloads_applied: AtomicU64,
    pub(super) reloads_refused: AtomicU64,
    pub(super) last_reload_applied: AtomicU64,
    pub(super) last_change_ms: AtomicI64,
    /// Active, disabled, revoked.
    pub(super) keys: [AtomicU64; 3],
    pub(super) usage_lag_ms: AtomicU64,
    pub(super) usage_in_memory: AtomicU64,
    pub(super) usage_given_up: AtomicU64,
    pub(super) usage_lost: AtomicU64,
    pub(super) usage_seal_age_s: AtomicU64,
    pub(super) sinks: Mutex<Option<Arc<[SinkFigures]>>>,
    pub(super) access_log_write_errors: AtomicU64,
    pub(super) access_log_lost: AtomicU64,
}

/// One metric as it is declared.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
}

impl Family {
    const fn new(kind: MetricType, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, help, kind, labels }
    }

    pub(super) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("names in this file are valid")
    }
}

pub(super) static REQUESTS: Family = Family::new(
    COUNTER,
    "keygate_requests_total",
    &["route", "status_class", "outcome"],
    "Requests that ended, by route, class of the status sent and outcome: forwarded, or the code of the denial.",
);
pub(super) static REQUEST_DURATION: Family = Family::new(
    HISTOGRAM,
    "keygate_request_duration_seconds",
    &["route"],
    "Time from the complete head of a request to the last byte of its answer.",
);
pub(super) static GATEWAY_DURATION: Family = Family::new(
    HISTOGRAM,
    "keygate_gateway_duration_seconds",
    &["route"],
    "Time that the gateway itself took for a request, without waiting for client and upstream.",
);
pub(super) static DENIALS: Family = Family::new(
    COUNTER,
    "keygate_denials_total",
    &["code", "reason"],
    "Requests refused, by the code that the client saw and the true reason.",
);
pub(super) static KEYS: Family = Family::new(GAUGE, "keygate_keys", &["state"], "Keys in force, by state.");
pub(super) static CONFIG_GENERATION: Family = Family::new(
    GAUGE,
    "keygate_config_generation",
    &[],
    "Number of the configuration in force; grows by one with each that is applied.",
);
pub(super) static REVISION: Family = Family::new(
    GAUGE,
    "keygate_revision",
    &[],
    "Place of the newest change of keys or tokens that is in force, in the order of all of them; 0 without a store.",
);
pub(super) static UNREADABLE: Family = Family::new(
    GAUGE,
    "keygate_store_unreadable_records",
    &[],
    "Keys and tokens whose rows in the store are damaged; they are refused. Anything but 0 needs somebody.",
);
pub(super) static CONFIG_LAST_RELOAD_SUCCESS: Family = Family::new(
    GAUGE,
    "keygate_config_last_reload_success",
    &[],
    "1 if the last attempt to load the configuration brought it into force, 0 if it was refused.",
);
pub(super) static CONFIG_RELOADS: Family = Family::new(
    COUNTER,
    "keygate_config_reloads_total",
    &["result"],
    "Attempts to load the configuration, the one at start included.",
);
pub(super) static LAST_CHANGE: Family = Family::new(
    GAUGE,
    "keygate_last_change_seconds",
    &[],
    "Unix time at which the last change of rules or keys came into force.",
);
pub(super) static CONNECTIONS: Family = Family::new(
    GAUGE,
    "keygate_connections",
    &["side", "state"],
    "Open connections to clients and to upstreams, with a request under way or idle.",
);
pub(super) static CONNECTIONS_ACCEPTED: Family = Family::new(
    COUNTER,
    "keygate_connections_accepted_total",
    &["thread"],
    "Client connections accepted, by the data thread that serves them.",
);
pub(super) static CONNECTIONS_REFUSED: Family = Family::new(
    COUNTER,
    "keygate_connections_refused_total",
    &[],
    "Client connections turned away because max_connections was reached.",
);
pub(super) static ACCEPT_ERRORS: Family = Family::new(
    COUNTER,
    "keygate_accept_errors_total",
    &[],
    "Failures to accept a client connection, such as running out of file descriptors.",
);
pub(super) static CONNECTION_PANICS: Family = Family::new(
    COUNTER,
    "keygate_connection_panics_total",
    &[],
    "Client connections ended by a fault of the gateway's own code.",
);
pub(super) static UPSTREAM_REQUESTS: Family = Family::new(
    COUNTER,
    "keygate_upstream_requests_total",
    &["upstream", "target", "result"],
    "Requests sent to a target, or tried to be sent, by how they ended.",
);
pub(super) static ACCESS_LOG_DROPPED: Family = Family::new(
    COUNTER,
    "keygate_access_log_dropped_total",
    &[],
    "Request log lines lost to a full queue or a failed write.",
);
pub(super) static ACCESS_LOG_WRITE_ERRORS: Family =
    Family::new(COUNTER, "keygate_access_log_write_errors_total", &[], "Failed writes of the request log.");
pub(super) static USAGE_UNITS: Family =
    Family::new(COUNTER, "keygate_usage_units_total", &["plan"], "Units that were counted to be billed, by plan.");
pub(super) static USAGE_LAG: Family = Family::new(
    GAUGE,
    "keygate_usage_durability_lag_seconds",
    &[],
    "Age of the oldest count of usage that a power failure would lose; 0 if there is none.",
);
pub(super) static USAGE_IN_MEMORY: Family = Family::new(
    GAUGE,
    "keygate_usage_in_memory_segments",
    &[],
    "Parts of the usage ledger that are in memory alone, because no file can be made; 0 if all is well.",
);
pub(super) static USAGE_GIVEN_UP: Family =
    Family::new(COUNTER, "keygate_usage_given_up_files_total", &[], "Files of the ledger that the disk did not take.");
pub(super) static USAGE_LOST: Family =
    Family::new(COUNTER, "keygate_usage_lost_requests_total", &[], "Requests counted in neither a file nor memory.");
pub(super) static USAGE_SEAL_AGE: Family = Family::new(
    GAUGE,
    "keygate_usage_seal_age_seconds",
    &[],
    "Time since usage was last sealed into the store; more than two minutes is trouble.",
);
pub(super) static SINK_WAITING: Family =
    Family::new(GAUGE, "keygate_usage_sink_waiting", &["sink", "queue"], "Buckets or events that wait for a sink.");
pub(super) static SINK_LAG: Family = Family::new(
    GAUGE,
    "keygate_usage_sink_lag_seconds",
    &["sink", "queue"],
    "Age of the oldest bucket or event that a sink has not taken yet.",
);
pub(super) static SINK_SET_ASIDE: Family = Family::new(
    GAUGE,
    "keygate_usage_sink_set_aside",
    &["sink", "queue"],
    "Buckets or events that a sink will not be sent any more; see `keygate usage verify`.",
);
pub(super) static SINK_TAKEN: Family =
    Family::new(COUNTER, "keygate_usage_sink_taken_total", &["sink", "queue"], "Buckets or events that a sink took.");
pub(super) static SINK_FAILURES: Family = Family::new(
    COUNTER,
    "keygate_usage_sink_failures_total",
    &["sink", "queue"],
    "Batches that a sink did not take as a whole.",
);
pub(super) static SINK_ALARM: Family = Family::new(
    GAUGE,
    "keygate_usage_sink_alarm",
    &["sink", "queue"],
    "1 if somebody has to see to a sink: wrong credentials, a wrong URL, something set aside.",
);
pub(super) static SINK_PAUSED: Family =
    Family::new(GAUGE, "keygate_usage_sink_paused", &["sink", "queue"], "1 while a sink is told to wait.");
pub(super) static BUILD: Family =
    Family::new(GAUGE, "keygate_build_info", &["version"], "Always 1; its label tells which build this is.");

pub(super) static PROCESS_CPU: Family =
    Family::new(COUNTER, "process_cpu_seconds_total", &[], "User and system CPU time spent.");
pub(super) static PROCESS_OPEN_FDS: Family = Family::new(GAUGE, "process_open_fds", &[], "Open file descriptors.");
pub(super) static PROCESS_MAX_FDS: Family =
    Family::new(GAUGE, "process_max_fds", &[], "Most file descriptors that may be open.");
pub(super) static PROCESS_VIRTUAL_MEMORY: Family =
    Family::new(GAUGE, "process_virtual_memory_bytes", &[], "Size of the virtual memory.");
pub(super) static PROCESS_RESIDENT_MEMORY: Family =
    Family::new(GAUGE, "process_resident_memory_bytes", &[], "Size of the resident memory.");
pub(super) static PROCESS_START_TIME: Family =
    Family::new(GAUGE, "process_start_time_seconds", &[], "Unix time at which the process started.");
pub(super) static PROCESS_THREADS: Family = Family::new(GAUGE, "process_threads", &[], "Threads of the process.");

/// Buckets of a whole request, 50 us to 60 s.
pub(super) static TOTAL_BOUNDS: Bounds = micros([
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 15_000_000,
    60_000_000,
]);
/// Buckets of the gateway's own part, 5 us to 1 s.
pub(super) static GATEWAY_BOUNDS: Bounds =
    micros([5, 10, 15, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000, 1_000_000]);

const fn micros(mut bounds: [u64; BUCKETS]) -> Bounds {
    let mut at = 0;
    while at < BUCKETS {
        bounds[at] *= 1_000;
        at += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::telemetry::UpstreamResult;

    const OUTCOMES: &[&str] = &["forwarded", "key_invalid", "key_invalid", "route_unknown"];
    const DENIALS: &[(&str, &str)] =
        &[("key_invalid", "unknown"), ("key_invalid", "revoked"), ("route_unknown", "route")];

    /// A program that has seen something of everything.
    fn busy() -> Arc<Metrics> {
        let metrics = Metrics::new(OUTCOMES, DENIALS);
        for index in 0..2 {
            let thread = metrics.thread(index);
            thread.accepted.add(5);
            thread.refused.add(1);
            thread.access_log_dropped.add(2);
            thread.client_connections.active.add(3);
            thread.upstream_connections.idle.up();
            thread.denied(1);
            let orders = thread.route("orders");
            orders.finished(200, 0, Duration::from_micros(300), Duration::from_micros(9));
            orders.finished(401, 1, Duration::from_micros(20), Duration::from_micros(20));
            orders.finished(401, 2, Duration::from_secs(61), Duration::from_micros(20));
            thread.route("never \"asked\" for");
            thread.target("up", "127.0.0.1:9000").finished(UpstreamResult::Answered);
        }
        metrics.access_log_write_failed(6);
        metrics.config_reloaded(ReloadResult::Applied);
        metrics.config_reloaded(ReloadResult::Refused);
        metrics.generation(7);
        metrics.keys(KeyCounts { active: 3, disabled: 2, revoked: 1 });
        metrics.changed(Timestamp::from_unix_ms(1_500));
        metrics
    }

    fn check(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
    }

    #[test]
    fn a_scrape_adds_the_threads_up() {
        let text = busy().render();
        check(&text, r#"keygate_requests_total{route="orders",status_class="2xx",outcome="forwarded"} 2"#);
        check(&text, r#"keygate_requests_total{route="orders",status_class="4xx",outcome="key_invalid"} 4"#);
        check(&text, r#"keygate_denials_total{code="key_invalid",reason="revoked"} 2"#);
        check(&text, r#"keygate_denials_total{code="route_unknown",reason="route"} 0"#);
        check(&text, r#"keygate_connections{side="client",state="active"} 6"#);
        check(&text, r#"keygate_connections{side="upstream",state="idle"} 2"#);
        check(&text, r#"keygate_connections_accepted_total{thread="1"} 5"#);
        check(&text, "keygate_connections_refused_total 2");
        check(&text, "keygate_connection_panics_total 0");
        check(&text, "keygate_access_log_dropped_total 10");
        check(&text, r#"keygate_upstream_requests_total{upstream="up",target="127.0.0.1:9000",result="answered"} 2"#);
        check(&text, r#"keygate_keys{state="disabled"} 2"#);
        check(&text, "keygate_config_generation 7");
        check(&text, "keygate_config_last_reload_success 0");
        check(&text, r#"keygate_config_reloads_total{result="applied"} 1"#);
        check(&text, "keygate_last_change_seconds 1.5");
        check(&text, &format!("keygate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_histogram_is_cumulative_and_its_sum_is_in_seconds() {
        let text = busy().render();
        let bucket = |le: &str, count: u64| {
            check(&text, &format!("keygate_request_duration_seconds_bucket{{route=\"orders\",le=\"{le}\"}} {count}"));
        };
        bucket("0.00005", 2);
        bucket("0.00025", 2);
        bucket("0.0005", 4);
        bucket("60", 4);
        bucket("+Inf", 6);
        check(&text, r#"keygate_request_duration_seconds_count{route="orders"} 6"#);
        check(&text, r#"keygate_request_duration_seconds_sum{route="orders"} 122.00064"#);
        check(&text, r#"keygate_gateway_duration_seconds_bucket{route="orders",le="0.00001"} 2"#);
    }

    #[test]
    fn series_that_count_nothing_are_left_out() {
        let text = busy().render();
        assert!(!text.contains("asked"), "{text}");
        assert!(!text.contains(r#"status_class="5xx""#));
        assert_eq!(text.lines().filter(|line| line.starts_with("keygate_requests_total{")).count(), 2);
    }

    #[test]
    fn the_same_thread_number_gives_the_same_counters() {
        let metrics = Metrics::new(OUTCOMES, DENIALS);
        assert!(Arc::ptr_eq(&metrics.thread(1), &metrics.thread(1)));
        assert!(!Arc::ptr_eq(&metrics.thread(1), &metrics.thread(0)));
    }

    #[test]
    fn bounds_are_ascending() {
        assert!(TOTAL_BOUNDS.is_sorted() && GATEWAY_BOUNDS.is_sorted());
    }

    #[test]
    fn promtool_is_content() {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool, of the Debian package prometheus, is installed");
        promtool.stdin.take().unwrap().write_all(busy().render().as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

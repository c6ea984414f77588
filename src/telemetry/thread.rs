//! What one data thread counts.
//!
//! Each [`ThreadMetrics`] belongs to one data thread, which alone adds to it; `scrape` reads along. Looking up the
//! series of a route or target takes a lock and may allocate: it is done when rules change, and the `Arc` is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::metrics::{GATEWAY_BOUNDS, TOTAL_BOUNDS};
use super::words::{Gauge, Histogram, Word};

/// The counters of one data thread.
#[derive(Debug)]
#[repr(align(64))]
pub struct ThreadMetrics {
    /// Client connections that were given to this thread.
    pub accepted: Word,
    /// Client connections turned away at the cap.
    pub refused: Word,
    /// Failures of accept itself.
    pub accept_errors: Word,
    /// Connections ended by a panic of ours.
    pub connection_panics: Word,
    /// Request log lines lost to a full queue.
    pub access_log_dropped: Word,
    /// Connections of clients.
    pub client_connections: Connections,
    /// Connections to targets.
    pub upstream_connections: Connections,
    denials: Box<[Word]>,
    outcomes: usize,
    routes: Mutex<BTreeMap<Box<str>, Arc<RouteMetrics>>>,
    targets: Mutex<Targets>,
    plans: Mutex<BTreeMap<Box<str>, Arc<Word>>>,
}

/// Open connections on one side.
#[derive(Debug, Default)]
pub struct Connections {
    /// With a request under way.
    pub active: Gauge,
    /// Kept alive between two requests.
    pub idle: Gauge,
}

/// The counters of one route on one data thread.
#[derive(Debug)]
#[repr(align(64))]
pub struct RouteMetrics {
    total: Histogram,
    gateway: Histogram,
    requests: Box<[StatusClasses]>,
}

/// The counters of one target on one data thread.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TargetMetrics {
    results: [Word; UpstreamResult::ALL.len()],
}

/// How a request to a target ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamResult {
    /// With a whole answer, whatever its status.
    Answered,
    /// No connection came about.
    ConnectFailed,
    /// The target was too slow, at any stage.
    Timeout,
    /// The target broke the connection off.
    Reset,
    /// The target's answer was not HTTP, or not what it announced.
    Malformed,
    /// The client went away first.
    ClientGone,
}

/// Requests by class of status: the first word is for those without an answer.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct StatusClasses(pub(super) [Word; STATUS_CLASSES.len()]);

/// Label values of the words of [`StatusClasses`].
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

type Targets = BTreeMap<(Box<str>, Box<str>), Arc<TargetMetrics>>;

impl ThreadMetrics {
    pub(super) fn new(outcomes: usize, denials: usize) -> Self {
        Self {
            accepted: Word::default(),
            refused: Word::default(),
            accept_errors: Word::default(),
            connection_panics: Word::default(),
            access_log_dropped: Word::default(),
            client_connections: Connections::default(),
            upstream_connections: Connections::default(),
            denials: (0..denials).map(|_| Word::default()).collect(),
            outcomes,
            routes: Mutex::default(),
            targets: Mutex::default(),
            plans: Mutex::default(),
        }
    }

    /// The series of a route, made at first sight and kept until the process ends, so that counts never go back. The
    /// empty name stands for requests that no route matched (label `none`). Takes a lock: call it when rules change.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let name = if name.is_empty() { NO_ROUTE } else { name };
        let mut routes = self.routes();
        if let Some(known) = routes.get(name) {
            return Arc::clone(known);
        }
        let route = Arc::new(RouteMetrics::new(self.outcomes));
        routes.insert(name.into(), Arc::clone(&route));
        route
    }

    /// The series of a target (`host:port`) of an upstream, likewise.
    pub fn target(&self, upstream: &str, target: &str) -> Arc<TargetMetrics> {
        Arc::clone(self.targets().entry((upstream.into(), target.into())).or_default())
    }

    /// Counts a denial by its place in the table given to [`super::Metrics::new`].
    #[inline]
    pub fn denied(&self, denial: usize) {
        if let Some(word) = self.denials.get(denial) {
            word.add(1);
        }
    }

    pub(super) fn denials(&self) -> &[Word] {
        &self.denials
    }

    /// The units of a plan, or of requests without one (the empty name), kept until the process ends. Takes a lock: call it when
    /// rules change.
    pub fn plan_units(&self, name: &str) -> Arc<Word> {
        let name = if name.is_empty() { NO_PLAN } else { name };
        Arc::clone(self.plans().entry(name.into()).or_default())
    }

    pub(super) fn plans(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<Word>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<RouteMetrics>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteMetrics {
    fn new(outcomes: usize) -> Self {
        Self {
            total: Histogram::new(&TOTAL_BOUNDS),
            gateway: Histogram::new(&GATEWAY_BOUNDS),
            requests: (0..outcomes).map(|_| StatusClasses::default()).collect(),
        }
    }

    /// Counts one request at its end: `status` as the client saw it (0 if it left without one), `outcome` as its place
    /// in the table given to [`super::Metrics::new`], the `total` duration and the part the `gateway` itself took.
    #[inline]
    pub fn finished(&self, status: u16, outcome: usize, total: Duration, gateway: Duration) {
        let class = usize::from(status / 100);
        if let Some(row) = self.requests.get(outcome) {
            row.0[if class < STATUS_CLASSES.len() { class } else { 0 }].add(1);
        }
        self.total.observe(total);
        self.gateway.observe(gateway);
    }

    pub(super) fn requests(&self) -> &[StatusClasses] {
        &self.requests
    }

    pub(super) fn histograms(&self) -> (&Histogram, &Histogram) {
        (&self.total, &self.gateway)
    }
}

impl TargetMetrics {
    /// Counts one request sent, or tried to be sent, to this target.
    #[inline]
    pub fn finished(&self, result: UpstreamResult) {
        self.results[result as usize].add(1);
    }

    pub(super) fn count(&self, result: UpstreamResult) -> u64 {
        self.results[result as usize].value()
    }
}

impl UpstreamResult {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::ConnectFailed, Self::Timeout, Self::Reset, Self::Malformed, Self::ClientGone];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Malformed => "malformed",
            Self::ClientGone => "client_gone",
        }
    }
}

const NO_PLAN: &str = "none";
const NO_ROUTE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gives_the_same_series() {
        let thread = ThreadMetrics::new(1, 1);
        assert!(Arc::ptr_eq(&thread.route("orders"), &thread.route("orders")));
        assert!(!Arc::ptr_eq(&thread.route("orders"), &thread.route("users")));
        assert!(Arc::ptr_eq(&thread.route(""), &thread.route("none")));
        assert!(Arc::ptr_eq(&thread.target("u", "a:1"), &thread.target("u", "a:1")));
        assert!(!Arc::ptr_eq(&thread.target("u", "a:1"), &thread.target("v", "a:1")));
    }

    #[test]
    fn an_index_beyond_the_tables_is_ignored() {
        let thread = ThreadMetrics::new(1, 1);
        thread.denied(1);
        thread.route("r").finished(200, 1, Duration::ZERO, Duration::ZERO);
        assert_eq!(thread.denials()[0].value(), 0);
        assert_eq!(thread.route("r").requests()[0].0.iter().map(Word::value).sum::<u64>(), 0);
    }

    #[test]
    fn statuses_fall_into_their_class() {
        for (status, class) in
            [(0, "none"), (101, "1xx"), (200, "2xx"), (304, "3xx"), (499, "4xx"), (599, "5xx"), (600, "none")]
        {
            let route = RouteMetrics::new(1);
            route.finished(status, 0, Duration::ZERO, Duration::ZERO);
            let counted = route.requests()[0].0.iter().position(|word| word.value() == 1).unwrap();
            assert_eq!(STATUS_CLASSES[counted], class, "{status}");
        }
    }

    #[test]
    fn results_are_numbered_as_they_are_listed() {
        for (number, result) in UpstreamResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, number);
        }
    }
}

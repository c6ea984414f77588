//! What the operations listener tells of the program.
//!
//! `app` reports each event once, here; what is also a metric is passed on to the metrics, so that both always agree. What
//! changes without an event is asked for when it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};

use crate::telemetry::log::Rfc3339;
use crate::telemetry::{KeyCounts, Metrics, ReloadResult, SinkFigures, UsageFigures, redact};
use crate::time::{Instant, Timestamp};

/// The program as the operations listener shows it.
pub struct State {
    metrics: Arc<Metrics>,
    started: Instant,
    status: Mutex<Status>,
    live: OnceLock<Box<dyn Fn() -> Live + Send + Sync>>,
}

/// What is in force, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many keys there are.
    pub keys: KeyCounts,
    /// The place of the newest change of keys in the order of all of them; 0 without a store.
    pub revision: u64,
    /// When that came into force.
    pub changed: Option<Timestamp>,
    /// How durable usage is; none: it is not kept.
    pub usage: Option<UsageFigures>,
    /// How its sinks are.
    pub sinks: Arc<[SinkFigures]>,
    /// How many keys and tokens of the store cannot be read, and are refused for it.
    pub unreadable: u64,
}

/// Where the program listens, as bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of the data plane.
    pub listeners: Vec<SocketAddr>,
    /// Of the operations listener.
    pub operations: Option<SocketAddr>,
    /// Of the admin API.
    pub admin: Option<SocketAddr>,
}

/// How an attempt to load the configuration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied {
        /// Its number.
        generation: u64,
    },
    /// It has problems, and the previous one stays in force.
    Refused {
        /// The first problem; secrets in it are redacted.
        problem: String,
    },
}

#[derive(Debug, Default)]
struct Status {
    phase: Phase,
    addresses: Addresses,
    generation: u64,
    last_reload: Option<(Timestamp, Reload)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Draining,
}

impl State {
    /// The state of a program that has just been `started`.
    pub fn new(metrics: Arc<Metrics>, started: Instant) -> Arc<Self> {
        Arc::new(Self { metrics, started, status: Mutex::default(), live: OnceLock::new() })
    }

    /// The metrics that are told along.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Rules and keys are loaded and the listeners are open. Has no effect once draining.
    pub fn ready(&self) {
        let mut status = self.status();
        if status.phase == Phase::Starting {
            status.phase = Phase::Ready;
        }
    }

    /// No new connections are accepted any more.
    pub fn draining(&self) {
        self.status().phase = Phase::Draining;
    }

    /// The listeners are bound.
    pub fn listening(&self, addresses: Addresses) {
        self.status().addresses = addresses;
    }

    /// An attempt to load the configuration ended, the one at start included.
    pub fn reloaded(&self, reload: Reload, at: Timestamp) {
        let mut status = self.status();
        match reload {
            Reload::Applied { generation } => {
                status.generation = generation;
                self.metrics.generation(generation);
                self.metrics.changed(at);
                self.metrics.config_reloaded(ReloadResult::Applied);
            }
            Reload::Refused { .. } => self.metrics.config_reloaded(ReloadResult::Refused),
        }
        status.last_reload = Some((at, reload));
    }

    /// Has `live` asked from now on. The first one is kept.
    pub fn ask(&self, live: impl Fn() -> Live + Send + Sync + 'static) {
        let _ = self.live.set(Box::new(live));
    }

    /// Everything as metrics, in the Prometheus text format.
    pub(super) fn render(&self) -> String {
        let live = self.live();
        self.metrics.keys(live.keys);
        self.metrics.revision(live.revision);
        self.metrics.unreadable(live.unreadable);
        if let Some(changed) = live.changed {
            self.metrics.changed(changed);
        }
        if let Some(usage) = live.usage {
            self.metrics.usage(usage);
        }
        self.metrics.sinks(live.sinks);
        self.metrics.render()
    }

    fn live(&self) -> Live {
        self.live.get().map(|live| live()).unwrap_or_default()
    }

    /// When the configuration was last loaded, and how that ended.
    pub fn last_reload(&self) -> Option<(Timestamp, Reload)> {
        self.status().last_reload.clone()
    }

    /// Why no requests should be sent here, if so.
    pub(super) fn unready(&self) -> Option<&'static str> {
        match self.status().phase {
            Phase::Starting => Some("starting: rules and keys are not loaded yet"),
            Phase::Ready => None,
            Phase::Draining => Some("draining: no new connections are accepted"),
        }
    }

    /// The document at `/status`.
    pub(super) fn document(&self, now: Instant) -> Value {
        let live = self.live();
        let status = self.status();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": status.phase.name(),
            "uptime_seconds": now.since(self.started).as_secs(),
            "addresses": {
                "listeners": status.addresses.listeners,
                "operations": status.addresses.operations,
                "admin": status.addresses.admin,
            },
            "revision": live.revision,
            "unreadable_records": live.unreadable,
            "config": {
                "generation": status.generation,
                "last_reload": status.last_reload.as_ref().map(|(at, reload)| reload.document(*at)),
            },
            "keys": {
                "total": live.keys.total(),
                "active": live.keys.active,
                "disabled": live.keys.disabled,
                "revoked": live.keys.revoked,
            },
            "usage": live.usage.map(|usage| json!({
                "durability_lag_seconds": usage.lag.as_secs_f64(),
                "in_memory_segments": usage.in_memory,
                "given_up_files": usage.given_up,
                "lost_requests": usage.lost_requests,
                "seal_age_seconds": usage.seal_age.as_secs(),
                "sinks": live.sinks.iter().map(SinkFigures::document).collect::<Vec<_>>(),
            })),
        })
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reload {
    fn document(&self, at: Timestamp) -> Value {
        let time = Rfc3339(at).to_string();
        match self {
            Self::Applied { .. } => json!({"time": time, "result": "applied"}),
            Self::Refused { problem } => {
                json!({"time": time, "result": "refused", "problem": redact(problem)})
            }
        }
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl SinkFigures {
    fn document(&self) -> Value {
        json!({
            "name": self.sink,
            "queue": self.queue,
            "waiting": self.waiting,
            "lag_seconds": self.lag.as_secs_f64(),
            "set_aside": self.set_aside,
            "taken": self.taken,
            "failures": self.failures,
            "alarm": self.is_alarming,
            "paused": self.is_paused,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Instant = Instant::from_ns(1);
    const NOON: Timestamp = Timestamp::from_unix_ms(1_782_907_200_005);

    fn state() -> Arc<State> {
        State::new(Metrics::new(&[], &[]), START)
    }

    #[test]
    fn a_draining_program_does_not_become_ready_again() {
        let state = state();
        assert!(state.unready().unwrap().starts_with("starting"));
        state.ready();
        assert_eq!(state.unready(), None);
        state.draining();
        state.ready();
        assert!(state.unready().unwrap().starts_with("draining"));
    }

    #[test]
    fn the_document_tells_all_there_is() {
        let state = state();
        state.ready();
        state.listening(Addresses {
            listeners: vec!["127.0.0.1:8080".parse().unwrap(), "[::1]:8080".parse().unwrap()],
            operations: Some("127.0.0.1:9100".parse().unwrap()),
            admin: None,
        });
        state.reloaded(Reload::Applied { generation: 4 }, NOON);
        let keys = KeyCounts { active: 3, disabled: 2, revoked: 1 };
        state.ask(move || Live { keys, revision: 7, changed: None, usage: None, unreadable: 2, ..Live::default() });
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": "ready",
            "uptime_seconds": 90,
            "addresses": {"listeners": ["127.0.0.1:8080", "[::1]:8080"], "operations": "127.0.0.1:9100", "admin": null},
            "revision": 7,
            "unreadable_records": 2,
            "config": {
                "generation": 4,
                "last_reload": {"time": "2026-07-01T12:00:00.005Z", "result": "applied"},
            },
            "keys": {"total": 6, "active": 3, "disabled": 2, "revoked": 1},
            "usage": null,
        });
        assert_eq!(state.document(START.after(Duration::from_secs(90))), expected);
    }

    #[test]
    fn a_refused_reload_keeps_the_generation_and_shows_no_secret() {
        let state = state();
        state.reloaded(Reload::Applied { generation: 1 }, NOON);
        let problem = "a.yaml:3:1: unknown field: secret: kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm".to_owned();
        state.reloaded(Reload::Refused { problem }, NOON);
        let config = state.document(START)["config"].clone();
        assert_eq!(config["generation"], 1);
        assert_eq!(config["last_reload"]["result"], "refused");
        assert_eq!(config["last_reload"]["problem"], "a.yaml:3:1: unknown field: secret: [redacted]");
    }

    #[test]
    fn metrics_are_told_along() {
        let state = state();
        state.reloaded(Reload::Applied { generation: 9 }, NOON);
        state.reloaded(Reload::Refused { problem: String::new() }, Timestamp::from_unix_ms(0));
        let keys = KeyCounts { active: 3, ..KeyCounts::default() };
        state.ask(move || Live { keys, revision: 7, changed: None, usage: None, unreadable: 2, ..Live::default() });
        let text = state.render();
        for line in [
            "keygate_config_generation 9",
            "keygate_config_last_reload_success 0",
            "keygate_config_reloads_total{result=\"applied\"} 1",
            "keygate_config_reloads_total{result=\"refused\"} 1",
            "keygate_last_change_seconds 1782907200.005",
            "keygate_keys{state=\"active\"} 3",
            "keygate_revision 7",
            "keygate_store_unreadable_records 2",
        ] {
            assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
        }
    }
}

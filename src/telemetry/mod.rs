//! Metrics, logs and redaction: how the program speaks of what it does.
//!
//! Names no other module but `time`: outcomes and denials reach it as tables of labels, keys and routes as texts.
//! What a data thread calls per request ([`RouteMetrics`], [`TargetMetrics`], [`access::Sender`]) neither allocates nor
//! waits; everything else belongs to the control and log threads.

pub mod access;
mod escape;
pub mod log;
pub mod metrics;
mod options;
mod process;
pub mod redact;
mod scrape;
mod thread;
mod usage;
mod words;

pub use metrics::{KeyCounts, Metrics, ReloadResult};
pub use options::{AccessLogOptions, LogFormat, LogOutput, Options};
pub use redact::{redact, redact_into};
pub use thread::{Connections, RouteMetrics, TargetMetrics, ThreadMetrics, UpstreamResult};
pub use usage::{SinkFigures, UsageFigures};
pub use words::{Gauge, Word};

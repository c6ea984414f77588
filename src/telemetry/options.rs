//! What the configuration says of logs.

use std::path::PathBuf;

/// What is logged, where and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The form of every log line.
    pub format: LogFormat,
    /// The request log.
    pub access: AccessLogOptions,
}

/// The request log: one line per request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogOptions {
    /// Where the lines go.
    pub output: LogOutput,
    /// The share of forwarded requests that is logged, 0.0 to 1.0; denials and upstream failures always are.
    pub sample: f64,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Where request log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, opened again on SIGHUP.
    File(PathBuf),
}

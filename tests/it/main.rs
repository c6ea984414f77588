//! The integration tests: the real binary on port 0, raw-socket clients, scripted upstreams.
//!
//! One file per topic; what they are written with is in `harness`. Every gateway is a child process of its own, so that
//! all tests run side by side and each can stop, starve or kill its own.
#![allow(clippy::disallowed_methods, reason = "tests read the clock for their deadlines")]
#![allow(clippy::unwrap_used, reason = "clippy counts helpers of integration tests as product code")]
#![allow(clippy::print_stdout, reason = "the same")]

mod admin;
mod allowance;
mod bodies;
mod cli;
mod cli_client;
mod cli_import;
mod cli_store;
mod concurrency;
mod config;
mod console;
mod crash;
mod credentials;
mod differential;
mod faults;
mod harness;
mod heads;
mod hostile;
mod intermediary;
mod key_events;
mod limits;
mod logs;
mod model;
mod nginx;
mod operations;
mod paths;
mod reload;
mod secrets;
mod stopping;
mod tidy;
mod upstreams;
mod usage;
mod usage_clock;
mod usage_faults;
mod usage_sinks;

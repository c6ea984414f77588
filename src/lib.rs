//! keygate: a reverse-proxy authentication gateway.
//!
//! The modules stand in dependency order: each may name only those above it
//! (`tests/it/tidy.rs` enforces it). `ARCHITECTURE.md` is the guided tour.

pub mod time;

pub mod telemetry;

pub mod key;

pub mod route;

pub mod limit;

pub mod policy;

pub mod meter;

pub mod store;

pub mod sink;

pub mod http1;

pub mod reactor;

pub mod upstream;

pub mod catalog;

pub mod gateway;

pub mod operations;

pub mod admin;

pub mod console;

pub mod config;

pub mod app;

pub mod cli;

//! The composition root: from a configuration file to a running gateway, and to its end. The only place that starts long tasks.
//!
//! The calling thread becomes the control thread. Called by `cli` for `serve` and `quickstart`.

mod clock;
mod control;
mod exports;
mod health;
mod herald;
mod keeping;
mod lives;
mod logging;
mod management;
mod memory;
mod metering;
mod reload;
mod resolving;
mod signals;
mod trouble;

pub use control::{Companion, ConfigRefused, serve};

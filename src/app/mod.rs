//! The composition root: from a configuration file to a running gateway, and to its end. The only place that starts long tasks.
//!
//! The calling thread becomes the control thread. Called by `cli` for `serve` and `quickstart`.

mod control;
mod health;
mod keeping;
mod logging;
mod management;
mod reload;
mod resolving;
mod signals;

pub use control::{Companion, ConfigRefused, serve};

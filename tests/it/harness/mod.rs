//! What the integration tests are written with: the real gateway as a child process, raw-socket clients, scripted upstreams.
//!
//! Nothing here knows a rule of the gateway; the rules stand in the test files. Clients and upstreams speak bytes, because a
//! client library hides what matters. All waiting is [`wait_for`] on a condition with a deadline.

mod admin;
mod admin_client;
mod client;
mod clock;
mod gateway;
mod keys;
mod message;
mod metrics;
mod pattern;
mod process;
mod random;
mod requests;
mod selftest;
mod settings;
mod small_disk;
mod terminal;
mod upstream;
mod wait;
mod wire;

pub(crate) use admin::{Admin, Ran, Reply, TOKEN};
pub(crate) use admin_client::{AdminClient, store_file, with_admin};
pub(crate) use client::{Client, Response};
pub(crate) use clock::WallClock;
pub(crate) use gateway::{Gateway, files_below};
pub(crate) use keys::{ACME, ALICE, BOB, CAROL, DAVE, digest_of, mistyped};
pub(crate) use message::{Head, latin1};
pub(crate) use pattern::{Checker, Pattern};
pub(crate) use process::{Process, command, run, run_in, run_with_input};
pub(crate) use random::Random;
pub(crate) use requests::{get, keyless, post};
pub(crate) use settings::Settings;
pub(crate) use small_disk::SmallDisk;
pub(crate) use terminal::run_on_terminal;
pub(crate) use upstream::{Connection, Request, Step, Upstream};
pub(crate) use wait::{DEADLINE, wait_for, wait_until};
pub(crate) use wire::Broken;

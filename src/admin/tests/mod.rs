//! The admin API as its clients see it: one router over a store in memory, called without sockets.

mod authentication;
mod batches;
mod changes;
mod concurrency;
mod description;
mod doors;
mod failures;
mod idempotency;
mod lists;
mod others;
mod provisioning;
mod reveal;
mod roles;
mod sessions;
mod sinks;
mod world;

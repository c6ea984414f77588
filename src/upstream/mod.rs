//! Upstreams: targets, their addresses and health, and the per-thread pools of connections to them.
//!
//! What all threads share (addresses, health) is in [`Upstream`]; connections never leave the thread that opened them
//! ([`Pool`]). Called by `gateway` for each forwarded request; `app` runs the resolver.

mod health;
mod options;
mod pool;
mod resolve;

pub use health::{Failures, Health};
pub use options::{Authority, AuthorityError, Options};
pub use pool::{Checkout, Connection, Lease, Pool, Tried, is_exhaustion};
pub use resolve::{Address, Upstream, resolve_forever};

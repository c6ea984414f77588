//! Counts the changes of owners' tokens and portal sessions, so that none of them fills the store and its audit log.
//!
//! Operators are not counted. There are as many counters as tokens, and owners who are given links, which only operators make;
//! those that are full again are forgotten when there are many. Called by `door`.

use std::num::NonZeroU32;

use axum::http::Method;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::auth::Caller;
use super::problem::{Code, Problem};

/// What owners have changed lately, by who they are in the audit log.
pub(super) struct Changes(RateLimiter<String, HashMapStateStore<String>, DefaultClock>);

impl Changes {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_minute.get() / 2).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::hashmap(Quota::per_minute(per_minute).allow_burst(burst)))
    }

    /// Counts a request of this caller to a path, unless it only reads.
    pub(super) fn check(&self, caller: &Caller, method: &Method, path: &str) -> Result<(), Problem> {
        let is_read = matches!(*method, Method::GET | Method::HEAD) || path == VERIFY;
        if is_read || caller.owner().is_none() {
            return Ok(());
        }
        if self.0.len() >= MOST_COUNTERS {
            self.0.retain_recent();
        }
        self.0.check_key(&caller.actor().to_string()).map_err(|denied| {
            let wait = denied.wait_time_from(self.0.clock().now());
            Problem::new(Code::TooManyRequests, "too many changes were made: wait, then try again")
                .retry_after(wait.as_secs() + 1)
        })
    }
}

const VERIFY: &str = "/v1/keys/verify";
const MOST_COUNTERS: usize = 4096;

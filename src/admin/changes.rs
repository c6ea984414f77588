//! Counts the changes of owners' tokens, so that none of them fills the store and its audit log.
//!
//! Operators are not counted. There are as many counters as tokens, which only operators make. Called by `door`.

use std::num::NonZeroU32;

use axum::http::Method;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::problem::{Code, Problem};
use crate::key::TokenId;
use crate::store::{Role, Token};

/// What owners' tokens have changed lately.
pub(super) struct Changes(RateLimiter<TokenId, HashMapStateStore<TokenId>, DefaultClock>);

impl Changes {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_minute.get() / 2).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::hashmap(Quota::per_minute(per_minute).allow_burst(burst)))
    }

    /// Counts a request of this token to a path, unless it only reads.
    pub(super) fn check(&self, token: &Token, method: &Method, path: &str) -> Result<(), Problem> {
        let is_read = matches!(*method, Method::GET | Method::HEAD) || path == VERIFY;
        if is_read || !matches!(token.role, Role::Owner(_)) {
            return Ok(());
        }
        self.0.check_key(&token.id).map_err(|denied| {
            let wait = denied.wait_time_from(self.0.clock().now());
            Problem::new(Code::TooManyRequests, "this token has made too many changes: wait, then try again")
                .retry_after(wait.as_secs() + 1)
        })
    }
}

const VERIFY: &str = "/v1/keys/verify";

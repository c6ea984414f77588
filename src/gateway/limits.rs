//! The fields that tell a client of its limits, on admitted requests and on 429 alike.
//!
//! draft-ietf-httpapi-ratelimit-headers-11, and the older `X-RateLimit-*` that many clients know.

use std::time::Duration;

use super::forward::decimal;
use super::local::Local;
use crate::catalog::{LimitHeaders, PlanId};
use crate::http1::Buffer;
use crate::limit::{Allowance, Limit, Refused};
use crate::time::{Instant, wall};

/// What the fields tell, of the limit nearest to exhaustion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    plan: PlanId,
    limit: u8,
    remaining: u64,
    reset: Duration,
}

impl Standing {
    /// After a request that was admitted.
    pub(super) const fn admitted(plan: PlanId, allowance: &Allowance) -> Self {
        Self { plan, limit: allowance.index, remaining: allowance.remaining, reset: allowance.reset }
    }

    /// After a request that was not.
    pub(super) const fn refused(plan: PlanId, refused: &Refused) -> Self {
        Self { plan, limit: refused.index, remaining: refused.remaining, reset: refused.reset }
    }

    /// The limit's name in quotes.
    pub(super) fn quoted_name<'l>(&self, local: &'l Local) -> &'l str {
        let plan = local.limit_fields.get(self.plan.index());
        plan.and_then(|plan| plan.names.get(usize::from(self.limit))).map_or("", String::as_str)
    }

    fn limit<'l>(&self, local: &'l Local) -> Option<&'l Limit> {
        local.rules.plan(self.plan)?.limits.get(usize::from(self.limit))
    }

    /// Appends the fields that the rules ask for; false if there is no room.
    pub(super) fn write(&self, local: &Local, now: Instant, out: &mut Buffer) -> bool {
        let Some(limit) = self.limit(local) else { return true };
        match local.rules.wire.limit_headers {
            LimitHeaders::None => true,
            LimitHeaders::Standard => self.write_standard(local, out),
            LimitHeaders::Legacy => self.write_legacy(limit, now, out),
            LimitHeaders::Both => self.write_standard(local, out) && self.write_legacy(limit, now, out),
        }
    }

    fn write_standard(&self, local: &Local, out: &mut Buffer) -> bool {
        let (mut remaining, mut reset) = ([0; 20], [0; 20]);
        local.limit_fields.get(self.plan.index()).is_none_or(|plan| out.push(plan.policy.as_bytes()))
            && out.push(b"RateLimit: ")
            && out.push(self.quoted_name(local).as_bytes())
            && out.push(b";r=")
            && out.push(decimal(self.remaining, &mut remaining))
            && out.push(b";t=")
            && out.push(decimal(whole_seconds(self.reset), &mut reset))
            && out.push(b"\r\n")
    }

    fn write_legacy(&self, limit: &Limit, now: Instant, out: &mut Buffer) -> bool {
        let at = u64::try_from(wall(now).as_unix_s()).unwrap_or(0) + whole_seconds(self.reset);
        let lines: [(&[u8], u64); 3] = [
            (b"X-RateLimit-Limit: ", limit.requests()),
            (b"X-RateLimit-Remaining: ", self.remaining),
            (b"X-RateLimit-Reset: ", at),
        ];
        lines.iter().all(|(name, value)| {
            let mut text = [0; 20];
            out.push(name) && out.push(decimal(*value, &mut text)) && out.push(b"\r\n")
        })
    }
}

/// Whole seconds, rounded up.
pub(super) const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + (duration.subsec_nanos() > 0) as u64
}

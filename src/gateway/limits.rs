//! The fields that tell a client of its limits, on admitted requests and on 429 alike.
//!
//! draft-ietf-httpapi-ratelimit-headers-11, and the older `X-RateLimit-*` that many clients know.

use std::time::Duration;

use super::admit::{Holder, Reached, Refusal};
use super::forward::decimal;
use super::local::Local;
use crate::catalog::{LimitHeaders, PlanId};
use crate::http1::Writer;
use crate::meter::QuotaStanding;
use crate::time::{Instant, wall};

/// What the fields tell, of the limit and of the quota nearest to exhaustion; one of them is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    plan: PlanId,
    limit: Option<Row>,
    quota: Option<Row>,
}

/// How a key stands with one limit or quota.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Which of the plan's limits, or of its quotas.
    index: u8,
    /// What it gives.
    allowed: u64,
    remaining: u64,
    reset: Duration,
}

impl Standing {
    /// After a request that was admitted; none if its key has no limits and no quotas.
    pub(super) fn admitted(local: &Local, holder: &Holder, now: Instant) -> Option<Self> {
        let limit = holder.allowance.as_ref();
        let quota = holder.quota.as_ref();
        let plan = limit.map(|(plan, _)| *plan).or(quota.map(|(plan, _)| *plan))?;
        let limit = limit.and_then(|(plan, left)| Row::of_limit(local, *plan, left.index, left.remaining, left.reset));
        Some(Self { plan, limit, quota: quota.and_then(|(plan, left)| Row::of_quota(local, *plan, left, now)) })
    }

    /// After a request that was not, because of a limit or a quota.
    pub(super) fn refused(local: &Local, refusal: &Refusal, now: Instant) -> Option<Self> {
        let (plan, reached) = refusal.reached?;
        let (limit, quota) = match &reached {
            Reached::Limit(left) => (Row::of_limit(local, plan, left.index, left.remaining, left.reset), None),
            Reached::Quota(left) => (None, Row::of_quota(local, plan, left, now)),
        };
        Some(Self { plan, limit, quota })
    }

    /// When the next period of the quota begins, if it is one.
    pub(super) fn next_period(&self) -> Option<Duration> {
        self.quota.map(|row| row.reset)
    }

    /// The name of the limit or the quota in quotes.
    pub(super) fn quoted_name<'l>(&self, local: &'l Local) -> &'l str {
        let fields = local.limit_fields.get(self.plan.index());
        fields.map_or("", |fields| match (self.limit, self.quota) {
            (Some(limit), _) => fields.limit_name(limit.index),
            (None, Some(quota)) => fields.quota_name(quota.index),
            (None, None) => "",
        })
    }

    /// Appends the fields that the rules ask for.
    pub(super) fn write(&self, local: &Local, now: Instant, out: &mut Writer<'_>) {
        let asked = local.rules.wire.limit_headers;
        if matches!(asked, LimitHeaders::Standard | LimitHeaders::Both) {
            self.write_standard(local, out);
        }
        if matches!(asked, LimitHeaders::Legacy | LimitHeaders::Both) {
            self.write_legacy(now, out);
        }
    }

    fn row(&self) -> Option<Row> {
        self.limit.or(self.quota)
    }

    fn write_standard(&self, local: &Local, out: &mut Writer<'_>) {
        let Some(fields) = local.limit_fields.get(self.plan.index()) else { return };
        let limit = self.limit.map(|row| (fields.limit_name(row.index), row));
        let quota = self.quota.map(|row| (fields.quota_name(row.index), row));
        let mut before: &[u8] = b"RateLimit: ";
        out.put(&[fields.policy.as_bytes()]);
        for (name, row) in limit.into_iter().chain(quota) {
            let (mut remaining, mut reset) = ([0; 20], [0; 20]);
            out.put(&[
                std::mem::replace(&mut before, b", "),
                name.as_bytes(),
                b";r=",
                decimal(row.remaining, &mut remaining),
                b";t=",
                decimal(whole_seconds(row.reset), &mut reset),
            ]);
        }
        if self.row().is_some() {
            out.put(&[b"\r\n"]);
        }
    }

    fn write_legacy(&self, now: Instant, out: &mut Writer<'_>) {
        let Some(row) = self.row() else { return };
        let at = u64::try_from(wall(now).as_unix_s()).unwrap_or(0) + whole_seconds(row.reset);
        let lines: [(&[u8], u64); 3] = [
            (b"X-RateLimit-Limit: ", row.allowed),
            (b"X-RateLimit-Remaining: ", row.remaining),
            (b"X-RateLimit-Reset: ", at),
        ];
        for (name, value) in lines {
            out.put(&[name, decimal(value, &mut [0; 20]), b"\r\n"]);
        }
    }
}

impl Row {
    /// None if the plan has lost the limit meanwhile.
    fn of_limit(local: &Local, plan: PlanId, index: u8, remaining: u64, reset: Duration) -> Option<Self> {
        let limit = local.rules.plan(plan)?.limits.get(usize::from(index))?;
        Some(Self { index, allowed: limit.requests(), remaining, reset })
    }

    fn of_quota(local: &Local, plan: PlanId, left: &QuotaStanding, now: Instant) -> Option<Self> {
        let quota = local.rules.plan(plan)?.quotas.get(usize::from(left.index))?;
        let reset = quota.period.left(wall(now));
        Some(Self { index: left.index, allowed: left.allowed, remaining: left.remaining(), reset })
    }
}

/// Whole seconds, rounded up.
pub(super) const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + (duration.subsec_nanos() > 0) as u64
}

//! Counting requests in the ledger: each once, just before its last byte leaves, and of long answers parts before that.
//!
//! Counted before it is sent, an answer that a client has got is never lost, whenever the process dies. A thread without a
//! book counts nothing.

use std::time::Duration;

use super::admit::Admitted;
use super::finish::End;
use super::local::Local;
use super::thread::Thread;
use super::trail::Trail;
use crate::catalog::PlanId;
use crate::meter::ledger::{Account, Amount, Band, Class, Minute, RouteId, Running, Use};
use crate::policy::Denial;
use crate::route::{Billed, Ending};
use crate::telemetry::Word;
use crate::time::{Instant, wall};

/// What is counted of one request so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    is_counted: bool,
    running: Running,
    part_at: Option<Instant>,
    /// What the upstream says that the request is worth.
    pub(super) units: Option<u64>,
}

/// Under what a request is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The data thread.
    pub(super) thread: &'a Thread,
    /// The rules that it started with.
    pub(super) local: &'a Local,
    /// What is known of it.
    pub(super) trail: &'a Trail,
}

impl Tally {
    /// Whether the request has been counted.
    pub(super) const fn is_counted(&self) -> bool {
        self.is_counted
    }

    /// Counts the request as answered with this status, once.
    pub(super) fn answered(&mut self, subject: Subject<'_>, status: u16, bytes: (u64, u64), now: Instant) {
        self.end(subject, Class::of_status(status), bytes, now);
    }

    /// Counts the request by its end, unless that is done already.
    pub(super) fn ended(&mut self, subject: Subject<'_>, status: u16, end: End, now: Instant) {
        let class = match end {
            End::Forwarded => Class::of_status(status),
            End::ClientGone => Class::ClientGone,
            End::Denied(denial) | End::Cut(denial) => Class::Denied(denial),
        };
        self.end(subject, class, (subject.trail.bytes_in, subject.trail.bytes_out), now);
    }

    /// Counts the bytes of an answer that goes on, if that was not done for a while.
    pub(super) fn goes_on(
        &mut self,
        subject: Subject<'_>,
        status: u16,
        (bytes_in, bytes_out): (u64, u64),
        now: Instant,
    ) {
        let last = *self.part_at.get_or_insert(subject.trail.started);
        if now.since(last) < PART_EVERY || subject.thread.book.is_none() {
            return;
        }
        self.part_at = Some(now);
        let part = self.running.part(bytes_in, bytes_out);
        subject.count(Class::of_status(status), Band::default(), part, now);
    }

    fn end(&mut self, subject: Subject<'_>, class: Class, (bytes_in, bytes_out): (u64, u64), now: Instant) {
        if self.is_counted || subject.thread.book.is_none() {
            return;
        }
        self.is_counted = true;
        let took = now.since(subject.trail.started);
        let latency_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let units = subject.units(class, self.units);
        if units > 0 {
            subject.plan_units().add(units);
        }
        let whole = Amount { requests: 1, units, bytes_in, bytes_out, latency_ns };
        let band = if matches!(class, Class::Denied(_)) { Band::default() } else { Band::of(took) };
        subject.count(class, band, self.running.rest(whole), now);
    }
}

impl Subject<'_> {
    /// Counts what an admitted request took from its key's quotas; to be called before anything of it is forwarded.
    pub(super) fn charge(&self, admitted: &Admitted, now: Instant) {
        if admitted.charged > 0 {
            let amount = Amount { requests: 1, units: admitted.charged, ..Amount::default() };
            self.count(Class::Admitted, Band::default(), amount, now);
        }
    }

    fn count(&self, class: Class, band: Band, amount: Amount, now: Instant) {
        let Some(book) = &self.thread.book else { return };
        let rules = &self.local.rules;
        let route = self.trail.route.and_then(|route| self.local.route_ids.get(route)).copied();
        let account = self.trail.record.as_deref().map_or(Account::NOBODY, |record| {
            let plan = rules.plan_of(record);
            Account {
                token: token(self.trail.account, plan),
                key: Some(&record.id),
                owner: record.owner.as_deref(),
                plan: plan.and_then(|plan| rules.plan_name(plan)),
            }
        });
        let used = Use { account, route: route.unwrap_or(RouteId::NONE), class, band, amount };
        book.borrow_mut().count(&used, Minute::of(wall(now)));
    }

    fn plan_units(&self) -> &Word {
        let plan = self.trail.record.as_deref().and_then(|record| self.local.rules.plan_of(record));
        let of_plan = plan.and_then(|plan| self.local.plan_units.get(plan.index()));
        of_plan.unwrap_or(&self.local.no_plan_units)
    }

    /// What is billed for a request that ended so.
    fn units(&self, class: Class, stated: Option<u64>) -> u64 {
        let Some(ending) = ending(class) else { return 0 };
        let rules = &self.local.rules;
        let route = self.trail.route.map(|route| &rules.routes[route]);
        let plan = self.trail.record.as_deref().and_then(|record| rules.plan(rules.plan_of(record)?));
        let said = [route.and_then(|route| route.billed), plan.and_then(|plan| plan.billed)];
        let billed = said.into_iter().flatten().reduce(Billed::and).unwrap_or(rules.wire.metering.billed);
        if billed.has(ending) { stated.unwrap_or(route.map_or(1, |route| route.cost)) } else { 0 }
    }
}

/// The ending of a forwarded request.
const fn ending(class: Class) -> Option<Ending> {
    Some(match class {
        Class::Informational => Ending::Informational,
        Class::Success => Ending::Success,
        Class::Redirection => Ending::Redirection,
        Class::ClientError => Ending::ClientError,
        Class::ServerError => Ending::ServerError,
        Class::ClientGone => Ending::ClientGone,
        Class::Denied(Denial::UpstreamFailed | Denial::UpstreamTimeout) => Ending::UpstreamFailed,
        Class::Unanswered | Class::Admitted | Class::Denied(_) => return None,
    })
}

/// A key's account, and the plan that it is on: keys without a plan of their own change it with the file.
fn token(account: u64, plan: Option<PlanId>) -> u64 {
    let plan = plan.map_or(0, |plan| plan.index() as u64 + 1);
    plan << 40 | account
}

/// How often an answer that goes on is counted in part.
const PART_EVERY: Duration = Duration::from_secs(5);

//! The rules as one data thread uses them: compiled once more into what needs no look-up and no sharing.
//!
//! Rebuilt by each thread when the catalog's generation moves; a request keeps the one it started with.

use std::rc::Rc;
use std::sync::Arc;

use super::flood::Flood;
use super::roles::{RequestRole, ResponseRole, Roles};
use crate::catalog::Rules;
use crate::meter::ledger::{Book, RouteId};
use crate::policy::Plan;
use crate::telemetry::{RouteMetrics, ThreadMetrics, Word};
use crate::upstream::Pool;

/// One generation of rules, on one data thread.
#[derive(Debug)]
pub(super) struct Local {
    /// The rules themselves.
    pub(super) rules: Arc<Rules>,
    /// The counters of each route, by its index.
    pub(super) routes: Vec<Arc<RouteMetrics>>,
    /// The units of each plan, by its id.
    pub(super) plan_units: Vec<Arc<Word>>,
    /// The units of requests without a plan.
    pub(super) no_plan_units: Arc<Word>,
    /// The counters of requests without a route.
    pub(super) no_route: Arc<RouteMetrics>,
    /// The connections to each upstream, by its index.
    pub(super) pools: Vec<Rc<Pool>>,
    /// What each request field is.
    pub(super) request_roles: Roles<RequestRole>,
    /// What each response field is.
    pub(super) response_roles: Roles<ResponseRole>,
    /// The number of each route in the thread's book, by its index.
    pub(super) route_ids: Vec<RouteId>,
    /// What is told of each plan's limits, by plan id.
    pub(super) limit_fields: Vec<LimitFields>,
    /// The realm in quotes.
    pub(super) realm: String,
    /// The flood guard, shared by all threads.
    pub(super) flood: Option<Arc<Flood>>,
}

/// What is told of one plan's limits and quotas.
#[derive(Debug, Default)]
pub(super) struct LimitFields {
    /// `RateLimit-Policy` as a whole line; empty if there is nothing to tell.
    pub(super) policy: String,
    /// The names of the limits, then of the quotas, in quotes.
    names: Vec<String>,
    limits: usize,
}

impl Local {
    /// Compiles the rules for a thread with these counters and this book; pools of upstreams that stay are taken over from `previous`.
    pub(super) fn new(
        rules: Arc<Rules>,
        flood: Option<Arc<Flood>>,
        (metrics, book): (&Arc<ThreadMetrics>, Option<&mut Book>),
        previous: Option<&Self>,
    ) -> Self {
        let pools = rules.upstreams.iter().map(|upstream| {
            let known =
                previous.and_then(|previous| previous.pools.iter().find(|pool| Arc::ptr_eq(pool.upstream(), upstream)));
            known.map_or_else(|| Rc::new(Pool::new(Arc::clone(upstream), Arc::clone(metrics))), Rc::clone)
        });
        let limit_fields = rules.plans.iter().map(|plan| plan.as_ref().map(LimitFields::new).unwrap_or_default());
        Self {
            routes: rules.routes.iter().map(|route| metrics.route(route.name.as_str())).collect(),
            plan_units: rules
                .plans
                .iter()
                .map(|plan| metrics.plan_units(plan.as_ref().map_or("", |plan| plan.name.as_str())))
                .collect(),
            no_plan_units: metrics.plan_units(""),
            no_route: metrics.route(""),
            pools: pools.collect(),
            request_roles: Roles::of_requests(&rules.wire),
            response_roles: Roles::of_responses(&rules.wire),
            route_ids: book
                .map_or_else(Vec::new, |book| rules.routes.iter().map(|route| book.route(&route.name)).collect()),
            limit_fields: limit_fields.collect(),
            realm: quoted(&rules.wire.realm),
            flood,
            rules,
        }
    }

    /// The counters of a route, or of requests without one.
    pub(super) fn route_metrics(&self, route: Option<usize>) -> &RouteMetrics {
        route.and_then(|route| self.routes.get(route)).unwrap_or(&self.no_route)
    }
}

impl LimitFields {
    /// `RateLimit-Policy`: draft-ietf-httpapi-ratelimit-headers-11 section 3.
    fn new(plan: &Plan) -> Self {
        let limits = plan.limits.iter().map(|limit| {
            let window_s = limit.per().as_secs().max(1);
            (quoted(limit.name().as_str()), format!("q={};w={window_s}", limit.requests()))
        });
        let quotas = plan.quotas.iter().map(|quota| {
            let terms = format!("q={};w={}", quota.requests, quota.period.longest_s());
            (quoted(quota.name.as_str()), terms)
        });
        let (names, terms): (Vec<String>, Vec<String>) = limits.chain(quotas).unzip();
        let items: Vec<String> = names.iter().zip(terms).map(|(name, terms)| format!("{name};{terms}")).collect();
        let items = items.join(", ");
        let policy = if items.is_empty() { items } else { format!("RateLimit-Policy: {items}\r\n") };
        Self { policy, names, limits: plan.limits.len() }
    }

    /// The name of a limit in quotes.
    pub(super) fn limit_name(&self, index: u8) -> &str {
        self.names[..self.limits].get(usize::from(index)).map_or("", String::as_str)
    }

    /// The name of a quota in quotes.
    pub(super) fn quota_name(&self, index: u8) -> &str {
        self.names[self.limits..].get(usize::from(index)).map_or("", String::as_str)
    }
}

/// A structured field string (RFC 8941 section 3.3.3), which for printable ASCII is a JSON string too.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

//! Routes: which requests go where, and what they need.
//!
//! Called by [`super::settings`] after the names of upstreams and plans are known.

use std::collections::HashMap;

use super::sections::Names;
use super::usage;
use crate::config::fields::ROUTE;
use crate::config::node::Entry;
use crate::config::problem::{Mark, Problems, named};
use crate::config::reader::Reader;
use crate::policy::Plan;
use crate::route::{Access, Methods, Route, Router};

pub(super) fn routes(
    entries: &[&Entry<'_>],
    upstreams: &mut Names<'_>,
    plans: &mut Names<'_>,
    problems: &mut Problems,
) -> Vec<Route> {
    let routes: Vec<Route> = entries.iter().filter_map(|entry| route(entry, upstreams, plans, problems)).collect();
    note_conflicts(&routes, entries, problems);
    routes
}

fn route(
    entry: &Entry<'_>,
    upstreams: &mut Names<'_>,
    plans: &mut Names<'_>,
    problems: &mut Problems,
) -> Option<Route> {
    let reader = Reader::new(&entry.node, entry.at, ROUTE);
    let who = named(&["routes", &entry.name]);
    let upstream =
        reader.text("upstream").and_then(|name| upstreams.resolve(name, reader.at("upstream"), &who, problems));
    for (plan, at) in reader.texts("plans") {
        plans.resolve(plan, at, &who, problems);
    }
    note_idle_conditions(reader, &who, problems);
    Some(Route {
        name: entry.name.parse().ok()?,
        host: reader.parsed("host"),
        path: reader.parsed("path")?,
        methods: Methods::new(reader.texts("methods").into_iter().map(|(method, _)| method)).ok()?,
        // A route that leads nowhere still takes part in the search for conflicts.
        upstream: upstream.unwrap_or_default(),
        access: access(reader)?,
        scopes: sorted(reader.list("scopes")?),
        plans: sorted(reader.list("plans")?),
        cost: reader.integer("cost")?,
        strip_prefix: reader.switch("strip_prefix")?,
        max_body_bytes: reader.size("max_body_bytes"),
        billed: usage::billed(reader),
    })
}

fn access(reader: Reader<'_>) -> Option<Access> {
    Some(match reader.text("access")? {
        "public" => Access::Public,
        _ => Access::Key,
    })
}

/// A public route with conditions on keys is open, which whoever wrote the conditions did not mean.
fn note_idle_conditions(reader: Reader<'_>, who: &str, problems: &mut Problems) {
    if reader.text("access") != Some("public") {
        return;
    }
    for field in ["scopes", "plans", "cost"] {
        if reader.node(field).is_some_and(|node| !node.items().is_empty() || node.scalar().is_some()) {
            let message = format!("{who} is public: nobody is asked for a key, so `{field}` has no effect");
            problems.error(reader.at(field), message, format!("take `{field}` out, or `access: public`"));
        }
    }
}

/// A route that costs more than a limit ever has refuses every key on that plan, which the plan does not show.
pub(super) fn warn_of_costs(routes: &[Route], plans: &[Plan], entries: &[&Entry<'_>], problems: &mut Problems) {
    let marks: HashMap<&str, Mark> = entries.iter().map(|entry| (&*entry.name, entry.at)).collect();
    for route in routes.iter().filter(|route| route.access == Access::Key) {
        let may_use = |plan: &&Plan| route.plans.is_empty() || route.plans.contains(&plan.name);
        for plan in plans.iter().filter(may_use) {
            let too_small = plan.limits.iter().find(|limit| limit.burst() < route.cost);
            let (Some(limit), Some(at)) = (too_small, marks.get(route.name.as_str())) else { continue };
            let message = format!(
                "{} costs {}, which is more than `{}` of {} ever has ({}): it refuses every key on that plan",
                named(&["routes", route.name.as_str()]),
                route.cost,
                limit.name(),
                named(&["plans", plan.name.as_str()]),
                limit.burst()
            );
            problems.warn(*at, message, "lower the cost, raise `burst`, or name the plans of the route in `plans`");
        }
    }
}

fn note_conflicts(routes: &[Route], entries: &[&Entry<'_>], problems: &mut Problems) {
    let conflicts = Router::conflicts(routes);
    if conflicts.is_empty() {
        return;
    }
    let marks: HashMap<&str, Mark> = entries.iter().map(|entry| (&*entry.name, entry.at)).collect();
    for conflict in conflicts {
        let (Some(first), Some(second)) = (marks.get(conflict.first.as_str()), marks.get(conflict.second.as_str()))
        else {
            continue;
        };
        let (one, other) = (named(&["routes", conflict.second.as_str()]), named(&["routes", conflict.first.as_str()]));
        let message = format!("{one} has the same host and path as {other}, and a method in common");
        problems.conflict(
            *second,
            *first,
            message,
            "give them different paths, hosts or methods; GET includes HEAD, and no `methods` means all",
        );
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

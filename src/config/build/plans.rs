//! Plans: named sets of limits.
//!
//! Called by [`super::settings`].

use super::usage;
use crate::config::fields::{LIMIT, PLAN};
use crate::config::node::Entry;
use crate::config::problem::{Problems, named};
use crate::config::reader::Reader;
use crate::limit::{Limit, LimitError, MAX_LIMITS};
use crate::policy::Plan;

pub(super) fn plans(entries: &[&Entry<'_>], problems: &mut Problems) -> Vec<Plan> {
    entries.iter().filter_map(|entry| plan(entry, problems)).collect()
}

fn plan(entry: &Entry<'_>, problems: &mut Problems) -> Option<Plan> {
    let reader = Reader::new(&entry.node, entry.at, PLAN);
    let limits = reader.node("limits").map(|node| node.entries()).unwrap_or_default();
    if limits.len() > MAX_LIMITS {
        let message = format!(
            "{} has {} limits, at most {MAX_LIMITS} are possible",
            named(&["plans", &entry.name]),
            limits.len()
        );
        problems.error(limits[MAX_LIMITS].at, message, "keep the tightest ones; each one costs time on every request");
    }
    // All of them are looked at, for all of their problems; a plan that lost a limit would allow more.
    let limits: Vec<Option<Limit>> = limits.iter().map(|inner| limit(entry, inner, problems)).collect();
    let limits = limits.into_iter().collect::<Option<Vec<Limit>>>()?;
    let quotas = usage::quotas(entry, reader, problems)?;
    let plan = Plan::new(entry.name.parse().ok()?, limits, reader.integer("concurrency")).ok()?;
    Some(Plan { quotas, billed: usage::billed(reader), ..plan })
}

fn limit(plan: &Entry<'_>, entry: &Entry<'_>, problems: &mut Problems) -> Option<Limit> {
    let reader = Reader::new(&entry.node, entry.at, LIMIT);
    let requests: u64 = reader.integer("requests")?;
    let burst = if reader.node("burst").is_some() { reader.integer("burst")? } else { requests };
    match Limit::new(entry.name.parse().ok()?, requests, reader.duration("per")?, burst) {
        Ok(limit) => Some(limit),
        // The bounds of the single values have been checked.
        Err(LimitError::Requests | LimitError::Burst | LimitError::Per) => None,
        Err(error @ (LimitError::TooFast | LimitError::RefillTooLong)) => {
            let who = named(&["plans", &plan.name, "limits", &entry.name]);
            problems.error(entry.at, format!("{who} is out of range: {error}"), "change `requests`, `per` or `burst`");
            None
        }
    }
}

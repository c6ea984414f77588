//! How usage is counted and kept: units, billed answers, quotas, retention.
//!
//! Called by [`super::settings`].

use crate::catalog::Metering;
use crate::config::Usage;
use crate::config::fields::{PLAN, QUOTA, RETENTION, USAGE};
use crate::config::node::Entry;
use crate::config::problem::{Problems, named};
use crate::config::reader::Reader;
use crate::policy::{Period, Quota};
use crate::route::{Billed, Ending};

pub(super) fn usage(root: Reader<'_>) -> Option<Usage> {
    let reader = root.object("usage", USAGE);
    let retention = reader.object("retention", RETENTION);
    Some(Usage {
        sync_interval: reader.duration("sync_interval")?,
        minutes: retention.duration("minutes")?,
        hours: retention.duration("hours")?,
        days: retention.duration("days")?,
    })
}

pub(super) fn metering(root: Reader<'_>) -> Option<Metering> {
    let reader = root.object("usage", USAGE);
    Some(Metering {
        units_header: reader.text("units_header").map(str::to_owned),
        shows_units: reader.switch("show_units")?,
        billed: reader.list::<Ending>("count")?.into_iter().collect(),
    })
}

/// What a route or a plan says of which answers are billed.
pub(super) fn billed(reader: Reader<'_>) -> Option<Billed> {
    reader.node("count")?;
    Some(reader.list::<Ending>("count")?.into_iter().collect())
}

/// A plan's quotas: at most one per period.
pub(super) fn quotas(plan: &Entry<'_>, reader: Reader<'_>, problems: &mut Problems) -> Option<Vec<Quota>> {
    let entries = reader.node("quotas").map(|node| node.entries()).unwrap_or_default();
    let mut quotas: Vec<Quota> = Vec::new();
    for entry in entries {
        let quota = quota(entry)?;
        if quotas.iter().any(|other| other.period == quota.period) {
            let period = quota.period.label();
            let who = named(&["plans", &plan.name, "quotas", &entry.name]);
            let message = format!("{who} is the second quota for a {period}, and a plan has at most one");
            problems.error(entry.at, message, "keep the tighter one");
        }
        quotas.push(quota);
    }
    Some(quotas)
}

fn quota(entry: &Entry<'_>) -> Option<Quota> {
    let reader = Reader::new(&entry.node, entry.at, QUOTA);
    let period = match reader.text("period")? {
        "day" => Period::Day,
        _ => Period::Month,
    };
    Some(Quota { name: entry.name.parse().ok()?, requests: reader.integer("requests")?, period })
}

/// Without a place to keep what was used, every restart would give each quota a second time.
pub(super) fn note_quotas_without_store(root: Reader<'_>, plans: &[&Entry<'_>], problems: &mut Problems) {
    if root.node("data_dir").is_some() || root.node("admin").is_some() {
        return;
    }
    for entry in plans {
        let reader = Reader::new(&entry.node, entry.at, PLAN);
        if reader.node("quotas").is_some_and(|node| !node.entries().is_empty()) {
            let who = named(&["plans", &entry.name]);
            let message = format!("{who} has quotas, but what keys have used of them is kept nowhere");
            problems.error(reader.at("quotas"), message, "name a folder, as in `data_dir: ./data`");
        }
    }
}

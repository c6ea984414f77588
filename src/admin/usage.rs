//! `GET /v1/usage`: what was used, by time and by whatever is asked for; the running minute included.
//!
//! The numbers come from the ledger and the store of usage, which `app` hands over as one function.

#![expect(unused_qualifications, reason = "utoipa's macro repeats its arguments")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Caller;
use super::body;
use super::door::blocking;
use super::keys::{document, limit};
use super::problem::{Code, FieldError, Problem};
use super::values::{self, Faults, shown};
use crate::key::Name;
use crate::meter::ledger::Band;
use crate::store::{Dimension, Step, UsageQuery, UsageReport, UsageRow, Used};
use crate::time::Timestamp;

/// Which usage.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Of this owner alone.
    owner: Option<String>,
    /// Of the key with this id alone.
    key: Option<String>,
    /// On this route alone.
    route: Option<String>,
    /// Under this plan alone.
    plan: Option<String>,
    /// From when on; 60 minutes, 48 hours or 30 days before the end if absent.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Until when; now if absent.
    #[param(format = DateTime)]
    to: Option<String>,
    /// How finely: `minute`, `hour` or `day` of UTC.
    #[param(pattern = "^(minute|hour|day)$", default = "day")]
    by: Option<String>,
    /// What rows are told apart by besides time: some of `key`, `owner`, `plan`, `route`, `class`, with commas between them.
    #[param(pattern = "^((key|owner|plan|route|class)(,(key|owner|plan|route|class))*)?$")]
    group: Option<String>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Rows in the order of time. Times in which nothing was used have none.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    /// Where the time begins that was asked for, in whole steps.
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    by: &'static str,
    rows: Vec<RowBody>,
    /// Of all pages.
    totals: Amounts,
    /// The `cursor` of the next page; null if there is none.
    #[schema(required = true)]
    next: Option<String>,
}

/// What was used in one step of time. Only what rows are told apart by is there.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageRow)]
struct RowBody {
    #[schema(format = DateTime)]
    start: String,
    /// Null: no key was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Option<String>>,
    /// Null: no route was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Option<String>>,
    /// How requests ended: `1xx` to `5xx` for answers of the upstream, `client_gone`, `upstream_failed`, `denied` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// The code of a denial; null for other classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Option<&'static str>>,
    #[serde(flatten)]
    amounts: Amounts,
}

/// How much.
#[derive(Serialize, ToSchema)]
struct Amounts {
    /// All of them, also those that are not billed.
    requests: u64,
    /// What is billed.
    units: u64,
    /// Bytes of bodies from clients.
    bytes_in: u64,
    /// Bytes of bodies to clients.
    bytes_out: u64,
    /// What all requests took together.
    latency_seconds: f64,
    /// How many requests took how long; denied ones count as quick.
    latency: Latency,
}

/// How many requests took how long.
#[derive(Serialize, ToSchema)]
struct Latency {
    under_10ms: u64,
    under_100ms: u64,
    under_1s: u64,
    over_1s: u64,
}

/// Read usage.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(Asked), responses((status = 200, body = Usage)))]
pub(super) async fn usage(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let asked: Asked = body::query(&uri)?;
    let query = query(&asked, &caller)?;
    let report = blocking(api, caller, move |api, _| match &api.parts.usage {
        Some(usage) => Ok(usage(&query).map(|report| Usage::of(report, &query))?),
        None => Err(Problem::new(Code::NotFound, "usage is not kept here")),
    });
    Ok(document(&report.await?))
}

fn query(asked: &Asked, caller: &Caller) -> Result<UsageQuery, Problem> {
    let mut faults = Faults::default();
    let by = faults.take("by", step(asked.by.as_deref().unwrap_or("day")));
    let to = faults.optional("to", asked.to.as_deref(), values::instant);
    let from = faults.optional("from", asked.from.as_deref(), values::instant);
    let group = faults.take("group", dimensions(asked.group.as_deref().unwrap_or_default()));
    let owner = faults.optional("owner", asked.owner.as_deref(), str::parse::<Name>);
    let key = faults.optional("key", asked.key.as_deref(), str::parse);
    let route = faults.optional("route", asked.route.as_deref(), str::parse);
    let plan = faults.optional("plan", asked.plan.as_deref(), str::parse);
    let after = faults.optional("cursor", asked.cursor.as_deref(), str::parse);
    let limit = limit(asked.limit)?;
    let read = (|| {
        let (by, to) = (by?, to?.unwrap_or(caller.now()));
        let from = from?.unwrap_or_else(|| Timestamp::from_unix_ms(to.as_unix_ms() - default_span(by)));
        let (owner, key, route, plan) = (owner?, key?, route?, plan?);
        Some(UsageQuery { from, to, by, owner, key, route, plan, group: group?, after: after?, limit })
    })();
    let mut query = faults.finish(read)?;
    if query.from >= query.to {
        return Err(Problem::invalid(vec![FieldError::new("from", "value", "it is before `to`")]));
    }
    if steps(&query) > MOST_STEPS {
        return Err(Problem::invalid(vec![FieldError::new(
            "by",
            "value",
            "that is too long a time for steps so fine",
        )]));
    }
    match (caller.owner(), &query.owner) {
        (Some(own), Some(other)) if own != other => return Err(Problem::not_found()),
        (Some(own), _) => query.owner = Some(own.clone()),
        (None, _) => {}
    }
    Ok(query)
}

fn step(word: &str) -> Result<Step, &'static str> {
    match word {
        "minute" => Ok(Step::Minute),
        "hour" => Ok(Step::Hour),
        "day" => Ok(Step::Day),
        _ => Err("it is `minute`, `hour` or `day`"),
    }
}

fn dimensions(words: &str) -> Result<BTreeSet<Dimension>, &'static str> {
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(dimension).collect()
}

fn dimension(word: &str) -> Result<Dimension, &'static str> {
    match word {
        "key" => Ok(Dimension::Key),
        "owner" => Ok(Dimension::Owner),
        "plan" => Ok(Dimension::Plan),
        "route" => Ok(Dimension::Route),
        "class" => Ok(Dimension::Class),
        _ => Err("it is some of `key`, `owner`, `plan`, `route`, `class`, with commas between them"),
    }
}

const fn label(by: Step) -> &'static str {
    match by {
        Step::Minute => "minute",
        Step::Hour => "hour",
        Step::Day => "day",
    }
}

const fn step_ms(by: Step) -> i64 {
    match by {
        Step::Minute => 60_000,
        Step::Hour => 3_600_000,
        Step::Day => 86_400_000,
    }
}

const fn default_span(by: Step) -> i64 {
    let steps = match by {
        Step::Minute => 60,
        Step::Hour => 48,
        Step::Day => 30,
    };
    steps * step_ms(by)
}

fn steps(query: &UsageQuery) -> i64 {
    query.to.as_unix_ms().saturating_sub(query.from.as_unix_ms()) / step_ms(query.by)
}

impl Usage {
    fn of(report: UsageReport, query: &UsageQuery) -> Self {
        Self {
            from: shown(report.from),
            to: shown(report.to),
            by: label(query.by),
            rows: report.rows.into_iter().map(|row| RowBody::of(row, &query.group)).collect(),
            totals: Amounts::of(&report.totals),
            next: report.next.map(|next| next.to_string()),
        }
    }
}

impl RowBody {
    fn of(row: UsageRow, group: &BTreeSet<Dimension>) -> Self {
        let name =
            |dimension, name: Option<Name>| group.contains(&dimension).then(|| name.map(|name| name.to_string()));
        Self {
            start: shown(row.start),
            key: group.contains(&Dimension::Key).then(|| row.key.map(|key| key.to_string())),
            owner: name(Dimension::Owner, row.owner),
            plan: name(Dimension::Plan, row.plan),
            route: name(Dimension::Route, row.route),
            class: row.class.map(|class| class.label()),
            code: row.class.map(|class| class.code()),
            amounts: Amounts::of(&row.used),
        }
    }
}

impl Amounts {
    fn of(used: &Used) -> Self {
        let took = |band: Band| used.took[band as usize];
        Self {
            requests: used.requests,
            units: used.units,
            bytes_in: used.bytes_in,
            bytes_out: used.bytes_out,
            latency_seconds: seconds(used.latency),
            latency: Latency {
                under_10ms: took(Band::Under10Ms),
                under_100ms: took(Band::Under100Ms),
                under_1s: took(Band::Under1S),
                over_1s: took(Band::Over1S),
            },
        }
    }
}

/// To the microsecond: more digits tell nothing.
fn seconds(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1e6).round() / 1e6
}

/// Ten years of days, two of hours, a month of minutes.
const MOST_STEPS: i64 = 45_000;

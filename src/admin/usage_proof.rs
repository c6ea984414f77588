//! `GET /v1/usage/proof`: what was sealed day by day, held against what is kept and what sinks have taken.

#![expect(unused_qualifications, reason = "utoipa's macro repeats its arguments")]

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Caller;
use super::body;
use super::door::blocking;
use super::keys::document;
use super::problem::{Code, FieldError, Problem};
use super::values::{self, Faults, shown};
use crate::store::{DayProof, Sealed, SinkProof};
use crate::time::Timestamp;

/// Which days.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// From the day of this time on; 7 days ago if absent.
    #[param(format = DateTime)]
    from: Option<String>,
    /// To the day of this time; today if absent.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// Whether the numbers agree, day by day.
#[derive(Serialize, ToSchema)]
pub(super) struct Proof {
    /// Whether nothing disagrees.
    sound: bool,
    days: Vec<Day>,
}

/// One day of UTC.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageDay)]
struct Day {
    #[schema(format = DateTime)]
    day: String,
    /// What was sealed, noted apart when it was.
    sealed: Sums,
    /// What the minutes come to; null if not all of them are kept any more.
    #[schema(required = true)]
    minutes: Option<Sums>,
    /// What the hours come to; null if not all are kept, or not all folded.
    #[schema(required = true)]
    hours: Option<Sums>,
    /// What the day comes to; null if it is not kept any more, or not folded.
    #[schema(required = true)]
    days: Option<Sums>,
    sinks: Vec<SinkDay>,
    /// What does not agree, in words.
    faults: Vec<String>,
}

/// What some rows come to.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageSums)]
struct Sums {
    rows: u64,
    requests: u64,
    units: u64,
}

/// Where the buckets of a day are on their way to a sink.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageSinkDay)]
struct SinkDay {
    sink: String,
    /// From before there was the sink.
    earlier: u64,
    acknowledged: u64,
    waiting: u64,
    set_aside: u64,
    /// Deleted before the sink had taken them.
    overrun: u64,
}

/// Prove usage.
///
/// Sealed usage only: the running minute comes into it when it is over.
#[utoipa::path(get, path = "/v1/usage/proof", tag = "usage", params(Asked), responses((status = 200, body = Proof)))]
pub(super) async fn proof(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let asked: Asked = body::query(&uri)?;
    let mut faults = Faults::default();
    let to = faults.optional("to", asked.to.as_deref(), values::instant);
    let from = faults.optional("from", asked.from.as_deref(), values::instant);
    let now = caller.now();
    let time = to.zip(from).map(|(to, from)| {
        let to = to.unwrap_or(now);
        (from.unwrap_or_else(|| Timestamp::from_unix_ms(to.as_unix_ms() - WEEK_MS)), to)
    });
    let (from, to) = faults.finish(time)?;
    if from > to || to.as_unix_ms().saturating_sub(from.as_unix_ms()) > LONGEST_MS {
        return Err(Problem::invalid(vec![FieldError::new("from", "value", "it is before `to`, by 400 days at most")]));
    }
    let days = blocking(api, caller, move |api, _| match &api.parts.usage_proof {
        Some(proof) => Ok(proof(from, to)?),
        None => Err(Problem::new(Code::NotFound, "usage is not kept here")),
    });
    let days: Vec<Day> = days.await?.into_iter().map(Day::from).collect();
    Ok(document(&Proof { sound: days.iter().all(|day| day.faults.is_empty()), days }))
}

impl From<DayProof> for Day {
    fn from(proof: DayProof) -> Self {
        let DayProof { day, sealed, minutes, hours, days, sinks, faults } = proof;
        Self {
            day: shown(day),
            sealed: sealed.into(),
            minutes: minutes.map(Sums::from),
            hours: hours.map(Sums::from),
            days: days.map(Sums::from),
            sinks: sinks.into_iter().map(SinkDay::from).collect(),
            faults,
        }
    }
}

impl From<Sealed> for Sums {
    fn from(sealed: Sealed) -> Self {
        let Sealed { buckets, requests, units } = sealed;
        Self { rows: buckets, requests, units }
    }
}

impl From<SinkProof> for SinkDay {
    fn from(proof: SinkProof) -> Self {
        let SinkProof { sink, earlier, acknowledged, waiting, set_aside, overrun } = proof;
        Self { sink, earlier, acknowledged, waiting, set_aside, overrun }
    }
}

const WEEK_MS: i64 = 7 * 86_400_000;
const LONGEST_MS: i64 = 400 * 86_400_000;

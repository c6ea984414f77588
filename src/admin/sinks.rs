//! `GET /v1/sinks`, and `POST /v1/sinks/{name}/pause` and `/resume`: how usage gets elsewhere, and whether it does.
//!
//! A pause is of the running sink: it ends with the process, and when the file changes the sink.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::door::blocking;
use super::keys::document;
use super::problem::{Code, Problem};
use super::values::shown;
use crate::sink;
use crate::store::{Action, Event};
use crate::time::Timestamp;

/// The sinks of a running gateway. Both functions block.
pub struct Sinks {
    /// What each queue of each sink is doing, sink by sink.
    pub statuses: Box<dyn Fn() -> Vec<sink::Status> + Send + Sync>,
    /// Has the sink of this name wait or go on; nothing happens if there is none.
    pub switch: Box<dyn Fn(&str, Switch) + Send + Sync>,
}

/// What a sink is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// To end the batch at hand and wait.
    Pause,
    /// To go on, at once even after failures.
    Resume,
}

/// All sinks that run.
#[derive(Serialize, ToSchema)]
#[schema(as = Sinks)]
pub(super) struct SinkList {
    sinks: Vec<SinkBody>,
}

/// A sink after it was told something.
#[derive(Serialize, ToSchema)]
pub(super) struct SinkSwitched {
    sink: SinkBody,
}

/// A place that usage is sent to.
#[derive(Serialize, ToSchema)]
#[schema(as = Sink)]
struct SinkBody {
    name: String,
    /// `file`, `http`, `stripe` or `webhook`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Whether it is told to wait; it ends the batch at hand first.
    paused: bool,
    /// Whether somebody has to see to it.
    alarm: bool,
    queues: Vec<SinkQueue>,
}

/// A queue on its way to a sink.
#[derive(Serialize, ToSchema)]
struct SinkQueue {
    /// `usage` or `events`.
    queue: &'static str,
    #[schema(pattern = "^(sending|idle|retrying|paused|ended)$")]
    state: &'static str,
    /// What becomes of something that is sent twice.
    #[schema(pattern = "^(upserts|removes_duplicates|at_least_once)$")]
    guarantee: &'static str,
    /// How many wait; null: the queue cannot be read.
    #[schema(required = true)]
    waiting: Option<u64>,
    /// Age of the oldest that waits.
    lag_seconds: f64,
    /// How many will not be sent any more, of those that are kept.
    #[schema(required = true)]
    set_aside: Option<u64>,
    /// Since the start.
    taken: u64,
    /// Batches with trouble since the start.
    failures: u64,
    /// What the last batch met with; null if it went well.
    #[schema(required = true)]
    trouble: Option<SinkTrouble>,
}

/// Why a sink did not take a batch.
#[derive(Serialize, ToSchema)]
struct SinkTrouble {
    #[schema(format = DateTime)]
    at: String,
    /// For programs, such as `unreachable` or `credentials`.
    kind: &'static str,
    /// For people.
    detail: String,
}

/// List the sinks of usage.
#[utoipa::path(get, path = "/v1/sinks", tag = "usage", responses((status = 200, body = SinkList)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let listed = blocking(api, caller, |api, caller| {
        let statuses = (kept(api)?.statuses)();
        let sinks = statuses.chunk_by(|one, next| one.sink == next.sink);
        Ok(SinkList { sinks: sinks.map(|of_one| SinkBody::of(of_one, caller.now())).collect() })
    });
    Ok(document(&listed.await?))
}

/// Have a sink wait.
///
/// It ends the batch at hand. What comes meanwhile waits for it. The pause ends with the process, and when the file changes the sink.
#[utoipa::path(post, path = "/v1/sinks/{name}/pause", tag = "usage",
    params(("name" = String, Path, description = "Its name in the file")), responses((status = 200, body = SinkSwitched)))]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let told = blocking(api, caller, move |api, caller| switched(api, caller, &name, Switch::Pause));
    Ok(document(&told.await?))
}

/// Have a sink go on.
///
/// At once: one that is waiting after a failure tries again.
#[utoipa::path(post, path = "/v1/sinks/{name}/resume", tag = "usage",
    params(("name" = String, Path, description = "Its name in the file")), responses((status = 200, body = SinkSwitched)))]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let told = blocking(api, caller, move |api, caller| switched(api, caller, &name, Switch::Resume));
    Ok(document(&told.await?))
}

fn switched(api: &Api, caller: &Caller, name: &str, to: Switch) -> Result<SinkSwitched, Problem> {
    let sinks = kept(api)?;
    let of_it = || -> Vec<sink::Status> {
        let all = (sinks.statuses)();
        all.into_iter().filter(|status| status.sink.as_str() == name).collect()
    };
    if of_it().is_empty() {
        return Err(Problem::not_found());
    }
    let action = match to {
        Switch::Pause => Action::SinkPause,
        Switch::Resume => Action::SinkResume,
    };
    let event = Event { action, target: Some(name.to_owned()), origin: caller.origin() };
    api.parts.follower.store().record_event(event)?;
    (sinks.switch)(name, to);
    // A reload may have taken it away meanwhile.
    let after = of_it();
    if after.is_empty() {
        Err(Problem::not_found())
    } else {
        Ok(SinkSwitched { sink: SinkBody::of(&after, caller.now()) })
    }
}

fn kept(api: &Api) -> Result<&Sinks, Problem> {
    api.parts.sinks.as_ref().ok_or_else(|| Problem::new(Code::NotFound, "usage is not kept here"))
}

impl SinkBody {
    /// Of all queues of a sink, of which there is at least one.
    fn of(queues: &[sink::Status], now: Timestamp) -> Self {
        Self {
            name: queues[0].sink.to_string(),
            kind: queues[0].kind,
            paused: queues.iter().any(|queue| queue.is_paused),
            alarm: queues.iter().any(sink::Status::is_alarming),
            queues: queues.iter().map(|queue| SinkQueue::of(queue, now)).collect(),
        }
    }
}

impl SinkQueue {
    fn of(status: &sink::Status, now: Timestamp) -> Self {
        let backlog = status.backlog;
        let oldest = backlog.and_then(|backlog| backlog.oldest);
        let lag_ms = oldest.map_or(0, |oldest| now.as_unix_ms().saturating_sub(oldest.as_unix_ms()).max(0));
        let trouble = status.tally.trouble.as_ref();
        Self {
            queue: status.queue.label(),
            state: status.state.label(),
            guarantee: status.guarantee.label(),
            waiting: backlog.map(|backlog| backlog.waiting),
            lag_seconds: lag_ms as f64 / 1000.0,
            set_aside: backlog.map(|backlog| backlog.set_aside),
            taken: status.tally.taken,
            failures: status.tally.failures,
            trouble: trouble.map(|(at, trouble)| SinkTrouble {
                at: shown(*at),
                kind: trouble.kind.label(),
                detail: trouble.words.clone(),
            }),
        }
    }
}

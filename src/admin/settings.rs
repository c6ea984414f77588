//! The calls about the program itself: have the file loaded again or checked, and how it goes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::door::blocking;
use super::keys::document;
use super::problem::{FieldError, Problem};
use super::values::shown;
use crate::catalog::Follower;
use crate::key::State as KeyState;
use crate::operations::Reload;
use crate::store::StoreError;
use crate::telemetry::redact;
use crate::time::Timestamp;

/// The file is in force.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// Counts the configurations that were in force.
    generation: u64,
}

/// What is wrong with the file.
#[derive(Serialize, ToSchema)]
pub(super) struct Checked {
    problems: Vec<String>,
}

/// How it goes.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    version: &'static str,
    /// The last change of a key or token that is in force.
    revision: u64,
    /// Counts the configurations that were in force.
    generation: u64,
    keys: KeyCounts,
    /// `ok`, or what is wrong.
    store: String,
    #[schema(required = true)]
    last_reload: Option<LastReload>,
}

/// Keys in force by state.
#[derive(Serialize, ToSchema)]
struct KeyCounts {
    active: usize,
    disabled: usize,
    revoked: usize,
}

/// The last time that the file was loaded.
#[derive(Serialize, ToSchema)]
struct LastReload {
    #[schema(format = DateTime)]
    time: String,
    /// `applied` or `refused`.
    result: &'static str,
    /// The first problem, if it was refused.
    #[schema(required = true)]
    problem: Option<String>,
}

/// Load the configuration file again.
///
/// Answers when it is in force. A file with problems changes nothing: all of them are told.
#[utoipa::path(post, path = "/v1/reload", tag = "gateway", responses((status = 200, body = Reloaded)))]
pub(super) async fn reload(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    caller.check(&api)?;
    let (tell, told) = oneshot::channel();
    api.parts.reload.send(tell).await.map_err(|_| Problem::internal())?;
    match told.await.map_err(|_| Problem::internal())? {
        Ok(generation) => Ok(document(&Reloaded { generation })),
        Err(problems) => Err(Problem::invalid(problems.iter().map(|problem| file_error(problem)).collect())),
    }
}

/// Check the configuration file as it is on disk.
#[utoipa::path(post, path = "/v1/config/check", tag = "gateway", responses((status = 200, body = Checked)))]
pub(super) async fn check(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let problems = blocking(api, caller, |api, _| Ok((api.parts.check)())).await?;
    Ok(document(&Checked { problems }))
}

/// Show how it goes.
#[utoipa::path(get, path = "/v1/status", tag = "gateway", responses((status = 200, body = Status)))]
pub(super) async fn status(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let status = blocking(api, caller, |api, _| {
        let follower = &api.parts.follower;
        let count = |state| follower.catalog().keys().count(state);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            revision: follower.revision().0,
            generation: follower.catalog().generation(),
            keys: KeyCounts {
                active: count(KeyState::Active),
                disabled: count(KeyState::Disabled),
                revoked: count(KeyState::Revoked),
            },
            store: health(follower),
            last_reload: api.parts.state.last_reload().map(LastReload::from),
        })
    });
    Ok(document(&status.await?))
}

/// Whether the store can be read.
fn health(follower: &Follower) -> String {
    let word = match follower.store().audit(0, 1) {
        Ok(_) if follower.unreadable() == 0 => "ok",
        Err(StoreError::Failed(_)) => "the store cannot be read; the gateway's log says more",
        Ok(_) | Err(StoreError::Corrupt { .. }) => "the store is damaged: it needs a backup, or a newer program",
        Err(StoreError::Closed) => "the store is closed",
    };
    word.to_owned()
}

/// A problem of the file, which begins with `file:line:column` if it has a place.
fn file_error(problem: &str) -> FieldError {
    let is_place = |place: &str| {
        let mut numbers = place.rsplitn(3, ':');
        let are_numbers = numbers.by_ref().take(2).all(|number| number.parse::<u32>().is_ok());
        are_numbers && numbers.next().is_some()
    };
    match problem.split_once(' ').map(|(place, detail)| (place.trim_end_matches(':'), detail)) {
        Some((place, detail)) if is_place(place) => FieldError::new(place, "file", detail),
        _ => FieldError::new("", "file", problem),
    }
}

impl From<(Timestamp, Reload)> for LastReload {
    fn from((at, reload): (Timestamp, Reload)) -> Self {
        let (result, problem) = match reload {
            Reload::Applied { .. } => ("applied", None),
            Reload::Refused { problem } => ("refused", Some(redact(&problem).into_owned())),
        };
        Self { time: shown(at), result, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_the_file_tells_its_place() {
        let check = |problem: &str, field: &str, detail: &str| {
            assert_eq!(file_error(problem), FieldError::new(field, "file", detail));
        };
        check("k.yaml:3:7: no such plan: x", "k.yaml:3:7", "no such plan: x");
        check("k.yaml:3:7 error: no such plan", "k.yaml:3:7", "error: no such plan");
        check("cannot read k.yaml: gone", "", "cannot read k.yaml: gone");
    }
}

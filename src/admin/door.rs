//! The door: what every request passes before its handler, and every answer on its way out.
//!
//! In this order: no web page of another origin; a valid token or session; a role that may; a time limit; and when the body is there, a
//! free place among those that are worked on. Every answer has a request id of ours, and says that it is not to be kept.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts as Head;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Api;
use super::auth::{self, Caller};
use super::problem::{Code, Problem};
use super::roles::{self, Grant};
use super::site;
use crate::policy::canonical;
use crate::store::{Actor, Origin};
use crate::time::{self, Timestamp};

/// One request: from where, when, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) remote: Option<IpAddr>,
    pub(super) at: Timestamp,
    pub(super) request_id: Arc<str>,
}

impl Visit {
    fn of(request: &Request) -> Result<Self, getrandom::Error> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Ok(Self {
            remote: peer.map(|ConnectInfo(peer)| canonical(peer.ip())),
            at: time::wall(time::now()),
            request_id: request_id()?,
        })
    }

    pub(super) fn origin(&self, actor: Actor) -> Origin {
        Origin { at: self.at, actor, remote: self.remote, request_id: Some(self.request_id.to_string()) }
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Problem> {
        // Without one the door was not passed.
        head.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn pass(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Ok(visit) = Visit::of(&request) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let answer = answer(&api, &visit, request, next).await.unwrap_or_else(Problem::into_response);
    finished(answer, &visit.request_id)
}

/// Work that blocks, on a thread of its own: once there is a free place, and if the caller's token still lets it in.
///
/// For when the request has arrived whole.
pub(super) async fn blocking<T: Send + 'static>(
    api: Arc<Api>,
    caller: Caller,
    work: impl FnOnce(&Api, &Caller) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = timeout(api.parts.limits.queue_time, api.places.take(&caller.role));
    let place = turn.await.map_err(|_| busy())?;
    let checked = move || {
        // Held by the work, also when nobody waits for its answer any more.
        let _place = place;
        caller.check(&api).and_then(|()| work(&api, &caller))
    };
    spawn_blocking(checked).await.unwrap_or_else(|_| Err(Problem::internal()))
}

async fn answer(api: &Arc<Api>, visit: &Visit, mut request: Request, next: Next) -> Result<Response, Problem> {
    site::check_origin(api.public_url(), request.headers())?;
    if needs_token(&request) {
        let caller = auth::login(api, request.method(), request.headers(), visit)?;
        check_role(api, &caller, &request)?;
        api.changes.check(&caller, request.method(), request.uri().path())?;
        request.extensions_mut().insert(caller);
    }
    request.extensions_mut().insert(visit.clone());
    timeout(api.parts.limits.request_time, next.run(request)).await.map_err(|_| too_slow())
}

/// Whether it is for the API, save for what is open to everybody.
fn needs_token(request: &Request) -> bool {
    let path = request.uri().path();
    let of_api = path == "/v1" || path.starts_with("/v1/") || path.starts_with("/v1:");
    let matched = request.extensions().get::<MatchedPath>();
    (of_api || matched.is_some()) && !roles::is_open(request.method(), path)
}

fn check_role(api: &Arc<Api>, caller: &Caller, request: &Request) -> Result<(), Problem> {
    let Some(matched) = request.extensions().get::<MatchedPath>() else { return Ok(()) };
    match roles::grant(&caller.role, request.method(), matched.as_str()) {
        Some(Grant::All | Grant::Own) => Ok(()),
        Some(Grant::No) => Err(auth::denied(api, caller)),
        None => Err(no_such_call().allowing(&roles::methods(matched.as_str()))),
    }
}

/// The answer with what all of them carry. A refusal without words gets some.
fn finished(answer: Response, request_id: &str) -> Response {
    let problem = answer.extensions().get::<Problem>().cloned().or_else(|| unworded(answer.status()));
    let mut answer = problem.map_or(answer, |problem| problem.answer(request_id));
    let fields = answer.headers_mut();
    for (name, value) in GUARDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields.insert(X_REQUEST_ID, HeaderValue::from_str(request_id).expect("a UUID is a field value"));
    answer
}

/// Of refusals that the framework makes.
fn unworded(status: StatusCode) -> Option<Problem> {
    match status {
        StatusCode::NOT_FOUND => Some(Problem::new(Code::NotFound, "there is nothing at this address")),
        StatusCode::METHOD_NOT_ALLOWED => Some(no_such_call()),
        status if status.is_client_error() => Some(Problem::new(Code::Malformed, "the request cannot be read")),
        status if status.is_server_error() => Some(Problem::internal()),
        _ => None,
    }
}

fn no_such_call() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this address does not take this method: see `Allow`")
}

fn busy() -> Problem {
    Problem::new(Code::Unavailable, "too much is being done at once, and nothing was changed: try again").retry_after(1)
}

fn too_slow() -> Problem {
    let detail =
        "this took too long; a change may have been made or not: look, or ask again with the same Idempotency-Key";
    Problem::new(Code::Timeout, detail)
}

/// 128 random bits in the form of a UUID.
fn request_id() -> Result<Arc<str>, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-").into())
}

/// What every answer carries: it is not kept, and nothing but the page of the console can do anything with it.
const GUARDS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

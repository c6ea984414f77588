//! The door: what every request passes before its handler, and every answer on its way out.
//!
//! In this order: no web page of another origin; a valid token; a role that may; a time limit; and when the body is there, a
//! free place among those that are worked on. Every answer has a request id of ours, and says that it is not to be kept.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Api;
use super::auth::{self, Caller};
use super::problem::{Code, Problem};
use super::roles::{self, Grant};
use crate::policy::canonical;
use crate::store::{Actor, Origin, Token};
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
    check_origin(request.headers())?;
    if needs_token(&request) {
        let token = auth::login(api, request.headers(), visit)?;
        check_role(api, &token, &request, visit)?;
        api.changes.check(&token, request.method(), request.uri().path())?;
        request.extensions_mut().insert(Caller::new(token, visit.clone()));
    }
    timeout(api.parts.limits.request_time, next.run(request)).await.map_err(|_| too_slow())
}

/// Whether it is for the API, save for the description of the API.
fn needs_token(request: &Request) -> bool {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let of_api = path == "/v1" || path.starts_with("/v1/") || path.starts_with("/v1:");
    let matched = request.extensions().get::<MatchedPath>();
    (of_api || matched.is_some()) && !(path == roles::OPEN && is_read)
}

fn check_role(api: &Arc<Api>, token: &Token, request: &Request, visit: &Visit) -> Result<(), Problem> {
    let Some(matched) = request.extensions().get::<MatchedPath>() else { return Ok(()) };
    match roles::grant(&token.role, request.method(), matched.as_str()) {
        Some(Grant::All | Grant::Own) => Ok(()),
        Some(Grant::No) => Err(auth::denied(api, token, visit)),
        None => Err(no_such_call().allowing(&roles::methods(matched.as_str()))),
    }
}

/// A browser says where its page is from; no page but those of this listener has any business here.
///
/// Tokens are never sent by browsers on their own, so this is a second line: it also holds against names that are rebound to
/// this address, unless page and listener share the name.
fn check_origin(fields: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = fields.get(header::ORIGIN) else { return Ok(()) };
    let host = fields.get(header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let named = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    if named.is_some() && named == host {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "requests from pages of other origins are refused"))
}

/// The answer with what all of them carry. A refusal without words gets some.
fn finished(answer: Response, request_id: &str) -> Response {
    let problem = answer.extensions().get::<Problem>().cloned().or_else(|| unworded(answer.status()));
    let mut answer = problem.map_or(answer, |problem| problem.answer(request_id));
    let fields = answer.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

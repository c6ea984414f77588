//! The calls about single keys and lists of them.
//!
//! A handler reads what the request brings and gives the work to a thread that may block; the work is in [`super::create`],
//! [`super::change`], [`super::list`] and [`super::verify`].

#![expect(unused_qualifications, reason = "utoipa's macro repeats its arguments")]

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::auth::Caller;
use super::body::{self, Condition};
use super::change::{self, Changed};
use super::create;
use super::door::blocking;
use super::idempotency::{Answered, Named, json};
use super::list::{self, Page};
use super::problem::{Code, Problem};
use super::sources::Shown;
use super::wire::{Create, KeyAnswer, KeyBody, KeyChanged, KeyPage, KeySecret, Patch, Rotate, StateWord};
use crate::key;
use crate::store::{Action, Filter, Revision};

/// Which keys are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Of this owner.
    #[param(min_length = 1, max_length = 128, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    owner: Option<String>,
    /// On this plan.
    #[param(min_length = 1, max_length = 128, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    plan: Option<String>,
    /// In this state.
    #[param(inline)]
    state: Option<StateWord>,
    /// With this text in the id or the name.
    q: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Make a key.
///
/// The secret is in this answer and nowhere else. With an `Idempotency-Key` the call can be repeated within 24 hours: the
/// repetition changes nothing and tells the key, not the secret.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = Create,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128, pattern = "^[!-~]+$")),
    responses((status = 201, body = KeySecret, headers(
        ("ETag" = String, description = "The revision, for `If-Match`"),
        ("Location" = String, description = "The address of the key"),
        ("Idempotent-Replayed" = Option<String>, description = "`true` if this is a repetition")))))]
pub(super) async fn create(State(api): State<Arc<Api>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (fields, uri) = (request.headers().clone(), request.uri().clone());
    let (asked, bytes) = body::json::<Create>(request, api.parts.limits.body_bytes).await?;
    let named = Named::of(&fields, &uri, &bytes)?;
    let answered =
        blocking(api, caller, move |api, caller| create::create(api, caller, &asked, named.as_ref())).await?;
    let location = HeaderValue::from_str(&format!("/v1/keys/{}", answered.id)).map_err(|_| Problem::internal())?;
    Ok(([(header::LOCATION, location)], secret_answer(answered)).into_response())
}

/// List keys.
///
/// In the order of ids; those of the store and of the file.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(ListQuery), responses((status = 200, body = KeyPage)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let asked: ListQuery = body::query(&uri)?;
    let limit = limit(asked.limit)?;
    let Some(filter) = filter(&asked, &caller)? else {
        return Ok(document(&KeyPage { keys: Vec::new(), next: None }));
    };
    let after = asked.cursor.as_deref().map(of_cursor).transpose()?;
    let page = blocking(api, caller, move |api, caller| list::page(api, caller, &filter, after, limit)).await?;
    let Page { keys, next } = page;
    let next = next.map(|id| cursor(id.as_str()));
    Ok(document(&KeyPage { keys: keys.iter().map(KeyBody::from).collect(), next }))
}

/// Show a key.
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = KeyAnswer, headers(("ETag" = Option<String>, description = "The revision, for `If-Match`; not for keys of the file")))))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let shown = blocking(api, caller, move |api, caller| Ok(api.show(&api.found(caller, &id)?, caller.now()))).await?;
    Ok(tagged(shown.revision, document(&KeyAnswer { key: KeyBody::from(&shown) })))
}

/// Change a key.
///
/// What is absent stays, null clears, a value sets.
#[utoipa::path(patch, path = "/v1/keys/{id}", tag = "keys", request_body = Patch,
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = KeyChanged)))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let condition = body::condition(request.headers());
    let (asked, _) = body::json::<Patch>(request, api.parts.limits.body_bytes).await?;
    let changed = blocking(api, caller, move |api, caller| change::patch(api, caller, &id, &asked, &condition)).await?;
    Ok(changed_answer(&changed))
}

/// Revoke a key, for ever.
///
/// The next request with it is refused. Also for keys of the file. If it is revoked already, nothing changes.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = KeyChanged)))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let condition = body::condition(&fields);
    let changed = blocking(api, caller, move |api, caller| change::revoke(api, caller, &id, &condition)).await?;
    Ok(changed_answer(&changed))
}

/// Revoke a key, for ever.
///
/// The same as DELETE.
#[utoipa::path(post, path = "/v1/keys/{id}/revoke", tag = "keys",
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = KeyChanged)))]
pub(super) async fn revoke(
    state: State<Arc<Api>>,
    caller: Caller,
    id: Path<String>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    delete(state, caller, id, fields).await
}

/// Disable a key until it is enabled again.
#[utoipa::path(post, path = "/v1/keys/{id}/disable", tag = "keys",
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = KeyChanged)))]
pub(super) async fn disable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    switch(api, caller, id, fields, (key::State::Disabled, Action::KeyDisable)).await
}

/// Enable a disabled key.
#[utoipa::path(post, path = "/v1/keys/{id}/enable", tag = "keys",
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = KeyChanged)))]
pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    switch(api, caller, id, fields, (key::State::Active, Action::KeyEnable)).await
}

/// Give a key a new secret.
///
/// The present secret stays valid for the grace, so that clients can be moved over; with a grace of `0s` it ends at once. At
/// most two secrets live: a rotation during a rotation ends the older one at once.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", tag = "keys", request_body(content = Option<Rotate>),
    params(("id" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128, pattern = "^[!-~]+$")),
    responses((status = 200, body = KeySecret)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (fields, uri) = (request.headers().clone(), request.uri().clone());
    let condition = body::condition(&fields);
    let (asked, bytes) = body::optional_json::<Rotate>(request, api.parts.limits.body_bytes).await?;
    let named = Named::of(&fields, &uri, &bytes)?;
    let answered =
        blocking(api, caller, move |api, caller| change::rotate(api, caller, &id, &asked, &condition, named.as_ref()));
    Ok(secret_answer(answered.await?))
}

/// A document as an answer.
pub(super) fn document(document: &impl serde::Serialize) -> Response {
    ([(header::CONTENT_TYPE, JSON)], json(document)).into_response()
}

async fn switch(
    api: Arc<Api>,
    caller: Caller,
    id: String,
    fields: HeaderMap,
    (to, action): (key::State, Action),
) -> Result<Response, Problem> {
    let condition: Condition = body::condition(&fields);
    let work = move |api: &Api, caller: &Caller| change::switch(api, caller, &id, to, action, &condition);
    Ok(changed_answer(&blocking(api, caller, work).await?))
}

fn changed_answer(Changed { key, revision }: &Changed) -> Response {
    let Shown { revision: of_key, .. } = key;
    tagged(*of_key, document(&KeyChanged { key: KeyBody::from(key), revision: revision.0 }))
}

fn secret_answer(answered: Answered) -> Response {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    let mut response = (status, [(header::CONTENT_TYPE, JSON)], answered.body).into_response();
    if answered.is_repeated {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    tagged(Some(answered.revision), response)
}

fn tagged(revision: Option<Revision>, mut response: Response) -> Response {
    let tag = revision.and_then(|revision| HeaderValue::from_str(&format!("\"{revision}\"")).ok());
    tag.map(|tag| response.headers_mut().insert(header::ETAG, tag));
    response
}

/// What the list is about; none: about nothing that there could be.
fn filter(asked: &ListQuery, caller: &Caller) -> Result<Option<Filter>, Problem> {
    let name = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
    let malformed = |error: key::TextError| Problem::new(Code::Malformed, format!("`owner` and `plan`: {error}"));
    let asked_owner = name(&asked.owner).map_err(malformed)?;
    let plan = name(&asked.plan).map_err(malformed)?;
    let owner = match (caller.owner(), asked_owner) {
        (Some(own), Some(asked)) if asked != *own => return Ok(None),
        (Some(own), _) => Some(own.clone()),
        (None, asked) => asked,
    };
    Ok(Some(Filter { owner, plan, state: asked.state.map(key::State::from), text: asked.q.clone() }))
}

/// How many rows a page has.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MOST_LIMIT => Ok(limit),
        _ => Err(Problem::new(Code::Malformed, "a `limit` is from 1 to 1000")),
    }
}

/// Where the page after the one that ends with this id begins.
pub(super) fn cursor(id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id)
}

/// The id that the page before ended with.
pub(super) fn of_cursor<T: FromStr>(cursor: &str) -> Result<T, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
    id.ok_or_else(|| Problem::new(Code::Malformed, "the cursor is not one that a page ended with"))
}

const JSON: &str = "application/json";
const DEFAULT_LIMIT: usize = 100;
const MOST_LIMIT: usize = 1000;
const REPEATED: HeaderName = HeaderName::from_static("idempotent-replayed");

//! The calls about admin tokens.
//!
//! A token is shown once, when it is made; kept is its SHA-256. Only operators come here.

#![expect(unused_qualifications, reason = "utoipa's macro repeats its arguments")]

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Caller;
use super::body;
use super::door::blocking;
use super::idempotency::json;
use super::keys::{cursor, document, limit, of_cursor};
use super::problem::Problem;
use super::values::{self, Faults, shown};
use crate::key::{Digest, TokenId, generate_token};
use crate::store::{Action, Change, CommitError, Expect, Refusal, Role, Token};
use crate::telemetry::log;
use crate::time::Timestamp;

/// A token to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenCreate {
    /// Free text; the role if absent.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// `operator`, `viewer` or `owner:NAME`.
    #[schema(pattern = "^(operator|viewer|owner:[!-~]([ -~]{0,126}[!-~])?)$", example = "viewer")]
    role: String,
    /// A time, or a duration from now such as `90d`.
    #[schema(
        pattern = "^([0-9]{1,9}(ms|s|m|h)|[0-9]{1,5}d|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$"
    )]
    expires: Option<String>,
}

/// A token, without itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenBody {
    #[schema(example = "tok_0123456789abcdef")]
    id: String,
    name: String,
    role: String,
    #[schema(format = DateTime)]
    created: String,
    #[schema(required = true, format = DateTime)]
    expires: Option<String>,
    #[schema(required = true, format = DateTime)]
    revoked: Option<String>,
}

/// A new token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenMade {
    id: String,
    /// Shown this once.
    secret: String,
    token: TokenBody,
    revision: u64,
}

/// A token after a change.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenChanged {
    token: TokenBody,
    revision: u64,
}

/// Some tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPage {
    tokens: Vec<TokenBody>,
    /// The `cursor` of the next page; none: there is none.
    #[schema(required = true)]
    next: Option<String>,
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Make a token.
///
/// The token is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenCreate, responses((status = 201, body = TokenMade)))]
pub(super) async fn create(State(api): State<Arc<Api>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (asked, _) = body::json::<TokenCreate>(request, api.parts.limits.body_bytes).await?;
    let made = blocking(api, caller, move |api, caller| made(api, caller, &asked)).await?;
    Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], json(&made)).into_response())
}

/// List tokens.
///
/// In the order of ids, also those that are revoked or have expired.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(TokenQuery), responses((status = 200, body = TokenPage)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let asked: TokenQuery = body::query(&uri)?;
    let limit = limit(asked.limit)?;
    let after = asked.cursor.as_deref().map(of_cursor).transpose()?;
    // One more than asked for tells whether there is another page.
    let listed = move |api: &Api, _: &Caller| Ok(api.parts.follower.store().tokens(after.as_ref(), limit + 1)?);
    let mut tokens = blocking(api, caller, listed).await?;
    let is_last = tokens.len() <= limit;
    tokens.truncate(limit);
    let next = tokens.last().filter(|_| !is_last).map(|(_, token)| cursor(token.id.as_str()));
    Ok(document(&TokenPage { tokens: tokens.iter().map(|(_, token)| token.into()).collect(), next }))
}

/// Revoke a token, for ever.
///
/// If it is revoked already, nothing changes.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = TokenChanged)))]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(document(&blocking(api, caller, move |api, caller| revoked(api, caller, &id)).await?))
}

fn made(api: &Api, caller: &Caller, asked: &TokenCreate) -> Result<TokenMade, Problem> {
    let now = caller.now();
    let mut faults = Faults::default();
    let role = faults.take("role", asked.role.parse::<Role>());
    let name = faults.take("name", values::title(asked.name.as_deref().unwrap_or(&asked.role)));
    let expires = faults.optional("expires", asked.expires.as_deref(), |text| values::end(text, now));
    if expires.flatten().is_some_and(|end| end <= now) {
        faults.note("expires", "value", "it lies in the past");
    }
    let (role, name, expires) = faults.finish((|| Some((role?, name?, expires?)))())?;
    let (id, secret) = TokenId::generate().and_then(|id| Ok((id, generate_token()?))).map_err(|error| {
        log::error("no token can be made", &[("error", &error)]);
        Problem::internal()
    })?;
    let digest = Digest::of(secret.expose().as_bytes());
    let token = Token { id: id.clone(), name, digest, role, created: now, expires, revoked: None };
    let body = TokenBody::from(&token);
    let revision = api.commit(caller, Change::PutToken(token), Expect::Absent, Action::TokenCreate, None)?;
    Ok(TokenMade { id: id.to_string(), secret: secret.expose().to_owned(), token: body, revision: revision.0 })
}

fn revoked(api: &Api, caller: &Caller, id: &str) -> Result<TokenChanged, Problem> {
    let id: TokenId = id.parse().map_err(|_| Problem::not_found())?;
    let change = Change::RevokeToken(id.clone());
    match api.commit(caller, change, Expect::Anything, Action::TokenRevoke, None) {
        Ok(_) | Err(CommitError::Refused { refusal: Refusal::Revoked, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (revision, token) = api.parts.follower.store().token(&id)?.ok_or_else(Problem::not_found)?;
    Ok(TokenChanged { token: (&token).into(), revision: revision.0 })
}

impl From<&Token> for TokenBody {
    fn from(token: &Token) -> Self {
        let text = |at: Option<Timestamp>| at.map(shown);
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            role: token.role.to_string(),
            created: shown(token.created),
            expires: text(token.expires),
            revoked: text(token.revoked),
        }
    }
}

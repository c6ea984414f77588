//! `POST /v1/explain`: what the data plane would do with a request, and why.
//!
//! The answer comes from the data plane's own functions, which `app` hands over as one function: this module only reads the
//! question and writes the answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::body;
use super::door::blocking;
use super::keys::document;
use super::problem::Problem;
use super::values::{Faults, shown};
use super::wire::SecretText;
use crate::key::{Digest, KeyId, Secret};
use crate::time::Timestamp;

/// A request that is not sent.
#[derive(Debug)]
pub struct Question {
    /// What it brings along.
    pub credential: Credential,
    /// Its method.
    pub method: String,
    /// The host it names.
    pub host: Option<String>,
    /// Its path, as a client would send it, perhaps with a query.
    pub path: String,
    /// Where it comes from.
    pub client: Option<IpAddr>,
}

/// What a request brings along.
#[derive(Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// A secret.
    Secret(Secret),
    /// The secret of a key, by its digest: the key is known, the secret is not.
    Digest(Digest),
}

/// What would happen to a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// `forwarded`, or the reason for "no".
    pub outcome: String,
    /// The HTTP status; that of a forwarded request is up to the upstream, and 200 here.
    pub status: u16,
    /// Why, for the operator.
    pub detail: String,
    /// The route.
    pub route: Option<String>,
    /// The upstream.
    pub upstream: Option<String>,
    /// The path in its one form.
    pub path: Option<String>,
    /// The id of the key.
    pub key: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
    /// Its plan.
    pub plan: Option<String>,
    /// Its limits.
    pub limits: Vec<LimitLeft>,
    /// Its quotas.
    pub quotas: Vec<QuotaLeft>,
}

/// What is left of a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitLeft {
    /// What it is called.
    pub name: String,
    /// Requests per period.
    pub requests: u64,
    /// The period in seconds.
    pub per_seconds: f64,
    /// Requests that may come at once.
    pub burst: u64,
    /// How many of these are left.
    pub remaining: u64,
    /// When the next is admitted; 0: now.
    pub retry_after_seconds: f64,
}

/// What is left of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// What it is called.
    pub name: String,
    /// `day` or `month`.
    pub period: String,
    /// Requests per period, without what the key has extra.
    pub requests: u64,
    /// What the key has extra.
    pub extra: u64,
    /// What is used of both.
    pub used: u64,
    /// What is left of both.
    pub remaining: u64,
    /// When the next period begins.
    pub resets: Timestamp,
}

/// A request to be explained: with a secret, a key's id, or neither.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    secret: Option<SecretText>,
    /// The id of a key, in place of its secret.
    key: Option<String>,
    #[schema(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$", example = "GET")]
    method: String,
    #[schema(example = "api.example.com", max_length = 255)]
    host: Option<String>,
    #[schema(pattern = "^/", max_length = 8192, example = "/v1/orders/7")]
    path: String,
    /// The client's address.
    #[schema(example = "192.0.2.1")]
    client: Option<String>,
}

/// What would happen.
#[derive(Serialize, ToSchema)]
pub(super) struct Explained {
    /// `forwarded`, or the reason for "no".
    outcome: String,
    status: u16,
    /// Why.
    detail: String,
    #[schema(required = true)]
    route: Option<String>,
    #[schema(required = true)]
    upstream: Option<String>,
    /// In its one form.
    #[schema(required = true)]
    path: Option<String>,
    #[schema(required = true)]
    key: Option<String>,
    #[schema(required = true)]
    owner: Option<String>,
    #[schema(required = true)]
    plan: Option<String>,
    limits: Vec<ExplainedLimit>,
    quotas: Vec<ExplainedQuota>,
}

/// A limit of the key, and what is left of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ExplainedLimit {
    name: String,
    requests: u64,
    per_seconds: f64,
    burst: u64,
    remaining: u64,
    retry_after_seconds: f64,
}

/// A quota of the key, and what is left of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ExplainedQuota {
    name: String,
    #[schema(pattern = "^(day|month)$")]
    period: String,
    requests: u64,
    /// What the key has beyond that.
    extra: u64,
    used: u64,
    remaining: u64,
    /// When the next period begins.
    #[schema(format = DateTime)]
    resets: String,
}

/// Explain a request.
///
/// What would happen to it now, and why. Nothing is sent, and nothing is taken from limits.
#[utoipa::path(post, path = "/v1/explain", tag = "gateway", request_body = Explain, responses((status = 200, body = Explained)))]
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, _) = body::json::<Explain>(request, api.parts.limits.body_bytes).await?;
    let explained = blocking(api, caller, move |api, _| {
        let question = question(api, asked)?;
        Ok(Explained::from((api.parts.explain)(&question)))
    });
    Ok(document(&explained.await?))
}

fn question(api: &Api, asked: Explain) -> Result<Question, Problem> {
    let mut faults = Faults::default();
    let credential = credential(api, &mut faults, asked.secret, asked.key.as_deref())?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let method_fits = (1..=32).contains(&asked.method.len()) && asked.method.bytes().all(is_token);
    let method =
        faults.take("method", if method_fits { Ok(asked.method) } else { Err("a method is a word such as GET") });
    let path_fits = asked.path.starts_with('/') && asked.path.len() <= 8192;
    let path = faults
        .take("path", if path_fits { Ok(asked.path) } else { Err("a path begins with / and has at most 8192 bytes") });
    let host_fits = asked.host.as_ref().is_none_or(|host| host.len() <= 255);
    let host = faults.take("host", if host_fits { Ok(asked.host) } else { Err("a host has at most 255 bytes") });
    let client = faults.optional("client", asked.client.as_deref(), |text| {
        text.parse().map_err(|_| "an address is like 192.0.2.1 or 2001:db8::1")
    });
    let question =
        (|| Some(Question { credential: credential?, method: method?, host: host?, path: path?, client: client? }))();
    faults.finish(question)
}

fn credential(
    api: &Api,
    faults: &mut Faults,
    secret: Option<SecretText>,
    key: Option<&str>,
) -> Result<Option<Credential>, Problem> {
    Ok(match (secret, key) {
        (Some(_), Some(_)) => {
            faults.note("key", "value", "give either a secret or the id of a key");
            None
        }
        (None, None) => Some(Credential::None),
        (Some(secret), None) => faults.take("secret", secret.parse()).map(Credential::Secret),
        (None, Some(id)) => {
            let digest = id.parse().ok().map(|id| digest(api, &id)).transpose()?.flatten();
            faults.take("key", digest.ok_or("there is no key of this id that has a secret")).map(Credential::Digest)
        }
    })
}

/// The digest that leads to a key.
fn digest(api: &Api, id: &KeyId) -> Result<Option<Digest>, Problem> {
    let Some(found) = api.look_up(id)? else { return Ok(None) };
    Ok(found.digest())
}

impl From<Explanation> for Explained {
    fn from(explanation: Explanation) -> Self {
        let Explanation { outcome, status, detail, route, upstream, path, key, owner, plan, limits, quotas } =
            explanation;
        let limits = limits.into_iter().map(ExplainedLimit::from).collect();
        let quotas = quotas.into_iter().map(ExplainedQuota::from).collect();
        Self { outcome, status, detail, route, upstream, path, key, owner, plan, limits, quotas }
    }
}

impl From<QuotaLeft> for ExplainedQuota {
    fn from(left: QuotaLeft) -> Self {
        let QuotaLeft { name, period, requests, extra, used, remaining, resets } = left;
        Self { name, period, requests, extra, used, remaining, resets: shown(resets) }
    }
}

impl From<LimitLeft> for ExplainedLimit {
    fn from(left: LimitLeft) -> Self {
        let LimitLeft { name, requests, per_seconds, burst, remaining, retry_after_seconds } = left;
        Self { name, requests, per_seconds, burst, remaining, retry_after_seconds }
    }
}

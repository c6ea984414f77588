//! `GET /v1/keys/{id}/allowance`: what a key's limits and quotas have left.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::door::blocking;
use super::explain::{ExplainedLimit, ExplainedQuota, LimitLeft, QuotaLeft};
use super::keys::document;
use super::problem::Problem;

/// What a key's limits and quotas have left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowance {
    /// The plan.
    pub plan: Option<String>,
    /// Its limits.
    pub limits: Vec<LimitLeft>,
    /// Its quotas.
    pub quotas: Vec<QuotaLeft>,
}

/// What is left. A key without limits and quotas may do what it likes.
#[derive(Serialize, ToSchema)]
#[schema(as = Allowance)]
pub(super) struct AllowanceBody {
    #[schema(required = true)]
    plan: Option<String>,
    limits: Vec<ExplainedLimit>,
    quotas: Vec<ExplainedQuota>,
}

/// Tell what a key has left.
///
/// Nothing is taken from limits and quotas.
#[utoipa::path(get, path = "/v1/keys/{id}/allowance", tag = "keys", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = AllowanceBody)))]
pub(super) async fn allowance(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let left = blocking(api, caller, move |api, caller| {
        let found = api.found(caller, &id)?;
        let digest = found.digest();
        let left = digest.map(|digest| (api.parts.allowance)(&digest)).unwrap_or_default();
        Ok(AllowanceBody::from(left))
    });
    Ok(document(&left.await?))
}

impl From<Allowance> for AllowanceBody {
    fn from(left: Allowance) -> Self {
        let Allowance { plan, limits, quotas } = left;
        let limits = limits.into_iter().map(ExplainedLimit::from).collect();
        Self { plan, limits, quotas: quotas.into_iter().map(ExplainedQuota::from).collect() }
    }
}

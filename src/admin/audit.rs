//! `GET /v1/audit`: the audit log, in pages.

#![expect(unused_qualifications, reason = "utoipa's macro repeats its arguments")]

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Caller;
use super::body;
use super::door::blocking;
use super::keys::{document, limit};
use super::problem::{Code, Problem};
use super::values::shown;
use crate::store::AuditRow;

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Those with numbers above this one.
    #[param(default = 0, minimum = 0, maximum = 9223372036854775807_i64)]
    after: Option<u64>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The newest rows instead; then `after` is not looked at.
    #[param(default = false)]
    from_end: Option<bool>,
}

/// Rows, the oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage {
    rows: Vec<RowBody>,
    /// The `after` of the next page; null if there are no more rows now.
    #[schema(required = true)]
    next: Option<u64>,
}

/// One row of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditRow)]
struct RowBody {
    /// 1, 2, 3, without a gap.
    number: u64,
    /// The change that it tells of; null if nothing was changed.
    #[schema(required = true)]
    revision: Option<u64>,
    #[schema(format = DateTime)]
    at: String,
    /// The id of a token, `portal:OWNER`, `sso:USER`, `cli`, `file` or `unknown`.
    actor: String,
    #[schema(required = true)]
    remote: Option<String>,
    #[schema(example = "key.create")]
    action: String,
    /// The key or token.
    #[schema(required = true)]
    target: Option<String>,
    #[schema(required = true, value_type = Option<std::collections::HashMap<String, Value>>)]
    before: Option<Value>,
    #[schema(required = true, value_type = Option<std::collections::HashMap<String, Value>>)]
    after: Option<Value>,
    #[schema(required = true)]
    request_id: Option<String>,
    /// Over this row and the one before, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
}

/// Read the audit log.
#[utoipa::path(get, path = "/v1/audit", tag = "gateway", params(AuditQuery), responses((status = 200, body = AuditPage)))]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let asked: AuditQuery = body::query(&uri)?;
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    if i64::try_from(after).is_err() {
        return Err(Problem::new(Code::Malformed, "an `after` is the number of a row"));
    }
    let page = blocking(api, caller, move |api, _| {
        let store = api.parts.follower.store();
        let after = match asked.from_end.unwrap_or_default() {
            true => store.audit_end()?.rows.saturating_sub(limit as u64),
            false => after,
        };
        Ok(page(store.audit(after, limit + 1)?, limit))
    });
    Ok(document(&page.await?))
}

fn page(mut rows: Vec<AuditRow>, limit: usize) -> AuditPage {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.number).filter(|_| more);
    AuditPage { rows: rows.into_iter().map(RowBody::from).collect(), next }
}

impl From<AuditRow> for RowBody {
    fn from(row: AuditRow) -> Self {
        let document = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            number: row.number,
            revision: row.revision.map(|revision| revision.0),
            at: shown(row.at),
            actor: row.actor,
            remote: row.remote,
            action: row.action,
            target: row.target,
            before: document(row.before),
            after: document(row.after),
            request_id: row.request_id,
            hash: row.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

//! `POST /v1/keys/verify`: whose secret is this, and would it be let in?
//!
//! Takes nothing from limits. Secrets that are not the caller's to know look like unknown ones.

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
use super::sources::Shown;
use super::wire::{KeyBody, SecretText};
use crate::catalog::Found;
use crate::key;
use crate::policy::Denial;
use crate::time::Timestamp;

/// A secret to be looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    secret: SecretText,
}

/// What a secret is.
#[derive(Serialize, ToSchema)]
pub(super) struct Verified {
    /// `active`, or why it is not let in: `key_malformed`, `key_unknown`, `key_revoked`, `key_disabled`, `key_expired`,
    /// `key_not_yet_valid`.
    outcome: &'static str,
    #[schema(required = true)]
    key: Option<KeyBody>,
}

/// Look at a secret.
///
/// Tells whose it is, and whether it is let in now; takes nothing from its limits.
#[utoipa::path(post, path = "/v1/keys/verify", tag = "keys", request_body = Verify, responses((status = 200, body = Verified)))]
pub(super) async fn verify(State(api): State<Arc<Api>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (asked, _) = body::json::<Verify>(request, api.parts.limits.body_bytes).await?;
    let verified = blocking(api, caller, move |api, caller| verified(api, caller, asked.secret)).await?;
    Ok(document(&verified))
}

fn verified(api: &Api, caller: &Caller, text: SecretText) -> Result<Verified, Problem> {
    let unknown = |denial: Denial| Ok(Verified { outcome: denial.reason(), key: None });
    let rules = api.parts.follower.catalog().rules();
    let Some(secret) = text.parse().ok().filter(|secret| rules.wire.form.check(secret.expose().as_bytes()).is_ok())
    else {
        return unknown(Denial::KeyMalformed);
    };
    let digests = rules.wire.hasher.digests(secret.expose().as_bytes());
    let found = api.parts.follower.catalog().keys().find_secret(&rules, &digests);
    let Some(shown) = found.as_ref().map(|found| holder(api, caller, found)).transpose()?.flatten() else {
        return unknown(Denial::KeyUnknown);
    };
    let end = found.as_ref().and_then(|found| found.record.rights(&rules, found.secret).expires);
    let denial = denial(&shown, end, caller.now());
    Ok(Verified { outcome: denial.map_or("active", Denial::reason), key: Some(KeyBody::from(&shown)) })
}

/// The key that a secret leads to, if it is there for the caller.
fn holder(api: &Api, caller: &Caller, in_force: &Found) -> Result<Option<Shown>, Problem> {
    let found = api.look_up(&in_force.record.id)?.filter(|found| caller.sees(found.key()));
    Ok(found.map(|found| api.show(&found, caller.now())))
}

/// `end` is that of the key or of this secret, whichever comes first: as the data plane has it.
fn denial(shown: &Shown, end: Option<Timestamp>, now: Timestamp) -> Option<Denial> {
    match shown.key.state {
        key::State::Revoked => Some(Denial::KeyRevoked),
        key::State::Disabled => Some(Denial::KeyDisabled),
        key::State::Active if shown.key.not_before.is_some_and(|begin| now < begin) => Some(Denial::KeyNotYetValid),
        key::State::Active if end.is_some_and(|end| now >= end) => Some(Denial::KeyExpired),
        key::State::Active => None,
    }
}

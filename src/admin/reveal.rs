//! `POST /v1/keys/{id}/reveal`: shows a secret again, if the operator has wanted that when it was made.
//!
//! Each time is noted in the audit log before anything is shown; if it cannot be noted, nothing is shown.

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
use super::sources::Found;
use crate::key::{KeyId, Secret, State as KeyState};
use crate::store::{Action, Event, Refusal, StoredSecret};
use crate::telemetry::log;

/// A secret that is shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct Revealed {
    /// The present one.
    secret: String,
}

/// Show the secret of a key again.
///
/// Only with `console.recoverable_secrets`, and only what was made since. Of a key that is being rotated it is the newer one.
#[utoipa::path(post, path = "/v1/keys/{id}/reveal", tag = "keys", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = Revealed)))]
pub(super) async fn reveal(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let secret = blocking(api, caller, move |api, caller| revealed(api, caller, &id)).await?;
    Ok(document(&Revealed { secret: secret.expose().to_owned() }))
}

fn revealed(api: &Api, caller: &Caller, id: &str) -> Result<Secret, Problem> {
    let found = api.found(caller, id)?;
    let Some(vault) = &api.parts.vault else {
        return Err(conflict(
            "secrets are not kept here: each was shown once, when it was made; a rotation makes a new one",
        ));
    };
    if api.show(&found, caller.now()).key.state == KeyState::Revoked {
        return Err(Refusal::Revoked.into());
    }
    let Found { file: None, stored: Some((_, stored)) } = &found else {
        return Err(conflict("the key is in the configuration file, and its secret is not kept"));
    };
    let present = stored.secrets.iter().find(|secret| secret.is_live(caller.now()));
    let present = present.ok_or_else(|| conflict("the key has no secret that is valid"))?;
    let hidden = api.parts.follower.store().recoverable(&present.digest.digest)?;
    let hidden = hidden.ok_or_else(|| {
        conflict("this secret is not kept: it was made before `recoverable_secrets`, or elsewhere; a rotation makes one that is")
    })?;
    let id = &stored.key.id;
    let opened = vault.open(id, &hidden).ok().filter(|secret| is_of(api, secret, present));
    let secret = opened.ok_or_else(|| unopened(id))?;
    let event = Event { action: Action::SecretReveal, target: Some(id.to_string()), origin: caller.origin() };
    api.parts.follower.store().record_event(event)?;
    Ok(secret)
}

/// Whether what was opened is the secret that the gateway lets in.
fn is_of(api: &Api, secret: &Secret, present: &StoredSecret) -> bool {
    let rules = api.parts.follower.catalog().rules();
    let digests = rules.wire.hasher.digests(secret.expose().as_bytes());
    digests.iter().any(|digest| *digest == present.digest.digest)
}

fn unopened(id: &KeyId) -> Problem {
    log::error(
        "a kept secret does not open: the key file is another one, or the store was tampered with",
        &[("key", id)],
    );
    conflict("what is kept does not open with the present key file; the gateway's log says more")
}

fn conflict(detail: &'static str) -> Problem {
    Problem::new(Code::Conflict, detail)
}

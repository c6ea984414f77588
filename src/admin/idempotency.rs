//! Requests that may be sent twice: the second is given the answer of the first, without the secret.
//!
//! The store keeps the answer beside the change, so there is never one without the other. Called where a secret is made.

use axum::http::{HeaderMap, Uri};
use sha2::{Digest as _, Sha256};

use super::Api;
use super::auth::Caller;
use super::problem::{Code, Problem};
use super::wire::{KeyBody, KeySecret};
use crate::store::{Answer, Idempotency, Replay, Revision};

/// What the sender calls its request, and what the request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    name: String,
    request: [u8; 32],
}

/// An answer with a secret, or its repetition without. Not to be printed.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) id: String,
    pub(super) revision: Revision,
    pub(super) is_repeated: bool,
}

impl Named {
    /// What the request is called, if it has a name.
    pub(super) fn of(fields: &HeaderMap, uri: &Uri, body: &[u8]) -> Result<Option<Self>, Problem> {
        let mut values = fields.get_all(FIELD).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let bytes = value.as_bytes();
        let fits = (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        let (true, None, Ok(name)) = (fits, values.next(), value.to_str()) else {
            return Err(Problem::new(Code::Malformed, "an Idempotency-Key has 1 to 128 visible ASCII characters"));
        };
        let mut request = Sha256::new_with_prefix(uri.path());
        request.update([0]);
        request.update(body);
        Ok(Some(Self { name: name.to_owned(), request: request.finalize().into() }))
    }

    /// The answer that was given before under this name.
    pub(super) fn answered(&self, api: &Api, caller: &Caller) -> Result<Option<Answered>, Problem> {
        let replay = api.parts.follower.store().replay(&caller.actor().to_string(), &self.name, caller.now())?;
        replay.map(|replay| self.repeat(&replay)).transpose()
    }

    /// The answer that was given before, unless it was to another request.
    pub(super) fn repeat(&self, replay: &Replay) -> Result<Answered, Problem> {
        if replay.answer.request != self.request {
            return Err(Problem::new(
                Code::Conflict,
                "the Idempotency-Key has been used for another request: choose a new one",
            ));
        }
        let mut body: serde_json::Value = serde_json::from_str(&replay.answer.body).map_err(|_| Problem::internal())?;
        // The revision was not known yet when the answer was stored along with the change.
        body["revision"] = replay.revision.0.into();
        body["key"]["revision"] = replay.revision.0.into();
        Ok(Answered {
            status: replay.answer.status,
            id: body["key"]["id"].as_str().unwrap_or_default().to_owned(),
            body: body.to_string(),
            revision: replay.revision,
            is_repeated: true,
        })
    }

    /// What the store is to keep.
    pub(super) fn kept(&self, caller: &Caller, status: u16, key: KeyBody) -> Idempotency {
        let body = json(&KeySecret { key, secret: None, revision: 0 });
        let answer = Answer { request: self.request, status, body };
        Idempotency { who: caller.actor().to_string(), key: self.name.clone(), answer }
    }
}

/// A document as JSON.
pub(super) fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("texts and numbers are JSON")
}

pub(super) const FIELD: &str = "idempotency-key";

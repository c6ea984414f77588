//! Problems: every way in which a request is refused, and the one document that says so (RFC 9457).
//!
//! The list of codes is closed. A handler returns a [`Problem`]; `door` writes it out, since only there is the request's id
//! known. Texts say what is wrong and what to do, and nothing of the program's insides.

use std::borrow::Cow;
use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{CommitError, Refusal, StoreError};
use crate::telemetry::log;

/// Why a request is refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
pub(super) enum Code {
    /// No valid token.
    Unauthenticated,
    /// The role does not allow it.
    Forbidden,
    /// It comes from a page that is not of the console.
    CrossSite,
    /// It is not there, or not for this token.
    NotFound,
    /// There is no such call.
    MethodNotAllowed,
    /// It does not go together with what is there.
    Conflict,
    /// It is revoked, which is final.
    Revoked,
    /// It was changed meanwhile.
    PreconditionFailed,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON by its type.
    UnsupportedMediaType,
    /// Fields of the body are wrong.
    Invalid,
    /// The request cannot be read.
    Malformed,
    /// Too many wrong tokens, or changes.
    TooManyRequests,
    /// The store does not work, or there is too much to do.
    Unavailable,
    /// The request took too long.
    Timeout,
    /// Something is broken.
    Internal,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    allow: Option<HeaderValue>,
}

/// What is wrong with one field of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// Where it is: `scopes[1]`; empty for the body as a whole.
    pub(super) field: String,
    /// `required`, `unknown_field`, `type`, `value`, `unknown_plan`, `file`.
    pub(super) code: &'static str,
    /// What is wrong, and what would be right.
    pub(super) detail: String,
}

/// A refusal as it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'p> {
    /// Always `about:blank`.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: Code,
    /// One sentence for people.
    detail: &'p str,
    /// Only for invalid input: all that is wrong with it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'p [FieldError],
    request_id: &'p str,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_s: None, allow: None }
    }

    /// No valid token: the same words whatever is wrong with it.
    pub(super) fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "send a valid admin token as `Authorization: Bearer kga_…`")
    }

    /// Fields of the body are wrong: all of them.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Code::Invalid, "some fields are not valid: see `errors`") }
    }

    /// There is no such thing, or not for this token: both look the same.
    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing of this id")
    }

    /// A part of the program failed, and the log says which.
    pub(super) fn internal() -> Self {
        Self::new(Code::Internal, "the gateway could not do this; its log says more")
    }

    /// `Retry-After` tells when to come again.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// `Allow` tells the methods that there are.
    pub(super) fn allowing(self, methods: &str) -> Self {
        Self { allow: HeaderValue::from_str(methods).ok(), ..self }
    }

    /// The sentence for people, with those of the fields.
    pub(super) fn sentence(&self) -> String {
        if self.errors.is_empty() {
            return self.detail.clone().into_owned();
        }
        let parts: Vec<String> = self.errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect();
        parts.join("; ")
    }

    /// The whole answer to the request with this id.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.code.title(),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors: &self.errors,
            request_id,
        };
        let text = serde_json::to_string(&body).expect("texts and numbers are JSON");
        let mut answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], text).into_response();
        let fields = answer.headers_mut();
        if self.code == Code::Unauthenticated {
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="keygate-admin""#));
        }
        if let Some(seconds) = self.retry_after_s {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(methods) = &self.allow {
            fields.insert(header::ALLOW, methods.clone());
        }
        answer
    }
}

/// Not an answer yet: `door` makes one of it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused { refusal, .. } => refusal.into(),
            CommitError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let conflict = |detail: String| Self::new(Code::Conflict, detail);
        match refusal {
            Refusal::Exists(_) => conflict("the id is taken: choose another, or leave it out".to_owned()),
            Refusal::Missing => Self::not_found(),
            Refusal::Stale(revision) => Self::new(
                Code::PreconditionFailed,
                format!("it was changed meanwhile, by revision {revision}: read it again"),
            ),
            Refusal::Revoked => Self::new(Code::Revoked, "it is revoked, which is final"),
            Refusal::DigestTaken(id) => conflict(format!("the secret belongs to the key `{id}`")),
            Refusal::DigestRevoked(id) => {
                Self::new(Code::Revoked, format!("the secret belongs to the revoked key `{id}`, which is final"))
            }
            Refusal::TokenTaken(id) => conflict(format!("it is the same as the token `{id}`")),
            Refusal::ActorRevoked => Self::unauthenticated(),
            Refusal::Answered(_) => conflict("the idempotency key has been used for another request".to_owned()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        log::error("the store does not work", &[("error", &error)]);
        let detail = "the store does not work; a change may have been made or not: look, then repeat it if it was not (the \
                      gateway's log says more)";
        Self::new(Code::Unavailable, detail).retry_after(STORE_PAUSE_S)
    }
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, code: &'static str, detail: impl Display) -> Self {
        Self { field: field.into(), code, detail: detail.to_string() }
    }
}

impl Code {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict | Self::Revoked => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "No valid token",
            Self::Forbidden => "Not allowed",
            Self::CrossSite => "From another site",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "No such call",
            Self::Conflict => "Conflict",
            Self::Revoked => "Revoked",
            Self::PreconditionFailed => "Changed meanwhile",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "Not JSON",
            Self::Invalid => "Invalid input",
            Self::Malformed => "Malformed request",
            Self::TooManyRequests => "Too many requests",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Took too long",
            Self::Internal => "Internal error",
        }
    }

    /// The word in documents.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::CrossSite => "cross_site",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::Revoked => "revoked",
            Self::PreconditionFailed => "precondition_failed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::TooManyRequests => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

const STORE_PAUSE_S: u64 = 5;

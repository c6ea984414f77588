//! The problem details (RFC 9457) with which the admin API says no, and the exit codes they stand for.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Exit;
use super::terminal::plain;
use crate::policy::Denial;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    retry_after_s: Option<u64>,
    details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    code: String,
    detail: Option<String>,
    errors: Option<Vec<FieldError>>,
    request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    field: Option<String>,
    detail: Option<String>,
    code: Option<String>,
}

impl Problem {
    /// Reads the body of an answer with such a status; it may be of somebody else.
    pub(super) fn read(status: u16, retry_after_s: Option<u64>, body: Option<&Value>) -> Self {
        Self { status, retry_after_s, details: body.and_then(|body| Details::deserialize(body).ok()) }
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        if self.details.as_ref().is_some_and(|details| details.code == "revoked") {
            return Exit::Refused;
        }
        match self.status {
            400 | 422 => Exit::Invalid,
            401 | 403 | 429 => Exit::Refused,
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            503 => Exit::NotReachable,
            _ => Exit::Failed,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(details) = &self.details else {
            return write!(f, "the server answered with status {}, and not in the words of a gateway", self.status);
        };
        let code = plain(&details.code);
        let errors = details.errors.as_deref().unwrap_or_default();
        match &details.detail {
            Some(detail) if !errors.is_empty() && detail.contains("`errors`") => write!(f, "not valid ({code}):")?,
            Some(detail) => write!(f, "{} ({code})", plain(detail))?,
            None => write!(f, "the gateway answered with status {} ({code})", self.status)?,
        }
        for error in errors {
            let what = error.detail.as_ref().or(error.code.as_ref());
            let what = plain(what.map_or("", String::as_str));
            match &error.field {
                Some(field) => write!(f, "\n  {}: {what}", plain(field))?,
                None => write!(f, "\n  {what}")?,
            }
        }
        if is_of_data_plane(&details.code) {
            f.write_str("\n  is this the admin address, and not that of the data plane?")?;
        }
        if let Some(seconds) = self.retry_after_s {
            write!(f, "\n  try again in {seconds} s")?;
        }
        match &details.request_id {
            Some(id) if self.status >= 500 => write!(f, "\n  request id: {}", plain(id)),
            _ => Ok(()),
        }
    }
}

/// Whether a gateway refuses requests to backends so, and the admin API never does.
fn is_of_data_plane(code: &str) -> bool {
    Denial::ALL.iter().any(|denial| denial.code() == code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        for (status, code, exit) in [
            (400, "malformed", Exit::Invalid),
            (401, "unauthenticated", Exit::Refused),
            (403, "forbidden", Exit::Refused),
            (404, "not_found", Exit::NotFound),
            (409, "conflict", Exit::Conflict),
            (409, "revoked", Exit::Refused),
            (412, "precondition_failed", Exit::Conflict),
            (413, "too_large", Exit::Failed),
            (422, "invalid", Exit::Invalid),
            (429, "too_many_requests", Exit::Refused),
            (500, "internal", Exit::Failed),
            (503, "unavailable", Exit::NotReachable),
        ] {
            assert_eq!(Problem::read(status, None, Some(&json!({"code": code}))).exit(), exit, "{status} {code}");
        }
    }

    #[test]
    fn a_problem_is_told_with_its_fields() {
        let body = json!({"code": "invalid", "detail": "The key is wrong.", "request_id": "r1",
            "errors": [{"field": "scopes[1]", "code": "scope", "detail": "no \u{1b}scope"}, {"code": "x"}]});
        let told = Problem::read(422, None, Some(&body)).to_string();
        assert_eq!(told, "The key is wrong. (invalid)\n  scopes[1]: no \\u{1b}scope\n  x");
        assert!(Problem::read(500, None, Some(&body)).to_string().ends_with("\n  request id: r1"));
        let body = json!({"code": "invalid", "detail": "some fields are not valid: see `errors`",
            "errors": [{"field": "name", "detail": "is empty"}]});
        let told = Problem::read(422, None, Some(&body)).to_string();
        assert_eq!(told, "not valid (invalid):\n  name: is empty");
        assert!(Problem::read(502, None, None).to_string().contains("502"));
    }

    #[test]
    fn an_answer_of_the_data_plane_is_known() {
        let told = |code| Problem::read(401, None, Some(&json!({"code": code, "detail": "No."}))).to_string();
        assert_eq!(
            told("key_invalid"),
            "No. (key_invalid)\n  is this the admin address, and not that of the data plane?"
        );
        for code in [
            "unauthenticated",
            "forbidden",
            "not_found",
            "method_not_allowed",
            "conflict",
            "revoked",
            "precondition_failed",
            "too_large",
            "unsupported_media_type",
            "invalid",
            "malformed",
            "too_many_requests",
            "unavailable",
            "timeout",
            "internal",
        ] {
            assert_eq!(told(code), format!("No. ({code})"));
        }
    }
}

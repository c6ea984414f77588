//! The report of an import: for each row what became of it, without anything of a secret.
//!
//! Not even the first characters: of a weak secret they are half of it. Called by `keygate keys import` when the gateway
//! has answered.

use serde_json::Value;

use crate::key::Name;

use super::Row;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is a new key, or would be.
    Created,
    /// There was one with this secret.
    Unchanged,
    /// The gateway does not take it.
    Refused,
    /// It was not sent.
    Skipped,
    /// Sent or not: the gateway has said nothing about it.
    Unanswered,
}

/// A line of the report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reported<'r> {
    /// Where it is in the file.
    pub(crate) line: usize,
    /// The way there.
    pub(crate) origin: &'r str,
    /// Whom it belongs to.
    pub(crate) owner: Option<&'r str>,
    /// What became of it.
    pub(crate) status: Status,
    /// The key it is now.
    pub(crate) id: Option<String>,
    /// Why it was refused or skipped.
    pub(crate) reason: Option<String>,
}

/// What became of each row. `results` are those of the gateway for the candidates, in their order, of all batches together.
pub(crate) fn report<'r>(rows: &'r [Row], results: &[Value]) -> Vec<Reported<'r>> {
    let mut results = results.iter();
    rows.iter().map(|row| reported(row, &mut results)).collect()
}

impl Status {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Unanswered => "unanswered",
        }
    }
}

fn reported<'r>(row: &'r Row, results: &mut std::slice::Iter<'_, Value>) -> Reported<'r> {
    let (owner, status, id, reason) = match &row.outcome {
        Ok(candidate) => {
            let result = results.next().unwrap_or(&Value::Null);
            // Whoever answers knows the secret, and might send it back.
            let text = |field: &str| result[field].as_str().filter(|text| !candidate.is_revealed_by(text));
            let text = |field: &str| text(field).map(ToOwned::to_owned);
            let owner = candidate.owner.as_ref().map(Name::as_str);
            (owner, status(result), text("id"), text("detail").or_else(|| text("code")))
        }
        Err(skipped) => (skipped.owner.as_deref(), Status::Skipped, None, Some(skipped.reason.to_string())),
    };
    Reported { line: row.line, origin: &row.origin, owner, status, id, reason }
}

fn status(result: &Value) -> Status {
    match result["status"].as_str() {
        Some("created") => Status::Created,
        Some("unchanged") => Status::Unchanged,
        Some("refused") => Status::Refused,
        _ => Status::Unanswered,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::import::{Kind, read};

    #[test]
    fn each_row_has_its_own_answer_and_skipped_rows_have_none() {
        let rows = read(Kind::Csv, "name,owner,secret\na,x,one\nb,y,\nc,,two\nd,,three\n").unwrap();
        let results = [
            json!({"status": "created", "id": "key_1", "secret": "never", "code": null, "detail": null}),
            json!({"status": "refused", "id": null, "secret": null, "code": "invalid", "detail": "too weak"}),
        ];
        let report = report(&rows, &results);
        let lines = report.iter().map(|line| (line.line, line.owner, line.status, line.id.as_deref()));
        let expected = [
            (2, Some("x"), Status::Created, Some("key_1")),
            (3, Some("y"), Status::Skipped, None),
            (4, None, Status::Refused, None),
            (5, None, Status::Unanswered, None),
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        let echo = [json!({"status": "refused", "id": "secret-one", "code": "invalid", "detail": "not secret-one"})];
        let rows = read(Kind::Csv, "secret\nsecret-one\n").unwrap();
        let told = super::report(&rows, &echo);
        assert_eq!((told[0].id.as_deref(), told[0].reason.as_deref()), (None, Some("invalid")));
        assert_eq!(report[0].status.as_str(), "created");
        assert_eq!(report[2].reason.as_deref(), Some("too weak"));
        assert!(report[1].reason.as_deref().is_some_and(|reason| reason.contains("no secret")));
        assert!(!format!("{report:?}").contains("never"));
    }
}

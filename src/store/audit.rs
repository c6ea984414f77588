//! The audit log: rows that are only ever added, each with a hash over itself and the row before it.
//!
//! Both stores build their rows here, and `verify` walks them here: one encoding. The hash of row n is the SHA-256 of: the
//! hash of row n-1 (32 zero bytes before the first); the number, the revision (0: none) and the time in ms since 1970, each as
//! 8 bytes, big endian; then actor, remote, action, target, before, after and request id, each as its length in 8 bytes, big
//! endian, and its UTF-8 bytes. A text that is absent has the length 2^64-1 and no bytes.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::change::{Action, Commit, Event, Origin};
use super::decide::Decided;
use super::record::{Record, Revision, StoredKey, StoredSecret, Token, state_word};
use crate::key::Extra;
use crate::telemetry::log::Rfc3339;
use crate::time::Timestamp;

/// One row of the audit log. All words as they are kept, also those that this program does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place: 1, 2, 3, without a gap.
    pub number: u64,
    /// The change that it tells of; none if nothing was changed.
    pub revision: Option<Revision>,
    /// When.
    pub at: Timestamp,
    /// Who: the id of a token, `portal:OWNER`, `sso:USER`, `cli`, `file` or `unknown`.
    pub actor: String,
    /// From which address.
    pub remote: Option<String>,
    /// What was done, as in [`Action::as_str`].
    pub action: String,
    /// To which key or token.
    pub target: Option<String>,
    /// The record before as JSON, without digests.
    pub before: Option<String>,
    /// The record after as JSON, without digests.
    pub after: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// The hash over this row and the one before.
    pub hash: [u8; 32],
}

/// What a walk over the audit log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each row is as it was written, and none is missing.
    Sound {
        /// How many rows there are.
        rows: u64,
    },
    /// The log was tampered with or damaged.
    Broken {
        /// The number of the first row that is wrong.
        number: u64,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a row of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It, or its hash, is not as it was written.
    Changed,
    /// It is gone.
    Missing,
    /// It was not written by the store.
    Inserted,
}

/// The log up to some row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// How many rows it has.
    pub rows: u64,
    /// The hash of the last one.
    pub hash: [u8; 32],
}

/// What an audit row is made of, before it has its place.
pub(super) struct Entry<'e> {
    pub(super) revision: Option<Revision>,
    pub(super) action: Action,
    pub(super) target: Option<&'e str>,
    pub(super) before: Option<&'e Record>,
    pub(super) after: Option<&'e Record>,
    pub(super) origin: &'e Origin,
}

impl<'e> Entry<'e> {
    pub(super) fn of_commit(commit: &'e Commit, revision: Revision, decided: &'e Decided) -> Self {
        Self {
            revision: Some(revision),
            action: commit.action,
            target: Some(decided.after.id()),
            before: decided.before.as_ref(),
            after: Some(&decided.after),
            origin: &commit.origin,
        }
    }

    pub(super) fn of_event(event: &'e Event) -> Self {
        Self {
            revision: None,
            action: event.action,
            target: event.target.as_deref(),
            before: None,
            after: None,
            origin: &event.origin,
        }
    }
}

impl Chain {
    /// Makes the next row, which is then the end.
    pub(super) fn append(&mut self, entry: &Entry<'_>) -> AuditRow {
        let Entry { origin, .. } = entry;
        let mut row = AuditRow {
            number: self.rows + 1,
            revision: entry.revision,
            at: origin.at,
            actor: origin.actor.to_string(),
            remote: origin.remote.map(|remote| remote.to_string()),
            action: entry.action.as_str().to_owned(),
            target: entry.target.map(str::to_owned),
            before: entry.before.map(shown),
            after: entry.after.map(shown),
            request_id: origin.request_id.clone(),
            hash: [0; 32],
        };
        row.hash = hash(&self.hash, &row);
        *self = Self { rows: row.number, hash: row.hash };
        row
    }

    /// Goes on to `row`, if that is the row which follows in a log that ends with `end`.
    fn follow(&mut self, row: &AuditRow, end: &Self) -> Result<(), Verdict> {
        let next = self.rows + 1;
        let broken = |number, fault| Err(Verdict::Broken { number, fault });
        if next > end.rows || row.number < next {
            return broken(row.number, Fault::Inserted);
        }
        if row.number > next {
            return broken(next, Fault::Missing);
        }
        if row.hash != hash(&self.hash, row) {
            return broken(next, Fault::Changed);
        }
        *self = Self { rows: next, hash: row.hash };
        Ok(())
    }
}

/// Walks over a log that should end with `end`.
pub(super) struct Walk {
    end: Chain,
    reached: Chain,
    broken: Option<Verdict>,
}

impl Walk {
    pub(super) fn to(end: Chain) -> Self {
        Self { end, reached: Chain::default(), broken: None }
    }

    /// Takes the next row, in the order of numbers.
    pub(super) fn step(&mut self, row: &AuditRow) {
        if self.broken.is_none() {
            self.broken = self.reached.follow(row, &self.end).err();
        }
    }

    pub(super) fn verdict(self) -> Verdict {
        let rows = self.reached.rows;
        match self.broken {
            Some(broken) => broken,
            None if rows < self.end.rows => Verdict::Broken { number: rows + 1, fault: Fault::Missing },
            None if self.reached != self.end => Verdict::Broken { number: rows, fault: Fault::Changed },
            None => Verdict::Sound { rows },
        }
    }
}

fn hash(previous: &[u8; 32], row: &AuditRow) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(previous);
    hash.update(row.number.to_be_bytes());
    hash.update(row.revision.unwrap_or_default().0.to_be_bytes());
    hash.update(row.at.as_unix_ms().to_be_bytes());
    let texts = [
        Some(&row.actor),
        row.remote.as_ref(),
        Some(&row.action),
        row.target.as_ref(),
        row.before.as_ref(),
        row.after.as_ref(),
        row.request_id.as_ref(),
    ];
    for text in texts {
        hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        hash.update(text.map_or("", String::as_str));
    }
    hash.finalize().into()
}

/// A record as JSON with all that people may see: no digest. What is absent is left out.
fn shown(record: &Record) -> String {
    let mut object = match record {
        Record::Key(key) => shown_key(key),
        Record::Token(token) => shown_token(token),
    };
    object.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    Value::Object(object).to_string()
}

fn shown_key(StoredKey { key, secrets, .. }: &StoredKey) -> Map<String, Value> {
    object([
        ("name", json!(key.name)),
        ("owner", json!(key.owner.as_ref().map(|owner| owner.as_str()))),
        ("plan", json!(key.plan.as_ref().map(|plan| plan.as_str()))),
        ("scopes", key.scopes.iter().map(|scope| scope.as_str()).collect()),
        ("networks", key.networks.iter().map(ToString::to_string).collect()),
        ("not_before", instant(key.not_before)),
        ("expires", instant(key.expires)),
        ("state", json!(state_word(key.state))),
        ("extra_allowance", extra(key.extra)),
        ("secrets", secrets.iter().map(shown_secret).collect()),
    ])
}

fn extra(extra: Extra) -> Value {
    let Extra { day, month } = extra;
    if extra == Extra::default() { Value::Null } else { json!({"day": day, "month": month}) }
}

fn shown_secret(secret: &StoredSecret) -> Value {
    let mut shown = object([("hint", json!(secret.hint)), ("since", instant(Some(secret.since)))]);
    if secret.until.is_some() {
        shown.insert("until".to_owned(), instant(secret.until));
    }
    shown.into()
}

fn shown_token(token: &Token) -> Map<String, Value> {
    object([
        ("name", json!(token.name)),
        ("role", json!(token.role.to_string())),
        ("expires", instant(token.expires)),
        ("revoked", instant(token.revoked)),
    ])
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn instant(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Rfc3339(at).to_string().into())
}

//! The rows of one file as they are found: duplicates are told apart here, and fields that would show a secret.
//!
//! Of the secrets seen so far only digests are kept. Called by all parsers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::reason::{FieldProblem, Reason, Skipped};
use super::{Candidate, Row};
use crate::key::Name;

/// What a parser has found.
pub(super) struct Found<'a> {
    /// The line; 0 if the file has none.
    pub(super) line: usize,
    /// The way there.
    pub(super) origin: String,
    /// What stands where a secret should.
    pub(super) raw: &'a str,
    /// Whom it belongs to, as the file has it.
    pub(super) owner: Option<&'a str>,
    /// The key, or why it is none.
    pub(super) outcome: Result<Candidate, Reason>,
}

/// The rows so far.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// By digest: the first row with a secret.
    first: HashMap<[u8; 32], usize>,
}

impl Rows {
    pub(super) fn push(&mut self, found: Found<'_>) {
        let line = if found.line == 0 { self.rows.len() + 1 } else { found.line };
        let owner = found.owner.filter(|owner| !reveals(owner, found.raw)).map(shown);
        let outcome = found.outcome.and_then(|candidate| self.checked(candidate, found.raw));
        let outcome = outcome.map_err(|reason| Skipped { reason, owner });
        self.rows.push(Row { line, origin: found.origin, outcome });
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn checked(&mut self, candidate: Candidate, raw: &str) -> Result<Candidate, Reason> {
        if shown_texts(&candidate).any(|text| reveals(text, raw)) {
            return Err(Reason::ShowsSecret);
        }
        let length: usize = shown_texts(&candidate).map(str::len).sum();
        if length + candidate.networks.len() * NETWORK_BYTES > MAX_KEY_BYTES {
            return Err(Reason::TooLong);
        }
        match self.first.entry(candidate.material.fingerprint()) {
            Entry::Occupied(first) => Err(Reason::Duplicate { first: place(&self.rows[*first.get()]) }),
            Entry::Vacant(free) => {
                free.insert(self.rows.len());
                Ok(candidate)
            }
        }
    }
}

/// An owner, plan or the like, without the blanks around it.
pub(super) fn name(field: &'static str, text: &str) -> Result<Name, Reason> {
    let parsed = text.trim().parse();
    parsed.map_err(|error| Reason::Field { field, problem: FieldProblem::Text(error) })
}

/// A row as another row refers to it.
pub(super) fn place(row: &Row) -> String {
    if row.origin.is_empty() { format!("line {}", row.line) } else { row.origin.clone() }
}

/// Everything of a key that lists, logs and headers show.
fn shown_texts(candidate: &Candidate) -> impl Iterator<Item = &str> {
    let names = [&candidate.owner, &candidate.plan].into_iter().flatten().map(Name::as_str);
    let scopes = candidate.scopes.iter().map(crate::key::Scope::as_str);
    let id = candidate.id.as_ref().map(crate::key::KeyId::as_str);
    names.chain(scopes).chain(id).chain([candidate.name.as_str()])
}

/// Whether a text is or contains a secret. Short secrets may be part of a word by chance.
pub(super) fn reveals(text: &str, secret: &str) -> bool {
    !secret.is_empty() && (text == secret || (secret.len() >= REVEALED_FROM_BYTES && text.contains(secret)))
}

/// A text of the file as it may be printed: short and without characters that could move a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

const REVEALED_FROM_BYTES: usize = 6;
const SHOWN_CHARS: usize = 64;
/// What is shown of a key is a few hundred; many such keys are to fit into one call.
const MAX_KEY_BYTES: usize = 64 << 10;
const NETWORK_BYTES: usize = 44;

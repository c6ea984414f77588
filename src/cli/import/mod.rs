//! Importing: from the files of other gateways to rows for `POST /v1/keys:batch`, each a key to be made or the reason why not.
//!
//! No row is dropped in silence, nothing here reads other files or the environment, and the only way from a row to its
//! secret is [`Candidate::to_batch`]. Memory is proportional to the file, which may be [`MAX_FILE_BYTES`] long. Called by
//! `keygate keys import`.

mod apisix;
mod batch;
mod candidate;
mod document;
mod kong;
mod looks;
mod material;
mod nginx;
mod reason;
mod report;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use candidate::{Candidate, Material};
use reason::Skipped;

pub(super) use batch::{Batch, Mode, batches};
pub(super) use reason::FileError;
pub(super) use report::{Reported, Status, report};

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// decK or declarative YAML of Kong
    Kong,
    /// apisix.yaml, or JSON of the Admin API of APISIX
    Apisix,
    /// nginx configuration with a map from keys to clients
    Nginx,
    /// A table with a header
    Csv,
}

/// A place of the file where a key is, or seems to be.
#[derive(Debug)]
pub(super) struct Row {
    /// The line of the file; in JSON the number of the row.
    pub(super) line: usize,
    /// The way there, such as `consumers[3].keyauth_credentials[0]`; empty where the line says it all.
    pub(super) origin: String,
    /// The key, or why it is none.
    pub(super) outcome: Result<Candidate, Skipped>,
}

/// The rows of a file, in its order.
pub(super) fn read(kind: Kind, text: &str) -> Result<Vec<Row>, FileError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(FileError::Empty);
    }
    let rows = match kind {
        Kind::Kong => tree(kind, text).and_then(|root| kong::rows(&root)),
        Kind::Apisix => tree(kind, text).and_then(|root| apisix::rows(&root)),
        Kind::Nginx => nginx::rows(text),
        Kind::Csv => table::rows(text),
    };
    rows.map_err(|error| looks::instead(kind, text, error))
}

/// The tree of a file that does not look like another kind.
fn tree(wanted: Kind, text: &str) -> Result<document::Node<'_>, FileError> {
    let root = document::parse(text)?;
    match looks::of_tree(&root) {
        Some(found) if found != looks::Looks::Like(wanted) => Err(FileError::Looks { wanted, found }),
        _ => Ok(root),
    }
}

impl Kind {
    /// What a file of this kind has when there are keys in it.
    const fn contents(self) -> &'static str {
        match self {
            Self::Kong => "`consumers` with `keyauth_credentials`",
            Self::Apisix => "`consumers` with the plugin `key-auth`",
            Self::Nginx => "`map` over one variable `$http_…`, `$arg_…` or `$cookie_…`",
            Self::Csv => "rows below the header",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kong => "kong",
            Self::Apisix => "apisix",
            Self::Nginx => "nginx",
            Self::Csv => "csv",
        })
    }
}

/// The longest file that is read.
pub(super) const MAX_FILE_BYTES: usize = 256 << 20;

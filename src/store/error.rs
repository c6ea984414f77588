//! Why the store says no: a refusal that the caller can answer, or something broken that somebody has to see to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::change::Replay;
use super::record::Revision;
use crate::key::{KeyId, TokenId};

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The change does not go together with what is stored.
    #[error("{refusal}")]
    Refused {
        /// Which commit of the batch; 0 if there was only one.
        place: usize,
        /// What is against it.
        refusal: Refusal,
    },
    /// The store is broken, for now or for good.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// What in the store is against a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was to be created, and is there.
    #[error("it exists already, since revision {0}")]
    Exists(Revision),
    /// It was to be changed, and is not there.
    #[error("it does not exist")]
    Missing,
    /// It was changed since the caller looked.
    #[error("it was changed meanwhile, by revision {0}")]
    Stale(Revision),
    /// It is revoked, which is final.
    #[error("it is revoked, which is final")]
    Revoked,
    /// One of its digests belongs to another key.
    #[error("its secret belongs to the key `{0}`")]
    DigestTaken(KeyId),
    /// One of its digests belongs to a revoked key.
    #[error("its secret belongs to the revoked key `{0}`")]
    DigestRevoked(KeyId),
    /// The digest belongs to another token.
    #[error("it is the same as the token `{0}`")]
    TokenTaken(TokenId),
    /// The token that asks has been revoked or has expired.
    #[error("the token that asks has been revoked or has expired")]
    ActorRevoked,
    /// The request was answered before.
    #[error("the request was answered before, with status {}", .0.answer.status)]
    Answered(Box<Replay>),
}

/// What is broken. Cheap to clone: one disk failure answers all who wait for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or SQLite failed otherwise. Later calls may succeed.
    #[error("the store does not work: {0}")]
    Failed(#[source] Arc<rusqlite::Error>),
    /// A row is not as this program writes it. The store needs a backup, or a newer program.
    #[error("the store is damaged: row {row} of table `{table}`: {reason}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Which row, by its first column.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread that writes has ended.
    #[error("the store is closed")]
    Closed,
}

/// Why a store's file is not opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SQLite library is too old to be trusted with the file.
    #[error("SQLite {found} is linked, but at least {wanted} is needed")]
    Library {
        /// Its version.
        found: &'static str,
        /// The oldest version that will do.
        wanted: &'static str,
    },
    /// Another process has the store.
    #[error("another process has the store open: it holds the lock on `{}`", .0.display())]
    Locked(PathBuf),
    /// There is no such store.
    #[error("there is no store at `{}`", .0.display())]
    Missing(PathBuf),
    /// There is something where something new is to be made.
    #[error("`{}` exists already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// The store's file is gone, its write-ahead log is not.
    #[error(
        "there is no `{}`, but there is a log of changes to it, `{}`: put the store back to where the log is, or move the log \
        aside to begin with an empty store",
        .path.display(), .log.display()
    )]
    LogAlone {
        /// Where the store was.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// It is an SQLite database, but of another program.
    #[error("`{}` is an SQLite database, but not a store of keygate", .0.display())]
    Foreign(PathBuf),
    /// A newer program wrote it.
    #[error(
        "`{}` has schema version {found}, and this keygate knows versions up to {known}: use a newer keygate, or restore a \
        backup from before the update",
        .path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It is damaged, or no database at all.
    #[error(
        "`{store}` is damaged: {what}. Nothing was changed. Move it aside together with `{store}-wal` and `{store}-shm`, if \
        they are there, then restore a backup with `cp BACKUP {store}`",
        store = .path.display()
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// What should be the store's folder is something else.
    #[error("`{}` is not a folder: move it aside, or keep the store elsewhere", .0.display())]
    NoFolder(PathBuf),
    /// The file system does not let us.
    #[error("`{}`", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite does not let us.
    #[error("`{}` cannot be opened", .path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What is in it cannot be read.
    #[error(transparent)]
    Content(#[from] StoreError),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

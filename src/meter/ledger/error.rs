//! Why the ledger cannot do what it is asked to. Counting goes on whatever happens here.

use std::io;
use std::path::{Path, PathBuf};

/// What is in the way.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has the ledger.
    #[error("another process has the ledger open: it holds the lock on `{}`", .0.display())]
    Locked(PathBuf),
    /// A newer program wrote a file that may hold usage. Nothing was changed.
    #[error(
        "`{}` has format version {found}, and this keygate knows versions up to {known}: use a newer keygate until its \
        usage is sealed",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The file system does not let us.
    #[error("`{}`: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system has no randomness to tell this process from others by.
    #[error("the system's random source failed")]
    Random(#[source] getrandom::Error),
}

impl LedgerError {
    /// Of a file or folder.
    pub(super) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

//! The ledger's folder: one process at a time, and which of its files are whose.
//!
//! Files that are not named like ours are never touched.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::layout::Epoch;

/// A lock on the folder, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do while a process that was forked off has it too, on its way to another program.
        let _ = self.0.unlock();
    }
}

/// Makes the folder if it is missing, and locks it.
pub(super) fn lock(folder: &Path) -> Result<Lock, LedgerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(LedgerError::of(folder))?;
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(LedgerError::of(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(path)),
        Err(TryLockError::Error(source)) => Err(LedgerError::Io { path, source }),
    }
}

/// Where a file of the ledger is to be.
pub(super) fn path(folder: &Path, epoch: Epoch, number: u32) -> PathBuf {
    folder.join(format!("{PREFIX}{:016x}-{number:06}.{WHOLE}", epoch.id))
}

/// The files of all epochs, in their order.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    listed(folder, WHOLE)
}

/// Removes what a dead process had not finished making: nothing was ever counted there.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), LedgerError> {
    listed(folder, "new")?.iter().try_for_each(|path| fs::remove_file(path).map_err(LedgerError::of(path)))
}

fn listed(folder: &Path, kind: &str) -> Result<Vec<PathBuf>, LedgerError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(LedgerError::of(folder))? {
        let path = entry.map_err(LedgerError::of(folder))?.path();
        if is_ours(&path) && path.extension().is_some_and(|extension| extension == kind) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn is_ours(path: &Path) -> bool {
    let rest = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix(PREFIX));
    let Some((epoch, number)) = rest.and_then(|rest| rest.split_once('-')) else { return false };
    epoch.len() == 16
        && epoch.bytes().all(|b| b.is_ascii_hexdigit())
        && (6..=10).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

const PREFIX: &str = "ledger-";
const WHOLE: &str = "seg";
const LOCK: &str = "ledger.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_named_like_ours_are_ours() {
        let epoch = Epoch { id: 0xab, started_ms: 0 };
        assert!(is_ours(&path(Path::new("/x"), epoch, 0)) && is_ours(&path(Path::new("/x"), epoch, u32::MAX)));
        for other in
            ["ledger.lock", "ledger-1-000001.seg", "x-00000000000000ab-000001.seg", "ledger-00000000000000ab.seg"]
        {
            assert!(!is_ours(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_folder_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let forked = held.0.try_clone().unwrap();
        assert!(matches!(lock(folder.path()), Err(LedgerError::Locked(_))));
        drop(held);
        lock(folder.path()).unwrap();
        drop(forked);
    }
}

//! What former processes left: read before anything is counted, sealed, and only then removed.
//!
//! Files are read, not mapped: one that is cut short is an error here, not the end of the process. Nothing that is not
//! understood is ever removed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::LedgerError;
use super::folder;
use super::layout::{Epoch, FIXED_WORDS, Head, HeadFault, VERSION, WORD_BYTES};
use super::merge::{Cell, Merged};
use super::segment::Segment;

/// The cells of all files of former epochs.
#[derive(Debug)]
pub struct Replay {
    merged: Merged,
    read: Vec<PathBuf>,
    damage: Vec<Damage>,
}

/// A file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is named like a file of the ledger and is none.
    Foreign,
    /// Its head does not say what it is: nothing of it can be read.
    Head,
    /// It has not the length that its head says: nothing of it is read.
    Length,
    /// So many places hold something that is no cell, or a cell whose names are not there. The others are read.
    Cells(u32),
}

impl Replay {
    pub(super) fn of(folder: &Path, current: Epoch) -> Result<Self, LedgerError> {
        let (mut segments, mut read, mut damage) = (Vec::new(), Vec::new(), Vec::new());
        for path in folder::files(folder)? {
            match read_file(&path)? {
                Ok(segment) if segment.head.epoch == current => {}
                Ok(segment) => {
                    segments.push(Arc::new(segment));
                    read.push(path);
                }
                Err(fault) => damage.push(Damage { path, fault }),
            }
        }
        let merged = Merged::of(segments, |segment, minute| minute > segment.sealed_minute());
        let torn = read.iter().zip(&merged.torn).filter(|(_, torn)| **torn > 0);
        damage.extend(torn.map(|(path, torn)| Damage { path: path.clone(), fault: Fault::Cells(*torn) }));
        Ok(Self { merged, read, damage })
    }

    /// The cells that were not sealed, each once.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell> {
        self.merged.cells()
    }

    /// What could not be read. Someone should know.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Removes the files, now that all cells are durable elsewhere. Those with damage are put aside: they end in `.damaged`
    /// from now on, and are not read again. What is not ours stays as it is.
    ///
    /// # Errors
    /// The file system does not let us.
    pub fn discard(self) -> Result<(), LedgerError> {
        let aside = self.damage.iter().filter(|damage| damage.fault != Fault::Foreign).map(|damage| &damage.path);
        for path in aside.clone() {
            fs::rename(path, path.with_extension("damaged")).map_err(LedgerError::of(path))?;
        }
        let sound = self.read.iter().filter(|path| !aside.clone().any(|damaged| damaged == *path));
        sound.into_iter().try_for_each(|path| fs::remove_file(path).map_err(LedgerError::of(path)))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.fault {
            Fault::Foreign => write!(f, "`{path}` is named like a file of the ledger, but is none"),
            Fault::Head => write!(f, "`{path}` cannot be read: its head is damaged"),
            Fault::Length => write!(f, "`{path}` cannot be read: it has not the length that it should have"),
            Fault::Cells(count) => write!(f, "`{path}` has {count} damaged cells; the others were read"),
        }
    }
}

/// A copy of a file, or what is wrong with it.
pub(super) fn read_file(path: &Path) -> Result<Result<Segment, Fault>, LedgerError> {
    let bytes = fs::read(path).map_err(LedgerError::of(path))?;
    let words = bytes.as_chunks::<WORD_BYTES>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
    let mut fixed = [0; FIXED_WORDS];
    fixed.iter_mut().zip(words.clone()).for_each(|(into, word)| *into = word);
    let head = match Head::decode(&fixed) {
        Ok(head) if head.layout.bytes == bytes.len() => head,
        Ok(_) => return Ok(Err(Fault::Length)),
        Err(HeadFault::Foreign) => return Ok(Err(Fault::Foreign)),
        Err(HeadFault::Damaged) => return Ok(Err(Fault::Head)),
        Err(HeadFault::Newer(found)) => {
            return Err(LedgerError::Newer { path: path.to_owned(), found, known: VERSION });
        }
    };
    Segment::copied(head, words).map(Ok).map_err(LedgerError::of(path))
}

//! Sources: the text of one YAML file in memory, wiped when it is dropped because it may hold secrets.
//!
//! Called by `config::load` for the main file and for each included one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// One file of the configuration.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: Zeroizing<String>,
    reach: Reach,
}

/// What a file may refer to outside of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Files, relative to this folder, and the environment.
    Folder(PathBuf),
    /// Nothing: the text came from somewhere else than a file.
    Nothing,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The system says no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a device, a pipe.
    #[error("is not a regular file")]
    NotAFile,
    /// More bytes than allowed.
    #[error("is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// Not UTF-8.
    #[error("is not UTF-8 text (first wrong byte at offset {0})")]
    NotText(usize),
}

impl ReadError {
    /// What to do about a file that another one includes.
    pub(super) const fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) | Self::NotAFile => "check the path, which is relative to this file, and the permissions",
            Self::TooLarge(_) => "split it into several files",
            Self::NotText(_) => "save it as UTF-8",
        }
    }
}

impl Source {
    /// Reads a file of at most [`MAX_FILE_BYTES`].
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        let mut bytes = read_bytes(path, MAX_FILE_BYTES)?;
        if let Err(error) = std::str::from_utf8(&bytes) {
            return Err(ReadError::NotText(error.valid_up_to()));
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes)).expect("it has just been checked");
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { name: path.display().to_string(), text: Zeroizing::new(text), reach: Reach::Folder(folder) })
    }

    /// A text that is no file and may not refer to any.
    pub(super) fn from_text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: Zeroizing::new(text.to_owned()), reach: Reach::Nothing }
    }

    /// A file that has no text, because it could not be read.
    pub(super) fn unread(path: &Path) -> Self {
        Self::from_text(&path.display().to_string(), "")
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What paths in this file are relative to.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }
}

/// Reads a regular file of at most `max_bytes`; the bytes are wiped when dropped.
pub(super) fn read_bytes(path: &Path, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > max_bytes {
        return Err(ReadError::TooLarge(max_bytes));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(ReadError::TooLarge(max_bytes));
    }
    Ok(bytes)
}

/// The largest YAML file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

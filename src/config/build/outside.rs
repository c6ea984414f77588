//! Values that stand outside of the YAML: in files and in the environment.
//!
//! Keeps a list of all files it read or should have read, because a change of any of them is a change of the
//! configuration. What it reads never gets into a message. Called where a secret stands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::config::node::Node;
use crate::config::problem::{Mark, Problems, shown};
use crate::config::source::{Reach, ReadError, Source, read_bytes};

/// What the files of a configuration may reach outside of them.
pub(in crate::config) struct Outside<'s> {
    reaches: Vec<&'s Reach>,
    files: Vec<PathBuf>,
}

impl<'s> Outside<'s> {
    pub(in crate::config) fn new(main: &'s Source, included: &'s [Source]) -> Self {
        let reaches = std::iter::once(main).chain(included).map(Source::reach).collect();
        Self { reaches, files: Vec::new() }
    }

    /// Every file that was read or should have been.
    pub(in crate::config) fn into_files(self) -> Vec<PathBuf> {
        self.files
    }

    /// A path as seen from the file in which it is written.
    pub(super) fn path(&self, at: Mark, path: &str) -> PathBuf {
        match self.reaches[usize::from(at.file)] {
            Reach::Folder(folder) => folder.join(path),
            Reach::Nothing => PathBuf::from(path),
        }
    }

    /// The value that `{file: …}` or `{env: …}` stands for; a line break at its end does not count.
    pub(super) fn value(&mut self, node: &Node<'_>, who: &str, problems: &mut Problems) -> Option<Zeroizing<Vec<u8>>> {
        if let Some(file) = node.entry("file") {
            return self.file(file.at, file.text()?, who, problems);
        }
        let variable = node.entry("env")?;
        self.variable(variable.at, variable.text()?, who, problems)
    }

    /// The content of a file, less a line break at its end.
    pub(super) fn file(
        &mut self,
        at: Mark,
        path: &str,
        who: &str,
        problems: &mut Problems,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.path(at, path);
        if self.refuses(at, who, problems) {
            return None;
        }
        let read = read_bytes(&path, MAX_VALUE_BYTES);
        let shown = shown(&path.display().to_string());
        self.files.push(path);
        match read {
            Ok(bytes) if line(&bytes).is_empty() => {
                problems.error(at, format!("the file {shown} of {who} is empty"), "write the value into it");
                None
            }
            Ok(bytes) => Some(Zeroizing::new(line(&bytes).to_vec())),
            Err(error) => {
                let error = if matches!(error, ReadError::TooLarge(_)) {
                    "is larger than 64 KiB".to_owned()
                } else {
                    error.to_string()
                };
                let remedy = "check the path, which is relative to this file, and the permissions";
                problems.error(at, format!("the file {shown} of {who} {error}"), remedy);
                None
            }
        }
    }

    /// The content of a file that nobody but its owner may read, as it is.
    pub(super) fn private_file(
        &mut self,
        at: Mark,
        path: &str,
        who: &str,
        problems: &mut Problems,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.path(at, path);
        if self.refuses(at, who, problems) {
            return None;
        }
        let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode());
        let read = read_bytes(&path, MAX_VALUE_BYTES);
        let shown = shown(&path.display().to_string());
        self.files.push(path);
        match read {
            Ok(_) if mode & 0o077 != 0 => {
                problems.error(at, format!("others can read the file {shown} of {who}"), "run `chmod 600` on it");
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let remedy = "check the path, which is relative to this file, and the permissions";
                problems.error(at, format!("the file {shown} of {who} {error}"), remedy);
                None
            }
        }
    }

    fn variable(&self, at: Mark, name: &str, who: &str, problems: &mut Problems) -> Option<Zeroizing<Vec<u8>>> {
        if self.refuses(at, who, problems) {
            return None;
        }
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => Some(Zeroizing::new(value.into_bytes())),
            Ok(_) | Err(_) => {
                let message = format!("the environment variable {} of {who} is not set", shown(name));
                problems.error(at, message, "set it to the value, in UTF-8, where keygate is started");
                None
            }
        }
    }

    fn refuses(&self, at: Mark, who: &str, problems: &mut Problems) -> bool {
        let refused = *self.reaches[usize::from(at.file)] == Reach::Nothing;
        if refused {
            problems.error(
                at,
                format!("{who} may not come from a file or the environment here"),
                "write the value itself",
            );
        }
        refused
    }
}

fn line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

const MAX_VALUE_BYTES: u64 = 64 << 10;

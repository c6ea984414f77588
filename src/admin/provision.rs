//! Token files: the operator tokens that are there before anybody can ask for one.
//!
//! A file that is missing is made, with a new token, before the store knows of it: so after a crash the next start finds the
//! file and takes it in. The store's word is final: a token that was revoked there stays revoked. Called by `app` at the start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::catalog::Follower;
use crate::key::{Digest, RandomError, TokenId, check_token, generate_token};
use crate::store::{Action, Actor, Change, Commit, CommitError, Expect, Origin, Role, Token};
use crate::time::Timestamp;

/// A token file that is seen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// The file.
    pub path: PathBuf,
    /// The token in it.
    pub token: TokenId,
    /// What was done.
    pub outcome: Outcome,
    /// What someone should know.
    pub warnings: Vec<String>,
}

/// What was done about a token file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The file was made, with a new token.
    Made,
    /// The token in the file was new to the store.
    TakenIn,
    /// The token was known.
    Known,
}

/// Why a token file cannot be seen to.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The file system does not let us.
    #[error("the token file `{}` cannot be read or made", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else in it.
    #[error("the token file `{}` holds no admin token: move it away, and the next start makes a new one", .path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("no admin token can be made")]
    Random(#[from] RandomError),
    /// The store does not take it.
    #[error("the token of `{}` cannot be stored", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CommitError,
    },
}

/// Sees to it that each file holds an operator token that the store knows.
///
/// # Errors
/// The first file that cannot be seen to; those before it have been.
pub fn provision(follower: &Follower, files: &[PathBuf], now: Timestamp) -> Result<Vec<Provisioned>, ProvisionError> {
    files.iter().map(|path| provision_file(follower, path, now)).collect()
}

fn provision_file(follower: &Follower, path: &Path, now: Timestamp) -> Result<Provisioned, ProvisionError> {
    let failed = |source| ProvisionError::Io { path: path.to_owned(), source };
    let made = match File::open(path) {
        Ok(file) => return known_file(follower, path, file, now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => generate_token()?,
        Err(error) => return Err(failed(error)),
    };
    write_new(path, made.expose()).map_err(failed)?;
    let token = take_in(follower, path, Digest::of(made.expose().as_bytes()), now)?;
    Ok(Provisioned { path: path.to_owned(), token, outcome: Outcome::Made, warnings: Vec::new() })
}

fn known_file(follower: &Follower, path: &Path, file: File, now: Timestamp) -> Result<Provisioned, ProvisionError> {
    let failed = |source| ProvisionError::Io { path: path.to_owned(), source };
    let mode = file.metadata().map_err(failed)?.mode();
    let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES));
    file.take(MOST_BYTES as u64).read_to_string(&mut text).map_err(failed)?;
    let secret = text.trim().as_bytes();
    check_token(secret).map_err(|_| ProvisionError::NoToken { path: path.to_owned() })?;
    let digest = Digest::of(secret);
    let mut warnings = Vec::new();
    if mode & 0o077 != 0 {
        warnings.push(format!("others can read the token file `{0}`: run `chmod 600 {0}`", path.display()));
    }
    let Some(token) = follower.token(&digest) else {
        let token = take_in(follower, path, digest, now)?;
        return Ok(Provisioned { path: path.to_owned(), token, outcome: Outcome::TakenIn, warnings });
    };
    let state = match (token.revoked, token.expires) {
        (Some(_), _) => Some("was revoked, which is final"),
        (None, Some(end)) if now >= end => Some("has expired"),
        (None, _) => None,
    };
    warnings.extend(state.map(|state| {
        format!("the token in `{}` {state}: move the file away, and the next start makes a new one", path.display())
    }));
    Ok(Provisioned { path: path.to_owned(), token: token.id, outcome: Outcome::Known, warnings })
}

/// Tells the store of a token.
fn take_in(follower: &Follower, path: &Path, digest: Digest, now: Timestamp) -> Result<TokenId, ProvisionError> {
    let id = TokenId::generate()?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let token =
        Token { id: id.clone(), name, digest, role: Role::Operator, created: now, expires: None, revoked: None };
    let commit = Commit {
        change: Change::PutToken(token),
        expect: Expect::Absent,
        action: Action::TokenCreate,
        origin: Origin { at: now, actor: Actor::File, remote: None, request_id: None },
        idempotency: None,
    };
    follower.commit(commit).map_err(|source| ProvisionError::Store { path: path.to_owned(), source })?;
    Ok(id)
}

/// Writes a file that is not there yet, for the owner's eyes only, and has it on disk when it returns.
fn write_new(path: &Path, token: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(token.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a token would be in the way of the next start.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

const MOST_BYTES: usize = 4096;

//! Token files: the operator tokens that are there before anybody can ask for one.
//!
//! A file that is missing or empty is made, with a new token, before the store knows of it: so after a crash the next start
//! finds the file and takes it in. A file is there only with its whole token. The store's word is final: a token that was
//! revoked there stays revoked. Called by `app` at the start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::catalog::Follower;
use crate::key::{Digest, RandomError, TokenId, check_token, generate_token};
use crate::store::{Action, Actor, Change, Commit, CommitError, Expect, Origin, Role, StoreError, Token};
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
    let provisioned: Result<Vec<_>, _> = files.iter().map(|path| provision_file(follower, path, now)).collect();
    let mut provisioned = provisioned?;
    if provisioned.iter().any(|one| one.outcome == Outcome::Made) {
        warn_of_former(follower, &mut provisioned, now)?;
    }
    Ok(provisioned)
}

fn provision_file(follower: &Follower, path: &Path, now: Timestamp) -> Result<Provisioned, ProvisionError> {
    let failed = |source| ProvisionError::Io { path: path.to_owned(), source };
    let content = match File::open(path) {
        Ok(file) => Some(Content::read(file).map_err(failed)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match content {
        Some(content) if !content.text.trim().is_empty() => known_file(follower, path, &content, now),
        Some(_) => {
            let empty = format!("the token file `{}` was empty, as after a crash, and was made anew", path.display());
            make(follower, path, |new, path| fs::rename(new, path), now)
                .map(|made| Provisioned { warnings: vec![empty], ..made })
        }
        None => make(follower, path, link, now),
    }
}

/// What stands in a token file, and who may read it.
struct Content {
    text: Zeroizing<String>,
    mode: u32,
}

impl Content {
    fn read(file: File) -> io::Result<Self> {
        let mode = file.metadata()?.mode();
        let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES));
        file.take(MOST_BYTES as u64).read_to_string(&mut text)?;
        Ok(Self { text, mode })
    }
}

/// Makes a file with a new token; `place` brings what was written under another name to its own.
fn make(
    follower: &Follower,
    path: &Path,
    place: fn(&Path, &Path) -> io::Result<()>,
    now: Timestamp,
) -> Result<Provisioned, ProvisionError> {
    let made = generate_token()?;
    let written = write_whole(path, made.expose(), place);
    written.map_err(|source| ProvisionError::Io { path: path.to_owned(), source })?;
    let token = take_in(follower, path, Digest::of(made.expose().as_bytes()), now)?;
    Ok(Provisioned { path: path.to_owned(), token, outcome: Outcome::Made, warnings: Vec::new() })
}

fn known_file(
    follower: &Follower,
    path: &Path,
    content: &Content,
    now: Timestamp,
) -> Result<Provisioned, ProvisionError> {
    let secret = content.text.trim().as_bytes();
    check_token(secret).map_err(|_| ProvisionError::NoToken { path: path.to_owned() })?;
    let digest = Digest::of(secret);
    let mut warnings = Vec::new();
    if content.mode & 0o077 != 0 {
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
    let name = name_of(path);
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

/// What a file's tokens are called.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Whoever has a file that was lost has its token, which only an operator can know to be harmless.
fn warn_of_former(follower: &Follower, provisioned: &mut [Provisioned], now: Timestamp) -> Result<(), ProvisionError> {
    let present: Vec<TokenId> = provisioned.iter().map(|one| one.token.clone()).collect();
    for made in provisioned.iter_mut().filter(|one| one.outcome == Outcome::Made) {
        let failed = |source: StoreError| ProvisionError::Store { path: made.path.clone(), source: source.into() };
        let name = name_of(&made.path);
        let tokens = follower.store().tokens(None, usize::MAX).map_err(failed)?.into_iter().map(|(_, token)| token);
        let former: Vec<_> = tokens
            .filter(|token| token.name == name && token.role == Role::Operator && token.is_valid(now))
            .filter(|token| !present.contains(&token.id))
            .map(|token| token.id.to_string())
            .collect();
        if !former.is_empty() {
            made.warnings.push(format!(
                "the token file `{}` was made anew, and what stood in it before is still valid: end it with `keygate tokens \
                 revoke ID`, ID being {}",
                made.path.display(),
                former.join(", ")
            ));
        }
    }
    Ok(())
}

/// Has a token on disk under another name, for the owner's eyes only, before the file has its own.
fn write_whole(path: &Path, token: &str, place: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left behind by a process that died here.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(token.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| place(&new, path)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Gives a file its name only if nobody else has it.
fn link(new: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(new, path)?;
    fs::remove_file(new)
}

const MOST_BYTES: usize = 4096;

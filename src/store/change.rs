//! What is asked of the store: a change, what must hold for it, and who asks from where.
//!
//! Made by `admin` and `cli`; everything in one [`Commit`] becomes durable together or not at all.

use std::fmt;
use std::net::IpAddr;

use super::record::{Revision, StoredKey, Token};
use crate::key::{KeyId, Name, TokenId};
use crate::time::Timestamp;

/// One change with all that goes along with it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is changed.
    pub change: Change,
    /// What must hold for it.
    pub expect: Expect,
    /// What it is called in the audit log.
    pub action: Action,
    /// Who asks, when, from where.
    pub origin: Origin,
    /// What to answer when the same is asked again.
    pub idempotency: Option<Idempotency>,
}

/// A change of one record.
#[derive(Clone, Debug)]
pub enum Change {
    /// The key is this from now on. A key put as revoked is a tombstone, also of a key that the store did not know.
    ///
    /// When a secret was last used is never put back to an earlier time than the store knows.
    PutKey(Box<StoredKey>),
    /// The key is revoked for ever. It keeps its id and its digests.
    RevokeKey(KeyId),
    /// The token is this from now on.
    PutToken(Token),
    /// The token is revoked for ever.
    RevokeToken(TokenId),
}

/// What must hold of the record before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: it may be there or not.
    Anything,
    /// It is not there.
    Absent,
    /// It was last changed at this revision.
    Revision(Revision),
}

/// Who asks, when, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From which address.
    pub remote: Option<IpAddr>,
    /// In which request.
    pub request_id: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of an admin token.
    Token(TokenId),
    /// Somebody whom the provider has let in for an owner, with a link.
    Portal {
        /// Whose keys they are.
        owner: Name,
        /// The token that the link was made with.
        by: Option<TokenId>,
    },
    /// A user of the sign-on proxy in front of the console.
    Proxy(Name),
    /// Someone on the gateway's own machine.
    Cli,
    /// The configuration file.
    File,
    /// Nobody who is known: a failed login, the use of a revoked key.
    Unknown,
}

/// What was done, in the words of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A key was created.
    KeyCreate,
    /// A key was taken over from elsewhere.
    KeyImport,
    /// Something of a key was changed.
    KeyChange,
    /// A key was disabled.
    KeyDisable,
    /// A key was enabled again.
    KeyEnable,
    /// A key got a new secret.
    KeyRotate,
    /// A key was revoked.
    KeyRevoke,
    /// A secret was shown to someone.
    SecretReveal,
    /// A revoked key was presented.
    RevokedUse,
    /// A token was created.
    TokenCreate,
    /// Something of a token was changed.
    TokenChange,
    /// A token was revoked.
    TokenRevoke,
    /// Someone presented no valid token.
    LoginFail,
    /// A sink of usage was told to wait.
    SinkPause,
    /// A sink of usage was told to go on.
    SinkResume,
}

/// Something for the audit log that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// To which key or token, if that is known.
    pub target: Option<String>,
    /// Who, when, from where.
    pub origin: Origin,
}

/// The answer to a request that its sender can tell apart from all others, kept for 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose request it is, as in the audit log.
    pub who: String,
    /// What its sender calls it.
    pub key: String,
    /// What is answered.
    pub answer: Answer,
}

/// An answer that can be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The SHA-256 of the request's body: another one under the same name is a mistake of the sender.
    pub request: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The body, without the secret.
    pub body: String,
}

/// An answer that was given before, and the revision of what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The answer.
    pub answer: Answer,
    /// The revision of the commit that it came with.
    pub revision: Revision,
}

/// How long answers are kept.
pub(super) const ANSWER_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// The id of a token, `portal:` and the owner, `sso:` and the user, or `cli`, `file`, `unknown`: no two are alike.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => f.write_str(id.as_str()),
            Self::Portal { owner, .. } => write!(f, "portal:{owner}"),
            Self::Proxy(user) => write!(f, "sso:{user}"),
            Self::Cli => f.write_str("cli"),
            Self::File => f.write_str("file"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Action {
    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreate => "key.create",
            Self::KeyImport => "key.import",
            Self::KeyChange => "key.change",
            Self::KeyDisable => "key.disable",
            Self::KeyEnable => "key.enable",
            Self::KeyRotate => "key.rotate",
            Self::KeyRevoke => "key.revoke",
            Self::SecretReveal => "secret.reveal",
            Self::RevokedUse => "key.revoked_use",
            Self::TokenCreate => "token.create",
            Self::TokenChange => "token.change",
            Self::TokenRevoke => "token.revoke",
            Self::LoginFail => "login.fail",
            Self::SinkPause => "sink.pause",
            Self::SinkResume => "sink.resume",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

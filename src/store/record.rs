//! What the store keeps: keys with what is known of their secrets, admin tokens, and the order of all changes.
//!
//! Records are written and read whole; what changes only a part is [`super::Store::note_used`].

use std::fmt;
use std::str::FromStr;

use super::error::StoreError;
use crate::key::{Digest, Key, Name, State, StoredDigest, TextError, TokenId};
use crate::time::Timestamp;

/// The place of a change in the one order of all changes. The first is 1; 0 stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: Key,
    /// Its secrets, the newest first: one, or two during a rotation, then some that have ended; a tombstone may have any number.
    pub secrets: Vec<StoredSecret>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
}

/// What is kept of one secret: its digest, never itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// The digest that it is found by.
    pub digest: StoredDigest,
    /// What a list may show of it, such as `kg_live_0123…`.
    pub hint: String,
    /// Valid from this time on.
    pub since: Timestamp,
    /// Not valid from this time on: the end of a rotation's grace.
    pub until: Option<Timestamp>,
    /// When it was last used, as far as noted.
    pub last_used: Option<Timestamp>,
    /// Itself, hidden, on its way into the store. What the store gives back has none: see [`super::Store::recoverable`].
    pub recoverable: Option<Recoverable>,
}

/// A secret that can be shown again by whoever has the key that it was encrypted under; the store has it not.
#[derive(Clone, PartialEq, Eq)]
pub struct Recoverable(Box<[u8]>);

/// An admin token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its public id.
    pub id: TokenId,
    /// What its holder calls it.
    pub name: String,
    /// The SHA-256 of the token.
    pub digest: Digest,
    /// What it may do.
    pub role: Role,
    /// When it was created.
    pub created: Timestamp,
    /// Not valid from this time on.
    pub expires: Option<Timestamp>,
    /// When it was revoked, for ever.
    pub revoked: Option<Timestamp>,
}

/// What the holder of an admin token may do. Written as `operator`, `viewer` or `owner:<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Read everything.
    Viewer,
    /// Everything with the keys of this owner.
    Owner(Name),
}

/// A key or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A key.
    Key(StoredKey),
    /// An admin token.
    Token(Token),
}

/// A record whose row cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Damaged {
    /// What is left of it, as revoked: nobody gets in with what it was. With an id of its own if that cannot be read.
    pub remains: Box<Record>,
    /// What is wrong with the row.
    pub error: StoreError,
}

/// A text that is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// None of the three.
    #[error("a role is `operator`, `viewer` or `owner:<name>`")]
    Kind,
    /// The owner is no name.
    #[error("the owner of a role: {0}")]
    Owner(#[from] TextError),
}

/// Which keys a list is about; what is none is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this owner.
    pub owner: Option<Name>,
    /// On this plan.
    pub plan: Option<Name>,
    /// In this state.
    pub state: Option<State>,
    /// With this text in the id or the name; the case of ASCII letters does not matter.
    pub text: Option<String>,
}

impl Revision {
    /// The revision of the next change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Recoverable {
    /// What was encrypted.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that it was made of.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Recoverable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recoverable(..)")
    }
}

impl StoredSecret {
    /// Whether it has not ended at this time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}

impl Token {
    /// Whether it lets anybody in at this time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

impl Record {
    /// Its public id.
    pub fn id(&self) -> &str {
        match self {
            Self::Key(key) => key.key.id.as_str(),
            Self::Token(token) => token.id.as_str(),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Viewer => f.write_str("viewer"),
            Self::Owner(name) => write!(f, "owner:{name}"),
        }
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        match (text, text.strip_prefix("owner:")) {
            ("operator", _) => Ok(Self::Operator),
            ("viewer", _) => Ok(Self::Viewer),
            (_, Some(name)) => Ok(Self::Owner(name.parse()?)),
            (_, None) => Err(RoleError::Kind),
        }
    }
}

/// The word for a state, as it is kept and shown.
pub(super) const fn state_word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Disabled => "disabled",
        State::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for text in ["operator", "viewer", "owner:Acme Inc"] {
            assert_eq!(text.parse::<Role>().unwrap().to_string(), text);
        }
        for bad in ["", "admin", "owner", "owner:", "Operator"] {
            assert!(bad.parse::<Role>().is_err(), "{bad:?}");
        }
    }
}

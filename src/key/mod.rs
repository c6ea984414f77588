//! Keys: the printed form of a secret, its digest, and the record that says what its holder may do.
//!
//! Pure: no clock, no I/O, no framework. Called by `gateway` for every request and by `config` and `cli`.

mod digest;
mod form;
mod random;
mod secret;
mod text;
mod token;

use ipnet::IpNet;

use crate::time::Timestamp;

pub use digest::{Digest, DigestError, Digests, Hasher, MAX_PEPPERS, PepperError, PepperId, StoredDigest};
pub use form::{BrandError, Form, GenerateError, Malformed};
pub use random::RandomError;
pub use secret::{STRENGTH_WITHOUT_PEPPER_BITS, Secret, estimated_strength_bits};
pub use text::{KeyId, Name, Scope, TextError, TokenId};
pub use token::{check_token, generate_token};

/// The record of a key: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Public id, used in URLs, logs, headers; never derived from the secret.
    pub id: KeyId,
    /// What its holder calls it; free text, never sent on the wire.
    pub name: String,
    /// Whom it belongs to: the customer who is billed.
    pub owner: Option<Name>,
    /// The plan it is on; none means no limits.
    pub plan: Option<Name>,
    /// What it may ask for, sorted.
    pub scopes: Vec<Scope>,
    /// The client networks it works from; empty means any.
    pub networks: Vec<IpNet>,
    /// Not valid before this time.
    pub not_before: Option<Timestamp>,
    /// Not valid from this time on.
    pub expires: Option<Timestamp>,
    /// Active, disabled or revoked.
    pub state: State,
    /// What it may use up beyond its plan's quotas.
    pub extra: Extra,
}

/// More than a quota gives, per period; in force as soon as the key says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Per day.
    pub day: u64,
    /// Per month.
    pub month: u64,
}

impl Extra {
    /// The most of each; no quota gives more by itself either.
    pub const MOST: u64 = 1_000_000_000_000;
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// In use.
    #[default]
    Active,
    /// Refused until it is enabled again.
    Disabled,
    /// Refused for ever.
    Revoked,
}

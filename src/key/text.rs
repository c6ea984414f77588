//! Names that cannot be wrong: ids, names and scopes, checked once at the edge and then trusted.
//!
//! Whatever passes here can stand in a header field, a metric label or a log line as it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use compact_str::CompactString;

use super::random::{RandomError, random_base62};

/// The public id of a key: 1 to 64 of `A-Z a-z 0-9 _ . -`. In place up to 24 characters: a million of them are as many texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(CompactString);

/// The public id of an admin token: `tok_` and 16 base62 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Arc<str>);

/// A name of an owner, plan, route, upstream or limit: 1 to 128 printable ASCII characters, spaces only inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A scope: an RFC 6749 section 3.3 `scope-token` of 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// Why a text is not an id, a name or a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a key id.
    #[error("a key id has 1 to 64 characters out of A-Z a-z 0-9 _ . -, and is not `.`, `..` or `verify`")]
    KeyId,
    /// Not a token id.
    #[error("a token id is `tok_` and 16 letters or digits")]
    TokenId,
    /// Not a name.
    #[error("a name has 1 to 128 printable ASCII characters and neither begins nor ends with a space")]
    Name,
    /// Not a scope.
    #[error("a scope has 1 to 64 printable ASCII characters without space, quote or backslash")]
    Scope,
}

impl KeyId {
    /// A new random id: `key_` and 16 base62 characters, unrelated to any secret.
    pub fn generate() -> Result<Self, RandomError> {
        random_id("key_").map(Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TokenId {
    /// A new random id, unrelated to any token.
    pub fn generate() -> Result<Self, RandomError> {
        random_id(TOKEN_PREFIX).map(|id| Self(id.as_str().into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scope {
    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        // What a URL of the admin API could not name.
        let is_reserved = matches!(text, "." | ".." | "verify");
        if fits && !is_reserved { Ok(Self(text.into())) } else { Err(TextError::KeyId) }
    }
}

impl FromStr for TokenId {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let random = text.strip_prefix(TOKEN_PREFIX).ok_or(TextError::TokenId)?;
        let fits = random.len() == RANDOM_CHARACTERS && random.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(text.into())) } else { Err(TextError::TokenId) }
    }
}

impl FromStr for Name {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
            && !text.starts_with(' ')
            && !text.ends_with(' ');
        if fits { Ok(Self(text.into())) } else { Err(TextError::Name) }
    }
}

impl FromStr for Scope {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(TextError::Scope) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn random_id(prefix: &str) -> Result<CompactString, RandomError> {
    let random = random_base62::<RANDOM_CHARACTERS>()?;
    Ok(prefix.chars().chain(random.iter().copied().map(char::from)).collect())
}

const TOKEN_PREFIX: &str = "tok_";
const RANDOM_CHARACTERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr>(text: &str, fits: bool) {
        assert_eq!(text.parse::<T>().is_ok(), fits, "{text:?}");
    }

    #[test]
    fn ids_are_short_and_plain() {
        check::<KeyId>("key_acme-1.x", true);
        check::<KeyId>(&"a".repeat(64), true);
        for bad in ["", "a b", "a/b", "ä", ".", "..", "verify", &"a".repeat(65)] {
            check::<KeyId>(bad, false);
        }
    }

    #[test]
    fn a_generated_id_is_an_id_of_its_own() {
        let (one, other) = (KeyId::generate().unwrap(), KeyId::generate().unwrap());
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("key_") && one.as_str().len() == 20);
        check::<KeyId>(one.as_str(), true);
    }

    #[test]
    fn token_ids_have_one_form_only() {
        check::<TokenId>(TokenId::generate().unwrap().as_str(), true);
        for bad in ["", "cli", "tok_", "tok_0123456789abcde", "tok_0123456789abcdef0", "key_0123456789abcdef"] {
            check::<TokenId>(bad, false);
        }
    }

    #[test]
    fn names_are_safe_as_field_values() {
        check::<Name>("Acme production", true);
        for bad in ["", " a", "a ", "a\r\nb", "ä", &"a".repeat(129)] {
            check::<Name>(bad, false);
        }
    }

    #[test]
    fn scopes_are_scope_tokens() {
        check::<Scope>("orders:read", true);
        for bad in ["", "a b", "a\"b", "a\\b", &"a".repeat(65)] {
            check::<Scope>(bad, false);
        }
    }
}

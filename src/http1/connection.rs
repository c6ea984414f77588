//! The `Connection` fields of a head (RFC 9110 section 7.6.1): whether the connection is kept, and which fields end here.

use super::fields::{Tokens, eq_folded};
use super::request::Version;

/// What the `Connection` fields of one head say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection<'b> {
    close: bool,
    keep_alive: bool,
    named: [&'b [u8]; MAX_NAMED],
    count: usize,
}

/// More fields are named than anybody honestly needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Connection names too many fields")]
pub struct TooManyNamed;

impl<'b> Connection<'b> {
    /// Takes in the value of one field.
    ///
    /// # Errors
    /// If more than 8 fields are named by then.
    pub fn take_in(&mut self, value: &'b [u8]) -> Result<(), TooManyNamed> {
        // As nearly every server writes it.
        if value == b"keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for token in Tokens::of(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                *self.named.get_mut(self.count).ok_or(TooManyNamed)? = token;
                self.count += 1;
            }
        }
        Ok(())
    }

    /// Whether fields are named at all, besides what concerns the connection itself.
    pub const fn names_any(&self) -> bool {
        self.count > 0
    }

    /// Whether a field belongs to this connection alone and goes no further.
    pub fn names(&self, field: &[u8]) -> bool {
        self.named[..self.count].iter().any(|named| eq_folded(named, field))
    }

    /// Whether the sender closes the connection after this message.
    pub const fn closes(&self) -> bool {
        self.close
    }

    /// Whether the sender wants to keep it: by default in HTTP/1.1, if it says so in HTTP/1.0.
    pub fn keeps(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

const MAX_NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Connection<'static>, TooManyNamed> {
        let mut connection = Connection::default();
        values.iter().try_for_each(|value| connection.take_in(value.as_bytes())).map(|()| connection)
    }

    #[test]
    fn connections_are_kept_as_their_version_has_it() {
        for (value, in_10, in_11) in [
            ("", false, true),
            ("Close", false, false),
            ("Keep-Alive", true, true),
            ("keep-alive, close", false, false),
        ] {
            let connection = read(&[value]).unwrap();
            assert_eq!(
                (connection.keeps(Version::Http10), connection.keeps(Version::Http11)),
                (in_10, in_11),
                "{value}"
            );
        }
    }

    #[test]
    fn fields_are_named_in_every_spelling() {
        let connection = read(&["close, X-One", "x_two"]).unwrap();
        assert!(connection.names(b"x_ONE") && connection.names(b"X-Two") && !connection.names(b"X-Three"));
        assert!(!connection.names(b"close"));
    }

    #[test]
    fn too_many_named_fields_are_refused() {
        assert!(read(&["a,b,c,d", "e,f,g,h"]).is_ok());
        assert!(read(&["a,b,c,d", "e,f,g,h,i"]).is_err());
    }
}

//! Tickets: random texts that open something for whoever holds them, a session's cookie or a link to the console.
//!
//! 256 bits, kept as their SHA-256 alone and looked up by it, so that neither memory nor the time of a look-up gives one away.
//! Made by `sessions`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::key::Digest;

/// What the holder has. Not to be printed.
pub(super) struct Ticket(Zeroizing<String>);

impl Ticket {
    /// A new one.
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// Its text, for its holder.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

//! The vault: hides secrets so that they can be shown again, for operators who want that.
//!
//! XChaCha20-Poly1305 under a key that is in a file of its own and nowhere else. What is hidden belongs to one key id: moved to
//! another key in the store, it does not open. Called where secrets are made, and by `reveal`.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Api;
use super::problem::Problem;
use crate::key::{KeyId, Secret};
use crate::store::{Recoverable, StoredSecret};
use crate::telemetry::log;

/// The key that secrets are hidden under. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Zeroizing<[u8; KEY_BYTES]>>);

/// The content of a file that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 32 bytes, or 64 hexadecimal digits in one line")]
pub struct VaultError;

/// What does not open: it was hidden under another key, or for another id, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed;

impl Vault {
    /// The vault with the key that a file holds, as bytes or in hexadecimal.
    ///
    /// # Errors
    /// [`VaultError`], which does not say what there is instead.
    pub fn from_file(content: &[u8]) -> Result<Self, VaultError> {
        if let Ok(key) = <[u8; KEY_BYTES]>::try_from(content) {
            return Ok(Self(Arc::new(Zeroizing::new(key))));
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let digits = content.trim_ascii();
        if digits.len() != 2 * KEY_BYTES {
            return Err(VaultError);
        }
        for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = value(pair[0]).ok_or(VaultError)? << 4 | value(pair[1]).ok_or(VaultError)?;
        }
        Ok(Self(Arc::new(key)))
    }

    /// The secret of this key, hidden: version, nonce, ciphertext with its tag.
    pub(super) fn hide(&self, id: &KeyId, secret: &Secret) -> Result<Recoverable, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: id.as_str().as_bytes() };
        let hidden = self.cipher().encrypt(&nonce.into(), payload).expect("a secret is far from the cipher's bounds");
        Ok(Recoverable::new([&[VERSION][..], &nonce, &hidden].concat()))
    }

    /// The secret of this key.
    pub(super) fn open(&self, id: &KeyId, hidden: &Recoverable) -> Result<Secret, Sealed> {
        let (version, rest) = hidden.as_bytes().split_first().ok_or(Sealed)?;
        let (nonce, hidden) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Sealed)?;
        if *version != VERSION {
            return Err(Sealed);
        }
        let payload = Payload { msg: hidden, aad: id.as_str().as_bytes() };
        let mut bytes = Zeroizing::new(self.cipher().decrypt(&(*nonce).into(), payload).map_err(|_| Sealed)?);
        let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|_| Sealed)?;
        text.try_into().map_err(|_| Sealed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.0).into())
    }
}

impl Api {
    /// What is kept of a new secret of this key: with a vault, enough to show it again.
    pub(super) fn kept(&self, id: &KeyId, secret: &Secret, stored: StoredSecret) -> Result<StoredSecret, Problem> {
        let Some(vault) = &self.parts.vault else { return Ok(stored) };
        let hidden = vault.hide(id, secret).map_err(|error| {
            log::error("a secret cannot be hidden", &[("error", &error)]);
            Problem::internal()
        })?;
        Ok(StoredSecret { recoverable: Some(hidden), ..stored })
    }
}

impl PartialEq for Vault {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Vault {}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::from_file(&[byte; 32]).unwrap()
    }

    fn id(text: &str) -> KeyId {
        text.parse().unwrap()
    }

    fn secret() -> Secret {
        "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm".to_owned().try_into().unwrap()
    }

    #[test]
    fn a_hidden_secret_opens_for_its_own_key_alone() {
        let hidden = vault(1).hide(&id("key_a"), &secret()).unwrap();
        assert_eq!(vault(1).open(&id("key_a"), &hidden).unwrap().expose(), secret().expose());
        assert!(vault(1).open(&id("key_b"), &hidden).is_err());
        assert!(vault(2).open(&id("key_a"), &hidden).is_err());
        let again = vault(1).hide(&id("key_a"), &secret()).unwrap();
        assert_ne!(hidden.as_bytes(), again.as_bytes());
    }

    #[test]
    fn nothing_that_was_changed_or_cut_opens() {
        let hidden = vault(1).hide(&id("key_a"), &secret()).unwrap();
        let bytes = hidden.as_bytes();
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1;
            assert!(vault(1).open(&id("key_a"), &Recoverable::new(changed)).is_err(), "{place}");
            assert!(vault(1).open(&id("key_a"), &Recoverable::new(bytes[..place].to_vec())).is_err(), "{place}");
        }
    }

    #[test]
    fn a_key_is_bytes_or_digits() {
        assert_eq!(Vault::from_file(&[b'a'; 32]).unwrap(), Vault::from_file("61".repeat(32).as_bytes()).unwrap());
        assert_eq!(Vault::from_file(format!("{}\n", "fF".repeat(32)).as_bytes()).unwrap(), vault(0xff));
        for bad in [&b""[..], &[7; 31], &[7; 33], &[b'g'; 64], &[b'1'; 63], "ä".repeat(32).as_bytes()] {
            assert_eq!(Vault::from_file(bad), Err(VaultError), "{bad:?}");
        }
        assert_eq!(format!("{:?}", vault(1)), "Vault(..)");
    }
}

//! The printed form of admin tokens: `kga_<32 random base62><6 base62 checksum>`, 42 characters.
//!
//! Made like the secret of a key, but with a brand that no key can have and without an environment, so that one is never
//! mistaken for the other. Called by `admin`, where a token is made or presented.

use zeroize::Zeroizing;

use super::form::{ADMIN_BRAND, BODY_BYTES, CHECKSUM_BYTES, Malformed, all, checksum, checksum_holds};
use super::random::{RandomError, random_base62};
use super::secret::Secret;

/// A new random admin token (190 bits).
///
/// # Errors
/// [`RandomError`] if the system has no randomness to give.
pub fn generate_token() -> Result<Secret, RandomError> {
    let body = random_base62::<BODY_BYTES>()?;
    // The whole capacity at once: growing would leave a copy behind that is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES));
    text.push_str(ADMIN_BRAND);
    text.push('_');
    text.extend(body.iter().copied().map(char::from));
    let checksum = checksum(text.as_bytes());
    text.extend(checksum.map(char::from));
    Ok(Secret::trusted(text))
}

/// Turns away what cannot be an admin token.
///
/// # Errors
/// [`Malformed`], which does not say why.
pub fn check_token(presented: &[u8]) -> Result<(), Malformed> {
    let body = presented.strip_prefix(ADMIN_BRAND.as_bytes()).and_then(|rest| rest.strip_prefix(b"_"));
    let shaped =
        body.is_some_and(|body| body.len() == BODY_BYTES + CHECKSUM_BYTES && all(body, u8::is_ascii_alphanumeric));
    if shaped && checksum_holds(presented) { Ok(()) } else { Err(Malformed) }
}

const TOKEN_BYTES: usize = ADMIN_BRAND.len() + 1 + BODY_BYTES + CHECKSUM_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Digest, Form};

    /// Token, CRC-32 and SHA-256, computed with zlib and hashlib of Python.
    const VECTORS: [(&str, u32, &str); 3] = [
        (
            "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6S",
            0x74f5_74a4,
            "a1a7dddd30a81a45b01e50bb64640b088796cadc9cc10c0c4fbaebf000da6740",
        ),
        (
            "kga_000000000000000000000000000000002UeDZf",
            0x8834_7c37,
            "0f857acab074a335d5824fca1a00826f5f16ed6e76d98baa8ab7ffa2a9257bd1",
        ),
        (
            "kga_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz44cnUL",
            0xde7f_47ad,
            "95b6e071b6a63e341e0f726db9fb9c00a6e67328e2ec3e18f2d4a13b6c765665",
        ),
    ];

    #[test]
    fn the_vectors_pass() {
        for (token, crc, digest) in VECTORS {
            assert_eq!(crc32fast::hash(&token.as_bytes()[..token.len() - 6]), crc);
            assert_eq!(check_token(token.as_bytes()), Ok(()), "{token}");
            let hex: String = Digest::of(token.as_bytes()).as_bytes().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, digest);
        }
    }

    #[test]
    fn a_generated_token_passes_and_is_no_key() {
        let (one, other) = (generate_token().unwrap(), generate_token().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 42);
        assert_eq!(check_token(one.expose().as_bytes()), Ok(()));
        assert!(!Form::default().is_of_brand(one.expose().as_bytes()));
    }

    #[test]
    fn what_is_mistyped_or_cut_is_refused() {
        let good = VECTORS[0].0;
        let key = Form::default().generate("live").unwrap();
        for bad in ["", "kga_", &good[..41], &format!("{good}0"), &good.to_lowercase(), &good[1..], key.expose()] {
            assert_eq!(check_token(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        for place in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(check_token(&bytes), Err(Malformed));
        }
    }
}

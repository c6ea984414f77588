//! What stands where a secret should: the secret, or a reference, or a hash that nothing can be made of.
//!
//! Called by all parsers.

use crate::key::{Digest, Secret, StoredDigest};

use super::Material;
use super::reason::{Hash, Reason, Reference};

/// The secret of a field that has secrets in clear.
pub(super) fn secret(text: &str) -> Result<Material, Reason> {
    if text.is_empty() {
        return Err(Reason::NoSecret);
    }
    if let Some(reference) = reference(text) {
        return Err(Reason::Reference(reference));
    }
    if let Some(hash) = password_hash(text) {
        return Err(Reason::Hash(hash));
    }
    text.parse::<Secret>().map(Material::Secret).map_err(|_| Reason::NotASecret)
}

/// The digest of a field that names its kind in the text.
pub(super) fn digest(text: &str) -> Result<Material, Reason> {
    if let Ok(stored) = text.parse::<StoredDigest>() {
        return Ok(Material::Digest(stored));
    }
    if let Some(hash) = password_hash(text) {
        return Err(Reason::Hash(hash));
    }
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match text.split_once([':', '$']) {
        Some((kind, _)) => Err(hash_named(kind).map_or(Reason::Digest, Reason::Hash)),
        None if is_hex(text) && matches!(text.len(), 32 | 40 | 64 | 128) => Err(Reason::BareDigest),
        None => Err(Reason::Digest),
    }
}

/// The digest of a field that says of itself that it has SHA-256 digests in hexadecimal digits.
pub(super) fn sha256(text: &str) -> Result<Material, Reason> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    let digits = text.as_bytes().as_chunks::<2>();
    let pair = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> = digits.0.iter().map(pair).collect();
    match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(bytes) if is_hex && digits.1.is_empty() => {
            Ok(Material::Digest(StoredDigest { pepper: None, digest: Digest::from(bytes) }))
        }
        _ => Err(Reason::Digest),
    }
}

/// The hash that a column or prefix of this name has.
pub(super) fn hash_named(name: &str) -> Option<Hash> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    Some(match name.as_str() {
        "hash" | "key_hash" | "hashed_key" => Hash::Unknown,
        "md5" => Hash::Other("MD5"),
        "sha1" => Hash::Other("SHA-1"),
        "sha512" => Hash::Other("SHA-512"),
        "murmur" | "murmur32" | "murmur64" | "murmur128" => Hash::Other("murmur, as in Tyk"),
        "fnv" | "fnv128" | "fnv128a" => Hash::Other("FNV, as in KrakenD"),
        "bcrypt" => Hash::Password("bcrypt"),
        "argon2" => Hash::Password("argon2"),
        "scrypt" => Hash::Password("scrypt"),
        "pbkdf2" | "pbkdf2_sha256" => Hash::Password("PBKDF2"),
        _ => return None,
    })
}

/// The reference that a text is; secrets that merely have a `$` in them are none.
fn reference(text: &str) -> Option<Reference> {
    let lower: String = text.chars().take(PREFIX_CHARS).collect::<String>().to_ascii_lowercase();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| lower.starts_with(prefix));
    if begins(&["{vault://", "$secret://", "vault://"]) {
        return Some(Reference::Vault);
    }
    let is_variable = text.strip_prefix('$').is_some_and(|name| {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && name.bytes().all(allowed)
    });
    let is_template = text.contains("${{") || (lower.starts_with("${") && text.ends_with('}'));
    (is_variable || is_template || begins(&["$env://", "env://"])).then_some(Reference::Environment)
}

/// The password hash that a text is, by the beginning that it has in the crypt format and its relatives.
fn password_hash(text: &str) -> Option<Hash> {
    let known = PASSWORD_HASHES.iter().find(|(prefix, _)| text.starts_with(prefix));
    known.map(|(_, name)| Hash::Password(name))
}

const PREFIX_CHARS: usize = 12;
const PASSWORD_HASHES: [(&str, &str); 17] = [
    ("$2a$", "bcrypt"),
    ("$2b$", "bcrypt"),
    ("$2x$", "bcrypt"),
    ("$2y$", "bcrypt"),
    ("$argon2", "argon2"),
    ("$scrypt$", "scrypt"),
    ("$7$", "scrypt"),
    ("scrypt:", "scrypt"),
    ("$pbkdf2", "PBKDF2"),
    ("pbkdf2_", "PBKDF2"),
    ("pbkdf2:", "PBKDF2"),
    ("$1$", "MD5-crypt"),
    ("$apr1$", "MD5-crypt"),
    ("$5$", "SHA-crypt"),
    ("$6$", "SHA-crypt"),
    ("{SHA}", "LDAP SHA-1"),
    ("{SSHA}", "LDAP SHA-1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str, expected: &Reason) {
        assert_eq!(secret(text).err().as_ref(), Some(expected), "{text}");
    }

    #[test]
    fn references_are_not_taken_for_secrets() {
        for text in ["{vault://hcv/key}", "$secret://vault/1/jack/key", "$SECRET://v/1"] {
            skipped(text, &Reason::Reference(Reference::Vault));
        }
        for text in ["${{ env \"DECK_X\" }}", "${{KEY:=x}}", "${ANON_KEY}", "$ANON_KEY", "$env://KEY", "$ENV://KEY"] {
            skipped(text, &Reason::Reference(Reference::Environment));
        }
        for text in ["$ecret", "a$B", "{x}", "$", "$1x"] {
            assert!(matches!(secret(text), Ok(Material::Secret(_))), "{text}");
        }
    }

    #[test]
    fn password_hashes_are_named() {
        skipped("$2b$12$abcdefghijklmnopqrstuv", &Reason::Hash(Hash::Password("bcrypt")));
        skipped("$argon2id$v=19$m=1", &Reason::Hash(Hash::Password("argon2")));
        skipped("pbkdf2_sha256$1000$x", &Reason::Hash(Hash::Password("PBKDF2")));
        skipped("$scrypt$ln=1", &Reason::Hash(Hash::Password("scrypt")));
    }

    #[test]
    fn a_digest_is_taken_only_if_it_says_what_it_is() {
        let hex = "0a".repeat(32);
        assert!(digest(&format!("sha256:{hex}")).is_ok() && digest(&format!("hmac-sha256:p1:{hex}")).is_ok());
        assert_eq!(digest(&hex).err(), Some(Reason::BareDigest));
        assert_eq!(digest(&hex[..32]).err(), Some(Reason::BareDigest));
        assert_eq!(digest("md5:00").err(), Some(Reason::Hash(Hash::Other("MD5"))));
        assert_eq!(digest("sha256:00").err(), Some(Reason::Digest));
        assert!(
            sha256(&hex).is_ok() && sha256(&hex.to_uppercase()).is_ok() && sha256(&format!("sha256:{hex}")).is_ok()
        );
        for bad in ["", &hex[1..], "+a".repeat(32).as_str(), "ä".repeat(32).as_str()] {
            assert_eq!(sha256(bad).err(), Some(Reason::Digest), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_presented_is_no_secret() {
        skipped("", &Reason::NoSecret);
        for bad in ["a b", "schlüssel", &"a".repeat(257)] {
            skipped(bad, &Reason::NotASecret);
        }
    }
}

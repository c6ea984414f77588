//! Secrets come in on standard input, never as arguments: those stand in the shell's history and in the list of processes.

use std::borrow::Cow;
use std::io::Read as _;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::Failure;
use crate::key::{STRENGTH_WITHOUT_PEPPER_BITS, estimated_strength_bits};

/// Reads the secret, if the argument is the `-` that stands for standard input.
pub(super) fn read(argument: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if argument != "-" {
        // What it was is not repeated: it may be the secret.
        return Err(Failure::usage("the secret is read from standard input only: write `-` in its place").into());
    }
    // The whole capacity at once: growing would leave a copy behind that is not wiped.
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    std::io::stdin().take(MAX_BYTES).read_to_end(&mut input).context("standard input")?;
    let secret = input.trim_ascii();
    if secret.is_empty() {
        bail!("standard input is empty");
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

/// Reads the secret as a text.
pub(super) fn read_text(argument: &str) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read(argument)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage("what stands on standard input is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Whether a text is of the printed form of any brand, or long and random; what is sent in an address must not be.
pub(super) fn is_secret_like(text: &str) -> bool {
    is_printed_form(text)
        || text.len() >= LONG_BYTES && estimated_strength_bits(text.as_bytes()) >= STRENGTH_WITHOUT_PEPPER_BITS
}

/// Whether a text can be shown although nobody knows what it is: a word or a number, and nothing random.
pub(super) fn is_harmless(text: &str) -> bool {
    let word = text.trim_start_matches('-');
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    is_plain && !is_printed_form(word) && estimated_strength_bits(word.as_bytes()) < HARMLESS_BITS
}

/// The text without its words that are of the printed form: what was taken for the name of a file, say.
pub(super) fn without_secrets(text: &str) -> Cow<'_, str> {
    let is_end = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
    if !text.split(is_end).any(is_printed_form) {
        return Cow::Borrowed(text);
    }
    let pieces = text.split_inclusive(is_end).map(|piece| {
        let word = piece.trim_end_matches(is_end);
        if is_printed_form(word) { piece.replacen(word, HIDDEN, 1) } else { piece.to_owned() }
    });
    Cow::Owned(pieces.collect())
}

/// `<brand>_<env>_` or, as admin tokens have it, `<brand>_`; then the random characters and their checksum.
fn is_printed_form(text: &str) -> bool {
    let Some((prefix, random)) = text.rsplit_once('_') else { return false };
    let (brand, env) = prefix.split_once('_').map_or((prefix, None), |(brand, env)| (brand, Some(env)));
    random.len() == RANDOM_BYTES
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && is_label(brand, 12)
        && env.is_none_or(|env| is_label(env, 8))
}

/// Whether a brand or an environment can be called so.
fn is_label(text: &str, max_bytes: usize) -> bool {
    (2..=max_bytes).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "[not shown]";
/// More than any key has.
const MAX_BYTES: u64 = 4096;
/// Of the printed form, with the checksum.
const RANDOM_BYTES: usize = 38;
/// Ids are shorter, those of other gateways too.
const LONG_BYTES: usize = 40;
/// A word of two dozen letters.
const HARMLESS_BITS: f64 = 48.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_form_or_its_strength() {
        for secret in [
            "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm",
            "acme_live_00000000000000000000000000000000000000",
            "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6S",
            "9f86d081884c7d659a2feaa0c55ad0159f86d081",
            "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEX9AMPLEKEY",
        ] {
            assert!(is_secret_like(secret) && !is_harmless(secret), "{secret}");
        }
        for id in [
            "key_0123456789abcdef",
            "7d793037-a076-4e3d-9b2e-1c6f0d4c5a88",
            "partner.of-the-northern-region_of-acme-inc",
        ] {
            assert!(!is_secret_like(id), "{id}");
        }
    }

    #[test]
    fn words_of_the_printed_form_are_left_out_of_a_text() {
        let key = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
        for (text, expected) in [
            (format!("`./{key}`: no such file"), "`./[not shown]`: no such file"),
            (format!("{key}.yaml:{key}"), "[not shown].yaml:[not shown]"),
            (key.to_owned(), "[not shown]"),
            ("key_0123456789abcdef is there".to_owned(), "key_0123456789abcdef is there"),
            (String::new(), ""),
        ] {
            assert_eq!(without_secrets(&text), expected);
        }
    }

    #[test]
    fn words_and_numbers_are_harmless() {
        for text in ["--no-such-option", "keyz", "90x", "127.0.0.1:9180", "-1", ""] {
            assert!(is_harmless(text), "{text}");
        }
        for text in ["sk+live/secret", "K7MDENGbPxRfiCY", "9f86d081884c7d65", "two words"] {
            assert!(!is_harmless(text), "{text}");
        }
    }
}

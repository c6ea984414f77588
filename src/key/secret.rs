//! The secret itself: owned, wiped when dropped, shown to nobody who does not say [`Secret::expose`].
//!
//! Only `config` and `cli` hold one; the request path works on the presented bytes. The strength estimate decides which
//! imported secrets need a pepper.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::form::{Malformed, check_bytes, prefix_bytes};

/// What the client holds: 1 to 256 bytes of visible ASCII. Wiped when dropped; never stored, printed or logged.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// Secrets whose [`estimated_strength_bits`] are below this are accepted only with a pepper.
///
/// 112 bits is what NIST SP 800-63B asks of look-up secrets that are stored under a plain fast hash.
pub const STRENGTH_WITHOUT_PEPPER_BITS: f64 = 112.0;

impl Secret {
    /// The secret in clear: for the one place that prints it, and for its digest.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a list may show of it, such as `kg_live_0123…`: the beginning, never the end.
    ///
    /// Of a secret that is not in the printed form: 4 characters if it has 20 or more, else none.
    pub fn hint(&self) -> String {
        let text = self.expose();
        let shown = match prefix_bytes(text.as_bytes()) {
            Some(prefix) => prefix + HINT_BYTES,
            None if text.len() >= HINT_FROM_BYTES => HINT_BYTES,
            None => 0,
        };
        format!("{}…", &text[..shown])
    }

    pub(super) fn trusted(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl TryFrom<Vec<u8>> for Secret {
    type Error = Malformed;

    /// Takes the bytes over without a copy; they are wiped if they cannot be a secret.
    fn try_from(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut bytes = Zeroizing::new(bytes);
        check_bytes(&bytes)?;
        let text = String::from_utf8(std::mem::take(&mut *bytes)).expect("visible ASCII is UTF-8");
        Ok(Self(Zeroizing::new(text)))
    }
}

impl TryFrom<String> for Secret {
    type Error = Malformed;

    /// Takes the text over without a copy; it is wiped if it cannot be a secret.
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::try_from(text.into_bytes())
    }
}

impl FromStr for Secret {
    type Err = Malformed;

    /// Copies the text: whoever owns the original must wipe it.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A cautious guess, in bits, at how hard a secret of unknown making is to guess.
///
/// Number of characters times the bits of one. Characters that go on with a run (`aaa`, `abc`, `321`) or end a triple that
/// was there before do not count. The bits of one follow from the classes in use (digits 10, hexadecimal digits of one
/// case 16, letters of one case 26 each, other characters only those that occur), with at most twice as many choices as
/// there are different characters; two bits where one case and no digits suggest words. It cannot know a dictionary.
pub fn estimated_strength_bits(secret: &[u8]) -> f64 {
    let counted = (0..secret.len()).filter(|&place| adds_something(&secret[..=place])).count();
    counted as f64 * bits_per_character(secret)
}

fn adds_something(read: &[u8]) -> bool {
    let [before @ .., a, b, c] = read else { return true };
    let (first, second) = (i16::from(*b) - i16::from(*a), i16::from(*c) - i16::from(*b));
    let in_run = first == second && (-1..=1).contains(&first);
    // The triples before overlap this one by up to two characters, so all but the last are looked through.
    let known = before.len() + 2;
    let seen = read[..known].windows(3).any(|triple| triple == [*a, *b, *c]);
    !in_run && !seen
}

fn bits_per_character(secret: &[u8]) -> f64 {
    let uses = |class: fn(&u8) -> bool| secret.iter().any(class);
    let (digits, lower, upper) = (uses(u8::is_ascii_digit), uses(u8::is_ascii_lowercase), uses(u8::is_ascii_uppercase));
    let mixed_case = lower && upper;
    if !digits && !mixed_case {
        return WORD_BITS;
    }
    let distinct = |class: fn(&u8) -> bool| (0..=u8::MAX).filter(|b| class(b) && secret.contains(b)).count();
    let hexadecimal = !mixed_case && secret.iter().filter(|b| b.is_ascii_alphanumeric()).all(u8::is_ascii_hexdigit);
    let alphanumeric = match (hexadecimal, lower || upper) {
        (true, true) => 16,
        (true, false) => 10,
        (false, _) => 10 * usize::from(digits) + 26 * usize::from(lower) + 26 * usize::from(upper),
    };
    let choices = alphanumeric + distinct(|b| !b.is_ascii_alphanumeric());
    let choices = choices.min(2 * distinct(|_| true));
    (choices as f64).log2()
}

const HINT_BYTES: usize = 4;
const HINT_FROM_BYTES: usize = 20;
/// Of one letter of a text in a natural language, after C. E. Shannon, Prediction and Entropy of Printed English (1951).
const WORD_BITS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Form;

    fn hint(secret: &str, expected: &str) {
        assert_eq!(secret.parse::<Secret>().unwrap().hint(), expected);
    }

    #[test]
    fn a_hint_shows_the_beginning_and_never_the_end() {
        hint("kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", "kg_live_0123…");
        hint("acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe", "acme_live_abcd…");
        hint("0123456789abcdefghij", "0123…");
        hint("kg_live_tooshort", "…");
        hint("x", "…");
    }

    #[test]
    fn a_secret_is_visible_ascii_and_does_not_show_itself() {
        for bad in ["", "a b", "ä", "a\n", &"a".repeat(257)] {
            assert!(bad.parse::<Secret>().is_err(), "{bad:?}");
        }
        assert!(Secret::try_from(vec![0xff]).is_err());
        let secret = Secret::try_from(b"hunter2".to_vec()).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(..) Some(Secret(..))");
    }

    #[test]
    fn random_secrets_are_strong_enough_without_a_pepper() {
        for strong in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "7d793037-a076-4e3d-9b2e-1c6f0d4c5a88",
            "K7MDENGbPxRfiCYEXAMz8T2q",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX9AMPLEKEY",
        ] {
            let bits = estimated_strength_bits(strong.as_bytes());
            assert!(bits >= STRENGTH_WITHOUT_PEPPER_BITS, "{strong}: {bits}");
        }
        for _ in 0..100 {
            let secret = Form::default().generate("live").unwrap();
            let bits = estimated_strength_bits(&secret.expose().as_bytes()[8..40]);
            assert!(bits >= STRENGTH_WITHOUT_PEPPER_BITS, "{}: {bits}", secret.expose());
        }
    }

    #[test]
    fn guessable_secrets_need_a_pepper() {
        for (weak, bits_max) in [
            ("", 0.0),
            ("hunter2", 40.0),
            ("correct-horse-battery-staple", 60.0),
            ("12345678901234567890123456789012", 50.0),
            ("abcdefghijklmnopqrstuvwxyz0123456789", 80.0),
            (&"a".repeat(200), 4.0),
            (&"ab1".repeat(60), 20.0),
            ("deadbeef1234", 48.0),
            ("AAAbAA7AbbAb7A7bA77bbb7b777", 70.0),
            ("31415926535897932384626433832795", 111.0),
        ] {
            let bits = estimated_strength_bits(weak.as_bytes());
            assert!(bits <= bits_max, "{weak}: {bits}");
        }
    }
}

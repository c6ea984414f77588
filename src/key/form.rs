//! The printed form of secrets: how one is made, and which bytes cannot be one.
//!
//! `<brand>_<env>_<32 random base62><6 base62 checksum>`, at most 55 bytes, so that SHA-256 takes one block. The checksum turns
//! typing errors away without a digest; it is no security control. `check` runs for every request and allocates nothing.

use zeroize::Zeroizing;

use super::random::{BASE62, RandomError, random_base62};
use super::secret::Secret;

/// The printed form with the brand of this installation; `kg` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    brand: Box<str>,
}

/// What was presented cannot be a secret; it deliberately does not say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed secret")]
pub struct Malformed;

/// Why a brand is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandError {
    /// Not of the right shape.
    #[error("a brand has 2 to 12 characters out of a-z and 0-9 and begins with a letter")]
    Shape,
    /// Taken by admin tokens.
    #[error("the brand `kga` belongs to admin tokens")]
    Reserved,
}

/// Why no secret could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The environment is not of the right shape.
    #[error("an environment has 2 to 8 characters out of a-z and 0-9 and begins with a letter")]
    Env,
    /// Brand and environment would make the secret longer than one SHA-256 block.
    #[error("brand and environment have at most 15 characters together")]
    TooLong,
    /// The system has no randomness to give.
    #[error("no secret can be made")]
    Random(#[from] RandomError),
}

impl Default for Form {
    fn default() -> Self {
        Self { brand: "kg".into() }
    }
}

impl Form {
    /// The form with another brand: `[a-z][a-z0-9]{1,11}`, except `kga`.
    pub fn new(brand: &str) -> Result<Self, BrandError> {
        if brand == ADMIN_BRAND {
            return Err(BrandError::Reserved);
        }
        let fits = is_word(brand.as_bytes(), BRAND_BYTES_MAX);
        if fits { Ok(Self { brand: brand.into() }) } else { Err(BrandError::Shape) }
    }

    /// A new random secret (190 bits) for an environment such as `live` or `test`: `[a-z][a-z0-9]{1,7}`.
    pub fn generate(&self, env: &str) -> Result<Secret, GenerateError> {
        if !is_word(env.as_bytes(), ENV_BYTES_MAX) {
            return Err(GenerateError::Env);
        }
        if self.brand.len() + 1 + env.len() + 1 + BODY_BYTES + CHECKSUM_BYTES > BYTES_MAX {
            return Err(GenerateError::TooLong);
        }
        let body = random_base62::<BODY_BYTES>()?;
        // The whole capacity at once: growing would leave a copy behind that is not wiped.
        let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX));
        for part in [&self.brand, "_", env, "_"] {
            text.push_str(part);
        }
        text.extend(body.iter().copied().map(char::from));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(Secret::trusted(text))
    }

    /// Whether a secret begins with this form's brand, so that it is held to the form.
    pub fn is_of_brand(&self, secret: &[u8]) -> bool {
        secret.strip_prefix(self.brand.as_bytes()).is_some_and(|rest| rest.starts_with(b"_"))
    }

    /// Turns away what cannot be a secret: not 1 to 256 bytes of visible ASCII, or with our brand but not in our form.
    ///
    /// A secret with another beginning (an imported one) passes: only its digest can tell.
    pub fn check(&self, presented: &[u8]) -> Result<(), Malformed> {
        if !self.is_of_brand(presented) {
            return check_bytes(presented);
        }
        // What has the form is visible ASCII.
        let rest = &presented[self.brand.len() + 1..];
        let fits = presented.len() <= BYTES_MAX && has_env_and_body(rest) && checksum_holds(presented);
        if fits { Ok(()) } else { Err(Malformed) }
    }
}

/// Turns away what cannot be a secret of anybody's: not 1 to 256 bytes of visible ASCII.
pub(super) fn check_bytes(presented: &[u8]) -> Result<(), Malformed> {
    let fits = (1..=SECRET_BYTES_MAX).contains(&presented.len()) && all(presented, u8::is_ascii_graphic);
    if fits { Ok(()) } else { Err(Malformed) }
}

/// The length of brand, environment and their underscores, if a text has the printed form under whatever brand.
pub(super) fn prefix_bytes(text: &[u8]) -> Option<usize> {
    let prefix = text.len().checked_sub(BODY_BYTES + CHECKSUM_BYTES)?;
    let brand = text.iter().position(|&b| b == b'_')?;
    let fits = is_word(&text[..brand], BRAND_BYTES_MAX) && has_env_and_body(&text[brand + 1..]);
    fits.then_some(prefix)
}

fn has_env_and_body(rest: &[u8]) -> bool {
    let Some((env, body)) = rest.split_last_chunk::<{ BODY_BYTES + CHECKSUM_BYTES }>() else { return false };
    let Some((b'_', env)) = env.split_last() else { return false };
    // Two parts that overlap, because 32 and 16 bytes are looked at without a remainder.
    let (first, last) = (&body[..BODY_BYTES], &body[BODY_BYTES + CHECKSUM_BYTES - 16..]);
    is_word(env, ENV_BYTES_MAX) && all(first, is_alphanumeric) && all(last, is_alphanumeric)
}

/// Two comparisons instead of three.
const fn is_alphanumeric(byte: &u8) -> bool {
    let (letter, digit) = ((*byte | 0x20).wrapping_sub(b'a'), byte.wrapping_sub(b'0'));
    (letter < 26) | (digit < 10)
}

/// Without a way out early, so that many bytes are looked at in one instruction.
pub(super) fn all(bytes: &[u8], fits: impl Fn(&u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & fits(byte))
}

pub(super) fn checksum_holds(presented: &[u8]) -> bool {
    let Some((covered, claimed)) = presented.split_last_chunk::<CHECKSUM_BYTES>() else { return false };
    // Reading six digits takes less than writing them: no step waits for the one before.
    let digits = claimed.map(|byte| u64::from(DIGITS[usize::from(byte)]));
    let number = digits.iter().zip(PLACES).fold(0, |sum, (digit, place)| sum + digit * place);
    digits.iter().all(|digit| *digit < 62) && number == u64::from(crc32fast::hash(covered))
}

/// CRC-32 (zlib) as big-endian base62, padded with `0`.
pub(super) fn checksum(covered: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut rest = crc32fast::hash(covered);
    let mut digits = [b'0'; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// `[a-z][a-z0-9]*` of 2 to `bytes_max` bytes.
fn is_word(text: &[u8], bytes_max: usize) -> bool {
    (2..=bytes_max).contains(&text.len())
        && text[0].is_ascii_lowercase()
        && text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

pub(super) const ADMIN_BRAND: &str = "kga";
const BRAND_BYTES_MAX: usize = 12;
const ENV_BYTES_MAX: usize = 8;
pub(super) const BODY_BYTES: usize = 32;
pub(super) const CHECKSUM_BYTES: usize = 6;
/// What SHA-256 takes in one block.
const BYTES_MAX: usize = 55;
const SECRET_BYTES_MAX: usize = 256;
/// What each place of a checksum counts.
const PLACES: [u64; CHECKSUM_BYTES] = [62_u64.pow(5), 62_u64.pow(4), 62_u64.pow(3), 62_u64.pow(2), 62, 1];
/// The value of each base62 digit; 255 of any other byte.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < BASE62.len() {
        digits[BASE62[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    const VECTORS: [(&str, &str, u32); 5] = [
        ("kg", "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", 0x02fb_a384),
        ("kg", "kg_live_000000000000000000000000000000004eeaNr", 0xfe3a_ab17),
        ("kg", "kg_live_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz35FfYr", 0xa871_908d),
        ("kg", "kg_test_0123456789ABCDEFGHIJKLMNOPQRSTUV3Gorfl", 0xb2a1_b701),
        ("acme", "acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe", 0xd4ff_cfba),
    ];

    fn check(brand: &str, presented: impl AsRef<[u8]>, passes: bool) {
        let presented = presented.as_ref();
        let outcome = Form::new(brand).unwrap().check(presented);
        assert_eq!(outcome.is_ok(), passes, "{:?}", String::from_utf8_lossy(presented));
    }

    #[test]
    fn the_vectors_of_the_design_pass() {
        for (brand, secret, crc) in VECTORS {
            assert_eq!(crc32fast::hash(&secret.as_bytes()[..secret.len() - 6]), crc);
            check(brand, secret, true);
        }
    }

    #[test]
    fn what_bears_our_brand_must_have_our_form() {
        let good = VECTORS[0].1;
        let checked = |covered: &str| {
            let checksum = checksum(covered.as_bytes());
            format!("{covered}{}", std::str::from_utf8(&checksum).unwrap())
        };
        let body = "0123456789ABCDEFGHIJKLMNOPQRSTUV";
        check("kg", checked(&format!("kg_ab_{body}")), true);
        for bad in [
            "kg_",
            "kg_live_",
            &good[..45],
            &format!("{good}0"),
            &good.to_lowercase(),
            &checked(&format!("kg_l_{body}")),
            &checked(&format!("kg_Live_{body}")),
            &checked(&format!("kg_1ive_{body}")),
            &checked(&format!("kg_environme_{body}")),
            &checked(&format!("kg__{body}")),
            &checked("kg_live_0123456789ABCDEFGHIJKLMNOPQRSTU"),
            &checked("kg_live_0123456789ABCDEFGHIJKLMNOPQRST_V"),
            &checked("kg_live_0123456789ABCDEFGHIJKLMNOPQRST-V"),
        ] {
            check("kg", bad, false);
        }
        check("abcdefghijkl", checked(&format!("abcdefghijkl_environm_{body}")), false);
    }

    #[test]
    fn what_bears_no_brand_of_ours_passes_if_it_is_visible_ascii() {
        for fine in ["x", "kg", "kga_live_x", "KG_live_x", "acme_live_x", "a+b/c==", &"a".repeat(256)] {
            check("kg", fine, true);
        }
        for bad in ["", " ", "a b", "a\tb", "a\0", "a\x7f", "ä", "a\r\n", &"a".repeat(257)] {
            check("kg", bad, false);
        }
        check("kg", b"\xff\xfe", false);
    }

    #[test]
    fn brands_and_environments_have_a_shape() {
        for bad in ["", "k", "Kg", "1g", "k-g", "k_g", "abcdefghijklm", "kä"] {
            assert_eq!(Form::new(bad), Err(BrandError::Shape), "{bad}");
            assert_eq!(Form::default().generate(bad).err(), Some(GenerateError::Env), "{bad}");
        }
        assert_eq!(Form::new("kga"), Err(BrandError::Reserved));
        let long = Form::new("abcdefghijkl").unwrap();
        assert_eq!(long.generate("test").err(), Some(GenerateError::TooLong));
        assert_eq!(long.generate("dev").unwrap().expose().len(), 55);
        assert_eq!(Form::default().generate("live").unwrap().expose().len(), 46);
    }

    fn word(first: &'static str, len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        let rest = proptest::collection::vec(proptest::sample::select(b"abcxyz019".as_slice()), len);
        rest.prop_map(move |rest| format!("{first}{}", String::from_utf8(rest).unwrap()))
    }

    proptest! {
        #[test]
        fn a_generated_secret_passes(brand in word("b", 1..8), env in word("e", 1..7)) {
            let form = Form::new(&brand).unwrap();
            let secret = form.generate(&env).unwrap();
            let prefix = format!("{brand}_{env}_");
            prop_assert!(secret.expose().starts_with(&prefix));
            prop_assert_eq!(form.check(secret.expose().as_bytes()), Ok(()));
            prop_assert_eq!(prefix_bytes(secret.expose().as_bytes()), Some(prefix.len()));
        }

        #[test]
        fn a_secret_with_one_other_byte_is_refused(place in 3_usize..46, other in any::<u8>()) {
            let form = Form::default();
            let mut bytes = form.generate("live").unwrap().expose().as_bytes().to_vec();
            prop_assume!(bytes[place] != other);
            bytes[place] = other;
            prop_assert_eq!(form.check(&bytes), Err(Malformed));
        }

        #[test]
        fn a_secret_with_two_neighbours_swapped_is_refused(place in 3_usize..45) {
            let form = Form::default();
            let mut bytes = form.generate("test").unwrap().expose().as_bytes().to_vec();
            prop_assume!(bytes[place] != bytes[place + 1]);
            bytes.swap(place, place + 1);
            prop_assert_eq!(form.check(&bytes), Err(Malformed));
        }

        #[test]
        fn a_checksum_holds_if_it_is_the_one_that_would_be_written(
            covered in proptest::collection::vec(any::<u8>(), 0..60),
            place in 0..CHECKSUM_BYTES,
            other in any::<u8>(),
        ) {
            let right = [&*covered, &checksum(&covered)].concat();
            prop_assert!(checksum_holds(&right));
            let mut claimed = right.clone();
            claimed[covered.len() + place] = other;
            prop_assert_eq!(checksum_holds(&claimed), claimed == right);
        }

        #[test]
        fn a_shortened_secret_is_refused(len in 3_usize..46) {
            let secret = Form::default().generate("live").unwrap();
            prop_assert_eq!(Form::default().check(&secret.expose().as_bytes()[..len]), Err(Malformed));
        }

        #[test]
        fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Form::default().check(&bytes);
            let _ = Form::default().check(&[b"kg_".as_slice(), &bytes].concat());
            let _ = prefix_bytes(&bytes);
        }
    }
}

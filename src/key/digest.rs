//! Digests of secrets: all that is stored and indexed.
//!
//! One presented secret gives one SHA-256 and one HMAC-SHA-256 per pepper, always all of them, so that the work tells
//! nothing about which kind a key has. Called by `gateway` for every request (no allocation), by `config` and `cli`.

use std::fmt;
use std::hash::{Hash, Hasher as StdHasher};
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The most peppers that can be known at once.
pub const MAX_PEPPERS: usize = 4;

/// The SHA-256 or HMAC-SHA-256 of a secret. Compared in constant time; its hash is [`Digest::spread`].
#[derive(Clone, Copy, Eq)]
pub struct Digest([u8; 32]);

/// All the digests that a secret can be stored under: SHA-256 first, then one per pepper.
#[derive(Clone, Copy)]
pub struct Digests {
    all: [Digest; 1 + MAX_PEPPERS],
    len: usize,
}

/// Makes digests; holds the peppers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hasher {
    peppers: Arc<[Pepper]>,
}

/// The name of a pepper: 1 to 32 of `a-z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PepperId(Arc<str>);

/// A digest as it is written down: `sha256:<64 hex>` or `hmac-sha256:<pepper id>:<64 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredDigest {
    /// The pepper it was made with; none means plain SHA-256.
    pub pepper: Option<PepperId>,
    /// The digest.
    pub digest: Digest,
}

/// Why a set of peppers is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperError {
    /// More than [`MAX_PEPPERS`].
    #[error("at most {MAX_PEPPERS} peppers can be known at once")]
    TooMany,
    /// One id twice.
    #[error("the pepper `{0}` is there twice")]
    Twice(PepperId),
    /// Too little to be random.
    #[error("the pepper `{0}` has fewer than {PEPPER_BYTES_MIN} bytes")]
    TooShort(PepperId),
}

/// Why a text is not a pepper id or a stored digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not a pepper id.
    #[error("a pepper id has 1 to 32 characters out of a-z 0-9 _ -")]
    PepperId,
    /// Neither of the two kinds.
    #[error("a digest is `sha256:<64 hex>` or `hmac-sha256:<pepper id>:<64 hex>`")]
    Kind,
    /// Not 32 bytes in hexadecimal.
    #[error("a digest has 64 hexadecimal digits")]
    Hex,
}

#[derive(Clone)]
struct Pepper {
    id: PepperId,
    /// The pepper taken in once: a request clones this and saves two of four blocks.
    keyed: Hmac<Sha256>,
}

impl Hasher {
    /// A hasher that knows these peppers; without any it makes plain SHA-256 alone.
    pub fn new(peppers: Vec<(PepperId, Zeroizing<Vec<u8>>)>) -> Result<Self, PepperError> {
        if peppers.len() > MAX_PEPPERS {
            return Err(PepperError::TooMany);
        }
        let mut known: Vec<Pepper> = Vec::with_capacity(peppers.len());
        for (id, bytes) in peppers {
            if known.iter().any(|pepper| pepper.id == id) {
                return Err(PepperError::Twice(id));
            }
            if bytes.len() < PEPPER_BYTES_MIN {
                return Err(PepperError::TooShort(id));
            }
            let keyed = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
            known.push(Pepper { id, keyed });
        }
        Ok(Self { peppers: known.into() })
    }

    /// Every digest that these bytes can be stored under.
    #[inline]
    pub fn digests(&self, presented: &[u8]) -> Digests {
        let mut all = [sha256(presented); 1 + MAX_PEPPERS];
        for (place, pepper) in all[1..].iter_mut().zip(&*self.peppers) {
            *place = pepper.digest(presented);
        }
        Digests { all, len: 1 + self.peppers.len() }
    }

    /// The digest to write down for a new key, under a pepper or plain; none if that pepper is not known.
    pub fn stored(&self, secret: &[u8], pepper: Option<&PepperId>) -> Option<StoredDigest> {
        let digest = match pepper {
            None => sha256(secret),
            Some(id) => self.peppers.iter().find(|known| known.id == *id)?.digest(secret),
        };
        Some(StoredDigest { pepper: pepper.cloned(), digest })
    }

    /// The pepper that new digests are made with: the last one in the order of ids; none if it knows none.
    pub fn newest_pepper(&self) -> Option<&PepperId> {
        self.pepper_ids().max()
    }

    /// The peppers it knows.
    pub fn pepper_ids(&self) -> impl Iterator<Item = &PepperId> {
        self.peppers.iter().map(|pepper| &pepper.id)
    }
}

impl Pepper {
    fn digest(&self, secret: &[u8]) -> Digest {
        let mut mac = self.keyed.clone();
        mac.update(secret);
        Digest(mac.finalize().into_bytes().into())
    }
}

fn sha256(secret: &[u8]) -> Digest {
    if secret.len() <= ONE_BLOCK_BYTES_MAX {
        sha256_of_one_block(secret)
    } else {
        Digest(Sha256::digest(secret).into())
    }
}

/// The same for what fits into one block, as keys in the printed form do: padded in place, without a hasher's buffer.
fn sha256_of_one_block(secret: &[u8]) -> Digest {
    let mut block = [0; 64];
    block[..secret.len()].copy_from_slice(secret);
    block[secret.len()] = 0x80;
    block[56..].copy_from_slice(&(8 * secret.len() as u64).to_be_bytes());
    let mut state = SHA256_START;
    compress256(&mut state, &[block]);
    let mut bytes = [0; 32];
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(four, word)| *four = word.to_be_bytes());
    Digest(bytes)
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

impl Digest {
    /// The SHA-256 of a secret.
    pub fn of(secret: &[u8]) -> Self {
        sha256(secret)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A number for hash tables, out of all the bytes.
    ///
    /// Any 8 bytes of a real digest would do. But a file can hold whatever its author made up, `sha256:000…001` and on,
    /// and must not turn a table into a list.
    pub fn spread(&self) -> u64 {
        let (words, _) = self.0.as_chunks::<8>();
        let folded = words.iter().fold(0, |sum: u64, word| {
            (sum.rotate_left(23) ^ u64::from_be_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        folded ^ folded >> 32
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        let differing =
            |difference, (a, b): (&[u8; 8], &[u8; 8])| difference | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
        ours.iter().zip(theirs).fold(0, differing).ct_eq(&0).into()
    }
}

impl Hash for Digest {
    fn hash<H: StdHasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.spread());
    }
}

/// Shows 4 bytes: enough to tell two apart, too little to look one up.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Digest({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

impl Digests {
    /// SHA-256 first, then one digest per pepper in the order they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, Digest> {
        self.all[..self.len].iter()
    }
}

impl<'a> IntoIterator for &'a Digests {
    type Item = &'a Digest;
    type IntoIter = std::slice::Iter<'a, Digest>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl PepperId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PepperId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(DigestError::PepperId) }
    }
}

impl fmt::Display for PepperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StoredDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            return Ok(Self { pepper: None, digest: from_hex(hex)? });
        }
        let keyed = text.strip_prefix("hmac-sha256:").ok_or(DigestError::Kind)?;
        let (pepper, hex) = keyed.split_once(':').ok_or(DigestError::Kind)?;
        Ok(Self { pepper: Some(pepper.parse()?), digest: from_hex(hex)? })
    }
}

impl fmt::Display for StoredDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pepper {
            None => f.write_str("sha256:")?,
            Some(id) => write!(f, "hmac-sha256:{id}:")?,
        }
        self.digest.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(hex: &str) -> Result<Digest, DigestError> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return Err(DigestError::Hex);
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(Digest(bytes))
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DigestError::Hex),
    }
}

/// What leaves room for the padding of FIPS 180-4 section 5.1.1.
const ONE_BLOCK_BYTES_MAX: usize = 55;

/// FIPS 180-4 section 5.3.3.
const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// 128 bits: fewer could be guessed by whoever has the digests.
const PEPPER_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn peppered(peppers: &[(&str, &[u8])]) -> Result<Hasher, PepperError> {
        let own = |(id, bytes): &(&str, &[u8])| (id.parse().unwrap(), Zeroizing::new(bytes.to_vec()));
        Hasher::new(peppers.iter().map(own).collect())
    }

    #[test]
    fn made_up_digests_are_spread_too() {
        let mut low = std::collections::HashSet::new();
        for number in 0..4096_u16 {
            let mut bytes = [0; 32];
            bytes[30..].copy_from_slice(&number.to_be_bytes());
            low.insert(Digest::from(bytes).spread() & 0xffff);
        }
        assert!(low.len() > 3500, "{}", low.len());
    }

    #[test]
    fn the_digests_of_the_design_come_out() {
        for (secret, hex) in [
            (
                "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm",
                "7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd",
            ),
            (
                "kg_live_000000000000000000000000000000004eeaNr",
                "f8cd82e5030497b56d9e101823b55b3515c2aa343a0070785495ba5650cee9c6",
            ),
            (
                "kg_live_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz35FfYr",
                "8d0c39dce621d980a72a164f9802e8792e7355d0bcac1c6a6bac5fa01d85a9e1",
            ),
            (
                "kg_test_0123456789ABCDEFGHIJKLMNOPQRSTUV3Gorfl",
                "1b0b8474eb53ff5899419013cced3acbf8efca6366e3be287aa60bbf9cd3191b",
            ),
            (
                "acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe",
                "25f653a1c6aec6243a03f198348ef0a209711ca2deb4f31e955e6e2b8569ca74",
            ),
        ] {
            let stored = Hasher::default().stored(secret.as_bytes(), None).unwrap();
            assert_eq!(stored.to_string(), format!("sha256:{hex}"));
        }
    }

    #[test]
    fn a_digest_is_sha_256_at_every_length() {
        let bytes: Vec<u8> = (0..130).map(|n| n as u8).collect();
        for len in 0..=bytes.len() {
            let expected: [u8; 32] = Sha256::digest(&bytes[..len]).into();
            assert_eq!(Digest::of(&bytes[..len]), expected.into(), "{len}");
        }
    }

    #[test]
    fn a_pepper_gives_the_hmac_of_rfc_4231() {
        // Test cases 1 and 6 of RFC 4231: a key within one block, and one that is longer.
        let hasher = peppered(&[("p1", &[0x0b; 20]), ("p2", &[0xaa; 131])]).unwrap();
        let stored = |secret: &str, id: &str| hasher.stored(secret.as_bytes(), Some(&id.parse().unwrap())).unwrap();
        assert_eq!(
            stored("Hi There", "p1").to_string(),
            "hmac-sha256:p1:b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            stored("Test Using Larger Than Block-Size Key - Hash Key First", "p2").to_string(),
            "hmac-sha256:p2:60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn all_digests_are_made_in_the_order_of_the_peppers() {
        let hasher = peppered(&[("new", &[1; 32]), ("old", &[2; 32])]).unwrap();
        let digests = hasher.digests(b"secret");
        let ids = [None, Some("new"), Some("old")].map(|id| id.map(|id| id.parse().unwrap()));
        let expected = ids.map(|id: Option<PepperId>| hasher.stored(b"secret", id.as_ref()).unwrap().digest);
        assert_eq!(digests.iter().copied().collect::<Vec<_>>(), expected);
        assert_ne!(expected[1], expected[2]);
        assert_eq!(hasher.pepper_ids().map(PepperId::as_str).collect::<Vec<_>>(), ["new", "old"]);
    }

    #[test]
    fn a_pepper_that_is_not_known_stores_nothing() {
        assert_eq!(Hasher::default().stored(b"secret", Some(&"p1".parse().unwrap())), None);
    }

    #[test]
    fn peppers_are_few_distinct_and_long_enough() {
        let long: &[u8] = &[7; 16];
        let id = || "p1".parse().unwrap();
        assert!(peppered(&[("a", long), ("b", long), ("c", long), ("d", long)]).is_ok());
        let five = peppered(&[("a", long), ("b", long), ("c", long), ("d", long), ("e", long)]);
        assert_eq!(five.err(), Some(PepperError::TooMany));
        assert_eq!(peppered(&[("p1", long), ("p1", long)]).err(), Some(PepperError::Twice(id())));
        assert_eq!(peppered(&[("p1", &long[1..])]).err(), Some(PepperError::TooShort(id())));
    }

    #[test]
    fn nothing_shows_its_content() {
        let hasher = peppered(&[("p1", b"0123456789abcdef")]).unwrap();
        assert_eq!(format!("{hasher:?}"), "Hasher(..)");
        assert_eq!(format!("{:?}", Digest([0xab; 32])), "Digest(abababab..)");
    }

    #[test]
    fn a_digest_hashes_and_compares_all_of_its_bytes() {
        let hash = |digest: Digest| {
            let mut hasher = DefaultHasher::new();
            digest.hash(&mut hasher);
            hasher.finish()
        };
        let (a, mut b, mut c) = (Digest([1; 32]), Digest([1; 32]), Digest([1; 32]));
        b.0[31] = 2;
        c.0[7] = 2;
        assert_eq!((hash(a) == hash(b), hash(a) == hash(c), hash(a) == hash(a)), (false, false, true));
        assert_eq!((a == b, a == c, a == a.0.into()), (false, false, true));
    }

    fn refused(text: &str, why: DigestError) {
        assert_eq!(text.parse::<StoredDigest>(), Err(why), "{text}");
    }

    #[test]
    fn stored_digests_of_another_shape_are_refused() {
        let hex = "ab".repeat(32);
        for kind in ["", &hex, &format!("sha1:{hex}"), &format!("SHA256:{hex}"), &format!("hmac-sha256:{hex}")] {
            refused(kind, DigestError::Kind);
        }
        for pepper in [format!("hmac-sha256::{hex}"), format!("hmac-sha256:P:{hex}")] {
            refused(&pepper, DigestError::PepperId);
        }
        for bad in
            ["", &hex[1..], &format!("{hex}0"), &hex.replace("ab", "ag"), &format!("{} ", &hex[1..]), &"é".repeat(32)]
        {
            refused(&format!("sha256:{bad}"), DigestError::Hex);
            refused(&format!("hmac-sha256:p:{bad}"), DigestError::Hex);
        }
    }

    proptest! {
        #[test]
        fn a_stored_digest_reads_back_in_either_case(
            bytes in any::<[u8; 32]>(),
            pepper in proptest::option::of(proptest::sample::select(vec!["p1", "a-b_c", "0"])),
        ) {
            let stored = StoredDigest { pepper: pepper.map(|id| id.parse().unwrap()), digest: bytes.into() };
            let text = stored.to_string();
            prop_assert_eq!(text.to_lowercase(), text.as_str());
            let (kind, hex) = text.rsplit_once(':').unwrap();
            prop_assert_eq!(format!("{kind}:{}", hex.to_uppercase()).parse(), Ok(stored.clone()));
            prop_assert_eq!(text.parse(), Ok(stored));
        }
    }
}

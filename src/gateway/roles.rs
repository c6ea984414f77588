//! What each field of a head is to the gateway, found by its name in one look-up.
//!
//! Built when rules change, read for every field of every request and response. Names that servers could take for each
//! other (`_` for `-`, any case) are one name here, so no spelling gets past a field that the gateway sets itself.

use crate::catalog::Wire;
use crate::http1::eq_folded;

/// What a field of a request is to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestRole {
    /// Forwarded as it is.
    #[default]
    Plain,
    /// Hop-by-hop, or set by the gateway: a client's copy is never forwarded.
    Dropped,
    /// Names the other hop-by-hop fields, and whether the connection is kept.
    Connection,
    /// The host.
    Host,
    /// The body's length.
    ContentLength,
    /// The body's coding.
    TransferEncoding,
    /// An expectation.
    Expect,
    /// May hold a credential after a `Bearer`.
    Bearer,
    /// May hold a credential.
    Credential,
    /// May hold a credential in one of its pairs.
    Cookie,
    /// The list of clients and proxies so far: rewritten.
    ForwardedFor,
    /// Kept only from a trusted proxy, else set by the gateway.
    ForwardedProto,
    /// Kept only from a trusted proxy, else set by the gateway.
    ForwardedHost,
    /// Other claims about the client: forwarded only from a trusted proxy.
    ProxyClaim,
    /// The request id.
    RequestId,
    /// The media type of the body; forwarded.
    ContentType,
}

/// What a field of a response is to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResponseRole {
    /// Forwarded as it is.
    #[default]
    Plain,
    /// Hop-by-hop, or set by the gateway.
    Dropped,
    /// Names the other hop-by-hop fields, and whether the connection is kept.
    Connection,
    /// The body's length.
    ContentLength,
    /// The body's coding.
    TransferEncoding,
    /// Whether caches may keep it; forwarded.
    CacheControl,
    /// When it was made; forwarded.
    Date,
    /// About limits: dropped if the gateway tells of its own.
    Limits,
    /// How many units the request is; forwarded if the operator says so.
    Units,
}

/// The roles of the fields of one kind of head.
#[derive(Debug)]
pub(super) struct Roles<R> {
    /// The known names, by [`place`].
    places: Box<[Vec<(Known, R)>; PLACES]>,
    /// What a name with `_` is that no role is known for.
    underscored: R,
    /// What a name with `_` is that folds to a known one.
    disguised: R,
    /// Whether a `_` makes a difference at all.
    minds_underscores: bool,
}

impl<R: Copy + Default + PartialEq> Roles<R> {
    /// The role of the field called `name`.
    pub(super) fn of(&self, name: &[u8]) -> R {
        let known = &self.places[place(name, |byte| byte)];
        match known.iter().find(|(known, _)| known.is(name)) {
            Some((_, role)) => *role,
            None if self.minds_underscores && has_underscores(name) => self.of_underscored(name),
            None => R::default(),
        }
    }

    #[cold]
    fn of_underscored(&self, name: &[u8]) -> R {
        let folds = self.places[place(name, hyphen)].iter().any(|(known, _)| eq_folded(&known.name, name));
        if folds { self.disguised } else { self.underscored }
    }

    fn new(underscored: R, disguised: R) -> Self {
        let minds_underscores = [underscored, disguised] != [R::default(); 2];
        Self { places: Box::new([const { Vec::new() }; PLACES]), underscored, disguised, minds_underscores }
    }

    /// The first role that a name is given stays.
    fn add(mut self, names: &[&str], role: R) -> Self {
        for name in names {
            let known = &mut self.places[place(name.as_bytes(), hyphen)];
            if !known.iter().any(|(known, _)| eq_folded(&known.name, name.as_bytes())) {
                known.push((Known::new(name), role));
            }
        }
        self
    }
}

/// A known name, with what a comparison of 8 bytes at once needs.
#[derive(Debug)]
struct Known {
    name: Box<[u8]>,
    /// Its last bytes, which tell most names apart.
    last: Word,
    /// All but the last, which may be among them again.
    leading: Box<[Word]>,
}

/// 8 bytes of a name in lower case and with `-` for `_`.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: u64,
    /// The bits that may differ: those that tell `A` from `a`.
    case_bits: u64,
}

impl Known {
    fn new(name: &str) -> Self {
        let lower = name.to_ascii_lowercase().replace('_', "-").into_bytes();
        let case_bits = lower.iter().map(|byte| if byte.is_ascii_lowercase() { 0x20 } else { 0 });
        let case_bits: Vec<u8> = case_bits.collect();
        let word = |(bytes, case_bits)| Word { bytes, case_bits };
        Self {
            name: name.as_bytes().into(),
            last: word((last_word(&lower), last_word(&case_bits))),
            leading: leading_words(&lower).zip(leading_words(&case_bits)).map(word).collect(),
        }
    }

    /// Whether this is the name, in any case but without a `_`.
    fn is(&self, name: &[u8]) -> bool {
        name.len() == self.name.len()
            && self.last.is(last_word(name))
            && leading_words(name).zip(&self.leading).all(|(bytes, word)| word.is(bytes))
    }
}

impl Word {
    const fn is(self, bytes: u64) -> bool {
        (bytes ^ self.bytes) & !self.case_bits == 0
    }
}

fn has_underscores(name: &[u8]) -> bool {
    has_underscore(last_word(name)) || leading_words(name).any(has_underscore)
}

/// The bytes of a name, 8 at a time; those that are left over at the end are in its [`last_word`].
fn leading_words(name: &[u8]) -> impl Iterator<Item = u64> {
    name.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// The last 8 bytes; of less than 8, all of them in some order.
fn last_word(name: &[u8]) -> u64 {
    if let Some(word) = name.last_chunk() {
        return u64::from_le_bytes(*word);
    }
    match (name.first_chunk(), name.last_chunk(), name) {
        (Some(first), Some(last), _) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (_, _, [first, .., last]) => u64::from(u32::from_le_bytes([*first, name[1], name[name.len() / 2], *last])),
        (_, _, name) => name.first().map_or(0, |byte| u64::from(*byte)),
    }
}

/// Whether one of the 8 bytes is `_`: a byte is zero if taking 1 away borrows from it and its highest bit was not set.
const fn has_underscore(word: u64) -> bool {
    let zero_for_underscore = word ^ 0x5f5f_5f5f_5f5f_5f5f;
    zero_for_underscore.wrapping_sub(0x0101_0101_0101_0101) & !zero_for_underscore & 0x8080_8080_8080_8080 != 0
}

/// Where a name stands in the table: the same in any case, and empty for most names that are nothing special. With `_` it
/// stands where it does with `-`.
fn place(name: &[u8], fold: impl Fn(u8) -> u8) -> usize {
    // These bits are all of a letter but its case.
    let bits = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(fold(*byte) & 0x1f));
    (name.len() * 37 + bits(name.first()) * 5 + bits(name.last())) % PLACES
}

const fn hyphen(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

const PLACES: usize = 256;

impl Roles<RequestRole> {
    /// The roles of request fields under these settings.
    pub(super) fn of_requests(wire: &Wire) -> Self {
        use RequestRole as R;
        let identity = [&wire.identity.key, &wire.identity.owner, &wire.identity.plan];
        let identity: Vec<&str> = identity.into_iter().flatten().map(String::as_str).collect();
        let (bearer, plain): (Vec<&str>, Vec<&str>) = wire
            .credentials
            .headers
            .iter()
            .map(String::as_str)
            .partition(|name| name.eq_ignore_ascii_case("authorization"));
        let underscored = if wire.allow_underscores { R::Plain } else { R::Dropped };
        let roles = Self::new(underscored, R::Dropped)
            .add(&["Connection"], R::Connection)
            .add(HOP_BY_HOP, R::Dropped)
            .add(&["Host"], R::Host)
            .add(&["Content-Length"], R::ContentLength)
            .add(&["Transfer-Encoding"], R::TransferEncoding)
            .add(&["Expect"], R::Expect)
            .add(&identity, R::Dropped)
            .add(&["X-Forwarded-For"], R::ForwardedFor)
            .add(&["X-Forwarded-Proto"], R::ForwardedProto)
            .add(&["X-Forwarded-Host"], R::ForwardedHost)
            .add(&["Forwarded", "X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Prefix"], R::ProxyClaim)
            .add(&["X-Request-Id"], R::RequestId)
            .add(&bearer, R::Bearer)
            .add(&plain, R::Credential)
            .add(&["Content-Type"], R::ContentType);
        if wire.credentials.cookies.is_empty() { roles } else { roles.add(&["Cookie"], R::Cookie) }
    }
}

impl Roles<ResponseRole> {
    /// The roles of response fields under these settings.
    pub(super) fn of_responses(wire: &Wire) -> Self {
        use ResponseRole as R;
        let units: Vec<&str> = wire.metering.units_header.iter().map(String::as_str).collect();
        Self::new(R::Plain, R::Plain)
            .add(&["Connection"], R::Connection)
            .add(HOP_BY_HOP, R::Dropped)
            .add(&["Content-Length"], R::ContentLength)
            .add(&["Transfer-Encoding"], R::TransferEncoding)
            .add(&["Cache-Control"], R::CacheControl)
            .add(&["Date"], R::Date)
            .add(&["RateLimit", "RateLimit-Policy"], R::Limits)
            .add(&["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"], R::Limits)
            .add(&["X-Request-Id"], R::Dropped)
            .add(&units, R::Units)
    }
}

/// RFC 9110 section 7.6.1, less the ones with a role of their own.
const HOP_BY_HOP: &[&str] = &["Proxy-Connection", "Keep-Alive", "TE", "Upgrade", "HTTP2-Settings"];

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn roles(known: &[&str]) -> Roles<ResponseRole> {
        Roles::new(ResponseRole::Date, ResponseRole::Dropped).add(known, ResponseRole::Connection)
    }

    #[test]
    fn every_spelling_of_a_name_is_that_name() {
        let roles = roles(&["X-Keygate-Key", "TE", "Host", "Sec-Long-Name-Of-Many-Bytes"]);
        for name in ["X-Keygate-Key", "x-kEYGATE-kEY", "te", "hOST", "sec-long-NAME-of-many-BYTES"] {
            assert_eq!(roles.of(name.as_bytes()), ResponseRole::Connection, "{name}");
        }
        for name in ["X_Keygate_Key", "x-keygate_key", "SEC_LONG-name-of-many_bytes"] {
            assert_eq!(roles.of(name.as_bytes()), ResponseRole::Dropped, "{name}");
        }
        for name in ["", "T", "TEE", "Most", "X-Keygate-Kez", "X-Keygate\u{d}Key", "XMKeygate-Key", "h\0st"] {
            assert_eq!(roles.of(name.as_bytes()), ResponseRole::Plain, "{name}");
        }
        assert_eq!(roles.of(b"x_other"), ResponseRole::Date);
    }

    proptest! {
        #[test]
        fn a_look_up_is_the_comparison_of_all_names(known in "[!-~]{1,20}", name in "[!-~]{1,20}", spell in "[A-Za-z_-]{1,20}") {
            for name in [name, spell.clone(), known.replace('_', "-"), known.replace('-', "_").to_uppercase(), known.to_lowercase()] {
                let is_known = eq_folded(known.as_bytes(), name.as_bytes());
                let expected = match (is_known, name.contains('_')) {
                    (true, false) => ResponseRole::Connection,
                    (true, true) => ResponseRole::Dropped,
                    (false, false) => ResponseRole::Plain,
                    (false, true) => ResponseRole::Date,
                };
                prop_assert_eq!(roles(&[&known]).of(name.as_bytes()), expected, "{} for {}", name, known);
            }
            prop_assert_eq!(roles(&[&spell]).of(spell.as_bytes()) == ResponseRole::Plain, false);
        }
    }
}

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
}

impl<R: Copy + Default> Roles<R> {
    /// The role of the field called `name`.
    pub(super) fn of(&self, name: &[u8]) -> R {
        let plain = !Words::of(name).any(has_underscore);
        let known = self.places[place(name)].iter().find(|(known, _)| known.is(name, plain));
        match (known, plain) {
            (Some((_, role)), true) => *role,
            (Some(_), false) => self.disguised,
            (None, true) => R::default(),
            (None, false) => self.underscored,
        }
    }

    fn new(underscored: R, disguised: R) -> Self {
        Self { places: Box::new([const { Vec::new() }; PLACES]), underscored, disguised }
    }

    /// The first role that a name is given stays.
    fn add(mut self, names: &[&str], role: R) -> Self {
        for name in names {
            let known = &mut self.places[place(name.as_bytes())];
            if !known.iter().any(|(known, _)| known.is(name.as_bytes(), false)) {
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
    /// The name in lower case and with `-` for `_`, and the bits that may differ: those that tell `A` from `a`.
    words: Vec<(u64, u64)>,
}

impl Known {
    fn new(name: &str) -> Self {
        let lower = name.to_ascii_lowercase().replace('_', "-");
        let case_bits = lower.bytes().map(|byte| if byte.is_ascii_lowercase() { 0x20 } else { 0 });
        let case_bits: Vec<u8> = case_bits.collect();
        Self { words: Words::of(lower.as_bytes()).zip(Words::of(&case_bits)).collect(), name: name.as_bytes().into() }
    }

    /// Whether this is the name; one that is `plain` has no `_`.
    fn is(&self, name: &[u8], plain: bool) -> bool {
        if !plain {
            return eq_folded(&self.name, name);
        }
        let same = |(word, (known, case_bits)): (u64, &(u64, u64))| (word ^ known) & !case_bits == 0;
        name.len() == self.name.len() && Words::of(name).zip(&self.words).all(same)
    }
}

/// The bytes of a name, 8 at a time; those at the end can come twice, and come in an order that the length alone decides.
struct Words<'b> {
    rest: &'b [u8],
    last: u64,
    is_over: bool,
}

impl<'b> Words<'b> {
    fn of(name: &'b [u8]) -> Self {
        Self { rest: name, last: last_word(name), is_over: false }
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self.rest.split_first_chunk() {
            Some((word, rest)) if !rest.is_empty() => {
                self.rest = rest;
                Some(u64::from_le_bytes(*word))
            }
            _ if self.is_over => None,
            _ => {
                self.is_over = true;
                Some(self.last)
            }
        }
    }
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

/// Where a name stands in the table: the same for all its spellings, and empty for most names that are nothing special.
fn place(name: &[u8]) -> usize {
    // `_` and `-` fold to the same, and the bit that is set is all that tells `A` from `a`.
    let fold = |byte: &u8| usize::from(if *byte == b'_' { b'-' } else { *byte | 0x20 });
    let (first, last) = (name.first().map_or(0, fold), name.last().map_or(0, fold));
    (name.len() * 37 + first * 5 + last) % PLACES
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

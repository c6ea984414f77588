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
}

/// The roles of the fields of one kind of head.
#[derive(Debug)]
pub(super) struct Roles<R> {
    /// By the length of the name, because most names differ in it.
    by_length: Vec<Vec<(Box<[u8]>, R)>>,
    /// What a name with `_` is that no role is known for.
    underscored: R,
    /// What a name with `_` is that folds to a known one.
    disguised: R,
}

impl<R: Copy + Default> Roles<R> {
    /// The role of the field called `name`.
    pub(super) fn of(&self, name: &[u8]) -> R {
        let known = self.by_length.get(name.len()).into_iter().flatten().find(|(known, _)| eq_folded(known, name));
        let plain = !name.contains(&b'_');
        match (known, plain) {
            (Some((_, role)), true) => *role,
            (Some(_), false) => self.disguised,
            (None, true) => R::default(),
            (None, false) => self.underscored,
        }
    }

    fn new(underscored: R, disguised: R) -> Self {
        Self { by_length: Vec::new(), underscored, disguised }
    }

    /// The first role that a name is given stays.
    fn add(mut self, names: &[&str], role: R) -> Self {
        for name in names {
            if self.by_length.len() <= name.len() {
                self.by_length.resize_with(name.len() + 1, Vec::new);
            }
            let bucket = &mut self.by_length[name.len()];
            if !bucket.iter().any(|(known, _)| eq_folded(known, name.as_bytes())) {
                bucket.push((name.as_bytes().into(), role));
            }
        }
        self
    }
}

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
    /// The roles of response fields.
    pub(super) fn of_responses() -> Self {
        use ResponseRole as R;
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
    }
}

/// RFC 9110 section 7.6.1, less the ones with a role of their own.
const HOP_BY_HOP: &[&str] = &["Proxy-Connection", "Keep-Alive", "TE", "Upgrade", "HTTP2-Settings"];

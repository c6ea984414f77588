//! Facts: what one request head says, read once and held to `wire.md`, before anything is decided.
//!
//! Nothing is copied: everything points into the client's buffer, or into the thread's scratch space where a path or a
//! credential had to be decoded. Called by `connection` for each head; read by `admit` and `forward`.

use std::fmt;
use std::net::IpAddr;

use super::credentials::{self, Place};
use super::local::Local;
use super::roles::RequestRole;
use crate::http1::{
    self, Connection, Field, Framing, FramingError, HostError, Length, MAX_FIELDS, RequestHead, Target, TargetError,
    TooManyNamed, Version,
};
use crate::policy::{self, Denial, Facts};
use crate::route::{Method, normalise};

/// Everything that is read off one head. Not to be printed: a credential is in it.
pub(super) struct Reading<'b, 's> {
    /// The head as it came.
    pub(super) bytes: &'b [u8],
    /// The fields as they came.
    pub(super) fields: &'s [Field<'b>],
    /// What each of them is; those that `Connection` names are dropped already.
    pub(super) roles: &'b [RequestRole],
    /// The version.
    pub(super) version: Version,
    /// What the decision needs.
    pub(super) facts: Facts<'b>,
    /// What stood behind the path's `?`.
    pub(super) query: Option<&'b [u8]>,
    /// The host with its port; none only in HTTP/1.0.
    pub(super) host: Option<&'b [u8]>,
    /// How long the body is.
    pub(super) length: Length,
    /// Whether the client gave a Content-Length, be it 0.
    pub(super) declares_length: bool,
    /// Who is connected, in canonical form.
    pub(super) peer: IpAddr,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the client wants to keep the connection.
    pub(super) keep_alive: bool,
    /// The client's request id, if it is a sane one.
    pub(super) request_id: Option<&'b [u8]>,
    /// Whether it is a gRPC request.
    pub(super) is_grpc: bool,
    /// Whether the only credential came in `Authorization`, for which caches have a rule of their own.
    pub(super) by_authorization: bool,
    /// Whether the peer may speak for others.
    pub(super) peer_is_trusted: bool,
}

/// Space for what is found out about a head, and for what cannot be used in the form in which it came; one per thread.
pub(super) struct Scratch {
    roles: [RequestRole; MAX_FIELDS],
    path: Vec<u8>,
    credential: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { roles: [RequestRole::Dropped; MAX_FIELDS], path: Vec::new(), credential: Vec::new() }
    }
}

/// A head that is refused, and what is known of what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfit<'b> {
    /// What `wire.md` gives for what is wrong with it.
    pub(super) denial: Denial,
    /// How long the body is, if that could be told: the connection can be kept then.
    pub(super) length: Option<Length>,
    /// Whether the client wants to keep it.
    pub(super) keep_alive: bool,
    /// Whether the client may be waiting for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether it is a gRPC request.
    pub(super) is_grpc: bool,
    /// The client's request id, if it is a sane one.
    pub(super) request_id: Option<&'b [u8]>,
}

impl Unfit<'_> {
    /// A head of which nothing is certain.
    const fn lost(denial: Denial) -> Self {
        Self { denial, length: None, keep_alive: false, expects_continue: false, is_grpc: false, request_id: None }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(..)")
    }
}

/// Reads the head of a request from `peer`.
///
/// # Errors
/// The denial that `wire.md` gives for what is wrong with it.
pub(super) fn read<'b, 's>(
    head: &RequestHead<'b, 's>,
    local: &Local,
    peer: IpAddr,
    scratch: &'b mut Scratch,
) -> Result<Reading<'b, 's>, Unfit<'b>> {
    let lost = Unfit::lost;
    let (roles, _) = scratch.roles.split_at_mut(head.fields.len());
    let keep_alive = assign_roles(head, local, roles).map_err(|TooManyNamed| lost(Denial::BadHead))?;
    let roles = &*roles;
    let mut sight = Sight::default();
    for (field, role) in head.fields.iter().zip(roles) {
        sight.take_in(field, *role, head.version).map_err(|error| lost(framing_denial(error)))?;
    }
    let length = sight.framing.of_request(head.version).map_err(|error| lost(framing_denial(error)))?;
    let Sight { request_id, is_grpc, .. } = sight;
    let expects_continue = (sight.expects_continue || sight.bad_expectation) && length != Length::Known(0);
    let unfit = |denial| Unfit { denial, length: Some(length), keep_alive, expects_continue, is_grpc, request_id };

    let target = served_target(head.method, head.target).map_err(unfit)?;
    let (host, host_name) = sight.host(&target, head.version).map_err(unfit)?.unzip();
    if sight.bad_expectation {
        return Err(unfit(Denial::ExpectationFailed));
    }
    let path = match target.path {
        b"*" => target.path,
        path => normalise(path, local.rules.wire.paths, &mut scratch.path).map_err(|_| unfit(Denial::BadPath))?,
    };
    let places = &local.rules.wire.credentials;
    let found = credentials::find(head.fields, roles, target.query, places, &mut scratch.credential);
    let trusted = &local.rules.wire.trusted_proxies;
    let forwarded_for = values_of(head.fields, roles, RequestRole::ForwardedFor);
    let facts = Facts {
        method: Method::from_bytes(head.method),
        host: host_name.unwrap_or_default(),
        path,
        client: policy::client_address(peer, forwarded_for, trusted),
        credential: found.presented,
    };
    Ok(Reading {
        bytes: head.bytes,
        fields: head.fields,
        roles,
        version: head.version,
        facts,
        query: target.query,
        host,
        length,
        declares_length: sight.framing.declared().is_some(),
        peer,
        expects_continue,
        keep_alive,
        request_id,
        is_grpc,
        by_authorization: found.place == Place::Authorization,
        peer_is_trusted: policy::contains(trusted, peer),
    })
}

/// The values of all fields with one role, in order.
pub(super) fn values_of<'a, 'b>(
    fields: &'a [Field<'b>],
    roles: &'a [RequestRole],
    wanted: RequestRole,
) -> impl DoubleEndedIterator<Item = &'b [u8]> + Clone + use<'a, 'b> {
    fields.iter().zip(roles).filter(move |(_, role)| **role == wanted).map(|(field, _)| field.value)
}

fn served_target<'b>(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, Denial> {
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Denial::MethodUnsupported);
    }
    http1::parse_target(method, target).map_err(|error| match error {
        TargetError::Form | TargetError::Byte => Denial::BadTarget,
        TargetError::Authority => Denial::BadHost,
    })
}

/// The role of every field, where those that the `Connection` fields name count as not there. Host and framing cannot be
/// named away. Says whether the client wants to keep the connection.
fn assign_roles(head: &RequestHead<'_, '_>, local: &Local, roles: &mut [RequestRole]) -> Result<bool, TooManyNamed> {
    let mut connection = Connection::default();
    for (field, role) in head.fields.iter().zip(&mut *roles) {
        *role = local.request_roles.of(field.name);
        if *role == RequestRole::Connection {
            connection.take_in(field.value)?;
        }
    }
    if connection.names_any() {
        drop_named(&connection, head.fields, roles);
    }
    Ok(connection.keeps(head.version))
}

#[cold]
fn drop_named(connection: &Connection<'_>, fields: &[Field<'_>], roles: &mut [RequestRole]) {
    use RequestRole as R;
    for (field, role) in fields.iter().zip(roles) {
        let stays = matches!(*role, R::Host | R::ContentLength | R::TransferEncoding);
        if !stays && connection.names(field.name) {
            *role = R::Dropped;
        }
    }
}

/// What has been seen of the fields so far.
#[derive(Debug, Default)]
struct Sight<'b> {
    framing: Framing,
    host: Option<&'b [u8]>,
    hosts: usize,
    expects_continue: bool,
    bad_expectation: bool,
    request_id: Option<&'b [u8]>,
    is_grpc: bool,
}

impl<'b> Sight<'b> {
    fn take_in(&mut self, field: &Field<'b>, role: RequestRole, version: Version) -> Result<(), FramingError> {
        let value = field.value;
        match role {
            RequestRole::Host => {
                self.host = Some(value);
                self.hosts += 1;
            }
            RequestRole::ContentLength => self.framing.content_length(value)?,
            RequestRole::TransferEncoding => self.framing.transfer_encoding(value)?,
            RequestRole::Expect if !value.eq_ignore_ascii_case(b"100-continue") => self.bad_expectation = true,
            // RFC 9110 section 10.1.1: an HTTP/1.0 client cannot wait for a 100.
            RequestRole::Expect => self.expects_continue = version == Version::Http11,
            RequestRole::RequestId if self.request_id.is_none() && is_sane_id(value) => self.request_id = Some(value),
            RequestRole::ContentType => self.is_grpc = is_grpc(value),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one Host, which an absolute-form target overrides. With and without its port.
    fn host(&self, target: &Target<'b>, version: Version) -> Result<Option<(&'b [u8], &'b [u8])>, Denial> {
        let count_fits = self.hosts == 1 || (self.hosts == 0 && version == Version::Http10);
        if !count_fits {
            return Err(Denial::BadHost);
        }
        let named = self.host.map(|host| http1::host_name(host).map(|name| (host, name)));
        let named = named.transpose().map_err(|HostError| Denial::BadHost)?;
        let overriding = target.authority.map(|host| (host, http1::host_without_port(host)));
        Ok(overriding.or(named))
    }
}

const fn framing_denial(error: FramingError) -> Denial {
    match error {
        FramingError::UnknownCoding => Denial::UnknownCoding,
        FramingError::BadContentLength
        | FramingError::TwoContentLengths
        | FramingError::BadTransferEncoding
        | FramingError::BothLengths
        | FramingError::ChunkedInOldVersion => Denial::BadFraming,
    }
}

/// An id that can be echoed and logged: short, plain, and nothing that could be a key.
///
/// A word of letters and digits may be as long as a hash; with an `_` in it, as `req_8fVbMXBNAd2vUR` has, it must be shorter.
fn is_sane_id(value: &[u8]) -> bool {
    let is_separator = |b: &u8| matches!(b, b'-' | b'.');
    let is_sane_word = |word: &[u8]| {
        let underscores = word.iter().filter(|b| **b == b'_').count();
        underscores == 0 && word.len() <= 36 || underscores == 1 && word.len() <= 23
    };
    (1..=64).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_' || is_separator(b))
        && value.split(is_separator).all(is_sane_word)
}

fn is_grpc(content_type: &[u8]) -> bool {
    content_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_sane_if_they_are_short_and_could_be_no_key() {
        for sane in ["7", "order-7.a_b", "req_8fVbMXBNAd2vUR", "0af7651916cd43dd8448eb211c80319c", &"a-".repeat(32)] {
            assert!(is_sane_id(sane.as_bytes()), "{sane}");
        }
        let secret = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
        for insane in
            ["", "a b", "a\"b", "ä", &"a".repeat(37), &"a-".repeat(33), secret, &secret[..12], &secret[8..].repeat(2)]
        {
            assert!(!is_sane_id(insane.as_bytes()), "{insane}");
        }
    }
}

//! The request head that goes upstream: the client's, less what is not the upstream's business, plus who is calling.
//!
//! Written straight into the outgoing buffer in one pass. Demands an [`Admitted`]: nothing is forwarded without a decision.

use std::io::Write;
use std::net::IpAddr;

use super::admit::Admitted;
use super::credentials;
use super::facts::{self, Reading};
use super::local::Local;
use super::roles::RequestRole;
use super::trail::Trail;
use crate::catalog::Credentials;
use crate::http1::{Buffer, Field, Length, Lines, Writer};

/// The outgoing buffer has no room for the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Appends the head to `out`, behind the trail.
///
/// # Errors
/// If it does not fit; that is so only for heads near the size of the buffer.
pub(super) fn write_head(
    admitted: &Admitted,
    reading: &Reading<'_, '_>,
    local: &Local,
    trail: &Trail,
    out: &mut Buffer,
) -> Result<(), NoRoom> {
    out.write_with(|head| write(admitted, reading, local, trail, head)).ok_or(NoRoom)
}

fn write(admitted: &Admitted, reading: &Reading<'_, '_>, local: &Local, trail: &Trail, head: &mut Writer<'_>) {
    let route = &local.rules.routes[admitted.route];
    let path = if route.strip_prefix { route.path.strip(reading.facts.path) } else { reading.facts.path };
    head.put(&[reading.facts.method.as_bytes(), b" ", path]);
    write_query(head, reading, local);
    head.put(&[b" HTTP/1.1\r\n"]);
    if let (Some(host), true) = (reading.host, local.pools[route.upstream].options().preserve_host) {
        head.put(&[b"Host: ", host, b"\r\n"]);
    }
    let mut lines = Lines::of(reading.bytes);
    for (field, role) in reading.fields.iter().zip(reading.roles) {
        if passes(field, *role, reading, local) {
            lines.copy(field, head);
        } else if *role == RequestRole::Cookie {
            lines.finish(head);
            write_cookies(head, field, local);
        }
    }
    lines.finish(head);
    write_identity(head, admitted, local);
    write_forwarding(head, reading, local);
    head.put(&[b"X-Request-Id: "]);
    head.put_held(trail.id_place());
    head.put(&[b"\r\n"]);
    write_framing(head, reading);
}

/// Ends the head; `host` is the target's authority, for a head that has no Host yet.
pub(super) fn end_head(out: &mut Buffer, host: Option<&str>) -> Result<(), NoRoom> {
    let end = |head: &mut Writer<'_>| {
        if let Some(host) = host {
            head.put(&[b"Host: ", host.as_bytes(), b"\r\n"]);
        }
        head.put(&[b"\r\n"]);
    };
    out.write_with(end).ok_or(NoRoom)
}

fn write_query(head: &mut Writer<'_>, reading: &Reading<'_, '_>, local: &Local) {
    let Some(query) = reading.query else { return };
    let places = &local.rules.wire.credentials;
    let is_ours = |pair: &&[u8]| credentials::is_credential_parameter(pair, places);
    if places.forward || places.query.is_empty() || !credentials::parameters(query).any(|pair| is_ours(&pair)) {
        return head.put(&[b"?", query]);
    }
    let others = credentials::parameters(query).filter(|pair| !is_ours(pair));
    for (at, pair) in others.enumerate() {
        head.put(&[if at == 0 { b"?" } else { b"&" }, pair]);
    }
}

/// Whether a field is forwarded just as it is. One with cookies is if no credential is among them.
fn passes(field: &Field<'_>, role: RequestRole, reading: &Reading<'_, '_>, local: &Local) -> bool {
    let places = &local.rules.wire.credentials;
    match role {
        RequestRole::Plain | RequestRole::ContentType => true,
        RequestRole::Bearer | RequestRole::Credential => places.forward || !credentials::is_all_credential(field, role),
        RequestRole::Cookie => places.forward || !has_credential_cookie(field, places),
        RequestRole::ForwardedProto | RequestRole::ForwardedHost | RequestRole::ProxyClaim => reading.peer_is_trusted,
        RequestRole::Expect => reading.expects_continue,
        RequestRole::Dropped
        | RequestRole::Connection
        | RequestRole::Host
        | RequestRole::ContentLength
        | RequestRole::TransferEncoding
        | RequestRole::ForwardedFor
        | RequestRole::RequestId => false,
    }
}

fn has_credential_cookie(field: &Field<'_>, places: &Credentials) -> bool {
    credentials::cookies(field.value).any(|cookie| credentials::is_credential_cookie(cookie, places))
}

/// A cookie field without the pairs that hold credentials.
fn write_cookies(head: &mut Writer<'_>, field: &Field<'_>, local: &Local) {
    let places = &local.rules.wire.credentials;
    let is_ours = |cookie: &&[u8]| credentials::is_credential_cookie(cookie, places);
    let mut others = credentials::cookies(field.value).filter(|cookie| !is_ours(cookie));
    let Some(first) = others.next() else { return };
    head.put(&[field.name, b": ", first]);
    others.for_each(|cookie| head.put(&[b"; ", cookie]));
    head.put(&[b"\r\n"]);
}

fn write_identity(head: &mut Writer<'_>, admitted: &Admitted, local: &Local) {
    let Some(holder) = &admitted.holder else { return };
    let record = &holder.record;
    let names = &local.rules.wire.identity;
    let values = [
        (&names.key, Some(record.id.as_str())),
        (&names.owner, record.owner.as_ref().map(|owner| owner.as_str())),
        (
            &names.plan,
            local.rules.plan_of(record).and_then(|plan| local.rules.plan_name(plan)).map(|plan| plan.as_str()),
        ),
    ];
    for (name, value) in values {
        if let (Some(name), Some(value)) = (name, value) {
            head.put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
}

/// `X-Forwarded-*` and `Via`. A list that came from somebody who is not trusted is not continued but begun.
fn write_forwarding(head: &mut Writer<'_>, reading: &Reading<'_, '_>, local: &Local) {
    head.put(&[b"X-Forwarded-For: "]);
    if reading.peer_is_trusted {
        let list = facts::values_of(reading.fields, reading.roles, RequestRole::ForwardedFor);
        list.filter(|value| !value.is_empty()).for_each(|value| head.put(&[value, b", "]));
    }
    write_address(head, reading.peer);
    let has = |role| reading.peer_is_trusted && reading.roles.contains(&role);
    if !has(RequestRole::ForwardedProto) {
        head.put(&[b"X-Forwarded-Proto: http\r\n"]);
    }
    if let (Some(host), false) = (reading.host, has(RequestRole::ForwardedHost)) {
        head.put(&[b"X-Forwarded-Host: ", host, b"\r\n"]);
    }
    if local.rules.wire.via {
        head.put(&[b"Via: 1.1 keygate\r\n"]);
    }
}

fn write_address(head: &mut Writer<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let (mut text, mut length) = ([0; 17], 0);
            for octet in address.octets() {
                text[length..][..4].copy_from_slice(&OCTETS[usize::from(octet)]);
                length += 2 + usize::from(octet > 9) + usize::from(octet > 99);
            }
            text[length - 1..][..2].copy_from_slice(b"\r\n");
            head.put(&[&text[..=length]]);
        }
        IpAddr::V6(address) => {
            let mut text = [0; 48];
            let mut rest = &mut text[..];
            // 48 bytes hold any address.
            let _ = write!(rest, "{address}");
            let length = 48 - rest.len();
            head.put(&[&text[..length], b"\r\n"]);
        }
    }
}

/// The decimal digits of each octet and a dot, from the first byte on.
static OCTETS: [[u8; 4]; 256] = {
    let mut texts = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let zeros = (octet < 100) as usize + (octet < 10) as usize;
        let mut at = zeros;
        while at < 3 {
            texts[octet][at - zeros] = b'0' + digits[at] as u8;
            at += 1;
        }
        octet += 1;
    }
    texts
};

/// The body's framing, made anew. A method that usually has a body says so even if it is empty (RFC 9110 section 8.6).
fn write_framing(head: &mut Writer<'_>, reading: &Reading<'_, '_>) {
    match reading.length {
        Length::Chunked => head.put(&[b"Transfer-Encoding: chunked\r\n"]),
        Length::Known(0) if !reading.declares_length => {}
        Length::Known(bytes) => {
            let mut text = [0; 20];
            let digits = decimal(bytes, &mut text);
            head.put(&[b"Content-Length: ", digits, b"\r\n"]);
        }
        Length::UntilClose => unreachable!("requests never end with their connection"),
    }
}

/// The decimal digits of `number`.
pub(super) fn decimal(mut number: u64, text: &mut [u8; 20]) -> &[u8] {
    let mut at = text.len();
    while number >= 10 {
        // Two digits per division.
        let two = (number % 100) as u8;
        number /= 100;
        at -= 2;
        text[at..][..2].copy_from_slice(&[b'0' + two / 10, b'0' + two % 10]);
    }
    if number > 0 || at == text.len() {
        at -= 1;
        text[at] = b'0' + number as u8;
    }
    &text[at..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn numbers_have_their_digits(number: u64, shift in 0..64) {
            let number = number >> shift;
            let mut text = [0; 20];
            prop_assert_eq!(str::from_utf8(decimal(number, &mut text)).unwrap(), number.to_string());
        }
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        for number in [0, 1, 9, 10, 99, 100, 101, 1000, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_printed() {
        let of_octet = |octet| [[octet, 0, 0, 0], [1, octet, 2, 3], [4, 5, 6, octet]].map(IpAddr::from);
        let others = ["::", "2001:db8::7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"].map(|text| text.parse().unwrap());
        for address in (0..=u8::MAX).flat_map(of_octet).chain(others) {
            let mut out = Buffer::take();
            out.write_with(|head| write_address(head, address)).unwrap();
            assert_eq!(str::from_utf8(out.filled()).unwrap(), format!("{address}\r\n"));
        }
    }
}

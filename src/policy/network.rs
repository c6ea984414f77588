//! Networks: where a client is, and whether an address is in a list of networks.
//!
//! An IPv4 address is the same one whether it comes as itself or mapped into IPv6. Called by `gateway` for every
//! request and by [`super::permit`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// The address in its one form: an IPv4 address that was mapped into IPv6 (`::ffff:192.0.2.1`) as IPv4.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Whether one of `networks` holds `ip`; either may be IPv4 mapped into IPv6.
pub fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    if networks.is_empty() {
        return false;
    }
    let ip = canonical(ip);
    networks.iter().any(|network| canonical_network(*network).contains(&ip))
}

/// The network that failed authentications of `ip` are counted for: the IPv4 address alone, or the IPv6 /64, which is
/// what one subscriber has.
pub fn client_network(ip: IpAddr) -> IpNet {
    let ip = canonical(ip);
    let prefix_len = match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 64,
    };
    IpNet::new_assert(ip, prefix_len).trunc()
}

/// The address of the client behind trusted proxies.
///
/// `forwarded_for` are the values of the `X-Forwarded-For` fields in the order of the head. Each proxy appended the
/// peer that it saw, so the list is believed from its end, for as long as trusted addresses vouch for what stands
/// before them. The first address that is not trusted is the client; an element that is no address ends the walk at
/// the last good one, as does a list of over 32 trusted hops.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = canonical(peer);
    if trusted.is_empty() {
        return client;
    }
    let elements = forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let mut hops = elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).take(MAX_HOPS);
    while contains(trusted, client) {
        let Some(before) = hops.next().and_then(parse_address) else {
            break;
        };
        client = before;
    }
    client
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:567`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:567`.
fn parse_address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    plain().or_else(with_port).or_else(in_brackets).map(canonical)
}

fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len()) {
        (Some(address), 96..) => IpNet::V4(Ipv4Net::new_assert(address, v6.prefix_len() - 96)),
        _ => network,
    }
}

/// Bounds the work that a long list of spoofed proxies makes.
const MAX_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_in_the_networks_that_hold_it() {
        let check = |list: &[&str], address: &str, expected: bool| {
            assert_eq!(contains(&networks(list), ip(address)), expected, "{address} in {list:?}");
        };
        check(&[], "10.0.0.1", false);
        check(&["10.0.0.0/8"], "10.255.255.255", true);
        check(&["10.0.0.0/8"], "11.0.0.0", false);
        check(&["10.0.0.7/32"], "10.0.0.7", true);
        check(&["10.0.0.7/32"], "10.0.0.8", false);
        check(&["192.168.0.0/16", "10.0.0.0/8"], "10.0.0.1", true);
        check(&["10.0.0.0/8"], "::ffff:10.0.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "10.0.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "11.0.0.1", false);
        check(&["::ffff:0.0.0.0/96"], "203.0.113.9", true);
        check(&["2001:db8::/32"], "2001:db8:ffff::1", true);
        check(&["2001:db8::/32"], "2001:db9::1", false);
        check(&["::/0"], "10.0.0.1", false);
        check(&["0.0.0.0/0"], "2001:db8::1", false);
        check(&["0.0.0.0/0"], "::ffff:10.0.0.1", true);
        check(&["::1/128"], "::1", true);
    }

    #[test]
    fn failures_are_counted_per_v4_address_and_v6_subscriber() {
        let check = |address: &str, expected: &str| {
            assert_eq!(client_network(ip(address)).to_string(), expected);
        };
        check("203.0.113.9", "203.0.113.9/32");
        check("::ffff:203.0.113.9", "203.0.113.9/32");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
    }

    #[test]
    fn addresses_are_read_in_every_form_that_proxies_write() {
        for (text, expected) in [
            ("1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4:567", Some("1.2.3.4")),
            ("::1", Some("::1")),
            ("[::1]", Some("::1")),
            ("[::1]:567", Some("::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("[::ffff:1.2.3.4]:80", Some("1.2.3.4")),
            ("unknown", None),
            ("_hidden", None),
            ("1.2.3", None),
            ("1.2.3.4:99999", None),
            ("1.2.3.4:", None),
            ("[1.2.3.4]", None),
            ("[::1", None),
            ("01.2.3.4", None),
            ("\u{e4}", None),
        ] {
            assert_eq!(parse_address(text.as_bytes()), expected.map(ip), "{text:?}");
        }
        assert_eq!(parse_address(b"\xff"), None);
    }

    #[test]
    fn the_client_is_the_first_address_from_the_right_that_is_not_trusted() {
        let trusted = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        let check = |peer: &str, fields: &[&str], expected: &str| {
            let values = fields.iter().map(|value| value.as_bytes());
            assert_eq!(client_address(ip(peer), values, &trusted), ip(expected), "{peer} {fields:?}");
        };
        check("203.0.113.9", &[], "203.0.113.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9");
        check("10.0.0.1", &["203.0.113.9", "10.0.0.2,10.0.0.3"], "203.0.113.9");
        check("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("2001:db8::1", &["[2001:db9::7]:80"], "2001:db9::7");
        check("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["203.0.113.9, ,", "", " \t"], "203.0.113.9");
    }

    #[test]
    fn a_list_that_the_client_made_up_is_not_believed() {
        let trusted = networks(&["10.0.0.0/8"]);
        let check = |peer: &str, fields: &[&str], expected: &str| {
            let values = fields.iter().map(|value| value.as_bytes());
            assert_eq!(client_address(ip(peer), values, &trusted), ip(expected), "{peer} {fields:?}");
        };
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("203.0.113.9", &["10.0.0.1"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["10.0.0.9", "203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1, 10.0.0.9, 203.0.113.9, 10.0.0.2"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1, junk, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.1, 10.0.0.2 10.0.0.3"], "10.0.0.1");
        let long = ["198.51.100.1", &["10.0.0.2"; 100].join(",")].join(",");
        check("10.0.0.1", &[&long], "10.0.0.2");
        let nobody: [IpNet; 0] = [];
        let spoofed = [b"198.51.100.1".as_slice()];
        assert_eq!(client_address(ip("10.0.0.1"), spoofed.into_iter(), &nobody), ip("10.0.0.1"));
    }
}

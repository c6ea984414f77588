//! Request targets (RFC 9112 section 3.2) and the Host field (RFC 9110 section 7.2).

use super::grammar::host_length;

/// A request target, taken apart but not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// The authority of an absolute-form target: it replaces the Host field.
    pub authority: Option<&'b [u8]>,
    /// The path, beginning with `/`; or `*`.
    pub path: &'b [u8],
    /// What stands after the first `?`, if there is one.
    pub query: Option<&'b [u8]>,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither origin-form, nor absolute-form with http or https, nor `*` with OPTIONS.
    #[error("the target has none of the forms that are served")]
    Form,
    /// A byte that no target can hold.
    #[error("the target holds a byte that must be escaped")]
    Byte,
    /// The authority of an absolute-form target is not a host with an optional port.
    #[error("the target's authority is not valid")]
    Authority,
}

/// A Host value that is not `host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host is not valid")]
pub struct HostError;

/// Takes a request target apart.
///
/// # Errors
/// If it has none of the forms that are served, or holds bytes that no URI can hold raw.
pub fn parse_target<'b>(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, TargetError> {
    let path_end = target.iter().position(|byte| !PATH_BYTES[usize::from(*byte)]).unwrap_or(target.len());
    let (path, query) = target.split_at(path_end);
    let query = match query.split_first() {
        None => None,
        Some((b'?', query)) if query.iter().all(|byte| is_query_byte(*byte)) => Some(query),
        Some(_) => return Err(TargetError::Byte),
    };
    if target == b"*" {
        let served = method == b"OPTIONS";
        return if served { Ok(Target { authority: None, path: target, query: None }) } else { Err(TargetError::Form) };
    }
    if target.first() == Some(&b'/') {
        return Ok(Target { authority: None, path, query });
    }
    parse_absolute(target)
}

/// Checks a Host field's value.
///
/// # Errors
/// If it is not a registered name, IPv4 or bracketed IPv6 address with an optional port.
pub fn valid_host(value: &[u8]) -> Result<(), HostError> {
    host_name(value).map(drop)
}

/// The host of a Host field's value, without its port; brackets stay.
///
/// # Errors
/// As of [`valid_host`].
pub fn host_name(value: &[u8]) -> Result<&[u8], HostError> {
    let (host, rest) = match value.first() {
        Some(b'[') => bracketed(value).ok_or(HostError)?,
        _ => value.split_at(host_length(value)),
    };
    let rest_fits = match rest.split_first() {
        None => true,
        Some((b':', port)) => is_port(port),
        Some(_) => false,
    };
    if rest_fits && (1..=255).contains(&host.len()) { Ok(host) } else { Err(HostError) }
}

/// An IPv6 address in brackets, and what stands behind it.
fn bracketed(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (host, rest) = value.split_at(value.iter().position(|byte| *byte == b']')? + 1);
    is_ipv6(host.strip_prefix(b"[")?.strip_suffix(b"]")?).then_some((host, rest))
}

/// Digits up to 65535; no digits at all are a port too.
fn is_port(digits: &[u8]) -> bool {
    let add = |number: u32, digit: &u8| {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        Some(number.saturating_mul(10).saturating_add(value.into()))
    };
    digits.iter().try_fold(0, add).is_some_and(|number| number <= 65_535)
}

/// The host of a valid Host value, without its port; brackets stay.
pub fn host_without_port(value: &[u8]) -> &[u8] {
    split_port(value).map_or(value, |(host, _)| host)
}

fn parse_absolute(target: &[u8]) -> Result<Target<'_>, TargetError> {
    let after_scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = target.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(TargetError::Form)?;
    let end = after_scheme.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    valid_host(authority).map_err(|HostError| TargetError::Authority)?;
    let (path, query) = split_query(rest);
    let path = if path.is_empty() { b"/" } else { path };
    Ok(Target { authority: Some(authority), path, query })
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// Host and port digits (empty if there is no port); none if a bracket is not closed.
fn split_port(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let host_end = match value.first() {
        Some(b'[') => value.iter().position(|b| *b == b']')? + 1,
        _ => memchr::memchr(b':', value).unwrap_or(value.len()),
    };
    match value[host_end..].split_first() {
        None => Some((value, b"")),
        Some((b':', port)) => Some((&value[..host_end], port)),
        Some(_) => None,
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Visible ASCII without what must always be escaped: quotes, angle brackets, `#` and the backslash.
const fn is_path_byte(byte: u8) -> bool {
    is_query_byte(byte) && !matches!(byte, b'"' | b'\\' | b'`')
}

/// In a query many clients send more as it is, and nothing is decided by it.
const fn is_query_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>')
}

/// What the path of a target is made of.
const PATH_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = is_path_byte(byte) && byte != b'?';
        byte += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, expected: Result<(Option<&str>, &str, Option<&str>), TargetError>) {
        let got = parse_target(method.as_bytes(), target.as_bytes());
        let expected = expected.map(|(authority, path, query)| Target {
            authority: authority.map(str::as_bytes),
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
        });
        assert_eq!(got, expected, "{method} {target}");
    }

    #[test]
    fn targets_have_one_of_three_forms() {
        check("GET", "/a?b?c", Ok((None, "/a", Some("b?c"))));
        check("GET", "/a?", Ok((None, "/a", Some(""))));
        check("GET", "HTTP://h.example:80/a", Ok((Some("h.example:80"), "/a", None)));
        check("GET", "https://[::1]?q", Ok((Some("[::1]"), "/", Some("q"))));
        check("OPTIONS", "*", Ok((None, "*", None)));
        check("GET", "*", Err(TargetError::Form));
        check("GET", "ftp://h/", Err(TargetError::Form));
        check("GET", "a/b", Err(TargetError::Form));
        check("GET", "", Err(TargetError::Form));
        check("GET", "http://user@h/", Err(TargetError::Authority));
        check("GET", "http:///a", Err(TargetError::Authority));
        for bad in ["/a#b", "/a\\b", "/ä", "/a\u{7f}", "/a<b>", "/a b"] {
            check("GET", bad, Err(TargetError::Byte));
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["a", "api.example.com:8080", "127.0.0.1", "[::1]", "[::1]:80", "a_b", "a:"] {
            assert!(valid_host(good.as_bytes()).is_ok(), "{good}");
        }
        let long = &*"a".repeat(256);
        for bad in ["", ":80", "a:b", "a b", "a/b", "a@b", "[::1", "[x]", "::1", "a,b", "[::1]x", long] {
            assert!(valid_host(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_end_with_65535() {
        for good in ["a:0", "a:65535", "[::1]:65535", "a:000000000065535"] {
            assert!(valid_host(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["a:65536", "a:123456", "a:4294967296", "a:4294967377", "a:99999999999", "[::1]:99999999999"] {
            assert!(valid_host(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_port_comes_off() {
        assert_eq!(host_without_port(b"a.b:80"), b"a.b");
        assert_eq!(host_without_port(b"[::1]:80"), b"[::1]");
        assert_eq!(host_without_port(b"a.b"), b"a.b");
        for host in [&b"a.b:80"[..], b"[::1]:80", b"[::1]", b"a.b", b"a:"] {
            assert_eq!(host_name(host), Ok(host_without_port(host)));
        }
    }
}

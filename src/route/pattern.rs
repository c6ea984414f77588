//! Host and path patterns of routes: parsed once, from then on in the form that requests are compared with.
//!
//! Called by `config`, which parses them, and by the router.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::path::{PathError, PathOptions, normalise};

/// A host, or all hosts below a domain: `api.example.com` or `*.example.com`; lower-case, without port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    name: Box<str>,
    reach: Reach,
}

/// What a host pattern covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// The host of that name.
    Exact,
    /// Every host with one or more labels in front of that name.
    Below,
}

/// A path and all below it, on segment borders: `/v1` covers `/v1` and `/v1/x`, not `/v1x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(Box<str>);

/// Why a text is not a host or path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a host name.
    #[error("a host is a name like api.example.com, or *.example.com for all hosts below it")]
    Host,
    /// A host with a port.
    #[error("a route matches on every port: leave the port out")]
    HostPort,
    /// A host of a star alone.
    #[error("leave the host out to match every host")]
    HostStar,
    /// A path that no request can have.
    #[error("no request can have this path: {0}")]
    Path(#[from] PathError),
    /// A path that requests have only in another form, which is given.
    #[error("write the path in its normalised form: {0}")]
    PathNotNormal(String),
    /// A path that ends with a star segment.
    #[error("a path matches everything below it: leave the star out")]
    PathStar,
    /// A path with too many segments.
    #[error("a path of a route has at most {MAX_SEGMENTS} segments")]
    PathDepth,
}

/// Segments that the path of a route may have.
pub(super) const MAX_SEGMENTS: usize = 64;

/// Bytes that a host name may have (RFC 1035 section 2.3.4, without the root's dot).
pub(super) const MAX_HOST_BYTES: usize = 253;

impl HostPattern {
    /// The host name, or the domain without its `*.`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Err(PatternError::HostStar);
        }
        if text.starts_with('[') {
            return ipv6(text).map(|name| Self { name, reach: Reach::Exact });
        }
        if text.contains(':') {
            return Err(PatternError::HostPort);
        }
        let (name, reach) = match text.strip_prefix("*.") {
            Some(domain) => (domain, Reach::Below),
            None => (text, Reach::Exact),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let fits = name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label);
        if fits { Ok(Self { name: name.to_ascii_lowercase().into(), reach }) } else { Err(PatternError::Host) }
    }
}

/// An IPv6 literal in the form of RFC 5952, which is the one that clients send.
fn ipv6(text: &str) -> Result<Box<str>, PatternError> {
    let (literal, after) = text[1..].split_once(']').ok_or(PatternError::Host)?;
    let address: Ipv6Addr = literal.parse().map_err(|_| PatternError::Host)?;
    match after {
        "" => Ok(format!("[{address}]").into()),
        _ if after.starts_with(':') => Err(PatternError::HostPort),
        _ => Err(PatternError::Host),
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(allowed)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = match self.reach {
            Reach::Exact => "",
            Reach::Below => "*.",
        };
        write!(f, "{star}{}", self.name)
    }
}

impl PathPattern {
    /// The pattern as text; no slash at its end unless it is `/`.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    /// A normalised path without the part that this pattern names; begins with `/`. A path that the pattern does not
    /// cover comes back whole.
    pub fn strip<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        match path.strip_prefix(self.prefix()) {
            Some([]) => b"/",
            Some(rest @ [b'/', ..]) => rest,
            Some(_) | None => path,
        }
    }

    /// What the paths that it covers begin with, without the slash at the border: empty for `/`.
    pub(super) fn prefix(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The number of its segments; none for `/`.
    pub(super) fn segments(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count()
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        // What is normal under the strictest options is normal under all of them.
        let mut scratch = Vec::new();
        let normal = normalise(text.as_bytes(), PathOptions::default(), &mut scratch)?;
        if normal != text.as_bytes() {
            return Err(PatternError::PathNotNormal(String::from_utf8_lossy(normal).into_owned()));
        }
        let pattern = Self(text.strip_suffix('/').unwrap_or(text).into());
        if pattern.0.ends_with("/*") || pattern.0.ends_with("/**") {
            return Err(PatternError::PathStar);
        }
        if pattern.segments() > MAX_SEGMENTS {
            return Err(PatternError::PathDepth);
        }
        Ok(pattern)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_host(text: &str, expected: Result<&str, PatternError>) {
        let found = text.parse::<HostPattern>().map(|host| host.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn hosts_are_names_in_lower_case() {
        for (text, expected) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM.", "api.example.com"),
            ("*.Example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("my_service", "my_service"),
        ] {
            check_host(text, Ok(expected));
        }
    }

    #[test]
    fn hosts_that_no_request_could_match_are_refused() {
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for (text, cause) in [
            ("*", PatternError::HostStar),
            ("api.example.com:8080", PatternError::HostPort),
            ("[::1]:80", PatternError::HostPort),
            ("", PatternError::Host),
            ("a..b", PatternError::Host),
            (".example.com", PatternError::Host),
            ("*.", PatternError::Host),
            ("*.*.example.com", PatternError::Host),
            ("api.*.com", PatternError::Host),
            ("exa mple.com", PatternError::Host),
            ("https//x", PatternError::Host),
            ("exämple.com", PatternError::Host),
            ("[::1", PatternError::Host),
            ("[::g]", PatternError::Host),
            ("[::1]x", PatternError::Host),
            (&long, PatternError::Host),
        ] {
            check_host(text, Err(cause));
        }
    }

    fn check_path(text: &str, expected: Result<&str, PatternError>) {
        let found = text.parse::<PathPattern>().map(|path| path.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn paths_have_no_slash_at_their_end() {
        for (text, expected) in
            [("/", "/"), ("/v1", "/v1"), ("/v1/", "/v1"), ("/v1/orders", "/v1/orders"), ("/%C3%A4", "/%C3%A4")]
        {
            check_path(text, Ok(expected));
        }
    }

    #[test]
    fn paths_that_no_request_could_match_are_refused() {
        for (text, cause) in [
            ("", PatternError::Path(PathError::NotAbsolute)),
            ("v1", PatternError::Path(PathError::NotAbsolute)),
            ("/a b", PatternError::Path(PathError::Unencoded)),
            ("/a?b=c", PatternError::Path(PathError::Unencoded)),
            ("//", PatternError::Path(PathError::EmptySegment)),
            ("/a%2Fb", PatternError::Path(PathError::EncodedSlash)),
            ("/%7euser", PatternError::PathNotNormal("/~user".into())),
            ("/a/../b", PatternError::PathNotNormal("/b".into())),
            ("/v1/*", PatternError::PathStar),
            ("/**", PatternError::PathStar),
            (&"/a".repeat(65), PatternError::PathDepth),
        ] {
            check_path(text, Err(cause));
        }
        check_path(&"/a".repeat(64), Ok(&"/a".repeat(64)));
    }

    #[test]
    fn a_stripped_path_begins_with_a_slash() {
        let check = |pattern: &str, path: &str, expected: &str| {
            let pattern: PathPattern = pattern.parse().unwrap();
            assert_eq!(pattern.strip(path.as_bytes()), expected.as_bytes(), "{pattern} {path}");
        };
        check("/v1", "/v1", "/");
        check("/v1", "/v1/", "/");
        check("/v1", "/v1/orders/7", "/orders/7");
        check("/", "/v1", "/v1");
        check("/", "/", "/");
        check("/v1", "/v1x", "/v1x");
        check("/v1", "/v2", "/v2");
    }
}

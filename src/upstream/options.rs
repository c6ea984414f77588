//! What the configuration says of one upstream.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::key::Name;

/// What the configuration says of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its name in the file.
    pub name: Name,
    /// Where it can be reached; at least one.
    pub targets: Vec<Authority>,
    /// From the begin of a connect to its end.
    pub connect_timeout: Duration,
    /// From the request's end to the response head; `None` is no bound.
    pub response_timeout: Option<Duration>,
    /// Between two reads or writes of a body.
    pub idle_timeout: Duration,
    /// Idle connections kept per data thread.
    pub keep_alive: usize,
    /// Whether the client's Host goes upstream (true) or the target's authority (false).
    pub preserve_host: bool,
}

/// A host name or address and a port: `orders.internal:9000`, `127.0.0.1:9000`, `[::1]:9000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Host name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A text that is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is host:port, with a host name, an IPv4 address or an IPv6 address in brackets")]
pub struct AuthorityError;

impl Authority {
    /// The socket address, if the host is an address and needs no resolving.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    /// Reads `host` or `host:port`; the port defaults to 80.
    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        crate::http1::valid_host(text.as_bytes()).map_err(|_| AuthorityError)?;
        let host_length = crate::http1::host_without_port(text.as_bytes()).len();
        let (host, port) = text.split_at(host_length);
        let port = match port.strip_prefix(':') {
            None => 80,
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or(AuthorityError)?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(text.parse::<Authority>().ok().map(|a| a.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn targets_are_host_and_port() {
        check("Orders.internal:9000", Some("orders.internal:9000"));
        check("orders", Some("orders:80"));
        check("[::1]:9000", Some("[::1]:9000"));
        check("127.0.0.1:1", Some("127.0.0.1:1"));
        for bad in ["", ":80", "a:0", "a:65536", "a:b", "a:", "a/b:80", "::1"] {
            check(bad, None);
        }
    }

    #[test]
    fn only_addresses_are_literal() {
        assert!("127.0.0.1:1".parse::<Authority>().unwrap().literal().is_some());
        assert!("localhost:1".parse::<Authority>().unwrap().literal().is_none());
    }
}

//! Where a request comes from, as its browser tells it: a page of this console, a page of somebody else, or no page.
//!
//! What a browser sends on its own, a cookie or what a sign-on proxy adds, counts for pages of the console alone. So a page of
//! another site, of another port of this machine, or under a name that was rebound to this address can do nothing with it.
//! Called by `door` and `auth` before anything else.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::problem::{Code, Problem};

/// Where browsers find the console: `https://HOST`, or `http://` on this machine, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// As browsers write it in `Origin`.
    origin: String,
    scheme_len: usize,
}

/// A text that is not where browsers could find the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is like https://keys.example.com, without a path; http is for this machine alone, since browsers keep the session there"
)]
pub struct PublicUrlError;

/// Where clients send their requests, as the page's samples name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl(String);

/// A text that is not where clients could send requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is like https://api.example.com/v1/orders")]
pub struct GatewayUrlError;

impl GatewayUrl {
    /// As the file has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GatewayUrl {
    type Err = GatewayUrlError;

    fn from_str(text: &str) -> Result<Self, GatewayUrlError> {
        let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
        let fits = text.len() <= MOST_LINK_BYTES && absolute(text).is_some_and(|uri| is_http(&uri));
        if fits { Ok(Self(text.to_owned())) } else { Err(GatewayUrlError) }
    }
}

impl PublicUrl {
    /// Scheme, host and port.
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    fn authority(&self) -> &str {
        &self.origin[self.scheme_len..]
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme_len, default_port) = match place_of(&origin).ok_or(PublicUrlError)? {
            Place::Secure => ("https://".len(), ":443"),
            Place::ThisMachine => ("http://".len(), ":80"),
        };
        if origin[scheme_len..].contains(['/', '?', '#']) {
            return Err(PublicUrlError);
        }
        let origin = origin.strip_suffix(default_port).map(str::to_owned).unwrap_or(origin);
        Ok(Self { origin, scheme_len })
    }
}

/// Refuses what comes from a page of another origin, whatever else it brings.
pub(super) fn check_origin(public: Option<&PublicUrl>, fields: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = fields.get(header::ORIGIN) else { return Ok(()) };
    let is_ours = is_own_origin(public, origin, fields) || (origin == "null" && site(fields) == Some(b"same-origin"));
    if is_ours { Ok(()) } else { Err(refused("requests from pages of other origins are refused")) }
}

/// Refuses all but pages of this console, under a name of this listener: for what browsers send on their own.
pub(super) fn check_page(public: Option<&PublicUrl>, method: &Method, fields: &HeaderMap) -> Result<(), Problem> {
    if !is_own_name(public, fields) {
        return Err(refused(
            "this is not a name of the console: open it under `console.public_url`, or by its IP address",
        ));
    }
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let mut sites = fields.get_all(SITE).iter();
    let is_ours = match (sites.next().map(HeaderValue::as_bytes), sites.next()) {
        (Some(b"same-origin"), None) => true,
        // Typed by somebody, say.
        (Some(b"none"), None) => is_read,
        (Some(_), _) => false,
        (None, _) => is_read || fields.get(header::ORIGIN).is_some_and(|origin| is_own_origin(public, origin, fields)),
    };
    if is_ours { Ok(()) } else { Err(refused("only pages of this console may do this")) }
}

/// Whether a link may stand on the page: one with TLS, or to this machine.
pub(super) fn is_link(text: &str) -> bool {
    text.len() <= MOST_LINK_BYTES && place_of(text).is_some()
}

/// Where an address leads.
enum Place {
    Secure,
    ThisMachine,
}

/// Where an absolute address leads; none if it leads elsewhere without TLS.
fn place_of(text: &str) -> Option<Place> {
    let uri = absolute(text)?;
    let authority = uri.authority()?;
    match uri.scheme_str() {
        Some("https") => Some(Place::Secure),
        Some("http") if is_this_machine(authority.host()) => Some(Place::ThisMachine),
        _ => None,
    }
}

/// An address with a host; none if it has a user name, or characters that browsers and shells read in their own way.
fn absolute(text: &str) -> Option<Uri> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"'<>`".contains(&byte)) {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let is_port = authority.as_str().rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || !port.is_empty());
    (is_port && !authority.host().is_empty()).then_some(uri)
}

fn is_this_machine(host: &str) -> bool {
    let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(is_v6)
}

/// Whether a page of this origin is one that this listener has sent.
fn is_own_origin(public: Option<&PublicUrl>, origin: &HeaderValue, fields: &HeaderMap) -> bool {
    let origin = origin.as_bytes();
    let named = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    let host = fields.get(header::HOST).map(HeaderValue::as_bytes);
    (named.is_some() && named == host) || public.is_some_and(|public| public.origin.as_bytes() == origin)
}

/// Whether the request was sent to a name that nobody else can lead here: an address, or one that the operator wrote.
fn is_own_name(public: Option<&PublicUrl>, fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(header::HOST).iter();
    let (Some(Ok(host)), None) = (hosts.next().map(HeaderValue::to_str), hosts.next()) else { return false };
    if public.is_some_and(|public| public.authority().eq_ignore_ascii_case(host)) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok())
}

fn site(fields: &HeaderMap) -> Option<&[u8]> {
    fields.get(SITE).map(HeaderValue::as_bytes)
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(Code::CrossSite, detail)
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MOST_LINK_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn public() -> PublicUrl {
        "https://Keys.example.com:443/".parse().unwrap()
    }

    #[track_caller]
    fn check(method: &Method, pairs: &[(&'static str, &str)], expected: bool) {
        assert_eq!(check_page(Some(&public()), method, &fields(pairs)).is_ok(), expected, "{method} {pairs:?}");
    }

    #[test]
    fn only_pages_of_the_console_may_use_what_browsers_send_on_their_own() {
        let host = ("host", "127.0.0.1:9180");
        check(&Method::POST, &[host, ("sec-fetch-site", "same-origin")], true);
        check(&Method::POST, &[host, ("origin", "http://127.0.0.1:9180")], true);
        check(&Method::POST, &[host, ("origin", "https://keys.example.com")], true);
        check(&Method::POST, &[host], false);
        check(&Method::POST, &[host, ("origin", "http://127.0.0.1:9181")], false);
        check(&Method::POST, &[host, ("origin", "null")], false);
        for site in ["none", "same-site", "cross-site", ""] {
            check(&Method::DELETE, &[host, ("sec-fetch-site", site)], false);
            check(&Method::POST, &[host, ("sec-fetch-site", site), ("origin", "http://127.0.0.1:9180")], false);
            check(&Method::GET, &[host, ("sec-fetch-site", site)], site == "none");
        }
        check(&Method::POST, &[host, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")], false);
        check(&Method::GET, &[host], true);
    }

    #[test]
    fn a_name_that_somebody_else_can_lead_here_is_none_of_ours() {
        let same = ("sec-fetch-site", "same-origin");
        for host in [
            "localhost:9180",
            "127.0.0.1",
            "10.0.0.7:9180",
            "[::1]:9180",
            "[::1]",
            "keys.example.com",
            "KEYS.example.com",
        ] {
            check(&Method::GET, &[("host", host), same], true);
        }
        for host in [
            "evil.example:9180",
            "keys.example.com.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            "keys.example.com:9180",
        ] {
            check(&Method::GET, &[("host", host), same], false);
        }
        check(&Method::GET, &[same], false);
        check(&Method::GET, &[("host", "localhost"), ("host", "evil.example"), same], false);
    }

    #[test]
    fn an_address_for_people_has_tls_or_is_on_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example:8443/x?y=z#f",
            "http://localhost:3000/",
            "http://127.0.0.1",
            "http://[::1]:1/",
        ] {
            assert!(is_link(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "//a.example",
            "a.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "http://a.example",
            "ftp://a.example",
            "https://",
            "https://user@a.example",
            "https://a.example\\@b.example",
            "https://a.example/\"x",
            "https://a.example/ x",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "https:a.example",
            "https://a.example:/",
            "HTTPS:\t//a",
        ] {
            assert!(!is_link(bad), "{bad}");
        }
        assert!(!is_link(&format!("https://a.example/{}", "x".repeat(2000))));
    }

    #[test]
    fn requests_go_to_an_address_of_http() {
        for good in ["https://api.example.com", "http://10.0.0.5:8080/v1/orders?x=1", "http://[::1]:8080/"] {
            assert_eq!(good.parse::<GatewayUrl>().map(|url| url.as_str() == good), Ok(true), "{good}");
        }
        for bad in
            ["", "api.example.com", "ftp://a/", "https://", "https://u@a/", "https://a/'; rm", "javascript:alert(1)"]
        {
            assert!(bad.parse::<GatewayUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin() {
        assert_eq!(public().as_str(), "https://keys.example.com");
        assert_eq!("http://127.0.0.1:80".parse::<PublicUrl>().unwrap().as_str(), "http://127.0.0.1");
        assert_eq!("https://a.example:80".parse::<PublicUrl>().unwrap().as_str(), "https://a.example:80");
        for bad in [
            "http://a.example",
            "https://a.example/keys",
            "https://a.example?x",
            "https://a.example#x",
            "a.example",
            "",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(PublicUrlError), "{bad}");
        }
    }
}

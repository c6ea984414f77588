//! Forms: what a text must look like, each with a pattern for the schema, a check for the file and a remedy for people.
//!
//! A text that a form's check lets through is one that the parsers of [`super::scalar`] and of the domain types accept.
//! Named by the table in [`super::fields`], used by [`super::shape`].

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::scalar;
use crate::admin::{GatewayUrl, PublicUrl};
use crate::key::{Form as Printed, KeyId, Name, PepperId, Scope, StoredDigest};
use crate::route::{HostPattern, Methods, PathPattern};
use crate::sink::Endpoint;

/// What a text must look like.
#[derive(Debug)]
pub(super) struct Form {
    /// Completes "must be …".
    pub(super) what: &'static str,
    /// A regular expression for the schema: it accepts all that the check accepts.
    pub(super) pattern: &'static str,
    /// What to do where the fault says nothing better.
    pub(super) remedy: &'static str,
    pub(super) check: fn(&str) -> Result<(), Fault>,
}

/// Why a text does not have its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The form's own remedy says it all.
    Form,
    /// A remedy for this very text.
    Remedy(String),
}

pub(super) const ADDRESS: Form = Form {
    what: "an address and a port",
    pattern: r"^(\[[0-9A-Fa-f:.%]+\]|[0-9.]+):[0-9]{1,5}$",
    remedy: "write an IP address and a port, as in 0.0.0.0:8080 or [::]:8080",
    check: address,
};

pub(super) const KEY_ID: Form = Form {
    what: "a key id",
    pattern: "^[A-Za-z0-9_.-]{1,64}$",
    remedy: "use 1 to 64 characters out of A-Z a-z 0-9 _ . -",
    check: parses::<KeyId>,
};

pub(super) const NAME: Form = Form {
    what: "a name",
    pattern: "^[!-~]([ -~]{0,126}[!-~])?$",
    remedy: "use 1 to 128 printable ASCII characters, without a space at either end",
    check: parses::<Name>,
};

pub(super) const LIMIT_NAME: Form = Form {
    what: "a name of a limit",
    pattern: "^[A-Za-z0-9_.-]{1,64}$",
    remedy: "use 1 to 64 characters out of A-Z a-z 0-9 _ . -: it is sent in the RateLimit field",
    check: |text| when((1..=64).contains(&text.len()) && text.bytes().all(is_plain)),
};

pub(super) const REALM: Form = Form {
    what: "a realm",
    pattern: r"^[ !#-\[\]-~]{1,128}$",
    remedy: "use 1 to 128 printable ASCII characters without quotes and backslashes",
    check: |text| {
        when(
            (1..=128).contains(&text.len())
                && text.bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
        )
    },
};

pub(super) const BRAND: Form = Form {
    what: "a brand",
    pattern: "^[a-z][a-z0-9]{1,11}$",
    remedy: "use 2 to 12 lower-case letters and digits, a letter first, as in kg",
    check: |text| Printed::new(text).map(drop).map_err(|error| Fault::Remedy(error.to_string())),
};

pub(super) const PUBLIC_URL: Form = Form {
    what: "where browsers find the console",
    pattern: r"^[Hh][Tt][Tt][Pp][Ss]?://[!-.0->@-~]+/?$",
    remedy: "write it like https://keys.example.com, without a path; http is for this machine alone",
    check: parses::<PublicUrl>,
};

pub(super) const GATEWAY_URL: Form = Form {
    what: "where clients send their requests",
    pattern: r"^https?://[!-~]+$",
    remedy: "write it like https://api.example.com/v1/orders",
    check: parses::<GatewayUrl>,
};

pub(super) const FIELD_NAME: Form = Form {
    what: "a header field name",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$",
    remedy: "use letters, digits and -, as in X-API-Key",
    check: field_name,
};

pub(super) const PARAMETER: Form = Form {
    what: "a parameter or cookie name",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$",
    remedy: "use letters, digits, - and _, as in api_key",
    check: field_name,
};

pub(super) const NETWORK: Form = Form {
    what: "a network",
    pattern: "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
    remedy: "write a CIDR, as in 10.0.0.0/8 or 2001:db8::/32, or a single address",
    check: |text| scalar::network(text).map(drop),
};

pub(super) const PEPPER_ID: Form = Form {
    what: "a pepper id",
    pattern: "^[a-z0-9_-]{1,32}$",
    remedy: "use 1 to 32 characters out of a-z 0-9 _ -",
    check: parses::<PepperId>,
};

pub(super) const TARGET: Form = Form {
    what: "a target",
    pattern: r"^http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}/?$",
    remedy: "write http://HOST:PORT, as in http://127.0.0.1:9000",
    check: |text| scalar::target(text).map(drop),
};

pub(super) const PATH: Form = Form {
    what: "a path",
    pattern: "^/",
    remedy: "write a path that begins with `/`, without dot segments, `//`, query and needless escapes, as in /v1/orders",
    check: explained::<PathPattern>,
};

pub(super) const HOST: Form = Form {
    what: "a host",
    pattern: r"^(\*\.)?[A-Za-z0-9._:\[\]-]+$",
    remedy: "write a host name without port, as in api.example.com or *.example.com",
    check: explained::<HostPattern>,
};

pub(super) const METHOD: Form = Form {
    what: "a method",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    remedy: "write a method, as in GET",
    check: method,
};

pub(super) const SCOPE: Form = Form {
    what: "a scope",
    pattern: r"^[!#-\[\]-~]{1,64}$",
    remedy: "use 1 to 64 printable ASCII characters without space, quote and backslash, as in orders:read",
    check: parses::<Scope>,
};

pub(super) const DIGEST: Form = Form {
    what: "a digest",
    pattern: "^(sha256|hmac-sha256:[a-z0-9_-]{1,32}):[0-9A-Fa-f]{64}$",
    remedy: "write sha256: or hmac-sha256:PEPPER: and 64 hexadecimal digits; `keygate keys hash -` makes one from a secret",
    check: digest,
};

pub(super) const SECRET: Form = Form {
    what: "a secret",
    pattern: "^[!-~]{1,256}$",
    remedy: "use 1 to 256 visible ASCII characters; `keygate keys create --offline` makes a good one",
    check: |text| when((1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())),
};

pub(super) const TIMESTAMP: Form = Form {
    what: "a time",
    pattern: r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$",
    remedy: "write date, time and offset, as in 2027-01-01T00:00:00Z",
    check: |text| scalar::timestamp(text).map(drop),
};

pub(super) const FILE: Form = Form {
    what: "a path of a file",
    pattern: r"^[^\u0000]{1,4096}$",
    remedy: "write a path, relative to this file or absolute",
    check: |text| when((1..=4096).contains(&text.chars().count()) && !text.contains('\0')),
};

pub(super) const VARIABLE: Form = Form {
    what: "a name of an environment variable",
    pattern: "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
    remedy: "use letters, digits and _, as in ACME_SECRET",
    check: variable,
};

pub(super) const FREE_TEXT: Form = Form {
    what: "a short text",
    pattern: r"^[^\u0000-\u001f\u007f-\u009f]{1,256}$",
    remedy: "use 1 to 256 characters in one line",
    check: |text| when((1..=256).contains(&text.chars().count()) && !text.contains(char::is_control)),
};

pub(super) const SINK_NAME: Form = Form {
    what: "a name of a sink",
    pattern: "^[A-Za-z0-9_.-]{1,64}$",
    remedy: "use 1 to 64 characters out of A-Z a-z 0-9 _ . -: it stands in metrics",
    check: |text| when((1..=64).contains(&text.len()) && text.bytes().all(is_plain)),
};

pub(super) const FILE_PREFIX: Form = Form {
    what: "a begin of a file name",
    pattern: "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$",
    remedy: "use 1 to 64 characters out of A-Z a-z 0-9 _ . -, without a dot in front",
    check: |text| when((1..=64).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.')),
};

pub(super) const ENDPOINT: Form = Form {
    what: "a URL",
    pattern: "^https?://[^#]+$",
    remedy: "write https://HOST/PATH, without user, password and fragment",
    check: explained::<Endpoint>,
};

pub(super) const VISIBLE: Form = Form {
    what: "a word",
    pattern: "^[!-~]{1,100}$",
    remedy: "use 1 to 100 visible ASCII characters",
    check: |text| when((1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())),
};

pub(super) const PAYLOAD_FIELD: Form = Form {
    what: "a name of a payload field",
    pattern: "^[A-Za-z0-9_]{1,100}$",
    remedy: "use 1 to 100 characters out of A-Z a-z 0-9 _",
    check: |text| when((1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')),
};

fn when(fits: bool) -> Result<(), Fault> {
    if fits { Ok(()) } else { Err(Fault::Form) }
}

fn parses<T: FromStr>(text: &str) -> Result<(), Fault> {
    when(text.parse::<T>().is_ok())
}

/// As [`parses`], for types whose errors say what to write instead.
fn explained<T: FromStr<Err: Display>>(text: &str) -> Result<(), Fault> {
    text.parse::<T>().map(drop).map_err(|error| Fault::Remedy(error.to_string()))
}

fn address(text: &str) -> Result<(), Fault> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(Fault::Remedy("add the port, as in 0.0.0.0:8080 or [::]:8080".into()));
    }
    match text.rsplit_once(':') {
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
            Err(Fault::Remedy(format!("write 0.0.0.0:{port} for all IPv4 addresses or [::]:{port} for IPv6")))
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            Err(Fault::Remedy(format!("write 127.0.0.1:{port}")))
        }
        _ => Err(Fault::Form),
    }
}

/// An RFC 9110 section 5.6.2 token.
fn field_name(text: &str) -> Result<(), Fault> {
    when((1..=128).contains(&text.len()) && text.bytes().all(is_token))
}

fn method(text: &str) -> Result<(), Fault> {
    Methods::new([text]).map(drop).map_err(|error| Fault::Remedy(error.to_string()))
}

fn digest(text: &str) -> Result<(), Fault> {
    if text.parse::<StoredDigest>().is_ok() {
        return Ok(());
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fault::Remedy("put `sha256:` before the 64 digits".into()));
    }
    Err(Fault::Form)
}

fn variable(text: &str) -> Result<(), Fault> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    when(begins && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

//! What the configuration says of one sink.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};
use zeroize::Zeroizing;

use crate::key::Name;
use crate::meter::Start;

/// What the configuration says of one sink. Equal options need no restart of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its name in the file: what its progress is kept under.
    pub name: Name,
    /// Where it begins when it is new.
    pub from: Start,
    /// Most buckets or events in one batch, at least 1.
    pub batch: usize,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Where it all goes.
    pub target: Target,
}

/// Where usage goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Files in a folder.
    File(FileOptions),
    /// CloudEvents over HTTP.
    Http(HttpOptions),
    /// Stripe's meter events.
    Stripe(StripeOptions),
    /// Signed messages.
    Webhook(WebhookOptions),
}

/// Files in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// The folder; made if missing.
    pub folder: PathBuf,
    /// What the names of the files begin with.
    pub prefix: String,
    /// The form of the rows.
    pub format: Format,
    /// A file that has grown to this is followed by another one.
    pub max_bytes: u64,
}

/// The form of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line.
    Ndjson,
    /// RFC 4180, with a first line of names.
    Csv,
}

/// How a sink over HTTP is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where everything is posted to.
    pub endpoint: Endpoint,
    /// From the begin of a call to its end.
    pub timeout: Duration,
    /// Whose certificates are trusted; none: those that Mozilla trusts.
    pub roots: Option<Roots>,
}

/// CloudEvents over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// How the receiver is reached.
    pub connection: Connection,
    /// What goes out as a bearer token.
    pub token: Option<Credential>,
    /// The `source` of each event.
    pub source: String,
    /// The `type` of each event.
    pub kind: String,
    /// Whose name the `subject` of each event is.
    pub subject: Subject,
    /// Which buckets are sent.
    pub select: Select,
    /// How long the receiver recognises duplicates by `source` and `id`; none: not at all, as far as we know.
    pub duplicate_window: Option<Duration>,
}

/// Stripe's meter events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeOptions {
    /// How Stripe is reached.
    pub connection: Connection,
    /// The secret key of the account.
    pub key: Credential,
    /// The `event_name` of the meter.
    pub meter: String,
    /// What is billed.
    pub value: Measure,
    /// The name of the customer in the payload.
    pub customer_field: String,
    /// The name of the value in the payload.
    pub value_field: String,
    /// Stripe's ids of owners. An owner that is not here and begins with `cus_` is such an id itself.
    pub customers: BTreeMap<Name, String>,
    /// Calls at the same time, each for another customer; at least 1.
    pub calls: usize,
}

/// Signed messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOptions {
    /// How the receiver is reached.
    pub connection: Connection,
    /// What messages are signed with; each makes a signature of its own. At least one.
    pub secrets: Vec<Credential>,
    /// Which buckets are sent.
    pub select: Select,
    /// What is sent.
    pub carries: Carries,
}

/// What a webhook carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Buckets.
    Usage,
    /// Events of keys and quotas.
    Events,
    /// Both.
    Both,
}

/// Whose name the subject of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The owner's.
    Owner,
    /// The key's.
    Key,
}

/// Which buckets are sent; all others are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Those with units, of a subject that is known.
    Billed,
    /// All of them.
    All,
}

/// What of a bucket is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Units.
    Units,
    /// Completed requests.
    Requests,
    /// Bytes from the client.
    BytesIn,
    /// Bytes to the client.
    BytesOut,
}

/// A token, a key or a signing secret: wiped when dropped, shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Zeroizing<Vec<u8>>);

/// Certificates that others are trusted by; at least one.
#[derive(Clone)]
pub struct Roots(Vec<Certificate<'static>>);

/// A file without certificates, or with broken ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds no certificates in PEM")]
pub struct RootsError;

/// Why bytes are no credential. Says nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It cannot stand in a header field.
    #[error("is not visible ASCII")]
    Invisible,
    /// It begins with `whsec_`, and no base64 follows.
    #[error("begins with whsec_, and what follows is not base64")]
    NotBase64,
    /// It can be guessed.
    #[error("has fewer than 16 bytes")]
    TooShort,
}

/// An `http` or `https` URL without user, password and fragment.
///
/// Shown without path and query, where many services put a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    origin: String,
    way: Way,
}

/// Who can read what is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The other end.
    Encrypted,
    /// Nobody else: it stays on this machine.
    Loopback,
    /// Everybody on the way.
    Clear,
}

/// A text that is not the URL of an endpoint. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write https://HOST/PATH, without user, password and fragment")]
pub struct EndpointError;

impl Target {
    /// As it is called in the file.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Stripe(_) => "stripe",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl Credential {
    /// What is sent in a header field.
    pub fn bearer(bytes: Zeroizing<Vec<u8>>) -> Result<Self, CredentialError> {
        if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialError::Invisible);
        }
        Ok(Self(bytes))
    }

    /// What messages are signed with: `whsec_` and base64, as Standard Webhooks has it, or the bytes themselves.
    pub fn signing(bytes: Zeroizing<Vec<u8>>) -> Result<Self, CredentialError> {
        let bytes = match bytes.strip_prefix(b"whsec_") {
            Some(encoded) => Zeroizing::new(STANDARD.decode(encoded).map_err(|_| CredentialError::NotBase64)?),
            None => bytes,
        };
        if bytes.len() < SIGNING_BYTES {
            return Err(CredentialError::TooShort);
        }
        Ok(Self(bytes))
    }

    /// In clear: for the one place that sends it or signs with it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Roots {
    /// Reads the certificates of a PEM file.
    pub fn parse(pem: &[u8]) -> Result<Self, RootsError> {
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|_| RootsError)? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() { Err(RootsError) } else { Ok(Self(certificates)) }
    }

    /// All of them.
    pub(super) fn certificates(&self) -> &[Certificate<'static>] {
        &self.0
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(Certificate::der).eq(other.0.iter().map(Certificate::der))
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

impl CredentialError {
    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Invisible => "write the token itself, without spaces and line breaks",
            Self::NotBase64 | Self::TooShort => {
                "write whsec_ and 32 random bytes in base64, as `head -c 32 /dev/urandom | base64` gives them"
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl Endpoint {
    /// All of it, with what may be secret.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Who can read what is sent there.
    pub fn way(&self) -> Way {
        self.way
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let url: Uri = text.parse().map_err(|_| EndpointError)?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else { return Err(EndpointError) };
        if authority.as_str().contains('@') || authority.host().is_empty() || text.contains('#') {
            return Err(EndpointError);
        }
        let way = match scheme {
            "https" => Way::Encrypted,
            "http" if is_loopback(authority.host()) => Way::Loopback,
            "http" => Way::Clear,
            _ => return Err(EndpointError),
        };
        Ok(Self { text: text.to_owned(), origin: format!("{scheme}://{authority}"), way })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}…)")
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
}

const SIGNING_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_who_can_read_what_is_sent_to_it() {
        let check = |text: &str, way| assert_eq!(text.parse::<Endpoint>().map(|url| url.way()), way, "{text}");
        check("https://api.example.com/v1/events?x=1", Ok(Way::Encrypted));
        for here in ["http://127.0.0.1:8888/a", "http://[::1]/", "http://LocalHost:1"] {
            check(here, Ok(Way::Loopback));
        }
        for clear in ["http://10.0.0.1/a", "http://localhost.example/", "http://127.0.0.1.example/"] {
            check(clear, Ok(Way::Clear));
        }
        for bad in ["", "api.example.com", "/events", "ftp://h/", "https://u:p@h/", "https://h/#f", "https:///x"] {
            check(bad, Err(EndpointError));
        }
    }

    #[test]
    fn a_signing_secret_is_long_enough_whatever_its_form() {
        let check = |text: &str, outcome: Result<&[u8], CredentialError>| {
            let made = Credential::signing(Zeroizing::new(text.as_bytes().to_vec()));
            assert_eq!(made.as_ref().map(Credential::expose), outcome.as_ref().map(|bytes| *bytes), "{text}");
        };
        check("0123456789abcdef", Ok(b"0123456789abcdef"));
        check("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", Ok(b"0123456789abcdef"));
        check("whsec_MDEy", Err(CredentialError::TooShort));
        check("whsec_?", Err(CredentialError::NotBase64));
        check("short", Err(CredentialError::TooShort));
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let endpoint: Endpoint = "https://hooks.example/T0/B0/s3cret?k=s3cret".parse().unwrap();
        let credential = Credential::bearer(Zeroizing::new(b"s3cret".to_vec())).unwrap();
        let shown = format!("{endpoint} {endpoint:?} {credential:?}");
        assert!(shown.contains("https://hooks.example") && !shown.contains("s3cret"), "{shown}");
    }
}

//! Posts to an endpoint, and tells what certainly did not arrive from what may have.
//!
//! No redirects, no proxies, no cookies, and nothing is sent twice by itself. TLS with the roots of the sink, or those that the program brings along.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::{Request, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

use super::options::{Connection, Endpoint};

/// Posts to one endpoint. Calls may run at the same time.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: Endpoint,
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer.
    Answer(Answer),
    /// Nothing left this machine that the other one could have understood.
    Unsent(String),
    /// It may have arrived.
    Lost(String),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// None: it did not come to its end, or is too large.
    pub(super) body: Option<Vec<u8>>,
}

impl Client {
    pub(super) fn new(connection: &Connection) -> Self {
        let Connection { endpoint, timeout, roots } = connection;
        let roots = roots.as_ref().map_or(RootCerts::WebPki, |roots| RootCerts::new_with_certs(roots.certificates()));
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_connect(Some((*timeout).min(CONNECT_TIMEOUT)))
            .timeout_global(Some(*timeout))
            .max_idle_age(IDLE)
            .user_agent(concat!("keygate/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, endpoint: endpoint.clone() }
    }

    /// One call. The fields may hold secrets, the words of the reply never do.
    pub(super) fn post(&self, fields: &[(&str, &[u8])], body: &[u8]) -> Reply {
        let mut request = Request::builder().method("POST").uri(self.endpoint.expose());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = match request.body(body) {
            Ok(request) => request,
            Err(_) => return Reply::Unsent("the request cannot be written".to_owned()),
        };
        match self.agent.run(request) {
            Ok(response) => Reply::Answer(answer(response)),
            Err(error) => self.failure(&error),
        }
    }

    fn failure(&self, error: &ureq::Error) -> Reply {
        let words = |words: &str| format!("{}: {words}", self.endpoint);
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Reply::Unsent(words("no connection in time")),
            ureq::Error::Timeout(_) => Reply::Lost(words("no answer in time")),
            ureq::Error::HostNotFound => Reply::Unsent(words("nobody knows that host")),
            ureq::Error::ConnectionFailed => Reply::Unsent(words("no connection")),
            ureq::Error::Io(error) if is_before_sending(error) => Reply::Unsent(words(&error.to_string())),
            ureq::Error::Io(error) => Reply::Lost(words(&error.to_string())),
            ureq::Error::Tls(why) => Reply::Unsent(words(why)),
            ureq::Error::Protocol(_) => Reply::Lost(words("what came is not HTTP")),
            _ => Reply::Lost(words("the call failed")),
        }
    }
}

/// Whether a connection was not even made.
fn is_before_sending(error: &std::io::Error) -> bool {
    use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable, NotFound};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable | NotFound
    ) || is_distrust(error)
}

/// A certificate that is not trusted. rustls hides its error in this one, and it comes before anything is sent.
fn is_distrust(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::InvalidData && error.to_string().starts_with("invalid peer certificate")
}

fn answer(response: Response<Body>) -> Answer {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.into_body().into_with_config().limit(ANSWER_BYTES).read_to_vec().ok();
    Answer { status, retry_after: retry_after.map(Duration::from_secs), body }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than servers keep connections, so that a call seldom meets one that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
const ANSWER_BYTES: u64 = 64 << 10;

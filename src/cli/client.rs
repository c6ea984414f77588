//! The client of the admin API: one way to ask, and one table from what comes back to an exit code.
//!
//! Plain HTTP without redirects and proxies. The token goes out in `Authorization` and nowhere else; no text that is shown
//! holds it. Called by every command that talks to a gateway.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response, Uri};
use ureq::{Agent, Body, Timeout};
use zeroize::Zeroizing;

use super::call::Call;
use super::problem::Problem;
use super::terminal::say;
use super::{Exit, Failure};
use crate::key::{Secret, check_token};

/// Which gateway is asked, and in whose name.
///
/// What is not given comes from the environment only when it is wanted: clap takes options of the environment for given
/// ones, and its usage would then show them as if they had to be.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// The admin API [env: KEYGATE_ADMIN] [default: http://127.0.0.1:9180]
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    admin: Option<String>,
    /// The file with the admin token [env: KEYGATE_TOKEN_FILE] [default: ./data/admin.token]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,
    /// Send the token in clear to another machine [env: KEYGATE_INSECURE]
    #[arg(long, global = true, help_heading = "Connection")]
    insecure: bool,
}

/// Asks one gateway.
pub(super) struct Client {
    agent: Agent,
    base: String,
    token: Secret,
}

/// What a gateway answered to a call that it did.
pub(super) struct Answer {
    /// The whole of it.
    pub(super) body: Value,
    /// Whether the call had been done before, and this is the answer without its secret.
    pub(super) is_replay: bool,
}

/// Why there is no answer to go on with.
enum Trouble {
    /// Nobody was asked.
    Unreachable(String),
    /// Somebody was asked, and did not answer to the end.
    Lost(String),
    /// It is not what a gateway answers.
    Strange(String),
    /// A gateway says no.
    Refused(Problem),
}

impl Connection {
    /// Reads the token and makes ready to ask. Nobody is asked yet.
    pub(super) fn open(&self) -> anyhow::Result<Client> {
        let base = base_url(&self.admin())?;
        if !self.is_insecure() && !is_on_this_machine(&base) {
            return Err(Failure::usage(
                "the admin URL is on another machine, and plain http shows the token to all on the way: use an SSH tunnel or \
                 a TLS proxy on this machine, or --insecure where the way is safe",
            )
            .into());
        }
        let token = token(&self.token_file())?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(WHOLE_TIMEOUT))
            .user_agent(concat!("keygate/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build()
            .new_agent();
        Ok(Client { agent, base, token })
    }

    fn admin(&self) -> String {
        let given = self.admin.clone().map(OsString::from).or_else(|| env::var_os("KEYGATE_ADMIN"));
        given.map_or_else(|| ADMIN.to_owned(), |url| url.to_string_lossy().into_owned())
    }

    fn token_file(&self) -> PathBuf {
        let given = self.token_file.clone().or_else(|| env::var_os("KEYGATE_TOKEN_FILE").map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(TOKEN_FILE))
    }

    fn is_insecure(&self) -> bool {
        let said = env::var("KEYGATE_INSECURE").unwrap_or_default().to_ascii_lowercase();
        self.insecure || !NO.contains(&said.as_str())
    }
}

impl Client {
    /// Asks; once more if the connection was lost, where that can do no harm.
    pub(super) fn send(&self, call: &Call) -> Result<Answer, Failure> {
        let answer = match self.attempt(call) {
            Err(Trouble::Lost(_)) if call.is_repeatable() => self.attempt(call),
            answer => answer,
        };
        answer.map_err(|trouble| self.failure(trouble, call))
    }

    fn attempt(&self, call: &Call) -> Result<Answer, Trouble> {
        let response = self.exchange(call).map_err(|error| trouble(&error))?;
        let status = response.status().as_u16();
        let retry_after_s = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let is_replay = response.headers().contains_key("idempotent-replayed");
        let body = whole_body(response)?;
        let body = serde_json::from_slice::<Value>(&body).ok().filter(Value::is_object);
        match (status, body) {
            (200..=299, Some(body)) => Ok(Answer { body, is_replay }),
            (200..=299, None) => Err(Trouble::Strange("it is no JSON object".to_owned())),
            (400..=599, body) => Err(Trouble::Refused(Problem::read(status, retry_after_s, body.as_ref()))),
            (300..=399, _) => Err(Trouble::Strange(format!("it points elsewhere (status {status})"))),
            _ => Err(Trouble::Strange(format!("its status is {status}"))),
        }
    }

    fn exchange(&self, call: &Call) -> Result<Response<Body>, ureq::Error> {
        let authorization = Zeroizing::new(format!("Bearer {}", self.token.expose()));
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(format!("{}{}", self.base, call.target))
            .header("authorization", authorization.as_str());
        for (name, value) in &call.fields {
            request = request.header(*name, value);
        }
        let Some(body) = &call.body else {
            return self.agent.run(request.body(())?);
        };
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.agent.run(request.body(body.as_slice())?)
    }

    fn failure(&self, trouble: Trouble, call: &Call) -> Failure {
        let base = &self.base;
        let (exit, words) = match trouble {
            Trouble::Unreachable(why) => {
                (Exit::NotReachable, format!("the gateway at {base} cannot be reached: {why}"))
            }
            Trouble::Lost(why) => {
                (Exit::NotReachable, format!("the gateway at {base} did not answer: {why}{}", call.uncertainty()))
            }
            Trouble::Strange(why) => (
                Exit::Failed,
                format!("what came from {base} is not the answer of a gateway: {why}{}", call.uncertainty()),
            ),
            Trouble::Refused(problem) => (problem.exit(), problem.to_string()),
        };
        // Whoever answers knows the token, and might send it back.
        Failure::new(exit, words.replace(self.token.expose(), "[redacted]"))
    }
}

/// The URL without the slash at its end. What is wrong with it is told without repeating it: it may hold a password.
fn base_url(text: &str) -> Result<String, Failure> {
    let form = || Failure::usage("the admin URL is of the form http://HOST:PORT");
    let url: Uri = text.parse().map_err(|_| form())?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(Failure::usage(
                "https is not supported in this build: use http to a gateway on this machine, or a tunnel to it",
            ));
        }
        _ => return Err(form()),
    }
    let is_plain = url.authority().is_some_and(|host| !host.as_str().contains('@')) && url.query().is_none();
    if !is_plain || text.contains('#') {
        return Err(form());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether what is sent there goes over no network.
fn is_on_this_machine(base: &str) -> bool {
    let url = base.parse::<Uri>().ok();
    let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
}

fn token(path: &Path) -> Result<Secret, Failure> {
    let shown = path.display();
    let missing = |error: io::Error| {
        Failure::usage(format!(
            "the admin token cannot be read from `{shown}`: {error}; name its file with --token-file"
        ))
    };
    let file = File::open(path).map_err(missing)?;
    let mode = file.metadata().map_err(missing)?.permissions().mode();
    let mut text = Zeroizing::new(Vec::with_capacity(TOKEN_FILE_BYTES));
    file.take(TOKEN_FILE_BYTES as u64).read_to_end(&mut text).map_err(missing)?;
    let token = text.trim_ascii();
    let none = |_| Failure::usage(format!("`{shown}` holds no admin token, and nothing was sent"));
    check_token(token).map_err(none)?;
    if mode & READABLE_BY_OTHERS != 0 {
        say(&format!("warning: others can read the admin token: chmod 600 {shown}"));
    }
    Secret::try_from(token.to_vec()).map_err(none)
}

fn whole_body(response: Response<Body>) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let body = response.into_body().into_with_config().limit(ANSWER_BYTES).read_to_vec();
    body.map(Zeroizing::new).map_err(|error| trouble(&error))
}

fn trouble(error: &ureq::Error) -> Trouble {
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Trouble::Unreachable("no answer in time".to_owned())
        }
        ureq::Error::Timeout(_) => Trouble::Lost("no answer in time".to_owned()),
        ureq::Error::HostNotFound => Trouble::Unreachable("nobody knows that host".to_owned()),
        ureq::Error::ConnectionFailed => Trouble::Unreachable("no connection".to_owned()),
        ureq::Error::Io(error) if is_loss(error.kind()) => Trouble::Lost("the connection was lost".to_owned()),
        ureq::Error::Io(error) => Trouble::Unreachable(error.to_string()),
        ureq::Error::BodyExceedsLimit(limit) => Trouble::Strange(format!("it is larger than {} MiB", limit >> 20)),
        error => Trouble::Strange(error.to_string()),
    }
}

/// Whether there was a connection before.
fn is_loss(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

const ADMIN: &str = "http://127.0.0.1:9180";
const TOKEN_FILE: &str = "./data/admin.token";
/// What turns an option of the environment off.
const NO: [&str; 7] = ["", "0", "n", "no", "f", "false", "off"];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A page of a thousand keys has about one MiB.
const ANSWER_BYTES: u64 = 16 << 20;

const TOKEN_FILE_BYTES: usize = 4096;
const READABLE_BY_OTHERS: u32 = 0o044;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_is_plain_http_and_says_nothing_else() {
        assert_eq!(base_url("http://127.0.0.1:9180/").unwrap(), "http://127.0.0.1:9180");
        assert_eq!(base_url("http://[::1]:9180").unwrap(), "http://[::1]:9180");
        assert_eq!(base_url("http://gate.example/admin/").unwrap(), "http://gate.example/admin");
        for bad in ["", "127.0.0.1:9180", "ftp://h", "http://u:p@h", "http://h/?q", "http://h/#f", "http://", "/v1"] {
            let failure = base_url(bad).unwrap_err();
            assert_eq!(failure.exit, Exit::Invalid, "{bad}");
            assert!(!failure.words.contains("u:p"));
        }
        for here in ["http://127.0.0.1:9180", "http://127.9.9.9", "http://[::1]:9180/x", "http://localhost:1"] {
            assert!(is_on_this_machine(&base_url(here).unwrap()), "{here}");
        }
        for elsewhere in
            ["http://10.0.0.1", "http://127.0.0.1.example", "http://localhost.example", "http://[2001:db8::1]"]
        {
            assert!(!is_on_this_machine(&base_url(elsewhere).unwrap()), "{elsewhere}");
        }
        assert!(base_url("https://h").unwrap_err().words.contains("not supported in this build"));
    }
}

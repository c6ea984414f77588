//! A scripted admin API for the command line: it keeps what was asked, and gives the answers that a test wrote down.
//!
//! Every run through it makes sure that the token went out where it belongs and came out nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{command, run_command};
use super::upstream::{Request, Upstream};

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status and a JSON body.
    Json(u16, Value),
    /// The same with further fields.
    With(u16, &'static str, Value),
    /// These bytes, then the end of the connection; no bytes: a lost connection.
    Raw(Vec<u8>),
}

/// A scripted admin API with a token file for it.
pub(crate) struct Admin {
    upstream: Upstream,
    folder: TempDir,
}

/// How a run of the command line ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Admin {
    /// Gives these answers one after the other, the last one again and again.
    pub(crate) fn answering(replies: Vec<Reply>) -> Self {
        let next = Arc::new(AtomicUsize::new(0));
        let replies = Arc::new(Mutex::new(replies));
        let upstream = Upstream::start(move |connection| {
            loop {
                connection.request()?;
                let replies = replies.lock().unwrap();
                let reply = replies[next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1)].clone();
                drop(replies);
                match reply {
                    Reply::Json(status, body) => connection.write(&json_answer(status, "", &body))?,
                    Reply::With(status, fields, body) => connection.write(&json_answer(status, fields, &body))?,
                    Reply::Raw(bytes) => {
                        connection.write(&bytes)?;
                        return None;
                    }
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let admin = Self { upstream, folder };
        fs::write(admin.token_file(), format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(admin.token_file(), fs::Permissions::from_mode(0o600)).unwrap();
        admin
    }

    /// Gives one answer, again and again.
    pub(crate) fn always(status: u16, body: Value) -> Self {
        Self::answering(vec![Reply::Json(status, body)])
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.upstream.address())
    }

    pub(crate) fn token_file(&self) -> String {
        self.folder.path().join("token").to_str().unwrap().to_owned()
    }

    /// The command line with this server and token.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.args(["--admin", &self.url(), "--token-file", &self.token_file()]).stdin(Stdio::null());
        command
    }

    /// Runs the command line to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.check(&self.command(arguments).output().expect("keygate runs"))
    }

    /// Runs the command line to its end with something on its standard input.
    #[track_caller]
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        self.check(&run_command(&mut self.command(arguments), input))
    }

    #[track_caller]
    pub(crate) fn check(&self, output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let ran = Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "the token is shown: {ran:?}");
        for request in self.upstream.seen() {
            assert_eq!(request.value("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        }
        ran
    }

    /// All that was asked.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.upstream.seen()
    }

    /// Method, target and JSON body of all that was asked; null if there was no body.
    pub(crate) fn calls(&self) -> Vec<(String, String, Value)> {
        let call = |request: Request| {
            let body =
                if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap() };
            (request.method().to_owned(), request.target().to_owned(), body)
        };
        self.seen().into_iter().map(call).collect()
    }
}

/// An answer on the wire.
fn json_answer(status: u16, fields: &str, body: &Value) -> Vec<u8> {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The token that all runs have.
pub(crate) const TOKEN: &str = "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6S";

//! A client of a real gateway's admin API: one kept connection, JSON in and out, the operator's token on every request.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::Client;
use super::gateway::Gateway;
use super::settings::Settings;
use super::wire::Broken;

/// One connection to the admin API of a gateway that was started [`with_admin`].
pub(crate) struct AdminClient {
    client: Client,
    token: String,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Null if there was no body.
    pub(crate) body: Value,
}

/// The same with an admin API, and its store in a folder of the gateway's own that is not watched.
pub(crate) fn with_admin(settings: Settings) -> Settings {
    settings.top("admin: {address: \"127.0.0.1:0\"}\ndata_dir: ../data")
}

/// The store's file of a gateway that was started [`with_admin`].
pub(crate) fn store_file(gateway: &Gateway) -> String {
    gateway.folder().join("data/keygate.db").to_str().unwrap().to_owned()
}

impl AdminClient {
    #[track_caller]
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let token = fs::read_to_string(gateway.folder().join("data/admin.token")).expect("there is a token");
        let address = gateway.logs().lines().find_map(admin_address).expect("the gateway says where its admin API is");
        Self { client: Client::connect(address), token: token.trim().to_owned() }
    }

    /// Makes a call; the error tells how its answer is broken.
    pub(crate) fn try_call(&mut self, method: &str, path: &str, body: &Value) -> Result<Answer, Broken> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let response = self.client.send(request).try_response(method)?;
        let body = if response.body.is_empty() { Value::Null } else { parsed(&response.body)? };
        Ok(Answer { status: response.status, body })
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        match self.try_call(method, path, body) {
            Ok(answer) => answer,
            Err(broken) => panic!("no whole answer: {broken:?}"),
        }
    }

    /// `GET path`.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    /// `POST path` with a body; null: none.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }

    /// Makes a key with this name and nothing else: its id and its secret.
    #[track_caller]
    pub(crate) fn create(&mut self, name: &str) -> (String, String) {
        self.post("/v1/keys", &json!({"name": name})).expect(201).created()
    }
}

impl Answer {
    /// Panics unless the status is this, showing the answer.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Panics unless it is this problem, showing the answer.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["code"], code, "{}", answer.body);
        answer
    }

    /// The revision that it tells.
    #[track_caller]
    pub(crate) fn revision(&self) -> u64 {
        self.body["revision"].as_u64().expect("an answer with a revision")
    }

    /// The id and the secret of a key that was made.
    #[track_caller]
    pub(crate) fn created(&self) -> (String, String) {
        let text = |value: &Value| value.as_str().expect("a key that was made").to_owned();
        (text(&self.body["key"]["id"]), text(&self.body["secret"]))
    }
}

fn parsed(body: &[u8]) -> Result<Value, Broken> {
    serde_json::from_slice(body).map_err(|error| Broken::Malformed(error.to_string()))
}

/// Where the admin API is, out of the log line that says `listening`.
fn admin_address(line: &str) -> Option<SocketAddr> {
    let line = serde_json::from_str::<Value>(line).ok()?;
    line.get("fields").unwrap_or(&line).get("admin")?.as_str()?.parse().ok()
}

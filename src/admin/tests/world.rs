//! What the tests share: a gateway's admin API with one token per role, and a client.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::admin::{Console, Explanation, Limits, Parts, Reload, Sessions, TrustedHeader, Vault, router};
use crate::catalog::{Catalog, FileKey, Follower, RuleSet, Rules, Wire};
use crate::key::{Digest, Extra, Key, KeyId, State, TokenId};
use crate::limit::Limit;
use crate::operations;
use crate::policy::Plan;
use crate::store::{
    Action, Actor, AuditRow, Chain, Change, Commit, CommitError, Damaged, Event, Expect, Filter, MemoryStore, Origin,
    Record, Recoverable, Replay, Revision, SqliteStore, Store, StoreError, StoredKey, Token, UsageReport, Used,
    Verdict,
};
use crate::telemetry::Metrics;
use crate::time::{self, Timestamp};

/// A gateway's admin API with its clients.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) follower: Arc<Follower>,
    pub(super) store: Arc<Flaky>,
    pub(super) sessions: Arc<Sessions>,
    /// What the data plane was asked; it answers to nobody who does not get this lock.
    pub(super) questions: Arc<Mutex<Vec<String>>>,
    pub(super) peer: SocketAddr,
}

/// What an answer was.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) fields: HeaderMap,
    pub(super) text: String,
}

/// A store that can be made to fail.
pub(super) struct Flaky {
    inner: Box<dyn Store>,
    broken: AtomicBool,
}

/// Where the sign-on proxy is.
pub(super) const PROXY: &str = "192.0.2.0/28";
pub(super) const OPERATOR: &str = "operator";
pub(super) const VIEWER: &str = "viewer";
pub(super) const ACME: &str = "owner:acme";
pub(super) const FILE_SECRET: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

/// Runs a test on a runtime of its own.
pub(super) fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    run_with(Limits::default(), test);
}

pub(super) fn run_with<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(World::new(limits, Box::new(MemoryStore::new()))).await });
}

/// Runs a test in memory, and again with a store on disk.
pub(super) fn run_on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    run(&test);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&folder.path().join("keygate.db")).unwrap();
        test(World::new(Limits::default(), Box::new(store))).await;
    });
}

impl World {
    pub(super) fn new(limits: Limits, inner: Box<dyn Store>) -> Self {
        let store = Arc::new(Flaky { inner, broken: AtomicBool::new(false) });
        for role in [OPERATOR, VIEWER, ACME] {
            store.inner.commit(token_commit(role, token(role))).unwrap();
        }
        let file_keys =
            vec![file_key("key_file", FILE_SECRET, State::Active), file_key("key_gone", "gone", State::Revoked)];
        let catalog = Arc::new(Catalog::new());
        catalog.apply(rules(), file_keys.clone());
        let follower = Arc::new(Follower::start(Arc::clone(&store) as Arc<dyn Store>, catalog).unwrap());
        let questions: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = Arc::clone(&questions);
        let sessions = Arc::new(Sessions::new());
        let (reload, reloads) = mpsc::channel(1);
        tokio::spawn(answer_reloads(reloads));
        let parts = Parts {
            follower: Arc::clone(&follower),
            file_keys: Arc::new(ArcSwap::from_pointee(file_keys)),
            explain: Arc::new(move |question| {
                asked.lock().unwrap().push(format!("{question:?}"));
                Explanation { outcome: "forwarded".into(), status: 200, ..Explanation::default() }
            }),
            allowance: Arc::new(|_| crate::admin::Allowance::default()),
            usage: Some(Arc::new(|query| {
                let (from, to) = (query.from, query.to);
                Ok(UsageReport { from, to, rows: Vec::new(), totals: Used::default(), next: None })
            })),
            usage_proof: Some(Arc::new(|_, _| Ok(Vec::new()))),
            sinks: Some(super::sinks::hooks()),
            reload,
            check: Arc::new(|| vec!["k.yaml:1:1: error: nothing is right".into()]),
            state: operations::State::new(Metrics::new(&[], &[]), time::now()),
            address: ([127, 0, 0, 1], 9180).into(),
            console: Some(console()),
            vault: Some(Vault::from_file(&[7; 32]).unwrap()),
            sessions: Arc::clone(&sessions),
            limits,
        };
        Self { router: router(parts), follower, store, sessions, questions, peer: "127.0.0.1:5000".parse().unwrap() }
    }

    /// A call with the token of a role; the body is JSON if there is one.
    pub(super) async fn call(&self, role: &str, call: &str, body: Value) -> Got {
        let authorization = format!("Bearer {}", token(role));
        self.send(&[("authorization", &authorization)], call, body).await
    }

    /// A call as an operator.
    pub(super) async fn ask(&self, call: &str, body: Value) -> Got {
        self.call(OPERATOR, call, body).await
    }

    /// An operator's call with one more field.
    pub(super) async fn ask_with(&self, field: (&str, &str), call: &str, body: Value) -> Got {
        let authorization = format!("Bearer {}", token(OPERATOR));
        self.send(&[("authorization", &authorization), field], call, body).await
    }

    pub(super) async fn send(&self, fields: &[(&str, &str)], call: &str, body: Value) -> Got {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send_text(&[fields, &[("content-type", "application/json")]].concat(), call, text).await
    }

    pub(super) async fn send_text(&self, fields: &[(&str, &str)], call: &str, body: impl Into<Body>) -> Got {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.extension(ConnectInfo(self.peer)).body(body.into()).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Got { status: head.status.as_u16(), fields: head.headers, text }
    }

    /// Makes a key and returns its id and secret.
    pub(super) async fn make(&self, body: Value) -> (String, String) {
        let made = self.ask("POST /v1/keys", body).await.expect(201);
        (text(&made, "/key/id"), text(&made, "/secret"))
    }

    pub(super) async fn key(&self, id: &str) -> Value {
        self.ask(&format!("GET /v1/keys/{id}"), Value::Null).await.expect(200)["key"].clone()
    }

    pub(super) fn rows(&self) -> Vec<AuditRow> {
        self.store.inner.audit(0, 100_000).unwrap()
    }
}

impl Got {
    /// The document, if the status is the expected one.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The problem, if status and code are the expected ones.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(self.field("content-type"), "application/problem+json");
        assert_eq!(problem["request_id"], self.field("x-request-id"));
        assert!(StatusCode::from_u16(status).is_ok_and(|status| status.is_client_error() || status.is_server_error()));
        problem
    }

    /// The fields that a problem names, with their codes.
    #[track_caller]
    pub(super) fn fields_at_fault(&self) -> Vec<(String, String)> {
        let problem = self.refused(422, "invalid");
        let errors = problem["errors"].as_array().unwrap().iter();
        errors.map(|error| (text(error, "/field"), text(error, "/code"))).collect()
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Flaky {
    /// The store in force, whatever was said of it.
    pub(super) fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    pub(super) fn fail(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(super) fn recover(&self) {
        self.broken.store(false, Ordering::Relaxed);
    }

    fn works(&self) -> Result<&dyn Store, StoreError> {
        if self.broken.load(Ordering::Relaxed) { Err(StoreError::Closed) } else { Ok(&*self.inner) }
    }
}

impl Store for Flaky {
    fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        self.works()?.commit_all(commits)
    }

    fn record_event(&self, event: Event) -> Result<(), StoreError> {
        self.works()?.record_event(event)
    }

    fn note_used(&self, used: &[(Digest, Timestamp)]) -> Result<(), StoreError> {
        self.works()?.note_used(used)
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn load(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<Revision, StoreError> {
        self.works()?.load(each)
    }

    fn changes_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<Option<Revision>, StoreError> {
        self.works()?.changes_since(revision, each)
    }

    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        self.works()?.key(id)
    }

    fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError> {
        self.works()?.keys(filter, after, limit)
    }

    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        self.works()?.token(id)
    }

    fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError> {
        self.works()?.tokens(after, limit)
    }

    fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError> {
        self.works()?.recoverable(digest)
    }

    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        self.works()?.replay(who, key, now)
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.works()?.audit(after, limit)
    }

    fn audit_end(&self) -> Result<Chain, StoreError> {
        self.works()?.audit_end()
    }

    fn verify_audit(&self) -> Result<Verdict, StoreError> {
        self.works()?.verify_audit()
    }
}

/// The token of a role: made up, but of the right form.
pub(super) fn token(role: &str) -> &'static str {
    match role {
        OPERATOR => "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6S",
        VIEWER => "kga_000000000000000000000000000000002UeDZf",
        ACME => "kga_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz44cnUL",
        other => panic!("there is no token for {other}"),
    }
}

pub(super) fn token_commit(role: &str, secret: &str) -> Commit {
    let token = Token {
        id: TokenId::generate().unwrap(),
        name: role.to_owned(),
        digest: Digest::of(secret.as_bytes()),
        role: role.parse().unwrap(),
        created: Timestamp::from_unix_ms(0),
        expires: None,
        revoked: None,
    };
    Commit {
        change: Change::PutToken(token),
        expect: Expect::Absent,
        action: Action::TokenCreate,
        origin: Origin { at: Timestamp::from_unix_ms(0), actor: Actor::File, remote: None, request_id: None },
        idempotency: None,
    }
}

/// The text at a place of a document.
#[track_caller]
pub(super) fn text(document: &Value, place: &str) -> String {
    document.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{place} of {document}")).to_owned()
}

/// The part of a secret that nobody but its holder may know.
pub(super) fn body_of(secret: &str) -> &str {
    &secret[secret.len() - 34..]
}

pub(super) fn named(name: &str) -> Value {
    json!({"name": name})
}

fn file_key(id: &str, secret: &str, state: State) -> FileKey {
    let key = Key {
        id: id.parse().unwrap(),
        name: format!("{id} of the file"),
        owner: Some("acme".parse().unwrap()),
        plan: Some("free".parse().unwrap()),
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state,
        extra: Extra::default(),
    };
    FileKey { key, digests: vec![Digest::of(secret.as_bytes())] }
}

fn rules() -> Rules {
    let plan = |name: &str| {
        let limit = Limit::new("burst".parse().unwrap(), 10, Duration::from_secs(1), 20).unwrap();
        Plan::new(name.parse().unwrap(), vec![limit], None).unwrap()
    };
    let plans = vec![plan("free"), plan("pro")];
    let set = RuleSet {
        routes: Vec::new(),
        plans,
        upstreams: Vec::new(),
        default_plan: Some("free".parse().unwrap()),
        wire: Wire::default(),
    };
    Rules::compile(set, None, time::now()).unwrap()
}

/// With a sign-on proxy that no client of the tests is, unless it says so.
fn console() -> Console {
    let networks = vec![PROXY.parse().unwrap()];
    Console { trusted_header: Some(TrustedHeader { name: "X-User".into(), networks }), ..Console::default() }
}

/// The first reload works, all later ones are refused.
async fn answer_reloads(mut reloads: mpsc::Receiver<Reload>) {
    let mut outcome = Ok(7);
    while let Some(reload) = reloads.recv().await {
        let _ = reload.send(outcome.clone());
        outcome = Err(vec!["k.yaml:3:7: error: no such plan: x".into()]);
    }
}

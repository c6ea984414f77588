//! Who asks: from a bearer token, the cookie of a session or the word of a sign-on proxy to a [`Caller`], and what follows on
//! wrong tokens.
//!
//! A token in the request comes first. What browsers send on their own counts only for pages of the console (`site`). Only a presented token that is wrong counts as a failed login. Each client network (an IPv4 address, an IPv6 /64) may fail so
//! often per minute; then its wrong tokens are answered with 429. A good token is always let in, whatever its neighbours do:
//! what limits guessing is that each wrong guess is counted, and a token has 190 bits. Called by `door`.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use tokio::task::spawn_blocking;

use super::door::Visit;
use super::problem::{Code, Problem};
use super::sessions::{COOKIE, Credential, Session, Source};
use super::{Api, TrustedHeader, site};
use crate::key::{Digest, Key, Name, TokenId, check_token};
use crate::policy::{client_network, contains};
use crate::store::{Action, Actor, Event, Origin, Role, Token};
use crate::telemetry::log;
use crate::time::{self, Timestamp};

/// Whoever asks, in one request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) role: Role,
    pub(super) visit: Visit,
    pub(super) proof: Proof,
}

/// How a caller is known.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// The request holds a token.
    Token(Credential),
    /// It holds the cookie of a session, with this digest.
    Session(Digest, Box<Session>),
    /// A sign-on proxy says that it is this user.
    Proxy(Name),
}

/// Counts failed logins, in bounded memory.
pub(super) struct Logins {
    failures: Keyed,
    /// What of them goes into the audit log: per network, and in all.
    audited: Keyed,
    audited_in_all: DefaultDirectRateLimiter,
}

type Keyed = RateLimiter<IpNet, HashMapStateStore<IpNet>, DefaultClock>;

impl Caller {
    /// Who it is, for the audit log.
    pub(super) fn actor(&self) -> Actor {
        match &self.proof {
            Proof::Token(credential) => Actor::Token(credential.id.clone()),
            Proof::Session(_, session) => match &session.source {
                Source::Token(credential) => Actor::Token(credential.id.clone()),
                Source::Portal(owner, by) => {
                    Actor::Portal { owner: owner.clone(), by: by.as_ref().map(|by| by.id.clone()) }
                }
            },
            Proof::Proxy(user) => Actor::Proxy(user.clone()),
        }
    }

    /// The token without which it would not be let in; none if a sign-on proxy vouches for it.
    pub(super) fn credential(&self) -> Option<&Credential> {
        match &self.proof {
            Proof::Token(credential) => Some(credential),
            Proof::Session(_, session) => session.source.credential(),
            Proof::Proxy(_) => None,
        }
    }

    /// The owner that it is confined to; none if it is confined to nobody.
    pub(super) fn owner(&self) -> Option<&Name> {
        match &self.role {
            Role::Owner(owner) => Some(owner),
            Role::Operator | Role::Viewer => None,
        }
    }

    /// Whether a key is there for it.
    pub(super) fn sees(&self, key: &Key) -> bool {
        self.owner().is_none_or(|owner| key.owner.as_ref() == Some(owner))
    }

    /// When it asks.
    pub(super) const fn now(&self) -> Timestamp {
        self.visit.at
    }

    /// For a commit: at the present, not at the time of the head, since the body may have come much later.
    pub(super) fn origin(&self) -> Origin {
        Origin { at: present(), ..self.visit.origin(self.actor()) }
    }

    /// Whether it is still let in: its token or session may have ended while the body was on its way.
    pub(super) fn check(&self, api: &Api) -> Result<(), Problem> {
        let is_valid = self.credential().is_none_or(|credential| is_valid(api, credential))
            && match &self.proof {
                Proof::Session(digest, _) => api.parts.sessions.is_live(digest, time::now()),
                Proof::Token(_) | Proof::Proxy(_) => true,
            };
        if is_valid { Ok(()) } else { Err(Problem::unauthenticated()) }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Problem> {
        // Without one the door was not passed.
        head.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// Who sends this request, if anybody who is let in.
pub(super) fn login(api: &Arc<Api>, method: &Method, fields: &HeaderMap, visit: &Visit) -> Result<Caller, Problem> {
    let caller = |role, proof| Caller { role, visit: visit.clone(), proof };
    if fields.contains_key(header::AUTHORIZATION) {
        let token = token(api, bearer(fields), visit)?;
        return Ok(caller(token.role, Proof::Token(Credential { id: token.id, digest: token.digest })));
    }
    let console = api.parts.console.as_ref().ok_or_else(Problem::unauthenticated)?;
    let cookie = cookie(fields);
    let user = console.trusted_header.as_ref().and_then(|trusted| user(trusted, fields, visit));
    if cookie.is_none() && user.is_none() {
        return Err(Problem::unauthenticated());
    }
    site::check_page(console.public_url.as_ref(), method, fields)?;
    // A session goes first: it may be let into less.
    if let Some((digest, session)) = cookie.and_then(|digest| Some((digest, session(api, &digest)?))) {
        return Ok(caller(session.role.clone(), Proof::Session(digest, Box::new(session))));
    }
    let user = user.ok_or_else(Problem::unauthenticated)?;
    Ok(caller(Role::Operator, Proof::Proxy(user)))
}

/// The digest of the one cookie of ours; none if somebody has set another beside it.
pub(super) fn cookie(fields: &HeaderMap) -> Option<Digest> {
    let pairs = fields.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")
    });
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    Some(Digest::of(value))
}

/// The token that is presented, if it is valid now.
///
/// The work is the same whether a token is unknown, malformed, expired or revoked, and so is the answer.
pub(super) fn token(api: &Arc<Api>, presented: Option<&[u8]>, visit: &Visit) -> Result<Token, Problem> {
    let bytes = presented.unwrap_or_default();
    let known = api.parts.follower.token(&Digest::of(bytes));
    let shaped = check_token(bytes).is_ok();
    match known {
        Some(token) if shaped && token.is_valid(visit.at) => Ok(token),
        known => Err(refuse(api, presented, known.as_ref(), visit)),
    }
}

/// Leaves a trace of a call that the role does not allow.
pub(super) fn denied(api: &Arc<Api>, caller: &Caller) -> Problem {
    audit(api, caller.credential().map(|credential| &credential.id), caller.actor(), &caller.visit);
    Problem::new(Code::Forbidden, format!("with the role `{}` one may not do this", caller.role))
}

/// The session with this digest, unless it or what it came from has ended.
fn session(api: &Api, digest: &Digest) -> Option<Session> {
    let session = api.parts.sessions.find(digest, time::now())?;
    if session.source.credential().is_some_and(|credential| !is_valid(api, credential)) {
        api.parts.sessions.end(digest);
        return None;
    }
    Some(session)
}

fn is_valid(api: &Api, credential: &Credential) -> bool {
    let token = api.parts.follower.token(&credential.digest);
    token.is_some_and(|token| token.id == credential.id && token.is_valid(present()))
}

/// The user that a sign-on proxy names, in exactly one field; others who send the field are not listened to.
fn user(trusted: &TrustedHeader, fields: &HeaderMap, visit: &Visit) -> Option<Name> {
    let is_proxy = visit.remote.is_some_and(|remote| contains(&trusted.networks, remote));
    let mut values = fields.get_all(trusted.name.as_str()).iter().map(HeaderValue::to_str);
    match (is_proxy, values.next(), values.next()) {
        (true, Some(Ok(user)), None) => user.parse().ok(),
        _ => None,
    }
}

/// What stands after `Bearer`; none without exactly one such field.
fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let mut values = fields.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

fn refuse(api: &Arc<Api>, presented: Option<&[u8]>, known: Option<&Token>, visit: &Visit) -> Problem {
    if presented.is_none() {
        return Problem::unauthenticated();
    }
    audit(api, known.map(|token| &token.id), Actor::Unknown, visit);
    match api.logins.failed(visit.remote) {
        None => Problem::unauthenticated(),
        Some(wait_s) => {
            Problem::new(Code::TooManyRequests, "too many wrong tokens came from this network: wait, then try again")
                .retry_after(wait_s)
        }
    }
}

/// Notes a failed login, unless the log has had enough of them.
fn audit(api: &Arc<Api>, target: Option<&TokenId>, actor: Actor, visit: &Visit) {
    if !api.logins.is_worth_a_row(visit.remote) {
        return;
    }
    let event = Event {
        action: Action::LoginFail,
        target: target.map(|id| id.as_str().to_owned()),
        origin: visit.origin(actor),
    };
    let follower = Arc::clone(&api.parts.follower);
    drop(spawn_blocking(move || {
        if let Err(error) = follower.store().record_event(event) {
            log::error("a failed login cannot be noted in the audit log", &[("error", &error)]);
        }
    }));
}

impl Logins {
    pub(super) fn new(failures_per_minute: NonZeroU32) -> Self {
        let one = Quota::per_minute(NonZeroU32::MIN);
        let all = Quota::per_minute(NonZeroU32::new(AUDITED_PER_MINUTE).expect("it is not 0"));
        Self {
            failures: RateLimiter::hashmap(Quota::per_minute(failures_per_minute)),
            audited: RateLimiter::hashmap(one),
            audited_in_all: RateLimiter::direct(all),
        }
    }

    /// Counts a failure; how many seconds to wait, if there were too many.
    fn failed(&self, remote: Option<IpAddr>) -> Option<u64> {
        let denied = self.failures.check_key(&place(&self.failures, remote)).err()?;
        let wait = denied.wait_time_from(self.failures.clock().now());
        Some(wait.as_secs() + 1)
    }

    fn is_worth_a_row(&self, remote: Option<IpAddr>) -> bool {
        self.audited.check_key(&place(&self.audited, remote)).is_ok() && self.audited_in_all.check().is_ok()
    }
}

fn present() -> Timestamp {
    time::wall(time::now())
}

/// Whom a client is counted with: its network, or everybody else once there are too many networks.
fn place(limiter: &Keyed, remote: Option<IpAddr>) -> IpNet {
    if limiter.len() >= MOST_NETWORKS {
        limiter.retain_recent();
    }
    match remote {
        Some(remote) if limiter.len() < MOST_NETWORKS => client_network(remote),
        _ => IpNet::default(),
    }
}

const SCHEME: &[u8] = b"Bearer ";
const MOST_NETWORKS: usize = 4096;
const AUDITED_PER_MINUTE: u32 = 60;

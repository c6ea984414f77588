//! Who asks: from a bearer token to a [`Caller`], and what follows on wrong tokens.
//!
//! Only a presented token that is wrong counts as a failed login. Each client network (an IPv4 address, an IPv6 /64) may fail so
//! often per minute; then its wrong tokens are answered with 429. A good token is always let in, whatever its neighbours do:
//! what limits guessing is that each wrong guess is counted, and a token has 190 bits. Called by `door`.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use tokio::task::spawn_blocking;

use super::problem::{Code, Problem};
use super::{Api, door::Visit};
use crate::key::{Digest, Key, Name, TokenId, check_token};
use crate::policy::client_network;
use crate::store::{Action, Actor, Event, Origin, Role, Token};
use crate::telemetry::log;
use crate::time::{self, Timestamp};

/// The holder of a valid token, in one request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token: TokenId,
    digest: Digest,
    pub(super) role: Role,
    pub(super) visit: Visit,
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
    pub(super) fn new(token: Token, visit: Visit) -> Self {
        Self { token: token.id, digest: token.digest, role: token.role, visit }
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
        Origin { at: present(), ..self.visit.origin(Actor::Token(self.token.clone())) }
    }

    /// Whether the token still lets it in: it may have ended while the body was on its way.
    pub(super) fn check(&self, api: &Api) -> Result<(), Problem> {
        let token = api.parts.follower.token(&self.digest);
        let is_valid = token.is_some_and(|token| token.id == self.token && token.is_valid(present()));
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

/// The token that a request brings, if it is valid now.
///
/// The work is the same whether a token is unknown, malformed, expired or revoked, and so is the answer.
pub(super) fn login(api: &Arc<Api>, fields: &HeaderMap, visit: &Visit) -> Result<Token, Problem> {
    let presented = bearer(fields);
    let bytes = presented.unwrap_or_default();
    let known = api.parts.follower.token(&Digest::of(bytes));
    let shaped = check_token(bytes).is_ok();
    match known {
        Some(token) if shaped && token.is_valid(visit.at) => Ok(token),
        known => Err(refuse(api, presented, known.as_ref(), visit)),
    }
}

/// Leaves a trace of a call that the role does not allow.
pub(super) fn denied(api: &Arc<Api>, token: &Token, visit: &Visit) -> Problem {
    audit(api, Some(&token.id), Actor::Token(token.id.clone()), visit);
    Problem::new(Code::Forbidden, format!("a token with the role `{}` may not do this", token.role))
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

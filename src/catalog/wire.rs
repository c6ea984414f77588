//! Wire settings: how the gateway reads and writes messages.
//!
//! Plain values, valid as they come from `config`; part of the rules and read by `gateway`.

use std::time::Duration;

use ipnet::IpNet;

use crate::http1;
use crate::key::{Form, Hasher};
use crate::route::{Billed, PathOptions};

/// How the gateway reads and writes messages: everything of the file that is neither a key, a route, a plan nor an upstream.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The realm of `WWW-Authenticate`.
    pub realm: String,
    /// The printed form of keys, with its brand.
    pub form: Form,
    /// Makes digests of secrets; holds the peppers.
    pub hasher: Hasher,
    /// Where a credential may be.
    pub credentials: Credentials,
    /// Names of the identity fields sent upstream; `None` is off.
    pub identity: Identity,
    /// Which rate limit fields answers carry.
    pub limit_headers: LimitHeaders,
    /// Peers whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How paths are normalised.
    pub paths: PathOptions,
    /// Bounds on request heads.
    pub head: http1::HeadLimits,
    /// Largest request body in bytes, where the route says nothing.
    pub max_body_bytes: Option<u64>,
    /// Deadlines on the client's side.
    pub timeouts: ClientTimeouts,
    /// Whether field names with `_` are let through.
    pub allow_underscores: bool,
    /// Whether `Via: 1.1 keygate` is added.
    pub via: bool,
    /// Whether running requests of a key end when it is revoked.
    pub ends_revoked: bool,
    /// How usage is counted.
    pub metering: Metering,
    /// The flood guard; `None` is off.
    pub flood_guard: Option<FloodGuard>,
}

/// The places where a credential may be, and whether it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Header field names; `Authorization` means the Bearer scheme.
    pub headers: Vec<String>,
    /// Query parameter names.
    pub query: Vec<String>,
    /// Cookie names.
    pub cookies: Vec<String>,
    /// Whether the upstream gets to see the credential.
    pub forward: bool,
}

/// Names of the identity fields; `None` is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Carries the key's id.
    pub key: Option<String>,
    /// Carries the owner.
    pub owner: Option<String>,
    /// Carries the plan.
    pub plan: Option<String>,
}

/// Which rate limit fields answers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHeaders {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
    Standard,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
    Legacy,
    /// Both families.
    Both,
    /// None.
    None,
}

/// Deadlines on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Between two requests of a kept-alive connection.
    pub idle: Duration,
    /// Between two reads or writes of a body.
    pub body: Duration,
}

/// How usage is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metering {
    /// A response field in which the upstream says how many units a request is; none: its route's cost.
    pub units_header: Option<String>,
    /// Whether the client gets to see that field.
    pub shows_units: bool,
    /// Which answers are billed, where neither route nor plan says so.
    pub billed: Billed,
}

/// How many failed authentications a client network may cause in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodGuard {
    /// Failures allowed per interval.
    pub failures: u32,
    /// The interval.
    pub per: Duration,
}

/// What holds where the file says nothing.
impl Default for Wire {
    fn default() -> Self {
        Self {
            realm: "api".into(),
            form: Form::default(),
            hasher: Hasher::default(),
            credentials: Credentials::default(),
            identity: Identity::default(),
            limit_headers: LimitHeaders::Standard,
            trusted_proxies: Vec::new(),
            paths: PathOptions::default(),
            head: http1::HeadLimits { max_head_bytes: 32 << 10, max_fields: 100, max_target_bytes: 8 << 10 },
            max_body_bytes: None,
            timeouts: ClientTimeouts::default(),
            allow_underscores: false,
            via: true,
            ends_revoked: true,
            metering: Metering { units_header: None, shows_units: false, billed: Billed::FORWARDED },
            flood_guard: None,
        }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            headers: vec!["Authorization".into(), "X-API-Key".into()],
            query: Vec::new(),
            cookies: Vec::new(),
            forward: false,
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            key: Some("X-Keygate-Key".into()),
            owner: Some("X-Keygate-Owner".into()),
            plan: Some("X-Keygate-Plan".into()),
        }
    }
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_secs(75), body: Duration::from_secs(60) }
    }
}

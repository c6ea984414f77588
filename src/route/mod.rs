//! Routes: host and path patterns, the one normalised form of a path, and the router.
//!
//! Pure: no clock, no I/O, no framework. Called by `gateway` for every request; built by `config` through `catalog`.

mod billed;
mod method;
mod path;
mod pattern;
mod router;

use crate::key::{Name, Scope};

pub use billed::{Billed, Ending, NoEnding};
pub use method::{Method, MethodError, Methods};
pub use path::{EmptySegments, EncodedSlashes, PathError, PathOptions, normalise};
pub use pattern::{HostPattern, PathPattern, PatternError};
pub use router::{RouteConflict, Router};

/// Which requests go where, and what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the configuration, in logs and in metrics.
    pub name: Name,
    /// The hosts that it answers for; none means all.
    pub host: Option<HostPattern>,
    /// The path that it covers, with everything below.
    pub path: PathPattern,
    /// The methods that it allows.
    pub methods: Methods,
    /// The upstream that requests go to: an index into the upstreams of the same rules.
    pub upstream: usize,
    /// Whether a key is asked for.
    pub access: Access,
    /// The scopes that a key must carry, all of them.
    pub scopes: Vec<Scope>,
    /// The plans that a key must be on one of; empty means that the plan does not matter.
    pub plans: Vec<Name>,
    /// What a request takes from each limit, in requests.
    pub cost: u64,
    /// Whether the upstream gets the path without the part that `path` names.
    pub strip_prefix: bool,
    /// Largest request body in bytes; none means that the general bound holds.
    pub max_body_bytes: Option<u64>,
    /// Which answers are billed; none means that the plan says, or the general rule.
    pub billed: Option<Billed>,
}

/// Whether a route asks for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Only requests with a key are let through.
    #[default]
    Key,
    /// Nobody is asked for a key, and one that is sent does not matter.
    Public,
}

impl Route {
    /// A route that asks for a key and for nothing else: any host and method, cost 1, path forwarded as it is.
    pub fn new(name: Name, path: PathPattern, upstream: usize) -> Self {
        Self {
            name,
            host: None,
            path,
            methods: Methods::default(),
            upstream,
            access: Access::Key,
            scopes: Vec::new(),
            plans: Vec::new(),
            cost: 1,
            strip_prefix: false,
            max_body_bytes: None,
            billed: None,
        }
    }
}

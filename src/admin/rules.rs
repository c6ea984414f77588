//! `GET /v1/plans`, `/v1/routes`, `/v1/upstreams`: the rules in force, as the file has them; read only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::keys::document;
use crate::key::Name;
use crate::limit::Limit;
use crate::policy::Plan;
use crate::route::{Access, Route};
use crate::upstream::{Options, Upstream};

/// All plans.
#[derive(Serialize, ToSchema)]
pub(super) struct Plans {
    plans: Vec<PlanBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
struct PlanBody {
    name: String,
    limits: Vec<LimitBody>,
    /// Requests of a key that may run at once.
    #[schema(required = true)]
    concurrency: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Limit)]
struct LimitBody {
    name: String,
    requests: u64,
    per_seconds: f64,
    burst: u64,
}

/// All routes.
#[derive(Serialize, ToSchema)]
pub(super) struct Routes {
    routes: Vec<RouteBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
struct RouteBody {
    name: String,
    #[schema(required = true)]
    host: Option<String>,
    path: String,
    /// Empty: all.
    methods: Vec<String>,
    upstream: String,
    /// `key` or `public`.
    access: &'static str,
    scopes: Vec<String>,
    /// Empty: all.
    plans: Vec<String>,
    cost: u64,
    strip_prefix: bool,
}

/// All upstreams.
#[derive(Serialize, ToSchema)]
pub(super) struct Upstreams {
    upstreams: Vec<UpstreamBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Upstream)]
struct UpstreamBody {
    name: String,
    targets: Vec<String>,
    connect_timeout_seconds: f64,
    #[schema(required = true)]
    response_timeout_seconds: Option<f64>,
    idle_timeout_seconds: f64,
    keep_alive: usize,
}

/// List plans.
#[utoipa::path(get, path = "/v1/plans", tag = "gateway", responses((status = 200, body = Plans)))]
pub(super) async fn plans(State(api): State<Arc<Api>>, _: Caller) -> Response {
    let rules = api.parts.follower.catalog().rules();
    document(&Plans { plans: rules.plans.iter().flatten().map(PlanBody::from).collect() })
}

/// List routes.
#[utoipa::path(get, path = "/v1/routes", tag = "gateway", responses((status = 200, body = Routes)))]
pub(super) async fn routes(State(api): State<Arc<Api>>, _: Caller) -> Response {
    let rules = api.parts.follower.catalog().rules();
    let routes = rules.routes.iter().map(|route| RouteBody::new(route, &rules.upstreams));
    document(&Routes { routes: routes.collect() })
}

/// List upstreams.
#[utoipa::path(get, path = "/v1/upstreams", tag = "gateway", responses((status = 200, body = Upstreams)))]
pub(super) async fn upstreams(State(api): State<Arc<Api>>, _: Caller) -> Response {
    let rules = api.parts.follower.catalog().rules();
    document(&Upstreams { upstreams: rules.upstreams.iter().map(|upstream| upstream.options().into()).collect() })
}

impl From<&Plan> for PlanBody {
    fn from(plan: &Plan) -> Self {
        let limits = plan.limits.iter().map(LimitBody::from).collect();
        Self { name: plan.name.to_string(), limits, concurrency: plan.concurrency }
    }
}

impl From<&Limit> for LimitBody {
    fn from(limit: &Limit) -> Self {
        Self {
            name: limit.name().to_string(),
            requests: limit.requests(),
            per_seconds: limit.per().as_secs_f64(),
            burst: limit.burst(),
        }
    }
}

impl RouteBody {
    fn new(route: &Route, upstreams: &[Arc<Upstream>]) -> Self {
        Self {
            name: route.name.to_string(),
            host: route.host.as_ref().map(ToString::to_string),
            path: route.path.to_string(),
            methods: route.methods.names().into_iter().map(str::to_owned).collect(),
            upstream: upstreams
                .get(route.upstream)
                .map(|upstream| upstream.options().name.to_string())
                .unwrap_or_default(),
            access: match route.access {
                Access::Key => "key",
                Access::Public => "public",
            },
            scopes: route.scopes.iter().map(ToString::to_string).collect(),
            plans: route.plans.iter().map(Name::to_string).collect(),
            cost: route.cost,
            strip_prefix: route.strip_prefix,
        }
    }
}

impl From<&Options> for UpstreamBody {
    fn from(options: &Options) -> Self {
        Self {
            name: options.name.to_string(),
            targets: options.targets.iter().map(|target| format!("http://{target}")).collect(),
            connect_timeout_seconds: options.connect_timeout.as_secs_f64(),
            response_timeout_seconds: options.response_timeout.as_ref().map(Duration::as_secs_f64),
            idle_timeout_seconds: options.idle_timeout.as_secs_f64(),
            keep_alive: options.keep_alive,
        }
    }
}

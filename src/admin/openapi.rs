//! The routes, and their description for programs (OpenAPI 3.1), both out of the handlers.
//!
//! A handler tells its parameters and its answer when all goes well; the refusals that calls have in common are added here.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, HeaderBuilder, Ref, RefOr, Response as Answer, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Code, Problem, ProblemBody};
use super::{
    Api, allowance, audit, batch, door, explain, keys, portal, reveal, roles, rules, session, settings, sinks, tokens,
    usage, usage_proof, verify, wire,
};

/// What stands above the calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "keygate admin API",
        description = "Keys, tokens and the audit log of a keygate. A change is durable and in force when its answer comes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody, wire::ScopeText)),
    tags(
        (name = "keys", description = "Keys of clients"),
        (name = "usage", description = "What keys have used"),
        (name = "tokens", description = "Tokens for this API"),
        (name = "console", description = "Sessions of browsers, and links for owners"),
        (name = "gateway", description = "The gateway: its rules, its state, its audit log")
    ),
    security(("token" = []))
)]
struct Head;

/// Every call, behind the door.
pub(super) fn router(api: Arc<Api>) -> Router {
    let (router, document) = described();
    let text: Arc<str> = serde_json::to_string(&document).expect("a description is JSON").into();
    let router = router.route(roles::OPEN, get(move || description(Arc::clone(&text))));
    let guarded = router.fallback(unknown).layer(from_fn_with_state(Arc::clone(&api), door::pass));
    guarded.with_state(api)
}

/// The calls, and what is said of them.
pub(super) fn described() -> (Router<Arc<Api>>, openapi::OpenApi) {
    let calls = OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::show, keys::patch, keys::delete))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::disable))
        .routes(routes!(keys::enable))
        .routes(routes!(keys::rotate))
        .routes(routes!(allowance::allowance))
        .routes(routes!(usage::usage))
        .routes(routes!(usage_proof::proof))
        .routes(routes!(sinks::list))
        .routes(routes!(sinks::pause))
        .routes(routes!(sinks::resume))
        .routes(routes!(reveal::reveal))
        .routes(routes!(batch::batch))
        .routes(routes!(verify::verify))
        .routes(routes!(explain::explain))
        .routes(routes!(rules::plans))
        .routes(routes!(rules::routes))
        .routes(routes!(rules::upstreams))
        .routes(routes!(settings::reload))
        .routes(routes!(settings::check))
        .routes(routes!(settings::status))
        .routes(routes!(audit::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(portal::link))
        .routes(routes!(session::begin, session::show, session::end));
    let (router, mut document) = calls.split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An admin token, `kga_…`"));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer.build()));
    components.responses.insert("Refused".to_owned(), RefOr::T(refused()));
    for (path, item) in &mut document.paths.paths {
        each_operation(item, |operation| {
            name_apart(operation);
            add_refusals(path, operation);
        });
    }
    (router, document)
}

async fn description(text: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}

async fn unknown() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this address: see /v1/openapi.json")
}

fn each_operation(item: &mut PathItem, mut visit: impl FnMut(&mut Operation)) {
    let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
    operations.into_iter().flatten().for_each(&mut visit);
}

/// Gives a call a name of its own: `keys_list`, `tokens_list`. Handlers of different parts have the same names.
fn name_apart(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    operation.operation_id = operation.operation_id.take().map(|name| format!("{tag}_{name}"));
}

/// The statuses that a call can be refused with.
fn add_refusals(path: &str, operation: &mut Operation) {
    let mut codes = BTreeSet::from([400, 401, 403, 404, 405, 408, 429, 500, 503]);
    if operation.request_body.is_some() {
        codes.extend([409, 413, 415, 422]);
    }
    if path.contains("{id}") {
        codes.extend([409, 412]);
    }
    if matches!(path, "/v1/reload" | "/v1/usage" | "/v1/usage/proof") {
        codes.insert(422);
    }
    if path == roles::SESSION {
        codes.insert(409);
    }
    for code in codes {
        let refused = RefOr::Ref(Ref::from_response_name("Refused"));
        operation.responses.responses.insert(code.to_string(), refused);
    }
}

fn refused() -> Answer {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let header = |description: &str| HeaderBuilder::new().description(Some(description)).build();
    ResponseBuilder::new()
        .description("Nothing was done, and why")
        .content("application/problem+json", content)
        .header("X-Request-Id", header("What the request is called in the audit log"))
        .build()
}

//! The web console: one page with its files, out of the binary, on the admin listener.
//!
//! Nothing here knows a key or a token: the page speaks the public admin API, whose door sees to sessions and roles; only
//! the link of an owner is followed here. Every answer keeps scripts of others, frames and caches away. Called by `app`, which puts it beside the admin API.

mod assets;
mod portal;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::admin::Sessions;

use assets::{Asset, INDEX};

/// The admin API, with the page beside it if there are sessions for its visitors.
pub fn beside(api: Router, sessions: Option<Arc<Sessions>>) -> Router {
    match sessions {
        Some(sessions) => api.merge(router(sessions)),
        None => api,
    }
}

/// The page, its files, and the links that lead to it.
fn router(sessions: Arc<Sessions>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/assets/{*path}", get(asset))
        .route("/portal/{link}", get(portal::enter))
        .method_not_allowed_fallback(read_only)
        .layer(map_response(guarded))
        .with_state(sessions)
}

async fn index() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], INDEX).into_response()
}

/// A file of the page. Browsers may keep it, and ask each time whether it is still the same.
async fn asset(Path(path): Path<String>, fields: HeaderMap) -> Response {
    let Some(Asset { kind, tag, bytes }) = assets::find(&path) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let common = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, tag)];
    let is_known = fields.get_all(header::IF_NONE_MATCH).iter().any(|known| known.as_bytes() == tag.as_bytes());
    match is_known {
        true => (StatusCode::NOT_MODIFIED, common).into_response(),
        false => (common, [(header::CONTENT_TYPE, *kind)], *bytes).into_response(),
    }
}

async fn read_only() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "this address is only read\n").into_response()
}

/// The answer with what browsers must hold the page to.
async fn guarded(mut answer: Response) -> Response {
    let fields = answer.headers_mut();
    for (name, value) in GUARDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// What every answer carries.
const GUARDS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests;

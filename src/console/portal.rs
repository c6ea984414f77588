//! `/portal/…`: the one-time link by which an owner comes in.
//!
//! Only a browser that opens it as a page of its own uses it up: not one that fetches ahead, not a picture or a frame of
//! some other page, not a HEAD request of a program that looks whether it is there.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::admin::Sessions;
use crate::time;

/// Begins the session that the link leads to, and goes on to the page. The cookie need not come along there: the page asks
/// who its visitor is.
pub(super) async fn enter(
    State(sessions): State<Arc<Sessions>>,
    Path(link): Path<String>,
    method: Method,
    fields: HeaderMap,
) -> Response {
    if method != Method::GET || !is_page(&fields) {
        return (StatusCode::FORBIDDEN, "open this link in a window of its own\n").into_response();
    }
    let cookie = sessions.follow(&link, time::now()).and_then(|cookie| HeaderValue::from_str(&cookie).ok());
    match cookie {
        Some(cookie) => {
            let fields = [(header::LOCATION, HeaderValue::from_static("/")), (header::SET_COOKIE, cookie)];
            (StatusCode::SEE_OTHER, fields).into_response()
        }
        None => (StatusCode::GONE, Html(GONE)).into_response(),
    }
}

/// Whether somebody opens a page; browsers that do not say are believed.
fn is_page(fields: &HeaderMap) -> bool {
    let is_ahead = [SEC_PURPOSE, PURPOSE].iter().any(|name| fields.contains_key(name));
    !is_ahead && fields.get_all(DESTINATION).iter().all(|destination| destination == "document")
}

/// The same whether the link was used, is too old, or never led anywhere.
const GONE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>This link has ended</title>
<h1>This link has ended</h1>
<p>A link to this page works once and for one minute. Go back to where you came from, and open it from there again.</p>
</html>
";
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");

//! Who may what: the one table. What is not in it is served to nobody.
//!
//! Asked by `door` for every request under `/v1`, before its body is read.

use axum::http::Method;

use crate::store::Role;

use Grant::{All, No, Own};

/// What a role may do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Everything.
    All,
    /// With what belongs to its owner; the handler sees to that through [`super::auth::Caller::owner`].
    Own,
    /// Nothing.
    No,
}

/// Method, path, and what operator, viewer and owner may do.
type Row = (&'static str, &'static str, [Grant; 3]);

/// Every call. A GET stands for HEAD too.
pub(super) const TABLE: [Row; 34] = [
    //                                        operator viewer owner
    ("POST", "/v1/keys", [All, No, Own]),
    ("GET", "/v1/keys", [All, All, Own]),
    ("GET", "/v1/keys/{id}", [All, All, Own]),
    ("PATCH", "/v1/keys/{id}", [All, No, Own]),
    ("DELETE", "/v1/keys/{id}", [All, No, Own]),
    ("POST", "/v1/keys/{id}/revoke", [All, No, Own]),
    ("POST", "/v1/keys/{id}/disable", [All, No, Own]),
    ("POST", "/v1/keys/{id}/enable", [All, No, No]),
    ("POST", "/v1/keys/{id}/rotate", [All, No, Own]),
    ("GET", "/v1/keys/{id}/allowance", [All, All, Own]),
    ("GET", "/v1/usage", [All, All, Own]),
    ("GET", "/v1/usage/proof", [All, All, No]),
    ("GET", "/v1/sinks", [All, All, No]),
    ("POST", "/v1/sinks/{name}/pause", [All, No, No]),
    ("POST", "/v1/sinks/{name}/resume", [All, No, No]),
    ("POST", "/v1/keys/{id}/reveal", [All, No, Own]),
    ("POST", "/v1/keys:batch", [All, No, No]),
    ("POST", "/v1/keys/verify", [All, All, Own]),
    ("POST", "/v1/explain", [All, All, No]),
    ("GET", "/v1/plans", [All, All, No]),
    ("GET", "/v1/routes", [All, All, No]),
    ("GET", "/v1/upstreams", [All, All, No]),
    ("POST", "/v1/reload", [All, No, No]),
    ("POST", "/v1/config/check", [All, No, No]),
    ("GET", "/v1/audit", [All, All, No]),
    ("GET", "/v1/status", [All, All, No]),
    ("POST", "/v1/tokens", [All, No, No]),
    ("GET", "/v1/tokens", [All, All, No]),
    ("DELETE", "/v1/tokens/{id}", [All, No, No]),
    ("POST", "/v1/portal-sessions", [All, No, No]),
    ("POST", SESSION, [All, All, All]),
    ("GET", SESSION, [All, All, Own]),
    ("DELETE", SESSION, [All, All, Own]),
    ("GET", OPEN, [All, All, All]),
];

/// The one resource under `/v1` that is read without a token.
pub(super) const OPEN: &str = "/v1/openapi.json";

/// The session of a browser, which begins before there is one.
pub(super) const SESSION: &str = "/v1/session";

/// Whether a call needs no token.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    match path {
        OPEN => matches!(*method, Method::GET | Method::HEAD),
        SESSION => *method == Method::POST,
        _ => false,
    }
}

/// What a role may do with a call; none if there is no such call.
pub(super) fn grant(role: &Role, method: &Method, path: &str) -> Option<Grant> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let (_, _, [operator, viewer, owner]) = TABLE.iter().find(|(m, p, _)| *m == method && *p == path)?;
    Some(match role {
        Role::Operator => *operator,
        Role::Viewer => *viewer,
        Role::Owner(_) => *owner,
    })
}

/// The methods that there are for a path, for `Allow`.
pub(super) fn methods(path: &str) -> String {
    let known = TABLE.iter().filter(|(_, p, _)| *p == path).map(|(method, ..)| *method);
    let with_head = known.flat_map(|method| if method == "GET" { vec!["GET", "HEAD"] } else { vec![method] });
    with_head.collect::<Vec<_>>().join(", ")
}

//! The calls about the session of a browser: sign in with a token, ask who one is, sign out.
//!
//! Signing in needs a page of the console, so that no other page can put its visitor into somebody else's session, and always makes
//! a new cookie, so that nobody can hand one out beforehand.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{self, Caller, Proof};
use super::door::Visit;
use super::keys::document;
use super::problem::{Code, Problem};
use super::sessions::{COOKIE, Credential, Look, Session, Source, Theme};
use super::values::shown;
use super::wire::SecretText;
use super::{Api, Console, body, site};
use crate::store::Role;
use crate::telemetry::log;
use crate::time;

/// An admin token, to sign in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    #[schema(value_type = String)]
    token: SecretText,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    role: RoleWord,
    /// Of the role `owner`: whose keys there are.
    #[schema(required = true)]
    owner: Option<String>,
    /// What the owner is called.
    #[schema(required = true)]
    display_name: Option<String>,
    /// Where the owner came from: for a link, not to be followed without a click.
    #[schema(required = true)]
    return_url: Option<String>,
    #[schema(required = true)]
    theme: Option<ThemeWord>,
    /// When it ends, however much it is used; null for a token that does not expire, and behind a sign-on proxy.
    #[schema(required = true, format = DateTime)]
    expires: Option<String>,
    /// Where clients send their requests, for samples.
    #[schema(required = true)]
    gateway_url: Option<String>,
    /// Whether the secrets of keys that are made now can be shown again.
    recoverable_secrets: bool,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
enum RoleWord {
    Operator,
    Viewer,
    Owner,
}

/// The colours of the page.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Theme)]
pub(super) enum ThemeWord {
    Light,
    Dark,
}

/// Sign a browser in.
///
/// Only for pages of the console. The session ends when it is idle for 30 minutes, after 12 hours, and with its token.
#[utoipa::path(post, path = "/v1/session", tag = "console", request_body = SignIn, security(()),
    responses((status = 200, body = SessionBody, headers(("Set-Cookie" = String, description = "The session")))))]
pub(super) async fn begin(State(api): State<Arc<Api>>, visit: Visit, request: Request) -> Result<Response, Problem> {
    let console = console(&api)?;
    site::check_page(console.public_url.as_ref(), request.method(), request.headers())?;
    let former = auth::cookie(request.headers());
    let (asked, _) = body::json::<SignIn>(request, MOST_BYTES).await?;
    let secret = asked.token.parse().ok();
    let bytes = secret.as_ref().map_or(&b""[..], |secret| secret.expose().as_bytes());
    let token = auth::token(&api, Some(bytes), &visit)?;
    let credential = Credential { id: token.id, digest: token.digest };
    let session = Session::new(Source::Token(credential), token.role, Look::default(), time::now());
    let sessions = &api.parts.sessions;
    let cookie = sessions.begin(session.clone()).map_err(|error| {
        log::error("no session can be made", &[("error", &error)]);
        Problem::internal()
    })?;
    former.iter().for_each(|former| sessions.end(former));
    let body = document(&of_session(&api, &session));
    Ok(([(header::SET_COOKIE, field(&cookie)?)], body).into_response())
}

/// Show who asks.
#[utoipa::path(get, path = "/v1/session", tag = "console", responses((status = 200, body = SessionBody)))]
pub(super) async fn show(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    Ok(document(&match &caller.proof {
        Proof::Session(_, session) => of_session(&api, session),
        Proof::Token(credential) => {
            SessionBody { expires: token_end(&api, credential).map(shown), ..of_role(&api, &caller.role) }
        }
        Proof::Proxy(user) => SessionBody { display_name: Some(user.to_string()), ..of_role(&api, &caller.role) },
    }))
}

/// Sign a browser out.
#[utoipa::path(delete, path = "/v1/session", tag = "console", responses((status = 204)))]
pub(super) async fn end(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let Proof::Session(digest, _) = &caller.proof else {
        return Err(Problem::new(Code::Conflict, "there is no session to end here: sign out where you signed in"));
    };
    api.parts.sessions.end(digest);
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, field(&gone)?)]).into_response())
}

/// How people come in, if they do.
pub(super) fn console(api: &Api) -> Result<&Console, Problem> {
    api.parts.console.as_ref().ok_or_else(|| Problem::new(Code::NotFound, "the console is off: see `console.enabled`"))
}

fn of_session(api: &Api, session: &Session) -> SessionBody {
    let end = time::wall(session.end());
    let token_end = session.source.credential().and_then(|credential| token_end(api, credential));
    let Look { display_name, return_url, theme } = session.look.clone();
    SessionBody {
        display_name,
        return_url,
        theme: theme.map(ThemeWord::from),
        expires: Some(shown(token_end.map_or(end, |token_end| token_end.min(end)))),
        ..of_role(api, &session.role)
    }
}

fn of_role(api: &Api, role: &Role) -> SessionBody {
    let (word, owner) = match role {
        Role::Operator => (RoleWord::Operator, None),
        Role::Viewer => (RoleWord::Viewer, None),
        Role::Owner(owner) => (RoleWord::Owner, Some(owner.to_string())),
    };
    let recoverable_secrets = api.parts.vault.is_some();
    let gateway_url = api.parts.console.as_ref().and_then(|console| console.gateway_url.as_ref());
    SessionBody {
        role: word,
        owner,
        display_name: None,
        return_url: None,
        theme: None,
        expires: None,
        gateway_url: gateway_url.map(|url| url.as_str().to_owned()),
        recoverable_secrets,
    }
}

fn token_end(api: &Api, credential: &Credential) -> Option<time::Timestamp> {
    api.parts.follower.token(&credential.digest)?.expires
}

fn field(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::internal())
}

impl From<Theme> for ThemeWord {
    fn from(theme: Theme) -> Self {
        match theme {
            Theme::Light => Self::Light,
            Theme::Dark => Self::Dark,
        }
    }
}

impl From<ThemeWord> for Theme {
    fn from(word: ThemeWord) -> Self {
        match word {
            ThemeWord::Light => Self::Light,
            ThemeWord::Dark => Self::Dark,
        }
    }
}

const MOST_BYTES: usize = 4096;

//! `POST /v1/portal-sessions`: a link that lets an owner into the console, once and within a minute.
//!
//! The provider's own application asks for it and sends its user there. The session ends with the token that asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::door::blocking;
use super::idempotency::json;
use super::problem::{Code, Problem};
use super::session::{ThemeWord, console};
use super::sessions::{Full, LINK, Look, Session, Source, Theme};
use super::values::{self, Faults, later, shown};
use super::{Api, PublicUrl, body, site};
use crate::key::Name;
use crate::store::Role;
use crate::telemetry::log;
use crate::time;

/// For whom a link is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PortalSession {
    /// Whose keys are shown.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    owner: String,
    /// What the owner is called; free text.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    display_name: Option<String>,
    /// Where the page leads back to: `https://`, or `http://` on the same machine.
    #[schema(max_length = 1024, example = "https://app.example.com/settings")]
    return_url: Option<String>,
    theme: Option<ThemeWord>,
}

/// A link.
#[derive(Serialize, ToSchema)]
pub(super) struct PortalLink {
    /// To be opened once, by the owner's browser. As secret as a password until then.
    url: String,
    #[schema(format = DateTime)]
    expires: String,
}

/// Make a link for an owner.
///
/// It opens the console once, within a minute, for this owner's keys alone.
#[utoipa::path(post, path = "/v1/portal-sessions", tag = "console", request_body = PortalSession,
    responses((status = 201, body = PortalLink)))]
pub(super) async fn link(State(api): State<Arc<Api>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    console(&api)?;
    let (asked, _) = body::json::<PortalSession>(request, api.parts.limits.body_bytes).await?;
    let link = blocking(api, caller, move |api, caller| made(api, caller, &asked)).await?;
    Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], json(&link)).into_response())
}

fn made(api: &Api, caller: &Caller, asked: &PortalSession) -> Result<PortalLink, Problem> {
    let (owner, look) = checked(asked)?;
    let now = time::now();
    let source = Source::Portal(owner.clone(), caller.credential().cloned());
    let made = api.parts.sessions.link(Session::new(source, Role::Owner(owner), look, now), now).map_err(|error| {
        log::error("no link can be made", &[("error", &error)]);
        Problem::internal()
    })?;
    let ticket = made.map_err(|Full| {
        let detail = "too many links wait for somebody to follow them: wait a minute, then try again";
        Problem::new(Code::TooManyRequests, detail).retry_after(LINK.as_secs())
    })?;
    let base = base(api.public_url(), api.parts.address);
    let expires = shown(later(time::wall(now), LINK));
    Ok(PortalLink { url: format!("{base}/portal/{}", ticket.expose()), expires })
}

fn checked(asked: &PortalSession) -> Result<(Name, Look), Problem> {
    let mut faults = Faults::default();
    let owner = faults.take("owner", asked.owner.parse::<Name>());
    let display_name = faults.optional("display_name", asked.display_name.as_deref(), values::title);
    let return_url = faults.optional("return_url", asked.return_url.as_deref(), |text| {
        let wrong = "it is like https://app.example.com/settings, with at most 1024 characters; http is for the same machine alone";
        if site::is_link(text) { Ok(text.to_owned()) } else { Err(wrong) }
    });
    let checked = (|| {
        let look = Look { display_name: display_name?, return_url: return_url?, theme: asked.theme.map(Theme::from) };
        Some((owner?, look))
    })();
    faults.finish(checked)
}

/// Where browsers find the console.
fn base(public: Option<&PublicUrl>, address: SocketAddr) -> String {
    match (public, address.ip()) {
        (Some(public), _) => public.to_string(),
        // An address of all networks leads nowhere.
        (None, ip) if ip.is_unspecified() => {
            format!("http://{}", SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()))
        }
        (None, _) => format!("http://{address}"),
    }
}

//! The operations listener: /metrics, /healthz, /readyz, /status; no secrets, no changes.
//!
//! Runs on the control thread. `app` tells its [`State`] what happens and runs [`serve`] as one of its tasks; [`echo`]
//! is the upstream that `quickstart` brings along.

mod door;
pub mod echo;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{self, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::{Listener, ListenerExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::time;

pub(crate) use door::{Bounds, Door};
pub use state::{Addresses, Live, Reload, State};

/// Where the operations listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its address; port 0 lets the system choose.
    pub address: SocketAddr,
}

/// The resources of the operations listener.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(read_only)
        .with_state(state)
}

/// Serves until `shutdown` completes, then finishes what is under way within a second.
///
/// At most 64 connections at once; when there is one more, who has waited longest without a request gives way. Whoever does not
/// get a head done within 5 s, or a request and its answer within 30 s, or sends more than 16 KiB for one, is cut off.
///
/// # Errors
///
/// None that ends it is known: failures to accept are waited out.
pub async fn serve<F>(listener: TcpListener, router: Router, shutdown: F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_all(Door::new(listener, BOUNDS), router, shutdown).await
}

/// Serves until `shutdown` completes, then finishes what is under way within a second. Handlers are told the client's
/// address as [`ConnectInfo`](axum::extract::ConnectInfo).
pub(crate) async fn serve_all<L, F>(listener: L, router: Router, shutdown: F) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    F: Future<Output = ()> + Send + 'static,
{
    let (tell, told) = oneshot::channel::<Infallible>();
    let signal = async move {
        shutdown.await;
        drop(tell);
    };
    let grace = async {
        let _ = told.await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|_| ());
    tokio::select! {
        done = axum::serve(listener, service).with_graceful_shutdown(signal).into_future() => done,
        () = grace => Ok(()),
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(extract::State(state): extract::State<Arc<State>>) -> Response {
    match state.unready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn status(extract::State(state): extract::State<Arc<State>>) -> Response {
    json(StatusCode::OK, &state.document(time::now()))
}

async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Response {
    let form = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (form, state.render()).into_response()
}

async fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "there are /healthz, /readyz, /status and /metrics")
}

async fn read_only(_: Request) -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this listener only answers GET and HEAD")
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({"title": title, "status": status.as_u16(), "code": code, "detail": detail});
    let form = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, form, format!("{body}\n")).into_response()
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

const BOUNDS: Bounds = Bounds {
    listener: "operations",
    connections: 64,
    request_bytes: 16 * 1024,
    head: LONGEST_HEAD,
    exchange: Duration::from_secs(30),
};
/// Who sends a head sends it at once.
pub(crate) const LONGEST_HEAD: Duration = Duration::from_secs(5);
const STOP_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::telemetry::Metrics;

    /// What a server says to `request` until it closes.
    async fn said(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn asked(address: SocketAddr, method: &str, path: &str) -> String {
        said(address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    /// Runs `visit` against the operations listener, then stops it.
    fn with_operations<F: Future<Output = ()>>(visit: impl FnOnce(SocketAddr, Arc<State>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let state = State::new(Metrics::new(&["forwarded"], &[]), time::now());
            let (stop, stopped) = oneshot::channel::<()>();
            let signal = async move { drop(stopped.await) };
            let server = tokio::spawn(serve(listener, router(Arc::clone(&state)), signal));
            visit(address, state).await;
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
        });
    }

    fn check(answer: &str, status: u16, parts: &[&str]) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for part in parts {
            assert!(answer.contains(part), "{part} is missing: {answer}");
        }
    }

    #[test]
    fn each_resource_answers_as_documented() {
        with_operations(async |address, state| {
            check(&asked(address, "GET", "/healthz").await, 200, &["\r\n\r\nok"]);
            check(&asked(address, "GET", "/readyz").await, 503, &["starting"]);
            state.ready();
            check(&asked(address, "GET", "/readyz").await, 200, &["\r\n\r\nready"]);
            state.draining();
            check(&asked(address, "GET", "/readyz").await, 503, &["draining"]);
            check(&asked(address, "GET", "/healthz").await, 200, &[]);
            let form = "content-type: text/plain; version=0.0.4; charset=utf-8";
            check(&asked(address, "GET", "/metrics").await, 200, &[form, "keygate_build_info"]);
            check(&asked(address, "GET", "/status").await, 200, &["application/json", "\"state\":\"draining\""]);
        });
    }

    #[test]
    fn anything_else_is_a_problem() {
        with_operations(async |address, _| {
            check(&asked(address, "GET", "/keys").await, 404, &["application/problem+json", "\"not_found\""]);
            check(&asked(address, "POST", "/status").await, 405, &["\"method_not_allowed\"", "allow: GET,HEAD"]);
            check(&asked(address, "DELETE", "/").await, 404, &[]);
            assert!(asked(address, "HEAD", "/healthz").await.ends_with("\r\n\r\n"));
        });
    }

    #[test]
    fn a_head_without_end_is_cut_off() {
        with_operations(async |address, _| {
            let endless = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(32 * 1024));
            let answer = said(address, endless).await;
            assert!(!answer.contains("200"), "{answer}");
            check(&asked(address, "GET", "/healthz").await, 200, &[]);
        });
    }

    #[test]
    fn a_connection_beyond_the_places_is_served_as_soon_as_one_is_free() {
        with_operations(async |address, _| {
            let mut guests = Vec::new();
            for _ in 0..BOUNDS.connections {
                let mut guest = TcpStream::connect(address).await.unwrap();
                guest.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                assert!(guest.read(&mut [0; 512]).await.unwrap() > 0);
                guests.push(guest);
            }
            let late = tokio::spawn(async move { asked(address, "GET", "/healthz").await });
            guests.pop();
            check(&late.await.unwrap(), 200, &[]);
        });
    }

    #[test]
    fn an_idle_connection_does_not_keep_the_listener_from_stopping() {
        let mut guest = None;
        with_operations(async |address, _| {
            let stream = guest.insert(TcpStream::connect(address).await.unwrap());
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
        });
        assert!(guest.is_some(), "the client still holds its end");
    }
}

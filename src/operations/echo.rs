//! The upstream that `quickstart` brings along: it tells what an upstream gets to see.
//!
//! Answers any method and path with JSON; a credential that was forwarded would show among the headers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::{json as json_answer, serve_all};

/// Serves until `shutdown` completes, then finishes what is under way within a second.
///
/// # Errors
///
/// None that ends it is known: failures to accept are waited out.
pub async fn serve<F>(listener: TcpListener, shutdown: F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listener.tap_io(|stream| {
        // Costs a delay at worst.
        let _ = stream.set_nodelay(true);
    });
    serve_all(listener, Router::new().fallback(echo), shutdown).await
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    match count(body).await {
        Ok(body_bytes) => json_answer(StatusCode::OK, &document(&head, body_bytes)),
        Err(_) => json_answer(StatusCode::BAD_REQUEST, &json!({"error": "the body ended early"})),
    }
}

fn document(head: &Parts, body_bytes: u64) -> Value {
    json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers(&head.headers),
        "body_bytes": body_bytes,
    })
}

/// The fields by name; one that stands there more than once as a list.
fn headers(fields: &HeaderMap) -> Map<String, Value> {
    let values = |name| {
        let mut values: Vec<Value> =
            fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    };
    fields.keys().map(|name| (name.to_string(), values(name))).collect()
}

/// Reads a body to its end and keeps nothing of it.
async fn count(mut body: Body) -> Result<u64, axum::Error> {
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    fn check(request: &str, expected: &Value) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let server = tokio::spawn(serve(listener, async move { drop(stopped.await) }));
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
            answer
        });
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(&serde_json::from_str::<Value>(body).unwrap(), expected);
    }

    #[test]
    fn a_request_without_a_body_is_told_back() {
        check(
            "GET /v1/a%20b?x=1&y HTTP/1.1\r\nHost: up\r\nX-Keygate-Key: key_acme\r\nA: 1\r\nA: 2\r\nConnection: close\r\n\r\n",
            &json!({
                "method": "GET",
                "path": "/v1/a%20b",
                "query": "x=1&y",
                "headers": {"host": "up", "x-keygate-key": "key_acme", "a": ["1", "2"], "connection": "close"},
                "body_bytes": 0,
            }),
        );
    }

    #[test]
    fn bodies_of_either_framing_are_counted() {
        let fields = |framing: (&str, &str)| json!({"host": "up", "connection": "close", framing.0: framing.1});
        let expected = |framing| json!({"method": "BREW", "path": "/", "query": null, "headers": fields(framing), "body_bytes": 5});
        check(
            "BREW / HTTP/1.1\r\nHost: up\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345",
            &expected(("content-length", "5")),
        );
        check(
            "BREW / HTTP/1.1\r\nHost: up\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0\r\n\r\n",
            &expected(("transfer-encoding", "chunked")),
        );
    }
}

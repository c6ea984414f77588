//! The page as browsers get it: one router, called without sockets.

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;

async fn asked(method: &str, path: &str) -> Response {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    router(Arc::default()).oneshot(request).await.unwrap()
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

fn field<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[test]
fn every_answer_is_guarded() {
    run(async {
        for (method, path, status) in
            [("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/assets/nothing.js", 404), ("POST", "/", 405)]
        {
            let answer = asked(method, path).await;
            assert_eq!(answer.status(), status, "{method} {path}");
            let policy = field(&answer, "content-security-policy");
            assert!(
                policy.starts_with("default-src 'none';") && policy.ends_with("frame-ancestors 'none'"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"));
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(field(&answer, name), value, "{method} {path}");
            }
        }
    });
}

//! A proxy on pingora: one thread, plain HTTP/1.1, a pool of kept connections, and no policy at all.
//!
//! Usage: `pingora-peer LISTEN UPSTREAM`, both as `address:port`.

use async_trait::async_trait;
use mimalloc::MiMalloc;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Forwards everything to one place, heads as they came.
struct Relay {
    upstream: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Relay {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream] = arguments.as_slice() else {
        eprintln!("usage: pingora-peer LISTEN UPSTREAM");
        std::process::exit(2);
    };
    let conf = ServerConf {
        threads: 1,
        // One thread has nobody to steal from: the plain runtime is the cheaper one.
        work_stealing: false,
        upstream_keepalive_pool_size: 8192,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let relay = Relay { upstream: HttpPeer::new(upstream.as_str(), false, String::new()) };
    let mut service = http_proxy_service(&server.configuration, relay);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

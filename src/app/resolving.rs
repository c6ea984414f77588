//! Looks the host names of upstreams up: once before the first request, then from time to time.
//!
//! Called by `control`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::telemetry::log;
use crate::upstream;

/// Looks the host names of all upstreams up before the first request comes, within a while.
pub(super) async fn resolve_once(catalog: &Catalog) {
    let rules = catalog.rules();
    for upstream in rules.upstreams.iter().filter(|upstream| upstream.needs_resolving()) {
        match tokio::time::timeout(RESOLVE_TIMEOUT, upstream.resolve()).await {
            Ok(errors) => errors.iter().for_each(|(target, error)| report_unresolved(upstream, target, error)),
            Err(_) => log::warn("looking up the targets takes long", &[("upstream", &upstream.options().name)]),
        }
    }
}

/// Goes on with that, at once when it is notified, until `stop` completes.
pub(super) async fn resolve(
    catalog: Arc<Catalog>,
    now: Arc<Notify>,
    stop: impl Future<Output = ()>,
) -> (&'static str, std::io::Result<()>) {
    tokio::select! {
        () = upstream::resolve_forever(|| catalog.rules().upstreams.clone(), &now, report_unresolved) => {}
        () = stop => {}
    }
    ("resolver", Ok(()))
}

fn report_unresolved(upstream: &upstream::Upstream, target: &str, error: &std::io::Error) {
    log::warn(
        "a target cannot be looked up",
        &[("upstream", &upstream.options().name), ("target", &target), ("error", error)],
    );
}

/// How long a start waits for one upstream's names.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

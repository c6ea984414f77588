//! The end of every request: counters, and a line in the request log. Whatever happened before, it comes through here once.

use std::rc::Rc;
use std::sync::LazyLock;

use super::metering::Subject;
use super::request::Request;
use super::thread::Thread;
use crate::policy::Denial;
use crate::telemetry::UpstreamResult;
use crate::telemetry::access::{Ending, Record, Text};
use crate::time::{Instant, wall};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the upstream's whole answer.
    Forwarded,
    /// With an answer of the gateway's own.
    Denied(Denial),
    /// In the middle of the upstream's answer; what the gateway would have answered.
    Cut(Denial),
    /// Without anybody to answer.
    ClientGone,
}

/// Labels of `outcome`: forwarded, client gone, then the code of each denial by its index.
pub static OUTCOMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let own = ["forwarded", "client_gone"];
    own.into_iter().chain(Denial::ALL.iter().map(|denial| denial.code())).collect()
});

/// Labels `code` and `reason` of each denial by its index.
pub static DENIALS: LazyLock<Vec<(&'static str, &'static str)>> =
    LazyLock::new(|| Denial::ALL.iter().map(|denial| (denial.code(), denial.reason())).collect());

const FORWARDED: usize = 0;
const CLIENT_GONE: usize = 1;

/// Counts a request in the ledger, once: to be called before an answer of the gateway's own leaves.
pub(super) fn meter(thread: &Thread, request: &mut Request, status: u16, end: End, now: Instant) {
    if request.trail.tally.is_counted() {
        return;
    }
    let mut tally = request.trail.tally;
    tally.ended(Subject { thread, local: &request.local, trail: &request.trail }, status, end, now);
    request.trail.tally = tally;
}

/// Counts and logs a request. `status` is what the client saw, 0 if nothing.
pub(super) fn record(thread: &Thread, request: &mut Request, status: u16, end: End) {
    let now = request.trail.ended.unwrap_or_else(|| thread.tasks.now());
    meter(thread, request, status, end, now);
    let trail = &mut request.trail;
    let total = now.since(trail.started);
    if trail.result.is_none_or(|result| result == UpstreamResult::ConnectFailed) {
        trail.gateway = total.saturating_sub(trail.connecting);
    }
    let outcome = match end {
        End::Forwarded => FORWARDED,
        End::ClientGone => CLIENT_GONE,
        End::Denied(denial) | End::Cut(denial) => {
            thread.metrics.denied(denial.index());
            2 + denial.index()
        }
    };
    request.local.route_metrics(trail.route).finished(status, outcome, total, trail.gateway);
    let ending = if end == End::Forwarded { Ending::Forwarded } else { Ending::Refused };
    if thread.log.wants(ending) {
        thread.log.push(line(request, status, end, total));
    }
}

fn line(request: &Request, status: u16, end: End, total: std::time::Duration) -> Record {
    let trail = &request.trail;
    let (code, reason) = match end {
        End::Forwarded => ("", ""),
        End::ClientGone => ("client_gone", "client_gone"),
        End::Denied(denial @ (Denial::UpstreamFailed | Denial::UpstreamTimeout)) | End::Cut(denial) => {
            (denial.code(), trail.result.map_or(denial.reason(), UpstreamResult::label))
        }
        End::Denied(denial) => (denial.code(), denial.reason()),
    };
    let key = trail.record.as_ref();
    let route = trail.route.map(|route| request.local.rules.routes[route].name.as_str());
    Record {
        time: wall(trail.started),
        request_id: Text::new(trail.id(&request.out)),
        client: trail.client,
        method: Text::new(trail.method(&request.out)),
        path: Text::new(trail.path(&request.out)),
        status,
        code,
        reason,
        key: Text::new(key.map_or("", |key| key.id.as_str())),
        owner: Text::new(key.and_then(|key| key.owner.as_ref()).map_or("", |owner| owner.as_str())),
        route: Text::new(route.unwrap_or_default()),
        target: Text::new(trail.target.as_deref().unwrap_or_default()),
        bytes_in: trail.bytes_in,
        bytes_out: trail.bytes_out,
        total,
        gateway: trail.gateway,
        upstream: trail.upstream,
    }
}

/// Counts a client connection as idle for as long as it is held, but for the time that [`Active`] takes away.
#[derive(Debug)]
pub(super) struct Open(Rc<Thread>);

impl Open {
    pub(super) fn new(thread: &Rc<Thread>) -> Self {
        thread.metrics.client_connections.idle.up();
        Self(Rc::clone(thread))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.client_connections.idle.down();
    }
}

/// Counts a client connection as active instead of idle for as long as it is held.
#[derive(Debug)]
pub(super) struct Active(Rc<Thread>);

impl Active {
    pub(super) fn new(thread: &Rc<Thread>) -> Self {
        let connections = &thread.metrics.client_connections;
        connections.idle.down();
        connections.active.up();
        Self(Rc::clone(thread))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let connections = &self.0.metrics.client_connections;
        connections.active.down();
        connections.idle.up();
    }
}

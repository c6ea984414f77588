//! One request to one upstream: connection, both directions, retries; and what came of it.
//!
//! The way up and the way down run side by side in the client's own task, so that an early answer is seen while a body is
//! still coming and a client that leaves is seen while an answer is still due. Nothing is sent twice but a request without
//! a byte of body whose kept-alive connection was closed without a byte of answer.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::admit::Admitted;
use super::aside::aside;
use super::client::{self, Client};
use super::downlink::{Account, Downlink, Failure, Landed};
use super::forward;
use super::io::Socket;
use super::reply::Asked;
use super::request::Request;
use super::thread::Thread;
use super::trail::{Times, Trail};
use super::trailers;
use super::uplink::{Fault, Progress, Uplink};
use crate::catalog::Entry;
use crate::http1::Buffer;
use crate::key::State;
use crate::policy::Denial;
use crate::reactor::Source;
use crate::telemetry::UpstreamResult;
use crate::upstream::{self, Checkout, Connection, Lease, Pool, Tried};

/// What came of a forwarded request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The whole answer has been delivered.
    Delivered {
        /// Its status.
        status: u16,
        /// Whether the client's connection can be kept.
        keep: bool,
    },
    /// Nothing has been delivered; the gateway answers.
    Denied(Denial, Option<Duration>),
    /// The connection must be cut in the middle of an answer; why.
    Cut {
        /// The status that the client saw.
        status: u16,
        /// What the gateway would have answered if it still could.
        denial: Denial,
    },
    /// The client has left.
    ClientGone {
        /// The status that the client saw; 0 if none.
        status: u16,
    },
}

/// One attempt on one connection.
enum Attempt {
    Ended(Outcome),
    /// A kept-alive connection was dead before the request reached anybody.
    Stale,
}

/// Looks whether the key of a running request has been revoked, each time its thread notices a revocation.
struct Watch<'a> {
    /// None: nobody to watch, or the operator lets running requests finish.
    entry: Option<&'a Entry>,
    thread: &'a Thread,
    seen: u64,
}

impl<'a> Watch<'a> {
    /// To be made before the request waits for the first time.
    fn new(admitted: &'a Admitted, request: &Request, thread: &'a Thread) -> Self {
        let ends = request.local.rules.wire.ends_revoked;
        let entry = admitted.holder.as_ref().filter(|_| ends).map(|holder| holder.record.entry());
        Self { entry, thread, seen: thread.revocations() }
    }

    fn sees_revocation(&mut self) -> bool {
        let revocations = self.thread.revocations();
        if revocations == self.seen {
            return false;
        }
        self.seen = revocations;
        self.entry.is_some_and(|entry| entry.state() == State::Revoked)
    }
}

/// Forwards a request whose head stands in `request.out`.
pub(super) async fn run(client: &mut Client, request: &mut Request, admitted: &Admitted, thread: &Thread) -> Outcome {
    let upstream = request.local.rules.routes[admitted.route].upstream;
    let pool = Rc::clone(&request.local.pools[upstream]);
    let head_end = request.out.len();
    let mut watch = Watch::new(admitted, request, thread);
    let mut tried = Tried::default();
    loop {
        request.out.truncate(head_end);
        let mut connection = match connection(client, &pool, &mut tried, &mut request.trail, thread).await {
            Ok(connection) => connection,
            Err(outcome) => return outcome,
        };
        let keeps_host = request.has_host && pool.options().preserve_host;
        let host = (!keeps_host).then(|| connection.lease().target());
        if forward::end_head(&mut request.out, host.as_deref()).is_err() {
            return Outcome::Denied(Denial::HeadTooLarge, None);
        }
        match attempt(client, request, (admitted, &mut watch), (&mut connection, &pool), thread).await {
            (Attempt::Ended(outcome), true) => {
                pool.put_back(connection, thread.tasks.coarse_now());
                return outcome;
            }
            (Attempt::Ended(outcome), false) => return outcome,
            (Attempt::Stale, _) => tried.fresh_only(),
        }
    }
}

/// A connection to the upstream: a kept one, or a new one to the first address that takes it.
async fn connection(
    client: &mut Client,
    pool: &Pool,
    tried: &mut Tried,
    trail: &mut Trail,
    thread: &Thread,
) -> Result<Connection, Outcome> {
    let mut last = Denial::UpstreamUnavailable;
    loop {
        let now = thread.tasks.coarse_now();
        let lease = match pool.checkout(tried, now, thread.random()) {
            Checkout::Reused(connection) => return Ok(connection),
            Checkout::Connect(lease) => lease,
            Checkout::Nothing(after) => return Err(Outcome::Denied(last, Some(after))),
        };
        let began = client.seat.now();
        trail.target = Some(lease.target());
        trail.result = Some(UpstreamResult::ConnectFailed);
        let connected = aside(connect(client, lease, pool.options().connect_timeout, thread)).await;
        trail.connecting += client.seat.now().since(began);
        last = match connected {
            Ok(connection) => return Ok(connection),
            Err(Outcome::Denied(denial, _)) => denial,
            Err(gone) => return Err(gone),
        };
    }
}

/// The client left while the gateway was connecting.
struct ClientGone;

/// Connects, within a while; a failure is noted with the address.
async fn connect(client: &mut Client, lease: Lease, timeout: Duration, thread: &Thread) -> Result<Connection, Outcome> {
    let connected = match Source::connect(lease.address().socket, &thread.reactor) {
        Ok(stream) => connected(client, stream, timeout, thread).await,
        Err(error) => Ok(Some(Err(error))),
    };
    let denial = match connected {
        Err(ClientGone) => return Err(Outcome::ClientGone { status: 0 }),
        Ok(Some(Ok(stream))) => {
            lease.address().health.connecting.end();
            return Ok(lease.fresh(stream));
        }
        Ok(Some(Err(error))) if upstream::is_exhaustion(&error) => {
            return Err(Outcome::Denied(Denial::Overloaded, None));
        }
        Ok(Some(Err(_))) => Denial::UpstreamFailed,
        Ok(None) => Denial::UpstreamTimeout,
    };
    lease.address().health.connecting.add(client.seat.now());
    lease.metrics().finished(UpstreamResult::ConnectFailed);
    Err(Outcome::Denied(denial, None))
}

/// Waits until a socket is connected; none: that took too long.
async fn connected(
    client: &mut Client,
    stream: Rc<Source>,
    timeout: Duration,
    thread: &Thread,
) -> Result<Option<io::Result<Rc<Source>>>, ClientGone> {
    let deadline = client.seat.deadline(timeout);
    let socket = Socket { stream: &client.stream, seat: &client.seat, sends: &thread.sends };
    let input = &mut client.input;
    let ended = poll_fn(|_| match stream.poll_connected(socket.seat) {
        Poll::Ready(ended) => Poll::Ready(Ok(Some(ended))),
        Poll::Pending if client::poll_ahead(socket, input).is_ready() => Poll::Ready(Err(ClientGone)),
        Poll::Pending => socket.seat.poll_elapsed(deadline).map(|_| Ok(None)),
    });
    Ok(ended.await?.map(|ended| ended.map(|()| stream)))
}

/// Runs both directions over one connection; the second value says whether the connection can be kept.
async fn attempt(
    client: &mut Client,
    request: &mut Request,
    (admitted, watch): (&Admitted, &mut Watch<'_>),
    (connection, pool): (&mut Connection, &Pool),
    thread: &Thread,
) -> (Attempt, bool) {
    let progress = Progress::default();
    let mut account = Account::default();
    let landed =
        run_both(client, request, (admitted, watch), (connection, pool), thread, &progress, &mut account).await;
    let reused = connection.is_reused();
    let lease = connection.lease();
    request.trail.bytes_in = progress.bytes_in.get();
    request.trail.bytes_out = account.bytes_out;
    request.trail.tally = account.tally;
    request.trail.target = Some(lease.target());
    request.trail.ended = account.ended_at;
    request.trail.note_times(&Times {
        head_sent: progress.head_sent.get(),
        sent: progress.sent.get(),
        answered: account.head_at,
        passed_on: account.head_sent_at,
        ended: account.head_at.is_none().then(|| client.seat.now()),
    });
    if landed == Ok(Landed::Silent) && reused && !progress.body_started.get() {
        return (Attempt::Stale, false);
    }
    let (result, outcome, keep) =
        conclude(landed, client.input.as_ref().is_some_and(Buffer::is_torn), &progress, &account, request);
    lease.metrics().finished(result);
    request.trail.result = Some(result);
    match result {
        UpstreamResult::Answered => lease.address().health.answering.end(),
        UpstreamResult::Reset if !reused && !account.heard => lease.address().health.answering.add(client.seat.now()),
        _ => {}
    }
    (Attempt::Ended(outcome), keep)
}

/// Both directions side by side, until one of them ends the request.
async fn run_both(
    client: &mut Client,
    request: &mut Request,
    (admitted, watch): (&Admitted, &mut Watch<'_>),
    (connection, pool): (&mut Connection, &Pool),
    thread: &Thread,
    progress: &Progress,
    account: &mut Account,
) -> Result<Landed, Fault> {
    let options = pool.options();
    let client_timeout = request.local.rules.wire.timeouts.body;
    let below = Socket { stream: &client.stream, seat: &client.seat, sends: &thread.sends };
    let above = Socket { stream: &connection.stream, ..below };
    let mut id = [0; 64];
    let id_length = request.trail.id(&request.out).len();
    id[..id_length].copy_from_slice(request.trail.id(&request.out));
    let asked = Asked {
        admitted,
        local: &request.local,
        id: &id[..id_length],
        is_head: request.is_head,
        version: request.version,
        keep_alive: request.keep_alive,
        waits: request.expects_continue,
        thread,
        progress,
        by_authorization: request.by_authorization,
        trail: &request.trail,
    };
    let mut uplink = Uplink {
        client: below,
        input: &mut client.input,
        upstream: above,
        head_start: request.trail.len(),
        out: &mut request.out,
        body: &mut request.body,
        max_body_bytes: request.max_body_bytes,
        progress,
        client_timeout,
        upstream_timeout: options.idle_timeout,
        trailers: trailers::Filter::Request(&request.local.request_roles),
    };
    let mut downlink = Downlink {
        upstream: above,
        client: below,
        asked,
        progress,
        response_timeout: options.response_timeout,
        upstream_timeout: options.idle_timeout,
        client_timeout,
        account,
    };
    let (mut up, mut down) = (pin!(uplink.run()), pin!(downlink.run()));
    poll_fn(|cx| {
        if watch.sees_revocation() {
            return Poll::Ready(Err(Fault::Denied(Denial::KeyRevoked)));
        }
        if let Poll::Ready(Err(_)) = below.poll_rest() {
            return Poll::Ready(Err(Fault::ClientGone));
        }
        if let Poll::Ready(fault) = up.as_mut().poll(cx) {
            return Poll::Ready(Err(fault));
        }
        down.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// What the end of both directions means: for the target's counters, for the client, for the upstream's connection.
fn conclude(
    landed: Result<Landed, Fault>,
    lost_bytes: bool,
    progress: &Progress,
    account: &Account,
    request: &Request,
) -> (UpstreamResult, Outcome, bool) {
    let status = account.status;
    let failed = |result, denial| {
        let outcome =
            if progress.answered.get() { Outcome::Cut { status, denial } } else { Outcome::Denied(denial, None) };
        (result, outcome, false)
    };
    match landed {
        Ok(Landed::Whole { keep_client, keep_upstream }) => {
            let request_done = request.body.is_done() && progress.sent.get().is_some();
            let outcome = Outcome::Delivered { status, keep: keep_client && !lost_bytes };
            (UpstreamResult::Answered, outcome, keep_upstream && request_done && !progress.refused.get())
        }
        Ok(Landed::Silent | Landed::Failed(Failure::Reset)) => failed(UpstreamResult::Reset, Denial::UpstreamFailed),
        Ok(Landed::Failed(Failure::Malformed)) => failed(UpstreamResult::Malformed, Denial::UpstreamFailed),
        Ok(Landed::Failed(Failure::Timeout)) => failed(UpstreamResult::Timeout, Denial::UpstreamTimeout),
        Ok(Landed::ClientGone) | Err(Fault::ClientGone) => (
            UpstreamResult::ClientGone,
            Outcome::ClientGone { status: if progress.answered.get() { status } else { 0 } },
            false,
        ),
        Err(Fault::Denied(denial @ Denial::UpstreamTimeout)) => failed(UpstreamResult::Timeout, denial),
        Err(Fault::Denied(denial)) => failed(UpstreamResult::ClientGone, denial),
    }
}

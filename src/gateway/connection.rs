//! The loop of one client connection: a head, a decision, an exchange or an answer, an end; and again.
//!
//! Between two waits everything from the head's bytes to the outgoing bytes happens in one go ([`decide`]), so nothing of a
//! head has to be kept.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::admit::{self, Admitted, Reached, Refusal};
use super::answer::{self, Circumstances};
use super::client::{self, Arrival, Client};
use super::exchange::{self, Outcome};
use super::facts::{self, Reading, Unfit};
use super::finish;
use super::forward;
use super::io::Socket;
use super::limits::Standing;
use super::local::Local;
use super::metering::Subject;
use super::request::Request;
use super::shared::ConnectionSlot;
use super::thread::Thread;
use super::trail::Trail;
use crate::http1::{Body, Buffer, FieldSlots, HeadError, Length, RequestHead, Version};
use crate::policy::{self, Denial};
use crate::reactor::{Seat, Source};
use crate::route::Method;
use crate::time::Instant;

/// Serves a connection until one side has had enough. What is `held` is given back at the end.
pub(super) async fn serve(stream: Rc<Source>, peer: SocketAddr, seat: Seat, thread: Rc<Thread>, _held: ConnectionSlot) {
    let mut client = Client { stream, peer: policy::canonical(peer.ip()), input: None, seat };
    let _open = finish::Open::new(&thread);
    loop {
        if !client.next_begins(&thread).await {
            return;
        }
        let mut berth = thread.berths.take();
        berth.begin(client, Rc::clone(&thread));
        let (back, after) = poll_fn(|cx| berth.poll(cx)).await;
        thread.berths.give_back(berth);
        client = back;
        match after {
            After::Keep => {}
            After::Close => return client.close_gently(&thread.sends).await,
            After::Drop => return,
        }
    }
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request is waited for.
    Keep,
    /// It is closed so that the client can still read its answer.
    Close,
    /// It is closed at once.
    Drop,
}

/// One request, whose first bytes are there, from its head to its end. Gives the connection back.
pub(super) async fn next_request(mut client: Client, thread: Rc<Thread>) -> (Client, After) {
    let after = answer_one(&mut client, &thread).await;
    (client, after)
}

async fn answer_one(client: &mut Client, thread: &Rc<Thread>) -> After {
    let (limits, timeouts) = thread.client_terms();
    let arrival = client.next_head(&limits, timeouts, &thread.sends).await;
    let _active = finish::Active::new(thread);
    let now = thread.tasks.coarse_now();
    let mut decided = match arrival {
        Arrival::Gone => return After::Drop,
        Arrival::Head(most) => {
            let bytes = client.input.as_ref().map_or(&b""[..], |input| &input.filled()[..most]);
            decide(client.peer, bytes, thread, now)
        }
        Arrival::TooSlow => refuse_head(client.peer, Denial::HeadTimeout, thread, now),
        Arrival::Refused(error) => refuse_head(client.peer, head_denial(error), thread, now),
    };
    // They stay where they are: to move them would be to copy them.
    let (request, decision) = &mut decided;
    client.consume(request.head_length);
    match decision {
        Err(refusal) => deny(client, request, refusal, None, thread).await,
        Ok(admitted) => {
            Subject { thread, local: &request.local, trail: &request.trail }.charge(admitted, now);
            forward(client, request, admitted, thread).await
        }
    }
}

/// Everything between a head's bytes and a decision; of an admitted request the outgoing head is written too.
///
/// Not inlined, so that a profile shows what it costs.
#[inline(never)]
pub(super) fn decide(
    peer: IpAddr,
    bytes: &[u8],
    thread: &Thread,
    now: Instant,
) -> (Request, Result<Admitted, Refusal>) {
    let local = thread.local();
    let mut slots = FieldSlots::new();
    let head = match RequestHead::parse(bytes, &mut slots, &local.rules.wire.head) {
        Ok(head) => head,
        Err(error) => return refuse_head(peer, head_denial(error), thread, now),
    };
    let mut scratch = thread.scratch.borrow_mut();
    let read = facts::read(&head, &local, peer, &mut scratch);
    let reading = match &read {
        Ok(reading) => reading,
        Err(unfit) => return refuse_reading(peer, &head, unfit, thread, now),
    };
    let mut out = Buffer::take();
    let path = head.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let text = (head.method, path, reading.request_id);
    let trail = Trail::new(now, reading.facts.client, text, thread, &mut out);
    let decision = admit::admit(&local, &thread.shared, reading, now).and_then(|admitted| {
        let written = forward::write_head(&admitted, reading, &local, &trail, &mut out);
        written.map(|()| admitted).map_err(|forward::NoRoom| Refusal::of(Denial::HeadTooLarge))
    });
    (Request::new(reading, head.length, trail, out, local, &decision), decision)
}

impl Request {
    fn new(
        reading: &Reading<'_, '_>,
        head_length: usize,
        mut trail: Trail,
        out: Buffer,
        local: Rc<Local>,
        decision: &Result<Admitted, Refusal>,
    ) -> Self {
        let route = match decision {
            Ok(admitted) => {
                trail.record = admitted.holder.as_ref().map(|holder| holder.record.clone());
                trail.account = admitted.holder.as_ref().map_or(0, |holder| holder.account);
                Some(admitted.route)
            }
            Err(refusal) => {
                trail.record.clone_from(&refusal.record);
                trail.account = refusal.account;
                refusal.route
            }
        };
        trail.route = route;
        let of_route = route.and_then(|route| local.rules.routes[route].max_body_bytes);
        Self {
            max_body_bytes: of_route.or(local.rules.wire.max_body_bytes),
            local,
            trail,
            out,
            head_length,
            body: Body::new(reading.length),
            has_host: reading.host.is_some(),
            version: reading.version,
            keep_alive: reading.keep_alive,
            is_head: reading.facts.method == Method::Head,
            is_grpc: reading.is_grpc,
            expects_continue: reading.expects_continue,
            by_authorization: reading.by_authorization,
        }
    }

    /// A request of which nothing is known but that it is refused, and with it the connection.
    fn unread(trail: Trail, out: Buffer, local: Rc<Local>) -> Self {
        Self {
            local,
            trail,
            out,
            head_length: 0,
            body: Body::new(Length::Known(0)),
            has_host: false,
            version: Version::Http11,
            keep_alive: false,
            is_head: false,
            is_grpc: false,
            expects_continue: false,
            by_authorization: false,
            max_body_bytes: None,
        }
    }
}

fn refuse_head(peer: IpAddr, denial: Denial, thread: &Thread, now: Instant) -> (Request, Result<Admitted, Refusal>) {
    let mut out = Buffer::take();
    let trail = Trail::blank(now, peer, thread, &mut out);
    (Request::unread(trail, out, thread.local()), Err(Refusal::of(denial)))
}

/// A head that could be parsed but says what is not served. If its body's end is known the connection can be kept.
fn refuse_reading(
    peer: IpAddr,
    head: &RequestHead<'_, '_>,
    unfit: &Unfit<'_>,
    thread: &Thread,
    now: Instant,
) -> (Request, Result<Admitted, Refusal>) {
    let mut out = Buffer::take();
    let path = head.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let trail = Trail::new(now, peer, (head.method, path, unfit.request_id), thread, &mut out);
    let request = Request {
        head_length: head.length,
        is_head: head.method == b"HEAD",
        body: Body::new(unfit.length.unwrap_or(Length::Known(0))),
        keep_alive: unfit.keep_alive,
        expects_continue: unfit.expects_continue,
        is_grpc: unfit.is_grpc,
        ..Request::unread(trail, out, thread.local())
    };
    (request, Err(Refusal::of(unfit.denial)))
}

pub(super) const fn head_denial(error: HeadError) -> Denial {
    match error {
        HeadError::Malformed => Denial::BadHead,
        HeadError::Version => Denial::VersionUnsupported,
        HeadError::TooLarge => Denial::HeadTooLarge,
        HeadError::TargetTooLong => Denial::TargetTooLong,
    }
}

async fn forward(client: &mut Client, request: &mut Request, admitted: &Admitted, thread: &Rc<Thread>) -> After {
    let outcome = exchange::run(client, request, admitted, thread).await;
    match outcome {
        Outcome::Denied(denial, retry_after) => {
            let refusal = Refusal { route: Some(admitted.route), ..Refusal::of(denial) };
            deny(client, request, &refusal, retry_after, thread).await
        }
        Outcome::Delivered { status, keep } => {
            finish::record(thread, request, status, finish::End::Forwarded);
            let keep = keep && client.skip_body(&mut request.body, &thread.sends).await;
            if keep { After::Keep } else { After::Close }
        }
        Outcome::Cut { status, denial } => {
            finish::record(thread, request, status, finish::End::Cut(denial));
            if request.version == Version::Http10 {
                client.reset();
            }
            After::Drop
        }
        Outcome::ClientGone { status } => {
            finish::record(thread, request, status, finish::End::ClientGone);
            After::Drop
        }
    }
}

/// Answers with a denial, and leaves the connection at the next request if that is possible.
async fn deny(
    client: &mut Client,
    request: &mut Request,
    refusal: &Refusal,
    retry_after: Option<Duration>,
    thread: &Rc<Thread>,
) -> After {
    if let (Denial::KeyRevoked, Some(record)) = (refusal.denial, &refusal.record) {
        thread.shared.note_revoked_use(&record.id, client.peer);
    }
    let standing = Standing::refused(&request.local, refusal, thread.tasks.coarse_now());
    let next_period = standing.and_then(|standing| standing.next_period());
    let (denial, retry_after) = flood_guarded(request, refusal, next_period.or(retry_after));
    // A client that waits for a 100 may send its body all the same, or not: no telling where the next request begins.
    let waits = request.expects_continue && !request.body.is_done();
    let can_follow = client::is_worth_skipping(&request.body) && !waits;
    let closes = denial.closes() || !request.keep_alive || !can_follow || thread.is_draining();
    let circumstances = Circumstances {
        is_head: request.is_head,
        is_grpc: request.is_grpc,
        closes,
        announces_keep_alive: request.version == Version::Http10,
        retry_after,
        standing: standing.filter(|_| is_limit(denial)),
    };
    let now = thread.tasks.coarse_now();
    let body_bytes =
        answer::write(denial, &circumstances, (&request.trail, &request.local, thread), now, &mut request.out);
    request.trail.bytes_out = body_bytes as u64;
    finish::meter(thread, request, denial.status(), finish::End::Denied(denial), now);
    let bytes = &request.out.filled()[request.trail.len()..];
    let timeout = request.local.rules.wire.timeouts.body;
    let socket = Socket { stream: &client.stream, seat: &client.seat, sends: &thread.sends };
    let written = socket.write_last(bytes, timeout).await;
    let end = if written.is_ok() { finish::End::Denied(denial) } else { finish::End::ClientGone };
    finish::record(thread, request, denial.status(), end);
    let keep = written.is_ok() && !closes && client.skip_body(&mut request.body, &thread.sends).await;
    if keep { After::Keep } else { After::Close }
}

const fn is_limit(denial: Denial) -> bool {
    matches!(denial, Denial::LimitExceeded | Denial::QuotaExceeded)
}

/// Counts a failed authentication; past the guard's rate the client gets to hear of that instead.
fn flood_guarded(request: &Request, refusal: &Refusal, retry_after: Option<Duration>) -> (Denial, Option<Duration>) {
    let denial = refusal.denial;
    let limits = match refusal.reached {
        Some((_, Reached::Limit(refused))) => Some(refused.retry_after),
        _ => None,
    };
    let guard = request.local.flood.as_ref().filter(|_| denial.is_failed_authentication());
    match guard.and_then(|guard| guard.failed(request.trail.client)) {
        Some(pause) => (Denial::TooManyFailures, Some(pause)),
        None if refusal.is_for_good(&request.local) => (denial, None),
        None => (denial, limits.or(retry_after).or(Some(Duration::from_secs(1)))),
    }
}

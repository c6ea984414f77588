//! Answers of the gateway's own: problem details (RFC 9457) for every denial, as `wire.md` lays them down.
//!
//! Written behind the trail in the outgoing buffer. What is written tells nothing that the table of denials does not.

use std::io::Write;
use std::time::Duration;

use super::limits::{Standing, whole_seconds};
use super::local::Local;
use super::thread::Thread;
use super::trail::Trail;
use crate::http1::{Buffer, reason_phrase};
use crate::policy::{Challenge, Denial};
use crate::time::Instant;

/// What an answer depends on besides the denial.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// HEAD: the head alone.
    pub(super) is_head: bool,
    /// gRPC: a trailers-only answer.
    pub(super) is_grpc: bool,
    /// Whether the connection is closed after it.
    pub(super) closes: bool,
    /// Whether a kept connection must be announced (HTTP/1.0).
    pub(super) announces_keep_alive: bool,
    /// When it is worth coming again.
    pub(super) retry_after: Option<Duration>,
    /// What the limits said.
    pub(super) standing: Option<Standing>,
}

/// Appends the whole answer to `out`, behind the trail; how many bytes its body has.
pub(super) fn write(
    denial: Denial,
    circumstances: &Circumstances,
    (trail, local, thread): (&Trail, &Local, &Thread),
    now: Instant,
    out: &mut Buffer,
) -> usize {
    out.truncate(trail.len());
    let mut body = Body::default();
    if !circumstances.is_grpc {
        body.write(denial, circumstances, (trail, local), out);
    }
    let status = if circumstances.is_grpc { 200 } else { denial.status() };
    let mut head = Lines(out);
    head.line(format_args!("HTTP/1.1 {status} {}", reason_phrase(status)));
    thread.with_date(now, |date| head.raw(&[b"Date: ", date, b"\r\n"]));
    if circumstances.is_grpc {
        head.line(format_args!("Content-Type: application/grpc"));
        head.line(format_args!("grpc-status: {}", denial.grpc_status()));
        head.line(format_args!("grpc-message: {}", denial.code()));
    } else {
        head.line(format_args!("Content-Type: application/problem+json"));
    }
    head.line(format_args!("Content-Length: {}", body.length));
    head.line(format_args!("Cache-Control: no-store"));
    write_challenge(&mut head, denial, local);
    if let (true, Some(after)) = (denial.retries(), circumstances.retry_after) {
        head.line(format_args!("Retry-After: {}", whole_seconds(after).max(1)));
    }
    if denial == Denial::MethodUnsupported {
        head.line(format_args!("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if let Some(standing) = &circumstances.standing {
        // An answer always fits.
        let _ = head.0.write_with(|out| standing.write(local, now, out));
    }
    head.request_id(trail);
    if circumstances.closes {
        head.line(format_args!("Connection: close"));
    } else if circumstances.announces_keep_alive {
        head.line(format_args!("Connection: keep-alive"));
    }
    head.raw(&[b"\r\n"]);
    if circumstances.is_head {
        return 0;
    }
    head.raw(&[body.text()]);
    body.length
}

fn write_challenge(head: &mut Lines<'_>, denial: Denial, local: &Local) {
    let error = match denial.challenge() {
        Challenge::None => return,
        Challenge::Bare => "",
        Challenge::InvalidToken => ", error=\"invalid_token\"",
        Challenge::InvalidRequest => ", error=\"invalid_request\"",
        Challenge::InsufficientScope => ", error=\"insufficient_scope\"",
    };
    head.line(format_args!("WWW-Authenticate: Bearer realm={}{error}", local.realm));
}

/// The problem document, on the stack.
struct Body {
    text: [u8; MAX_BODY],
    length: usize,
}

impl Default for Body {
    fn default() -> Self {
        Self { text: [0; MAX_BODY], length: 0 }
    }
}

impl Body {
    fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }

    fn write(&mut self, denial: Denial, circumstances: &Circumstances, (trail, local): (&Trail, &Local), out: &Buffer) {
        let id = str::from_utf8(trail.id(out)).unwrap_or_default();
        let mut rest = &mut self.text[..];
        // The table's texts need no escaping (a test of `policy` says so); MAX_BODY holds the longest of them.
        let _ = write!(
            rest,
            "{{\"type\":\"{}\",\"title\":\"{}\",\"status\":{},\"detail\":\"{}\",\"code\":\"{}\",\"request_id\":\"{id}\"",
            denial.problem_type(),
            denial.title(),
            denial.status(),
            denial.detail(),
            denial.code(),
        );
        let violated = match denial {
            Denial::LimitExceeded | Denial::QuotaExceeded => {
                circumstances.standing.map(|standing| standing.quoted_name(local))
            }
            Denial::ConcurrencyExceeded => Some("\"concurrency\""),
            Denial::TooManyFailures => Some("\"failed-authentications\""),
            _ => None,
        };
        if let Some(violated) = violated {
            let _ = write!(rest, ",\"violated-policies\":[{violated}]");
        }
        let _ = rest.write_all(b"}");
        self.length = MAX_BODY - rest.len();
    }
}

/// Lines of a head; an answer is always far smaller than the buffer.
struct Lines<'o>(&'o mut Buffer);

impl Lines<'_> {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let mut free = self.0.free();
        let before = free.len();
        let written = free.write_fmt(text).and_then(|()| free.write_all(b"\r\n"));
        let used = before - free.len();
        if written.is_ok() {
            self.0.fill(used);
        }
    }

    fn raw(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| _ = self.0.append(part));
    }

    fn request_id(&mut self, trail: &Trail) {
        let mut id = [0; 64];
        let length = trail.id(self.0).len();
        id[..length].copy_from_slice(trail.id(self.0));
        self.raw(&[b"X-Request-Id: ", &id[..length], b"\r\n"]);
    }
}

const MAX_BODY: usize = 1024;

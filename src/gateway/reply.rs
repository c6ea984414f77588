//! The response head that goes to the client: the upstream's, less what belongs to its connection, framed anew.
//!
//! Written straight into an outgoing buffer in one pass. A head that allows two readings is refused.

use super::admit::{Admitted, Holder};
use super::forward::decimal;
use super::limits::Standing;
use super::local::Local;
use super::roles::ResponseRole;
use super::thread::Thread;
use super::trail::Trail;
use super::uplink::Progress;
use crate::catalog::LimitHeaders;
use crate::http1::{
    Body, Buffer, Connection, Field, FieldSlots, Framing, Length, Lines, ResponseHead, TooManyNamed, Version, Writer,
    parse_response,
};
use crate::time::Instant;

/// What a response is written for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The decision.
    pub(super) admitted: &'a Admitted,
    /// The rules the request started with.
    pub(super) local: &'a Local,
    /// The request's id, echoed.
    pub(super) id: &'a [u8],
    /// Whether a body is never sent.
    pub(super) is_head: bool,
    /// The client's version.
    pub(super) version: Version,
    /// Whether the client's connection can be kept after it, as far as the client is concerned.
    pub(super) keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) waits: bool,
    /// The data thread, which may be about to stop.
    pub(super) thread: &'a Thread,
    /// How far the request has got.
    pub(super) progress: &'a Progress,
    /// What is known of the request.
    pub(super) trail: &'a Trail,
    /// Whether shared caches know by themselves that the answer is not for everybody.
    pub(super) by_authorization: bool,
}

/// A response head, taken over.
#[derive(Debug)]
pub(super) struct Reply {
    /// How many bytes of the upstream's it is.
    pub(super) length: usize,
    /// What follows it; none if it is an interim one, written out if the client can take it: another follows.
    pub(super) last: Option<Final>,
}

/// What follows a final response head.
#[derive(Debug)]
pub(super) struct Final {
    /// Its status.
    pub(super) status: u16,
    /// The body to be read from the upstream.
    pub(super) body: Body,
    /// How the body goes to the client.
    pub(super) framing: Outgoing,
    /// Whether the upstream's connection may be used again.
    pub(super) keep_upstream: bool,
    /// Whether the client's connection may be.
    pub(super) keep_client: bool,
    /// How many units the upstream says that the request is.
    pub(super) units: Option<u64>,
}

/// How a body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// As it is: its length was announced, or it ends with the connection.
    Plain,
    /// In chunks.
    Chunked,
}

/// A response head that is malformed, ambiguous or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes over the response head at the beginning of `bytes` and appends what the client gets of it to `out`.
///
/// # Errors
/// If it is no head in order, be it that its end has not come yet. What stands in `out` then is of no use.
pub(super) fn take_over(bytes: &[u8], asked: &Asked<'_>, now: Instant, out: &mut Buffer) -> Result<Reply, Malformed> {
    let mut slots = FieldSlots::new();
    let head = parse_response(bytes, &mut slots).map_err(|_| Malformed)?;
    out.write_with(|out| write(&head, asked, now, out)).ok_or(Malformed)?
}

fn write(
    head: &ResponseHead<'_, '_>,
    asked: &Asked<'_>,
    now: Instant,
    out: &mut Writer<'_>,
) -> Result<Reply, Malformed> {
    let mut survey = Survey::default();
    write_start(head, asked, out, |field, role| survey.take_in(field, role).map(|()| true))?;
    if survey.connection.names_any() {
        out.restart();
        write_start(head, asked, out, |field, _| Ok(!survey.connection.names(field.name)))?;
    }
    if head.is_interim() {
        // Upgrades are never asked for, so a 101 answers nothing; an HTTP/1.0 client knows no interim answers.
        if head.status == 101 {
            return Err(Malformed);
        }
        out.put(&[b"\r\n"]);
        if asked.version == Version::Http10 {
            out.restart();
        }
        return Ok(Reply { length: head.bytes.len(), last: None });
    }
    let follow = survey.follow(head, asked)?;
    write_rest(head, &survey, asked, &follow, now, out);
    Ok(Reply { length: head.bytes.len(), last: Some(follow) })
}

/// What the fields of a response say about its connection and body.
#[derive(Debug, Default)]
struct Survey<'b> {
    framing: Framing,
    connection: Connection<'b>,
    cache_control: Option<&'b [u8]>,
    has_date: bool,
    units: Option<u64>,
}

impl<'b> Survey<'b> {
    fn take_in(&mut self, field: &Field<'b>, role: ResponseRole) -> Result<(), Malformed> {
        match role {
            ResponseRole::Connection => self.connection.take_in(field.value).map_err(|TooManyNamed| Malformed)?,
            ResponseRole::ContentLength => self.framing.content_length(field.value).map_err(|_| Malformed)?,
            ResponseRole::TransferEncoding => self.framing.transfer_encoding(field.value).map_err(|_| Malformed)?,
            ResponseRole::CacheControl => self.cache_control = Some(field.name),
            ResponseRole::Date => self.has_date = true,
            ResponseRole::Units => self.units = whole_number(field.value),
            ResponseRole::Plain | ResponseRole::Dropped | ResponseRole::Limits => {}
        }
        Ok(())
    }

    /// Whether a body is spoken of. After HEAD a server in error may send it all the same, and later.
    fn announces_body(&self) -> bool {
        !matches!(self.framing.of_response(Version::Http11), Ok(Length::Known(0) | Length::UntilClose))
    }

    fn keeps_cache_control(&self) -> bool {
        self.cache_control.is_some_and(|name| !self.connection.names(name))
    }

    /// RFC 9112 section 6.3: no body with HEAD, 1xx, 204 and 304, whatever the fields say.
    fn follow(&self, head: &ResponseHead<'_, '_>, asked: &Asked<'_>) -> Result<Final, Malformed> {
        let announced = self.framing.of_response(head.version).map_err(|_| Malformed)?;
        let has_body = !asked.is_head && !matches!(head.status, 204 | 304);
        let length = if has_body { announced } else { Length::Known(0) };
        let knows_chunks = asked.version == Version::Http11;
        let framing = match length {
            Length::Known(_) => Outgoing::Plain,
            Length::Chunked | Length::UntilClose if knows_chunks => Outgoing::Chunked,
            Length::Chunked | Length::UntilClose => Outgoing::Plain,
        };
        let ends_with_connection = !matches!(length, Length::Known(_)) && !knows_chunks;
        Ok(Final {
            status: head.status,
            body: Body::new(length),
            framing,
            keep_upstream: !self.connection.closes()
                && length != Length::UntilClose
                && head.version == Version::Http11
                && !(asked.is_head && self.announces_body()),
            keep_client: asked.keep_alive && !ends_with_connection && !self.ends_early(asked),
            units: self.units,
        })
    }
}

impl Survey<'_> {
    /// Whether the connection cannot be kept for a reason that only shows now: the gateway stops, the upstream will not take
    /// the rest of the body, or the client waits for a 100 and may yet send its body or not.
    fn ends_early(&self, asked: &Asked<'_>) -> bool {
        let unsent = asked.progress.sent.get().is_none();
        let undecided = asked.waits && !asked.progress.body_started.get();
        asked.thread.is_draining() || (unsent && (self.connection.closes() || undecided))
    }
}

/// Appends the status line and the fields that are for the client, less those that do not pass.
fn write_start<'b>(
    head: &ResponseHead<'b, '_>,
    asked: &Asked<'_>,
    out: &mut Writer<'_>,
    mut passes: impl FnMut(&Field<'b>, ResponseRole) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    let mut lines = start_line(head, out);
    let tells_limits = asked.local.rules.wire.limit_headers != LimitHeaders::None
        && asked.admitted.holder.as_ref().is_some_and(Holder::is_limited);
    for field in head.fields {
        let role = asked.local.response_roles.of(field.name);
        let is_for_client = match role {
            ResponseRole::Plain | ResponseRole::CacheControl | ResponseRole::Date => true,
            ResponseRole::Limits => !tells_limits,
            ResponseRole::Units => asked.local.rules.wire.metering.shows_units,
            ResponseRole::Dropped
            | ResponseRole::Connection
            | ResponseRole::ContentLength
            | ResponseRole::TransferEncoding => false,
        };
        if passes(field, role)? && is_for_client {
            lines.copy(field, out);
        }
    }
    lines.finish(out);
    Ok(())
}

/// The status line, which is copied with the fields behind it if it is written as it would be here.
fn start_line<'b>(head: &ResponseHead<'b, '_>, out: &mut Writer<'_>) -> Lines<'b> {
    let length = BEFORE_REASON + head.reason.len() + 2;
    let line = head.bytes.get(..length).unwrap_or_default();
    let is_plain = line.starts_with(b"HTTP/1.1 ")
        && line[BEFORE_REASON - 1..].strip_prefix(b" ").and_then(|rest| rest.strip_suffix(b"\r\n"))
            == Some(head.reason);
    if is_plain {
        return Lines::from_start(head.bytes, length);
    }
    let mut status = [0; 20];
    out.put(&[b"HTTP/1.1 ", decimal(u64::from(head.status), &mut status), b" ", head.reason, b"\r\n"]);
    Lines::of(head.bytes)
}

fn write_rest(
    head: &ResponseHead<'_, '_>,
    survey: &Survey<'_>,
    asked: &Asked<'_>,
    follow: &Final,
    now: Instant,
    out: &mut Writer<'_>,
) {
    if let Some(standing) = standing(asked, now) {
        standing.write(asked.local, now, out);
    }
    out.put(&[b"X-Request-Id: ", asked.id, b"\r\n"]);
    if !survey.has_date {
        // RFC 9110 section 6.6.1: who passes an answer on adds the date that it lacks.
        asked.thread.with_date(now, |date| out.put(&[b"Date: ", date, b"\r\n"]));
    }
    if asked.admitted.holder.is_some() && !asked.by_authorization && !survey.keeps_cache_control() {
        out.put(&[b"Cache-Control: private\r\n"]);
    }
    match (follow.framing, survey.framing.declared()) {
        (Outgoing::Chunked, _) => out.put(&[b"Transfer-Encoding: chunked\r\n"]),
        // With HEAD and 304 it tells of a body that is not sent; with 204 it must not be there (RFC 9110 section 8.6).
        (Outgoing::Plain, Some(bytes)) if head.status != 204 => {
            out.put(&[b"Content-Length: ", decimal(bytes, &mut [0; 20]), b"\r\n"]);
        }
        (Outgoing::Plain, _) => {}
    }
    out.put(&[match (follow.keep_client, asked.version) {
        (false, _) => b"Connection: close\r\n\r\n",
        (true, Version::Http10) => b"Connection: keep-alive\r\n\r\n",
        (true, Version::Http11) => b"\r\n",
    }]);
}

/// The value of a field that holds nothing but a whole number.
fn whole_number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| digits)?.parse().ok().filter(|units| *units <= UNITS_MAX)
}

fn standing(asked: &Asked<'_>, now: Instant) -> Option<Standing> {
    Standing::admitted(asked.local, asked.admitted.holder.as_ref()?, now)
}

/// The length of `HTTP/1.1 200 `.
const BEFORE_REASON: usize = 13;
/// What one request can be worth: 2^53, which every program that reads JSON still knows exactly.
const UNITS_MAX: u64 = 1 << 53;

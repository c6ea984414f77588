//! The trail of a request: what its end will be told from, kept from its first byte on.
//!
//! The texts stand at the beginning of the outgoing buffer, before what is sent, so that nothing is allocated for them.

use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::metering::Tally;
use super::thread::Thread;
use crate::catalog::RecordRef;
use crate::http1::Buffer;
use crate::telemetry::{UpstreamResult, access};
use crate::time::Instant;

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Trail {
    /// When its head was there.
    pub(super) started: Instant,
    /// Whose request it is.
    pub(super) client: IpAddr,
    /// The route, once found.
    pub(super) route: Option<usize>,
    /// The key, once found.
    pub(super) record: Option<RecordRef>,
    /// What its use is counted under, if the key is known: see [`Entry::account`](crate::catalog::Entry::account).
    pub(super) account: u64,
    /// Bytes of body from the client.
    pub(super) bytes_in: u64,
    /// Bytes of body to the client.
    pub(super) bytes_out: u64,
    /// Time spent by the gateway itself.
    pub(super) gateway: Duration,
    /// Time spent connecting to the upstream.
    pub(super) connecting: Duration,
    /// Time from the end of the request to the upstream's response head.
    pub(super) upstream: Duration,
    /// The target that was asked last.
    pub(super) target: Option<Rc<str>>,
    /// How that went.
    pub(super) result: Option<UpstreamResult>,
    /// What is counted of it in the ledger.
    pub(super) tally: Tally,
    /// When it ended, if the clock was read just then.
    pub(super) ended: Option<Instant>,
    method: u8,
    path: u16,
    id: u8,
}

/// When a forwarded request got where.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// When its head had been handed to the upstream.
    pub(super) head_sent: Option<Instant>,
    /// When all of it had been.
    pub(super) sent: Option<Instant>,
    /// When the response head was there.
    pub(super) answered: Option<Instant>,
    /// When that had been handed to the client.
    pub(super) passed_on: Option<Instant>,
    /// When it ended without one.
    pub(super) ended: Option<Instant>,
}

impl Trail {
    /// The trail of a request whose head was refused before anything could be read from it.
    pub(super) fn blank(started: Instant, client: IpAddr, thread: &Thread, out: &mut Buffer) -> Self {
        Self::new(started, client, (b"", b"", None), thread, out)
    }

    /// The trail of a request with this method, path and request id; without an id, one is made.
    pub(super) fn new(
        started: Instant,
        client: IpAddr,
        (method, path, id): (&[u8], &[u8], Option<&[u8]>),
        thread: &Thread,
        out: &mut Buffer,
    ) -> Self {
        let (method, path) = (&method[..method.len().min(MAX_METHOD)], &path[..path.len().min(MAX_PATH)]);
        let made;
        let id = match id {
            Some(id) => id,
            None => {
                made = made_id(thread);
                &made
            }
        };
        out.clear();
        // An empty buffer has room for them.
        let _ = out.write_with(|out| out.put(&[method, path, id]));
        #[expect(clippy::cast_possible_truncation, reason = "each is bounded above: 32, 512 and 64 bytes")]
        let (method, path, id) = (method.len() as u8, path.len() as u16, id.len() as u8);
        Self {
            started,
            client,
            route: None,
            record: None,
            account: 0,
            bytes_in: 0,
            bytes_out: 0,
            gateway: Duration::ZERO,
            connecting: Duration::ZERO,
            upstream: Duration::ZERO,
            target: None,
            result: None,
            tally: Tally::default(),
            ended: None,
            method,
            path,
            id,
        }
    }

    /// Takes in when the gateway did something: between these it waited for the client or for the upstream.
    pub(super) fn note_times(&mut self, times: &Times) {
        self.gateway =
            times.head_sent.map_or(Duration::ZERO, |sent| sent.since(self.started).saturating_sub(self.connecting));
        if let (Some(answered), Some(passed_on)) = (times.answered, times.passed_on) {
            self.gateway += passed_on.since(answered);
        }
        if let (Some(sent), Some(answered)) = (times.sent, times.answered.or(times.ended)) {
            self.upstream = answered.since(sent);
        }
    }

    /// How many bytes of the outgoing buffer belong to the trail.
    pub(super) const fn len(&self) -> usize {
        self.method as usize + self.path as usize + self.id as usize
    }

    /// The method, possibly cut.
    pub(super) fn method<'b>(&self, out: &'b Buffer) -> &'b [u8] {
        &out.filled()[..usize::from(self.method)]
    }

    /// The path, possibly cut.
    pub(super) fn path<'b>(&self, out: &'b Buffer) -> &'b [u8] {
        &out.filled()[usize::from(self.method)..][..usize::from(self.path)]
    }

    /// The request id.
    pub(super) fn id<'b>(&self, out: &'b Buffer) -> &'b [u8] {
        &out.filled()[self.id_place()]
    }

    /// Where the request id stands in the outgoing buffer.
    pub(super) fn id_place(&self) -> Range<usize> {
        usize::from(self.method) + usize::from(self.path)..self.len()
    }
}

/// A new request id: 128 random bits in the form of a UUID (RFC 9562 section 4).
fn made_id(thread: &Thread) -> [u8; 36] {
    let (high, low) = (hex(thread.random()), hex(thread.random()));
    let mut id = [b'-'; 36];
    id[..8].copy_from_slice(&high[..8]);
    id[9..13].copy_from_slice(&high[8..12]);
    id[14..18].copy_from_slice(&high[12..]);
    id[19..23].copy_from_slice(&low[..4]);
    id[24..].copy_from_slice(&low[4..]);
    id
}

/// The 16 digits of a number.
fn hex(number: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight_digits([a, b, c, d]));
    digits[8..].copy_from_slice(&eight_digits([e, f, g, h]));
    digits
}

/// The two digits of each byte, all at once: spread out to a byte for each, then 39 more for those that are letters.
fn eight_digits(bytes: [u8; 4]) -> [u8; 8] {
    let mut spread = u64::from(u32::from_le_bytes(bytes));
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let values = spread >> 4 & 0x000f_000f_000f_000f | (spread & 0x000f_000f_000f_000f) << 8;
    let letters = (values + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (values + 0x3030_3030_3030_3030 + letters * 39).to_le_bytes()
}

/// Longer than the request log's texts, so that one that is cut is cut there, where it is marked and redacted as such.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 512;
const _: () = assert!(MAX_METHOD > access::MAX_METHOD && MAX_PATH > access::MAX_PATH);

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn numbers_have_their_digits(number: u64) {
            let digits = hex(number);
            prop_assert_eq!(str::from_utf8(&digits).unwrap(), format!("{number:016x}"));
        }
    }
}

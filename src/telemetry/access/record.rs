//! What is noted of one request: a value of fixed size that a data thread fills without allocating.

use std::net::IpAddr;
use std::time::Duration;

use crate::time::Timestamp;

/// The longest method that is logged whole, in bytes.
pub const MAX_METHOD: usize = 16;
/// The longest path that is logged whole, in bytes.
pub const MAX_PATH: usize = 256;

/// One request, as it ended. Texts that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When the request began.
    pub time: Timestamp,
    /// The id that the client got to see.
    pub request_id: Text<64>,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: Text<MAX_METHOD>,
    /// The path without the query.
    pub path: Text<MAX_PATH>,
    /// The status sent; 0 if the client left before.
    pub status: u16,
    /// The code of a denial.
    pub code: &'static str,
    /// The true reason of a denial.
    pub reason: &'static str,
    /// The key's id.
    pub key: Text<64>,
    /// The key's owner.
    pub owner: Text<128>,
    /// The route's name.
    pub route: Text<128>,
    /// The target that the request went to, `host:port`.
    pub target: Text<64>,
    /// Bytes of the request body, as read from the client.
    pub bytes_in: u64,
    /// Bytes of the answer's body, as written to the client.
    pub bytes_out: u64,
    /// The whole request.
    pub total: Duration,
    /// The part that the gateway itself took.
    pub gateway: Duration,
    /// The part that was spent waiting for the upstream.
    pub upstream: Duration,
}

/// A text of at most `N` bytes, in place; the rest of a longer one is cut off, and shown as `…`.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    length: u16,
    cut: bool,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The text, copied as far as there is room.
    #[inline]
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        const { assert!(N <= u16::MAX as usize) };
        let text = text.as_ref();
        let length = text.len().min(N);
        let mut bytes = [0; N];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { length: length as u16, cut: text.len() > N, bytes }
    }

    /// What there is of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether its end is missing.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { length: 0, cut: false, bytes: [0; N] }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A forwarded request.
    pub(in crate::telemetry::access) fn sample_record() -> Record {
        Record {
            time: Timestamp::from_unix_ms(1_782_907_200_005),
            request_id: Text::new("550e8400-e29b-41d4-a716-446655440000"),
            client: "192.0.2.7".parse().unwrap(),
            method: Text::new("GET"),
            path: Text::new("/v1/orders/7"),
            status: 200,
            code: "",
            reason: "",
            key: Text::new("key_acme"),
            owner: Text::new("Acme & Sons"),
            route: Text::new("orders"),
            target: Text::new("127.0.0.1:9000"),
            bytes_in: 0,
            bytes_out: 512,
            total: Duration::from_micros(1_204),
            gateway: Duration::from_micros(12),
            upstream: Duration::from_micros(1_190),
        }
    }

    #[test]
    fn a_text_keeps_what_fits_and_knows_that_it_was_cut() {
        let check = |input: &str, kept: &str, cut: bool| {
            let text: Text<4> = Text::new(input);
            assert_eq!((text.as_bytes(), text.is_cut()), (kept.as_bytes(), cut), "{input}");
        };
        check("", "", false);
        check("four", "four", false);
        check("fives", "five", true);
    }
}

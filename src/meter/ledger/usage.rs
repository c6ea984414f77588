//! What is counted: how much, for whom, on which route, in which class, in which minute.

use crate::key::{KeyId, Name};
use crate::time::Timestamp;

use super::book::RouteId;
use super::class::{Band, Class};

/// A minute of wall-clock time: minutes since 1970-01-01T00:00Z, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(u32);

/// Whom a use is counted for.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The same for as long as key, owner and plan are, and never given to another account while the process lives.
    ///
    /// It is what cells are found by. An address will not do, because it can be given again. 0 is [`Account::NOBODY`].
    pub token: u64,
    /// The key, if one is known.
    pub key: Option<&'a KeyId>,
    /// Whom the key belongs to.
    pub owner: Option<&'a Name>,
    /// The plan the key is on.
    pub plan: Option<&'a Name>,
}

/// How much was used. In a cell these are totals, which only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Completed requests.
    pub requests: u64,
    /// What is billed.
    pub units: u64,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// The sum of what the requests took, in nanoseconds.
    pub latency_ns: u64,
}

/// Something to count.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// For whom.
    pub account: Account<'a>,
    /// On which route: a number from the same book.
    pub route: RouteId,
    /// How it ended, or is expected to while it runs.
    pub class: Class,
    /// How long it took.
    pub band: Band,
    /// How much.
    pub amount: Amount,
}

/// The bytes of a running exchange that are counted already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    bytes_in: u64,
    bytes_out: u64,
}

impl Minute {
    /// The minute that a time is in.
    pub fn of(time: Timestamp) -> Self {
        Self::from_unix(u32::try_from(time.as_unix_s().max(0) / 60).unwrap_or(u32::MAX))
    }

    /// From minutes since 1970, cut to what a cell can hold.
    pub fn from_unix(minutes: u32) -> Self {
        Self(minutes.clamp(1, MINUTE_MAX))
    }

    /// Minutes since 1970.
    pub const fn as_unix(self) -> u32 {
        self.0
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix_ms(i64::from(self.0) * 60_000)
    }
}

impl Account<'_> {
    /// Nobody: no key is known.
    pub const NOBODY: Self = Self { token: 0, key: None, owner: None, plan: None };

    /// The three names; what is none is empty.
    pub(super) fn names(&self) -> [&str; 3] {
        [self.key.map_or("", KeyId::as_str), self.owner.map_or("", Name::as_str), self.plan.map_or("", Name::as_str)]
    }
}

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    /// The greater of each two values: what merging is.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: of(self.requests, other.requests),
            units: of(self.units, other.units),
            bytes_in: of(self.bytes_in, other.bytes_in),
            bytes_out: of(self.bytes_out, other.bytes_out),
            latency_ns: of(self.latency_ns, other.latency_ns),
        }
    }
}

impl Running {
    /// What has come since the last time, if there are so many bytes in all by now: no request yet.
    pub fn part(&mut self, bytes_in: u64, bytes_out: u64) -> Amount {
        let part = Amount { bytes_in, bytes_out, ..Amount::default() };
        let part = self.without_counted(part);
        *self = Self { bytes_in: self.bytes_in.max(bytes_in), bytes_out: self.bytes_out.max(bytes_out) };
        part
    }

    /// What is left to count of the whole exchange, now that it is over.
    #[must_use]
    pub fn rest(self, whole: Amount) -> Amount {
        self.without_counted(whole)
    }

    const fn without_counted(&self, amount: Amount) -> Amount {
        let bytes_in = amount.bytes_in.saturating_sub(self.bytes_in);
        let bytes_out = amount.bytes_out.saturating_sub(self.bytes_out);
        Amount { bytes_in, bytes_out, ..amount }
    }
}

/// Beyond are the signs for "at rest" and one minute to move on to.
const MINUTE_MAX: u32 = u32::MAX - 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_its_minute() {
        let check = |ms, minute| assert_eq!(Minute::of(Timestamp::from_unix_ms(ms)).as_unix(), minute, "{ms}");
        check(1_782_907_200_000, 29_715_120);
        check(1_782_907_259_999, 29_715_120);
        check(-1, 1);
        check(i64::MAX, MINUTE_MAX);
        assert_eq!(Minute::from_unix(29_715_120).start(), Timestamp::from_unix_ms(1_782_907_200_000));
    }

    #[test]
    fn a_running_exchange_is_counted_in_parts_that_make_up_the_whole() {
        let mut running = Running::default();
        let whole = Amount { requests: 1, units: 3, bytes_in: 40, bytes_out: 1000, latency_ns: 9 };
        let parts = [running.part(40, 0), running.part(40, 300), running.part(40, 300), running.rest(whole)];
        assert_eq!(parts[1], Amount { bytes_out: 300, ..Amount::default() });
        assert_eq!(parts.iter().fold(Amount::default(), |sum, part| sum.plus(part)), whole);
    }
}

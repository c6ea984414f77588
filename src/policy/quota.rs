//! Quotas: so many requests per calendar day or month, in UTC.
//!
//! The arithmetic of periods is here; what a key has used is kept by `meter`.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::key::Name;
use crate::time::Timestamp;

/// So many requests per calendar period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name in the configuration and in the fields that tell of it.
    pub name: Name,
    /// Requests, times the route's cost, per period.
    pub requests: NonZeroU64,
    /// The period.
    pub period: Period,
}

/// A calendar period, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first midnight of a month to that of the next.
    Month,
}

impl Period {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// As people and programs read it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The number of the period that a time is in: days, or months, since 1970. Times before count as 1970.
    pub fn number(self, at: Timestamp) -> u32 {
        let days = days(at);
        match self {
            Self::Day => days,
            Self::Month => month(days).0,
        }
    }

    /// When the period that a time is in began.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let days = days(at);
        match self {
            Self::Day => midnight(days),
            Self::Month => midnight(days - month(days).1),
        }
    }

    /// How long it is until the next period begins.
    pub fn left(self, at: Timestamp) -> Duration {
        let today = days(at);
        let next = match self {
            Self::Day => today + 1,
            Self::Month => {
                let (this, day) = month(today);
                let first = today - day;
                (first + 28..first + 31).find(|day| month(*day).0 != this).unwrap_or(first + 31)
            }
        };
        let left_ms = midnight(next).as_unix_ms() - at.as_unix_ms().max(0);
        Duration::from_millis(left_ms.unsigned_abs())
    }

    /// How long the period lasts at most, in seconds.
    pub const fn longest_s(self) -> u64 {
        match self {
            Self::Day => 86_400,
            Self::Month => 31 * 86_400,
        }
    }
}

/// Days since 1970.
fn days(at: Timestamp) -> u32 {
    u32::try_from(at.as_unix_s().max(0) / 86_400).unwrap_or(u32::MAX / 2).min(u32::MAX / 2)
}

fn midnight(days: u32) -> Timestamp {
    Timestamp::from_unix_ms(i64::from(days) * 86_400_000)
}

/// The month that a day is in, counted from January 1970, and how many of its days are over.
///
/// Years are taken to begin in March, so that the day that not every year has is the last.
fn month(days: u32) -> (u32, u32) {
    // From 1968-03-01 on: 671 days before 1970.
    let days = u64::from(days) + 671 + DAYS_BEFORE;
    let era = days / DAYS_PER_ERA;
    let of_era = days % DAYS_PER_ERA;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march_based + 2) / 5;
    // March of year 0 of an era of 400 years; 1970 is 1600 + 369 years and ten months later.
    let months = (era * 400 + year) * 12 + march_based + 2;
    ((months - MONTHS_BEFORE) as u32, of_month as u32)
}

const DAYS_PER_ERA: u64 = 146_097;
/// From 1600-03-01 to 1968-03-01.
const DAYS_BEFORE: u64 = 134_409;
/// From January 1600 to January 1970.
const MONTHS_BEFORE: u64 = 370 * 12;

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use jiff::{ToSpan, Unit};

    use super::*;

    #[test]
    fn every_day_of_four_centuries_falls_into_its_month() {
        let mut day = date(1970, 1, 1);
        for number in 0..146_097_u32 {
            let at = midnight(number);
            let expected = (i32::from(day.year()) - 1970) * 12 + i32::from(day.month()) - 1;
            assert_eq!((Period::Month.number(at) as i32, Period::Day.number(at)), (expected, number), "{day}");
            assert_eq!(month(number).1 + 1, u32::from(day.day().unsigned_abs()), "{day}");
            day = day.tomorrow().unwrap();
        }
    }

    #[test]
    fn a_period_ends_when_the_next_one_begins() {
        for text in
            ["2026-11-23T15:04:05.678Z", "2028-02-29T23:59:59.999Z", "2026-12-31T00:00:00Z", "1970-01-01T00:00:00Z"]
        {
            let at: jiff::Timestamp = text.parse().unwrap();
            let now = Timestamp::from_unix_ms(at.as_millisecond());
            let zoned = at.to_zoned(TimeZone::UTC);
            let day = zoned.start_of_day().unwrap();
            let first = zoned.first_of_month().unwrap().start_of_day().unwrap();
            let until = |end: jiff::Zoned| end.timestamp().since(at).unwrap().total(Unit::Millisecond).unwrap() as u64;
            assert_eq!(Period::Day.start(now).as_unix_ms(), day.timestamp().as_millisecond(), "{text}");
            assert_eq!(Period::Month.start(now).as_unix_ms(), first.timestamp().as_millisecond(), "{text}");
            assert_eq!(Period::Day.left(now).as_millis() as u64, until(&day + 1.day()), "{text}");
            assert_eq!(Period::Month.left(now).as_millis() as u64, until(&first + 1.month()), "{text}");
        }
    }
}

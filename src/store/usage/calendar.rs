//! Hours, days and months of UTC, as minutes since 1970.

use crate::time::Timestamp;

pub(super) const HOUR: u32 = 60;
pub(super) const DAY: u32 = 24 * HOUR;

/// Where a span of so many minutes begins that this minute is in.
pub(super) const fn floor(minute: u32, span: u32) -> u32 {
    minute - minute % span
}

/// Where the first span begins that has not begun before.
pub(super) const fn ceil(minute: u32, span: u32) -> u32 {
    floor(minute.saturating_add(span - 1), span)
}

/// Where the month begins that this minute is in.
pub(super) fn month(minute: u32) -> u32 {
    let day = minute / DAY;
    let first = jiff::Timestamp::from_second(i64::from(minute) * 60)
        .map(|time| u32::from(time.to_zoned(jiff::tz::TimeZone::UTC).day().unsigned_abs()) - 1);
    // Later than the year 9999 there are no months.
    (day - first.unwrap_or(0).min(day)) * DAY
}

/// The minute that a time is in; 0 before 1970.
pub(super) fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.as_unix_s().max(0) / 60).unwrap_or(u32::MAX)
}

/// When a minute begins.
pub(super) fn time(minute: u32) -> Timestamp {
    Timestamp::from_unix_ms(i64::from(minute) * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_on_its_first_day() {
        let check = |at: &str, start: &str| {
            let minute = |text: &str| u32::try_from(text.parse::<jiff::Timestamp>().unwrap().as_second() / 60).unwrap();
            assert_eq!(month(minute(at)), minute(start), "{at}");
        };
        check("2026-11-23T14:46:00Z", "2026-11-01T00:00:00Z");
        check("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z");
        check("2028-02-29T23:59:00Z", "2028-02-01T00:00:00Z");
        check("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn spans_begin_at_whole_ones() {
        assert_eq!((floor(59, HOUR), floor(60, HOUR), ceil(60, HOUR), ceil(61, HOUR)), (0, 60, 60, 120));
    }
}

//! From texts of requests to values that cannot be wrong, and from times to texts.
//!
//! [`Faults`] collects what is wrong with all fields of a body, so that one answer tells everything. Called by the handlers.

use std::fmt::Display;
use std::time::Duration;

use ipnet::IpNet;

use super::problem::{FieldError, Problem};
use crate::catalog::Rules;
use crate::key::{Name, Scope};
use crate::time::Timestamp;

/// What is wrong with the fields of one body.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldError>);

impl Faults {
    /// The value, or a note that the field has none.
    pub(super) fn take<T, E: Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.note(field, "value", error)).ok()
    }

    /// The value of a field that may be left out; the outer none: it is wrong.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        text.map_or(Some(None), |text| self.take(field, parse(text)).map(Some))
    }

    /// The values of a list, each with its place.
    pub(super) fn list<T, E: Display>(
        &mut self,
        field: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        if texts.len() > MOST_ELEMENTS {
            self.note(field, "value", format!("at most {MOST_ELEMENTS} are possible"));
            return None;
        }
        let places = texts.iter().enumerate();
        let values: Vec<Option<T>> =
            places.map(|(place, text)| self.take(&format!("{field}[{place}]"), parse(text))).collect();
        values.into_iter().collect()
    }

    pub(super) fn note(&mut self, field: &str, code: &'static str, detail: impl Display) {
        self.0.push(FieldError::new(field, code, detail));
    }

    /// The value, if nothing is wrong with any.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Problem::invalid(self.0)),
        }
    }
}

/// What people call a key or a token.
pub(super) fn title(text: &str) -> Result<String, &'static str> {
    let fits = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("a name has 1 to 256 characters and none that controls a terminal") }
}

/// The name of a plan that there is.
pub(super) fn plan(text: &str, rules: &Rules) -> Result<Name, String> {
    let mut known = rules.plans.iter().flatten().map(|plan| &plan.name);
    if let Some(name) = known.clone().find(|name| name.as_str() == text) {
        return Ok(name.clone());
    }
    let some: Vec<&str> = known.by_ref().take(MOST_NAMED).map(Name::as_str).collect();
    let more = if known.next().is_some() { ", and others" } else { "" };
    Err(match some.is_empty() {
        true => "there is no such plan: the file has none".to_owned(),
        false => format!("there is no such plan: the file has {}{more}", some.join(", ")),
    })
}

/// The scopes, sorted, each once.
pub(super) fn scopes(faults: &mut Faults, texts: &[String]) -> Option<Vec<Scope>> {
    let mut scopes: Vec<Scope> = faults.list("scopes", texts, str::parse)?;
    scopes.sort_unstable();
    scopes.dedup();
    Some(scopes)
}

/// A CIDR whose host bits are zero, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet =
        text.parse().map_err(|_| "a network is like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32".to_owned())?;
    if network.addr() == network.network() {
        return Ok(network);
    }
    let (whole, single) = (network.trunc(), IpNet::from(network.addr()));
    Err(format!("write {whole} for the whole network or {single} for the one address"))
}

/// A time as RFC 3339 has it.
pub(super) fn instant(text: &str) -> Result<Timestamp, &'static str> {
    let wrong = "a time is like 2027-01-01T00:00:00Z, of the years 1 to 9998";
    let bytes = text.as_bytes();
    let is_shaped = (20..=35).contains(&bytes.len()) && matches!(bytes[10], b'T' | b't') && bytes[13] == b':';
    let is_plain = bytes.iter().all(|b| b.is_ascii_digit() || b"-+:.TZtz".contains(b));
    let zone = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_zoned = text.ends_with(['Z', 'z']) || zone.ends_with(':');
    let parsed = (is_shaped && is_plain && is_zoned).then(|| text.parse::<jiff::Timestamp>().ok()).flatten();
    let ms = parsed.ok_or(wrong)?.as_millisecond();
    if (EARLIEST_MS..=LATEST_MS).contains(&ms) { Ok(Timestamp::from_unix_ms(ms)) } else { Err(wrong) }
}

/// The end of a lifetime: a time, or how long from now.
pub(super) fn end(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    if let Ok(span) = duration(text) {
        return Ok(later(now, span));
    }
    instant(text).map_err(|_| "an end is a time like 2027-01-01T00:00:00Z or a duration like 90d")
}

/// `500ms`, `30s`, `15m`, `24h`, `30d`: at most 9 digits, 5 for days.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a duration is like 30s, 15m, 24h or 30d, with at most 9 digits, 5 for days";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| wrong)?;
    let (unit_ms, digits_max) = match &text[digits..] {
        "ms" => (1, 9),
        "s" => (1_000, 9),
        "m" => (60_000, 9),
        "h" => (3_600_000, 9),
        "d" => (86_400_000, 5),
        _ => return Err(wrong),
    };
    // Nine digits of hours are far from 64 bits.
    if digits <= digits_max { Ok(Duration::from_millis(number * unit_ms)) } else { Err(wrong) }
}

/// The time after a duration, or the latest that can be written.
pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(at.as_unix_ms().saturating_add(ms).min(LATEST_MS))
}

/// A time as RFC 3339 in UTC, with milliseconds only if there are some.
pub(super) fn shown(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_unix_ms()).map_or_else(|_| String::new(), |time| time.to_string())
}

/// Elements that a list may have.
pub(super) const MOST_ELEMENTS: usize = 64;
const MOST_NAMED: usize = 8;
/// The first millisecond of the year 1.
const EARLIEST_MS: i64 = -62_135_596_800_000;
/// The last millisecond of the year 9998, so that no offset leads beyond what can be written.
const LATEST_MS: i64 = 253_370_764_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("15m", 900_000), ("24h", 86_400_000), ("30d", 2_592_000_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "s", "10", "-1s", "1.5s", "1h30m", "10 s", "99999999999999999999s", "100000d", "1000000000s", "ä"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_an_offset_and_come_out_in_utc() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z"),
            ("1970-01-01T01:00:01.5+01:00", "1970-01-01T00:00:01.5Z"),
            ("2027-01-01T00:00:00.000Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(instant(text).map(shown).as_deref(), Ok(expected));
        }
        for bad in [
            "",
            "soon",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-13-01T00:00:00Z",
            "2027-01-01T00:00:00+0100",
            "2027-01-01T00:00:00Z[UTC]",
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_a_time_or_a_duration() {
        let now = Timestamp::from_unix_ms(1_000);
        assert_eq!(end("1m", now), Ok(Timestamp::from_unix_ms(61_000)));
        assert_eq!(end("1970-01-01T00:00:05Z", now), Ok(Timestamp::from_unix_ms(5_000)));
        assert!(end("never", now).is_err());
    }

    #[test]
    fn networks_are_exact() {
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(network("example.com").is_err());
    }

    #[test]
    fn names_of_people_control_no_terminal() {
        assert!(title("Ä \u{1f511}").is_ok() && title(&"ä".repeat(256)).is_ok());
        assert!(title("").is_err() && title("a\u{1b}[31m").is_err() && title(&"a".repeat(257)).is_err());
    }
}

//! Scalars: durations, sizes, times, networks and targets, from text to value.
//!
//! Each parser gives a value or the remedy for the text at hand. Called by the checks of [`super::form`] and
//! [`super::shape`], and by [`super::reader`] for the values.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::form::Fault;
use crate::time::Timestamp;
use crate::upstream::Authority;

/// `500ms`, `10s`, `5m`, `1h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let (number, unit) = split_number(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "y" => 365 * 86_400_000,
        _ => return Err(nearby_unit(number, unit, DURATION_UNITS)),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or(Fault::Form)
}

/// `512B`, `32KiB`, `8MiB`, `1GiB`, `1TiB`.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let (number, unit) = split_number(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(nearby_unit(number, unit, SIZE_UNITS)),
    };
    number.checked_mul(bytes).ok_or(Fault::Form)
}

/// An RFC 3339 time with offset.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, Fault> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' && bytes[16] == b':';
    let plain = bytes.iter().all(|b| b.is_ascii_digit() || b"-+:.TZ".contains(b));
    if shaped && plain && has_colon_offset(text) {
        let instant: jiff::Timestamp = text.parse().map_err(|_| Fault::Form)?;
        return Ok(Timestamp::from_unix_ms(instant.as_millisecond()));
    }
    if format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().is_ok() && bytes.len() == 10 {
        return Err(Fault::Remedy(format!("write {text}T00:00:00Z for the beginning of that day in UTC")));
    }
    if bytes.len() == 19 && format!("{text}Z").parse::<jiff::Timestamp>().is_ok() {
        return Err(Fault::Remedy(format!("add the offset: {}Z for UTC", text.replace(' ', "T"))));
    }
    Err(Fault::Form)
}

/// A CIDR whose host bits are zero, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| Fault::Form)?;
    if network.addr() != network.network() {
        let (whole, single) = (network.trunc(), IpNet::from(network.addr()));
        return Err(Fault::Remedy(format!("write {whole} for the whole network or {single} for the one address")));
    }
    Ok(network)
}

/// `http://host:port`.
pub(super) fn target(text: &str) -> Result<Authority, Fault> {
    if text.starts_with("https://") {
        return Err(Fault::Remedy(
            "https:// is not supported yet: write http:// and the plain-text port of the backend".into(),
        ));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        let guess = format!("http://{text}");
        return Err(if target(&guess).is_ok() { Fault::Remedy(format!("write {guess}")) } else { Fault::Form });
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('/') {
        return Err(Fault::Remedy(
            "a target has no path; a route's `strip_prefix` can take the front of a path off".into(),
        ));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => {
            Ok(Authority { host: target_host(host)?, port: target_port(port)? })
        }
        _ => Err(Fault::Remedy("add the port, as in http://127.0.0.1:9000".into())),
    }
}

fn target_host(host: &str) -> Result<String, Fault> {
    if let Some(inside) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| Fault::Form);
    }
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let fits = (1..=253).contains(&host.len()) && host.bytes().all(is_name);
    if fits { Ok(host.to_ascii_lowercase()) } else { Err(Fault::Form) }
}

fn target_port(port: &str) -> Result<u16, Fault> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if number > 0 && digits => Ok(number),
        _ => Err(Fault::Remedy("a port is a number from 1 to 65535".into())),
    }
}

fn split_number(text: &str) -> Result<(u64, &str), Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().map_err(|_| Fault::Form)?;
    Ok((number, &text[digits..]))
}

/// The unit that was probably meant by a usual other spelling of it.
fn nearby_unit(number: u64, unit: &str, units: &[(&str, &[&str])]) -> Fault {
    let wanted = unit.trim().to_ascii_lowercase();
    let meant = units.iter().find(|(_, spellings)| spellings.contains(&wanted.as_str()));
    meant.map_or(Fault::Form, |(unit, _)| Fault::Remedy(format!("write {number}{unit}")))
}

fn has_colon_offset(text: &str) -> bool {
    let Some(zone) = text.get(19..).map(|rest| rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit()))
    else {
        return false;
    };
    let fraction = &text[19..text.len() - zone.len()];
    let fraction_fits = fraction.is_empty()
        || (fraction.starts_with('.') && (2..=10).contains(&fraction.len()) && !fraction[1..].contains('.'));
    fraction_fits && (zone == "Z" || (zone.len() == 6 && zone.as_bytes()[3] == b':'))
}

const DURATION_UNITS: &[(&str, &[&str])] = &[
    ("ms", &["ms", "msec", "millis", "milliseconds"]),
    ("s", &["s", "sec", "secs", "second", "seconds"]),
    ("m", &["m", "min", "mins", "minute", "minutes"]),
    ("h", &["h", "hr", "hour", "hours"]),
    ("d", &["d", "day", "days"]),
    ("y", &["y", "yr", "year", "years"]),
];

const SIZE_UNITS: &[(&str, &[&str])] = &[
    ("B", &["b", "byte", "bytes"]),
    ("KiB", &["k", "kb", "ki", "kib"]),
    ("MiB", &["m", "mb", "mi", "mib"]),
    ("GiB", &["g", "gb", "gi", "gib"]),
    ("TiB", &["t", "tb", "ti", "tib"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy<T: std::fmt::Debug>(result: Result<T, Fault>, part: &str) {
        match result {
            Err(Fault::Remedy(text)) => assert!(text.contains(part), "{text:?} does not say {part:?}"),
            other => panic!("no remedy but {other:?}"),
        }
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("5y", 157_680_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "s", "10", "-1s", "1.5s", "1h30m", "10 parsecs", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(bad), Err(Fault::Form), "{bad}");
        }
        remedy(duration("10 sec"), "10s");
        remedy(duration("2H"), "2h");
    }

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        for (text, bytes) in [("1B", 1), ("32KiB", 32 << 10), ("8MiB", 8 << 20), ("1GiB", 1 << 30), ("2TiB", 2 << 40)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "1XB", "-1B", "18446744073709551615TiB"] {
            assert_eq!(size(bad), Err(Fault::Form), "{bad}");
        }
        remedy(size("32KB"), "32KiB");
        remedy(size("32 m"), "32MiB");
    }

    #[test]
    fn times_have_an_offset() {
        assert_eq!(timestamp("1970-01-01T00:00:01Z"), Ok(Timestamp::from_unix_ms(1000)));
        assert_eq!(timestamp("1970-01-01T01:00:01.5+01:00"), Ok(Timestamp::from_unix_ms(1500)));
        for bad in [
            "",
            "soon",
            "2027-13-01T00:00:00Z",
            "2027-02-30T00:00:00Z",
            "2027-01-01T00:00:00+0100",
            "2027-01-01T00:00:00Z[UTC]",
        ] {
            assert_eq!(timestamp(bad), Err(Fault::Form), "{bad}");
        }
        remedy(timestamp("2027-01-01"), "2027-01-01T00:00:00Z");
        remedy(timestamp("2027-01-01T00:00:00"), "2027-01-01T00:00:00Z");
        remedy(timestamp("2027-01-01 00:00:00"), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn networks_are_exact() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected);
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "example.com"] {
            assert_eq!(network(bad), Err(Fault::Form), "{bad}");
        }
        remedy(network("10.1.2.3/8"), "10.0.0.0/8");
    }

    #[test]
    fn targets_are_plain_http_with_a_port() {
        let authority = |host: &str, port| Ok(Authority { host: host.into(), port });
        assert_eq!(target("http://127.0.0.1:9000"), authority("127.0.0.1", 9000));
        assert_eq!(target("http://[::1]:9000/"), authority("::1", 9000));
        assert_eq!(target("http://Orders.internal:80"), authority("orders.internal", 80));
        remedy(target("https://a:1"), "not supported yet");
        remedy(target("127.0.0.1:9000"), "http://127.0.0.1:9000");
        remedy(target("http://a"), "add the port");
        remedy(target("http://a:0"), "1 to 65535");
        remedy(target("http://a:+1"), "1 to 65535");
        remedy(target("http://a:1/path"), "no path");
        for bad in ["", "ftp://a:1", "http://a b:1", "http://user@a:1", "http://[::x]:1"] {
            assert_eq!(target(bad), Err(Fault::Form), "{bad}");
        }
    }
}

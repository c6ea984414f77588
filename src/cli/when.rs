//! Times as people write them on the command line: an instant, or a while from now.

use jiff::{SignedDuration, Timestamp};

use crate::time;

/// A while: a number with `d`, `h`, `m` or `s`. The API reads the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct While {
    text: String,
    length: SignedDuration,
}

/// An instant, or a while from now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At this instant.
    At(Timestamp),
    /// So long from now.
    In(While),
}

impl While {
    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// In whole seconds.
    pub(super) fn as_seconds(&self) -> i64 {
        self.length.as_secs()
    }

    /// Whether it is no time at all.
    pub(super) fn is_zero(&self) -> bool {
        self.length.is_zero()
    }
}

impl When {
    /// As the API takes it.
    pub(super) fn wire(&self) -> String {
        match self {
            Self::At(at) => at.to_string(),
            Self::In(lasting) => lasting.text.clone(),
        }
    }

    /// The instant; whole seconds if it is counted from now, so that it reads well.
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::In(lasting) => {
                let now_s = time::wall(time::now()).as_unix_s();
                Timestamp::from_second(now_s.checked_add(lasting.length.as_secs())?).ok()
            }
        }
    }
}

/// Reads a while; it may be none at all.
pub(super) fn lasting(text: &str) -> Result<While, String> {
    let wrong = || "a while is a number with d, h, m or s: 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: i64 = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    let length = SignedDuration::from_secs(count.checked_mul(seconds).ok_or_else(wrong)?);
    Ok(While { text: text.to_owned(), length })
}

/// Reads an instant, or a while from now that is not over at once.
pub(super) fn when(text: &str) -> Result<When, String> {
    if let Ok(at) = text.parse() {
        return Ok(When::At(at));
    }
    match lasting(text) {
        Ok(lasting) if !lasting.is_zero() && When::In(lasting.clone()).at().is_some() => Ok(When::In(lasting)),
        _ => Err("this is neither a time, 2027-01-01T00:00:00Z, nor a number with d, h, m or s, 90d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_while_is_a_number_and_a_unit() {
        for (text, seconds) in [("90d", 90 * 86_400), ("24h", 86_400), ("15m", 900), ("1s", 1), ("0s", 0)] {
            assert_eq!(lasting(text).map(|lasting| lasting.length), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "90", "-1d", "+1d", "1y", "9223372036854775807d", "1ä", "1.5h"] {
            assert!(lasting(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_instant_is_a_time_or_a_while_from_now() {
        let at = when("2027-01-01T01:00:00+01:00").unwrap();
        assert_eq!((at.wire(), at.at().unwrap().as_second()), ("2027-01-01T00:00:00Z".to_owned(), 1_798_761_600));
        assert_eq!(when("90d").unwrap().wire(), "90d");
        for bad in ["", "0d", "tomorrow", "2027-01-01", "9999999999d"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}

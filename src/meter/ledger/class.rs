//! How a request ended and how long it took, as far as that is counted apart: one byte of a cell.
//!
//! The numbers stand in files and in the store. One that was given is never given again to something else.

use std::time::Duration;

use crate::policy::Denial;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nobody was answered, for a reason that has no class of its own.
    Unanswered,
    /// 1xx: an upgraded connection.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx of the upstream.
    ClientError,
    /// 5xx of the upstream.
    ServerError,
    /// The client left before the end.
    ClientGone,
    /// Not an end, but a beginning: what a key's quotas were charged with before the request was forwarded.
    Admitted,
    /// The gateway said no, or had to break off.
    Denied(Denial),
}

/// How long a request took, coarsely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Band {
    /// Less than 10 ms.
    #[default]
    Under10Ms,
    /// Less than 100 ms.
    Under100Ms,
    /// Less than 1 s.
    Under1S,
    /// 1 s and more.
    Over1S,
}

impl Class {
    /// Of an upstream's answer that was forwarded whole.
    pub const fn of_status(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::Unanswered,
        }
    }

    /// As people and programs read it: `2xx`, `denied`, `upstream_failed`, `client_gone`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unanswered => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::ClientGone => "client_gone",
            Self::Admitted => "admitted",
            Self::Denied(Denial::UpstreamFailed | Denial::UpstreamTimeout | Denial::UpstreamUnavailable) => {
                "upstream_failed"
            }
            Self::Denied(_) => "denied",
        }
    }

    /// The denial's code, if it is one.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => Some(denial.code()),
            _ => None,
        }
    }

    /// The number in files and in the store, below 64.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unanswered => 0,
            Self::Informational => 1,
            Self::Success => 2,
            Self::Redirection => 3,
            Self::ClientError => 4,
            Self::ServerError => 5,
            Self::ClientGone => 6,
            Self::Admitted => 7,
            Self::Denied(denial) => number_of(denial),
        }
    }

    /// By its number; none for one of a newer program.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::all().find(|class| class.number() == number)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let answered = [
            Self::Unanswered,
            Self::Informational,
            Self::Success,
            Self::Redirection,
            Self::ClientError,
            Self::ServerError,
            Self::ClientGone,
            Self::Admitted,
        ];
        answered.into_iter().chain(Denial::ALL.into_iter().map(Self::Denied))
    }
}

const fn number_of(denial: Denial) -> u8 {
    match denial {
        Denial::KeyMissing => 16,
        Denial::KeyAmbiguous => 17,
        Denial::KeyMalformed => 18,
        Denial::KeyUnknown => 19,
        Denial::KeyRevoked => 20,
        Denial::KeyDisabled => 21,
        Denial::KeyExpired => 22,
        Denial::KeyNotYetValid => 23,
        Denial::ScopeMissing => 24,
        Denial::PlanNotAllowed => 25,
        Denial::MethodNotAllowed => 26,
        Denial::NetworkNotAllowed => 27,
        Denial::LimitExceeded => 28,
        Denial::ConcurrencyExceeded => 29,
        Denial::TooManyFailures => 30,
        Denial::RouteUnknown => 31,
        Denial::UpstreamFailed => 32,
        Denial::UpstreamUnavailable => 33,
        Denial::UpstreamTimeout => 34,
        Denial::Overloaded => 35,
        Denial::BadHead => 36,
        Denial::BadTarget => 37,
        Denial::BadHost => 38,
        Denial::BadPath => 39,
        Denial::BadFraming => 40,
        Denial::BadBody => 41,
        Denial::UnknownCoding => 42,
        Denial::VersionUnsupported => 43,
        Denial::MethodUnsupported => 44,
        Denial::HeadTooLarge => 45,
        Denial::TargetTooLong => 46,
        Denial::HeadTimeout => 47,
        Denial::BodyTimeout => 48,
        Denial::BodyTooLarge => 49,
        Denial::ExpectationFailed => 50,
        Denial::QuotaExceeded => 51,
    }
}

impl Band {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Under10Ms, Self::Under100Ms, Self::Under1S, Self::Over1S];

    /// Of a request that took so long.
    pub const fn of(took: Duration) -> Self {
        match took.as_millis() {
            0..10 => Self::Under10Ms,
            10..100 => Self::Under100Ms,
            100..1000 => Self::Under1S,
            _ => Self::Over1S,
        }
    }

    /// As people and programs read it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Under10Ms => "under_10ms",
            Self::Under100Ms => "under_100ms",
            Self::Under1S => "under_1s",
            Self::Over1S => "over_1s",
        }
    }
}

/// Both in one byte.
#[inline]
pub(super) const fn packed(class: Class, band: Band) -> u8 {
    class.number() | (band as u8) << 6
}

/// What such a byte says; none if a newer program wrote it.
pub(super) fn unpacked(byte: u8) -> Option<(Class, Band)> {
    Some((Class::numbered(byte & 0x3f)?, Band::ALL[usize::from(byte >> 6)]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_has_a_number_of_its_own_and_is_read_back_with_its_band() {
        let numbers: BTreeSet<u8> = Class::all().map(Class::number).collect();
        assert_eq!(numbers.len(), Class::all().count());
        for class in Class::all() {
            for band in Band::ALL {
                assert_eq!(unpacked(packed(class, band)), Some((class, band)));
            }
        }
        assert_eq!(Class::numbered(15), None);
    }

    #[test]
    fn statuses_fall_into_their_class() {
        for (status, label) in
            [(0, "none"), (101, "1xx"), (204, "2xx"), (304, "3xx"), (499, "4xx"), (599, "5xx"), (600, "none")]
        {
            assert_eq!(Class::of_status(status).label(), label, "{status}");
        }
    }

    #[test]
    fn bands_begin_at_powers_of_ten() {
        let check = |ms, band| assert_eq!(Band::of(Duration::from_millis(ms)), band, "{ms}");
        check(9, Band::Under10Ms);
        check(10, Band::Under100Ms);
        check(99, Band::Under100Ms);
        check(100, Band::Under1S);
        check(999, Band::Under1S);
        check(1000, Band::Over1S);
    }

    #[test]
    fn upstreams_that_failed_are_told_from_what_the_gateway_refused() {
        assert_eq!(Class::Denied(Denial::UpstreamTimeout).label(), "upstream_failed");
        assert_eq!(Class::Denied(Denial::LimitExceeded).label(), "denied");
        assert_eq!(Class::Denied(Denial::LimitExceeded).code(), Some("limit_exceeded"));
        assert_eq!(Class::Success.code(), None);
    }
}

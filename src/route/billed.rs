//! Which answers are billed.

use std::fmt;
use std::str::FromStr;

/// A set of endings whose units count. A forwarded request that ends otherwise is counted with 0 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed(u8);

/// An ending that can be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// 1xx.
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
    /// The upstream gave no answer, or not all of it.
    UpstreamFailed,
}

/// A word that names no ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of 1xx, 2xx, 3xx, 4xx, 5xx, client_gone, upstream_failed")]
pub struct NoEnding;

impl Billed {
    /// Whatever the upstream answered, as a whole.
    pub const FORWARDED: Self = Self(0b1_1111);

    /// Whether it is in the set.
    pub const fn has(self, ending: Ending) -> bool {
        self.0 & 1 << ending as u8 != 0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Ending> for Billed {
    fn from_iter<I: IntoIterator<Item = Ending>>(endings: I) -> Self {
        Self(endings.into_iter().fold(0, |set, ending| set | 1 << ending as u8))
    }
}

impl FromStr for Ending {
    type Err = NoEnding;

    fn from_str(word: &str) -> Result<Self, NoEnding> {
        Ok(match word {
            "1xx" => Self::Informational,
            "2xx" => Self::Success,
            "3xx" => Self::Redirection,
            "4xx" => Self::ClientError,
            "5xx" => Self::ServerError,
            "client_gone" => Self::ClientGone,
            "upstream_failed" => Self::UpstreamFailed,
            _ => return Err(NoEnding),
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::ClientGone => "client_gone",
            Self::UpstreamFailed => "upstream_failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Ending; 7] = [
        Ending::Informational,
        Ending::Success,
        Ending::Redirection,
        Ending::ClientError,
        Ending::ServerError,
        Ending::ClientGone,
        Ending::UpstreamFailed,
    ];

    #[test]
    fn a_set_has_what_was_put_into_it_and_nothing_else() {
        for one in ALL {
            let set: Billed = [one].into_iter().collect();
            assert!(ALL.into_iter().all(|other| set.has(other) == (one == other)));
            assert_eq!(one.to_string().parse(), Ok(one));
            assert_eq!(Billed::FORWARDED.has(one), !matches!(one, Ending::ClientGone | Ending::UpstreamFailed));
            assert_eq!(Billed::FORWARDED.and(set).has(one), Billed::FORWARDED.has(one));
        }
        assert_eq!("6xx".parse::<Ending>(), Err(NoEnding));
    }
}

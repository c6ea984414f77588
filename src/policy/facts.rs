//! Facts: what was read off one request before any decision.
//!
//! Made by `gateway`; every decision is made on these and on nothing else of the request.

use std::fmt;
use std::net::IpAddr;

use crate::route::Method;

/// What was read off one request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its method.
    pub method: Method<'a>,
    /// The host it names, without port, in the client's case.
    pub host: &'a [u8],
    /// Its normalised path.
    pub path: &'a [u8],
    /// The client's address, in the form of [`super::canonical`].
    pub client: IpAddr,
    /// The credential it brings.
    pub credential: Presented<'a>,
}

/// The credential that a request brings; what prints it shows none of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// None, or an empty one.
    None,
    /// One, in one place.
    One(&'a [u8]),
    /// Several, even if they are equal.
    Ambiguous,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(..)",
            Self::Ambiguous => "Ambiguous",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_facts_show_no_credential() {
        let facts = Facts {
            method: Method::Get,
            host: b"h",
            path: b"/",
            client: IpAddr::from([127, 0, 0, 1]),
            credential: Presented::One(b"kg_live_7"),
        };
        let printed = format!("{facts:?}");
        assert!(printed.contains("One(..)"), "{printed}");
        assert!(!printed.contains("kg_live") && !printed.contains("107, 103"), "{printed}");
        assert_eq!(format!("{:?} {:?}", Presented::None, Presented::Ambiguous), "None Ambiguous");
    }
}

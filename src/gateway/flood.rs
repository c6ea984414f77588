//! The flood guard: failed authentications per client network, in memory of fixed size.
//!
//! The sketch may count too much, never too little; that only turns 401 into 429 for requests that fail anyway.

use std::net::IpAddr;
use std::time::Duration;

use pingora_limits::rate::Rate;

use crate::catalog::FloodGuard;
use crate::policy;

/// Counts failures per network; shared by all data threads.
pub(super) struct Flood {
    options: FloodGuard,
    failures: Rate,
}

impl Flood {
    /// A guard that has seen nothing.
    pub(super) fn new(options: FloodGuard) -> Self {
        Self { options, failures: Rate::new(options.per) }
    }

    /// What it was made from.
    pub(super) const fn options(&self) -> FloodGuard {
        self.options
    }

    /// Counts one failure of a client; how long its network should wait if that was one too many.
    pub(super) fn failed(&self, client: IpAddr) -> Option<Duration> {
        let network = policy::client_network(client);
        let count = self.failures.observe(&network, 1);
        (count > self.options.failures as isize).then_some(self.options.per)
    }
}

impl std::fmt::Debug for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flood").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_flooded_after_its_share_and_others_are_not() {
        let flood = Flood::new(FloodGuard { failures: 3, per: Duration::from_secs(3600) });
        let client = "2001:db8::1".parse().unwrap();
        let neighbour = "2001:db8::2".parse().unwrap();
        let other = "2001:db8:0:1::1".parse().unwrap();
        assert!((0..3).all(|_| flood.failed(client).is_none()));
        assert!(flood.failed(neighbour).is_some());
        assert!(flood.failed(other).is_none());
    }
}

//! Targets that cannot be connected to: told in the log once when it begins, and once when it is over.
//!
//! Data threads note each failure with the address; nobody there writes logs. The control thread looks on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::telemetry::log;
use crate::upstream::Upstream;

/// The addresses that have been told of, by upstream and address.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(String, String)>);

impl Told {
    /// Looks at all addresses, and tells what is new.
    pub(super) fn look(&mut self, upstreams: &[Arc<Upstream>]) {
        for upstream in upstreams {
            for address in upstream.addresses().iter() {
                let named = (upstream.options().name.to_string(), format!("{} ({})", address.target, address.socket));
                let connecting = &address.health.connecting;
                let (name, target) = named.clone();
                if connecting.are_repeated() && self.0.insert(named.clone()) {
                    log::warn(
                        "a target refuses connections and is left alone",
                        &[("upstream", &name), ("target", &target)],
                    );
                } else if connecting.are_over() && self.0.remove(&named) {
                    log::info("a target takes connections again", &[("upstream", &name), ("target", &target)]);
                }
            }
        }
    }
}

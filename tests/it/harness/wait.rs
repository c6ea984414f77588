//! Waiting for a condition, the only way tests wait.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails; generous, because the machine is shared.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Returns as soon as `condition` holds; panics with `what` after [`DEADLINE`].
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_until(what, || condition().then_some(()));
}

/// Returns the first value that `attempt` gives; panics with `what` after [`DEADLINE`].
pub(crate) fn wait_until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        thread::sleep(POLL);
    }
}

const POLL: Duration = Duration::from_millis(2);

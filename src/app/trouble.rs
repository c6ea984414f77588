//! Something that is tried again and again: told when it begins to fail and when it works again, not each time.

use std::fmt::Display;

use crate::telemetry::log;

/// Whether it fails at the moment.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    is_there: bool,
}

impl Trouble {
    /// Takes note of how the last try went; whether it went well.
    pub(super) fn note<E: Display>(&mut self, what: &str, outcome: &Result<(), E>) -> bool {
        match (outcome, self.is_there) {
            (Err(error), false) => log::error(what, &[("error", error)]),
            (Ok(()), true) => log::info("this works again", &[("what", &what)]),
            _ => {}
        }
        self.is_there = outcome.is_err();
        outcome.is_ok()
    }
}

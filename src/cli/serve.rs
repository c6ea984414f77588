//! `keygate serve`.

use std::path::Path;

use super::Exit;
use super::terminal::say;
use crate::app::{self, Companion, ConfigRefused};
use crate::operations::Addresses;

/// Serves a configuration to the end; one that is refused at the start is told with all of its problems.
pub(super) fn run(config: &Path, companion: Companion, on_ready: impl FnOnce(&Addresses)) -> anyhow::Result<Exit> {
    match app::serve(config, companion, on_ready) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => match error.downcast::<ConfigRefused>() {
            Ok(refused) => {
                say(&refused.to_string());
                Ok(Exit::Invalid)
            }
            Err(error) => Err(error),
        },
    }
}

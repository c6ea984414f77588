//! Why a command could not do what it was asked, with the exit code that stands for it.
//!
//! Goes up as an `anyhow::Error`; `main` finds it there again. Any other error is exit code 1.

use super::Exit;

/// A failure with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Failure {
    /// The exit code.
    pub(super) exit: Exit,
    /// What went wrong, for people.
    pub(super) words: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, words: impl Into<String>) -> Self {
        Self { exit, words: words.into() }
    }

    /// The command was not used as it is meant to be.
    pub(super) fn usage(words: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, words)
    }

    /// The exit code that an error stands for.
    pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
        error.downcast_ref::<Self>().map_or(Exit::Failed, |failure| failure.exit)
    }
}

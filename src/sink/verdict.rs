//! What an answer means for what was sent: the one table of statuses for all sinks over HTTP.

use super::client::{Answer, Reply};
use super::{Outcome, Sent, Trouble, TroubleKind};
use crate::meter::Cause;

/// What an answer means for everything that was in the call.
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) trouble: Option<Trouble>,
}

impl Verdict {
    /// Of any receiver.
    pub(super) fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Unsent(words) => Self::trouble(Outcome::Untaken, TroubleKind::Unreachable, words.clone()),
            Reply::Lost(words) => Self::trouble(Outcome::Unknown, TroubleKind::NoAnswer, words.clone()),
            Reply::Answer(answer) => Self::of_answer(answer),
        }
    }

    fn of_answer(answer: &Answer) -> Self {
        let status = answer.status;
        let (outcome, kind) = match status {
            200..=299 => return Self { outcome: Outcome::Taken, trouble: None },
            401 | 403 | 407 => (Outcome::Untaken, TroubleKind::Credentials),
            ..200 | 300..=399 | 404 | 405 | 410 => (Outcome::Untaken, TroubleKind::Misdirected),
            408 | 425 | 429 => (Outcome::Untaken, TroubleKind::Busy),
            400..=499 => (Outcome::Refused(Cause::Refused), TroubleKind::Refused),
            // A proxy may say so after its server has taken it.
            500.. => (Outcome::Unknown, TroubleKind::Failing),
        };
        let mut verdict = Self::trouble(outcome, kind, format!("the answer has status {status}"));
        if let Some(trouble) = &mut verdict.trouble {
            trouble.retry_after = answer.retry_after;
        }
        verdict
    }

    pub(super) fn trouble(outcome: Outcome, kind: TroubleKind, words: String) -> Self {
        Self { outcome, trouble: Some(Trouble { kind, words, retry_after: None }) }
    }

    /// For a call with several items: the one that is refused is found by sending fewer.
    pub(super) fn for_batch(self, items: usize) -> Sent {
        match self.outcome {
            Outcome::Refused(_) if items > 1 => Sent::all(Outcome::Split, items, None),
            outcome => Sent::all(outcome, items, self.trouble),
        }
    }
}

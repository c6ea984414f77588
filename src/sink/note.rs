//! What a delivery has to know after a restart: the note beside its place in the outbox.
//!
//! It stands in the store, as JSON that people can read. Read and written by [`super::delivery`] alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::meter::OutboxError;
use crate::time::Timestamp;

/// The claim, and the mark of the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    /// The claim goes up to here; none: nothing is claimed.
    pub(super) until: Option<u64>,
    /// Since when something of the claim may have been sent without a known outcome.
    pub(super) since: Option<i64>,
    /// What of the claim is delivered or set aside, out of order.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) settled: BTreeSet<u64>,
    /// What of the claim was certainly never taken, although `since` says something.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) clear: BTreeSet<u64>,
    /// What was claimed before the claim became smaller, and may have been sent: up to where, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) earlier: Option<(u64, i64)>,
    /// What the sink asked to keep.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) mark: String,
}

impl Note {
    /// An empty text is an empty note. One of a newer program may be more than we understand, and is refused.
    pub(super) fn read(text: &str) -> Result<Self, OutboxError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|error| OutboxError(error.into()))
    }

    pub(super) fn write(&self) -> Result<String, OutboxError> {
        serde_json::to_string(self).map_err(|error| OutboxError(error.into()))
    }

    /// Makes a claim up to `until`, or the same once more: from now on, all of it may have been sent.
    pub(super) fn claim(&mut self, first: u64, until: u64, now: Timestamp) {
        self.since = self.doubt(first).or(Some(now.as_unix_ms()));
        self.until = Some(until);
        self.clear.clear();
    }

    /// Since when something from here on may have been sent without a known outcome.
    pub(super) fn doubt(&self, first: u64) -> Option<i64> {
        self.since.or_else(|| self.earlier.filter(|(end, _)| first <= *end).map(|(_, since)| since))
    }

    /// Ends the claim: everything up to there is settled.
    pub(super) fn close(&mut self) {
        let done = self.until.take();
        self.since = None;
        self.settled.clear();
        self.clear.clear();
        self.earlier = self.earlier.filter(|(end, _)| done.is_none_or(|done| *end > done));
    }

    /// Makes the claim smaller. What is no longer in it may have been sent all the same.
    pub(super) fn shrink(&mut self, until: u64) {
        if let (Some(end), Some(since)) = (self.until, self.since) {
            self.earlier = self.earlier.or(Some((end, since)));
        }
        self.until = Some(until);
        self.clear.retain(|seq| *seq <= until);
    }

    /// Forgets what is behind the place that everything is settled up to.
    pub(super) fn forget(&mut self, acknowledged: u64) {
        self.settled.retain(|seq| *seq > acknowledged);
        self.clear.retain(|seq| *seq > acknowledged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_a_strange_one_refused() {
        let mut note = Note { mark: "a:1".into(), ..Note::default() };
        note.claim(3, 9, Timestamp::from_unix_ms(5));
        note.settled.insert(4);
        assert_eq!(Note::read(&note.write().unwrap()).unwrap(), note);
        assert_eq!(Note::read("").unwrap(), Note::default());
        assert!(Note::read("[").is_err());
    }

    #[test]
    fn what_falls_out_of_a_claim_stays_in_doubt() {
        let mut note = Note::default();
        note.claim(1, 9, Timestamp::from_unix_ms(5));
        note.shrink(4);
        note.close();
        note.claim(5, 9, Timestamp::from_unix_ms(70));
        assert_eq!((note.until, note.since), (Some(9), Some(5)));
        note.close();
        note.claim(10, 12, Timestamp::from_unix_ms(80));
        assert_eq!(note.since, Some(80));
    }
}

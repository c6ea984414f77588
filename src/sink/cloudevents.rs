//! CloudEvents 1.0 over HTTP, in batches (the JSON batch format): what OpenMeter, Konnect and others take.
//!
//! The `id` of an event is the id of its bucket, so that a receiver that looks at `source` and `id` counts it once.

use serde::Serialize;

use super::client::Client;
use super::options::{Credential, HttpOptions, Select, Subject};
use super::row::{Row, json, time};
use super::verdict::Verdict;
use super::{Guarantee, Outcome, Sent, Sink};
use crate::meter::Bucket;
use crate::time::Timestamp;

/// Posts batches of CloudEvents.
pub(super) struct CloudEvents {
    client: Client,
    options: HttpOptions,
}

/// Section 2 of the CloudEvents specification.
#[derive(Serialize)]
struct Event<'b> {
    specversion: &'static str,
    id: String,
    source: &'b str,
    r#type: &'b str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'b str>,
    time: String,
    datacontenttype: &'static str,
    data: Row<'b>,
}

impl CloudEvents {
    pub(super) fn new(options: HttpOptions) -> Self {
        Self { client: Client::new(&options.connection), options }
    }

    fn subject<'b>(&self, bucket: &'b Bucket) -> Option<&'b str> {
        match self.options.subject {
            Subject::Owner => bucket.owner.as_ref().map(|owner| owner.as_str()),
            Subject::Key => bucket.key.as_ref().map(|key| key.as_str()),
        }
    }

    fn is_wanted(&self, bucket: &Bucket) -> bool {
        match self.options.select {
            Select::All => true,
            Select::Billed => bucket.amount.units > 0 && self.subject(bucket).is_some(),
        }
    }

    fn event<'b>(&'b self, bucket: &'b Bucket) -> Event<'b> {
        Event {
            specversion: "1.0",
            id: bucket.id.to_string(),
            source: &self.options.source,
            r#type: &self.options.kind,
            subject: self.subject(bucket),
            time: time(bucket.minute.start()),
            datacontenttype: "application/json",
            data: Row::of(bucket),
        }
    }
}

impl Sink<Bucket> for CloudEvents {
    fn guarantee(&self) -> Guarantee {
        match self.options.duplicate_window {
            Some(window) => Guarantee::RemovesDuplicates { window: window - window / 24 },
            None => Guarantee::AtLeastOnce,
        }
    }

    fn send(&mut self, items: &[Bucket], _: &str, _: Timestamp) -> Sent {
        let wanted: Vec<&Bucket> = items.iter().filter(|bucket| self.is_wanted(bucket)).collect();
        if wanted.is_empty() {
            return Sent::all(Outcome::PassedOver, items.len(), None);
        }
        let events: Vec<Event<'_>> = wanted.iter().map(|bucket| self.event(bucket)).collect();
        let authorization = self.options.token.as_ref().map(bearer);
        let mut fields: Vec<(&str, &[u8])> = vec![("content-type", b"application/cloudevents-batch+json")];
        fields.extend(authorization.as_ref().map(|value| ("authorization", value.as_slice())));
        let sent = Verdict::of(&self.client.post(&fields, &json(&events))).for_batch(wanted.len());
        sent.among(items, |bucket| self.is_wanted(bucket))
    }
}

impl Sent {
    /// The outcomes of the wanted ones, put back among those that were passed over.
    pub(super) fn among<T>(self, items: &[T], is_wanted: impl Fn(&T) -> bool) -> Self {
        // A batch that is too large is cut as a whole.
        if self.outcomes.contains(&Outcome::Split) {
            return Self::all(Outcome::Split, items.len(), self.trouble);
        }
        let mut wanted = self.outcomes.into_iter();
        let outcome =
            |item| if is_wanted(item) { wanted.next().unwrap_or(Outcome::Untaken) } else { Outcome::PassedOver };
        Self { outcomes: items.iter().map(outcome).collect(), ..self }
    }
}

/// The value of `Authorization`.
pub(super) fn bearer(token: &Credential) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new([b"Bearer ".as_slice(), token.expose()].concat())
}

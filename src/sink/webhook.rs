//! Signed messages, after the Standard Webhooks specification: usage in batches, events one by one.
//!
//! `webhook-id` and the body are the same at every sending; `webhook-timestamp` says when this one is sent, so that receivers
//! can refuse what was recorded and is played again. The signature is HMAC-SHA-256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use super::client::Client;
use super::options::{Select, WebhookOptions};
use super::row::{Row, json, time};
use super::verdict::Verdict;
use super::{Guarantee, Outcome, Sent, Sink};
use crate::meter::{Bucket, Event};
use crate::time::{self as clock, Timestamp};

/// Posts signed messages.
pub(super) struct Webhook {
    client: Client,
    options: WebhookOptions,
}

#[derive(Serialize)]
struct Message<'m, D> {
    r#type: &'m str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct Usage<'b> {
    buckets: Vec<Row<'b>>,
}

#[derive(Serialize)]
struct Happened<'e> {
    id: &'e str,
    subject: &'e str,
    details: &'e Value,
}

impl Webhook {
    pub(super) fn new(options: WebhookOptions) -> Self {
        Self { client: Client::new(&options.connection), options }
    }

    fn post(&self, id: &str, body: &[u8], now: Timestamp) -> Verdict {
        let timestamp = now.as_unix_s().to_string();
        let signed: Vec<String> =
            self.options.secrets.iter().map(|secret| signature(secret.expose(), id, &timestamp, body)).collect();
        let fields: [(&str, &[u8]); 4] = [
            ("content-type", b"application/json"),
            ("webhook-id", id.as_bytes()),
            ("webhook-timestamp", timestamp.as_bytes()),
            ("webhook-signature", &signed.join(" ").into_bytes()),
        ];
        Verdict::of(&self.client.post(&fields, body))
    }

    fn is_wanted(&self, bucket: &Bucket) -> bool {
        match self.options.select {
            Select::All => true,
            Select::Billed => bucket.amount.units > 0 && bucket.owner.is_some(),
        }
    }
}

impl Sink<Bucket> for Webhook {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn send(&mut self, items: &[Bucket], _: &str, now: Timestamp) -> Sent {
        let wanted: Vec<&Bucket> = items.iter().filter(|bucket| self.is_wanted(bucket)).collect();
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Sent::all(Outcome::PassedOver, items.len(), None);
        };
        let buckets = wanted.iter().map(|bucket| Row::of(bucket)).collect();
        let timestamp = time(last.minute.start());
        let body = json(&Message { r#type: "usage.recorded", timestamp, data: Usage { buckets } });
        let id = format!("usage_{}_{}", first.id, last.id);
        self.post(&id, &body, now).for_batch(wanted.len()).among(items, |bucket| self.is_wanted(bucket))
    }
}

impl Sink<Event> for Webhook {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn send(&mut self, items: &[Event], _: &str, now: Timestamp) -> Sent {
        let mut sent = Sent::all(Outcome::Untaken, items.len(), None);
        // Whoever stops the sink does not wait for all of a long batch.
        let deadline = clock::now().after(self.options.connection.timeout);
        for (event, outcome) in items.iter().zip(&mut sent.outcomes) {
            let data = Happened { id: &event.id, subject: &event.subject, details: &event.data };
            let body = json(&Message { r#type: &event.kind, timestamp: time(event.at), data });
            let verdict = self.post(&event.id, &body, now);
            *outcome = verdict.outcome;
            sent.trouble = verdict.trouble;
            if matches!(outcome, Outcome::Untaken | Outcome::Unknown) || clock::now() > deadline {
                break;
            }
        }
        sent
    }
}

/// The first version: `v1,` and base64.
fn signature(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}

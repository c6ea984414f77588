//! Stripe's meter events: one call for each bucket that is billed.
//!
//! The `identifier` of an event is the id of its bucket; Stripe recognises it again for at least 24 hours, and says 400 to the
//! second one, which is a delivery. No `Idempotency-Key` is sent: under it Stripe would repeat a 500 for a day. Calls for one
//! customer follow each other; Stripe allows one at a time. Values are whole numbers, timestamps at most 35 days old.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::client::{Answer, Client, Reply};
use super::cloudevents::bearer;
use super::options::{Measure, StripeOptions};
use super::verdict::Verdict;
use super::{Guarantee, Outcome, Sent, Sink, Trouble, TroubleKind};
use crate::meter::{Bucket, Cause};
use crate::time::{self, Instant, Timestamp};

/// Posts meter events.
pub(super) struct Stripe {
    client: Client,
    options: StripeOptions,
}

/// An event that is to be sent: its place in the batch, and what is posted.
struct Call {
    place: usize,
    body: String,
}

/// What several threads work on: the customers that nobody has taken yet, and what came of the others.
struct Work {
    customers: Mutex<Vec<Vec<Call>>>,
    results: Mutex<(Vec<Outcome>, Option<Trouble>)>,
    is_over: AtomicBool,
    /// No call begins later: whoever stops the sink does not wait for all of a long batch.
    deadline: Instant,
}

impl Stripe {
    pub(super) fn new(options: StripeOptions) -> Self {
        Self { client: Client::new(&options.connection), options }
    }

    fn value(&self, bucket: &Bucket) -> u64 {
        match self.options.value {
            Measure::Units => bucket.amount.units,
            Measure::Requests => bucket.amount.requests,
            Measure::BytesIn => bucket.amount.bytes_in,
            Measure::BytesOut => bucket.amount.bytes_out,
        }
    }

    /// The customer and what is posted; or what becomes of it without a call.
    fn event(&self, bucket: &Bucket, now: Timestamp) -> Result<(String, String), Outcome> {
        let value = self.value(bucket);
        let Some(owner) = bucket.owner.as_ref().filter(|_| value > 0) else { return Err(Outcome::PassedOver) };
        let start_s = bucket.minute.start().as_unix_s();
        if now.as_unix_s() - start_s > OLDEST_S {
            return Err(Outcome::Refused(Cause::Unfit));
        }
        let customer = match self.options.customers.get(owner) {
            Some(customer) => customer.as_str(),
            None if owner.as_str().starts_with("cus_") => owner.as_str(),
            None => return Err(Outcome::Refused(Cause::Unfit)),
        };
        let StripeOptions { meter, customer_field, value_field, .. } = &self.options;
        let fields = [
            ("event_name".to_owned(), meter.clone()),
            ("identifier".to_owned(), bucket.id.to_string()),
            (format!("payload[{customer_field}]"), customer.to_owned()),
            (format!("payload[{value_field}]"), value.to_string()),
            ("timestamp".to_owned(), start_s.to_string()),
        ];
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect();
        Ok((customer.to_owned(), body.join("&")))
    }

    /// Takes one customer after the other, until there is none left or something stands against going on.
    fn work(&self, work: &Work) {
        let next = || work.customers.lock().expect("no thread panics with it").pop();
        while let Some(calls) = next() {
            for call in calls {
                if work.is_over.load(Ordering::Relaxed) || time::now() > work.deadline {
                    return;
                }
                let Verdict { outcome, trouble } = self.call(&call.body);
                let is_settled = matches!(outcome, Outcome::Taken | Outcome::Refused(_));
                let mut results = work.results.lock().expect("no thread panics with it");
                results.0[call.place] = outcome;
                // What is refused stands against nothing else, so it does not hide what does.
                if trouble.is_some() && (!is_settled || results.1.is_none()) {
                    results.1 = trouble;
                }
                if !is_settled {
                    work.is_over.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn call(&self, body: &str) -> Verdict {
        let authorization = bearer(&self.options.key);
        let fields: [(&str, &[u8]); 2] =
            [("content-type", b"application/x-www-form-urlencoded"), ("authorization", &authorization)];
        verdict(&self.client.post(&fields, body.as_bytes()))
    }
}

impl Sink<Bucket> for Stripe {
    fn guarantee(&self) -> Guarantee {
        Guarantee::RemovesDuplicates { window: WINDOW }
    }

    fn send(&mut self, items: &[Bucket], _: &str, now: Timestamp) -> Sent {
        let mut outcomes = vec![Outcome::Untaken; items.len()];
        let mut customers: Vec<Vec<Call>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, bucket) in items.iter().enumerate() {
            match self.event(bucket, now) {
                Ok((customer, body)) => {
                    let index = *places.entry(customer).or_insert(customers.len());
                    customers.resize_with(customers.len().max(index + 1), Vec::new);
                    customers[index].push(Call { place, body });
                }
                Err(outcome) => outcomes[place] = outcome,
            }
        }
        // The last one is taken first.
        customers.reverse();
        let threads = self.options.calls.min(customers.len());
        let (customers, results) = (Mutex::new(customers), Mutex::new((outcomes, None)));
        let deadline = time::now().after(self.options.connection.timeout);
        let work = Work { customers, results, is_over: AtomicBool::new(false), deadline };
        match threads {
            0 | 1 => self.work(&work),
            threads => thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(|| self.work(&work))))),
        }
        let (outcomes, trouble) = work.results.into_inner().expect("no thread panics with it");
        Sent { outcomes, mark: None, trouble }
    }
}

/// As Stripe's answers are meant, where that is not as everywhere else.
fn verdict(reply: &Reply) -> Verdict {
    let Reply::Answer(answer) = reply else { return Verdict::of(reply) };
    match (answer.status, &answer.body) {
        (400, None) => Verdict::trouble(Outcome::Unknown, TroubleKind::NoAnswer, "half an answer came".to_owned()),
        (400, Some(body)) if is_duplicate(body) => Verdict { outcome: Outcome::Taken, trouble: None },
        // Another call for the customer holds a lock.
        (409, _) => {
            let mut verdict = Verdict::of(reply);
            verdict.outcome = Outcome::Untaken;
            if let Some(trouble) = &mut verdict.trouble {
                trouble.kind = TroubleKind::Busy;
            }
            verdict
        }
        _ => with_code(Verdict::of(reply), answer),
    }
}

/// Whether an error says that the identifier is known.
fn is_duplicate(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = |name| error["error"][name].as_str().unwrap_or_default();
    text("code") == "duplicate_meter_event" || text("message").contains("already exists with identifier")
}

/// Adds Stripe's code of an error to the words. Its message is left out: it may repeat what was sent.
fn with_code(mut verdict: Verdict, answer: &Answer) -> Verdict {
    let body = answer.body.as_deref().unwrap_or_default();
    let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let code = error["error"]["code"].as_str().or_else(|| error["error"]["type"].as_str());
    let is_plain = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let (Some(trouble), Some(code)) = (&mut verdict.trouble, code.filter(is_plain)) {
        trouble.words = format!("{}: {code}", trouble.words);
    }
    verdict
}

/// `application/x-www-form-urlencoded`.
fn form(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// Stripe says at least 24 hours. An hour is to spare for the call itself and for two clocks.
const WINDOW: Duration = Duration::from_secs(23 * 60 * 60);
/// Stripe says 35 calendar days.
const OLDEST_S: i64 = 34 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_fields_are_encoded() {
        assert_eq!(form("payload[stripe_customer_id]"), "payload%5Bstripe_customer_id%5D");
        assert_eq!(form("a b&c=ü"), "a+b%26c%3D%C3%BC");
    }

    #[test]
    fn a_known_identifier_is_a_delivery_and_other_errors_are_not() {
        let check = |status, body: Option<&str>, outcome| {
            let body = body.map(|body| body.as_bytes().to_vec());
            let reply = Reply::Answer(Answer { status, retry_after: None, body });
            assert_eq!(verdict(&reply).outcome, outcome, "{status}");
        };
        check(400, Some(r#"{"error":{"message":"An event already exists with identifier 00ff."}}"#), Outcome::Taken);
        check(400, Some(r#"{"error":{"code":"duplicate_meter_event"}}"#), Outcome::Taken);
        check(400, Some(r#"{"error":{"code":"archived_meter"}}"#), Outcome::Refused(Cause::Refused));
        check(400, None, Outcome::Unknown);
        check(409, Some(r#"{"error":{"code":"lock_timeout"}}"#), Outcome::Untaken);
        check(500, None, Outcome::Unknown);
    }
}

//! Options of sinks, as most tests want them.

use std::collections::BTreeMap;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::sink::{
    Carries, Connection, Credential, Endpoint, HttpOptions, Measure, Select, StripeOptions, Subject, WebhookOptions,
};

/// Generous, because the machine is shared.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const SIGNING: &[u8] = b"0123456789abcdef0123456789abcdef";

fn connection(endpoint: Endpoint) -> Connection {
    Connection { endpoint, timeout: TIMEOUT, roots: None }
}

fn credential(text: &[u8]) -> Credential {
    Credential::bearer(Zeroizing::new(text.to_vec())).unwrap()
}

pub(super) fn http_options(endpoint: Endpoint) -> HttpOptions {
    HttpOptions {
        connection: connection(endpoint),
        token: Some(credential(b"s3cret")),
        source: "keygate/eu".into(),
        kind: "request".into(),
        subject: Subject::Owner,
        select: Select::Billed,
        duplicate_window: Some(Duration::from_secs(30 * 86_400)),
    }
}

pub(super) fn stripe_options(endpoint: Endpoint) -> StripeOptions {
    StripeOptions {
        connection: connection(endpoint),
        key: credential(b"sk_s3cret"),
        meter: "api_requests".into(),
        value: Measure::Units,
        customer_field: "stripe_customer_id".into(),
        value_field: "value".into(),
        customers: BTreeMap::from([("acme".parse().unwrap(), "cus_A".to_owned())]),
        calls: 4,
    }
}

pub(super) fn webhook_options(endpoint: Endpoint) -> WebhookOptions {
    let secret = Credential::signing(Zeroizing::new(SIGNING.to_vec())).unwrap();
    WebhookOptions {
        connection: connection(endpoint),
        secrets: vec![secret],
        select: Select::All,
        carries: Carries::Both,
    }
}

//! Candidates: keys as a file of another gateway describes them, checked as far as this side can.
//!
//! Made by the parsers, sent by `keygate keys import`. Neither `Debug` nor an error shows the secret.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::rows::reveals;
use crate::key::{Extra, Hasher, KeyId, Name, Scope, Secret, StoredDigest};
use crate::time::Timestamp;

/// A key to be made.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The id it shall have; none lets the gateway choose.
    pub(crate) id: Option<KeyId>,
    /// What it is called.
    pub(crate) name: String,
    /// Whom it belongs to.
    pub(crate) owner: Option<Name>,
    /// The plan it is on; none means the default plan.
    pub(crate) plan: Option<Name>,
    /// What it may ask for.
    pub(crate) scopes: Vec<Scope>,
    /// The networks it works from; empty means any.
    pub(crate) networks: Vec<IpNet>,
    /// Not valid from this time on.
    pub(crate) expires: Option<Timestamp>,
    /// What it may use up beyond its plan's quotas.
    pub(crate) extra: Extra,
    /// Refused until it is enabled.
    pub(crate) disabled: bool,
    /// What it is found by.
    pub(crate) material: Material,
}

/// What a key is found by.
#[derive(Clone, Debug)]
pub(crate) enum Material {
    /// The secret in clear, for the gateway to hash.
    Secret(Secret),
    /// A digest made elsewhere.
    Digest(StoredDigest),
}

impl Candidate {
    /// A key with nothing but what every key has.
    pub(super) fn new(name: &str, owner: Option<Name>, material: Material) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            owner,
            plan: None,
            scopes: Vec::new(),
            networks: Vec::new(),
            expires: None,
            extra: Extra::default(),
            disabled: false,
            material,
        }
    }

    /// The element of `keys` in the body of `POST /v1/keys:batch`. The only place that gives the secret away.
    pub(crate) fn to_batch(&self) -> Value {
        let mut body = json!({ "name": self.name });
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[field] = value;
            }
        };
        set("id", self.id.as_ref().map(|id| json!(id.as_str())));
        set("owner", self.owner.as_ref().map(|owner| json!(owner.as_str())));
        set("plan", self.plan.as_ref().map(|plan| json!(plan.as_str())));
        set("scopes", texts(&self.scopes));
        set("networks", texts(&self.networks));
        set("expires", self.expires.and_then(rfc3339).map(Value::from));
        let Extra { day, month } = self.extra;
        set("extra_allowance", (self.extra != Extra::default()).then(|| json!({"day": day, "month": month})));
        set("disabled", self.disabled.then_some(json!(true)));
        match &self.material {
            Material::Secret(secret) => set("secret", Some(json!(secret.expose()))),
            Material::Digest(digest) => set("digest", Some(json!(digest.to_string()))),
        }
        body
    }

    /// Whether a text repeats the secret.
    pub(super) fn is_revealed_by(&self, text: &str) -> bool {
        match &self.material {
            Material::Secret(secret) => reveals(text, secret.expose()),
            Material::Digest(_) => false,
        }
    }
}

impl Material {
    /// What two rows with the same secret have in common.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let digest = match self {
            Self::Digest(stored) => stored.digest,
            Self::Secret(secret) => {
                let plain = Hasher::default().stored(secret.expose().as_bytes(), None);
                plain.expect("a plain digest needs no pepper").digest
            }
        };
        *digest.as_bytes()
    }
}

fn texts<T: ToString>(items: &[T]) -> Option<Value> {
    let texts = || items.iter().map(|item| Value::from(item.to_string())).collect();
    (!items.is_empty()).then(texts)
}

fn rfc3339(at: Timestamp) -> Option<String> {
    jiff::Timestamp::from_millisecond(at.as_unix_ms()).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_becomes_what_the_contract_asks_for() {
        let material = Material::Secret("s3cret".parse().unwrap());
        let mut candidate = Candidate::new("Acme", None, material);
        assert_eq!(candidate.to_batch(), json!({"name": "Acme", "secret": "s3cret"}));
        candidate.id = "key_1".parse().ok();
        candidate.owner = "acme".parse().ok();
        candidate.plan = "free".parse().ok();
        candidate.scopes = vec!["a:b".parse().unwrap()];
        candidate.networks = vec!["10.0.0.0/8".parse().unwrap()];
        candidate.expires = Some(Timestamp::from_unix_ms(1_798_761_600_000));
        candidate.extra = Extra { day: 5, month: 0 };
        candidate.disabled = true;
        let digest = format!("hmac-sha256:p1:{}", "0a".repeat(32));
        candidate.material = Material::Digest(digest.parse().unwrap());
        let expected = json!({
            "id": "key_1", "name": "Acme", "owner": "acme", "plan": "free", "scopes": ["a:b"], "networks": ["10.0.0.0/8"],
            "expires": "2027-01-01T00:00:00Z", "extra_allowance": {"day": 5, "month": 0}, "disabled": true,
            "digest": digest,
        });
        assert_eq!(candidate.to_batch(), expected);
    }

    #[test]
    fn a_secret_and_its_digest_have_one_fingerprint() {
        let secret = Material::Secret("s3cret".parse().unwrap());
        let stored = Hasher::default().stored(b"s3cret", None).unwrap();
        assert_eq!(secret.fingerprint(), Material::Digest(stored).fingerprint());
    }
}

//! Keys: records and digests, each digest once.
//!
//! 100,000 of them are a normal case: everything here is linear. Called by [`super::settings`], last, because keys refer
//! to plans and peppers.

use std::collections::{BTreeSet, HashMap, HashSet};

use zeroize::Zeroizing;

use super::Outside;
use super::sections::Names;
use crate::catalog::FileKey;
use crate::config::fields::{EXTRA, KEY};
use crate::config::node::{Entry, Node, Value};
use crate::config::problem::{Mark, Problems, named, shown};
use crate::config::reader::Reader;
use crate::config::scalar;
use crate::config::suggest::nearest;
use crate::key::{
    Digest, Extra, Form, Hasher, Key, KeyId, STRENGTH_WITHOUT_PEPPER_BITS, State, StoredDigest, estimated_strength_bits,
};
use crate::time::Timestamp;

/// What holds for all keys.
pub(super) struct Common {
    brand: String,
    form: Form,
    /// None: a pepper is missing, which has been noted; then nothing is said about digests that need one.
    hasher: Option<Hasher>,
    revoked: BTreeSet<KeyId>,
}

impl Common {
    pub(super) fn read(root: Reader<'_>, hasher: Option<Hasher>, revoked: &[&Node<'_>]) -> Self {
        let brand = root.text("brand").unwrap_or_default().to_owned();
        Self {
            form: Form::new(&brand).unwrap_or_default(),
            brand,
            hasher,
            revoked: revoked.iter().filter_map(|node| node.text()?.parse().ok()).collect(),
        }
    }

    /// Whether the secret has the printed form with our brand, given that its checksum holds.
    fn is_our_own(&self, secret: &[u8]) -> bool {
        secret.strip_prefix(self.brand.as_bytes()).is_some_and(|rest| rest.starts_with(b"_"))
    }
}

/// Makes the keys, and knows which digests are taken.
pub(super) struct Builder<'a, 'n, 'o> {
    pub(super) common: &'a Common,
    pub(super) plans: &'a mut Names<'n>,
    pub(super) outside: &'a mut Outside<'o>,
    pub(super) problems: &'a mut Problems,
    /// By all 32 bytes: the hash of [`Digest`] is for digests of secrets, and a file can hold any.
    pub(super) taken: HashMap<[u8; 32], Mark>,
}

impl Builder<'_, '_, '_> {
    pub(super) fn build(mut self, entries: &[&Entry<'_>]) -> Vec<FileKey> {
        let mut keys: Vec<FileKey> = entries.iter().filter_map(|entry| self.key(entry)).collect();
        let here: HashSet<&str> = entries.iter().map(|entry| &*entry.name).collect();
        let elsewhere = self.common.revoked.iter().filter(|id| !here.contains(id.as_str()));
        keys.extend(elsewhere.map(|id| revoked_elsewhere(id.clone())));
        keys
    }

    fn key(&mut self, entry: &Entry<'_>) -> Option<FileKey> {
        let reader = Reader::new(&entry.node, entry.at, KEY);
        if let Some(plan) = reader.text("plan")
            && !self.plans.knows(plan)
        {
            self.plans.resolve(plan, reader.at("plan"), &named(&["keys", &entry.name]), self.problems);
        }
        let lifetime = self.lifetime(entry, reader);
        let digest = self.digest(entry, reader)?;
        let (not_before, expires) = lifetime?;
        let id: KeyId = entry.name.parse().ok()?;
        let state = match reader.switch("disabled")? {
            _ if self.common.revoked.contains(&id) => State::Revoked,
            true => State::Disabled,
            false => State::Active,
        };
        let mut scopes = reader.list("scopes")?;
        scopes.sort_unstable();
        scopes.dedup();
        let networks = reader.texts("networks").into_iter().map(|(text, _)| scalar::network(text).ok());
        let key = Key {
            name: reader.text("name").unwrap_or(&entry.name).to_owned(),
            owner: reader.parsed("owner"),
            plan: reader.parsed("plan"),
            scopes,
            networks: networks.collect::<Option<Vec<_>>>()?,
            not_before,
            expires,
            state,
            extra: extra(reader)?,
            id,
        };
        Some(FileKey { key, digests: vec![digest] })
    }

    fn lifetime(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
        let time = |field| reader.text(field).and_then(|text| scalar::timestamp(text).ok());
        let (not_before, expires) = (time("not_before"), time("expires"));
        if let (Some(begin), Some(end)) = (not_before, expires)
            && begin >= end
        {
            let message = format!("{} expires before it becomes valid", named(&["keys", &entry.name]));
            self.problems.conflict(
                reader.at("expires"),
                reader.at("not_before"),
                message,
                "put `expires` after `not_before`",
            );
            return None;
        }
        Some((not_before, expires))
    }

    /// The digest under which the key is found; each digest belongs to one key.
    fn digest(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<Digest> {
        match (reader.node("digest"), reader.node("secret")) {
            (Some(node), None) => self.stored_digest(entry, node),
            (None, Some(node)) => self.digest_of_secret(entry, node),
            (Some(digest), Some(secret)) => {
                let message = format!("{} has both `digest` and `secret`", named(&["keys", &entry.name]));
                self.problems.conflict(secret.at, digest.at, message, "keep `digest` and take `secret` out");
                None
            }
            (None, None) if is_misspelt(entry) => None,
            (None, None) => {
                let message = format!(
                    "{} has neither `digest` nor `secret`: nothing could authenticate as it",
                    named(&["keys", &entry.name])
                );
                self.problems.error(
                    entry.at,
                    message,
                    "add `digest:`; `keygate keys create --offline` prints a whole entry",
                );
                None
            }
        }
    }

    fn stored_digest(&mut self, entry: &Entry<'_>, node: &Node<'_>) -> Option<Digest> {
        let stored: StoredDigest = match &node.value {
            Value::Map(_) => self.digest_elsewhere(entry, node)?,
            _ => node.text()?.parse().ok()?,
        };
        if let Some(pepper) = &stored.pepper
            && let Some(hasher) = &self.common.hasher
            && !hasher.pepper_ids().any(|known| known == pepper)
        {
            let message =
                format!("the digest of {} needs the pepper {}", named(&["keys", &entry.name]), shown(pepper.as_str()));
            self.problems.error(
                node.at,
                message,
                format!("add it under `hashing.peppers:`, as in `{pepper}: ./data/pepper.{pepper}`"),
            );
            return None;
        }
        self.claim(stored.digest, entry, node.at)?;
        Some(stored.digest)
    }

    fn digest_elsewhere(&mut self, entry: &Entry<'_>, node: &Node<'_>) -> Option<StoredDigest> {
        let who = named(&["keys", &entry.name, "digest"]);
        let bytes = self.outside.value(node, &who, self.problems)?;
        let digest = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        if digest.is_none() {
            let remedy = "write sha256: or hmac-sha256:PEPPER: and 64 hexadecimal digits there";
            self.problems.error(node.at, format!("what {who} refers to is not a digest"), remedy);
        }
        digest
    }

    fn digest_of_secret(&mut self, entry: &Entry<'_>, node: &Node<'_>) -> Option<Digest> {
        let who = named(&["keys", &entry.name, "secret"]);
        let secret = match &node.value {
            Value::Map(_) => self.outside.value(node, &who, self.problems)?,
            _ => Zeroizing::new(node.text()?.as_bytes().to_vec()),
        };
        if matches!(node.value, Value::Plain(_) | Value::Quoted(_)) {
            let remedy = "put its `digest:` here instead, which `keygate keys hash -` prints";
            self.problems.warn(node.at, format!("{who} stands in the file in clear"), remedy);
        }
        self.check_secret(&secret, node.at, &who)?;
        let hasher = self.common.hasher.as_ref()?;
        for digest in &hasher.digests(&secret) {
            self.claim(*digest, entry, node.at)?;
        }
        hasher.stored(&secret, hasher.newest_pepper()).map(|stored| stored.digest)
    }

    /// A secret that can be presented, and that cannot be guessed from its digest.
    fn check_secret(&mut self, secret: &[u8], at: Mark, who: &str) -> Option<()> {
        if self.common.form.check(secret).is_err() {
            let message =
                format!("{who} can never be presented: it is not visible ASCII, or has our brand but a wrong checksum");
            self.problems.error(
                at,
                message,
                "look for a slip of the fingers, or make a new one by `keygate keys create --offline`",
            );
            return None;
        }
        let peppered = self.common.hasher.as_ref().is_none_or(|hasher| hasher.pepper_ids().next().is_some());
        if !peppered
            && !self.common.is_our_own(secret)
            && estimated_strength_bits(secret) < STRENGTH_WITHOUT_PEPPER_BITS
        {
            let message = format!("{who} is too easy to guess for a plain digest");
            self.problems.error(
                at,
                message,
                "make a new one by `keygate keys create --offline`, or add a pepper under `hashing.peppers:`",
            );
            return None;
        }
        Some(())
    }

    fn claim(&mut self, digest: Digest, entry: &Entry<'_>, at: Mark) -> Option<()> {
        match self.taken.get(digest.as_bytes()) {
            None => {
                self.taken.insert(*digest.as_bytes(), at);
                Some(())
            }
            Some(other) => {
                let message = format!("{} has the same secret as another key", named(&["keys", &entry.name]));
                self.problems.conflict(at, *other, message, "give each key a secret of its own");
                None
            }
        }
    }
}

fn extra(key: Reader<'_>) -> Option<Extra> {
    let reader = key.object("extra_allowance", EXTRA);
    Some(Extra { day: reader.integer("day")?, month: reader.integer("month")? })
}

/// What the file says of a key that it does not have.
fn revoked_elsewhere(id: KeyId) -> FileKey {
    let key = Key {
        name: id.to_string(),
        id,
        owner: None,
        plan: None,
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Revoked,
        extra: Extra::default(),
    };
    FileKey { key, digests: Vec::new() }
}

/// Whether the key has its digest or secret under a mistyped name, or is no mapping: then the shape check has said so.
fn is_misspelt(entry: &Entry<'_>) -> bool {
    let close = |inner: &Entry<'_>| nearest(&inner.name, ["digest", "secret"]).is_some();
    !matches!(entry.node.value, Value::Map(_)) || entry.node.entries().iter().any(close)
}

//! The keys of the tests: the vectors of the key format, under names that are easy to follow.

use sha2::{Digest as _, Sha256};

/// A key as its holder and as the configuration know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestKey {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) digest: &'static str,
}

pub(crate) const ALICE: TestKey = TestKey {
    id: "key_alice",
    secret: "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm",
    digest: "sha256:7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd",
};

pub(crate) const BOB: TestKey = TestKey {
    id: "key_bob",
    secret: "kg_live_000000000000000000000000000000004eeaNr",
    digest: "sha256:f8cd82e5030497b56d9e101823b55b3515c2aa343a0070785495ba5650cee9c6",
};

pub(crate) const CAROL: TestKey = TestKey {
    id: "key_carol",
    secret: "kg_live_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz35FfYr",
    digest: "sha256:8d0c39dce621d980a72a164f9802e8792e7355d0bcac1c6a6bac5fa01d85a9e1",
};

pub(crate) const DAVE: TestKey = TestKey {
    id: "key_dave",
    secret: "kg_test_0123456789ABCDEFGHIJKLMNOPQRSTUV3Gorfl",
    digest: "sha256:1b0b8474eb53ff5899419013cced3acbf8efca6366e3be287aa60bbf9cd3191b",
};

pub(crate) const ACME: TestKey = TestKey {
    id: "key_acme",
    secret: "acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe",
    digest: "sha256:25f653a1c6aec6243a03f198348ef0a209711ca2deb4f31e955e6e2b8569ca74",
};

/// The secret with one letter of its body changed, so that its checksum no longer fits.
pub(crate) fn mistyped(secret: &str) -> String {
    let at = secret.len() - 10;
    let other = if &secret[at..=at] == "x" { "y" } else { "x" };
    format!("{}{other}{}", &secret[..at], &secret[at + 1..])
}

/// The digest of any secret, as a configuration file holds it.
pub(crate) fn digest_of(secret: &str) -> String {
    let hash = Sha256::digest(secret.as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

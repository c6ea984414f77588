//! Whether a change goes together with what is stored, and what the record is then. Both stores decide here.
//!
//! [`decide`] looks up what the decision needs through a [`View`]; the functions below it only compare.

use super::change::{ANSWER_KEPT_MS, Actor, Change, Commit, Expect, Idempotency, Replay};
use super::error::{Refusal, StoreError};
use super::record::{Record, Revision, StoredKey, StoredSecret, Token};
use crate::key::{Digest, KeyId, State, TokenId};
use crate::time::Timestamp;

/// What a decision sees of a store. Reads that wait for the writer see what it has done so far.
pub(super) trait View {
    /// The key with this id, and the revision of its last change.
    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError>;
    /// The id and the state of the key that has this digest.
    fn holder(&self, digest: &Digest) -> Result<Option<(KeyId, State)>, StoreError>;
    /// The token with this id, and the revision of its last change.
    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError>;
    /// The token that has this digest.
    fn token_holder(&self, digest: &Digest) -> Result<Option<TokenId>, StoreError>;
    /// The answer to somebody's request of this name, if it has not expired by now.
    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError>;
}

/// From which record to which.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) before: Option<Record>,
    pub(super) after: Record,
}

/// What the change makes of its record, or what is against it.
///
/// A token that the store knows asks for nothing once it has ended; one that it does not know is not judged here.
pub(super) fn decide(view: &impl View, commit: &Commit) -> Result<Result<Decided, Refusal>, StoreError> {
    let Commit { expect, origin, .. } = commit;
    if let Actor::Token(id) | Actor::Portal { by: Some(id), .. } = &origin.actor
        && let Some((_, token)) = view.token(id)?
        && !token.is_valid(origin.at)
    {
        return Ok(Err(Refusal::ActorRevoked));
    }
    if let Some(Idempotency { who, key, .. }) = &commit.idempotency
        && let Some(replay) = view.replay(who, key, origin.at)?
    {
        return Ok(Err(Refusal::Answered(Box::new(replay))));
    }
    Ok(match &commit.change {
        Change::PutKey(next) => {
            let digests = next.secrets.iter().map(|secret| &secret.digest.digest);
            let holders =
                digests.filter_map(|digest| view.holder(digest).transpose()).collect::<Result<Vec<_>, _>>()?;
            put_key(view.key(&next.key.id)?, &holders, next, *expect)
        }
        Change::RevokeKey(id) => revoke_key(view.key(id)?, origin.at, *expect),
        Change::PutToken(next) => put_token(view.token(&next.id)?, view.token_holder(&next.digest)?, next, *expect),
        Change::RevokeToken(id) => revoke_token(view.token(id)?, origin.at, *expect),
    })
}

fn put_key(
    stored: Option<(Revision, StoredKey)>,
    holders: &[(KeyId, State)],
    next: &StoredKey,
    expect: Expect,
) -> Result<Decided, Refusal> {
    if stored.as_ref().is_some_and(|(_, before)| before.key.state == State::Revoked) {
        return Err(Refusal::Revoked);
    }
    check(stored.as_ref().map(|(revision, _)| *revision), expect)?;
    check_digests(holders, next)?;
    let before = stored.map(|(_, before)| before);
    let mut after = next.clone();
    if let Some(before) = &before {
        keep_last_used(&before.secrets, &mut after.secrets);
        if after.key.state == State::Revoked {
            keep_digests(&before.secrets, &mut after.secrets);
        }
    }
    Ok(Decided { before: before.map(Record::Key), after: Record::Key(after) })
}

fn revoke_key(stored: Option<(Revision, StoredKey)>, now: Timestamp, expect: Expect) -> Result<Decided, Refusal> {
    let (revision, before) = stored.ok_or(Refusal::Missing)?;
    if before.key.state == State::Revoked {
        return Err(Refusal::Revoked);
    }
    check(Some(revision), expect)?;
    let mut after = StoredKey { changed: now, ..before.clone() };
    after.key.state = State::Revoked;
    Ok(Decided { before: Some(Record::Key(before)), after: Record::Key(after) })
}

fn put_token(
    stored: Option<(Revision, Token)>,
    holder: Option<TokenId>,
    next: &Token,
    expect: Expect,
) -> Result<Decided, Refusal> {
    if stored.as_ref().is_some_and(|(_, before)| before.revoked.is_some()) {
        return Err(Refusal::Revoked);
    }
    check(stored.as_ref().map(|(revision, _)| *revision), expect)?;
    if let Some(other) = holder.filter(|holder| *holder != next.id) {
        return Err(Refusal::TokenTaken(other));
    }
    let before = stored.map(|(_, before)| Record::Token(before));
    Ok(Decided { before, after: Record::Token(next.clone()) })
}

fn revoke_token(stored: Option<(Revision, Token)>, now: Timestamp, expect: Expect) -> Result<Decided, Refusal> {
    let (revision, before) = stored.ok_or(Refusal::Missing)?;
    if before.revoked.is_some() {
        return Err(Refusal::Revoked);
    }
    check(Some(revision), expect)?;
    let after = Token { revoked: Some(now), ..before.clone() };
    Ok(Decided { before: Some(Record::Token(before)), after: Record::Token(after) })
}

fn check(stored: Option<Revision>, expect: Expect) -> Result<(), Refusal> {
    match (expect, stored) {
        (Expect::Absent, Some(revision)) => Err(Refusal::Exists(revision)),
        (Expect::Revision(_), None) => Err(Refusal::Missing),
        (Expect::Revision(expected), Some(revision)) if expected != revision => Err(Refusal::Stale(revision)),
        (Expect::Anything | Expect::Absent | Expect::Revision(_), _) => Ok(()),
    }
}

/// A digest belongs to one key, and there to one secret.
fn check_digests(holders: &[(KeyId, State)], next: &StoredKey) -> Result<(), Refusal> {
    let id = &next.key.id;
    match holders.iter().find(|(holder, _)| holder != id) {
        Some((holder, State::Revoked)) => return Err(Refusal::DigestRevoked(holder.clone())),
        Some((holder, State::Active | State::Disabled)) => return Err(Refusal::DigestTaken(holder.clone())),
        None => {}
    }
    let twice = |place: usize| has_digest(&next.secrets[..place], next.secrets[place].digest.digest);
    if (0..next.secrets.len()).any(twice) { Err(Refusal::DigestTaken(id.clone())) } else { Ok(()) }
}

/// A use that was noted after the caller had read the record is not forgotten.
fn keep_last_used(before: &[StoredSecret], after: &mut [StoredSecret]) {
    for secret in after {
        let known = before.iter().find(|known| known.digest.digest == secret.digest.digest);
        secret.last_used = secret.last_used.max(known.and_then(|known| known.last_used));
    }
}

/// A tombstone keeps the digests that the key had.
fn keep_digests(before: &[StoredSecret], after: &mut Vec<StoredSecret>) {
    for known in before {
        if !has_digest(after, known.digest.digest) {
            after.push(known.clone());
        }
    }
}

fn has_digest(secrets: &[StoredSecret], digest: Digest) -> bool {
    secrets.iter().any(|secret| secret.digest.digest == digest)
}

/// When an answer that is given now is forgotten.
pub(super) fn answer_expires(now: Timestamp) -> Timestamp {
    Timestamp::from_unix_ms(now.as_unix_ms().saturating_add(ANSWER_KEPT_MS))
}

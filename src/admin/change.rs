//! Changes keys: edit, disable, enable, rotate, revoke.
//!
//! Each is read, changed and put back on the condition that nobody was faster; without a condition of the client it is tried
//! again. Keys of the file can only be revoked: the store then keeps a tombstone for them. Called by [`super::keys`].

use super::Api;
use super::auth::Caller;
use super::body::Condition;
use super::create::{DEFAULT_ENV, check_lifetime, extra, new_secret, repeated, stored_secret};
use super::idempotency::{Answered, Named, json};
use super::problem::{Code, Problem};
use super::sources::{Found, Shown};
use super::values::{self, Faults};
use super::wire::{KeyBody, KeySecret, Patch, Rotate};
use crate::catalog::{FileKey, Rules};
use crate::key::{Digest, Key, KeyId, State, StoredDigest};
use crate::store::{Action, Change, CommitError, Expect, Refusal, Revision, StoredKey, StoredSecret};
use crate::time::Timestamp;

/// A key after a request to change it, and the revision that is in force.
pub(super) struct Changed {
    pub(super) key: Shown,
    pub(super) revision: Revision,
}

/// Changes the fields that are named.
pub(super) fn patch(
    api: &Api,
    caller: &Caller,
    id: &str,
    asked: &Patch,
    condition: &Condition,
) -> Result<Changed, Problem> {
    // Whatever else a key has may have been narrowed by an operator, and who may change it may widen it.
    if caller.owner().is_some() && !asked.is_of_the_name_alone() {
        return Err(Problem::new(Code::Forbidden, "this token may change the name of a key, and nothing else of it"));
    }
    let rules = api.parts.follower.catalog().rules();
    edit(api, caller, id, condition, Action::KeyChange, |stored| {
        Ok(StoredKey { key: patched(&stored.key, asked, &rules, caller.now())?, ..stored.clone() })
    })
}

/// Disables or enables it; nothing changes if it is so already.
pub(super) fn switch(
    api: &Api,
    caller: &Caller,
    id: &str,
    to: State,
    action: Action,
    condition: &Condition,
) -> Result<Changed, Problem> {
    edit(api, caller, id, condition, action, |stored| {
        Ok(StoredKey { key: Key { state: to, ..stored.key.clone() }, ..stored.clone() })
    })
}

/// Gives it a new secret; the present one ends after the grace, one from an earlier rotation at once.
pub(super) fn rotate(
    api: &Api,
    caller: &Caller,
    id: &str,
    asked: &Rotate,
    condition: &Condition,
    named: Option<&Named>,
) -> Result<Answered, Problem> {
    let grace_end = grace_end(asked, caller.now())?;
    for _ in 0..MOST_TRIES {
        let found = api.found(caller, id)?;
        if let Some(answered) = named.map(|named| named.answered(api, caller)).transpose()?.flatten() {
            return Ok(answered);
        }
        let (revision, stored) = changeable(api, caller, &found)?;
        condition.check(Some(*revision))?;
        let rules = api.parts.follower.catalog().rules();
        let secret = new_secret(&rules, env_of(stored, &rules))?;
        let kept = api.kept(&stored.key.id, &secret, stored_secret(&rules, &secret, caller.now()))?;
        let next = rotated(stored, kept, grace_end, caller.now());
        let shown = |revision| KeyBody::from(&shown_as(api, caller, revision, next.clone()));
        let kept = named.map(|named| named.kept(caller, OK, shown(Revision(0))));
        let change = Change::PutKey(Box::new(next.clone()));
        match api.commit(caller, change, Expect::Revision(*revision), Action::KeyRotate, kept) {
            Ok(revision) => {
                let body = json(&KeySecret {
                    key: shown(revision),
                    secret: Some(secret.expose().to_owned()),
                    revision: revision.0,
                });
                return Ok(Answered { status: OK, body, id: id.to_owned(), revision, is_repeated: false });
            }
            Err(error) if may_try_again(&error, condition) => {}
            Err(error) => return repeated(error, named),
        }
    }
    Err(overtaken())
}

/// Revokes it for ever, also one of the file; nothing changes if it is so already.
pub(super) fn revoke(api: &Api, caller: &Caller, id: &str, condition: &Condition) -> Result<Changed, Problem> {
    let mut dead = Vec::new();
    for _ in 0..MOST_TRIES {
        let found = api.found(caller, id)?;
        let stored = found.stored.as_ref();
        if stored.is_some_and(|(_, stored)| stored.key.state == State::Revoked) {
            return Ok(unchanged(api, caller, &found));
        }
        condition.check(stored.map(|(revision, _)| *revision))?;
        let expect = match (stored, condition) {
            (Some((revision, _)), Condition::Revisions(_)) => Expect::Revision(*revision),
            _ => Expect::Anything,
        };
        let change = match &found.file {
            None => Change::RevokeKey(found.key().id.clone()),
            Some(file) => tombstone(file, &dead, caller.now()),
        };
        let outcome = api.commit(caller, change, expect, Action::KeyRevoke, None);
        match outcome {
            Ok(revision) => return Ok(Changed { key: api.show(&api.found(caller, id)?, caller.now()), revision }),
            // Somebody else has revoked it meanwhile: the next round sees that.
            Err(CommitError::Refused { refusal: Refusal::Revoked, .. }) => {}
            // What a revoked key has never works again, so the tombstone does not need it.
            Err(CommitError::Refused { refusal: Refusal::DigestRevoked(holder), .. }) => {
                dead.extend(digests_of(api, &holder)?);
            }
            Err(CommitError::Refused { refusal: Refusal::DigestTaken(holder), .. }) => return Err(shared(&holder)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(overtaken())
}

/// Reads a key, changes it, and puts it back unless it is as it was.
fn edit(
    api: &Api,
    caller: &Caller,
    id: &str,
    condition: &Condition,
    action: Action,
    next: impl Fn(&StoredKey) -> Result<StoredKey, Problem>,
) -> Result<Changed, Problem> {
    for _ in 0..MOST_TRIES {
        let found = api.found(caller, id)?;
        let (revision, stored) = changeable(api, caller, &found)?;
        let next = next(stored)?;
        // Last, after all that would be refused without a condition too (RFC 9110 section 13.2.1).
        condition.check(Some(*revision))?;
        if next == *stored {
            return Ok(unchanged(api, caller, &found));
        }
        let next = StoredKey { changed: caller.now(), ..next };
        let change = Change::PutKey(Box::new(next.clone()));
        match api.commit(caller, change, Expect::Revision(*revision), action, None) {
            Ok(revision) => return Ok(Changed { key: shown_as(api, caller, revision, next), revision }),
            Err(error) if may_try_again(&error, condition) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(overtaken())
}

/// The key of the store, if it may be changed.
fn changeable<'f>(api: &Api, caller: &Caller, found: &'f Found) -> Result<&'f (Revision, StoredKey), Problem> {
    let stored = found.editable()?;
    if api.show(found, caller.now()).key.state == State::Revoked {
        return Err(Refusal::Revoked.into());
    }
    Ok(stored)
}

fn patched(key: &Key, asked: &Patch, rules: &Rules, now: Timestamp) -> Result<Key, Problem> {
    let mut faults = Faults::default();
    let mut next = key.clone();
    match &asked.name {
        None => {}
        Some(None) => faults.note("name", "required", "a key has a name: it cannot be cleared"),
        Some(Some(name)) => next.name = faults.take("name", values::title(name)).unwrap_or_default(),
    }
    if let Some(owner) = &asked.owner {
        next.owner = faults.optional("owner", owner.as_deref(), str::parse).flatten();
    }
    if let Some(plan) = &asked.plan {
        let checked = plan.as_deref().map(|plan| values::plan(plan, rules)).transpose();
        next.plan = checked.map_err(|detail| faults.note("plan", "unknown_plan", detail)).ok().flatten();
    }
    if let Some(scopes) = &asked.scopes {
        next.scopes = values::scopes(&mut faults, scopes.as_deref().unwrap_or_default()).unwrap_or_default();
    }
    if let Some(networks) = &asked.networks {
        let networks = faults.list("networks", networks.as_deref().unwrap_or_default(), values::network);
        next.networks = networks.unwrap_or_default();
    }
    if let Some(begin) = &asked.not_before {
        next.not_before = faults.optional("not_before", begin.as_deref(), values::instant).flatten();
    }
    if let Some(end) = &asked.expires {
        next.expires = faults.optional("expires", end.as_deref(), |text| values::end(text, now)).flatten();
    }
    if let Some(asked) = &asked.extra_allowance {
        next.extra = extra(&mut faults, asked.as_ref(), next.extra);
    }
    check_lifetime(&mut faults, next.not_before, next.expires);
    faults.finish(Some(next))
}

/// When the present secret ends; none: at once.
fn grace_end(asked: &Rotate, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let mut faults = Faults::default();
    let text = asked.grace.as_deref().unwrap_or(DEFAULT_GRACE);
    let grace = values::duration(text).map_err(|_| ()).and_then(|grace| {
        let longest = values::duration(LONGEST_GRACE).expect("it is a duration");
        if grace <= longest { Ok(grace) } else { Err(()) }
    });
    let grace = faults.take("grace", grace.map_err(|()| "a grace is a duration from 0s to 30d"));
    let grace = faults.finish(grace)?;
    Ok((!grace.is_zero()).then(|| values::later(now, grace)))
}

/// With a new secret in front of the one that is the newest until now. All others end, and are kept as ended ones: nobody
/// can bring back, as a key's, a secret that was rotated out since it had leaked.
fn rotated(stored: &StoredKey, new: StoredSecret, grace_end: Option<Timestamp>, now: Timestamp) -> StoredKey {
    let ends = |place: usize| grace_end.filter(|_| place == 0).unwrap_or(now);
    let former = stored.secrets.iter().enumerate().map(|(place, former)| {
        let end = former.until.map_or(ends(place), |until| until.min(ends(place)));
        StoredSecret { until: Some(end), ..former.clone() }
    });
    let (live, ended): (Vec<_>, Vec<_>) = former.partition(|former| former.is_live(now));
    let secrets = [new].into_iter().chain(live).chain(ended.into_iter().take(MOST_ENDED)).collect();
    StoredKey { secrets, changed: now, ..stored.clone() }
}

/// The word in the present secret, as its hint tells it.
fn env_of<'k>(stored: &'k StoredKey, rules: &Rules) -> &'k str {
    let hint = stored.secrets.first().map(|secret| secret.hint.as_str()).unwrap_or_default();
    let env = rules.wire.form.is_of_brand(hint.as_bytes()).then(|| hint.split('_').nth(1)).flatten();
    env.filter(|env| rules.wire.form.generate(env).is_ok()).unwrap_or(DEFAULT_ENV)
}

/// The record that keeps a key of the file revoked, whatever the file says later; without digests that are dead already.
fn tombstone(file: &FileKey, dead: &[Digest], now: Timestamp) -> Change {
    let secret = |digest| StoredSecret {
        digest: StoredDigest { pepper: None, digest },
        hint: "…".to_owned(),
        since: now,
        until: None,
        last_used: None,
        recoverable: None,
    };
    let key = Key { state: State::Revoked, ..file.key.clone() };
    let digests = file.digests.iter().copied().filter(|digest| !dead.contains(digest));
    let secrets = digests.map(secret).collect();
    Change::PutKey(Box::new(StoredKey { key, secrets, created: now, changed: now }))
}

fn digests_of(api: &Api, id: &KeyId) -> Result<Vec<Digest>, Problem> {
    let stored = api.parts.follower.store().key(id)?;
    let secrets = stored.map(|(_, stored)| stored.secrets).unwrap_or_default();
    Ok(secrets.into_iter().map(|secret| secret.digest.digest).collect())
}

/// A tombstone without the secret would let it work again, as that of the other key, once the file forgets this one.
fn shared(holder: &KeyId) -> Problem {
    let detail = format!(
        "the key `{holder}` of the store has the same secret, which would go on working, so nothing was changed: revoke \
         `{holder}` too, and first"
    );
    Problem::new(Code::Conflict, detail)
}

fn shown_as(api: &Api, caller: &Caller, revision: Revision, stored: StoredKey) -> Shown {
    api.show(&Found { file: None, stored: Some((revision, stored)) }, caller.now())
}

fn unchanged(api: &Api, caller: &Caller, found: &Found) -> Changed {
    let key = api.show(found, caller.now());
    let revision = found.stored.as_ref().map_or_else(|| api.parts.follower.revision(), |(revision, _)| *revision);
    Changed { key, revision }
}

fn may_try_again(error: &CommitError, condition: &Condition) -> bool {
    let is_stale = matches!(error, CommitError::Refused { refusal: Refusal::Stale(_), .. });
    is_stale && !matches!(condition, Condition::Revisions(_))
}

fn overtaken() -> Problem {
    Problem::new(Code::Conflict, "others are changing the key all the time: try again")
}

const OK: u16 = 200;
const MOST_TRIES: usize = 32;
/// Secrets of a key that have ended and are kept.
const MOST_ENDED: usize = 8;
const DEFAULT_GRACE: &str = "24h";
const LONGEST_GRACE: &str = "30d";

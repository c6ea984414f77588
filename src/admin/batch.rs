//! `POST /v1/keys:batch`: many keys at once, brought along or made here.
//!
//! Each row has its own outcome; what can be written is written in one transaction. What the store refuses nevertheless, since
//! others write too, is taken out and the rest is tried again. A dry run goes the same way and stops before the commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::body::{self, Object};
use super::create::{self, Draft};
use super::door::blocking;
use super::keys::document;
use super::problem::{Code, FieldError, Problem};
use super::wire::{Create, ExtraAsked, SecretText};
use crate::catalog::Rules;
use crate::key::{
    Digest, KeyId, STRENGTH_WITHOUT_PEPPER_BITS, Secret, State as KeyState, StoredDigest, estimated_strength_bits,
};
use crate::store::{Action, Change, Commit, CommitError, Expect, Refusal, StoredKey, StoredSecret};

/// Keys to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    #[schema(value_type = Vec<BatchKey>, max_items = 1000)]
    keys: Vec<Object<BatchKey>>,
    /// Nothing is written, and the answer says what would be.
    #[serde(default)]
    #[schema(default = false)]
    dry_run: bool,
}

/// A key to be, with a secret or the digest of one that exists, or neither. The fields are those of a single key; what is wrong
/// with their values is told in the row's outcome.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchKey {
    name: String,
    owner: Option<String>,
    plan: Option<String>,
    scopes: Option<Vec<String>>,
    networks: Option<Vec<String>>,
    not_before: Option<String>,
    expires: Option<String>,
    env: Option<String>,
    #[schema(value_type = Option<ExtraAsked>)]
    extra_allowance: Option<Object<ExtraAsked>>,
    /// 1 to 64 of `A-Z a-z 0-9 _ . -`; absent: made.
    id: Option<String>,
    /// A secret that clients have, of whatever shape: 1 to 256 visible ASCII characters.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretText>,
    /// `sha256:<64 hex>` or `hmac-sha256:<pepper id>:<64 hex>`.
    digest: Option<String>,
    /// What lists show of the secret: at most 32 characters.
    hint: Option<String>,
    #[schema(default = false)]
    disabled: Option<bool>,
}

/// What became of the rows, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchDone {
    results: Vec<RowDone>,
    /// In force when this is sent.
    revision: u64,
}

/// What became of a row.
#[derive(Clone, Serialize, ToSchema)]
struct RowDone {
    status: RowStatus,
    #[schema(required = true)]
    id: Option<String>,
    /// Of a key whose secret was made here: shown this once.
    #[schema(required = true)]
    secret: Option<String>,
    /// Why it was refused, for programs.
    #[schema(required = true)]
    code: Option<&'static str>,
    /// Why it was refused, for people.
    #[schema(required = true)]
    detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RowStatus {
    /// It is there, or would be.
    Created,
    /// A key has this secret already: its id is told.
    Unchanged,
    /// Nothing was done.
    Refused,
}

/// A row that can be written.
struct Ready {
    place: usize,
    stored: StoredKey,
    /// If it was made here.
    secret: Option<Secret>,
}

/// What rows before have taken.
#[derive(Default)]
struct Taken {
    ids: HashSet<KeyId>,
    digests: HashMap<[u8; 32], KeyId>,
}

/// Make or import many keys.
///
/// Each key has its own outcome. An import can be repeated: what is there already stays as it is.
#[utoipa::path(post, path = "/v1/keys:batch", tag = "keys", request_body = Batch, responses((status = 200, body = BatchDone)))]
pub(super) async fn batch(State(api): State<Arc<Api>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (asked, _) = body::json::<Batch>(request, api.parts.limits.batch_bytes).await?;
    if asked.keys.len() > MOST_ROWS {
        let error = FieldError::new(
            "keys",
            "value",
            format!("at most {MOST_ROWS} keys at once: send the rest in other batches"),
        );
        return Err(Problem::invalid(vec![error]));
    }
    let done = blocking(api, caller, move |api, caller| done(api, caller, asked)).await?;
    Ok(document(&done))
}

fn done(api: &Api, caller: &Caller, asked: Batch) -> Result<BatchDone, Problem> {
    let rules = api.parts.follower.catalog().rules();
    let (mut results, mut ready, mut taken) = (Vec::with_capacity(asked.keys.len()), Vec::new(), Taken::default());
    for (place, Object(row)) in asked.keys.into_iter().enumerate() {
        let result = match prepared(api, caller, &rules, &mut taken, row)? {
            Ok((stored, secret)) => {
                let id = Some(stored.key.id.to_string());
                ready.push(Ready { place, stored, secret });
                RowDone { status: RowStatus::Created, id, secret: None, code: None, detail: None }
            }
            Err(other) => other,
        };
        results.push(result);
    }
    if !asked.dry_run {
        write(api, caller, ready, &mut results)?;
    }
    Ok(BatchDone { results, revision: api.parts.follower.revision().0 })
}

/// The key of a row, if there is nothing against it as far as can be seen before the commit.
fn prepared(
    api: &Api,
    caller: &Caller,
    rules: &Rules,
    taken: &mut Taken,
    mut row: BatchKey,
) -> Result<Result<(StoredKey, Option<Secret>), RowDone>, Problem> {
    let (secret, digest) = (row.secret.take(), row.digest.take());
    let (id, hint, disabled) = (row.id.take(), row.hint.take(), row.disabled.unwrap_or_default());
    let mut draft = match Draft::check(&Create::from(row), rules, caller.now()) {
        Ok(draft) => draft,
        Err(problem) => return Ok(Err(refused(problem.code.as_str(), problem.sentence()))),
    };
    if disabled {
        draft.disable();
    }
    let id = match id.map(|id| id.parse::<KeyId>()).transpose() {
        Ok(id) => id,
        Err(error) => return Ok(Err(refused(INVALID, format!("id: {error}")))),
    };
    let (kept, made, all_digests) = match brought(rules, &draft, secret, digest, hint.as_deref(), caller) {
        Ok(brought) => brought?,
        Err(detail) => return Ok(Err(refused(INVALID, detail))),
    };
    if let Some(holder) = holder(api, taken, &all_digests) {
        return told_of_holder(api, &all_digests, caller, holder).map(Err);
    }
    let id = id.map_or_else(create::new_id, Ok)?;
    if taken.ids.contains(&id) || api.look_up(&id)?.is_some() {
        return Ok(Err(refused(Code::Conflict.as_str(), format!("the id `{id}` is taken by another key"))));
    }
    let kept = match &made {
        Some(secret) => api.kept(&id, secret, kept)?,
        None => kept,
    };
    taken.ids.insert(id.clone());
    taken.digests.extend(all_digests.iter().map(|digest| (*digest.as_bytes(), id.clone())));
    Ok(Ok((draft.stored(id, kept, caller.now()), made)))
}

/// What is kept of the secret, the secret if it was made here, and every digest that it could be found by.
type Brought = (StoredSecret, Option<Secret>, Vec<Digest>);

/// What a row brings along, or what is wrong with it.
fn brought(
    rules: &Rules,
    draft: &Draft,
    secret: Option<SecretText>,
    digest: Option<String>,
    hint: Option<&str>,
    caller: &Caller,
) -> Result<Result<Brought, Problem>, String> {
    if hint.is_some_and(|hint| hint.chars().count() > MOST_HINT || hint.chars().any(char::is_control)) {
        return Err(format!("hint: it has at most {MOST_HINT} characters"));
    }
    let all = |secret: &Secret| rules.wire.hasher.digests(secret.expose().as_bytes()).iter().copied().collect();
    match (secret, digest) {
        (Some(_), Some(_)) => Err("digest: give either a secret or a digest".to_owned()),
        (Some(text), None) => {
            let secret = imported(rules, text)?;
            let mut kept = create::stored_secret(rules, &secret, caller.now());
            kept.hint = hint.map_or(kept.hint, str::to_owned);
            Ok(Ok((kept, None, all(&secret))))
        }
        (None, Some(text)) => {
            let digest = known_digest(rules, &text)?;
            let hint = hint.unwrap_or("…").to_owned();
            let all = vec![digest.digest];
            Ok(Ok((
                StoredSecret { digest, hint, since: caller.now(), until: None, last_used: None, recoverable: None },
                None,
                all,
            )))
        }
        (None, None) => Ok(draft.secret(rules).map(|secret| {
            let kept = create::stored_secret(rules, &secret, caller.now());
            (kept, Some(secret), Vec::new())
        })),
    }
}

/// A secret that can be presented, and that cannot be guessed from its digest.
fn imported(rules: &Rules, text: SecretText) -> Result<Secret, String> {
    let form = &rules.wire.form;
    let fits = |secret: &Secret| form.check(secret.expose().as_bytes()).is_ok();
    let secret = text.parse().ok().filter(fits).ok_or_else(|| {
        "secret: it can never be presented: it is not 1 to 256 visible ASCII characters, or has our brand but a wrong checksum"
            .to_owned()
    })?;
    let bytes = secret.expose().as_bytes();
    let is_safe = rules.wire.hasher.newest_pepper().is_some()
        || form.is_of_brand(bytes)
        || estimated_strength_bits(bytes) >= STRENGTH_WITHOUT_PEPPER_BITS;
    if is_safe {
        return Ok(secret);
    }
    Err("secret: it is too easy to guess for a plain digest: configure a pepper, or have a new secret made".to_owned())
}

fn known_digest(rules: &Rules, text: &str) -> Result<StoredDigest, String> {
    let digest: StoredDigest = text.parse().map_err(|error| format!("digest: {error}"))?;
    match &digest.pepper {
        Some(pepper) if !rules.wire.hasher.pepper_ids().any(|known| known == pepper) => {
            Err(format!("digest: it needs the pepper `{pepper}`, which is not configured"))
        }
        _ => Ok(digest),
    }
}

/// The key that has the secret already, in force or in a row before.
fn holder(api: &Api, taken: &Taken, digests: &[Digest]) -> Option<(KeyId, KeyState)> {
    let keys = api.parts.follower.catalog();
    digests.iter().find_map(|digest| {
        let in_force = keys.keys().find(digest).map(|found| (found.record.id.clone(), found.record.state));
        in_force.or_else(|| taken.digests.get(digest.as_bytes()).map(|id| (id.clone(), KeyState::Active)))
    })
}

/// Commits what is ready. What is refused leaves the batch with its reason.
fn write(api: &Api, caller: &Caller, mut ready: Vec<Ready>, results: &mut [RowDone]) -> Result<(), Problem> {
    for _ in 0..=MOST_TRIES {
        if ready.is_empty() {
            return Ok(());
        }
        let commits = ready.iter().map(|row| commit(caller, row)).collect();
        match api.parts.follower.commit_all(commits) {
            Ok(_) => {
                for row in ready {
                    results[row.place].secret = row.secret.map(|secret| secret.expose().to_owned());
                }
                return Ok(());
            }
            Err(CommitError::Refused { refusal: Refusal::ActorRevoked, .. }) => {
                return Err(Refusal::ActorRevoked.into());
            }
            Err(CommitError::Refused { place, refusal }) => {
                let row = ready.remove(place);
                results[row.place] = told(api, &row.stored, caller, refusal)?;
            }
            Err(CommitError::Unavailable(error)) => return Err(error.into()),
        }
    }
    Err(Problem::new(Code::Conflict, "others are writing the same keys, and nothing was written: try again"))
}

fn commit(caller: &Caller, row: &Ready) -> Commit {
    Commit {
        change: Change::PutKey(Box::new(row.stored.clone())),
        expect: Expect::Absent,
        action: if row.secret.is_some() { Action::KeyCreate } else { Action::KeyImport },
        origin: caller.origin(),
        idempotency: None,
    }
}

fn told(api: &Api, row: &StoredKey, caller: &Caller, refusal: Refusal) -> Result<RowDone, Problem> {
    Ok(match refusal {
        Refusal::DigestTaken(id) => told_of_holder(api, &digests_of(row), caller, (id, KeyState::Active))?,
        Refusal::DigestRevoked(id) => told_of_holder(api, &digests_of(row), caller, (id, KeyState::Revoked))?,
        other => {
            let problem = Problem::from(other);
            refused(problem.code.as_str(), problem.sentence())
        }
    })
}

/// What becomes of a row whose secret another key has, or had.
fn told_of_holder(
    api: &Api,
    digests: &[Digest],
    caller: &Caller,
    (id, state): (KeyId, KeyState),
) -> Result<RowDone, Problem> {
    Ok(match state {
        KeyState::Revoked => {
            refused(Code::Revoked.as_str(), format!("the secret belongs to the revoked key `{id}`, which is final"))
        }
        KeyState::Active | KeyState::Disabled if has_ended(api, &id, digests, caller)? => refused(
            Code::Conflict.as_str(),
            format!("the secret was rotated out of the key `{id}` and has ended: take a new one"),
        ),
        KeyState::Active | KeyState::Disabled => {
            RowDone { status: RowStatus::Unchanged, id: Some(id.to_string()), secret: None, code: None, detail: None }
        }
    })
}

/// Whether one of the digests is that of a secret that the key with this id has no more.
fn has_ended(api: &Api, id: &KeyId, digests: &[Digest], caller: &Caller) -> Result<bool, Problem> {
    let holder = api.parts.follower.store().key(id)?;
    let mut ended = holder.iter().flat_map(|(_, key)| &key.secrets).filter(|secret| !secret.is_live(caller.now()));
    Ok(ended.any(|ended| digests.contains(&ended.digest.digest)))
}

fn digests_of(row: &StoredKey) -> Vec<Digest> {
    row.secrets.iter().map(|secret| secret.digest.digest).collect()
}

fn refused(code: &'static str, detail: String) -> RowDone {
    RowDone { status: RowStatus::Refused, id: None, secret: None, code: Some(code), detail: Some(detail) }
}

impl From<BatchKey> for Create {
    fn from(row: BatchKey) -> Self {
        let BatchKey { name, owner, plan, scopes, networks, not_before, expires, env, extra_allowance, .. } = row;
        Self { name, owner, plan, scopes, networks, not_before, expires, env, extra_allowance }
    }
}

const INVALID: &str = Code::Invalid.as_str();
const MOST_ROWS: usize = 1000;
const MOST_TRIES: usize = 32;
const MOST_HINT: usize = 32;

//! Makes keys: from the fields of a request to a checked draft, and on to a stored key with its secret.
//!
//! The one place where the gateway makes secrets. Called by [`super::keys`] and [`super::batch`].

use std::sync::{MutexGuard, PoisonError};

use super::Api;
use super::auth::Caller;
use super::body::Object;
use super::idempotency::{Answered, Named, json};
use super::problem::{Code, Problem};
use super::sources::Found;
use super::values::{self, Faults};
use super::wire::{Create, ExtraAsked, KeyBody, KeySecret};
use crate::catalog::Rules;
use crate::key::{Extra, GenerateError, Key, KeyId, Secret, State};
use crate::store::{
    Action, Change, Commit, CommitError, Expect, Filter, Idempotency, Refusal, Revision, StoredKey, StoredSecret,
};
use crate::telemetry::log;
use crate::time::Timestamp;

/// A key without id and secret, checked.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// With an id that means nothing yet.
    key: Key,
    env: String,
}

/// Makes a key with a new secret.
pub(super) fn create(api: &Api, caller: &Caller, asked: &Create, named: Option<&Named>) -> Result<Answered, Problem> {
    if let Some(answered) = named.map(|named| named.answered(api, caller)).transpose()?.flatten() {
        return Ok(answered);
    }
    let rules = api.parts.follower.catalog().rules();
    let mut draft = Draft::check(asked, &rules, caller.now())?;
    if draft.key.expires.is_some_and(|end| end <= caller.now()) {
        return Err(past_end());
    }
    draft.confine(caller, &rules)?;
    let _counting = counted(api, caller)?;
    let secret = draft.secret(&rules)?;
    let id = new_id()?;
    let kept = api.kept(&id, &secret, stored_secret(&rules, &secret, caller.now()))?;
    let stored = draft.stored(id, kept, caller.now());
    let shown = |revision| {
        let found = Found { file: None, stored: Some((revision, stored.clone())) };
        KeyBody::from(&api.show(&found, caller.now()))
    };
    let idempotency = named.map(|named| named.kept(caller, CREATED, shown(Revision(0))));
    let id = stored.key.id.to_string();
    let change = Change::PutKey(Box::new(stored.clone()));
    match api.commit(caller, change, Expect::Absent, Action::KeyCreate, idempotency) {
        Ok(revision) => {
            let body = json(&KeySecret {
                key: shown(revision),
                secret: Some(secret.expose().to_owned()),
                revision: revision.0,
            });
            Ok(Answered { status: CREATED, body, id, revision, is_repeated: false })
        }
        Err(error) => repeated(error, named),
    }
}

/// An owner's token makes only so many keys: not counted are those that are revoked, which is final. Nobody else counts before
/// the guard is dropped, or many at once would all find room.
fn counted<'a>(api: &'a Api, caller: &Caller) -> Result<Option<MutexGuard<'a, ()>>, Problem> {
    let Some(owner) = caller.owner() else { return Ok(None) };
    let counting = api.counting.lock().unwrap_or_else(PoisonError::into_inner);
    let most = api.parts.limits.keys_per_owner;
    let mut number = 0;
    for state in [State::Active, State::Disabled] {
        let filter = Filter { owner: Some(owner.clone()), state: Some(state), ..Filter::default() };
        number += api.parts.follower.store().keys(&filter, None, most)?.len();
    }
    if number < most {
        return Ok(Some(counting));
    }
    let detail = format!("the owner has {most} keys, and its tokens make no more: revoke some, or ask an operator");
    Err(Problem::new(Code::Conflict, detail))
}

/// The answer to the same request, if that is why a commit was refused.
pub(super) fn repeated(error: CommitError, named: Option<&Named>) -> Result<Answered, Problem> {
    match (error, named) {
        (CommitError::Refused { refusal: Refusal::Answered(replay), .. }, Some(named)) => named.repeat(&replay),
        (error, _) => Err(error.into()),
    }
}

impl Draft {
    /// Checks all fields of a key to be.
    pub(super) fn check(asked: &Create, rules: &Rules, now: Timestamp) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let name = faults.take("name", values::title(&asked.name));
        let owner = faults.optional("owner", asked.owner.as_deref(), str::parse);
        let plan = match asked.plan.as_deref().map(|plan| values::plan(plan, rules)).transpose() {
            Ok(plan) => Some(plan),
            Err(detail) => {
                faults.note("plan", "unknown_plan", detail);
                None
            }
        };
        let scopes = values::scopes(&mut faults, asked.scopes.as_deref().unwrap_or_default());
        let networks = faults.list("networks", asked.networks.as_deref().unwrap_or_default(), values::network);
        let not_before = faults.optional("not_before", asked.not_before.as_deref(), values::instant);
        let expires = faults.optional("expires", asked.expires.as_deref(), |text| values::end(text, now));
        let env = asked.env.as_deref().unwrap_or(DEFAULT_ENV);
        if let Err(error @ (GenerateError::Env | GenerateError::TooLong)) = rules.wire.form.generate(env) {
            faults.note("env", "value", error);
        }
        check_lifetime(&mut faults, not_before.flatten(), expires.flatten());
        let extra = extra(&mut faults, asked.extra_allowance.as_ref(), Extra::default());
        let draft = (|| {
            let id = "unnamed".parse().expect("it is an id");
            let state = State::Active;
            let (name, owner, plan, scopes) = (name?, owner?, plan?, scopes?);
            let (networks, not_before, expires) = (networks?, not_before?, expires?);
            let key = Key { id, name, owner, plan, scopes, networks, not_before, expires, state, extra };
            Some(Self { key, env: env.to_owned() })
        })();
        faults.finish(draft)
    }

    /// What an owner's token makes belongs to that owner, and is no better than the file's default.
    fn confine(&mut self, caller: &Caller, rules: &Rules) -> Result<(), Problem> {
        let Some(owner) = caller.owner() else { return Ok(()) };
        if rules.forgets_limits() {
            return Err(Problem::new(
                Code::Conflict,
                "the file has plans and no default_plan, so this key would have no limits: the operator has to name one",
            ));
        }
        let is_own = self.key.owner.as_ref().is_none_or(|asked| asked == owner);
        let is_plain = self.key.plan.is_none() && self.key.scopes.is_empty() && self.key.extra == Extra::default();
        if !is_own || !is_plain {
            return Err(Problem::new(
                Code::Forbidden,
                "this token makes keys of its own owner alone, and gives them no plan, no scopes and no extra allowance",
            ));
        }
        self.key.owner = Some(owner.clone());
        Ok(())
    }

    /// Refused until it is enabled.
    pub(super) fn disable(&mut self) {
        self.key.state = State::Disabled;
    }

    /// A new secret for it.
    pub(super) fn secret(&self, rules: &Rules) -> Result<Secret, Problem> {
        new_secret(rules, &self.env)
    }

    /// The key under this id and secret.
    pub(super) fn stored(&self, id: KeyId, secret: StoredSecret, now: Timestamp) -> StoredKey {
        StoredKey { key: Key { id, ..self.key.clone() }, secrets: vec![secret], created: now, changed: now }
    }
}

/// A new secret with this word in it.
pub(super) fn new_secret(rules: &Rules, env: &str) -> Result<Secret, Problem> {
    rules.wire.form.generate(env).map_err(|error| {
        log::error("no secret can be made", &[("error", &error)]);
        Problem::internal()
    })
}

/// A new id.
pub(super) fn new_id() -> Result<KeyId, Problem> {
    KeyId::generate().map_err(|error| {
        log::error("no id can be made", &[("error", &error)]);
        Problem::internal()
    })
}

/// What is kept of a secret: its digest under the newest pepper, or a plain one if there is none.
pub(super) fn stored_secret(rules: &Rules, secret: &Secret, now: Timestamp) -> StoredSecret {
    let hasher = &rules.wire.hasher;
    let digest = hasher.stored(secret.expose().as_bytes(), hasher.newest_pepper());
    let digest = digest.expect("the hasher knows its own pepper");
    StoredSecret { digest, hint: secret.hint(), since: now, until: None, last_used: None, recoverable: None }
}

/// A key that ends before it begins is a mistake.
pub(super) fn check_lifetime(faults: &mut Faults, not_before: Option<Timestamp>, expires: Option<Timestamp>) {
    if let (Some(begin), Some(end)) = (not_before, expires)
        && begin >= end
    {
        faults.note("expires", "value", "it is to be after `not_before`");
    }
}

/// What a key has beyond its plan's quotas, once what is asked for has been put over what it has; none clears it.
pub(super) fn extra(faults: &mut Faults, asked: Option<&Object<ExtraAsked>>, has: Extra) -> Extra {
    let Some(Object(ExtraAsked { day, month })) = asked else { return Extra::default() };
    let mut over = |field: &str, asked: Option<Option<u64>>, has: u64| {
        let units = asked.map_or(has, Option::unwrap_or_default);
        if units > Extra::MOST {
            faults.note(&format!("extra_allowance.{field}"), "value", format!("at most {} are possible", Extra::MOST));
        }
        units
    };
    Extra { day: over("day", *day, has.day), month: over("month", *month, has.month) }
}

fn past_end() -> Problem {
    let mut faults = Faults::default();
    faults.note("expires", "value", "it lies in the past");
    faults.finish::<()>(None).expect_err("something was noted")
}

impl Api {
    /// Makes one change, in the name of the caller.
    pub(super) fn commit(
        &self,
        caller: &Caller,
        change: Change,
        expect: Expect,
        action: Action,
        idempotency: Option<Idempotency>,
    ) -> Result<Revision, CommitError> {
        self.parts.follower.commit(Commit { change, expect, action, origin: caller.origin(), idempotency })
    }
}

const CREATED: u16 = 201;
pub(super) const DEFAULT_ENV: &str = "live";

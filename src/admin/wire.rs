//! Keys as they are sent and received: the JSON of requests and answers.
//!
//! Texts and numbers only; [`super::create`] and [`super::change`] check them into domain types, [`super::sources`] fills them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::body::Object;
use super::sources::{Shown, ShownSecret, Source};
use super::values::shown;
use crate::key::{self, Name};
use crate::time::Timestamp;

/// A key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyBody {
    #[schema(example = "key_0123456789abcdef")]
    pub(super) id: String,
    name: String,
    /// Whom it belongs to.
    #[schema(required = true)]
    owner: Option<String>,
    /// Its plan; null: the `default_plan` of the file.
    #[schema(required = true)]
    plan: Option<String>,
    scopes: Vec<String>,
    networks: Vec<String>,
    #[schema(required = true, format = DateTime)]
    not_before: Option<String>,
    #[schema(required = true, format = DateTime)]
    expires: Option<String>,
    state: StateWord,
    extra_allowance: ExtraBody,
    source: SourceWord,
    /// The newest first; two during a rotation.
    secrets: Vec<SecretBody>,
    #[schema(required = true, format = DateTime)]
    last_used: Option<String>,
    /// Null for keys of the file.
    #[schema(required = true, format = DateTime)]
    created: Option<String>,
    /// Null for keys of the file.
    #[schema(required = true, format = DateTime)]
    changed: Option<String>,
    /// Of the last change; null for keys of the file.
    #[schema(required = true)]
    revision: Option<u64>,
    /// What the file and the store do not agree on.
    #[schema(required = true)]
    conflict: Option<String>,
}

/// What a key may use up beyond the quotas of its plan.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ExtraAllowance)]
struct ExtraBody {
    /// Beyond a quota of a day.
    day: u64,
    /// Beyond a quota of a month.
    month: u64,
}

/// What is known of a secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Secret)]
struct SecretBody {
    /// Its beginning; null for keys of the file.
    #[schema(required = true, example = "kg_live_0123…")]
    hint: Option<String>,
    #[schema(required = true, format = DateTime)]
    since: Option<String>,
    /// Not valid from this time on: the end of a rotation.
    #[schema(required = true, format = DateTime)]
    until: Option<String>,
    #[schema(required = true, format = DateTime)]
    last_used: Option<String>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = State)]
pub(super) enum StateWord {
    /// In use.
    Active,
    /// Refused until it is enabled again.
    Disabled,
    /// Refused for ever.
    Revoked,
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Source)]
enum SourceWord {
    /// In the store: it is edited here.
    Store,
    /// In the configuration file: it is edited there.
    File,
}

/// One key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    pub(super) key: KeyBody,
}

/// A key after a change.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyChanged {
    pub(super) key: KeyBody,
    /// In force when this is sent.
    pub(super) revision: u64,
}

/// A key with a new secret.
#[derive(Serialize, ToSchema)]
pub(super) struct KeySecret {
    pub(super) key: KeyBody,
    /// Shown this once; null where the answer is a repetition.
    #[schema(required = true)]
    pub(super) secret: Option<String>,
    /// In force when this is sent.
    pub(super) revision: u64,
}

/// A page of keys, in the order of ids.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyPage {
    pub(super) keys: Vec<KeyBody>,
    /// The `cursor` of the next page; null on the last. A page can be shorter than asked for and not be the last.
    #[schema(required = true)]
    pub(super) next: Option<String>,
}

/// A key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyCreate)]
pub(super) struct Create {
    /// Free text, without characters that control a terminal.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$",
        example = "Acme production"
    )]
    pub(super) name: String,
    #[schema(min_length = 1, max_length = 128, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    pub(super) owner: Option<String>,
    /// One of `/v1/plans`; absent: the `default_plan` of the file.
    #[schema(min_length = 1, max_length = 128)]
    pub(super) plan: Option<String>,
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 64)]
    pub(super) scopes: Option<Vec<String>>,
    /// Client networks that it works from, such as `10.0.0.0/8`; empty: any.
    #[schema(max_items = 64)]
    pub(super) networks: Option<Vec<String>>,
    /// A time.
    #[schema(format = DateTime)]
    pub(super) not_before: Option<String>,
    /// A time, or a duration from now such as `90d`.
    #[schema(
        pattern = "^([0-9]{1,9}(ms|s|m|h)|[0-9]{1,5}d|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$"
    )]
    pub(super) expires: Option<String>,
    /// A word in the secret, such as `live` or `test`.
    #[schema(pattern = "^[a-z][a-z0-9]{1,7}$", default = "live")]
    pub(super) env: Option<String>,
    #[schema(value_type = Option<ExtraAsked>)]
    pub(super) extra_allowance: Option<Object<ExtraAsked>>,
}

/// What a key shall be able to use up beyond the quotas of its plan; null is 0. Up to 1,000,000,000,000 each:
/// a batch tells of more in the row's outcome.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtraAllowanceChange)]
pub(super) struct ExtraAsked {
    /// Beyond a quota of a day.
    #[serde(default, deserialize_with = "present_int64")]
    #[schema(value_type = Option<u64>)]
    pub(super) day: Option<Option<u64>>,
    /// Beyond a quota of a month.
    #[serde(default, deserialize_with = "present_int64")]
    #[schema(value_type = Option<u64>)]
    pub(super) month: Option<Option<u64>>,
}

/// A scope (RFC 6749 section 3.3).
#[derive(ToSchema)]
#[schema(as = Scope, min_length = 1, max_length = 64, pattern = r"^[!#-\[\]-~]+$", value_type = String, example = "orders:read")]
#[expect(dead_code, reason = "it is for the description of the API alone")]
pub(super) struct ScopeText(String);

/// What is to be another way: what is absent stays, null clears, a value sets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyPatch)]
pub(super) struct Patch {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub(super) name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    pub(super) owner: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub(super) plan: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 64)]
    pub(super) scopes: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, max_items = 64)]
    pub(super) networks: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) not_before: Option<Option<String>>,
    /// A time, or a duration from now.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = "^([0-9]{1,9}(ms|s|m|h)|[0-9]{1,5}d|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$")]
    pub(super) expires: Option<Option<String>>,
    /// In force at once; of its fields too, what is absent stays.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<ExtraAsked>)]
    pub(super) extra_allowance: Option<Option<Object<ExtraAsked>>>,
}

impl Patch {
    /// Whether it leaves everything but the name as it is.
    pub(super) fn is_of_the_name_alone(&self) -> bool {
        let Self { name: _, owner, plan, scopes, networks, not_before, expires, extra_allowance } = self;
        let texts = [owner, plan, not_before, expires];
        let lists = [scopes, networks];
        extra_allowance.is_none() && texts.iter().all(|text| text.is_none()) && lists.iter().all(|list| list.is_none())
    }
}

/// How a secret is replaced.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// How long the present secret stays valid: `0s` to `30d`.
    #[schema(default = "24h", pattern = "^([0-9]{1,9}(ms|s|m|h)|[0-9]{1,5}d)$")]
    pub(super) grace: Option<String>,
}

/// A secret in a request: wiped when dropped, and not shown.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub(super) struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The secret, if it can be one.
    pub(super) fn parse(mut self) -> Result<key::Secret, key::Malformed> {
        std::mem::take(&mut *self.0).try_into()
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl From<&Shown> for KeyBody {
    fn from(key: &Shown) -> Self {
        let Shown { key: record, secrets, .. } = key;
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            owner: record.owner.as_ref().map(Name::to_string),
            plan: record.plan.as_ref().map(Name::to_string),
            scopes: record.scopes.iter().map(ToString::to_string).collect(),
            networks: record.networks.iter().map(ToString::to_string).collect(),
            not_before: record.not_before.map(shown),
            expires: record.expires.map(shown),
            state: record.state.into(),
            extra_allowance: ExtraBody { day: record.extra.day, month: record.extra.month },
            source: key.source.into(),
            secrets: secrets.iter().map(SecretBody::from).collect(),
            last_used: secrets.iter().filter_map(|secret| secret.last_used).max().map(shown),
            created: key.created.map(shown),
            changed: key.changed.map(shown),
            revision: key.revision.map(|revision| revision.0),
            conflict: key.conflict.clone(),
        }
    }
}

impl From<&ShownSecret> for SecretBody {
    fn from(secret: &ShownSecret) -> Self {
        let text = |at: Option<Timestamp>| at.map(shown);
        Self {
            hint: secret.hint.clone(),
            since: text(secret.since),
            until: text(secret.until),
            last_used: text(secret.last_used),
        }
    }
}

impl From<key::State> for StateWord {
    fn from(state: key::State) -> Self {
        match state {
            key::State::Active => Self::Active,
            key::State::Disabled => Self::Disabled,
            key::State::Revoked => Self::Revoked,
        }
    }
}

impl From<StateWord> for key::State {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Active => Self::Active,
            StateWord::Disabled => Self::Disabled,
            StateWord::Revoked => Self::Revoked,
        }
    }
}

impl From<Source> for SourceWord {
    fn from(source: Source) -> Self {
        match source {
            Source::Store => Self::Store,
            Source::File => Self::File,
        }
    }
}

/// Tells a field that is null from one that is absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The same for a number of the format `int64`, as it is described: a larger one is no number of that format.
fn present_int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        Some(number) if i64::try_from(number).is_err() => Err(D::Error::custom("the number is too large")),
        number => Ok(Some(number)),
    }
}

//! Reads what a request brings: JSON bodies within bounds, queries, conditions.
//!
//! What cannot be read at all is malformed; what has the wrong shape is invalid, and the field is named. No answer repeats a
//! value that was sent, since it may be a secret. Called by every handler.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, Uri, header};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::problem::{Code, FieldError, Problem};
use crate::store::Revision;

/// A body as it came: wiped when dropped, since it may hold a secret.
pub(super) type Bytes = Zeroizing<Vec<u8>>;

/// What `If-Match` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    None,
    /// That it is there.
    Present,
    /// That its last change is one of these.
    Revisions(Vec<u64>),
}

/// A JSON object. Structs alone would be read from arrays of their fields too.
pub(super) struct Object<T>(pub(super) T);

/// The JSON object of a body, with its bytes.
pub(super) async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<(T, Bytes), Problem> {
    let is_json = is_json(request.headers());
    let bytes = collect(request.into_body(), bytes_max).await?;
    if !is_json {
        return Err(Problem::new(Code::UnsupportedMediaType, "send JSON, with `Content-Type: application/json`"));
    }
    let Object(value) = parse(&bytes)?;
    Ok((value, bytes))
}

/// The JSON object of a body that may be left out, or be null.
pub(super) async fn optional_json<T: DeserializeOwned + Default>(
    request: Request,
    bytes_max: usize,
) -> Result<(T, Bytes), Problem> {
    let is_json = is_json(request.headers());
    let bytes = collect(request.into_body(), bytes_max).await?;
    match bytes.is_empty() {
        true => Ok((T::default(), bytes)),
        false if is_json => {
            Ok((parse::<Option<Object<T>>>(&bytes)?.map_or_else(T::default, |Object(value)| value), bytes))
        }
        false => Err(Problem::new(Code::UnsupportedMediaType, "send JSON, with `Content-Type: application/json`")),
    }
}

/// The parameters of a query.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let malformed = |_| Problem::new(Code::Malformed, "the query has unknown, doubled or unreadable parameters");
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(malformed)
}

/// What `If-Match` asks for (RFC 9110 section 13.1.1). A tag that is none of ours matches nothing.
pub(super) fn condition(fields: &HeaderMap) -> Condition {
    let mut texts = fields.get_all(header::IF_MATCH).iter().map(|value| value.to_str().unwrap_or_default()).peekable();
    if texts.peek().is_none() {
        return Condition::None;
    }
    let tags: Vec<&str> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
    if tags == ["*"] {
        return Condition::Present;
    }
    let revision = |tag: &str| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    Condition::Revisions(tags.into_iter().filter_map(revision).collect())
}

impl Condition {
    /// Whether it holds for something that was last changed at `revision`; none has no revision to compare.
    pub(super) fn check(&self, revision: Option<Revision>) -> Result<(), Problem> {
        let holds = match self {
            Self::None | Self::Present => true,
            Self::Revisions(wanted) => revision.is_some_and(|Revision(revision)| wanted.contains(&revision)),
        };
        let stale =
            || Problem::new(Code::PreconditionFailed, "it was changed since the revision in `If-Match`: read it again");
        if holds { Ok(()) } else { Err(stale()) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}

/// Reads a value from the entries of an object.
struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries))
    }
}

fn is_json(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut bytes = Bytes::default();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::new(Code::Malformed, "the body ended early"))?;
        let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
        if bytes.len() + data.len() > bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("a body has at most {bytes_max} bytes here")));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        misfit(&path, error.inner())
    })?;
    json.end().map_err(|error| misfit("", &error))?;
    Ok(value)
}

/// The problem of a body that is no JSON, or not of this shape.
fn misfit(path: &str, error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        let place = format!("line {}, column {}", error.line(), error.column());
        return Problem::new(Code::Malformed, format!("the body is not JSON: look at {place}"));
    }
    let text = error.to_string();
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().chars().take(64).collect::<String>();
    let path = if path == "." { "" } else { path };
    let field = match (text.starts_with("unknown field") || text.starts_with("missing field"), path) {
        (false, path) => path.to_owned(),
        (true, "") => quoted(&text),
        (true, path) if path.ends_with(&quoted(&text)) => path.to_owned(),
        (true, path) => format!("{path}.{}", quoted(&text)),
    };
    let expected = text.split_once(", expected ").map(|(_, rest)| rest.split(" at line ").next().unwrap_or_default());
    let error = match expected {
        _ if text.starts_with("missing field") => FieldError::new(field, "required", "it is missing"),
        Some(expected) if text.starts_with("unknown field") => {
            FieldError::new(field, "unknown_field", format!("there is no such field, only {expected}"))
        }
        _ if text.starts_with("unknown field") => FieldError::new(field, "unknown_field", "there is no such field"),
        Some(expected) => FieldError::new(field, "type", format!("it is to be {expected}")),
        None => FieldError::new(field, "type", "it is not of the right type, or there twice"),
    };
    Problem::invalid(vec![error])
}

//! The tree of a YAML document: every key and every value with its place.
//!
//! What walks it knows nothing of aliases and merge keys: `tree` has resolved them. Named all over `config`.

use std::borrow::Cow;

use super::problem::Mark;

/// A value and where it begins and ends.
#[derive(Clone, Debug)]
pub(super) struct Node<'s> {
    pub(super) at: Mark,
    /// Byte offset of its end in the file.
    pub(super) end: u32,
    pub(super) value: Value<'s>,
}

/// What stands in a place.
#[derive(Clone, Debug)]
pub(super) enum Value<'s> {
    /// A scalar without quotes: its type follows from its text.
    Plain(Cow<'s, str>),
    /// A scalar that is text whatever it looks like.
    Quoted(Cow<'s, str>),
    /// A sequence.
    List(Vec<Node<'s>>),
    /// A mapping in the order of the file; names may occur twice.
    Map(Vec<Entry<'s>>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry<'s> {
    pub(super) name: Cow<'s, str>,
    pub(super) at: Mark,
    pub(super) node: Node<'s>,
}

/// A scalar by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Switch(bool),
    Integer(u64),
    /// Any other number: negative, with a fraction, or very large.
    Number(f64),
    Text(&'a str),
}

impl Node<'_> {
    /// The scalar that stands here, if one does.
    pub(super) fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.value {
            Value::Plain(text) => Some(plain_scalar(text)),
            Value::Quoted(text) => Some(Scalar::Text(text)),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text that stands here, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match self.scalar() {
            Some(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The entries, if it is a mapping; none otherwise.
    pub(super) fn entries(&self) -> &[Entry<'_>] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if it is a list; none otherwise.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value of the first entry of that name.
    pub(super) fn entry(&self, name: &str) -> Option<&Node<'_>> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    pub(super) fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }
}

/// The core schema of YAML 1.2 (section 10.3.2), decimal integers and floats only as far as this file needs them.
fn plain_scalar(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Switch(true),
        "false" | "False" | "FALSE" => return Scalar::Switch(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Scalar::Text(text);
    }
    if let Some(number) = integer(text) {
        return Scalar::Integer(number);
    }
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(number) if numeric => Scalar::Number(number),
        _ => Scalar::Text(text),
    }
}

fn integer(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok();
    }
    text.parse().ok()
}

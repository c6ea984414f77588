//! Words for what was expected, what was found instead and what to write, for the messages of the shape check.
//!
//! Called by [`super::shape`] once a value does not fit; never names the value of a secret.

use super::fields::Kind;
use super::node::{Node, Scalar, Value};
use super::problem::shown;

/// Completes "must be …".
pub(super) fn describe(kind: &Kind) -> String {
    let mut choices = choices(kind);
    let last = choices.pop().unwrap_or_default();
    if choices.is_empty() { last } else { format!("{} or {last}", choices.join(", ")) }
}

/// What a kind allows, one by one.
fn choices(kind: &Kind) -> Vec<String> {
    let one = match kind {
        Kind::Text(form) | Kind::Secret(form) => form.what,
        Kind::Word(words) => return words.iter().map(|word| format!("`{word}`")).collect(),
        Kind::Switch => "true or false",
        Kind::False => "false",
        Kind::Null => "null",
        Kind::Integer(..) => "a whole number",
        Kind::Share => "a number from 0 to 1",
        Kind::Duration(..) => "a duration",
        Kind::Size(..) => "a size",
        Kind::List(..) => "a list",
        Kind::Map(..) => "a mapping of names",
        Kind::Object(_) | Kind::Variants(_) => "a mapping",
        Kind::OneField(fields) => return fields.iter().map(|field| format!("{{{}: …}}", field.name)).collect(),
        Kind::Any(kinds) => return kinds.iter().flat_map(choices).collect(),
    };
    vec![one.to_owned()]
}

/// Completes "found …".
pub(super) fn found(node: &Node<'_>, secret: bool) -> String {
    match (&node.value, node.scalar()) {
        (_, Some(Scalar::Null)) => "nothing".to_owned(),
        (_, Some(Scalar::Switch(switch))) => switch.to_string(),
        (Value::Plain(_), Some(Scalar::Integer(_) | Scalar::Number(_))) if secret => "a number".to_owned(),
        (Value::Plain(text), Some(Scalar::Integer(_) | Scalar::Number(_))) => format!("the number {}", shown(text)),
        (_, Some(Scalar::Text(_))) if secret => "other text".to_owned(),
        (Value::Plain(text) | Value::Quoted(text), _) => format!("the text {}", shown(text)),
        (Value::List(_), _) => "a list".to_owned(),
        (Value::Map(_), _) => "a mapping".to_owned(),
    }
}

/// What to write where the type is wrong.
pub(super) fn type_remedy(kind: &Kind, node: &Node<'_>, secret: bool) -> String {
    let scalar = node.scalar();
    let number = matches!(scalar, Some(Scalar::Integer(_) | Scalar::Number(_)));
    match kind {
        Kind::Text(form) | Kind::Secret(form) | Kind::Any([Kind::Secret(form), ..]) => match &node.value {
            Value::Plain(text) if !node.is_null() && (form.check)(text).is_ok() => {
                "put it in quotes to make text of it".to_owned()
            }
            _ => form.remedy.to_owned(),
        },
        Kind::Duration(..) if number => "add a unit: ms, s, m, h or d, as in 10s".to_owned(),
        Kind::Duration(..) => "write a number and a unit: 500ms, 10s, 5m, 1h or 1d".to_owned(),
        Kind::Size(..) => "write a number and a unit: 512B, 32KiB, 8MiB or 1GiB".to_owned(),
        Kind::Switch => "write true or false, without quotes".to_owned(),
        Kind::Integer(..) if node.text().is_some_and(|text| text.parse::<u64>().is_ok()) => {
            "write it without quotes".to_owned()
        }
        Kind::Integer(..) => "write a whole number".to_owned(),
        Kind::List(_, _) if scalar.is_some_and(|scalar| scalar != Scalar::Null) => one_item_list(node, secret),
        Kind::List(..) => "write a list: begin each item with `- `, or write [a, b]".to_owned(),
        Kind::Map(..) => {
            "write `NAME:` for each, with what belongs to it indented below, and no `-` in front".to_owned()
        }
        Kind::Object(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
            format!("write its fields indented below it: {}", names.join(", "))
        }
        Kind::Variants(variants) => {
            let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
            format!("write `type:` and its fields indented below it; the types are {}", words.join(", "))
        }
        Kind::Any(kinds) => kinds.iter().find(|kind| matches!(kind, Kind::Duration(..) | Kind::Size(..))).map_or_else(
            || format!("write {}", describe(kind)),
            |kind| format!("{}, or null", type_remedy(kind, node, secret)),
        ),
        Kind::Word(_) | Kind::False | Kind::Null | Kind::Share | Kind::OneField(_) => {
            format!("write {}", describe(kind))
        }
    }
}

/// The bound that a value breaks ("at least 1"), and what to write instead.
pub(super) fn range_remedy(kind: &Kind, value: u64, min: u64, max: u64) -> (String, String) {
    let say = |number| match kind {
        Kind::Duration(..) => milliseconds(number),
        Kind::Size(..) => bytes(number),
        _ => number.to_string(),
    };
    let bound = if value < min { format!("at least {}", say(min)) } else { format!("at most {}", say(max)) };
    (bound, format!("write a value from {} to {}", say(min), say(max)))
}

fn one_item_list(node: &Node<'_>, secret: bool) -> String {
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) if !secret => {
            format!("write a list of one: [{}]", shown(text).trim_matches('`'))
        }
        _ => "write a list".to_owned(),
    }
}

fn milliseconds(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    in_units(ms, &units, "0s")
}

fn bytes(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    in_units(bytes, &units, "0B")
}

fn in_units(value: u64, units: &[(u64, &str)], zero: &str) -> String {
    let fitting = units.iter().find(|(factor, _)| value > 0 && value.is_multiple_of(*factor));
    fitting.map_or_else(|| zero.to_owned(), |(factor, unit)| format!("{}{unit}", value / factor))
}

//! The JSON Schema (2020-12) of the YAML file, made from the table of fields.
//!
//! Whatever `config::load` accepts, it accepts; a wrong type, an unknown and a missing field it refuses as `load` does.
//! Called by `keygate schema`.

use serde_json::{Map, Value, json};

use super::fields::{Field, Kind, Literal, Need, ROOT};
use super::form::Form;

/// The schema of the main file, for editors and for checks without keygate.
pub fn schema() -> Value {
    let mut schema = object(ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("keygate");
    schema["description"] = json!("The configuration of keygate, a reverse-proxy authentication gateway.");
    schema
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| matches!(field.need, Need::Required)).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = of_kind(&field.kind);
    schema["description"] = json!(field.doc);
    if let Need::Default(literal) = field.need {
        schema["default"] = default_value(literal);
    }
    schema
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text(form) | Kind::Secret(form) => text(form),
        Kind::Word(words) => json!({"enum": words}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::False => json!({"const": false}),
        Kind::Null => json!({"type": "null"}),
        Kind::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Kind::Duration(..) => {
            json!({"type": "string", "pattern": DURATION, "examples": ["500ms", "10s", "5m", "1h", "1d"]})
        }
        Kind::Size(min, max) => json!({"anyOf": [
            {"type": "string", "pattern": SIZE, "examples": ["512B", "32KiB", "8MiB", "1GiB"]},
            {"type": "integer", "minimum": min, "maximum": max},
        ]}),
        Kind::List(of, least) => json!({"type": "array", "items": of_kind(of), "minItems": least}),
        Kind::Map(form, of) => json!({
            "type": ["object", "null"],
            "propertyNames": {"pattern": form.pattern},
            "additionalProperties": of_kind(of),
        }),
        Kind::Object(fields) => object(fields),
        Kind::OneField(fields) => {
            let mut schema = object(fields);
            schema["minProperties"] = json!(1);
            schema["maxProperties"] = json!(1);
            schema
        }
        Kind::Variants(variants) => {
            json!({"oneOf": variants.iter().map(|(_, fields)| object(fields)).collect::<Vec<_>>()})
        }
        Kind::Any(kinds) => json!({"anyOf": kinds.iter().map(of_kind).collect::<Vec<_>>()}),
    }
}

fn text(form: &Form) -> Value {
    json!({"type": "string", "pattern": form.pattern})
}

fn default_value(literal: Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Switch(switch) => json!(switch),
        Literal::Integer(number) => json!(number),
        Literal::Number(number) => json!(number),
        Literal::Text(text) => json!(text),
        Literal::Texts(texts) => json!(texts),
    }
}

const DURATION: &str = "^[0-9]+(ms|s|m|h|d|y)$";
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB)$";

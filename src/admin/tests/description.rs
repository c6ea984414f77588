//! The description of the API.

use std::collections::BTreeSet;

use serde_json::Value;

use super::world::{named, run};

/// Whether a document is as a schema of the description says.
#[track_caller]
fn check(description: &Value, name: &str, document: &Value) {
    let schema = serde_json::json!({
        "$ref": format!("#/components/schemas/{name}"),
        "components": description["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}: {document}");
}

#[test]
fn the_description_is_complete_and_true() {
    run(async |world| {
        let got = world.send(&[], "GET /v1/openapi.json", Value::Null).await;
        let description = got.expect(200);
        assert_eq!(got.field("content-type"), "application/json");
        assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        let mut names = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let statuses = operation["responses"].as_object().unwrap();
                for status in ["400", "401", "403", "404", "408", "429", "500", "503"] {
                    assert!(statuses.contains_key(status), "{method} {path}: {status}");
                }
                assert_eq!(["200", "201", "204"].iter().filter(|good| statuses.contains_key(**good)).count(), 1);
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(names.insert(operation["operationId"].to_string()), "{method} {path}");
            }
        }
        let key = world.ask("POST /v1/keys", named("n")).await.expect(201);
        check(&description, "KeySecret", &key);
        check(&description, "Key", &world.key("key_file").await);
        for (call, name) in [
            ("GET /v1/keys", "KeyPage"),
            ("GET /v1/plans", "Plans"),
            ("GET /v1/routes", "Routes"),
            ("GET /v1/upstreams", "Upstreams"),
            ("GET /v1/audit", "AuditPage"),
            ("GET /v1/status", "Status"),
            ("GET /v1/sinks", "Sinks"),
            ("POST /v1/sinks/hooks/pause", "SinkSwitched"),
            ("GET /v1/tokens", "TokenPage"),
            ("GET /v1/session", "Session"),
            ("GET /v1/keys/nothing", "Problem"),
            ("POST /v1/config/check", "Checked"),
            ("POST /v1/reload", "Reloaded"),
            ("POST /v1/reload", "Problem"),
        ] {
            check(&description, name, &world.ask(call, Value::Null).await.json());
        }
    });
}

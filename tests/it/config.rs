//! The configuration through its front door: the files of `config/`, the schema against them, watching.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keygate::config::{self, Watcher};
use proptest::prelude::*;
use serde_json::{Value, json};

const MINIMAL: &str = include_str!("../../config/minimal.yaml");
const COMMENTED: &str = include_str!("../../config/keygate.yaml");

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// A YAML text as JSON, by the rules of YAML 1.2 as an editor's schema check has it.
fn as_json(text: &str) -> Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

#[test]
fn the_example_files_load() {
    let examples = examples();
    assert!(examples.len() >= 2);
    for path in examples {
        if let Err(rejected) = config::load(&path) {
            let problems: Vec<String> = rejected.problems.iter().map(ToString::to_string).collect();
            panic!("{}", problems.join("\n"));
        }
    }
}

#[test]
fn the_example_files_fit_the_schema() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    for path in examples() {
        let instance = as_json(&fs::read_to_string(&path).unwrap());
        let errors: Vec<String> =
            validator.iter_errors(&instance).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn the_schema_is_a_schema() {
    let schema = config::schema();
    assert!(jsonschema::meta::is_valid(&schema));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["required"], json!(["listeners"]));
    assert_eq!(schema["properties"]["drain_timeout"]["default"], "30s");
}

/// Every default of the schema, written out, is what holds without it.
#[test]
fn the_commented_file_spells_out_the_defaults() {
    let spelt = as_json(COMMENTED);
    let exempt = ["trusted_proxies"];
    let check = |fields: &Value, values: &Value, place: &str| {
        for (name, field) in fields["properties"].as_object().unwrap() {
            let Some(default) = field.get("default").filter(|_| !exempt.contains(&name.as_str())) else { continue };
            assert_eq!(values[name], *default, "{place}{name}");
        }
    };
    let schema = config::schema();
    check(&schema, &spelt, "");
    for section in ["credentials", "identity_headers", "headers", "paths", "logs"] {
        check(&schema["properties"][section], &spelt[section], section);
    }
    check(
        &schema["properties"]["upstreams"]["additionalProperties"],
        &spelt["upstreams"]["orders"],
        "upstreams.orders",
    );
}

#[test]
fn every_field_of_the_schema_is_in_the_commented_file() {
    let (schema, spelt) = (config::schema(), as_json(COMMENTED));
    for (name, field) in schema["properties"].as_object().unwrap() {
        assert!(spelt.get(name).is_some(), "{name} is missing");
        assert!(field["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name} has no description");
    }
}

#[test]
fn the_schema_refuses_wrong_shapes_as_load_does() {
    for wrong in [
        json!({}),
        json!({"listeners": []}),
        json!({"listeners": [{}]}),
        json!({"listeners": [{"address": 8080}]}),
        json!({"listeners": [{"address": "localhost"}]}),
        with("admin", json!({})),
        with("threads", json!("all")),
        with("threads", json!(0)),
        with("drain_timeout", json!(30)),
        with("drain_timeout", json!("30 s")),
        with("max_head_bytes", json!("32KB")),
        with("via", json!("yes")),
        with("identity_headers", json!({"key": true})),
        with("identity_headers", json!({"keys": "X"})),
        with("logs", json!({"requests": {"path": "x"}})),
        with("logs", json!({"sample": 1.5})),
        with("flood_guard", json!(5)),
        with("trusted_proxies", json!("10.0.0.0/8")),
        with("upstreams", json!({"a": {}})),
        with("upstreams", json!({"a": {"targets": ["https://a:1"]}})),
        with("upstreams", json!({"a": {"targets": []}})),
        with("routes", json!({"a": {"path": "v1", "upstream": "b"}})),
        with("routes", json!({"a": {"path": "/v1"}})),
        with("plans", json!({"a": {"limits": {"l": {"requests": 0, "per": "1s"}}}})),
        with("plans", json!({"a": {"burst": {}}})),
        with("plans", json!({"a": {"quotas": {"q": {"requests": 5, "period": "week"}}}})),
        with("usage", json!({"count": ["6xx"]})),
        with("keys", json!({"k": {"digest": {"file": "a", "env": "b"}}})),
        with("keys", json!({"k": {"digest": "md5:00"}})),
        with("keys", json!({"a b": {}})),
        with("revoked", json!("k")),
    ] {
        assert!(!jsonschema::is_valid(&config::schema(), &wrong), "the schema accepts {wrong}");
        assert!(config::load_str("t.yaml", &wrong.to_string()).is_err(), "load accepts {wrong}");
    }
}

fn with(field: &str, value: Value) -> Value {
    let mut file = as_json(MINIMAL);
    file[field] = value;
    file
}

proptest! {
    /// Whatever is done to a good file: if it still loads, the schema still accepts it.
    #[test]
    fn what_loads_fits_the_schema(at in any::<prop::sample::Index>(), value in any_value()) {
        let mut file = as_json(COMMENTED);
        file.as_object_mut().unwrap().remove("include");
        let mut places = Vec::new();
        collect_places(&file, String::new(), &mut places);
        *file.pointer_mut(at.get::<String>(&places)).unwrap() = value;
        if config::load_str("t.yaml", &file.to_string()).is_ok() {
            prop_assert!(jsonschema::is_valid(&config::schema(), &file), "{file}");
        }
    }
}

fn collect_places(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect_places(value, format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect_places(value, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    if !place.is_empty() {
        places.push(place);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(7),
        json!(1_000_000_000_000_u64),
        json!(0.5),
        json!(-3),
        json!("off"),
        json!("10s"),
        json!("1d"),
        json!("8KiB"),
        json!("a"),
        json!("/a"),
        json!("*.example.com"),
        json!("[::1]:80"),
        json!("::1"),
        json!("2027-01-01T00:00:00.5+01:00"),
        json!("http://[::1]:80/"),
        json!("PROPFIND"),
        json!([]),
        json!(["a"]),
        json!(["10.0.0.1"]),
        json!({}),
        json!({"a": {}}),
        json!({"env": "PATH"}),
    ])
}

// --- watching --------------------------------------------------------------------------------------------------------

/// Runs `change` in a watched folder and waits until the watcher tells of it.
fn told(prepare: impl Fn(&Path), change: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let files = [folder.path().join("k.yaml"), folder.path().join("keys.d")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut watcher, _) = Watcher::new(&files);
        for round in 0..2 {
            change(folder.path());
            let told = tokio::time::timeout(DEADLINE, watcher.changed()).await;
            assert!(told.is_ok(), "round {round} is not told");
            watcher.follow(&files);
        }
    });
}

const DEADLINE: Duration = Duration::from_secs(30);
/// Shorter than any pause that the watcher makes.
const SLICE: Duration = Duration::from_millis(20);

fn write_main(folder: &Path) {
    fs::write(folder.join("k.yaml"), MINIMAL).unwrap();
}

#[test]
fn a_file_that_is_written_is_told() {
    told(write_main, |folder| {
        let text = fs::read_to_string(folder.join("k.yaml")).unwrap();
        fs::write(folder.join("k.yaml"), text + "# more\n").unwrap();
    });
}

#[test]
fn a_file_that_is_replaced_is_told() {
    told(write_main, |folder| {
        fs::write(folder.join("k.yaml.new"), MINIMAL).unwrap();
        fs::rename(folder.join("k.yaml.new"), folder.join("k.yaml")).unwrap();
    });
}

#[test]
fn a_config_map_that_is_swapped_is_told() {
    let publish = |folder: &Path| {
        let version = fs::read_dir(folder).unwrap().count();
        let data = folder.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("k.yaml"), MINIMAL).unwrap();
        symlink(&data, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let prepare = |folder: &Path| {
        publish(folder);
        symlink("..data/k.yaml", folder.join("k.yaml")).unwrap();
    };
    told(prepare, publish);
}

#[test]
fn a_new_included_file_is_told() {
    let prepare = |folder: &Path| {
        write_main(folder);
        fs::create_dir(folder.join("keys.d")).unwrap();
    };
    told(prepare, |folder| {
        let number = fs::read_dir(folder.join("keys.d")).unwrap().count();
        fs::write(folder.join(format!("keys.d/{number}.yaml")), "keys:\n").unwrap();
    });
}

#[test]
fn a_folder_that_comes_into_being_is_told() {
    told(write_main, |folder| {
        let folder = folder.join("keys.d");
        if folder.exists() { fs::remove_dir(folder).unwrap() } else { fs::create_dir(folder).unwrap() }
    });
}

#[test]
fn a_missing_folder_is_a_warning_and_told_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later/k.yaml");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut watcher, warnings) = Watcher::new(std::slice::from_ref(&file));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("will be looked at every 5 s"), "{warnings:?}");
        fs::create_dir(folder.path().join("later")).unwrap();
        fs::write(&file, MINIMAL).unwrap();
        told_in_slices(&mut watcher).await;
    });
}

/// Waits as a loop does that has other things to do: every wait is dropped and begun anew many times.
async fn told_in_slices(watcher: &mut Watcher) {
    let slices = DEADLINE.as_millis() / SLICE.as_millis();
    for _ in 0..slices {
        if tokio::time::timeout(SLICE, watcher.changed()).await.is_ok() {
            return;
        }
    }
    panic!("the change is not told");
}

#[test]
fn a_wait_that_is_dropped_and_begun_anew_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_main(folder.path());
    let files = [folder.path().join("k.yaml")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut watcher, _) = Watcher::new(&files);
        fs::write(&files[0], "# other\n").unwrap();
        told_in_slices(&mut watcher).await;
    });
}

#[test]
fn a_change_between_load_and_follow_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_main(folder.path());
    let files = [folder.path().join("k.yaml")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut watcher, _) = Watcher::new(&files);
        fs::write(&files[0], "# other\n").unwrap();
        watcher.follow(&files);
        tokio::time::timeout(DEADLINE, watcher.changed()).await.expect("it is told");
    });
}

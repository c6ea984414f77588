//! Many keys at once.

use serde_json::{Value, json};

use super::world::{FILE_SECRET, run, text};

const STRONG: &str = "K7MDENGbPxRfiCYEXAMz8T2qK7MDENGbPxRf";
const DIGEST: &str = "sha256:8d0c39dce621d980a72a164f9802e8792e7355d0bcac1c6a6bac5fa01d85a9e1";

fn statuses(done: &Value) -> Vec<String> {
    let row = |row: &Value| match row["code"].as_str() {
        Some(code) => format!("{}: {code}", text(row, "/status")),
        None => text(row, "/status"),
    };
    done["results"].as_array().unwrap().iter().map(row).collect()
}

fn rows() -> Value {
    json!([
        {"name": "made"},
        {"name": "brought", "secret": STRONG, "id": "key_brought", "disabled": true, "plan": "pro"},
        {"name": "digest", "digest": DIGEST, "hint": "zz…"},
        {"name": "again", "secret": STRONG},
        {"name": "of the file", "secret": FILE_SECRET},
        {"name": "gone", "digest": format!("sha256:{}", "4b8e2ab0a7ae6c35d26ccfab1b3b2b30a5cc4b8ca7d2cd1c5ec6d4fbc1b0a9fe")},
        {"name": "weak", "secret": "hunter2"},
        {"name": "broken", "secret": "kg_live_0123"},
        {"name": "both", "secret": STRONG, "digest": DIGEST},
        {"name": "no pepper", "digest": format!("hmac-sha256:p1:{}", "0".repeat(64))},
        {"name": "", "plan": "gold"},
        {"name": "same id", "id": "key_brought"},
        {"name": "bad id", "id": "a b"},
        {"name": "id of the file", "id": "key_file"}
    ])
}

const EXPECTED: [&str; 14] = [
    "created",
    "created",
    "created",
    "unchanged",
    "unchanged",
    "created",
    "refused: invalid",
    "refused: invalid",
    "refused: invalid",
    "refused: invalid",
    "refused: invalid",
    "refused: conflict",
    "refused: invalid",
    "refused: conflict",
];

#[test]
fn each_row_has_its_own_outcome() {
    run(async |world| {
        let before = world.follower.revision();
        let dry = world.ask("POST /v1/keys:batch", json!({"keys": rows(), "dry_run": true})).await.expect(200);
        assert_eq!(statuses(&dry), EXPECTED);
        assert!(world.follower.revision() == before && dry["revision"] == before.0);

        let done = world.ask("POST /v1/keys:batch", json!({"keys": rows()})).await.expect(200);
        assert_eq!(statuses(&done), EXPECTED);
        assert_eq!(done["revision"], before.0 + 4);
        let secrets: Vec<bool> =
            done["results"].as_array().unwrap().iter().map(|row| row["secret"].is_string()).collect();
        assert!(secrets[0] && !secrets[1..].contains(&true));
        assert_eq!(
            (text(&done, "/results/3/id"), text(&done, "/results/4/id")),
            ("key_brought".into(), "key_file".into())
        );
        let brought = world.key("key_brought").await;
        assert_eq!(
            (&brought["state"], &brought["plan"], &brought["secrets"][0]["hint"]),
            (&json!("disabled"), &json!("pro"), &json!("K7MD…"))
        );
        assert_eq!(world.key(&text(&done, "/results/2/id")).await["secrets"][0]["hint"], "zz…");
        let actions: Vec<String> = world.rows().into_iter().rev().take(4).map(|row| row.action).collect();
        assert_eq!(actions, ["key.import", "key.import", "key.import", "key.create"]);
    });
}

#[test]
fn a_batch_can_be_repeated_and_revoked_secrets_do_not_come_back() {
    run(async |world| {
        let keys = json!({"keys": [{"name": "a", "secret": STRONG}, {"name": "b", "digest": DIGEST}]});
        let first = world.ask("POST /v1/keys:batch", keys.clone()).await.expect(200);
        let again = world.ask("POST /v1/keys:batch", keys.clone()).await.expect(200);
        assert_eq!(statuses(&again), ["unchanged", "unchanged"]);
        assert_eq!(text(&again, "/results/0/id"), text(&first, "/results/0/id"));
        world.ask(&format!("DELETE /v1/keys/{}", text(&first, "/results/0/id")), Value::Null).await.expect(200);
        let last = world.ask("POST /v1/keys:batch", keys).await.expect(200);
        assert_eq!(statuses(&last), ["refused: revoked", "unchanged"]);
    });
}

#[test]
fn a_batch_has_bounds_and_a_shape() {
    run(async |world| {
        let many = |count: usize| json!({"keys": vec![json!({"name": "n"}); count], "dry_run": true});
        assert_eq!(
            world.ask("POST /v1/keys:batch", many(1000)).await.expect(200)["results"].as_array().unwrap().len(),
            1000
        );
        let faults = world.ask("POST /v1/keys:batch", many(1001)).await.fields_at_fault();
        assert_eq!(faults, [("keys".into(), "value".into())]);
        for (body, field, code) in [
            (json!({}), "keys", "required"),
            (json!({"keys": [{"name": "n", "colour": 1}]}), "keys[0].colour", "unknown_field"),
            (json!({"keys": [{"name": "n"}, {"name": 7}]}), "keys[1].name", "type"),
            (json!({"keys": [{}]}), "keys[0].name", "required"),
            (json!({"keys": [["n"]]}), "keys[0]", "type"),
        ] {
            assert_eq!(world.ask("POST /v1/keys:batch", body).await.fields_at_fault(), [(field.into(), code.into())]);
        }
        assert_eq!(world.ask("POST /v1/keys:batch", json!({"keys": []})).await.expect(200)["results"], json!([]));
    });
}

#[test]
fn an_id_that_no_address_leads_to_is_refused() {
    run(async |world| {
        for id in ["verify", ".", ".."] {
            let done = world.ask("POST /v1/keys:batch", json!({"keys": [{"name": "n", "id": id}]})).await.expect(200);
            let row = &done["results"][0];
            assert_eq!((&row["status"], &row["code"]), (&json!("refused"), &json!("invalid")), "{row}");
        }
    });
}

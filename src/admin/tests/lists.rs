//! Lists: two sources as one, in pages.

use serde_json::{Value, json};

use super::world::{World, named, run_on_both, text};

async fn walk(world: &World, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.ask(&format!("GET /v1/keys?{query}{cursor}"), Value::Null).await.expect(200);
        ids.extend(page["keys"].as_array().unwrap().iter().map(|key| text(key, "/id")));
        let Some(next) = page["next"].as_str() else { return ids };
        cursor = format!("&cursor={next}");
    }
}

/// Eleven keys, of which nine are in the store; every third is disabled.
async fn fill(world: &World) {
    for n in 0..9 {
        let plan = if n % 2 == 0 { "free" } else { "pro" };
        let (id, _) = world.make(json!({"name": format!("n{n}"), "owner": "acme", "plan": plan})).await;
        if n % 3 == 0 {
            world.ask(&format!("POST /v1/keys/{id}/disable"), Value::Null).await.expect(200);
        }
    }
}

#[test]
fn pages_of_any_size_give_every_key_once_and_in_order() {
    run_on_both(async |world| {
        fill(&world).await;
        let all = walk(&world, "limit=1000").await;
        assert!(all.len() == 11 && all.is_sorted() && all.contains(&"key_file".to_owned()));
        for limit in 1..=12 {
            assert_eq!(walk(&world, &format!("limit={limit}")).await, all);
        }
        let exact = world.ask("GET /v1/keys?limit=11", Value::Null).await.expect(200);
        assert_eq!(exact["next"], Value::Null);
    });
}

#[test]
fn filters_are_the_same_for_both_sources() {
    run_on_both(async |world| {
        fill(&world).await;
        world.make(named("of nobody")).await;
        for (query, count) in [
            ("owner=acme", 11),
            ("owner=nobody", 0),
            ("plan=free", 7),
            ("plan=pro", 4),
            ("state=disabled", 3),
            ("state=revoked", 1),
            ("state=active", 8),
            ("q=OF%20THE%20file", 2),
            ("q=n7", 1),
            ("owner=acme&plan=free&state=active", 4),
        ] {
            let keys = walk(&world, &format!("limit=2&{query}")).await;
            assert!(keys.len() >= count && (query.starts_with("q=n7") || keys.len() == count), "{query}: {keys:?}");
        }
        world.ask("DELETE /v1/keys/key_file", Value::Null).await.expect(200);
        assert_eq!(walk(&world, "state=revoked").await, ["key_file", "key_gone"]);
    });
}

#[test]
fn a_bad_query_is_refused() {
    run_on_both(async |world| {
        for bad in [
            "cursor=%21",
            "cursor=Pz8_",
            "limit=0",
            "limit=1001",
            "limit=x",
            "colour=red",
            "state=new",
            "owner=%20a",
            "limit=1&limit=2",
        ] {
            world.ask(&format!("GET /v1/keys?{bad}"), Value::Null).await.refused(400, "malformed");
        }
        for bad in ["after=-1", "after=9223372036854775808", "limit=0", "from_end=perhaps", "colour=red"] {
            world.ask(&format!("GET /v1/audit?{bad}"), Value::Null).await.refused(400, "malformed");
        }
    });
}

#[test]
fn the_audit_log_comes_in_pages_from_both_ends() {
    run_on_both(async |world| {
        fill(&world).await;
        let rows = world.rows().len() as u64;
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = world.ask(&format!("GET /v1/audit?limit=4&after={after}"), Value::Null).await.expect(200);
            seen.extend(page["rows"].as_array().unwrap().iter().map(|row| row["number"].as_u64().unwrap()));
            let Some(next) = page["next"].as_u64() else { break };
            after = next;
        }
        assert_eq!(seen, (1..=rows).collect::<Vec<_>>());
        for limit in [1, 5, 1000] {
            let page = world.ask(&format!("GET /v1/audit?from_end=true&limit={limit}"), Value::Null).await.expect(200);
            let shown = page["rows"].as_array().unwrap();
            assert_eq!((shown.len() as u64, shown.last().unwrap()["number"].as_u64()), (rows.min(limit), Some(rows)));
            assert_eq!(page["next"], Value::Null);
        }
        let beyond = world.ask(&format!("GET /v1/audit?after={}", i64::MAX), Value::Null).await.expect(200);
        assert_eq!(beyond["rows"], json!([]));
    });
}

//! The command line in front of a store's file: checking, copying, looking into it.

use std::path::Path;

use keygate::store::{Action, Actor, Event, Origin, SqliteStore, Store as _};
use keygate::time::Timestamp;
use serde_json::Value;

use crate::harness::run;

/// A store with three audit rows.
fn store_in(folder: &Path) -> String {
    let path = folder.join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    for n in 1..=3 {
        let at = Timestamp::from_unix_ms(1_782_907_200_000 + n);
        let origin = Origin { at, actor: Actor::Cli, remote: None, request_id: None };
        store.record_event(Event { action: Action::KeyChange, target: Some(format!("key_{n}")), origin }).unwrap();
    }
    drop(store);
    path.to_str().unwrap().to_owned()
}

fn tamper(path: &str, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    connection.execute_batch(sql).unwrap();
}

/// Exit code, standard output and standard error.
fn ran(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, stdout, stderr) = ran(&[arguments, &["--output", "json"]].concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

#[test]
fn a_sound_store_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    assert_eq!(ran(&["audit", "verify", "--store", &store]), (Some(0), "verdict  sound, 3 rows\n".into(), "".into()));
    assert_eq!(
        ran(&["store", "check", &store]),
        (Some(0), "store      sound\naudit log  sound, 3 rows\n".into(), "".into())
    );
    let (code, verdict) = json(&["audit", "verify", "--store", &store]);
    assert_eq!((code, &verdict["sound"], &verdict["rows"]), (Some(0), &true.into(), &3.into()));
    let (code, inspected) = json(&["store", "inspect", &store]);
    assert_eq!(
        (code, &inspected["last_audit"]["number"], &inspected["keys"]["active"]),
        (Some(0), &3.into(), &0.into())
    );
    let (code, table, _) = ran(&["store", "inspect", &store]);
    assert!(code == Some(0) && table.contains("row 3, 2026-07-01T12:00:00.003Z, key.change"), "{table}");
}

#[test]
fn a_row_that_was_changed_or_taken_out_is_named() {
    for (sql, words) in [
        ("UPDATE audit SET actor = 'file' WHERE number = 2", "broken: row 2 is not as it was written"),
        ("DELETE FROM audit WHERE number = 2", "broken: row 2 is missing"),
        ("DELETE FROM audit WHERE number = 3", "broken: row 3 is missing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = store_in(folder.path());
        tamper(&store, sql);
        let (code, stdout, _) = ran(&["audit", "verify", "--store", &store]);
        assert_eq!((code, stdout), (Some(1), format!("verdict  {words}\n")), "{sql}");
        let (code, checked) = json(&["store", "check", &store]);
        assert_eq!((code, &checked["sound"], &checked["audit"]), (Some(1), &false.into(), &words.into()), "{sql}");
    }
}

#[test]
fn a_backup_is_a_store_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let copy = folder.path().join("copy.db").to_str().unwrap().to_owned();
    assert_eq!(ran(&["store", "backup", &store, &copy]).0, Some(0));
    assert_eq!(ran(&["store", "check", &copy]).0, Some(0));
    let (code, _, stderr) = ran(&["store", "backup", &store, &copy]);
    assert!(code == Some(1) && stderr.contains("is not overwritten"), "{stderr}");
}

#[test]
fn what_is_no_store_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other").to_str().unwrap().to_owned();
    std::fs::write(&other, "no database, but long enough to be looked at as one").unwrap();
    for path in ["/no/such/store.db", &other] {
        for arguments in
            [["store", "check", path].as_slice(), &["store", "inspect", path], &["audit", "verify", "--store", path]]
        {
            let (code, stdout, stderr) = ran(arguments);
            assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
            assert!(stderr.contains(path), "{stderr}");
        }
    }
}

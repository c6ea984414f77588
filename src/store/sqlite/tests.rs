//! The file itself: found again, refused when it is not sound, guarded, copied and checked.

mod crash;
mod disk;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::thread;

use rusqlite::Connection;

use super::*;
use crate::key::{Extra, State};
use crate::store::audit::Fault;
use crate::store::tests::{
    NOW, at, commit, create, digest, id, idempotency, key, key_with, loaded, open, origin, put, refusal, revoke, token,
    token_id,
};
use crate::store::{Action, Change, Expect, Refusal};

/// A folder with a closed store of a few records: five revisions, six audit rows.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit_all(vec![create(1), create(2), create(3), revoke(2)]).unwrap();
    store.commit(Commit { idempotency: Some(idempotency("a", 1)), ..token_creation() }).unwrap();
    store.record_event(Event { action: Action::LoginFail, target: None, origin: origin() }).unwrap();
    store.note_used(&[(digest(1), at(7))]).unwrap();
    drop(store);
    let path = folder.path().join("store.db");
    (folder, path)
}

fn token_creation() -> Commit {
    commit(Change::PutToken(token(1)), Expect::Absent)
}

/// Does something to a closed store that the store itself would never do.
fn tamper(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[track_caller]
fn refused(path: &Path) -> OpenError {
    let before = fs::read(path).ok();
    let error = SqliteStore::open(path).unwrap_err();
    assert_eq!(fs::read(path).ok(), before, "the file was changed");
    error
}

#[test]
fn a_store_of_the_first_version_is_taken_along() {
    let (folder, path) = closed();
    let newer =
        "DROP TABLE recoverable; ALTER TABLE keys DROP COLUMN extra_day; ALTER TABLE keys DROP COLUMN extra_month";
    tamper(&path, &format!("{newer}; PRAGMA user_version = 1"));
    let store = open(folder.path());
    let mut third = key(3);
    third.key.extra = Extra::default();
    assert_eq!((store.revision(), store.key(&id(3)).unwrap()), (Revision(5), Some((Revision(3), third))));
    assert_eq!(store.recoverable(&digest(3)).unwrap(), None);
    drop(store);
    assert_eq!(inspect(&path).unwrap().schema, SCHEMA.steps.len() as i64);
    assert!(check(&path).unwrap().is_sound());
}

#[test]
fn a_restart_finds_everything() {
    let (folder, path) = closed();
    assert!(!file::beside(&path, "-wal").exists(), "the log was not cleared away");
    let store = open(folder.path());
    assert_eq!(store.revision(), Revision(5));
    assert_eq!(loaded(&store).iter().map(|(revision, _)| revision.0).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(store.key(&id(3)).unwrap(), Some((Revision(3), key(3))));
    assert_eq!(store.key(&id(2)).unwrap().unwrap().1.key.state, State::Revoked);
    assert_eq!(store.key(&id(1)).unwrap().unwrap().1.secrets[0].last_used, Some(at(7)));
    assert_eq!(store.tokens(None, 9).unwrap(), [(Revision(5), token(1))]);
    assert_eq!(store.replay(token_id(7).as_str(), "a", NOW).unwrap().unwrap().revision, Revision(5));
    assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: 6 });
    assert_eq!(store.commit(create(4)).unwrap(), Revision(6));
}

#[test]
fn expired_answers_are_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..10 {
        let origin = crate::store::Origin { at: at(i64::from(n) * 20_000), ..origin() };
        let idempotency = Some(idempotency(&n.to_string(), n));
        store.commit(Commit { idempotency, origin, ..create(n) }).unwrap();
    }
    let kept: i64 =
        store.read(|tables| Ok(tables.0.query_row("SELECT count(*) FROM answers", [], |row| row.get(0))?)).unwrap();
    assert_eq!(kept, 5);
}

#[test]
fn a_store_belongs_to_one_process_at_a_time() {
    let (_folder, path) = closed();
    let first = SqliteStore::open(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(&error, OpenError::Locked(lock) if *lock == file::beside(&path, ".lock")));
    assert!(error.to_string().contains("another process") && error.to_string().contains("store.db.lock"), "{error}");
    drop(first);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn only_the_owner_may_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data");
    let store = open(&data);
    store.commit(create(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() == 4 && files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    drop(store);
    let path = data.join("store.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&data));
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_newer_schema_is_refused_with_both_versions() {
    let (_folder, path) = closed();
    tamper(&path, "PRAGMA user_version = 42");
    let error = refused(&path);
    assert!(matches!(error, OpenError::Newer { found: 42, .. }));
    assert!(error.to_string().contains("42") && error.to_string().contains(&SCHEMA.version().to_string()), "{error}");
    assert!(matches!(inspect(&path), Err(OpenError::Newer { .. })));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let damaged = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("restore a backup with `cp BACKUP "), "{error}");
    };
    damaged(b"");
    damaged(b"listeners: []\n");
    damaged(&[0x55; 10_000]);
    fs::remove_file(&path).unwrap();
    tamper(&path, "CREATE TABLE photos (id); PRAGMA journal_mode = DELETE");
    assert!(matches!(refused(&path), OpenError::Foreign(_)));
    for look in [|path: &Path| inspect(path).map(drop), |path: &Path| check(path).map(drop)] {
        assert!(matches!(look(&path), Err(OpenError::Foreign(_))));
        assert!(matches!(look(&folder.path().join("none")), Err(OpenError::Missing(_))));
    }
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    let (_folder, path) = closed();
    let page = |table: &str| -> u64 {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
        let page: i64 = Connection::open(&path).unwrap().query_row(sql, [table], |row| row.get(0)).unwrap();
        u64::try_from(page).unwrap()
    };
    let whole = fs::read(&path).unwrap();
    for table in ["keys", "sqlite_autoindex_keys_1", "secrets", "sqlite_autoindex_secrets_1", "tokens", "head"] {
        let at = (page(table) - 1) * 4096;
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xee; 4096], at).unwrap();
        assert!(matches!(refused(&path), OpenError::Damaged { .. }), "{table}");
        fs::write(&path, &whole).unwrap();
    }
    for len in [4096, 10_000, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(refused(&path), OpenError::Damaged { .. }), "{len}");
    }
    fs::write(&path, &whole).unwrap();
    tamper(&path, "DELETE FROM head");
    assert!(matches!(refused(&path), OpenError::Damaged { .. }));
}

#[test]
fn a_log_whose_store_is_gone_is_not_thrown_away() {
    let (_folder, path) = closed();
    fs::remove_file(&path).unwrap();
    fs::write(file::beside(&path, "-wal"), "changes").unwrap();
    let OpenError::LogAlone { log, .. } = refused(&path) else { panic!("another error") };
    assert_eq!(fs::read(log).unwrap(), b"changes");
    assert!(!path.exists());
}

#[test]
fn a_store_that_was_not_finished_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.db.new"), "half").unwrap();
    assert_eq!(open(folder.path()).revision(), Revision(0));
    assert!(!folder.path().join("store.db.new").exists());
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    for (sql, table, row, word) in [
        ("UPDATE keys SET owner = ' Acme' WHERE id = 'key_3'", "keys", "3", "owner"),
        ("UPDATE keys SET networks = '10.0.0.0/99' WHERE id = 'key_1'", "keys", "1", "networks"),
        (
            "PRAGMA ignore_check_constraints = ON; UPDATE keys SET extra_day = -1 WHERE id = 'key_1'",
            "keys",
            "1",
            "extra",
        ),
        ("UPDATE secrets SET pepper = 'P 1' WHERE key = 1", "secrets", "1", "pepper"),
        ("UPDATE tokens SET role = 'root'", "tokens", "tok_0000000000000001", "role"),
    ] {
        let (folder, path) = closed();
        tamper(&path, sql);
        let mut damaged = Vec::new();
        open(folder.path()).load(&mut |_, record| damaged.extend(record.err())).unwrap();
        let StoreError::Corrupt { table: found, row: found_row, reason } = &damaged[0].error else {
            panic!("{damaged:?}")
        };
        assert_eq!((damaged.len(), *found, found_row.as_str()), (1, table, row));
        assert!(reason.contains(word), "{reason}");
        let faults = check(&path).unwrap().faults;
        assert!(faults.len() == 1 && faults[0].contains(reason), "{faults:?}");
    }
}

#[test]
fn secrets_without_a_key_are_refused() {
    let (folder, path) = closed();
    tamper(&path, "PRAGMA foreign_keys = OFF; DELETE FROM keys WHERE number = 2");
    let error = open(folder.path()).load(&mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("row 2 of table `secrets`: there is no such key"), "{error}");
    assert!(!check(&path).unwrap().is_sound());
}

#[test]
fn what_is_left_of_a_row_is_revoked_and_keeps_its_digests() {
    let (folder, path) = closed();
    tamper(
        &path,
        "UPDATE keys SET id = 'a b' WHERE number = 1; UPDATE secrets SET pepper = 'P 1' WHERE key = 3;
         UPDATE tokens SET role = 'root'",
    );
    let store = open(folder.path());
    let (mut loaded, mut since) = (Vec::new(), Vec::new());
    store.load(&mut |revision, record| loaded.push((revision, record.map_err(|damaged| *damaged.remains)))).unwrap();
    let each =
        &mut |revision, record: Result<_, Damaged>| since.push((revision, record.map_err(|damaged| *damaged.remains)));
    store.changes_since(Revision(0), each).unwrap();
    loaded.sort_by_key(|(revision, _)| *revision);
    assert_eq!(loaded, since);
    let remains: Vec<_> = loaded.iter().map(|(revision, record)| (revision.0, record.as_ref())).collect();
    let [(1, Err(Record::Key(first))), (3, Err(Record::Key(third))), (4, Ok(_)), (5, Err(Record::Token(held)))] =
        remains.as_slice()
    else {
        panic!("{remains:?}")
    };
    assert_eq!(
        [first, third].map(|key| (key.key.id.as_str(), key.key.state)),
        [("unreadable-key-1", State::Revoked), ("key_3", State::Revoked)]
    );
    assert_eq!([first, third].map(|key| key.secrets[0].digest.digest), [digest(1), digest(3)]);
    assert_eq!((&held.id, held.digest, held.is_valid(NOW)), (&token(1).id, token(1).digest, false));
    assert_eq!(store.key(&id(3)).unwrap().map(|(_, key)| key.key.state), Some(State::Revoked));
    assert_eq!(refusal(store.commit(put(key(3)))), Refusal::Revoked, "nothing is written over it");
    assert_eq!((store.keys(&Filter::default(), None, 9).unwrap().len(), store.tokens(None, 9).unwrap().len()), (3, 1));
}

#[test]
fn the_audit_log_cannot_be_changed_by_accident() {
    let (_folder, path) = closed();
    let connection = Connection::open(&path).unwrap();
    for sql in ["UPDATE audit SET actor = 'cli'", "DELETE FROM audit WHERE number = 6"] {
        assert!(connection.execute(sql, []).unwrap_err().to_string().contains("audit rows are never"));
    }
}

#[test]
fn tampering_with_the_audit_log_is_found() {
    let copy = "INSERT INTO audit SELECT number + 100, revision, at, actor, remote, action, target, before, after,
        request_id, hash FROM audit";
    let swap = "UPDATE audit SET number = 0 WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 3;
        UPDATE audit SET number = 3 WHERE number = 0";
    for (sql, number, fault) in [
        ("UPDATE audit SET actor = 'cli' WHERE number = 3", 3, Fault::Changed),
        ("UPDATE audit SET at = at + 1 WHERE number = 1", 1, Fault::Changed),
        ("UPDATE audit SET before = '' WHERE number = 1", 1, Fault::Changed),
        ("UPDATE audit SET hash = zeroblob(32) WHERE number = 6", 6, Fault::Changed),
        ("UPDATE audit SET target = remote, remote = target WHERE number = 2", 2, Fault::Changed),
        ("DELETE FROM audit WHERE number = 1", 1, Fault::Missing),
        ("DELETE FROM audit WHERE number = 4", 4, Fault::Missing),
        ("DELETE FROM audit WHERE number = 6", 6, Fault::Missing),
        ("DELETE FROM audit", 1, Fault::Missing),
        (swap, 2, Fault::Changed),
        (&format!("{copy} WHERE number = 1"), 101, Fault::Inserted),
        ("UPDATE audit SET number = 0 WHERE number = 1", 0, Fault::Inserted),
    ] {
        let (folder, path) = closed();
        tamper(&path, "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened");
        assert!(check(&path).unwrap().is_sound());
        tamper(&path, sql);
        assert_eq!(open(folder.path()).verify_audit().unwrap(), Verdict::Broken { number, fault }, "{sql}");
        assert_eq!(check(&path).unwrap().audit, Some(Verdict::Broken { number, fault }));
    }
}

#[test]
fn a_check_finds_what_does_not_go_together() {
    let (_folder, path) = closed();
    assert_eq!(check(&path).unwrap(), Checked { faults: Vec::new(), audit: Some(Verdict::Sound { rows: 6 }) });
    tamper(&path, "PRAGMA foreign_keys = OFF; UPDATE secrets SET key = 99 WHERE key = 3; UPDATE head SET revision = 3");
    let faults = check(&path).unwrap().faults.join("\n");
    assert!(faults.contains("`secrets`") && faults.contains("no such key"), "{faults}");

    let (_folder, path) = closed();
    tamper(&path, "UPDATE head SET revision = 3");
    let faults = check(&path).unwrap().faults.join("\n");
    assert!(faults.contains("`key_2` is of revision 4, but the newest is 3"), "{faults}");
}

#[test]
fn a_store_can_be_looked_into_while_it_is_open() {
    let (folder, path) = closed();
    let inspected = |path| inspect(path).unwrap();
    let before = inspected(&path);
    assert_eq!((before.schema, before.revision, before.tokens), (SCHEMA.version(), Revision(5), 1));
    assert_eq!(before.keys, [(State::Active, 2), (State::Disabled, 0), (State::Revoked, 1)]);
    assert_eq!(before.last_audit.map(|row| (row.number, row.action)), Some((6, "login.fail".to_owned())));

    let store = open(folder.path());
    store.commit(create(5)).unwrap();
    let now = inspected(&path);
    assert_eq!((now.revision, now.keys[0]), (Revision(6), (State::Active, 3)));
    assert!(now.size_bytes > before.size_bytes);
    assert!(check(&path).unwrap().is_sound());
}

#[test]
fn a_backup_is_made_while_the_store_is_written() {
    let (folder, path) = closed();
    let store = open(folder.path());
    let to = folder.path().join("copy/store.db");
    fs::create_dir(folder.path().join("copy")).unwrap();
    let backed_up = thread::scope(|scope| {
        let writing = scope.spawn(|| (10..60).for_each(|n| assert!(store.commit(create(n)).is_ok())));
        backup(&path, &to).unwrap();
        writing.join().unwrap();
        fs::read_dir(to.parent().unwrap()).unwrap().count()
    });
    assert_eq!(backed_up, 1, "a backup is a single file");
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(check(&to).unwrap().is_sound());
    assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "a check leaves nothing behind");

    let copy = SqliteStore::open(&to).unwrap();
    let then = copy.revision();
    assert!(then >= Revision(5));
    let mut expected = loaded(&store);
    expected.retain(|(revision, _)| *revision <= then);
    assert_eq!(loaded(&copy), expected);
    assert_eq!(copy.commit(create(99)).unwrap(), then.next());
}

#[test]
fn a_backup_overwrites_nothing_and_leaves_nothing_when_it_fails() {
    let (folder, path) = closed();
    let to = folder.path().join("precious");
    fs::write(&to, "precious").unwrap();
    assert!(matches!(backup(&path, &to), Err(OpenError::Exists(there)) if there == to));
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    assert!(matches!(backup(&path, &folder.path().join("no/such")), Err(OpenError::Io { .. })));

    fs::write(folder.path().join("new.partial"), "precious").unwrap();
    assert!(matches!(backup(&path, &folder.path().join("new")), Err(OpenError::Exists(_))));
    assert!(!folder.path().join("new").exists() && folder.path().join("new.partial").exists());
    assert!(matches!(backup(&to, &folder.path().join("new2")), Err(OpenError::Damaged { .. })));
    assert!(!folder.path().join("new2").exists());
}

#[test]
fn a_changed_key_keeps_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit_all(vec![create(1), create(2), put(key_with(1, &[3, 1])), put(key_with(1, &[4, 3]))]).unwrap();
    let rows = |sql: &str| store.read(|tables| Ok(tables.0.query_row(sql, [], |row| row.get::<_, i64>(0))?)).unwrap();
    assert_eq!(rows("SELECT number FROM keys WHERE id = 'key_1'"), 1);
    assert_eq!(rows("SELECT count(*) FROM secrets"), 3);
}

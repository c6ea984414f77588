//! Killed at any moment: what was acknowledged is there.
//!
//! The test starts this very program again, which then is the process that commits and is killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::key::{Digest, KeyId};
use crate::store::{Record, StoredKey};

const FOLDER: &str = "KEYGATE_TEST_CRASH_FOLDER";
const ROUND: &str = "KEYGATE_TEST_CRASH_ROUND";
const ROUNDS: u32 = 20;
const THREADS: u32 = 4;

/// What happens to each key, one after the other.
const LIFE: [fn(u32) -> Commit; 3] = [
    |n| put(numbered(n, &[1])),
    |n| put(numbered(n, &[2, 1])),
    |n| commit(Change::RevokeKey(numbered(n, &[]).key.id), Expect::Anything),
];

fn numbered(n: u32, secrets: &[u8]) -> StoredKey {
    let mut stored = key_with(1, secrets);
    stored.key.id = key_id(n);
    for secret in &mut stored.secrets {
        let mut bytes = *secret.digest.digest.as_bytes();
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        secret.digest.digest = Digest::from(bytes);
    }
    stored
}

fn key_id(n: u32) -> KeyId {
    format!("key_{n}").parse().unwrap()
}

/// How far a key has come in its life.
fn age(stored: &StoredKey) -> usize {
    match (stored.key.state, stored.secrets.len()) {
        (State::Revoked, 2) => 2,
        (State::Active, 2) => 1,
        (State::Active, 1) => 0,
        other => panic!("no commit made it {other:?}"),
    }
}

/// The process that is killed. Does nothing when it is run as a test.
#[test]
fn child() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let (store, first) = (open(Path::new(&folder)), round.parse::<u32>().unwrap() * 1_000_000);
    // The harness has begun a line.
    writeln!(std::io::stdout()).unwrap();
    let commit_for_ever = |thread: u32| {
        for n in (first + thread..).step_by(THREADS as usize) {
            for (age, step) in LIFE.iter().enumerate() {
                let Revision(revision) = store.commit(step(n)).unwrap();
                writeln!(std::io::stdout(), "done {n} {age} {revision}").unwrap();
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|thread| drop(scope.spawn(move || commit_for_ever(thread))));
    });
}

/// Runs the child until it has acknowledged some commits, kills it, and returns what it had acknowledged by then.
fn kill_after(folder: &Path, round: u32, acknowledged: usize) -> Vec<(u32, usize, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite::tests::crash::child", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut done = lines.filter_map(|line| {
        let mut words = line.strip_prefix("done ")?.split(' ').map(|word| word.parse::<u64>().unwrap());
        let mut word = || words.next().unwrap();
        Some((u32::try_from(word()).unwrap(), usize::try_from(word()).unwrap(), word()))
    });
    let mut all: Vec<_> = done.by_ref().take(acknowledged).collect();
    child.kill().unwrap();
    all.extend(done);
    child.wait().unwrap();
    assert!(all.len() >= acknowledged);
    all
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<KeyId, (usize, u64)> = HashMap::new();
    for round in 0..ROUNDS {
        let some = getrandom::u32().unwrap() % 40;
        for (n, age, revision) in kill_after(folder.path(), round, some as usize) {
            acknowledged.insert(key_id(n), (age, revision));
        }
        let store = open(folder.path());
        let mut stored = HashMap::new();
        store
            .load(&mut |revision, record| {
                let Ok(Record::Key(key)) = record else { panic!("no tokens were put") };
                stored.insert(key.key.id.clone(), (age(&key), revision.0));
            })
            .unwrap();
        for (id, (age, revision)) in &acknowledged {
            let (found, changed) = stored[id];
            // The next step may have become durable without anybody having been told.
            assert!((found == *age && changed == *revision) || (found == age + 1 && changed > *revision), "{id}");
        }
        assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: store.revision().0 });
    }
    assert!(check(&folder.path().join("store.db")).unwrap().is_sound());
}

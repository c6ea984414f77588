//! What the store takes: commits one by one, from many threads and in batches, opening and loading many keys.
//!
//! `cargo bench --bench store -- [--keys N] [--commits N] [--dir DIR]`. The first line is what the disk alone takes to make
//! as many bytes durable as a commit does: compare with that, not with another machine.
#![allow(missing_docs, clippy::print_stdout, reason = "a program whose output is its table")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use keygate::key::{Digest, Extra, Key, KeyId, State, StoredDigest};
use keygate::store::{
    Action, Actor, Change, Commit, Expect, Origin, Record, SqliteStore, Store, StoredKey, StoredSecret, backup, check,
};
use keygate::time::{self, Timestamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that commit at the same time.
const CLIENTS: usize = 64;
/// Commits in one batch.
const BATCH: usize = 1000;
/// What a commit of one key writes to the log: about six pages.
const COMMIT_BYTES: usize = 6 * 4096;
const NOW: Timestamp = Timestamp::from_unix_ms(1_782_907_200_000);

fn main() {
    let options = Options::from_args(std::env::args().skip(1));
    let folder = tempfile::tempdir_in(&options.folder).expect("the folder can be written to");
    println!("{:<34} {:>12} {:>10} {:>10} {:>10}", "what", "per second", "p50 ms", "p99 ms", "max ms");
    disk(folder.path(), options.commits);
    singles(folder.path(), options.commits);
    clients(folder.path(), options.commits);
    many(folder.path(), options.keys);
}

/// What the command line asks for.
struct Options {
    keys: usize,
    commits: usize,
    folder: PathBuf,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self { keys: 1_000_000, commits: 5_000, folder: env!("CARGO_TARGET_TMPDIR").into() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            match arg.as_str() {
                "--keys" => options.keys = value().parse().expect("--keys is a number"),
                "--commits" => options.commits = value().parse().expect("--commits is a number"),
                "--dir" => options.folder = value().into(),
                "--bench" => {} // cargo says so to every benchmark
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

/// The floor: appending and waiting for the disk.
fn disk(folder: &Path, count: usize) {
    let mut file = File::create(folder.join("floor")).expect("a file can be made");
    let bytes = [1; COMMIT_BYTES];
    let append = |_| {
        timed(|| {
            file.write_all(&bytes).expect("the disk has space");
            file.sync_data().expect("the disk works");
        })
    };
    let (whole, each) = timed_all(|| (0..count).map(append).collect());
    print_rates("append and fdatasync, no store", count, whole, each);
}

/// One thread, one commit after the other.
fn singles(folder: &Path, count: usize) {
    let store = open(&folder.join("singles.db"));
    let create = |n| timed(|| store.commit(creation(n)).expect("it is created"));
    let (whole, each) = timed_all(|| (0..count).map(create).collect());
    print_rates("create, one after the other", count, whole, each);
    let revoke = |n| timed(|| store.commit(revocation(n)).expect("it is revoked"));
    let (whole, each) = timed_all(|| (0..count).map(revoke).collect());
    print_rates("revoke, one after the other", count, whole, each);
}

/// Many threads, each one commit after the other.
fn clients(folder: &Path, count: usize) {
    let store = open(&folder.join("clients.db"));
    let share = count.div_ceil(CLIENTS) * 4;
    let client = |client: usize| {
        let store = &store;
        move || {
            let numbers = client * share..(client + 1) * share;
            numbers.map(|n| timed(|| store.commit(creation(n)).expect("it is created"))).collect::<Vec<_>>()
        }
    };
    let (whole, each) = timed_all(|| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(client(n))).collect();
            clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
        })
    });
    print_rates(&format!("create, from {CLIENTS} threads"), CLIENTS * share, whole, each);
}

/// Batches until there are very many keys, and then what is done to all of them.
fn many(folder: &Path, keys: usize) {
    let path = folder.join("many.db");
    let store = open(&path);
    let batches = (0..keys).step_by(BATCH).map(|from| (from..(from + BATCH).min(keys)).map(creation).collect());
    let batches: Vec<Vec<Commit>> = batches.collect();
    let commit = |batch| timed(|| drop(store.commit_all(batch).expect("it is created")));
    let (whole, each) = timed_all(|| batches.into_iter().map(commit).collect());
    print_rates(&format!("create, in batches of {BATCH}"), keys, whole, each);
    println!("\nwith {keys} keys");
    let once = |what: &str, work: &mut dyn FnMut()| {
        println!("{what:<34} {:>10.3} s", timed(work).as_secs_f64());
    };
    drop(store);
    let mut store = None;
    once("open", &mut || store = Some(open(&path)));
    let store = store.expect("it was opened");
    for _ in 0..3 {
        once("load", &mut || _ = black_box(store.load(&mut count)).expect("it loads"));
    }
    let (used, newest) = (uses(keys), store.revision());
    once("note the use of all", &mut || store.note_used(&used).expect("it is noted"));
    once("changes since the newest revision", &mut || {
        store.changes_since(newest, &mut count).expect("they are there");
    });
    once("page of 100 keys", &mut || drop(store.keys(&keygate::store::Filter::default(), None, 100)));
    once("backup", &mut || backup(&path, &folder.join("copy.db")).expect("it is copied"));
    once("verify the audit log", &mut || drop(store.verify_audit()));
    once("check", &mut || assert!(check(&path).expect("it can be read").is_sound()));
    let size = std::fs::metadata(&path).expect("it is there").len();
    println!("{:<34} {:>10} bytes per key", "size", size / keys as u64);
}

fn count(_: keygate::store::Revision, record: Result<Record, keygate::store::Damaged>) {
    black_box(record.expect("no row is damaged"));
}

fn uses(keys: usize) -> Vec<(Digest, Timestamp)> {
    (0..keys).map(|n| (digest(n), NOW)).collect()
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).expect("it opens")
}

fn creation(n: usize) -> Commit {
    let change = Change::PutKey(Box::new(stored(n)));
    commit(change, Expect::Absent, Action::KeyCreate)
}

fn revocation(n: usize) -> Commit {
    commit(Change::RevokeKey(id(n)), Expect::Anything, Action::KeyRevoke)
}

fn commit(change: Change, expect: Expect, action: Action) -> Commit {
    let request_id = Some("0197a3c05ed77b2c8f5e0d4b6a9c1e2f".to_owned());
    let origin = Origin { at: NOW, actor: Actor::Cli, remote: Some([127, 0, 0, 1].into()), request_id };
    Commit { change, expect, action, origin, idempotency: None }
}

fn stored(n: usize) -> StoredKey {
    let key = Key {
        id: id(n),
        name: format!("customer {n}"),
        owner: Some(format!("owner{}", n / 10).parse().expect("it is a name")),
        plan: Some("free".parse().expect("it is a name")),
        scopes: vec!["orders:read".parse().expect("it is a scope")],
        networks: Vec::new(),
        not_before: None,
        expires: Some(NOW),
        state: State::Active,
        extra: Extra::default(),
    };
    let secret = StoredSecret {
        digest: StoredDigest { pepper: None, digest: digest(n) },
        hint: "kg_live_0123…".to_owned(),
        since: NOW,
        until: None,
        last_used: None,
        recoverable: None,
    };
    StoredKey { key, secrets: vec![secret], created: NOW, changed: NOW }
}

/// Ids are as random as real ones, so that their places in the index are.
fn id(n: usize) -> KeyId {
    format!("key_{:016x}", mixed(n, 1)).parse().expect("it is an id")
}

fn digest(n: usize) -> Digest {
    let mut bytes = [0; 32];
    let words = bytes.as_chunks_mut::<8>().0.iter_mut().zip(2..);
    words.for_each(|(word, salt)| *word = mixed(n, salt).to_be_bytes());
    Digest::from(bytes)
}

fn mixed(n: usize, salt: u64) -> u64 {
    let word =
        (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (word ^ word >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = time::now();
    black_box(work());
    time::now().since(start)
}

fn timed_all(work: impl FnOnce() -> Vec<Duration>) -> (Duration, Vec<Duration>) {
    let start = time::now();
    let each = work();
    (time::now().since(start), each)
}

fn print_rates(what: &str, count: usize, whole: Duration, mut each: Vec<Duration>) {
    each.sort_unstable();
    let ms = |share: f64| each[((each.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let rate = count as f64 / whole.as_secs_f64();
    println!("{what:<34} {rate:>12.0} {:>10.3} {:>10.3} {:>10.3}", ms(0.5), ms(0.99), ms(1.0));
}

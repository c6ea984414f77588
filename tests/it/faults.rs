//! A store that fails under a running gateway, or at its start: what was acknowledged holds, and nothing is half done.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Client, Process, Response, Settings, SmallDisk, Upstream, command, keyless, run, wait_for, wait_until,
};

/// A folder with a configuration and, next to it, what a gateway keeps.
struct Place {
    folder: TempDir,
    _upstream: Upstream,
}

/// A gateway that serves the admin API.
struct Served {
    process: Process,
    data: SocketAddr,
    operations: SocketAddr,
    admin: SocketAddr,
    token: String,
}

/// A key as the one who made it knows it.
#[derive(Clone, Debug)]
struct Made {
    id: String,
    secret: String,
    revision: u64,
}

/// Whether a change was made; if not, the answer was 503.
type Changed<T> = Option<T>;

impl Place {
    fn new() -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::echo());
        let place = Self { folder, _upstream: upstream };
        fs::create_dir(place.path("etc")).unwrap();
        let data_dir = place.path("data");
        let top = format!("admin:\n  address: 127.0.0.1:0\ndata_dir: {}\nflood_guard: off", data_dir.display());
        fs::write(place.config(), Settings::before(&place._upstream).top(&top).yaml()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        // strace compares paths without links.
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/keygate.yaml")
    }

    fn store(&self) -> PathBuf {
        self.path("data/keygate.db")
    }

    #[track_caller]
    fn start(&self) -> Served {
        self.ready(Process::spawn(&mut command(&self.arguments())))
    }

    /// Starts a gateway whose `number`th call of this name on the store's files fails, in each thread that makes so many.
    #[track_caller]
    fn start_with_fault(&self, call: &str, number: usize) -> Served {
        self.ready(self.spawn_with_fault(call, number, &["", "-wal"]))
    }

    /// The same with the files given by how their names end, and a gateway that may not get ready.
    fn spawn_with_fault(&self, call: &str, number: usize, suffixes: &[&str]) -> Process {
        let mut strace = Command::new("strace");
        // The tracer stays aside, so that the process that is started here is the gateway.
        strace.args(["-D", "-f", "--seccomp-bpf", "-o"]).arg(self.trace()).arg(format!("--trace={call}"));
        strace.arg(format!("--inject={call}:error=EIO:when={number}"));
        for suffix in suffixes {
            strace.arg("-P").arg(self.path(&format!("data/keygate.db{suffix}")));
        }
        strace.arg(command::<&str>(&[]).get_program()).args(self.arguments());
        Process::spawn(&mut strace)
    }

    /// Whether the fault came, once the gateway has ended.
    #[track_caller]
    fn fault_came(&self, process: u32) -> bool {
        let of_process = |line: &str| line.split_whitespace().take(2).eq([process.to_string().as_str(), "+++"]);
        let trace = wait_until("the end of the trace", || {
            let trace = fs::read_to_string(self.trace()).unwrap();
            trace.lines().any(of_process).then_some(trace)
        });
        trace.contains("(INJECTED)")
    }

    fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    fn arguments(&self) -> [String; 3] {
        ["serve".to_owned(), "--config".to_owned(), self.config().to_str().unwrap().to_owned()]
    }

    #[track_caller]
    fn ready(&self, mut process: Process) -> Served {
        let line: Value = wait_until("the line that says `listening`", || {
            assert!(process.is_running(), "keygate ended at start: {}", process.stderr());
            let lines = process.stderr();
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).find(is_listening)
        });
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let token = fs::read_to_string(self.path("data/admin.token")).unwrap().trim().to_owned();
        let (data, operations, admin) = (address("listeners"), address("operations"), address("admin"));
        Served { process, data, operations, admin, token }
    }

    /// The start fails with exit code 1; what it said.
    #[track_caller]
    fn refused_start(&self) -> String {
        let mut process = Process::spawn(&mut command(&self.arguments()));
        assert_eq!(process.exit_code(), Some(1), "{}", process.stderr());
        wait_for("the reason", || process.stderr().contains("keygate: "));
        process.stderr()
    }

    /// A stopped gateway's store is sound to its last page, and so is its audit log.
    #[track_caller]
    fn expect_sound(&self) {
        let store = self.store();
        let store = store.to_str().unwrap();
        for arguments in [["store", "check", store].as_slice(), &["audit", "verify", "--store", store]] {
            let output = run(arguments);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

impl Served {
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = format!("Authorization: Bearer {}", self.token);
        let length = format!("Content-Length: {}", body.len());
        let fields = [token.as_str(), "Content-Type: application/json", "Connection: close", length.as_str()];
        Client::connect(self.admin).ask(keyless(method, path, &fields) + &body)
    }

    /// Asks for a change, which is made or refused because of the store.
    #[track_caller]
    fn change(&self, method: &str, path: &str, body: &Value) -> Changed<Value> {
        let answer = self.call(method, path, body);
        match answer.status {
            200 | 201 => Some(json(&answer)),
            _ => {
                answer.expect_problem(503, "unavailable");
                None
            }
        }
    }

    #[track_caller]
    fn create(&self, name: &str) -> Changed<Made> {
        self.change("POST", "/v1/keys", &json!({"name": name})).map(|answer| Made::from(&answer))
    }

    #[track_caller]
    fn revoke(&self, id: &str) -> Changed<u64> {
        self.change("POST", &format!("/v1/keys/{id}/revoke"), &Value::Null).map(|answer| revision(&answer))
    }

    /// Id and state of each key of the store.
    #[track_caller]
    fn listed(&self) -> BTreeMap<String, String> {
        let answer = json(&self.call("GET", "/v1/keys?limit=1000", &Value::Null).expect(200));
        assert!(answer["next"].is_null(), "one page holds them all");
        let keys = answer["keys"].as_array().unwrap().iter().filter(|key| key["source"] == "store");
        keys.map(|key| (text(&key["id"]), text(&key["state"]))).collect()
    }

    /// Whether a request with this secret gets through.
    #[track_caller]
    fn admits(&self, secret: &str) -> bool {
        let answer = Client::connect(self.data).ask(keyless("GET", "/", &[&format!("Authorization: Bearer {secret}")]));
        match answer.status {
            200 => true,
            401 | 403 => false,
            _ => panic!("{}", answer.text()),
        }
    }

    #[track_caller]
    fn expect_ready(&self) {
        Client::connect(self.operations).ask(keyless("GET", "/readyz", &["Connection: close"])).expect(200);
    }

    #[track_caller]
    fn stop(mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.exit_code(), Some(0), "{}", self.process.stderr());
    }

    /// Limits how large the process can make a file; no number: as large as anybody may.
    fn limit_file_size(&self, bytes: Option<u64>) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let process = Pid::from_raw(self.process.id().cast_signed());
        prlimit(process, Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
    }
}

impl From<&Value> for Made {
    fn from(answer: &Value) -> Self {
        Self { id: text(&answer["key"]["id"]), secret: text(&answer["secret"]), revision: revision(answer) }
    }
}

fn is_listening(line: &Value) -> bool {
    line["message"] == "listening"
}

#[track_caller]
fn json(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[track_caller]
fn revision(answer: &Value) -> u64 {
    answer["revision"].as_u64().unwrap()
}

/// Changes until the disk is full, and after it is free again.
fn check_full_disk(place: &Place, fill: impl FnOnce(&Served), free: impl FnOnce(&Served)) {
    let gateway = place.start();
    fill(&gateway);
    let made: Vec<Made> = (0..1000).map_while(|n| gateway.create(&format!("key {n}"))).collect();
    assert!((2..1000).contains(&made.len()), "{} keys found room", made.len());
    // A revocation is smaller than a key, so a few may still find room.
    let revoked = made.iter().take_while(|key| gateway.revoke(&key.id).is_some()).count();
    assert!(revoked < made.len(), "all revocations found room");

    let expect_whole = |gateway: &Served, made: &[Made], revoked: usize| {
        for (place, key) in made.iter().enumerate() {
            assert_eq!(gateway.admits(&key.secret), place >= revoked, "key {place} of {}", made.len());
        }
        let state = |place| if place < revoked { "revoked" } else { "active" };
        let listed = made.iter().enumerate().map(|(place, key)| (key.id.clone(), state(place).to_owned())).collect();
        assert_eq!(gateway.listed(), listed);
        gateway.expect_ready();
    };
    expect_whole(&gateway, &made, revoked);

    free(&gateway);
    expect_whole(&gateway, &made, revoked);
    let later = gateway.create("later").expect("there is room again");
    let all = [made.as_slice(), &[later]].concat();
    gateway.revoke(&all[revoked].id).expect("there is room again");
    expect_whole(&gateway, &all, revoked + 1);
    gateway.stop();
    place.expect_sound();
    let gateway = place.start();
    expect_whole(&gateway, &all, revoked + 1);
    gateway.stop();
}

#[test]
fn a_store_that_cannot_grow_refuses_changes_and_recovers_without_a_restart() {
    check_full_disk(
        &Place::new(),
        |gateway| gateway.limit_file_size(Some(256 << 10)),
        |gateway| gateway.limit_file_size(None),
    );
}

#[test]
fn a_full_disk_refuses_changes_and_what_is_in_force_stays() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.path("data"), 1) else {
        println!("no file system may be mounted here; the test with a limit on files stands in for this one");
        return;
    };
    check_full_disk(&place, |_| {}, |_| disk.grow(16));
}

/// How a gateway ends after a fault.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stopped,
    Killed,
}

/// A change that was refused because of a fault.
#[derive(Debug, PartialEq)]
enum Doubt {
    Nothing,
    Creation,
    Revocation(String),
}

/// A key is made and revoked while the first, second, … call of this name fails, up to the last that there is.
fn check_each_fault(call: &str, end: End) {
    let place = Place::new();
    let gateway = place.start();
    // What was acknowledged of each id.
    let mut known = BTreeMap::new();
    let mut secrets = vec![gateway.create("spare").unwrap()];
    known.insert(secrets[0].id.clone(), "active".to_owned());
    gateway.stop();
    for number in 1..200 {
        let gateway = place.start_with_fault(call, number);
        let doubt = make_and_revoke(&gateway, &mut known, &mut secrets);
        expect_known(&gateway, &known, &secrets);
        gateway.expect_ready();
        let process = gateway.process.id();
        match end {
            End::Stopped => gateway.stop(),
            End::Killed => drop(gateway),
        }
        let came = place.fault_came(process);
        let gateway = place.start();
        if end == End::Killed {
            // What was refused had perhaps been written when the process died.
            take_what_came_back(&mut known, gateway.listed(), &doubt);
        }
        expect_known(&gateway, &known, &secrets);
        gateway.stop();
        place.expect_sound();
        if !came {
            assert!(number > 1, "no fault ever came");
            return;
        }
    }
    panic!("the faults have no end");
}

/// Makes a key and revokes it, or the spare one; what was acknowledged is noted.
fn make_and_revoke(gateway: &Served, known: &mut BTreeMap<String, String>, secrets: &mut Vec<Made>) -> Doubt {
    let mut doubt = Doubt::Nothing;
    match gateway.create("made") {
        Some(made) => {
            known.insert(made.id.clone(), "active".to_owned());
            secrets.push(made);
        }
        None => doubt = Doubt::Creation,
    }
    let last = secrets.last().unwrap().id.clone();
    if gateway.revoke(&last).is_some() {
        known.insert(last, "revoked".to_owned());
    } else {
        assert_eq!(doubt, Doubt::Nothing, "one fault, and two calls failed");
        doubt = Doubt::Revocation(last);
    }
    doubt
}

/// A key whose creation was refused may be there now, and the one whose revocation was refused may be revoked.
fn take_what_came_back(known: &mut BTreeMap<String, String>, listed: BTreeMap<String, String>, doubtful: &Doubt) {
    for (id, state) in listed {
        match doubtful {
            Doubt::Creation if !known.contains_key(&id) => drop(known.insert(id, state)),
            Doubt::Revocation(revoked) if *revoked == id => drop(known.insert(id, state)),
            _ => {}
        }
    }
}

/// What was acknowledged is there and in force, and nothing else.
#[track_caller]
fn expect_known(gateway: &Served, known: &BTreeMap<String, String>, secrets: &[Made]) {
    assert_eq!(gateway.listed(), *known);
    for key in secrets {
        assert_eq!(gateway.admits(&key.secret), known[&key.id] == "active", "{}", key.id);
    }
}

#[test]
fn whichever_write_fails_what_was_acknowledged_holds_and_what_was_refused_is_not_there() {
    check_each_fault("pwrite64", End::Stopped);
}

#[test]
fn whichever_sync_fails_what_was_acknowledged_holds_and_what_was_refused_is_not_there() {
    check_each_fault("fsync", End::Stopped);
    check_each_fault("ftruncate", End::Stopped);
}

#[test]
fn a_sync_fails_and_the_process_dies_and_what_was_acknowledged_holds() {
    check_each_fault("fsync", End::Killed);
}

/// The first start of all, with the first, second, … call of this name failing: it fails, and the next one does not.
fn check_each_fault_of_the_first_start(call: &str, step: usize) {
    for number in (1..200).step_by(step) {
        let place = Place::new();
        let mut process = place.spawn_with_fault(call, number, &["", "-wal", "-shm", ".new", ".new-journal"]);
        let started = wait_until("a start, or its end", || {
            let listens = process.stderr().contains("\"listening\"");
            (listens || !process.is_running()).then_some(listens)
        });
        if started {
            process.signal(Signal::TERM);
        }
        assert_eq!(process.exit_code(), Some(if started { 0 } else { 1 }), "{}", process.stderr());
        let came = place.fault_came(process.id());
        assert!(came || started, "no fault, and no start: {}", process.stderr());
        let gateway = place.start();
        gateway.create("made").unwrap();
        gateway.stop();
        place.expect_sound();
        if !came {
            assert!(number > 1, "no fault ever came");
            return;
        }
    }
    panic!("the faults have no end");
}

#[test]
fn a_first_start_that_fails_half_way_leaves_nothing_that_stops_the_next() {
    check_each_fault_of_the_first_start("fsync", 1);
    check_each_fault_of_the_first_start("pwrite64", 5);
}

/// A place whose store has a key in it, and no gateway.
fn place_with_a_key() -> Place {
    let place = Place::new();
    let gateway = place.start();
    gateway.create("a key").unwrap();
    gateway.stop();
    place
}

/// The start is refused with these words, again and again, and the store's file stays as it is.
#[track_caller]
fn check_refused_start(place: &Place, words: &[&str]) {
    let before = fs::read(place.store()).unwrap();
    for _ in 0..2 {
        let said = place.refused_start();
        words.iter().for_each(|words| assert!(said.contains(words), "{words:?} is not in: {said}"));
        assert!(fs::read(place.store()).unwrap() == before, "the file was touched");
    }
}

#[test]
fn a_torn_store_is_refused_at_the_start_and_left_alone() {
    let place = place_with_a_key();
    let whole = fs::read(place.store()).unwrap();
    for length in [0, 100, 4096, 5000, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(place.store(), &whole[..length]).unwrap();
        check_refused_start(&place, &["is damaged", "Nothing was changed", "restore a backup with `cp BACKUP "]);
    }
    fs::write(place.store(), &whole).unwrap();
    let gateway = place.start();
    assert_eq!(gateway.listed().len(), 1);
    gateway.stop();
}

#[test]
fn a_store_of_a_newer_keygate_is_refused_at_the_start_and_left_alone() {
    let place = place_with_a_key();
    rusqlite::Connection::open(place.store()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    check_refused_start(&place, &["schema version 99", "use a newer keygate, or restore a backup"]);
}

#[test]
fn a_data_folder_that_is_a_file_is_refused_at_the_start_and_left_alone() {
    let place = Place::new();
    fs::write(place.path("data"), "mine").unwrap();
    let said = place.refused_start();
    assert!(said.contains("data` is not a folder: move it aside"), "{said}");
    assert_eq!(fs::read_to_string(place.path("data")).unwrap(), "mine");
}

#[test]
fn a_second_process_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let gateway = place.start();
    let made = gateway.create("made").unwrap();
    let said = place.refused_start();
    assert!(said.contains("another process has the store open: it holds the lock on"), "{said}");
    assert!(gateway.admits(&made.secret));
    gateway.revoke(&made.id).unwrap();
    assert!(!gateway.admits(&made.secret));
    gateway.stop();
    place.expect_sound();
}

/// One of many clients: makes a key, rotates it, revokes it; each change is in force when it is answered.
fn make_rotate_revoke(gateway: &Served, client: usize, newest: &AtomicU64) -> [u64; 3] {
    // Revisions are in the order of changes: what was answered before this call was sent is older.
    let later = |change: &dyn Fn() -> (Made, u64)| {
        let before = newest.load(Ordering::SeqCst);
        let (made, revision) = change();
        assert!(revision > before, "{revision} is not after {before}");
        newest.fetch_max(revision, Ordering::SeqCst);
        made
    };
    let first = later(&|| {
        let made = gateway.create(&format!("client {client}")).unwrap();
        (made.clone(), made.revision)
    });
    assert!(gateway.admits(&first.secret));
    let second = later(&|| {
        let path = format!("/v1/keys/{}/rotate", first.id);
        let rotated = Made::from(&gateway.change("POST", &path, &json!({"grace": "0s"})).unwrap());
        (rotated.clone(), rotated.revision)
    });
    assert!(gateway.admits(&second.secret) && !gateway.admits(&first.secret));
    let last = later(&|| {
        let revision = gateway.revoke(&first.id).unwrap();
        (Made { revision, ..second.clone() }, revision)
    });
    assert!(!gateway.admits(&second.secret) && !gateway.admits(&first.secret));
    [first.revision, second.revision, last.revision]
}

#[test]
fn changes_of_64_clients_at_once_are_each_in_force_when_they_are_answered() {
    let place = Place::new();
    let gateway = place.start();
    let newest = AtomicU64::new(0);
    let mut revisions: Vec<u64> = thread::scope(|scope| {
        let (gateway, newest) = (&gateway, &newest);
        let clients = (0..CLIENTS).map(|client| {
            scope.spawn(move || {
                (0..ROUNDS).flat_map(|_| make_rotate_revoke(gateway, client, newest)).collect::<Vec<_>>()
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    revisions.sort_unstable();
    let first = revisions[0];
    assert!(
        revisions.iter().copied().eq((first..).take(3 * CLIENTS * ROUNDS)),
        "no revision twice, and none is missing"
    );
    assert!(gateway.listed().into_values().all(|state| state == "revoked"));
    gateway.stop();
    place.expect_sound();
}

const CLIENTS: usize = 64;
const ROUNDS: usize = 3;

//! Chooses the key index: look-ups from every core, idle and while a writer inserts, for each candidate in a process of its own.
//!
//! `cargo bench --bench index -- [--keys N] [--seconds S] [--only NAME]`. Times are per call: the median, the 99th percentile
//! and the maximum. Look-ups are timed by the clock in batches, so their maximum is that of a batch's mean; inserts are
//! timed one by one in CPU time of the writer, so that a stall is a stall and not another process's turn.
#![allow(missing_docs, clippy::print_stdout, reason = "a program whose output is its table")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use papaya::Guard;

use keygate::catalog::{Applied, Catalog, FileKey, RuleSet, Rules, Wire};
use keygate::key::{Digest, Extra, Key, Name, State};
use keygate::route::Route;
use keygate::{time, upstream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let options = Options::from_args(std::env::args().skip(1));
    match options.only.as_deref() {
        Some(name) => measure_named(name, &options),
        None => measure_all(&options),
    }
}

/// What the command line asks for.
struct Options {
    keys: usize,
    seconds: f64,
    only: Option<String>,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self { keys: 1_000_000, seconds: 1.0, only: None };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            match arg.as_str() {
                "--keys" => options.keys = value().parse().expect("--keys is a number"),
                "--seconds" => options.seconds = value().parse().expect("--seconds is a number"),
                "--only" => options.only = Some(value()),
                "--bench" => {} // cargo says so to every benchmark
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

fn measure_all(options: &Options) {
    println!("{} keys, {} reading threads; ns per call: median / p99 / max\n", options.keys, cores());
    println!(
        "{:<14} {:<7} {:>23} {:>23} {:>23} {:>34} {:>9}",
        "candidate", "writer", "known key", "unknown key", "hot key", "insert (over 1 ms)", "bytes/key"
    );
    let itself = std::env::current_exe().expect("a program has a path");
    for name in CANDIDATES.into_iter().chain([CATALOG]) {
        // A process each, so that resident memory is the candidate's own.
        let status = Command::new(&itself)
            .args(["--keys", &options.keys.to_string()])
            .args(["--seconds", &options.seconds.to_string()])
            .args(["--only", name])
            .status();
        assert!(status.expect("the program starts again").success(), "{name} failed");
    }
}

fn measure_named(name: &str, options: &Options) {
    match name {
        "dashmap" => measure::<Dash>(name, options),
        "rwlock x256" => measure::<Locked>(name, options),
        "papaya" => measure::<Papaya>(name, options),
        "papaya x64" => measure::<Papayas<64>>(name, options),
        "papaya x256" => measure::<Papayas<256>>(name, options),
        "papaya x1024" => measure::<Papayas<1024>>(name, options),
        "arc-swap" => measure::<Buckets>(name, options),
        CATALOG => measure_catalog(options),
        other => panic!("no candidate {other:?}"),
    }
}

const CANDIDATES: [&str; 7] =
    ["dashmap", "rwlock x256", "papaya", "papaya x64", "papaya x256", "papaya x1024", "arc-swap"];

fn measure<I: Index>(name: &str, options: &Options) {
    let entries: Vec<Arc<Entry>> = (0..options.keys).map(|_| Arc::default()).collect();
    let before = resident_bytes();
    let index = I::default();
    let alone = insert_all(&index, 0, entries);
    index.free_garbage();
    let bytes_per_key = settled_bytes().saturating_sub(before) / options.keys;

    let idle = AtomicBool::new(true);
    let quiet = thread::scope(|scope| {
        let readers = start_readers(scope, &index, options.keys, &idle);
        thread::sleep(Duration::from_secs_f64(options.seconds));
        idle.store(false, Ordering::Relaxed);
        join(readers)
    });
    print_row(name, "none", &quiet, &alone, &bytes_per_key.to_string());

    let writes = (0..options.keys.min(WRITES)).map(|_| Arc::default()).collect();
    let writing = AtomicBool::new(true);
    let (busy, beside) = thread::scope(|scope| {
        let readers = start_readers(scope, &index, options.keys, &writing);
        let beside = insert_all(&index, options.keys, writes);
        writing.store(false, Ordering::Relaxed);
        (join(readers), beside)
    });
    print_row("", "inserts", &busy, &beside, "");
}

/// The index as it was built in the end: whole files of keys, records and the writer's list included.
fn measure_catalog(options: &Options) {
    let before = resident_bytes();
    let catalog = Catalog::new();
    time_apply(&catalog, "all new", file(options.keys, "first"));
    let bytes_per_key = settled_bytes().saturating_sub(before) / options.keys;
    println!("{:>10} bytes resident per key, with its record of {} bytes", bytes_per_key, size_of::<Key>());
    print_waits("the writer rests", &read_beside(&catalog, options.keys, || thread::sleep(Duration::from_secs(2))));
    let more = file_of(0..2 * options.keys, "first");
    print_waits(
        "as many keys more",
        &read_beside(&catalog, options.keys, || time_apply(&catalog, "twice as many", more)),
    );
    time_apply(&catalog, "the first again", file(options.keys, "first"));
    time_apply(&catalog, "all unchanged", file(options.keys, "first"));
    time_apply(&catalog, "all changed", file(options.keys, "second"));
    time_apply(&catalog, "all removed", Vec::new());
}

/// What one look-up after the other took of the reader's CPU time, and how often the reader had to wait for anything.
struct Waits {
    look_ups: Histogram,
    waits: u64,
}

/// Looks up keys in random order for as long as something else is done.
fn read_beside(catalog: &Catalog, keys: usize, work: impl FnOnce()) -> Waits {
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut look_ups, mut random, before) = (Histogram::default(), 1, voluntary_switches());
            while running.load(Ordering::Relaxed) {
                random = mix(random);
                let digest = digest((random >> 8) as usize % keys);
                let start = cpu_time();
                assert!(black_box(catalog.keys().find(&digest)).is_some());
                look_ups.record(cpu_time() - start);
            }
            Waits { look_ups, waits: voluntary_switches() - before }
        });
        work();
        running.store(false, Ordering::Relaxed);
        reader.join().expect("a reader does not fail")
    })
}

fn print_waits(beside: &str, Waits { look_ups, waits }: &Waits) {
    println!(
        "{:>10} ns: look-ups while {beside} (median / p99 / max, each with two readings of the clock), {} over 1 ms, {waits} waits",
        look_ups.summary(),
        look_ups.stalls()
    );
}

/// How often this thread has given the core away because it had to wait (proc(5)).
fn voluntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
}

fn time_apply(catalog: &Catalog, what: &str, keys: Vec<FileKey>) {
    let set = RuleSet {
        routes: vec![Route::new("all".parse().expect("a name"), "/".parse().expect("a path"), 0)],
        plans: Vec::new(),
        upstreams: vec![upstream()],
        default_plan: None,
        wire: Wire::default(),
    };
    let rules = Rules::compile(set, Some(&catalog.rules()), time::now()).expect("one route has no conflict");
    let start = time::now();
    let Applied { generation, .. } = catalog.apply(rules, keys);
    let ms = time::now().since(start).as_millis();
    println!("{ms:>10} ms to apply generation {generation} of the catalog: {what}");
}

fn file(count: usize, owner: &str) -> Vec<FileKey> {
    file_of(0..count, owner)
}

fn file_of(numbers: Range<usize>, owner: &str) -> Vec<FileKey> {
    let owner: Name = owner.parse().expect("a name");
    let key = |n| Key {
        id: format!("key_{n:016}").parse().expect("an id"),
        name: String::new(),
        owner: Some(owner.clone()),
        plan: None,
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Active,
        extra: Extra::default(),
    };
    numbers.map(|n| FileKey { key: key(n), digests: vec![digest(n)] }).collect()
}

fn upstream() -> upstream::Options {
    upstream::Options {
        name: "u".parse().expect("a name"),
        targets: vec!["127.0.0.1:1".parse().expect("an authority")],
        connect_timeout: Duration::from_secs(1),
        response_timeout: None,
        idle_timeout: Duration::from_secs(1),
        keep_alive: 1,
        preserve_host: true,
    }
}

fn insert_all<I: Index>(index: &I, first: usize, entries: Vec<Arc<Entry>>) -> Histogram {
    let mut times = Histogram::default();
    for (nth, entry) in entries.into_iter().enumerate() {
        let digest = digest(first + nth);
        let start = cpu_time();
        index.insert(digest, entry);
        times.record(cpu_time() - start);
    }
    times
}

type Reader<'scope> = thread::ScopedJoinHandle<'scope, LookUps>;

fn start_readers<'scope, I: Index>(
    scope: &'scope thread::Scope<'scope, '_>,
    index: &'scope I,
    keys: usize,
    running: &'scope AtomicBool,
) -> Vec<Reader<'scope>> {
    let start = |seed| scope.spawn(move || read(index, keys, seed, running));
    (1..=cores()).map(start).collect()
}

fn join(readers: Vec<Reader<'_>>) -> LookUps {
    let mut total = LookUps::default();
    for reader in readers {
        let one = reader.join().expect("a reader does not fail");
        total.known.add(&one.known);
        total.unknown.add(&one.unknown);
        total.hot.add(&one.hot);
    }
    total
}

/// Times of look-ups, by what was looked up.
#[derive(Default)]
struct LookUps {
    known: Histogram,
    unknown: Histogram,
    hot: Histogram,
}

fn read<I: Index>(index: &I, keys: usize, seed: usize, running: &AtomicBool) -> LookUps {
    let mut times = LookUps::default();
    let mut random = mix(seed as u64);
    let mut next = || {
        random = mix(random);
        (random >> 8) as usize % keys
    };
    while running.load(Ordering::Relaxed) {
        times.known.record(time_batch(index, || digest(next()), Expect::Found));
        times.unknown.record(time_batch(index, || digest(next() + UNKNOWN), Expect::Nothing));
        times.hot.record(time_batch(index, || digest(0), Expect::Found));
    }
    times
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Found,
    Nothing,
}

/// The mean time of one look-up out of a batch.
fn time_batch<I: Index>(index: &I, mut digest: impl FnMut() -> Digest, expect: Expect) -> Duration {
    let digests: [Digest; BATCH] = std::array::from_fn(|_| digest());
    let start = time::now();
    for digest in &digests {
        let found = black_box(index.find(digest));
        assert_eq!(found.is_some(), expect == Expect::Found);
    }
    time::now().since(start) / BATCH as u32
}

/// A candidate: shared by reference, one thread inserts.
trait Index: Default + Sync {
    fn insert(&self, digest: Digest, entry: Arc<Entry>);
    fn find(&self, digest: &Digest) -> Option<Arc<Entry>>;

    /// Frees what was outgrown and is kept for readers that may still be there.
    fn free_garbage(&self) {}
}

/// Stands for `catalog::Entry`: a pointer to the record and the limiter state.
#[derive(Default)]
struct Entry {
    _record: AtomicUsize,
    _limits: keygate::limit::State,
}

#[derive(Default)]
struct Dash(dashmap::DashMap<Digest, Arc<Entry>, BuildHasherDefault<FirstBytes>>);

impl Index for Dash {
    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        self.0.insert(digest, entry);
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.0.get(digest).map(|entry| Arc::clone(&entry))
    }
}

type Shard = RwLock<HashMap<Digest, Arc<Entry>, BuildHasherDefault<FirstBytes>>>;

struct Locked(Vec<Shard>);

impl Default for Locked {
    fn default() -> Self {
        Self((0..256).map(|_| Shard::default()).collect())
    }
}

impl Index for Locked {
    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        let shard = &self.0[shard_of(&digest, 256)];
        shard.write().expect("no writer panics").insert(digest, entry);
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        let shard = &self.0[shard_of(digest, 256)];
        shard.read().expect("no writer panics").get(digest).cloned()
    }
}

#[derive(Default)]
struct Papaya(papaya::HashMap<Digest, Arc<Entry>, BuildHasherDefault<FirstBytes>>);

impl Index for Papaya {
    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        self.0.pin().insert(digest, entry);
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.0.pin().get(digest).cloned()
    }

    fn free_garbage(&self) {
        self.0.guard().flush();
    }
}

struct Papayas<const SHARDS: usize>(Vec<Papaya>);

impl<const SHARDS: usize> Default for Papayas<SHARDS> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Papaya::default()).collect())
    }
}

impl<const SHARDS: usize> Index for Papayas<SHARDS> {
    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        self.0[shard_of(&digest, SHARDS)].insert(digest, entry);
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        self.0[shard_of(digest, SHARDS)].find(digest)
    }

    fn free_garbage(&self) {
        self.0.iter().for_each(Index::free_garbage);
    }
}

/// Small buckets that are copied and swapped; a shard whose buckets get long is rebuilt with more of them.
struct Buckets(Vec<ArcSwap<Table>>);

type Bucket = Vec<(Digest, Arc<Entry>)>;

#[derive(Default)]
struct Table {
    buckets: Vec<ArcSwapOption<Bucket>>,
    len: AtomicUsize,
}

impl Default for Buckets {
    fn default() -> Self {
        let empty = || ArcSwap::from_pointee(Table::with_buckets(1));
        Self((0..SWAPPED_SHARDS).map(|_| empty()).collect())
    }
}

impl Table {
    fn with_buckets(count: usize) -> Self {
        Self { buckets: (0..count).map(|_| ArcSwapOption::empty()).collect(), len: AtomicUsize::new(0) }
    }

    fn bucket(&self, digest: &Digest) -> &ArcSwapOption<Vec<(Digest, Arc<Entry>)>> {
        &self.buckets[word(digest) as usize & (self.buckets.len() - 1)]
    }

    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        let bucket = self.bucket(&digest);
        let old = bucket.load();
        let kept = old.iter().flat_map(|slots| slots.iter()).filter(|(held, _)| *held != digest);
        let mut slots = Vec::with_capacity(1 + old.as_ref().map_or(0, |slots| slots.len()));
        slots.extend(kept.cloned());
        slots.push((digest, entry));
        bucket.store(Some(Arc::new(slots)));
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.len.load(Ordering::Relaxed) > 6 * self.buckets.len()
    }

    fn doubled(&self) -> Self {
        let larger = Self::with_buckets(2 * self.buckets.len());
        for bucket in &self.buckets {
            for (digest, entry) in bucket.load().iter().flat_map(|slots| slots.iter()) {
                larger.insert(*digest, Arc::clone(entry));
            }
        }
        larger
    }
}

impl Index for Buckets {
    fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        let shard = &self.0[shard_of(&digest, SWAPPED_SHARDS)];
        let table = shard.load();
        table.insert(digest, entry);
        if table.is_full() {
            shard.store(Arc::new(table.doubled()));
        }
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        let table = self.0[shard_of(digest, SWAPPED_SHARDS)].load();
        let slots = table.bucket(digest).load();
        let (_, entry) = slots.as_ref()?.iter().find(|(held, _)| held == digest)?;
        Some(Arc::clone(entry))
    }
}

/// A digest gives one number that needs no hashing any more.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a digest hashes as one u64");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The shard is chosen by bytes that no table uses as its hash.
fn shard_of(digest: &Digest, shards: usize) -> usize {
    let bytes = digest.as_bytes();
    usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) & (shards - 1)
}

fn word(digest: &Digest) -> u64 {
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

/// The `n`th of a reproducible sequence of digests.
fn digest(n: usize) -> Digest {
    let mut bytes = [0; 32];
    for (nth, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&mix((n * 4 + nth) as u64).to_le_bytes());
    }
    Digest::from(bytes)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Counts of times: exact below 512 ns, within 1/256 above.
struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 << STEP_BITS], max: 0 }
    }
}

impl Histogram {
    fn record(&mut self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.counts[Self::step(ns)] += 1;
        self.max = self.max.max(ns);
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, more)| *mine += more);
        self.max = self.max.max(other.max);
    }

    fn quantile(&self, q: f64) -> u64 {
        let rank = (self.counts.iter().sum::<u64>() as f64 * q) as u64;
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen > rank
        };
        self.counts.iter().position(reaches).map_or(0, Self::lower_bound)
    }

    fn step(ns: u64) -> usize {
        let shift = (64 - STEP_BITS - 1_u32).saturating_sub(ns.leading_zeros());
        (u64::from(shift) << STEP_BITS) as usize + (ns >> shift) as usize
    }

    fn lower_bound(step: usize) -> u64 {
        let shift = (step >> STEP_BITS).saturating_sub(1) as u32;
        (step as u64 - (u64::from(shift) << STEP_BITS)) << shift
    }

    /// How many took longer than a millisecond.
    fn stalls(&self) -> u64 {
        self.counts[Self::step(1_000_000)..].iter().sum()
    }

    fn summary(&self) -> String {
        format!("{} / {} / {}", self.quantile(0.5), self.quantile(0.99), self.max)
    }
}

fn print_row(name: &str, writer: &str, look_ups: &LookUps, inserts: &Histogram, bytes_per_key: &str) {
    let [known, unknown, hot] = [&look_ups.known, &look_ups.unknown, &look_ups.hot].map(Histogram::summary);
    let insert = format!("{} ({})", inserts.summary(), inserts.stalls());
    println!("{name:<14} {writer:<7} {known:>23} {unknown:>23} {hot:>23} {insert:>34} {bytes_per_key:>9}");
}

/// Resident memory after the allocator has had the time and the occasion to give freed memory back.
fn settled_bytes() -> usize {
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(50));
        drop(black_box(vec![0_u8; 1 << 20]));
    }
    resident_bytes()
}

/// Resident memory of this process, from the second field of `/proc/self/statm` (proc(5)), in pages of 4 KiB.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages = text.split(' ').nth(1).expect("statm has seven fields");
    pages.parse::<usize>().expect("a number of pages") * 4096
}

/// What this thread has worked, which leaves out what others on the machine took from it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

const CATALOG: &str = "catalog";
const WRITES: usize = 1_000_000;
const BATCH: usize = 64;
const UNKNOWN: usize = 1 << 40;
const SWAPPED_SHARDS: usize = 4096;
const STEP_BITS: u32 = 8;

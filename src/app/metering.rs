//! Usage of a running gateway: the thread that keeps the ledger durable, and the one that seals what is over.
//!
//! Sealing a minute of a million keys takes seconds, and the ledger has to be synced meanwhile, so there are two. Whatever the
//! disk does, requests go on being counted; what is told of it is here. Started and stopped by `control`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::clock::Clock;
use super::exports::Exports;
use super::herald::Herald;
use super::lives::Lives;
use super::trouble::Trouble;
use crate::gateway::Crossing;
use crate::meter::ledger::{Cell, Figures, Keeper, LedgerError, Minute, Options, Replay, Sealable};
use crate::meter::{Event, Quotas};
use crate::store::{DayProof, Retention, Snapshot, Store, StoreError, UsageQuery, UsageReport, UsageStore};
use crate::telemetry::{UsageFigures, log};
use crate::time::{self, Instant, Timestamp};
use crate::{config, gateway};

/// Usage on its way from the data threads to the store.
pub(super) struct Metering {
    works: Arc<Works>,
    threads: [JoinHandle<()>; 2],
}

/// What both threads and those who ask share.
pub(super) struct Works {
    lives: Mutex<Lives>,
    store: Arc<UsageStore>,
    exports: Exports,
    herald: Herald,
    quotas: Arc<Quotas>,
    settings: config::Usage,
    figures: Mutex<Figures>,
    /// Held by who reads usage.
    reading: Mutex<()>,
    /// When was last sealed.
    sealed_ns: AtomicU64,
    /// Minutes in which the clock was set; the newest few.
    doubtful: Mutex<BTreeSet<Minute>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

/// Opens ledger and store in this folder, seals what a former process has left, and starts both threads. Blocks.
pub(super) fn open(folder: &Path, settings: &config::Usage) -> anyhow::Result<Metering> {
    let now = time::now();
    let store = Arc::new(UsageStore::open(&folder.join(STORE)).context("the store of usage")?);
    let options = Options { folder: folder.join(LEDGER), ..Options::default() };
    let keeper = Keeper::open(options, time::wall(now), now).context("the ledger of usage")?;
    seal_former(&store, keeper.replay().context("the ledger of usage")?)?;
    let quotas = Arc::new(Quotas::default());
    restore(&store, &quotas, time::wall(now)).context("what quotas were charged with")?;
    let works = Arc::new(Works {
        lives: Mutex::new(Lives::new(keeper)),
        exports: Exports::new(&store),
        herald: Herald::new(&store),
        store,
        quotas,
        settings: settings.clone(),
        figures: Mutex::default(),
        reading: Mutex::default(),
        sealed_ns: AtomicU64::new(now.as_ns()),
        doubtful: Mutex::default(),
        stopping: Mutex::default(),
        stop: Condvar::new(),
    });
    let (ledger, sealing) = (Arc::clone(&works), Arc::clone(&works));
    let ledger = thread::Builder::new().name("ledger".into()).spawn(move || ledger.keep_ledger());
    let sealing = thread::Builder::new().name("sealing".into()).spawn(move || sealing.seal_on());
    let threads = [ledger.context("the ledger's thread")?, sealing.context("the sealing thread")?];
    Ok(Metering { works, threads })
}

/// What cannot be read is put aside, told, and not counted.
fn seal_former(store: &UsageStore, left: Replay) -> anyhow::Result<()> {
    left.damage().iter().for_each(|damage| log::error(&damage.to_string(), &[]));
    if left.cells().len() > 0 {
        let sealed = store.seal(left.cells(), Minute::from_unix(u32::MAX), |_| false);
        let sealed = sealed.context("usage that a former process has counted cannot be sealed")?;
        let fields: &[(&str, &dyn std::fmt::Display)] = &[("requests", &sealed.requests), ("units", &sealed.units)];
        log::info("usage that a former process had counted was sealed", fields);
    }
    left.discard().context("the ledger of usage")
}

fn restore(store: &UsageStore, quotas: &Quotas, now: Timestamp) -> Result<(), StoreError> {
    store
        .snapshot()?
        .quotas(now, &mut |charged| quotas.restore(&charged.key, charged.period, charged.used, charged.start))
}

impl Metering {
    /// What so many data threads count with; files lie ready for all of them.
    pub(super) fn books(&self, threads: usize) -> anyhow::Result<gateway::Metering> {
        let mut lives = self.works.lives();
        let books = lives.books(threads).context("the ledger of usage")?;
        // Without a file there is memory; the ledger's thread goes on trying, and tells.
        let _ = lives.prepare();
        Ok(gateway::Metering { books, quotas: Arc::clone(&self.works.quotas) })
    }

    /// For those who ask.
    pub(super) fn works(&self) -> &Arc<Works> {
        &self.works
    }

    /// Whether a thread has ended.
    pub(super) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Seals everything, once nobody counts any more. Blocks; what cannot be sealed stays in the ledger for the next start.
    pub(super) fn stop(self) {
        *self.works.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.works.stop.notify_all();
        // One that has panicked has been told of already.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
        self.works.exports.stop();
    }
}

impl Works {
    /// How the ledger is.
    pub(super) fn figures(&self) -> UsageFigures {
        let figures = *self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = Instant::from_ns(self.sealed_ns.load(Ordering::Relaxed));
        UsageFigures {
            lag: figures.lag,
            in_memory: figures.in_memory as u64,
            given_up: figures.given_up,
            lost_requests: figures.lost_requests,
            seal_age: time::now().since(sealed),
        }
    }

    /// What webhooks hear of keys.
    pub(super) const fn herald(&self) -> &Herald {
        &self.herald
    }

    /// Has the sinks tell what becomes of keys.
    pub(super) fn publish_changes(&self, keys: &dyn Store) {
        if self.herald.tell(keys) {
            self.exports.wake();
        }
    }

    /// The sinks.
    pub(super) const fn exports(&self) -> &Exports {
        &self.exports
    }

    /// Has the sinks tell that a key has used up a part of a quota.
    pub(super) fn publish(&self, crossings: &[Crossing]) {
        let now = time::wall(time::now());
        let events: Vec<Event> = crossings.iter().map(|crossing| event(crossing, now)).collect();
        if let Err(error) = self.store.publish(&events) {
            log::error("that quotas are used up cannot be told to sinks", &[("error", &error)]);
        }
        self.exports.wake();
    }

    /// What keys have used of their quotas.
    pub(super) const fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Usage, the running minute included. Blocks.
    pub(super) fn report(&self, query: &UsageQuery) -> Result<UsageReport, StoreError> {
        // One after the other: each goes through all cells, of which there may be a million.
        let _turn = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, cells) = self.unsealed(query)?;
        snapshot.usage(query, &cells)
    }

    /// Holds what was sealed against what is kept. Blocks.
    pub(super) fn prove(&self, from: Timestamp, to: Timestamp) -> Result<Vec<DayProof>, StoreError> {
        self.store.snapshot()?.verify(from, to)
    }

    /// The cells are read first: what is sealed in between is in the snapshot, and left out of them.
    fn unsealed(&self, query: &UsageQuery) -> Result<(Snapshot<'_>, Vec<Cell>), StoreError> {
        let open = self.lives().open_cells();
        let cells = open.iter().flat_map(Sealable::cells).filter(|cell| query.is_about(cell)).collect();
        Ok((self.store.snapshot()?, cells))
    }

    fn keep_ledger(&self) {
        let mut upkeep = Upkeep::default();
        while !self.is_stopped_within(self.settings.sync_interval) {
            self.keep_once(&mut upkeep);
        }
        self.keep_once(&mut upkeep);
    }

    fn keep_once(&self, upkeep: &mut Upkeep) {
        let now = time::now();
        let (outcome, figures) = {
            let mut lives = self.lives();
            let prepared = lives.prepare();
            let outcome = if upkeep.rests(now) { prepared } else { prepared.and(lives.sync(now)) };
            (outcome, lives.figures(time::now()))
        };
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
        if !upkeep.rests(now) {
            upkeep.note(&outcome, &figures, now, self.settings.sync_interval);
        }
    }

    fn seal_on(&self) {
        let (mut trouble, mut folding, mut renewing) = (Trouble::default(), Trouble::default(), Trouble::default());
        let mut clock = Clock::new();
        let (mut sealed, mut folded) = (0, time::now());
        while !self.is_stopped_within(LOOK_EVERY) {
            let now = time::now();
            let renewed = self.follow_clock(now);
            if let Ok(true) = renewed {
                sealed = 0;
            }
            renewing.note("the clock was set back, and sealing waits for it", &renewed.map(drop));
            if clock.look(&self.doubtful) {
                // A clock that may be wrong makes nothing too old to be kept.
                folded = now.after(FOLD_PAUSE);
            }
            self.exports.look();
            let over = Minute::of(time::wall(now)).as_unix().saturating_sub(1);
            let is_due = over > sealed && is_past_grace(time::wall(now));
            if is_due && trouble.note("usage cannot be sealed; it stays in the ledger", &self.seal(over)) {
                sealed = over;
            }
            if now.since(folded) >= FOLD_EVERY {
                folded = now;
                folding.note("usage cannot be folded; it is tried again", &self.fold());
            }
        }
        let now = Minute::of(time::wall(time::now())).as_unix();
        let outcome = self.seal(now);
        // Told again if it was told before: from here on it is a matter of the next start.
        Trouble::default().note("usage cannot be sealed; it stays in the ledger for the next start", &outcome);
    }

    /// Has counting go on in another life of the ledger if the clock was set back behind what was counted; whether it does.
    fn follow_clock(&self, now: Instant) -> Result<bool, LedgerError> {
        let wall = time::wall(now);
        let is_new = self.lives().follow(Minute::of(wall), wall, now)?;
        if is_new {
            log::warn("the clock was set back; usage goes on in the minutes that it shows", &[]);
        }
        Ok(is_new)
    }

    /// Seals everything up to this minute, and what is over to its end.
    fn seal(&self, until: u32) -> Result<(), SealError> {
        let lives = self.lives().count();
        (0..lives).try_for_each(|life| self.seal_life(life, until))?;
        self.lives().forget_empty();
        self.exports.wake();
        self.sealed_ns.store(time::now().as_ns(), Ordering::Relaxed);
        Ok(())
    }

    /// Only the sealing thread makes lives begin and end, so places stay.
    fn seal_life(&self, life: usize, until: u32) -> Result<(), SealError> {
        let sealable = {
            let mut lives = self.lives();
            let (life, is_over) = lives.life(life);
            life.sealable(Minute::from_unix(if is_over { u32::MAX } else { until })).ok_or(SealError::Busy)?
        };
        let cells: Vec<Cell> = sealable.cells().collect();
        if !cells.is_empty() {
            let doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.store.seal(cells.into_iter(), sealable.until(), |minute| doubtful.contains(&minute))?;
        }
        self.lives().life(life).0.release(sealable)?;
        Ok(())
    }

    fn fold(&self) -> Result<(), StoreError> {
        let config::Usage { minutes, hours, days, .. } = self.settings;
        self.store.fold(time::wall(time::now()), &Retention { minutes, hours, days }).map(drop)
    }

    /// Whether the gateway stops within this time; sleeps until then otherwise.
    fn is_stopped_within(&self, pause: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stop.wait_timeout_while(stopping, pause, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whoever panicked with it ends the process.
    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().expect("a thread that panics ends the process")
    }
}

/// What sinks hear of it. The same crossing has the same id, should it be told twice.
fn event(crossing: &Crossing, now: Timestamp) -> Event {
    let Crossing { key, quota, allowed, percent } = crossing;
    let (period, begin) = (quota.period.label(), quota.period.start(now).as_unix_s());
    // Another allowance is used up anew.
    let id = format!("quota_{period}_{begin}_{}_{allowed}_{percent}", fingerprint(key.as_str()));
    Event {
        seq: 0,
        id,
        kind: "quota.threshold".to_owned(),
        at: now,
        subject: key.to_string(),
        data: json!({
            "quota": quota.name.as_str(),
            "period": period,
            "requests": quota.requests,
            "allowed": allowed,
            "percent": percent,
        }),
    }
}

/// 16 hex digits that stand for an id that may be longer than an event's can be.
fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a minute is not sealed.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("a thread is still counting in it")]
    Busy,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How keeping the ledger durable goes.
#[derive(Default)]
struct Upkeep {
    trouble: Trouble,
    /// Files that were given up so far.
    given_up: u64,
    /// A disk that fails is left alone for a while, so that attempts do not fill it.
    rest: Duration,
    rest_until: Instant,
}

impl Upkeep {
    fn rests(&self, now: Instant) -> bool {
        now < self.rest_until
    }

    fn note(&mut self, outcome: &Result<(), LedgerError>, figures: &Figures, now: Instant, interval: Duration) {
        self.trouble.note("usage cannot be made durable; it is counted all the same", outcome);
        if figures.given_up > self.given_up {
            let files = figures.given_up - self.given_up;
            log::error("a file of the ledger cannot be made durable and is given up", &[("files", &files)]);
            self.given_up = figures.given_up;
            self.rest = (2 * self.rest.max(interval)).min(REST_MAX);
            self.rest_until = now.after(self.rest);
        } else {
            self.rest = Duration::ZERO;
        }
    }
}

/// Requests that end while a minute turns are counted by then.
fn is_past_grace(now: Timestamp) -> bool {
    now.as_unix_s().rem_euclid(60) >= GRACE_S
}

const STORE: &str = "usage.db";
const LEDGER: &str = "ledger";
/// How often is looked whether a minute is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const GRACE_S: i64 = 2;
const FOLD_EVERY: Duration = Duration::from_secs(60);
/// After the clock was set.
const FOLD_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The longest that a disk that fails is left alone.
const REST_MAX: Duration = Duration::from_secs(10);

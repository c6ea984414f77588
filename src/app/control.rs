//! The control thread: starts everything, follows the configuration and the signals, stops everything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::health::Told;
use super::keeping::{self, RevokedUses};
use super::logging::LogThread;
use super::management::{self, FileKeys};
use super::memory;
use super::metering::{self, Metering};
use super::reload::{self, InForce, Prepared, Refused, Stage};
use super::resolving;
use super::signals::{HANGUP, Signals};
use crate::catalog::{Catalog, Follower};
use crate::config::Watcher;
use crate::gateway::{self, Crossing, Gateway};
use crate::operations::{self, Addresses, State, echo};
use crate::telemetry::Metrics;
use crate::telemetry::access::AccessLog;
use crate::telemetry::log;
use crate::{admin, console, time};

/// What runs beside the gateway in the same process.
#[derive(Debug, Default)]
pub enum Companion {
    /// Nothing.
    #[default]
    None,
    /// The echo upstream of the quick start.
    Echo(std::net::TcpListener),
}

/// Serves the configuration in the file until SIGTERM or SIGINT; `on_ready` is called once requests are served.
///
/// # Errors
/// If the configuration is refused at the start, something cannot be started, or a part of the program fails.
pub fn serve(config: &Path, companion: Companion, on_ready: impl FnOnce(&Addresses)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no control thread")?;
    let served = runtime.block_on(async {
        let mut control = Control::start(config, companion).await?;
        on_ready(&control.addresses);
        let outcome = control.run().await;
        control.stop().await.and(outcome)
    });
    // A file that cannot be read to its end must not hold up the end of the process.
    runtime.shutdown_background();
    served
}

struct Control {
    config: PathBuf,
    stage: Stage,
    gateway: Option<Gateway>,
    metering: Option<Metering>,
    log_thread: LogThread,
    watcher: Watcher,
    in_force: InForce,
    addresses: Addresses,
    tasks: JoinSet<(&'static str, std::io::Result<()>)>,
    /// Work on the store that is being done on the side.
    keeping: JoinSet<()>,
    revoked_uses: RevokedUses,
    stop: watch::Sender<bool>,
    signals: Signals,
    resolve_now: Arc<Notify>,
    /// What the admin API asks for; nothing ever comes if it is off.
    reloads: mpsc::Receiver<admin::Reload>,
}

impl Control {
    async fn start(config: &Path, companion: Companion) -> anyhow::Result<Self> {
        let signals = Signals::new().context("cannot listen to signals")?;
        let metrics = Metrics::new(&gateway::OUTCOMES, &gateway::DENIALS);
        let state = State::new(Arc::clone(&metrics), time::now());
        let catalog = Arc::new(Catalog::new());
        // Watched before it is read: a change in between is seen.
        let (mut watcher, mut doubts) = Watcher::new(&[config.to_owned()]);
        let prepared = reload::prepare(config, &catalog, &state).map_err(|refused| first_refusal(&refused))?;
        let data_dir = prepared.in_force.data_dir.as_deref();
        let follower = data_dir.map(|folder| keeping::open(folder, &catalog)).transpose()?;
        let metering = data_dir.map(|folder| metering::open(folder, &prepared.in_force.usage)).transpose()?;
        tell_live(&state, &catalog, follower.as_ref(), metering.as_ref());
        let works = metering.as_ref().map(Metering::works).cloned();
        let file_keys = prepared.in_force.admin.as_ref().map(|_| FileKeys::default());
        let stage = Stage { catalog: Arc::clone(&catalog), follower, file_keys, state: Arc::clone(&state), works };
        let in_force = reload::apply(prepared, &stage);
        let (log, writer) =
            AccessLog::open(&in_force.telemetry, Arc::clone(&metrics)).context("cannot open the request log")?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut addresses = Addresses::default();
        start_operations(&in_force, &state, &mut addresses, &mut tasks, stopped.clone()).await?;
        let reloads = match &in_force.admin {
            Some(_) => start_admin(config, &in_force, &stage, &mut addresses, &mut tasks, stopped.clone()).await?,
            None => mpsc::channel(1).1,
        };
        start_companion(companion, &mut tasks, stopped.clone())?;
        resolving::resolve_once(&catalog).await;
        let gateway = start_gateway(&in_force, &catalog, (&metrics, &log), metering.as_ref())?;
        addresses.listeners = gateway.addresses().to_vec();
        let resolve_now = Arc::new(Notify::new());
        tasks.spawn(resolving::resolve(Arc::clone(&catalog), Arc::clone(&resolve_now), until(stopped)));
        doubts.extend(watcher.follow(&in_force.files));
        doubts.iter().for_each(|doubt| log::warn(doubt, &[]));
        state.listening(addresses.clone());
        state.ready();
        announce(&addresses, gateway.capacity());
        memory::settle();
        let log_thread = LogThread::start(writer).context("cannot start the log thread")?;
        Ok(Self {
            config: config.to_owned(),
            stage,
            gateway: Some(gateway),
            metering,
            log_thread,
            watcher,
            in_force,
            addresses,
            tasks,
            keeping: JoinSet::new(),
            revoked_uses: RevokedUses::default(),
            stop,
            signals,
            resolve_now,
            reloads,
        })
    }

    /// Follows the configuration until the process is told to stop.
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut uses = tokio::time::interval(NOTE_USES_EVERY);
        uses.tick().await;
        let mut told = Told::default();
        loop {
            tokio::select! {
                name = self.signals.next() => match name {
                    HANGUP => {
                        self.log_thread.reopen();
                        let _ = self.reload(HANGUP).await?;
                    }
                    _ => {
                        log::info("stopping", &[("signal", &name)]);
                        return Ok(());
                    }
                },
                () = self.watcher.changed() => drop(self.reload("file changed").await?),
                Some(asked) = self.reloads.recv() => {
                    // Who asked may have gone.
                    let _ = asked.send(self.reload("admin API").await?);
                }
                _ = second.tick() => {
                    time::realign();
                    told.look(&self.stage.catalog.rules().upstreams);
                    self.tend_store();
                    self.check_threads()?;
                }
                _ = uses.tick() => self.keep(keeping::note_uses),
                Some(ended) = self.keeping.join_next() => ended.context("the store was left half way")?,
                Some(ended) = self.tasks.join_next() => return Err(premature_end(ended)),
            }
        }
    }

    /// Applies the configuration as it is in the files now, on the side, so that scrapes are answered meanwhile: its generation, or
    /// every problem.
    async fn reload(&mut self, cause: &str) -> anyhow::Result<Result<u64, Vec<String>>> {
        log::info("reloading the configuration", &[("cause", &cause)]);
        let (outcome, doubts) = match self.prepare().await {
            Ok(prepared) => {
                let stage = self.stage.clone();
                let applied = spawn_blocking(move || reload::apply(prepared, &stage)).await;
                // After a panic what is in force may be half of each configuration.
                let doubts = self.take_over(applied.context("bringing the configuration into force failed")?);
                (Ok(self.stage.catalog.generation()), doubts)
            }
            Err(refused) => {
                refused.problems.iter().for_each(|problem| log::error(problem, &[]));
                log::error("the configuration is refused; the previous one stays in force", &[]);
                let doubts = self.watcher.follow(&refused.files);
                (Err(refused.problems), doubts)
            }
        };
        doubts.iter().for_each(|doubt| log::warn(doubt, &[]));
        Ok(outcome)
    }

    /// Follows what could not be followed at once, and has the uses of revoked keys written into the audit log.
    fn tend_store(&mut self) {
        let (Some(gateway), Some(follower)) = (&self.gateway, &self.stage.follower) else { return };
        self.revoked_uses.note(gateway.revoked_uses(), time::now());
        let crossings: Vec<Crossing> = gateway.crossings().collect();
        crossings.iter().for_each(keeping::tell);
        if let Some(works) = self.stage.works.clone() {
            keeping::publish(&mut self.keeping, &works, follower, crossings);
        }
        if follower.is_behind() {
            self.keep(keeping::catch_up);
        } else if self.keeping.is_empty() && self.revoked_uses.are_waiting() {
            let events = self.revoked_uses.take();
            self.keep(|follower| keeping::record(follower, events));
        }
    }

    /// Does something with the store on the side, unless the last such thing is still being done.
    fn keep(&mut self, work: impl FnOnce(&Follower) + Send + 'static) {
        if let (Some(follower), true) = (self.stage.follower.clone(), self.keeping.is_empty()) {
            self.keeping.spawn_blocking(move || work(&follower));
        }
    }

    async fn prepare(&self) -> Result<Prepared, Refused> {
        let (config, stage) = (self.config.clone(), self.stage.clone());
        let prepared = spawn_blocking(move || reload::prepare(&config, &stage.catalog, &stage.state)).await;
        prepared.unwrap_or_else(|panic| {
            let problem = format!("reading the configuration failed, which is a defect of keygate: {panic}");
            Err(reload::refuse(vec![problem], self.in_force.files.clone(), &self.stage.state))
        })
    }

    fn take_over(&mut self, next: InForce) -> Vec<String> {
        for field in reload::needing_restart(&self.in_force, &next) {
            log::warn("a field changes with a restart only; it stays as it was", &[("field", &field)]);
        }
        if next.telemetry != self.in_force.telemetry {
            self.log_thread.configure(next.telemetry.clone());
        }
        self.in_force.telemetry = next.telemetry;
        self.in_force.files.clone_from(&next.files);
        // New upstreams by name are not kept waiting for the next round.
        self.resolve_now.notify_one();
        self.watcher.follow(&next.files)
    }

    fn check_threads(&self) -> anyhow::Result<()> {
        let threads = [
            ("a data thread", self.gateway.as_ref().is_some_and(Gateway::has_failed)),
            ("the log thread", self.log_thread.has_failed()),
            ("a thread that keeps usage", self.metering.as_ref().is_some_and(Metering::has_failed)),
            ("the store's thread", self.stage.follower.as_ref().is_some_and(|follower| follower.store().has_ended())),
        ];
        let ended = threads.into_iter().find(|(_, has_ended)| *has_ended);
        ended.map_or(Ok(()), |(name, _)| Err(anyhow!("{name} has ended")))
    }

    /// Stops accepting, lets running requests finish, then ends everything else. A second signal ends it at once.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stage.state.draining();
        let gateway = self.gateway.take();
        let draining = spawn_blocking(|| gateway.map_or(Ok(()), Gateway::stop));
        let drained = tokio::select! {
            drained = draining => drained.context("the data plane panicked")?.context("the data plane failed"),
            name = self.signals.stop() => Err(anyhow!("ended by a second {name} before running requests had finished")),
        };
        while self.keeping.join_next().await.is_some() {}
        self.keep(keeping::note_uses);
        while self.keeping.join_next().await.is_some() {}
        if let Some(metering) = self.metering.take() {
            let _ = spawn_blocking(|| metering.stop()).await;
        }
        // Without receivers everything has ended already.
        let _ = self.stop.send(true);
        while let Ok(Some(_)) = tokio::time::timeout(STOP_TIMEOUT, self.tasks.join_next()).await {}
        if !self.log_thread.stop(STOP_TIMEOUT).await {
            log::warn("the request log cannot be written to; its last lines are lost", &[]);
        }
        log::info("stopped", &[]);
        drained
    }
}

fn first_refusal(refused: &Refused) -> anyhow::Error {
    anyhow!(ConfigRefused(refused.problems.join("\n")))
}

/// The configuration is refused at the start; holds every problem, ready to be printed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigRefused(String);

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn start_operations(
    in_force: &InForce,
    state: &Arc<State>,
    addresses: &mut Addresses,
    tasks: &mut JoinSet<(&'static str, std::io::Result<()>)>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let Some(options) = &in_force.operations else { return Ok(()) };
    let listener = listen(options.address).await.context("operations")?;
    addresses.operations = listener.local_addr().ok();
    let served = operations::serve(listener, operations::router(Arc::clone(state)), until(stopped));
    tasks.spawn(async { ("operations listener", served.await) });
    Ok(())
}

/// Serves the admin API; what it asks of the control thread comes out of the receiver.
async fn start_admin(
    config: &Path,
    in_force: &InForce,
    stage: &Stage,
    addresses: &mut Addresses,
    tasks: &mut JoinSet<(&'static str, std::io::Result<()>)>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<mpsc::Receiver<admin::Reload>> {
    let (Some(options), Some(follower), Some(file_keys)) = (&in_force.admin, &stage.follower, &stage.file_keys) else {
        bail!("an admin API without a store, which is a defect of keygate");
    };
    management::provision(follower, &options.token_files)?;
    let listener = listen(options.address).await.context("admin")?;
    let address = listener.local_addr().context("admin")?;
    addresses.admin = Some(address);
    let (parts, reloads) = management::parts(config, stage, follower, file_keys, address, in_force);
    let limits = parts.limits;
    let sessions = parts.console.is_some().then(|| Arc::clone(&parts.sessions));
    let router = console::beside(admin::router(parts), sessions);
    let served = admin::serve(listener, router, limits, until(stopped));
    tasks.spawn(async { ("admin listener", served.await) });
    Ok(reloads)
}

/// Starts the data threads, each with a book to count usage in if that is kept.
fn start_gateway(
    in_force: &InForce,
    catalog: &Arc<Catalog>,
    (metrics, log): (&Metrics, &Arc<AccessLog>),
    metering: Option<&Metering>,
) -> anyhow::Result<Gateway> {
    let options = &in_force.gateway;
    let with = metering.map(|metering| metering.books(options.thread_count())).transpose()?.unwrap_or_default();
    Ok(gateway::start(options, Arc::clone(catalog), metrics, log, with)?)
}

fn start_companion(
    companion: Companion,
    tasks: &mut JoinSet<(&'static str, std::io::Result<()>)>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    if let Companion::Echo(listener) = companion {
        listener.set_nonblocking(true)?;
        let served = echo::serve(TcpListener::from_std(listener)?, until(stopped));
        tasks.spawn(async { ("echo upstream", served.await) });
    }
    Ok(())
}

fn announce(addresses: &Addresses, (threads, max_connections): (usize, usize)) {
    let listeners: Vec<String> = addresses.listeners.iter().map(ToString::to_string).collect();
    let or_off = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let (admin, operations) = (or_off(addresses.admin), or_off(addresses.operations));
    log::info(
        "listening",
        &[
            ("listeners", &listeners.join(" ")),
            ("admin", &admin),
            ("operations", &operations),
            ("threads", &threads),
            ("max_connections", &max_connections),
        ],
    );
}

fn tell_live(state: &State, catalog: &Arc<Catalog>, follower: Option<&Arc<Follower>>, metering: Option<&Metering>) {
    let (catalog, follower) = (Arc::clone(catalog), follower.cloned());
    let works = metering.map(Metering::works).cloned();
    state.ask(move || keeping::live(&catalog, follower.as_deref(), works.as_deref()));
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error says that the sender is gone, and that is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn premature_end(ended: Result<(&'static str, std::io::Result<()>), tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("the {name} has ended"),
        Ok((name, Err(error))) => anyhow::Error::new(error).context(format!("the {name} failed")),
        Err(panic) => anyhow::Error::new(panic).context("a part of the program panicked"),
    }
}

/// How often it is noted in the store which keys were used.
const NOTE_USES_EVERY: Duration = Duration::from_secs(30);
/// How long each remaining task may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

//! Starting and stopping the data threads.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listener;
use super::options::Options;
use super::sends;
use super::shared::{Crossing, Handed, RevokedUse, Shared};
use super::thread::Thread;
use super::wheel::TICK;
use crate::catalog::Catalog;
use crate::meter::Quotas;
use crate::meter::ledger::Book;
use crate::telemetry::access::{AccessLog, Sender};
use crate::telemetry::{Metrics, ThreadMetrics};

/// The data plane, running. Dropped, it goes on until the process ends; [`Gateway::stop`] stops it.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    max_connections: usize,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<io::Result<()>>>,
}

/// Why the data plane cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// A thread, or its runtime.
    #[error("cannot start a data thread: {0}")]
    Thread(#[source] io::Error),
    /// The random source.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// How usage is counted.
#[derive(Debug, Default)]
pub struct Metering {
    /// One for each data thread; a thread without a book counts nothing.
    pub books: Vec<Book>,
    /// What keys have used of their quotas so far.
    pub quotas: Arc<Quotas>,
}

/// What one data thread starts with.
struct Start {
    index: usize,
    shared: Arc<Shared>,
    incoming: UnboundedReceiver<Handed>,
    listeners: Vec<StdListener>,
    metrics: Arc<ThreadMetrics>,
    log: Sender,
    book: Option<Book>,
    seed: u64,
    stop: watch::Receiver<bool>,
    drain_timeout: Duration,
}

/// Starts the data threads; requests are served when it returns.
///
/// # Errors
/// If an address cannot be listened on, or a thread cannot be started.
pub fn start(
    options: &Options,
    catalog: Arc<Catalog>,
    metrics: &Metrics,
    log: &Arc<AccessLog>,
    mut metering: Metering,
) -> Result<Gateway, StartError> {
    let count = options.thread_count();
    let (addresses, mut listeners) = bind_all(options, count)?;
    let max_connections = options.connection_cap(raise_descriptor_limit());
    let (ways, incoming): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded_channel()).unzip();
    let shared = Shared::new(catalog, metering.quotas, max_connections, ways);
    let (stop, stopped) = watch::channel(false);
    let mut threads = Vec::with_capacity(count);
    for (index, incoming) in incoming.into_iter().enumerate() {
        let thread_metrics = metrics.thread(index);
        let start = Start {
            index,
            shared: Arc::clone(&shared),
            incoming,
            listeners: listeners.iter_mut().filter_map(Vec::pop).collect(),
            log: log.sender(Arc::clone(&thread_metrics)),
            metrics: thread_metrics,
            book: metering.books.pop(),
            seed: getrandom::u64().map_err(StartError::Random)?,
            stop: stopped.clone(),
            drain_timeout: options.drain_timeout,
        };
        let thread = std::thread::Builder::new().name(format!("data-{index}"));
        threads.push(thread.spawn(move || run(start)).map_err(StartError::Thread)?);
    }
    Ok(Gateway { addresses, max_connections, shared, stop, threads })
}

impl Gateway {
    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The number of data threads, and how many client connections they hold at once.
    pub fn capacity(&self) -> (usize, usize) {
        (self.threads.len(), self.max_connections)
    }

    /// The uses of revoked keys since this was last asked; of very many, some.
    pub fn revoked_uses(&self) -> impl Iterator<Item = RevokedUse> {
        std::iter::from_fn(|| self.shared.revoked_use())
    }

    /// The thresholds of quotas that were crossed since this was last asked; of very many, some.
    pub fn crossings(&self) -> impl Iterator<Item = Crossing> {
        std::iter::from_fn(|| self.shared.crossing())
    }

    /// Whether a data thread has ended although it was not told to; [`Gateway::stop`] tells why.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(std::thread::JoinHandle::is_finished)
    }

    /// Stops accepting, closes idle connections, waits for running requests up to the drain timeout. Blocks.
    ///
    /// # Errors
    /// The first one of a data thread.
    pub fn stop(self) -> io::Result<()> {
        // A thread that has ended already has no receiver any more.
        let _ = self.stop.send(true);
        self.threads.into_iter().try_for_each(|thread| {
            let name = thread.thread().name().unwrap_or("data").to_owned();
            thread.join().unwrap_or_else(|_| Err(io::Error::other(format!("thread {name} panicked"))))
        })
    }
}

type Bound = (Vec<SocketAddr>, Vec<Vec<StdListener>>);

fn bind_all(options: &Options, threads: usize) -> Result<Bound, StartError> {
    let mut bound = Bound::default();
    for address in &options.listeners {
        let sockets = listener::bind(*address, threads).map_err(|error| StartError::Listen(*address, error))?;
        bound.0.push(sockets[0].local_addr().map_err(|error| StartError::Listen(*address, error))?);
        bound.1.push(sockets);
    }
    Ok(bound)
}

/// Raises the limit of file descriptors as far as this process may; what it is then.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

/// The whole life of one data thread.
fn run(start: Start) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let drain_timeout = start.drain_timeout;
    runtime.block_on(async move {
        let mut stop = start.stop;
        let thread = Thread::new(start.index, start.shared, start.metrics, start.log, start.book, start.seed);
        let mut accepting = JoinSet::new();
        for listener in start.listeners {
            accepting.spawn_local(listener::accept(listener, Rc::clone(&thread)));
        }
        let mut always = JoinSet::new();
        always.spawn_local(tick(Rc::clone(&thread)));
        always.spawn_local(listener::take_in(start.incoming, Rc::clone(&thread)));
        always.spawn_local(sends::leave(Rc::clone(&thread)));
        tokio::select! {
            // An error says that the sender is gone, and the process with it.
            _ = stop.wait_for(|stop| *stop) => {}
            Some(ended) = accepting.join_next() => return Err(premature_end("accepting connections", ended)),
            Some(ended) = always.join_next() => return Err(premature_end("a task of the thread", ended)),
        }
        accepting.shutdown().await;
        thread.drain();
        // An error says that time is up: what still runs is cut off.
        let _ = tokio::time::timeout(drain_timeout, thread.connections_gone()).await;
        thread.sends.leave_now();
        Ok(())
    })
}

fn premature_end(what: &str, ended: Result<io::Result<Infallible>, tokio::task::JoinError>) -> io::Error {
    let why = match ended {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    io::Error::other(format!("{what} ended: {why}"))
}

/// Looks at deadlines at every tick, for revoked keys at every fifth, and at idle connections to upstreams at every tenth.
async fn tick(thread: Rc<Thread>) -> io::Result<Infallible> {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut count = 0_u32;
    loop {
        interval.tick().await;
        thread.wheel.tick();
        count = count.wrapping_add(1);
        if count.is_multiple_of(5) {
            thread.notice_revocations();
        }
        if count.is_multiple_of(10) {
            thread.sweep();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::gateway::{DENIALS, OUTCOMES};
    use crate::telemetry::{self, AccessLogOptions, LogFormat, LogOutput};

    /// A client that has got an answer and keeps its connection.
    fn connected(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(client.read(&mut [0; 4096]).unwrap() > 0);
        client
    }

    #[test]
    fn of_two_threads_none_gets_more_than_five_of_eight_connections() {
        let options = Options {
            listeners: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            threads: NonZeroUsize::new(2),
            max_connections: None,
            drain_timeout: Duration::ZERO,
        };
        let metrics = Metrics::new(&OUTCOMES, &DENIALS);
        let off = AccessLogOptions { output: LogOutput::Off, sample: 0.0 };
        let log = telemetry::Options { format: LogFormat::Json, access: off };
        let (log, _) = AccessLog::open(&log, Arc::clone(&metrics)).unwrap();
        for round in 0..30 {
            let gateway = start(&options, Arc::new(Catalog::new()), &metrics, &log, Metering::default()).unwrap();
            let before = [0, 1].map(|thread| metrics.thread(thread).accepted.value());
            let clients: Vec<TcpStream> = (0..8).map(|_| connected(gateway.addresses()[0])).collect();
            let after = [0, 1].map(|thread| metrics.thread(thread).accepted.value());
            let counts = [after[0] - before[0], after[1] - before[1]];
            assert_eq!(counts[0] + counts[1], 8, "round {round}");
            assert!(counts.iter().all(|count| (3..=5).contains(count)), "{counts:?} in round {round}");
            drop(clients);
            gateway.stop().unwrap();
        }
    }
}

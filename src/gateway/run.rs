//! Starting and stopping the data threads.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::listener::{self, Listener};
use super::options::Options;
use super::shared::{Crossing, Handed, RevokedUse, Shared, Way};
use super::thread::Thread;
use crate::catalog::Catalog;
use crate::meter::Quotas;
use crate::meter::ledger::Book;
use crate::reactor::{Source, TICK};
use crate::telemetry::access::{AccessLog, Sender};
use crate::telemetry::{Metrics, ThreadMetrics};

/// The data plane, running. Dropped, it goes on until the process ends; [`Gateway::stop`] stops it.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    max_connections: usize,
    shared: Arc<Shared>,
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
    incoming: Receiver<Handed>,
    bell: OwnedFd,
    listeners: Vec<StdListener>,
    metrics: Arc<ThreadMetrics>,
    log: Sender,
    book: Option<Book>,
    seed: u64,
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
    let ways = (0..count).map(|_| {
        let (sender, incoming) = channel();
        Way::new(sender).map(|(way, bell)| (way, (incoming, bell)))
    });
    let (ways, ends): (Vec<_>, Vec<_>) =
        ways.collect::<io::Result<Vec<_>>>().map_err(StartError::Thread)?.into_iter().unzip();
    let shared = Shared::new(catalog, metering.quotas, max_connections, ways);
    let mut threads = Vec::with_capacity(count);
    for (index, (incoming, bell)) in ends.into_iter().enumerate() {
        let thread_metrics = metrics.thread(index);
        let start = Start {
            index,
            shared: Arc::clone(&shared),
            incoming,
            bell,
            listeners: listeners.iter_mut().filter_map(Vec::pop).collect(),
            log: log.sender(Arc::clone(&thread_metrics)),
            metrics: thread_metrics,
            book: metering.books.pop(),
            seed: getrandom::u64().map_err(StartError::Random)?,
            drain_timeout: options.drain_timeout,
        };
        let thread = std::thread::Builder::new().name(format!("data-{index}"));
        threads.push(thread.spawn(move || run(start)).map_err(StartError::Thread)?);
    }
    Ok(Gateway { addresses, max_connections, shared, threads })
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
        self.shared.stop();
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
    let thread = Thread::new(start.index, start.shared, start.metrics, start.log, start.book, start.seed)?;
    let listeners = start.listeners.into_iter().map(|listener| Listener::new(listener, &thread));
    let mut door = Door {
        listeners: listeners.collect::<io::Result<_>>()?,
        bell: Source::new(start.bell, &thread.reactor)?,
        incoming: start.incoming,
    };
    let ended = turns(&thread, &mut door, start.drain_timeout);
    // Tasks hold the thread that holds them.
    thread.tasks.clear();
    ended
}

/// Turn after turn, until the thread is told to stop and its requests are through.
fn turns(thread: &Rc<Thread>, door: &mut Door, drain_timeout: Duration) -> io::Result<()> {
    let mut ticks = Ticks { timer: Source::ticking(TICK, &thread.reactor)?, count: 0 };
    let mut drained_by = None;
    loop {
        let is_busy = thread.tasks.has_woken() || door.is_ready(thread);
        thread.reactor.wait(is_busy.then_some(Duration::ZERO))?;
        let now = thread.tasks.now();
        door.let_in(thread);
        ticks.pass(thread);
        let panics = thread.tasks.run_woken();
        thread.metrics.connection_panics.add(panics as u64);
        thread.sends.leave_now();
        if drained_by.is_none() && thread.shared.is_stopping() {
            door.listeners.clear();
            thread.drain();
            drained_by = Some(now.after(drain_timeout));
        }
        if drained_by.is_some_and(|end| thread.tasks.count() == 0 || end <= now) {
            return Ok(());
        }
    }
}

/// Where connections come in.
struct Door {
    listeners: Vec<Listener>,
    /// Readable when another thread has handed something over, or says that it is time to stop.
    bell: Rc<Source>,
    incoming: Receiver<Handed>,
}

impl Door {
    fn is_ready(&self, thread: &Thread) -> bool {
        self.listeners.iter().any(|listener| listener.is_ready(thread))
    }

    fn let_in(&mut self, thread: &Rc<Thread>) {
        self.listeners.iter_mut().for_each(|listener| listener.accept(thread));
        if self.bell.has_rung() {
            self.incoming.try_iter().for_each(|(stream, peer, slot)| listener::serve(stream, peer, slot, thread));
        }
    }
}

/// What is done again and again, whatever happens.
struct Ticks {
    timer: Rc<Source>,
    count: u32,
}

impl Ticks {
    /// Looks at deadlines at every tick, for revoked keys at every fifth, and at idle connections to upstreams at every tenth.
    fn pass(&mut self, thread: &Thread) {
        if !self.timer.has_rung() {
            return;
        }
        thread.tasks.tick();
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(5) {
            thread.notice_revocations();
        }
        if self.count.is_multiple_of(10) {
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

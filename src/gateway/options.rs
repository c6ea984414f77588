//! What the data plane is started with; a change needs a restart.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

/// What needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Addresses to listen on; port 0 lets the system choose.
    pub listeners: Vec<SocketAddr>,
    /// Number of data threads; `None`: one per available core.
    pub threads: Option<NonZeroUsize>,
    /// Client connections at once, over all threads; `None`: what the file descriptor limit allows.
    pub max_connections: Option<NonZeroUsize>,
    /// How long running requests may take after the stop signal.
    pub drain_timeout: Duration,
}

impl Options {
    /// The number of data threads: as asked for, or one per core that affinity and cgroup limits leave to this process.
    pub fn thread_count(&self) -> usize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }

    /// The cap on client connections: as asked for, or what the limit of file descriptors allows.
    ///
    /// A connection takes up to two descriptors, its own and one to an upstream; some are kept for everything else.
    pub fn connection_cap(&self, descriptors: u64) -> usize {
        let usable = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(RESERVED_DESCRIPTORS) / 2;
        self.max_connections.map_or(usable.clamp(1, DEFAULT_MOST), NonZeroUsize::get)
    }
}

/// Descriptors kept for listeners, logs, metrics and files.
const RESERVED_DESCRIPTORS: usize = 128;
/// The cap on connections that nobody asked for.
const DEFAULT_MOST: usize = 1_000_000;

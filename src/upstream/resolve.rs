//! The addresses of an upstream: resolved in the background, swapped whole, read by every data thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::health::Health;
use super::options::Options;

/// One upstream as all threads share it: what the configuration says, and its addresses at present.
#[derive(Debug)]
pub struct Upstream {
    options: Options,
    addresses: ArcSwap<Vec<Arc<Address>>>,
    /// Moves after each change of the addresses.
    changes: AtomicU64,
}

/// One address of one target.
#[derive(Debug)]
pub struct Address {
    /// Where to connect to.
    pub socket: SocketAddr,
    /// The target that it belongs to, as `host:port`; also the Host that goes upstream if the client's is not kept.
    pub target: Arc<str>,
    /// How it has done lately.
    pub health: Health,
}

impl Upstream {
    /// An upstream whose targets given as addresses can be used at once; host names wait for [`Upstream::resolve`].
    pub fn new(options: Options) -> Arc<Self> {
        let literal = options.targets.iter().filter_map(|target| {
            Some(Arc::new(Address {
                socket: target.literal()?,
                target: target.to_string().into(),
                health: Health::default(),
            }))
        });
        let addresses = ArcSwap::from_pointee(literal.collect());
        Arc::new(Self { options, addresses, changes: AtomicU64::new(0) })
    }

    /// What the configuration says of it.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The addresses at present; a new list is a new pointer.
    pub fn addresses(&self) -> Guard<Arc<Vec<Arc<Address>>>> {
        self.addresses.load()
    }

    /// How often the addresses have changed: cheaper to ask for than they are.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether any target is a host name.
    pub fn needs_resolving(&self) -> bool {
        self.options.targets.iter().any(|target| target.literal().is_none())
    }

    /// Looks the host names up and takes over what they mean now; names that cannot be resolved keep their addresses.
    ///
    /// # Errors
    /// One for each target that could not be resolved, with the target's name.
    pub async fn resolve(&self) -> Vec<(Arc<str>, std::io::Error)> {
        let current = self.addresses.load_full();
        let (mut next, mut errors) = (Vec::new(), Vec::new());
        for target in &self.options.targets {
            let name: Arc<str> = target.to_string().into();
            match tokio::net::lookup_host((target.host.as_str(), target.port)).await {
                Ok(found) => next.extend(found.map(|socket| keep_or_make(&current, socket, &name))),
                Err(error) => {
                    next.extend(current.iter().filter(|address| address.target == name).cloned());
                    errors.push((name, error));
                }
            }
        }
        next.sort_by(|a, b| (a.socket, &a.target).cmp(&(b.socket, &b.target)));
        next.dedup_by(|a, b| a.socket == b.socket && a.target == b.target);
        if !same(&current, &next) {
            self.addresses.store(Arc::new(next));
            self.changes.fetch_add(1, Ordering::Release);
        }
        errors
    }
}

/// Resolves the upstreams that `current` gives, again and again, and when `now` says so; `report` gets what failed.
pub async fn resolve_forever(
    current: impl Fn() -> Vec<Arc<Upstream>>,
    now: &Notify,
    report: impl Fn(&Upstream, &str, &std::io::Error),
) {
    loop {
        for upstream in current().iter().filter(|upstream| upstream.needs_resolving()) {
            match tokio::time::timeout(LOOK_UP_TIMEOUT, upstream.resolve()).await {
                Ok(errors) => errors.iter().for_each(|(target, error)| report(upstream, target, error)),
                Err(late) => report(upstream, "all targets", &late.into()),
            }
        }
        // An error is the interval's end.
        let _ = tokio::time::timeout(RESOLVE_INTERVAL, now.notified()).await;
    }
}

fn keep_or_make(current: &[Arc<Address>], socket: SocketAddr, target: &Arc<str>) -> Arc<Address> {
    let known = current.iter().find(|address| address.socket == socket && address.target == *target);
    known.cloned().unwrap_or_else(|| Arc::new(Address { socket, target: target.clone(), health: Health::default() }))
}

fn same(a: &[Arc<Address>], b: &[Arc<Address>]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.iter().any(|other| Arc::ptr_eq(address, other)))
}

/// How long looking up the names of one upstream may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often host names are looked up.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(targets: &[&str]) -> Arc<Upstream> {
        Upstream::new(Options {
            name: "u".parse().unwrap(),
            targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: None,
            idle_timeout: Duration::from_secs(1),
            keep_alive: 1,
            preserve_host: true,
        })
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn literal_addresses_are_there_at_once() {
        let upstream = upstream(&["127.0.0.1:9000", "[::1]:9001"]);
        assert!(!upstream.needs_resolving());
        assert_eq!(upstream.addresses().len(), 2);
    }

    #[test]
    fn names_are_resolved_and_unchanged_addresses_keep_their_health() {
        let upstream = upstream(&["localhost:9000"]);
        assert!(upstream.addresses().is_empty());
        assert!(block_on(upstream.resolve()).is_empty());
        let before = upstream.addresses.load_full();
        assert!(before.iter().all(|address| address.socket.ip().is_loopback() && &*address.target == "localhost:9000"));
        block_on(upstream.resolve());
        assert!(Arc::ptr_eq(&before, &upstream.addresses.load_full()));
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_reported_and_the_others_are_used() {
        let upstream = upstream(&["no-such-host.invalid:80", "127.0.0.1:9000"]);
        let errors = block_on(upstream.resolve());
        assert_eq!(errors.len(), 1);
        assert_eq!(upstream.addresses().len(), 1);
    }
}

//! What all data threads share: the catalog, the count of connections, the flood guard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::flood::Flood;
use crate::catalog::Catalog;

/// What all data threads share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is in force.
    pub(super) catalog: Arc<Catalog>,
    max_connections: usize,
    connections: AtomicUsize,
    flood: Mutex<Option<Arc<Flood>>>,
}

/// One of the connections that are allowed at once; given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot(Arc<Shared>);

impl Shared {
    /// Nothing connected yet.
    pub(super) fn new(catalog: Arc<Catalog>, max_connections: usize) -> Arc<Self> {
        Arc::new(Self { catalog, max_connections, connections: AtomicUsize::new(0), flood: Mutex::default() })
    }

    /// A place for one more connection, if there is one.
    pub(super) fn connection_slot(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let slot = ConnectionSlot(Arc::clone(self));
        (before < self.max_connections).then_some(slot)
    }

    /// The flood guard that the rules in force ask for; its counts live on as long as its options do.
    pub(super) fn flood(&self) -> Option<Arc<Flood>> {
        let wanted = self.catalog.rules().wire.flood_guard;
        let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
        if flood.as_ref().map(|flood| flood.options()) != wanted {
            *flood = wanted.map(|options| Arc::new(Flood::new(options)));
        }
        flood.clone()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

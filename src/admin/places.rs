//! Places: how much is worked on at once, and what of it is kept for operators.
//!
//! Owners and viewers together have at most half of the places, so that none of them keeps an operator out who wants to revoke
//! its token. Taken by `door` when a request has arrived whole, so that nobody holds one by sending slowly.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::Role;

/// All places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    guests: Arc<Semaphore>,
}

/// A place that is taken, until this is dropped.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_guests: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(running: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(running)), guests: Arc::new(Semaphore::new((running / 2).max(1))) }
    }

    /// A place for this role, as soon as one is free.
    pub(super) async fn take(&self, role: &Role) -> Place {
        let _of_guests = match role {
            Role::Operator => None,
            Role::Viewer | Role::Owner(_) => Some(one_of(&self.guests).await),
        };
        Place { _of_all: one_of(&self.all).await, _of_guests }
    }
}

async fn one_of(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

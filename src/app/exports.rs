//! The sinks of a running gateway: started, changed and stopped as the configuration says, and told of.
//!
//! A sink whose options stay goes on undisturbed; one that changes is stopped after its batch and started anew at its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admin::Switch;
use crate::sink::{self, Options, Queues, Running};
use crate::store::UsageStore;
use crate::telemetry::{SinkFigures, log};
use crate::time;

/// All sinks that run.
pub(super) struct Exports {
    queues: Queues,
    running: Mutex<Vec<Running>>,
    /// As of the last look.
    figures: Mutex<Arc<[SinkFigures]>>,
}

impl Exports {
    /// None runs yet.
    pub(super) fn new(store: &Arc<UsageStore>) -> Self {
        let queues = Queues { buckets: Arc::clone(store) as _, events: Arc::clone(store) as _ };
        Self { queues, running: Mutex::default(), figures: Mutex::new(Arc::new([])) }
    }

    /// Has these sinks run and no others. Waits for the batches of those that end.
    pub(super) fn apply(&self, wanted: &[Options]) {
        stop(self.part_from_all_but(wanted));
        if let Err(error) = self.queues.retain(wanted) {
            log::error("places of former sinks cannot be forgotten", &[("error", &error)]);
        }
        for options in wanted {
            if self.running().iter().any(|running| running.options() == options) {
                continue;
            }
            match sink::start(options, &self.queues) {
                Ok(running) => self.running().push(running),
                Err(error) => {
                    let fields: &[(&str, &dyn std::fmt::Display)] = &[("sink", &options.name), ("error", &error)];
                    log::error("a usage sink does not start; what waits for it stays", fields);
                }
            }
        }
    }

    /// What the sinks are doing. Reads the store.
    pub(super) fn statuses(&self) -> Vec<sink::Status> {
        self.running().iter().flat_map(Running::status).collect()
    }

    /// Has the sink of this name wait or go on.
    pub(super) fn switch(&self, name: &str, to: Switch) {
        for running in self.running().iter().filter(|running| running.options().name.as_str() == name) {
            match to {
                Switch::Pause => running.pause(),
                Switch::Resume => running.resume(),
            }
        }
    }

    /// There may be something new.
    pub(super) fn wake(&self) {
        self.running().iter().for_each(Running::wake);
    }

    /// Looks how the sinks are. Reads the store.
    pub(super) fn look(&self) {
        let now = time::wall(time::now());
        let of_lane = |status: sink::Status| {
            let backlog = status.backlog.unwrap_or_default();
            let age_ms = backlog.oldest.map_or(0, |oldest| now.as_unix_ms() - oldest.as_unix_ms());
            SinkFigures {
                sink: status.sink.to_string(),
                queue: status.queue.label(),
                waiting: backlog.waiting,
                lag: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)),
                set_aside: backlog.set_aside,
                taken: status.tally.taken,
                failures: status.tally.failures,
                is_alarming: status.is_alarming(),
                is_paused: status.is_paused,
            }
        };
        let figures: Arc<[SinkFigures]> = self.statuses().into_iter().map(of_lane).collect();
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// How the sinks were at the last look.
    pub(super) fn figures(&self) -> Arc<[SinkFigures]> {
        Arc::clone(&self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all of them.
    pub(super) fn stop(&self) {
        stop(std::mem::take(&mut *self.running()));
    }

    fn part_from_all_but(&self, wanted: &[Options]) -> Vec<Running> {
        let mut running = self.running();
        let (stay, end) = std::mem::take(&mut *running).into_iter().partition(|it| wanted.contains(it.options()));
        *running = stay;
        end
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(ending: Vec<Running>) {
    ending.iter().for_each(Running::stop);
    for running in ending {
        let name = running.options().name.clone();
        if !running.join(STOP_TIMEOUT) {
            log::warn("a usage sink does not end; its batch is sent again or set aside later", &[("sink", &name)]);
        }
    }
}

/// How long a sink may take to end its batch.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

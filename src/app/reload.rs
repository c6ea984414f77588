//! Bringing a configuration into force: loaded and compiled aside, then swapped; a bad one changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::herald::Listeners;
use super::keeping;
use super::management::FileKeys;
use super::metering::Works;
use crate::catalog::{Catalog, FileKey, Follower, Rules};
use crate::config::{self, Settings};
use crate::operations::{Reload, State};
use crate::telemetry::log;
use crate::{admin, gateway, operations, sink, telemetry, time};

/// What a configuration is brought into force on.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) catalog: Arc<Catalog>,
    /// None: there is no store.
    pub(super) follower: Option<Arc<Follower>>,
    /// None: nobody asks for them.
    pub(super) file_keys: Option<FileKeys>,
    pub(super) state: Arc<State>,
    /// None: usage is not kept.
    pub(super) works: Option<Arc<Works>>,
}

/// What a configuration leaves behind once its rules and keys are in force.
#[derive(Debug)]
pub(super) struct InForce {
    /// For the data plane: takes effect at a start only.
    pub(super) gateway: gateway::Options,
    /// For the operations listener: likewise.
    pub(super) operations: Option<operations::Options>,
    /// For the admin API: likewise.
    pub(super) admin: Option<config::Admin>,
    /// For browsers at the admin listener: likewise.
    pub(super) console: Option<admin::Console>,
    /// For new secrets: likewise.
    pub(super) vault: Option<admin::Vault>,
    /// Where the store is: likewise.
    pub(super) data_dir: Option<PathBuf>,
    /// How usage is kept: likewise.
    pub(super) usage: config::Usage,
    /// For the logs.
    pub(super) telemetry: telemetry::Options,
    /// What is to be watched.
    pub(super) files: Vec<PathBuf>,
}

/// A configuration that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// Everything that is wrong with it.
    pub(super) problems: Vec<String>,
    /// What is to be watched.
    pub(super) files: Vec<PathBuf>,
}

/// A configuration that is ready to be brought into force; nothing can refuse it any more.
pub(super) struct Prepared {
    rules: Rules,
    keys: Vec<FileKey>,
    sinks: Vec<sink::Options>,
    pub(super) in_force: InForce,
}

/// Loads and compiles the file; a refusal is told to the metrics and `/status`. Changes nothing. Blocks.
pub(super) fn prepare(path: &Path, catalog: &Catalog, state: &State) -> Result<Prepared, Refused> {
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(rejected) => {
            let problems = rejected.problems.iter().map(ToString::to_string).collect();
            return Err(refuse(problems, rejected.files, state));
        }
    };
    let Settings { gateway, operations, admin, console, vault, data_dir, telemetry, usage, sinks, rules, keys } =
        loaded.settings;
    let rules = match Rules::compile(rules, Some(&catalog.rules()), time::now()) {
        Ok(rules) => rules,
        Err(error) => return Err(refuse(vec![error.to_string()], loaded.files, state)),
    };
    loaded.warnings.iter().for_each(|warning| log::warn(&warning.to_string(), &[]));
    Ok(Prepared {
        rules,
        keys,
        sinks,
        in_force: InForce {
            gateway,
            operations,
            admin,
            console,
            vault,
            data_dir,
            usage,
            telemetry,
            files: loaded.files,
        },
    })
}

/// Brings a configuration into force; tells the log, the metrics and `/status`. Blocks.
pub(super) fn apply(prepared: Prepared, stage: &Stage) -> InForce {
    let Stage { catalog, follower, file_keys, state, works } = stage;
    if let Some(file_keys) = file_keys {
        let mut shown: Vec<FileKey> = prepared.keys.iter().filter(|key| !key.digests.is_empty()).cloned().collect();
        shown.sort_by(|a, b| a.key.id.cmp(&b.key.id));
        file_keys.store(Arc::new(shown));
    }
    let applied = catalog.apply(prepared.rules, prepared.keys);
    if let Some(works) = works {
        apply_sinks(&prepared.sinks, works, follower.as_deref());
    }
    keeping::reconcile(catalog, follower.as_deref());
    log::set_format(prepared.in_force.telemetry.format);
    log::info(
        "configuration in force",
        &[
            ("generation", &applied.generation),
            ("keys_added", &applied.added),
            ("keys_changed", &applied.changed),
            ("keys_removed", &applied.removed),
            ("keys_unchanged", &applied.unchanged),
        ],
    );
    state.reloaded(Reload::Applied { generation: applied.generation }, time::wall(time::now()));
    prepared.in_force
}

fn apply_sinks(sinks: &[sink::Options], works: &Works, follower: Option<&Follower>) {
    let is_heard = sinks.iter().any(|sink| sink.target.carries_events());
    works.exports().apply(sinks);
    if let Some(follower) = follower {
        works.herald().begin(follower.store(), if is_heard { Listeners::Some } else { Listeners::None });
    }
}

/// Notes that a configuration was refused, and why.
pub(super) fn refuse(problems: Vec<String>, files: Vec<PathBuf>, state: &State) -> Refused {
    let first = problems.first().cloned().unwrap_or_default();
    state.reloaded(Reload::Refused { problem: first }, time::wall(time::now()));
    Refused { problems, files }
}

/// The fields that differ and take effect at a start only.
pub(super) fn needing_restart(now: &InForce, next: &InForce) -> Vec<&'static str> {
    let differs = [
        ("listeners", now.gateway.listeners != next.gateway.listeners),
        ("operations", now.operations != next.operations),
        ("admin", now.admin != next.admin),
        ("console", now.console != next.console || now.vault != next.vault),
        ("data_dir", now.data_dir != next.data_dir),
        ("usage", now.usage != next.usage),
        ("threads", now.gateway.threads != next.gateway.threads),
        ("max_connections", now.gateway.max_connections != next.gateway.max_connections),
        ("drain_timeout", now.gateway.drain_timeout != next.gateway.drain_timeout),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

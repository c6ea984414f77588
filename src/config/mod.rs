//! Configuration: the YAML file to [`Settings`], or every [`Problem`] of it at once; and watching it for changes.
//!
//! The way of a file: `source` reads it, `tree` makes a tree with places of it, `shape` holds the tree against the table
//! in `fields`, `include` adds further files, `build` makes settings and checks what values mean together. Nothing stops
//! at the first problem but a file that is not YAML. Called by `app` and `cli` alone.

mod build;
mod expect;
mod fields;
mod form;
mod include;
mod node;
mod problem;
mod reader;
mod scalar;
mod schema;
mod shape;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::{Console, Vault};
use crate::catalog::{FileKey, RuleSet};
use crate::{gateway, operations, sink, telemetry};

use build::Outside;
use node::Node;
use problem::{Mark, Problems};
use source::{MAX_FILE_BYTES, Source};

pub use problem::{Problem, Severity};
pub use schema::schema;
pub use watch::Watcher;

/// What a configuration says, with all defaults filled in and all references resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data plane: what needs a restart to change.
    pub gateway: gateway::Options,
    /// The operations listener; none: it is off.
    pub operations: Option<operations::Options>,
    /// The admin API; none: it is off.
    pub admin: Option<Admin>,
    /// The web console of the admin listener; none: it is off.
    pub console: Option<Console>,
    /// Hides new secrets so that they can be shown again; none: they are not kept.
    pub vault: Option<Vault>,
    /// Where the store is; none: there is none.
    pub data_dir: Option<PathBuf>,
    /// How usage is kept.
    pub usage: Usage,
    /// Logs.
    pub telemetry: telemetry::Options,
    /// Where usage is sent to, in the order of the file.
    pub sinks: Vec<sink::Options>,
    /// Routes, plans, upstreams and how messages are read and written.
    pub rules: RuleSet,
    /// The keys of the file, in its order. Those that `revoked` names are in the state revoked; ids there that are no keys of
    /// the file follow, without digests.
    pub keys: Vec<FileKey>,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens: on this machine alone, or where others can reach it because the operator says so.
    pub address: SocketAddr,
    /// Files with an operator's token each.
    pub token_files: Vec<PathBuf>,
}

/// How usage is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How often the ledger is made durable.
    pub sync_interval: Duration,
    /// How long usage is kept by the minute.
    pub minutes: Duration,
    /// By the hour.
    pub hours: Duration,
    /// By the day.
    pub days: Duration,
}

/// A configuration that is accepted.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What is doubtful about it, in the order of the files.
    pub warnings: Vec<Problem>,
    /// See [`Rejected::files`].
    pub files: Vec<PathBuf>,
}

/// A configuration that is refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Everything that is wrong or doubtful about it, in the order of the files; at least one error.
    pub problems: Vec<Problem>,
    /// Every file that was read or should have been, and every folder that a pattern of `include` looks into: what a
    /// [`Watcher`] has to watch.
    pub files: Vec<PathBuf>,
}

/// Reads a configuration file with everything it includes and refers to.
///
/// # Errors
/// Every problem of all files at once.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    let files = vec![path.to_owned()];
    match Source::read(path) {
        Ok(main) => load_source(main, files),
        Err(error) => {
            let mut problems = Problems::default();
            problems.error(
                Mark::default(),
                format!("the file {error}"),
                "check the path and the permissions of the file",
            );
            Err(Rejected { problems: problems.into_list(&[Source::unread(path)]), files })
        }
    }
}

/// Reads a configuration from a text that is no file: it may neither include files nor refer to files or the environment.
///
/// # Errors
/// Every problem at once; `name` stands for the file in them.
pub fn load_str(name: &str, text: &str) -> Result<Loaded, Rejected> {
    load_source(Source::from_text(name, text), Vec::new())
}

/// The operations listener's address, as far as it can be read: the rest of the file may be wrong.
pub fn operations_address(path: &Path) -> Option<SocketAddr> {
    let source = Source::read(path).ok()?;
    let root = tree::parse(0, source.text(), &mut Problems::default())?;
    root.entry("operations")?.entry("address")?.text()?.parse().ok()
}

fn load_source(main: Source, mut files: Vec<PathBuf>) -> Result<Loaded, Rejected> {
    let mut problems = Problems::default();
    let root = parse_main(&main, &mut problems);
    let included = root.as_ref().map(|root| include::read(&main, root, &mut files, &mut problems)).unwrap_or_default();
    let trees = parse_included(&included, &mut problems);
    let mut outside = Outside::new(&main, &included);
    let settings = root.as_ref().and_then(|root| build::settings(root, &trees, &mut outside, &mut problems));
    files.extend(outside.into_files());
    if settings.is_none() && !problems.any_error() {
        problems.error(
            Mark::default(),
            "the configuration cannot be used",
            "this is a defect of keygate: please report it",
        );
    }
    drop((root, trees));
    let refused = problems.any_error();
    let mut sources = vec![main];
    sources.extend(included);
    let problems = problems.into_list(&sources);
    match settings {
        Some(settings) if !refused => Ok(Loaded { settings, warnings: problems, files }),
        _ => Err(Rejected { problems, files }),
    }
}

fn parse_main<'s>(main: &'s Source, problems: &mut Problems) -> Option<Node<'s>> {
    if main.text().len() as u64 > MAX_FILE_BYTES {
        let message = format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
        problems.error(Mark::default(), message, "split it with `include:`");
        return None;
    }
    let root = tree::parse(0, main.text(), problems).filter(|root| !root.is_null());
    match &root {
        Some(root) => shape::check_file(root, fields::ROOT, problems),
        None if problems.any_error() => {}
        None => problems.error(
            Mark::default(),
            "the file is empty",
            "begin with `listeners:`, `upstreams:` and `routes:`; `keygate quickstart` writes a file to begin with",
        ),
    }
    root
}

/// The trees of the included files; one that holds nothing is as good as none.
fn parse_included<'s>(included: &'s [Source], problems: &mut Problems) -> Vec<Node<'s>> {
    let mut trees = Vec::with_capacity(included.len());
    for (file, source) in (1..).zip(included) {
        if let Some(root) = tree::parse(file, source.text(), problems).filter(|root| !root.is_null()) {
            shape::check_file(&root, fields::INCLUDED, problems);
            trees.push(root);
        }
    }
    trees
}

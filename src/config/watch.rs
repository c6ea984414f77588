//! Watching the files of a configuration for changes.
//!
//! Folders are watched, not files: editors rename a new file over the old one, and a Kubernetes ConfigMap swaps a symbolic
//! link beside it. An event is only a hint to look; what counts is whether a file, with all links followed, is another one
//! than before. A slow poll looks without a hint, for file systems that give none. Used by `app` on the control thread.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Tells when one of the files of a configuration has changed.
#[derive(Debug)]
pub struct Watcher {
    seen: BTreeMap<PathBuf, State>,
    folders: BTreeSet<PathBuf>,
    hints: Arc<Notify>,
    events: Option<RecommendedWatcher>,
    /// When the files are looked at next.
    look_at: Option<Instant>,
    /// When a burst of hints that goes on and on is cut short.
    burst_ends: Option<Instant>,
}

/// What a path leads to, after all symbolic links: enough to tell a change without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Missing,
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified_ns: i128,
        changed_ns: i128,
    },
    /// A folder with the names in it: files that come and go are a change.
    Folder(BTreeSet<OsString>),
}

impl Watcher {
    /// A watcher of these files, as `Loaded::files` or `Rejected::files` gives them, and what does not work about it.
    ///
    /// Where the system gives no events (no inotify watches left, a folder that is missing), changes are found within 5 s
    /// by looking; the returned warnings say so.
    pub fn new(files: &[PathBuf]) -> (Self, Vec<String>) {
        let hints = Arc::new(Notify::new());
        let (events, mut warnings) = match event_source(Arc::clone(&hints)) {
            Ok(events) => (Some(events), Vec::new()),
            Err(error) => (None, vec![polled("files", &error)]),
        };
        let (seen, folders) = (BTreeMap::new(), BTreeSet::new());
        let mut watcher = Self { seen, folders, hints, events, look_at: None, burst_ends: None };
        warnings.extend(watcher.follow(files));
        (watcher, warnings)
    }

    /// Watches these files from now on: to be called with the files of every reload, accepted or refused. Gives warnings
    /// as [`Watcher::new`] does.
    ///
    /// Their present state counts as seen, except that of files that were watched before: a change between the load and
    /// this call is still told.
    pub fn follow(&mut self, files: &[PathBuf]) -> Vec<String> {
        let mut before = std::mem::take(&mut self.seen);
        let mut state = |file: &PathBuf| before.remove(file).unwrap_or_else(|| State::of(file));
        self.seen = files.iter().map(|file| (file.clone(), state(file))).collect();
        self.watch_folders()
    }

    /// Waits until a file is another one than when this last returned.
    ///
    /// A burst of changes is told once, when it has been quiet for 120 ms or has lasted for a second. Cancel safe: what is
    /// waited for is kept in the watcher, and a call goes on where the one before was dropped.
    pub async fn changed(&mut self) {
        loop {
            let look_at = *self.look_at.get_or_insert_with(|| Instant::now() + POLL);
            if timeout_at(look_at, self.hints.notified()).await.is_ok() {
                let now = Instant::now();
                let burst_ends = *self.burst_ends.get_or_insert(now + BURST);
                self.look_at = Some(burst_ends.min(now + QUIET));
                continue;
            }
            (self.look_at, self.burst_ends) = (None, None);
            if self.looks_different() {
                return;
            }
        }
    }

    /// Looks at all files and keeps what it sees.
    fn looks_different(&mut self) -> bool {
        let mut different = false;
        for (file, seen) in &mut self.seen {
            let now = State::of(file);
            different |= now != *seen;
            *seen = now;
        }
        different
    }

    /// Brings the watched folders in line with the files; gives what does not work.
    fn watch_folders(&mut self) -> Vec<String> {
        let wanted: BTreeSet<PathBuf> = self.seen.keys().flat_map(|file| folders_of(file)).collect();
        let Some(events) = &mut self.events else {
            return Vec::new();
        };
        for gone in self.folders.difference(&wanted) {
            // It may be gone from the disk as well, and its watch with it.
            let _ = events.unwatch(gone);
        }
        let mut warnings = Vec::new();
        let mut watched = BTreeSet::new();
        for folder in wanted {
            // Again even if it is known: a folder that was replaced has lost its watch.
            match events.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(error) => warnings.push(polled(&folder.display().to_string(), &error)),
            }
        }
        self.folders = watched;
        warnings
    }
}

impl State {
    fn of(path: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(here(path)) else {
            return Self::Missing;
        };
        if !metadata.is_dir() {
            return Self::of_file(&metadata);
        }
        match std::fs::read_dir(here(path)) {
            Ok(entries) => Self::Folder(entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()),
            Err(_) => Self::Missing,
        }
    }

    fn of_file(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn event_source(hints: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error, such as an overflowing queue, may hide a change: look.
        if event.is_ok_and(|event| is_reading(event.kind)) {
            return;
        }
        hints.notify_one();
    })
}

/// Reading changes nothing; our own reading must not wake us.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The folder that a file is named in and, if it is a link, the one where it really is; a folder itself.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    if here(path).is_dir() {
        return vec![here(path).to_owned()];
    }
    let named = path.parent().map(|folder| here(folder).to_owned());
    let real = path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
    let real = real.filter(|real| named.as_ref().and_then(|named| named.canonicalize().ok()).as_ref() != Some(real));
    named.into_iter().chain(real).collect()
}

/// An empty path is the current folder.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn polled(what: &str, error: &notify::Error) -> String {
    format!("{what} cannot be watched and will be looked at every {} s: {error}", POLL.as_secs())
}

/// How often the files are looked at without a hint.
const POLL: Duration = Duration::from_secs(5);
/// How long nothing must happen before a burst of changes counts as over.
const QUIET: Duration = Duration::from_millis(120);
/// How long a burst of changes may last before it is told anyway.
const BURST: Duration = Duration::from_secs(1);

//! A wall clock that a test can set while the gateway runs: libfaketime in front of the C library, which the gateway asks.
//!
//! The monotonic clock stays as it is, as it does when somebody sets the clock of a machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// The clock of the gateways that were started with it.
pub(crate) struct WallClock {
    folder: TempDir,
    /// How far it is ahead of the machine's.
    ahead_ms: AtomicI64,
}

impl WallClock {
    /// A clock that shows this time, as in `2027-01-31T23:59:50Z`.
    pub(crate) fn at(time: &str) -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap(), ahead_ms: AtomicI64::new(0) };
        clock.set(time);
        clock
    }

    /// From now on it shows this time.
    pub(crate) fn set(&self, time: &str) {
        let time: jiff::Timestamp = time.parse().unwrap();
        self.show(time.as_millisecond() - machine_ms());
    }

    /// From now on it is so many seconds later.
    pub(crate) fn advance(&self, seconds: i64) {
        self.show(self.ahead_ms.load(Ordering::SeqCst) + 1000 * seconds);
    }

    /// What it shows, in seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        (machine_ms() + self.ahead_ms.load(Ordering::SeqCst)).div_euclid(1000)
    }

    /// A command whose process goes by this clock.
    pub(crate) fn command(&self, mut command: Command) -> Command {
        command.envs(self.variables());
        command
    }

    /// What makes a process go by this clock.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        let library = LIBRARIES.iter().find(|path| Path::new(path).exists()).expect("faketime is installed: make deps");
        let file = self.folder.path().join("ahead").to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", (*library).to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    fn show(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::SeqCst);
        let (next, file) = (self.folder.path().join("next"), self.folder.path().join("ahead"));
        fs::write(&next, format!("{:+.3}\n", ahead_ms as f64 / 1e3)).unwrap();
        fs::rename(next, file).unwrap();
    }
}

impl Drop for WallClock {
    /// Removes what libfaketime leaves behind of processes that have ended.
    fn drop(&mut self) {
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let process = name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn machine_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

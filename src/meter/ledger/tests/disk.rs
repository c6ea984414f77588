//! A disk on which no file can be made: counting goes on in memory, and what was counted reaches the disk when it can.
//!
//! The limit on the size of files holds for a whole process, so the test starts this very program again.

use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::*;

const FOLDER: &str = "KEYGATE_TEST_LEDGER_DISK_FOLDER";

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

/// The process whose files cannot grow. Does nothing when it is run as a test.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Without a handler the signal would end the process before the write returns its error.
    let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();

    let mut keeper = open(folder, SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    limit_files(Some(SMALL as u64 / 2));
    // The file that lies ready has room, and is full in the end.
    let mut failed = 0;
    for n in 0..100 {
        count(&mut book, n, RouteId::NONE, requests(1), minute(1));
        failed += u32::from(keeper.prepare().is_err());
        let _ = keeper.sync(NOW);
    }
    let later = Instant::from_ns(NOW.as_ns() + 1_000_000_000);
    let figures = keeper.figures(later);
    assert!(failed > 50 && figures.in_memory == 2 && figures.lag.as_secs() == 1, "{figures:?}");
    assert_eq!(figures.lost_requests, 0);
    assert!(keeper.sync(later).is_err());
    assert_eq!(folder::files(folder).unwrap().len(), 1, "no half-made file is left");
    assert_eq!(sum(keeper.sealable(minute(0)).unwrap().cells()), requests(0));

    limit_files(None);
    keeper.prepare().unwrap();
    keeper.sync(later).unwrap();
    count(&mut book, 99, RouteId::NONE, requests(1), minute(1));
    keeper.sync(later).unwrap();
    let figures = keeper.figures(later);
    assert!(figures.in_memory == 0 && figures.lag.is_zero(), "{figures:?}");
    drop((keeper, book));
    assert_eq!(sum(open(folder, SMALL).replay().unwrap().cells()), requests(101));
}

#[test]
fn counting_goes_on_without_a_disk_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "meter::ledger::tests::disk::child"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(folder::files(folder.path()).unwrap().len() > 1, "the child did something");
}

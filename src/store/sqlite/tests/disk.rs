//! A file that cannot grow: the change is refused whole, reading goes on, and so does writing once there is space.
//!
//! The limit on the size of files holds for a whole process, so the test starts this very program again.

use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::*;
use crate::store::CommitError;

const FOLDER: &str = "KEYGATE_TEST_DISK_FOLDER";
/// More than an empty store has; reached after a few dozen commits.
const FILE_BYTES: u64 = 256 << 10;

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

/// The process whose files cannot grow. Does nothing when it is run as a test.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Without a handler the signal would end the process before the write returns its error.
    let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();

    let store = open(Path::new(&folder));
    limit_files(Some(FILE_BYTES));
    let failed = |outcome| matches!(outcome, Err(CommitError::Unavailable(StoreError::Failed(_))));
    let made = (0..=u8::MAX).take_while(|n| !failed(store.commit(create(*n)).map(drop))).count();
    let refused = u8::try_from(made).unwrap();
    assert!(failed(store.commit_all(vec![create(refused), create(254), create(255)]).map(drop)));

    // What was refused is not there, what was made is.
    let whole = |store: &SqliteStore, keys: u8| {
        assert_eq!(store.revision(), Revision(u64::from(keys)));
        assert_eq!(loaded(store).len(), usize::from(keys));
        assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: u64::from(keys) });
    };
    whole(&store, refused);
    limit_files(None);
    whole(&store, refused);
    assert_eq!(store.commit(create(refused)).unwrap(), Revision(u64::from(refused) + 1));
    whole(&store, refused + 1);
    drop(store);
    whole(&open(Path::new(&folder)), refused + 1);
    assert!(check(&Path::new(&folder).join("store.db")).unwrap().is_sound());
}

#[test]
fn a_change_that_cannot_be_written_is_refused_whole_and_the_store_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite::tests::disk::child"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(folder.path().join("store.db").exists(), "the child did nothing");
}

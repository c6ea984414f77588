//! The file sink: each bucket once, in files whose names and contents follow from the buckets alone.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::{MINUTE, NOW, bucket, name, open, outbox, run};
use crate::meter::ledger::Minute;
use crate::meter::{Bucket, MemoryOutbox, Outbox, Start};
use crate::sink::file::Files;
use crate::sink::{FileOptions, Format, Step, TroubleKind};

fn options(folder: &Path, format: Format, max_bytes: u64) -> FileOptions {
    FileOptions { folder: folder.to_owned(), prefix: "usage".into(), format, max_bytes }
}

/// Names and contents, in order.
fn content(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Some buckets of two days.
fn buckets() -> Vec<Bucket> {
    (1..=60)
        .map(|seq| Bucket {
            minute: Minute::from_unix(MINUTE + 40 * u32::try_from(seq).unwrap()),
            ..bucket(seq, "acme", seq)
        })
        .collect()
}

/// The file that is being written.
fn under_way(folder: &Path, outbox: &MemoryOutbox<Bucket>) -> Option<PathBuf> {
    let note: Value = serde_json::from_str(&outbox.progress(&name(), Start::End).unwrap().note).ok()?;
    let (name, _) = note["mark"].as_str()?.rsplit_once(':')?;
    Some(folder.join(name))
}

fn written(folder: &Path, format: Format, max_bytes: u64, batch: usize) -> Vec<(String, String)> {
    let outbox = outbox(buckets());
    let mut delivery = open(&outbox, Box::new(Files::new(options(folder, format, max_bytes))), batch);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    content(folder)
}

#[test]
fn files_turn_with_size_and_day_and_hold_each_bucket_once() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), Format::Ndjson, 2048, 7);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "usage-2026-07-01-0001.ndjson");
    assert!(names.contains(&"usage-2026-07-02-0001.ndjson") && names.is_sorted() && names.len() > 4, "{names:?}");
    assert!(files.iter().all(|(_, text)| text.len() < 2048 + 512 && text.ends_with('\n')));
    let rows: Vec<Value> =
        files.iter().flat_map(|(_, text)| text.lines().map(|line| serde_json::from_str(line).unwrap())).collect();
    let units: Vec<u64> = rows.iter().map(|row| row["units"].as_u64().unwrap()).collect();
    assert_eq!(units, (1..=60).collect::<Vec<u64>>());
}

#[test]
fn each_csv_file_begins_with_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), Format::Csv, 1024, 60);
    assert!(files.len() > 3 && files.iter().all(|(_, text)| text.starts_with("id,minute,key,")));
    assert_eq!(files.iter().map(|(_, text)| text.lines().count() - 1).sum::<usize>(), 60);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// `kill -9` at any step, and with any part of a row beyond what was acknowledged.
    #[test]
    fn crashes_leave_no_trace_in_the_files(
        batch in 1_usize..20, crashes in vec((1_usize..9, any::<bool>()), 0..25), csv in any::<bool>(),
    ) {
        let format = if csv { Format::Csv } else { Format::Ndjson };
        let (whole, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = written(whole.path(), format, 2048, batch);
        let outbox = outbox(buckets());
        let fresh = || open(&outbox, Box::new(Files::new(options(torn.path(), format, 2048))), batch);
        for (steps, is_torn) in crashes {
            let mut delivery = fresh();
            for _ in 0..steps {
                delivery.step(NOW).unwrap();
            }
            if let Some(path) = under_way(torn.path(), &outbox).filter(|_| is_torn && !delivery.is_resting()) {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.unwrap().write_all(b"{\"id\":\"00").unwrap();
            }
        }
        prop_assert_eq!(run(&mut fresh(), NOW), Step::Idle);
        prop_assert_eq!(content(torn.path()), expected);
    }
}

#[test]
fn files_of_an_earlier_life_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["usage-2026-07-01-0007.ndjson", "usage-2026-07-01-0001.csv", "usage-2026-07-01-old.ndjson"] {
        fs::write(folder.path().join(name), "theirs\n").unwrap();
    }
    let outbox = outbox([bucket(1, "acme", 1)]);
    let mut delivery = open(&outbox, Box::new(Files::new(options(folder.path(), Format::Ndjson, 1 << 20))), 10);
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    let files = content(folder.path());
    assert_eq!(files.iter().filter(|(_, text)| text == "theirs\n").count(), 3);
    assert!(files.iter().any(|(name, _)| name == "usage-2026-07-01-0008.ndjson"), "{files:?}");
}

#[test]
fn a_file_that_was_taken_away_is_followed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox([bucket(1, "acme", 1)]);
    let fresh = || open(&outbox, Box::new(Files::new(options(folder.path(), Format::Ndjson, 1 << 20))), 10);
    assert_eq!(run(&mut fresh(), NOW), Step::Idle);
    fs::remove_file(folder.path().join("usage-2026-07-01-0001.ndjson")).unwrap();
    outbox.push(bucket(2, "acme", 2));
    assert_eq!(run(&mut fresh(), NOW), Step::Idle);
    let files = content(folder.path());
    assert_eq!((files.len(), files[0].0.as_str()), (1, "usage-2026-07-01-0002.ndjson"));
    assert!(files[0].1.contains("\"units\":2"));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_alarm_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "a file").unwrap();
    let outbox = outbox([bucket(1, "acme", 1)]);
    let mut delivery = open(&outbox, Box::new(Files::new(options(&path, Format::Ndjson, 1 << 20))), 10);
    assert!(matches!(run(&mut delivery, NOW), Step::Pause(_)));
    let (_, trouble) = delivery.tally().trouble.clone().unwrap();
    assert_eq!((trouble.kind, trouble.kind.is_alarming()), (TroubleKind::Disk, true));
    fs::remove_file(&path).unwrap();
    assert_eq!(run(&mut delivery, NOW), Step::Idle);
    assert_eq!(content(&path).len(), 1);
}

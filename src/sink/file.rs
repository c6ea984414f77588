//! Files of rows: a folder in which each bucket stands exactly once, whatever dies when.
//!
//! The mark says which file is written and how long it was when everything in it was acknowledged. Before anything is written
//! the file is cut to that length, so rows whose acknowledgement was lost are written again in their place. A name is chosen
//! so that nothing of that name is there, and becomes the mark, durably, before the file is made. A batch ends where a file
//! ends: at its size, or at the day of the buckets. All files but the newest are final.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use super::options::{FileOptions, Format};
use super::row::{Row, csv_head, csv_line, json, time};
use super::{Guarantee, Outcome, Sent, Sink, Trouble, TroubleKind};
use crate::meter::Bucket;
use crate::telemetry::log;
use crate::time::Timestamp;

/// Writes rows into files.
pub(super) struct Files {
    options: FileOptions,
}

/// Which file is written, and how much of it is acknowledged: `usage-2026-07-01-0001.ndjson:4096`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    day: String,
    index: u64,
    length: u64,
}

impl Files {
    pub(super) fn new(options: FileOptions) -> Self {
        Self { options }
    }

    fn append(&self, items: &[Bucket], mark: &str) -> io::Result<Sent> {
        let Some(first) = items.first() else { return Ok(Sent::all(Outcome::Taken, 0, None)) };
        let Some(mark) = self.read_mark(mark) else {
            return self.turn_to(&day(first), 0, items.len(), 0);
        };
        if day(first) > mark.day || mark.length >= self.options.max_bytes {
            self.cut(&mark)?;
            return self.turn_from(&mark, items, 0);
        }
        let Some(file) = self.open(&mark)? else {
            let name = self.name(&mark);
            log::warn("a usage file is gone or shorter than it was, and the next one is begun", &[("file", &name)]);
            return self.turn_from(&mark, items, 0);
        };
        self.write(file, &mark, items)
    }

    /// Writes as many rows as belong into the file.
    fn write(&self, mut file: File, mark: &Mark, items: &[Bucket]) -> io::Result<Sent> {
        let mut rows: Vec<u8> = if mark.length == 0 { self.head() } else { Vec::new() };
        let mut written = 0;
        for bucket in items {
            let length = mark.length + rows.len() as u64;
            if day(bucket) > mark.day || (written > 0 && length >= self.options.max_bytes) {
                break;
            }
            rows.extend(self.row(bucket));
            written += 1;
        }
        file.set_len(mark.length)?;
        file.seek(SeekFrom::Start(mark.length))?;
        file.write_all(&rows)?;
        file.sync_all()?;
        if mark.length == 0 {
            File::open(&self.options.folder)?.sync_all()?;
        }
        let length = mark.length + rows.len() as u64;
        if written < items.len() {
            return self.turn_from(mark, items, written);
        }
        let mark = Mark { length, ..mark.clone() };
        Ok(Sent { mark: Some(self.mark(&mark)), ..Sent::all(Outcome::Taken, items.len(), None) })
    }

    /// Takes out what was written beyond the mark and is not written again: the outbox may have dropped it since.
    fn cut(&self, mark: &Mark) -> io::Result<()> {
        let path = self.options.folder.join(self.name(mark));
        match OpenOptions::new().write(true).open(path) {
            Ok(file) if file.metadata()?.len() > mark.length => {
                file.set_len(mark.length).and_then(|()| file.sync_all())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Turns to the file that the first item belongs into that is not written.
    fn turn_from(&self, mark: &Mark, items: &[Bucket], written: usize) -> io::Result<Sent> {
        match day(&items[written]) {
            later if later > mark.day => self.turn_to(&later, 0, items.len(), written),
            _ => self.turn_to(&mark.day, mark.index, items.len(), written),
        }
    }

    /// Chooses the next file of a day. The rest of the items is for the next batch, once the mark is durable.
    fn turn_to(&self, day: &str, index: u64, items: usize, written: usize) -> io::Result<Sent> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.options.folder)?;
        let mut last = 0;
        for entry in fs::read_dir(&self.options.folder)? {
            let name = entry?.file_name();
            let taken = name.to_str().and_then(|name| self.read_name(name)).filter(|(other, _)| other == day);
            last = last.max(taken.map_or(0, |(_, index)| index));
        }
        let mark = Mark { index: last.max(index) + 1, day: day.to_owned(), length: 0 };
        let mut sent = Sent { mark: Some(self.mark(&mark)), ..Sent::all(Outcome::Untaken, items, None) };
        sent.outcomes[..written].fill(Outcome::Taken);
        Ok(sent)
    }

    /// None: it is not there, or it is shorter than what was acknowledged.
    fn open(&self, mark: &Mark) -> io::Result<Option<File>> {
        let path = self.options.folder.join(self.name(mark));
        let mut options = OpenOptions::new();
        options.write(true).mode(0o640).create(mark.length == 0);
        match options.open(path) {
            Ok(file) if file.metadata()?.len() >= mark.length => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound && mark.length > 0 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn head(&self) -> Vec<u8> {
        match self.options.format {
            Format::Ndjson => Vec::new(),
            Format::Csv => csv_head().into_bytes(),
        }
    }

    fn row(&self, bucket: &Bucket) -> Vec<u8> {
        match self.options.format {
            Format::Ndjson => [json(&Row::of(bucket)), b"\n".to_vec()].concat(),
            Format::Csv => csv_line(bucket).into_bytes(),
        }
    }

    fn name(&self, mark: &Mark) -> String {
        format!("{}-{}-{:04}.{}", self.options.prefix, mark.day, mark.index, self.kind())
    }

    fn mark(&self, mark: &Mark) -> String {
        format!("{}:{}", self.name(mark), mark.length)
    }

    /// None: there is none, or it is that of other options.
    fn read_mark(&self, text: &str) -> Option<Mark> {
        let (name, length) = text.rsplit_once(':')?;
        let (day, index) = self.read_name(name)?;
        Some(Mark { day, index, length: length.parse().ok()? })
    }

    fn read_name(&self, name: &str) -> Option<(String, u64)> {
        let stem = name.strip_prefix(&self.options.prefix)?.strip_prefix('-')?;
        let stem = stem.strip_suffix(self.kind())?.strip_suffix('.')?;
        let (day, index) = stem.split_at_checked(DAY_BYTES)?;
        Some((day.to_owned(), index.strip_prefix('-')?.parse().ok()?))
    }

    fn kind(&self) -> &'static str {
        match self.options.format {
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
        }
    }
}

impl Sink<Bucket> for Files {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Upserts
    }

    fn send(&mut self, items: &[Bucket], mark: &str, _: Timestamp) -> Sent {
        self.append(items, mark).unwrap_or_else(|error| {
            let words = format!("{}: {error}", self.options.folder.display());
            let trouble = Trouble { kind: TroubleKind::Disk, words, retry_after: None };
            Sent::all(Outcome::Untaken, items.len(), Some(trouble))
        })
    }
}

/// The day of a bucket in UTC.
fn day(bucket: &Bucket) -> String {
    let mut day = time(bucket.minute.start());
    day.truncate(DAY_BYTES);
    day
}

/// `2026-07-01`.
const DAY_BYTES: usize = 10;

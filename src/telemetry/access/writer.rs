//! The writing end of the request log: drains the queues of all data threads into its output.
//!
//! Belongs to the log thread. A write that fails loses its lines, which is counted, and told at most once a
//! minute; it never ends the program. A write blocks for as long as its output does, so a program whose standard
//! output may stall should drain where blocking harms nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::line::line_into;
use super::{AccessLog, QUEUE_RECORDS};
use crate::telemetry::{LogOutput, Metrics, Options, log};
use crate::time::Instant;

/// Formats and writes what the senders have queued.
#[derive(Debug)]
pub struct Writer {
    log: Arc<AccessLog>,
    metrics: Arc<Metrics>,
    options: Options,
    output: Output,
    buffer: Vec<u8>,
    /// A failed write may have left a line without its end.
    torn: bool,
    complained: Option<Instant>,
}

#[derive(Debug)]
enum Output {
    Off,
    Stdout,
    File(File),
}

impl Writer {
    pub(super) fn open(log: Arc<AccessLog>, options: &Options, metrics: Arc<Metrics>) -> io::Result<Self> {
        let output = Output::open(&options.access.output)?;
        log.configure(options);
        let options = options.clone();
        Ok(Self { log, metrics, options, output, buffer: Vec::new(), torn: false, complained: None })
    }

    /// Writes what has been queued so far, thread by thread. Call it every few ten milliseconds, and a last time when the
    /// data threads have stopped.
    pub fn drain(&mut self, now: Instant) {
        for lane in self.log.lanes() {
            let mut lines = 0;
            // Not until the queue is empty: its sender may be faster than the output.
            for record in std::iter::from_fn(|| lane.pop()).take(QUEUE_RECORDS) {
                line_into(&mut self.buffer, self.options.format, &record);
                lines += 1;
                if self.buffer.len() >= WRITE_BYTES {
                    self.write(lines, now);
                    lines = 0;
                }
            }
            self.write(lines, now);
        }
    }

    /// Changes output, format and sample from here on; what was queued before still goes to the old output.
    ///
    /// # Errors
    ///
    /// If the new file cannot be opened; then everything stays as it was.
    pub fn configure(&mut self, options: &Options, now: Instant) -> io::Result<()> {
        self.drain(now);
        if options.access.output != self.options.access.output {
            self.output = Output::open(&options.access.output)?;
            self.torn = false;
        }
        self.options = options.clone();
        self.log.configure(options);
        Ok(())
    }

    /// Opens the file of the output again, after it was moved away (SIGHUP); what was queued before goes to the old one.
    ///
    /// # Errors
    ///
    /// If it cannot be opened; then lines go on to the old one.
    pub fn reopen(&mut self, now: Instant) -> io::Result<()> {
        self.drain(now);
        self.output = Output::open(&self.options.access.output)?;
        self.torn = false;
        Ok(())
    }

    fn write(&mut self, lines: u64, now: Instant) {
        if lines == 0 {
            return;
        }
        if std::mem::take(&mut self.torn) {
            self.buffer.insert(0, b'\n');
        }
        let written = self.output.write(&self.buffer);
        self.buffer.clear();
        if let Err(error) = written {
            self.torn = true;
            self.metrics.access_log_write_failed(lines);
            self.complain(&error, now);
        }
    }

    fn complain(&mut self, error: &io::Error, now: Instant) {
        if self.complained.is_none_or(|last| now.since(last) >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            let output = match &self.options.access.output {
                LogOutput::File(path) => path.display().to_string(),
                LogOutput::Off | LogOutput::Stdout => "standard output".to_owned(),
            };
            log::error("the request log cannot be written", &[("output", &output), ("error", error)]);
        }
    }
}

impl Output {
    fn open(output: &LogOutput) -> io::Result<Self> {
        Ok(match output {
            LogOutput::Off => Self::Off,
            LogOutput::Stdout => Self::Stdout,
            LogOutput::File(path) => Self::File(open_to_append(path)?),
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::File(file) => file.write_all(lines),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
        }
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Lines are collected up to about this size before they are written.
const WRITE_BYTES: usize = 256 * 1024;
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::telemetry::access::record::tests::sample_record;
    use crate::telemetry::access::{Ending, Record, Sender, Text};
    use crate::telemetry::{AccessLogOptions, LogFormat};

    const NOW: Instant = Instant::from_ns(86_400_000_000_000);

    struct Setting {
        folder: tempfile::TempDir,
        metrics: Arc<Metrics>,
        senders: [Sender; 2],
        writer: Writer,
    }

    fn options(format: LogFormat, output: LogOutput) -> Options {
        Options { format, access: AccessLogOptions { output, sample: 1.0 } }
    }

    impl Setting {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let metrics = Metrics::new(&[], &[]);
            let output = LogOutput::File(folder.path().join("a.log"));
            let (log, writer) = AccessLog::open(&options(LogFormat::Json, output), Arc::clone(&metrics)).unwrap();
            let senders = [0, 1].map(|index| log.sender(metrics.thread(index)));
            Self { folder, metrics, senders, writer }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn push(&self, key: &str) {
            assert!(self.senders[0].wants(Ending::Forwarded));
            self.senders[0].push(Record { key: Text::new(key), ..sample_record() });
        }

        /// The keys of the lines of a file, in order.
        fn keys(&self, name: &str) -> Vec<String> {
            let text = fs::read_to_string(self.path(name)).unwrap();
            let key =
                |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
            text.lines().map(key).collect()
        }
    }

    #[test]
    fn the_records_of_all_threads_reach_the_file_in_their_order() {
        let mut setting = Setting::new();
        setting.push("a");
        setting.push("b");
        setting.senders[1].push(sample_record());
        setting.writer.drain(NOW);
        setting.push("c");
        setting.writer.drain(NOW);
        assert_eq!(setting.keys("a.log"), ["a", "b", "key_acme", "c"]);
        let mode = fs::metadata(setting.path("a.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
    }

    #[test]
    fn more_than_one_write_takes_is_written_whole() {
        let mut setting = Setting::new();
        let many: Vec<String> = (0..QUEUE_RECORDS).map(|n| n.to_string()).collect();
        many.iter().for_each(|key| setting.push(key));
        setting.writer.drain(NOW);
        assert_eq!(setting.keys("a.log"), many);
    }

    #[test]
    fn a_file_moved_away_is_made_anew_when_reopened() {
        let mut setting = Setting::new();
        setting.push("a");
        fs::rename(setting.path("a.log"), setting.path("a.log.1")).unwrap();
        setting.writer.reopen(NOW).unwrap();
        setting.push("b");
        setting.writer.drain(NOW);
        assert_eq!((setting.keys("a.log.1"), setting.keys("a.log")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn options_change_from_one_line_to_the_next() {
        let mut setting = Setting::new();
        setting.push("a");
        let to_b = options(LogFormat::Text, LogOutput::File(setting.path("b.log")));
        setting.writer.configure(&to_b, NOW).unwrap();
        setting.push("b");
        setting.writer.configure(&options(LogFormat::Json, LogOutput::Off), NOW).unwrap();
        assert!(!setting.senders[0].wants(Ending::Refused));
        assert_eq!(setting.keys("a.log"), ["a"]);
        assert!(fs::read_to_string(setting.path("b.log")).unwrap().contains(" key=b "));
        setting.writer.configure(&to_b, NOW).unwrap();
        assert!(setting.senders[0].wants(Ending::Refused));
    }

    #[test]
    fn a_file_that_cannot_be_opened_changes_nothing() {
        let mut setting = Setting::new();
        let elsewhere = options(LogFormat::Text, LogOutput::File(setting.path("missing/b.log")));
        assert!(setting.writer.configure(&elsewhere, NOW).is_err());
        setting.push("a");
        setting.writer.drain(NOW);
        assert_eq!(setting.keys("a.log"), ["a"]);
        assert!(AccessLog::open(&elsewhere, Arc::clone(&setting.metrics)).is_err());
    }

    #[test]
    fn a_failing_write_is_counted_and_told_once_a_minute() {
        let mut setting = Setting::new();
        let full = options(LogFormat::Json, LogOutput::File("/dev/full".into()));
        setting.writer.configure(&full, NOW).unwrap();
        let told = |setting: &mut Setting, now: Instant| {
            setting.push("lost");
            setting.writer.drain(now);
            setting.writer.complained
        };
        let later = |s| NOW.after(Duration::from_secs(s));
        assert_eq!(told(&mut setting, NOW), Some(NOW));
        assert_eq!(told(&mut setting, later(59)), Some(NOW));
        assert_eq!(told(&mut setting, later(60)), Some(later(60)));
        let text = setting.metrics.render();
        assert!(text.contains("keygate_access_log_write_errors_total 3"), "{text}");
        assert!(text.contains("keygate_access_log_dropped_total 3"), "{text}");
    }

    #[test]
    fn after_a_failed_write_the_next_line_begins_on_a_line_of_its_own() {
        let mut setting = Setting::new();
        fs::write(setting.path("a.log"), "{\"time\":\"20").unwrap();
        setting.writer.torn = true;
        setting.push("a");
        setting.writer.drain(NOW);
        setting.push("b");
        setting.writer.drain(NOW);
        let text = fs::read_to_string(setting.path("a.log")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("{\"time\":\"20\n{\"time\":\"2026-"), "{text}");
    }
}

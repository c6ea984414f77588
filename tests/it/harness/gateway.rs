//! The real gateway: `keygate serve` on ports of the system's choice, in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response};
use super::metrics::Metrics;
use super::process::{Process, command};
use super::requests::get;
use super::settings::Settings;
use super::wait::{wait_for, wait_until};

/// A gateway that is ready; it dies with this value.
pub(crate) struct Gateway {
    process: Process,
    address: SocketAddr,
    operations: SocketAddr,
    config: PathBuf,
    folder: TempDir,
}

/// What became of a new configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    InForce,
    Refused,
}

impl Reload {
    #[track_caller]
    pub(crate) fn expect_in_force(self) {
        assert_eq!(self, Self::InForce);
    }

    #[track_caller]
    pub(crate) fn expect_refused(self) {
        assert_eq!(self, Self::Refused);
    }
}

impl Gateway {
    /// Starts a gateway and waits until it listens.
    #[track_caller]
    pub(crate) fn start(settings: &Settings) -> Self {
        let (folder, config) = folder_with(settings);
        let process = Process::start(&serve(&config));
        Self::ready(process, config, folder)
    }

    /// The same with at most `open_files` file descriptors.
    #[track_caller]
    pub(crate) fn start_with_few_files(settings: &Settings, open_files: u32) -> Self {
        let (folder, config) = folder_with(settings);
        let process = Process::start_with_few_files(&serve(&config), open_files);
        Self::ready(process, config, folder)
    }

    /// The same with a standard output that nobody ever reads.
    #[track_caller]
    pub(crate) fn start_unread(settings: &Settings) -> Self {
        let (folder, config) = folder_with(settings);
        let process = Process::start_unread(&serve(&config));
        Self::ready(process, config, folder)
    }

    /// The same with a file that the test has put into a folder as it likes.
    #[track_caller]
    pub(crate) fn start_in(folder: TempDir, config: PathBuf) -> Self {
        let process = Process::start(&serve(&config));
        Self::ready(process, config, folder)
    }

    /// The same by a command of the test's own, made for the folder it is to live in. It is given the arguments that serve.
    #[track_caller]
    pub(crate) fn start_by(settings: &Settings, command: impl FnOnce(&Path) -> Command) -> Self {
        let (folder, config) = folder_with(settings);
        let process = Process::spawn(command(folder.path()).args(serve(&config)));
        Self::ready(process, config, folder)
    }

    /// Ends it with SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.exit_code();
    }

    /// Starts it again after its end, with the same folder and on other ports.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.start_again_by(command::<&str>(&[]));
    }

    /// The same by a command of the test's own.
    #[track_caller]
    pub(crate) fn start_again_by(&mut self, mut command: Command) {
        self.process = Process::spawn(command.args(serve(&self.config)));
        (self.address, self.operations) = Self::bound(&mut self.process);
    }

    #[track_caller]
    fn ready(mut process: Process, config: PathBuf, folder: TempDir) -> Self {
        let (address, operations) = Self::bound(&mut process);
        Self { process, address, operations, config, folder }
    }

    /// Where the data plane and the operations listener are, as soon as they listen.
    #[track_caller]
    fn bound(process: &mut Process) -> (SocketAddr, SocketAddr) {
        wait_until("the line that says `listening`", || {
            assert!(process.is_running(), "keygate ended at start: {}", process.stderr());
            process.stderr().lines().find_map(bound_addresses)
        })
    }

    /// Where the data plane listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operations listener is.
    pub(crate) fn operations_address(&self) -> SocketAddr {
        self.operations
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The folder that the configuration's folder is in: on the same file system and not watched.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything the gateway wrote so far, on both streams.
    pub(crate) fn logs(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// The lines of the request log on standard output that are whole.
    pub(crate) fn request_log(&self) -> Vec<Value> {
        self.process.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// A new connection to the data plane.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.client().ask(request)
    }

    /// `GET path` with Alice's key.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask(get(path, &[]))
    }

    /// `GET path` on the operations listener.
    #[track_caller]
    pub(crate) fn operations(&self, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: operations\r\nConnection: close\r\n\r\n");
        Client::connect(self.operations).ask(request)
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::new(self.operations("/metrics").expect(200).text())
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.operations("/status").expect(200).body).expect("/status is JSON")
    }

    /// The number of the configuration in force.
    #[track_caller]
    pub(crate) fn generation(&self) -> f64 {
        self.metrics().sum("keygate_config_generation", &[])
    }

    /// The most memory the process ever had, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// Replaces the configuration file and waits until the new one is in force.
    #[track_caller]
    pub(crate) fn reload(&self, settings: &Settings) {
        assert_eq!(self.reload_text(&settings.yaml()), Reload::InForce, "{}", self.logs());
    }

    /// Replaces the configuration file by any text and waits until the gateway has said what becomes of it.
    #[track_caller]
    pub(crate) fn reload_text(&self, yaml: &str) -> Reload {
        self.reload_by(|| self.replace_config(yaml))
    }

    /// Does something to the configuration file and waits until the gateway has said what becomes of it.
    #[track_caller]
    pub(crate) fn reload_by(&self, change: impl FnOnce()) -> Reload {
        let before = self.metrics();
        change();
        wait_until("a reload", || {
            let now = self.metrics();
            let grown = |name| now.sum(name, &[]) > before.sum(name, &[]);
            let good = now.sum("keygate_config_last_reload_success", &[]) == 1.0;
            match (grown("keygate_config_generation"), grown("keygate_config_reloads_total"), good) {
                (true, _, true) => Some(Reload::InForce),
                (false, true, false) => Some(Reload::Refused),
                _ => None,
            }
        })
    }

    /// Puts a new file into the place of the configuration file by one rename, as careful programs do.
    pub(crate) fn replace_config(&self, yaml: &str) {
        let aside = self.folder().join("next.yaml");
        fs::write(&aside, yaml).unwrap();
        fs::rename(&aside, &self.config).unwrap();
    }

    /// Stops it in order and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.process.exit_code()
    }

    /// Asks again and again until the answer has this status.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, request: &str, status: u16) {
        wait_for("an answer of the wanted status", || {
            self.client().send(request).try_response("GET").is_ok_and(|answer| answer.status == status)
        });
    }
}

/// The arguments that serve a file.
pub(crate) fn serve(config: &Path) -> [&std::ffi::OsStr; 3] {
    ["serve".as_ref(), "--config".as_ref(), config.as_os_str()]
}

fn folder_with(settings: &Settings) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("etc/keygate.yaml");
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(&config, settings.yaml()).unwrap();
    (folder, config)
}

/// The bound addresses out of the log line that says `listening`: as JSON, else as text with the operations listener last.
fn bound_addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    if !line.contains("listening") {
        return None;
    }
    let whole = serde_json::from_str::<Value>(line).unwrap_or_else(|_| Value::from(line));
    let fields = whole.get("fields").unwrap_or(&whole);
    match (fields.get("listeners"), fields.get("operations")) {
        (Some(listeners), Some(operations)) => {
            Some((*addresses(&listeners.to_string()).first()?, *addresses(&operations.to_string()).first()?))
        }
        _ => Some((*addresses(line).first()?, *addresses(line).last()?)),
    }
}

fn addresses(text: &str) -> Vec<SocketAddr> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

//! The keygate binary as a child process, whose output is kept and which never outlives its test.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::wait::wait_until;

/// A running keygate.
pub(crate) struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts keygate with these arguments.
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::spawn(Command::new(BINARY).args(arguments))
    }

    /// Starts keygate with these arguments and at most `open_files` file descriptors.
    pub(crate) fn start_with_few_files<A: AsRef<OsStr>>(arguments: &[A], open_files: u32) -> Self {
        let script = format!("ulimit -n {open_files}; exec \"$0\" \"$@\"");
        Self::spawn(Command::new("sh").arg("-c").arg(script).arg(BINARY).args(arguments))
    }

    /// Starts keygate with these arguments and a standard output that nobody ever reads.
    pub(crate) fn start_unread<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        let mut command = Command::new(BINARY);
        let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("keygate starts");
        let stderr = capture(child.stderr.take().unwrap());
        Self { child, stdout: Arc::default(), stderr }
    }

    /// Starts a command.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("keygate starts");
        let stdout = capture(child.stdout.take().unwrap());
        let stderr = capture(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Sets how many file descriptors the process may have, whatever it has already; how many it was before.
    pub(crate) fn limit_files(&self, open_files: u64) -> u64 {
        let process = Some(Pid::from_child(&self.child));
        let all = getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(open_files), maximum: all.maximum };
        prlimit(process, Resource::Nofile, limit).expect("the process is there").current.unwrap_or(u64::MAX)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process; its exit code, or `None` if a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        wait_until("the end of the process", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- stdout of keygate\n{}--- stderr of keygate\n{}", tail(&self.stdout()), tail(&self.stderr()));
        }
    }
}

/// Runs keygate to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("keygate runs")
}

/// Runs keygate to its end, in a folder.
pub(crate) fn run_in<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Output {
    Command::new(BINARY).args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("keygate runs")
}

/// Runs keygate to its end with something on its standard input.
pub(crate) fn run_with_input<A: AsRef<OsStr>>(arguments: &[A], input: &str) -> Output {
    run_command(&mut command(arguments), input)
}

/// keygate with these arguments, not started yet.
pub(crate) fn command<A: AsRef<OsStr>>(arguments: &[A]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    command
}

/// Runs a command to its end with something on its standard input.
pub(crate) fn run_command(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("keygate runs");
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("keygate runs")
}

fn capture(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let captured = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&captured);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            writer.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    captured
}

fn tail(text: &str) -> &str {
    let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let start = lines.iter().rev().nth(20).copied().unwrap_or(0);
    &text[start..]
}

const BINARY: &str = env!("CARGO_BIN_EXE_keygate");

//! A pseudoterminal, for what the command line does only in front of a person.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Runs a command on a terminal where somebody has typed `input`; its exit code, and all that the terminal shows.
pub(crate) fn run_on_terminal(command: &mut Command, input: &str) -> (Option<i32>, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let path = std::ffi::OsStr::from_bytes(name.as_bytes());
    let terminal = || OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut controller = File::from(controller);
    let mut child = command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().expect("keygate starts");
    // The command keeps its ends of the terminal: they are not to outlive the child.
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    controller.write_all(input.as_bytes()).unwrap();
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // A terminal that nobody has open any more ends with an error.
    while let Ok(count @ 1..) = controller.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).replace("\r\n", "\n"))
}

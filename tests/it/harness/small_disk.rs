//! A disk that is full soon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory; unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many MiB in a new folder. None where we may not mount.
    pub(crate) fn mount(at: &Path, mebibytes: usize) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let (at, size) = (at.to_owned(), format!("size={mebibytes}m"));
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at)).then_some(Self(at))
    }

    /// Gives it so many MiB.
    pub(crate) fn grow(&self, mebibytes: usize) {
        assert!(run(Command::new("mount").args(["-o", &format!("remount,size={mebibytes}m")]).arg(&self.0)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

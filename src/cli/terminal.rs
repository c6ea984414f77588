//! Standard output and standard error: the only place of the command line that writes to either.

use std::io::{self, Write};

use super::Exit;

/// Writes data to standard output. A reader that has gone away, as `head` does, is no failure.
pub(super) fn print(data: &str) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(data.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(error.into()),
    }
}

/// Writes a line of words to standard error; if nobody can read them there is nobody to tell.
pub(super) fn say(words: &str) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

//! Standard output and standard error: the only place of the command line that writes to either.
//!
//! Names are a stranger's text, so no control character of theirs reaches a terminal: [`plain`] shows it as text.

use std::borrow::Cow;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::secret_input::without_secrets;
use super::{Exit, Failure};

/// Whether anybody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Somebody may.
    There,
    /// The pipe is closed.
    Gone,
}

/// Leave to do what cannot be undone.
#[derive(Debug, clap::Args)]
pub(super) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Consent {
    /// Whether the question is spared.
    pub(super) fn is_given(&self) -> bool {
        self.yes
    }
}

/// Writes data to standard output. A reader that has gone away, as `head` does, is no failure.
pub(super) fn print(data: &str) -> anyhow::Result<Exit> {
    print_some(data).map(|_| Exit::Done)
}

/// Writes a part of the data to standard output, and tells whether more of it is wanted.
pub(super) fn print_some(data: &str) -> anyhow::Result<Reader> {
    match print_all(data) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Writes data to standard output that must not get lost: a reader that has gone away is an error too.
pub(super) fn print_all(data: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(data.as_bytes()).and_then(|()| out.flush())
}

/// Writes words to standard error, as a line or several; if nobody can read them there is nobody to tell. A secret that was
/// taken for something else, such as the name of a file, is not among them.
pub(super) fn say(words: &str) {
    let words = without_secrets(words);
    let lines: Vec<_> = words.split('\n').map(plain).collect();
    let _ = writeln!(io::stderr().lock(), "{}", lines.join("\n"));
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Fails unless a person can be asked.
pub(super) fn expect_person() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage("this cannot be undone, and there is no terminal to ask at: add --yes"))
}

/// Asks a person; fails unless the answer is yes.
pub(super) fn ask(question: &str) -> anyhow::Result<()> {
    let mut err = io::stderr().lock();
    write!(err, "{} [y/N] ", plain(question))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was changed").into()),
    }
}

/// Waits for a while, or until nobody reads standard output any more.
pub(super) fn wait_while_read(time: Duration) -> anyhow::Result<Reader> {
    let stdout = io::stdout();
    // Nothing is asked for: a closed pipe is told in any case.
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let time = Timespec::try_from(time)?;
    match poll(&mut watched, Some(&time)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Reader::There),
        Ok(_) => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}

/// The text without anything that a terminal would obey: control characters and those that turn the direction of writing
/// are shown as `\n` or `\u{1b}`.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_obeyed(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal takes a character for something else than a letter to show.
pub(super) fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_text() {
        assert_eq!(plain("Acme – Müller 東京"), "Acme – Müller 東京");
        assert_eq!(plain("\u{1b}[31mred\r\n\t\0"), "\\u{1b}[31mred\\r\\n\\t\\u{0}");
        assert_eq!(plain("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
        assert_eq!(plain("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
    }
}

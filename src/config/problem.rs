//! Problems: what is wrong in a file, where, and what to do about it, in a form for people and one for programs.
//!
//! No secret leaves through here: names that come from the file are redacted by [`shown`], and a source line is shown
//! without the values of secret fields, whether they are spelt right or not. Called by everything in `config`.

use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};

use super::source::Source;
use crate::telemetry::redact;

/// One thing that is wrong, or doubtful, in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named on the command line or in `include`.
    pub file: String,
    /// Line, from 1; 0 if the problem is about the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 if the problem is about the file as a whole.
    pub column: u32,
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The line, or the part of it around the problem, without secrets.
    pub source_line: Option<String>,
    caret: usize,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted.
    Warning,
}

/// A place in one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// Index into the sources.
    pub(super) file: u16,
    /// Byte offset from the start of the file.
    pub(super) offset: u32,
    /// Line, from 1; 0 for the file as a whole.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
}

/// All problems found so far, and the parts of the sources that must not be shown.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Finding>,
    hidden: Vec<(u16, Range<u32>)>,
}

#[derive(Debug)]
struct Finding {
    at: Mark,
    severity: Severity,
    message: String,
    /// Where the other one of two things is that do not go together.
    other: Option<Mark>,
    remedy: String,
}

impl Problem {
    /// The problem as a JSON object, for `keygate check --json`.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity.as_str(),
            "message": self.message,
            "remedy": self.remedy,
            "source_line": self.source_line,
        })
    }
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        writeln!(f, ": {}: {}", self.severity.as_str(), self.message)?;
        if let Some(text) = &self.source_line {
            let number = self.line.to_string();
            let (gutter, caret) = (number.len() + 2, self.caret);
            writeln!(f, "  {number} | {text}")?;
            writeln!(f, "{:gutter$} | {:caret$}^", "", "")?;
        }
        write!(f, "help: {}", self.remedy)
    }
}

impl Mark {
    /// The whole of a file.
    pub(super) fn whole(file: u16) -> Self {
        Self { file, ..Self::default() }
    }
}

impl Problems {
    /// Notes an error: the configuration will be refused.
    pub(super) fn error(&mut self, at: Mark, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(at, Severity::Error, message.into(), remedy.into());
    }

    /// Notes that a thing does not go together with another, whose place is added to the message.
    pub(super) fn conflict(&mut self, at: Mark, other: Mark, message: impl Into<String>, remedy: impl Into<String>) {
        self.error(at, message, remedy);
        self.found.last_mut().expect("just noted").other = Some(other);
    }

    /// Notes a warning.
    pub(super) fn warn(&mut self, at: Mark, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(at, Severity::Warning, message.into(), remedy.into());
    }

    /// Keeps a part of a file out of every source line that is shown.
    pub(super) fn hide(&mut self, at: Mark, end: u32) {
        self.hidden.push((at.file, at.offset..end.max(at.offset)));
    }

    /// Whether the configuration is to be refused.
    pub(super) fn any_error(&self) -> bool {
        self.found.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All problems in the order of the files and of their lines, with the lines.
    pub(super) fn into_list(mut self, sources: &[Source]) -> Vec<Problem> {
        self.found.sort_by_key(|finding| (finding.at, finding.severity));
        self.hidden.sort_by_key(|(file, range)| (*file, range.start));
        let found = std::mem::take(&mut self.found);
        found.into_iter().map(|finding| self.resolve(finding, sources)).collect()
    }

    fn note(&mut self, at: Mark, severity: Severity, message: String, remedy: String) {
        self.found.push(Finding { at, severity, message, other: None, remedy });
    }

    fn resolve(&self, finding: Finding, sources: &[Source]) -> Problem {
        let Finding { at, severity, mut message, other, remedy } = finding;
        match other {
            Some(other) if other.file == at.file => message.push_str(&format!("; the other is on line {}", other.line)),
            Some(other) => message.push_str(&format!(
                "; the other is at {}:{}",
                sources[usize::from(other.file)].name(),
                other.line
            )),
            None => {}
        }
        let source = &sources[usize::from(at.file)];
        let excerpt = (at.line > 0).then(|| self.excerpt(at, source.text()));
        let (source_line, caret) = excerpt.map_or((None, 0), |(line, caret)| (Some(line), caret));
        Problem {
            file: source.name().to_owned(),
            line: at.line,
            column: at.column,
            severity,
            message,
            remedy,
            source_line,
            caret,
        }
    }

    /// The line around a mark, fit to be shown, and the place of the caret in it.
    fn excerpt(&self, at: Mark, text: &str) -> (String, usize) {
        let offset = floor_char(text, at.offset as usize);
        let window = line_window(text, offset);
        let before = self.presentable(at.file, text, window.start..offset);
        let after = self.presentable(at.file, text, offset..window.end);
        let line = mask_assignment(&redact(&format!("{before}{after}")));
        let caret = mask_assignment(&redact(&before)).chars().count().min(line.chars().count());
        crop(&line, caret)
    }

    /// A part of one line without hidden values and without characters that could move a terminal's cursor.
    fn presentable(&self, file: u16, text: &str, range: Range<usize>) -> String {
        let mut out = String::with_capacity(range.len());
        let mut from = range.start;
        let first = self.hidden.partition_point(|(f, hidden)| (*f, hidden.end as usize) < (file, range.start + 1));
        for (_, hidden) in self.hidden[first..].iter().take_while(|(f, h)| *f == file && (h.start as usize) < range.end)
        {
            let (start, end) = (floor_char(text, hidden.start as usize), floor_char(text, hidden.end as usize));
            if end <= from {
                continue;
            }
            out.push_str(&text[from..start.clamp(from, range.end)]);
            out.push_str(REDACTED);
            from = end.min(range.end);
        }
        out.push_str(&text[from..range.end]);
        out.chars()
            .map(|c| {
                if c == '\t' {
                    ' '
                } else if c.is_control() {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect()
    }
}

/// A text from a file as messages may quote it: in backticks, short, without secrets and control characters.
pub(super) fn shown(text: &str) -> String {
    let clean: String = redact(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut short: String = clean.chars().take(SHOWN_CHARS).collect();
    if short.len() < clean.len() {
        short.push('…');
    }
    format!("`{short}`")
}

/// The dotted name of a thing in a file as messages may quote it.
pub(super) fn named(names: &[&str]) -> String {
    let clean: Vec<String> = names.iter().map(|name| shown(name).replace('`', "")).collect();
    format!("`{}`", clean.join("."))
}

/// The part of the line around `offset` that is at most [`WINDOW_BYTES`] away from it.
fn line_window(text: &str, offset: usize) -> Range<usize> {
    let is_break = |b: &u8| matches!(b, b'\n' | b'\r');
    let low = floor_char(text, offset.saturating_sub(WINDOW_BYTES));
    let high = floor_char(text, offset.saturating_add(WINDOW_BYTES));
    let bytes = text.as_bytes();
    let start = bytes[low..offset].iter().rposition(is_break).map_or(low, |i| low + i + 1);
    let end = bytes[offset..high].iter().position(is_break).map_or(high, |i| offset + i);
    start..end
}

/// Cuts a line to what fits on a terminal, with the caret in it.
fn crop(line: &str, caret: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= 2 * CROP_CHARS {
        return (line.to_owned(), caret);
    }
    let start = caret.saturating_sub(CROP_CHARS);
    let mut out = String::from(if start > 0 { "…" } else { "" });
    let shift = out.chars().count();
    out.extend(line.chars().skip(start).take(2 * CROP_CHARS));
    if start + 2 * CROP_CHARS < length {
        out.push('…');
    }
    (out, caret - start + shift)
}

/// Blanks what is assigned to something that calls itself a secret: the last line of defence, for files that do not parse.
fn mask_assignment(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let Some(word) = SENSITIVE.iter().filter_map(|word| lower.find(word)).min() else {
        return line.to_owned();
    };
    let Some(colon) = line[word..].find(':').map(|i| word + i) else {
        return line.to_owned();
    };
    let value = line[colon + 1..].trim_start();
    if value.is_empty() || value.starts_with(['{', '#', '[']) {
        return line.to_owned();
    }
    format!("{} {REDACTED}", &line[..=colon])
}

fn floor_char(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset.min(text.len()))
}

const REDACTED: &str = "[redacted]";
const SHOWN_CHARS: usize = 60;
const CROP_CHARS: usize = 60;
/// Far more than is shown, so that a secret cut by the edge of the window is not among what is shown.
const WINDOW_BYTES: usize = 1024;
const SENSITIVE: [&str; 4] = ["secret", "digest", "password", "token"];

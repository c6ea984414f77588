//! The process log: what the program has to say of itself, one line each on standard error.
//!
//! For the control thread and for start and stop, never for a request. A message reads alone and its fields are there
//! to filter by; `error` means that someone should act. Every field value is redacted, because some come from clients
//! or files. A line leaves in one write.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LogFormat;
use super::escape::{json_string_into, put, text_value_into};
use super::redact::redact_into;
use crate::time::{self, Timestamp};

/// How grave a line is, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Someone should act.
    Error,
    /// Someone should know.
    Warn,
    /// What happened.
    Info,
}

/// Names and values that belong to a line.
pub type Fields<'a> = [(&'a str, &'a dyn Display)];

/// Sets the form of the lines; before, it is JSON.
pub fn set_format(format: LogFormat) {
    TEXT.store(format == LogFormat::Text, Ordering::Relaxed);
}

/// Logs what someone should act on.
pub fn error(message: &str, fields: &Fields<'_>) {
    write(Level::Error, message, fields);
}

/// Logs what someone should know.
pub fn warn(message: &str, fields: &Fields<'_>) {
    write(Level::Warn, message, fields);
}

/// Logs what happened.
pub fn info(message: &str, fields: &Fields<'_>) {
    write(Level::Info, message, fields);
}

fn write(level: Level, message: &str, fields: &Fields<'_>) {
    let format = if TEXT.load(Ordering::Relaxed) { LogFormat::Text } else { LogFormat::Json };
    let line = line(format, level, time::wall(time::now()), message, fields);
    // There is nowhere left to complain to if standard error is gone.
    let _ = std::io::stderr().lock().write_all(&line);
}

fn line(format: LogFormat, level: Level, now: Timestamp, message: &str, fields: &Fields<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match format {
        LogFormat::Json => json_line(&mut out, level, now, message, fields),
        LogFormat::Text => text_line(&mut out, level, now, message, fields),
    }
    out.push(b'\n');
    out
}

fn json_line(out: &mut Vec<u8>, level: Level, now: Timestamp, message: &str, fields: &Fields<'_>) {
    put(out, format_args!(r#"{{"time":"{}","level":"{}","message":"#, Rfc3339(now), level.name()));
    json_string_into(out, message.as_bytes());
    for (name, value) in fields {
        out.push(b',');
        json_string_into(out, name.as_bytes());
        out.push(b':');
        json_string_into(out, &redacted(*value));
    }
    out.push(b'}');
}

fn text_line(out: &mut Vec<u8>, level: Level, now: Timestamp, message: &str, fields: &Fields<'_>) {
    put(out, format_args!("{} {:5} ", Rfc3339(now), level.name()));
    out.extend(message.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    for (name, value) in fields {
        put(out, format_args!(" {name}="));
        text_value_into(out, &redacted(*value));
    }
}

fn redacted(value: &dyn Display) -> Vec<u8> {
    let mut out = Vec::new();
    redact_into(&mut out, value.to_string().as_bytes());
    out
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// Shows a timestamp as RFC 3339, in UTC, with milliseconds: `2026-07-01T12:00:00.000Z`.
pub struct Rfc3339(pub Timestamp);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.as_unix_ms()) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("-"),
        }
    }
}

static TEXT: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix_ms(1_782_907_200_005);

    fn shown(format: LogFormat, fields: &Fields<'_>) -> String {
        String::from_utf8(line(format, Level::Warn, NOON, "the file was refused", fields)).unwrap()
    }

    #[test]
    fn a_json_line_has_time_level_message_and_fields() {
        let address: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(
            shown(LogFormat::Json, &[("file", &"a\"b"), ("problems", &3), ("address", &address)]),
            "{\"time\":\"2026-07-01T12:00:00.005Z\",\"level\":\"warn\",\"message\":\"the file was refused\",\
             \"file\":\"a\\\"b\",\"problems\":\"3\",\"address\":\"127.0.0.1:80\"}\n"
        );
    }

    #[test]
    fn a_text_line_is_one_line_whatever_its_values_hold() {
        assert_eq!(
            shown(LogFormat::Text, &[("file", &"a.yaml"), ("line", &"x\n2026 error")]),
            "2026-07-01T12:00:00.005Z warn  the file was refused file=a.yaml line=\"x\\n2026 error\"\n"
        );
    }

    #[test]
    fn a_secret_in_a_value_is_redacted() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = shown(format, &[("line", &"secret: kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm")]);
            assert!(line.contains("secret: [redacted]") && !line.contains("kg_live"), "{line}");
        }
    }

    #[test]
    fn a_whole_second_keeps_its_milliseconds() {
        assert_eq!(Rfc3339(Timestamp::from_unix_ms(0)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Rfc3339(Timestamp::from_unix_ms(i64::MAX)).to_string(), "-");
    }
}

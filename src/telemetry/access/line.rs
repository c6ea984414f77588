//! The form of a line of the request log.
//!
//! Pure. Everything a client wrote (request id, method, path) is redacted; of such a text that was cut, only whole
//! words are shown, because a secret cut short may not look like one. Texts that do not apply are left out.

use std::fmt::Display;
use std::time::Duration;

use super::record::{Record, Text};
use crate::telemetry::LogFormat;
use crate::telemetry::escape::{json_string_into, put, text_value_into};
use crate::telemetry::log::Rfc3339;
use crate::telemetry::redact::{redact_into, whole_words};

/// Appends the line of a record to `out`, its end included.
pub(super) fn line_into(out: &mut Vec<u8>, format: LogFormat, record: &Record) {
    let mut line = Line { out, format };
    line.begin(record);
    line.foreign("request_id", &record.request_id);
    line.number("status", record.status);
    line.label("code", record.code);
    line.label("reason", record.reason);
    line.own("key", &record.key);
    line.own("owner", &record.owner);
    line.own("route", &record.route);
    line.own("target", &record.target);
    line.number("bytes_in", record.bytes_in);
    line.number("bytes_out", record.bytes_out);
    line.number("duration_ms", Millis(record.total));
    line.number("gateway_ms", Millis(record.gateway));
    if record.target.as_bytes() != b"" {
        line.number("upstream_ms", Millis(record.upstream));
    }
    line.end();
}

/// A line under way.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: LogFormat,
}

impl Line<'_> {
    fn begin(&mut self, record: &Record) {
        match self.format {
            LogFormat::Json => put(self.out, format_args!(r#"{{"time":"{}""#, Rfc3339(record.time))),
            LogFormat::Text => put(self.out, format_args!("{}", Rfc3339(record.time))),
        }
        self.label("client", &record.client.to_string());
        self.foreign("method", &record.method);
        self.foreign("path", &record.path);
    }

    fn end(&mut self) {
        self.out.extend_from_slice(match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        });
    }

    /// A text that a client wrote.
    fn foreign<const N: usize>(&mut self, name: &str, text: &Text<N>) {
        let mut shown = Vec::with_capacity(N);
        if text.is_cut() {
            redact_into(&mut shown, whole_words(text.as_bytes()));
            shown.extend_from_slice(ELLIPSIS);
        } else {
            redact_into(&mut shown, text.as_bytes());
        }
        self.text(name, &shown);
    }

    /// A text out of the configuration.
    fn own<const N: usize>(&mut self, name: &str, text: &Text<N>) {
        if text.is_cut() {
            self.text(name, &[text.as_bytes(), ELLIPSIS].concat());
        } else {
            self.text(name, text.as_bytes());
        }
    }

    fn label(&mut self, name: &str, text: &str) {
        self.text(name, text.as_bytes());
    }

    fn text(&mut self, name: &str, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.name(name);
        match self.format {
            LogFormat::Json => json_string_into(self.out, text),
            LogFormat::Text => text_value_into(self.out, text),
        }
    }

    fn number(&mut self, name: &str, number: impl Display) {
        self.name(name);
        put(self.out, format_args!("{number}"));
    }

    fn name(&mut self, name: &str) {
        match self.format {
            LogFormat::Json => put(self.out, format_args!(",\"{name}\":")),
            LogFormat::Text => put(self.out, format_args!(" {name}=")),
        }
    }
}

/// Shows a duration as milliseconds with three decimals.
struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0.as_micros();
        write!(f, "{}.{:03}", us / 1000, us % 1000)
    }
}

const ELLIPSIS: &[u8] = "…".as_bytes();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access::record::tests::sample_record;

    fn shown(format: LogFormat, record: &Record) -> String {
        let mut out = Vec::new();
        line_into(&mut out, format, record);
        String::from_utf8(out).unwrap()
    }

    fn denied() -> Record {
        Record {
            status: 401,
            code: "key_invalid",
            reason: "key_revoked",
            target: Text::default(),
            owner: Text::default(),
            ..sample_record()
        }
    }

    #[test]
    fn a_forwarded_request_as_json() {
        assert_eq!(
            shown(LogFormat::Json, &sample_record()),
            "{\"time\":\"2026-07-01T12:00:00.005Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"path\":\"/v1/orders/7\",\"request_id\":\"550e8400-e29b-41d4-a716-446655440000\",\"status\":200,\
             \"key\":\"key_acme\",\"owner\":\"Acme & Sons\",\"route\":\"orders\",\"target\":\"127.0.0.1:9000\",\
             \"bytes_in\":0,\"bytes_out\":512,\"duration_ms\":1.204,\"gateway_ms\":0.012,\"upstream_ms\":1.190}\n"
        );
    }

    #[test]
    fn a_denied_request_as_text() {
        assert_eq!(
            shown(LogFormat::Text, &denied()),
            "2026-07-01T12:00:00.005Z client=192.0.2.7 method=GET path=/v1/orders/7 \
             request_id=550e8400-e29b-41d4-a716-446655440000 status=401 code=key_invalid reason=key_revoked \
             key=key_acme route=orders bytes_in=0 bytes_out=512 duration_ms=1.204 gateway_ms=0.012\n"
        );
    }

    #[test]
    fn whatever_a_client_writes_a_json_line_is_one_json_object() {
        let record = Record {
            method: Text::new(b"G\"\n"),
            path: Text::new(b"/\xff\xfe\x00\\\"}\n{"),
            request_id: Text::new("…\r"),
            ..sample_record()
        };
        let line = shown(LogFormat::Json, &record);
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], "/\u{fffd}\u{fffd}\0\\\"}\n{");
        assert_eq!(shown(LogFormat::Text, &record).matches('\n').count(), 1);
    }

    #[test]
    fn secrets_in_client_texts_do_not_show() {
        let secret = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
        let record = Record {
            method: Text::new(secret),
            path: Text::new(format!("/v1/{secret}/x")),
            request_id: Text::new(secret),
            ..sample_record()
        };
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = shown(format, &record);
            assert!(!line.contains("kg_live") && !line.contains("01234567"), "{line}");
            assert!(line.contains("/v1/[redacted]/x"), "{line}");
        }
    }

    #[test]
    fn a_path_that_was_cut_ends_with_a_whole_word_and_an_ellipsis() {
        let path = format!("/{}/kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm", "a/".repeat(120));
        let record = Record { path: Text::new(&path), route: Text::new("r".repeat(200)), ..sample_record() };
        let line = shown(LogFormat::Json, &record);
        assert!(line.contains(&format!("\"/{}/…\"", "a/".repeat(120))), "{line}");
        assert!(line.contains(&format!("\"{}…\"", "r".repeat(128))), "{line}");
    }
}

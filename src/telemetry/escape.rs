//! Writes texts of unknown origin so that they can neither end a log line nor break its form.
//!
//! Used by the process log and the request log.

use std::fmt::Arguments;
use std::io::Write as _;

/// Appends a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD; control characters are escaped.
pub(super) fn json_string_into(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        escaped_into(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends a value of a text line: as it is if it is one plain word, else as a JSON string.
pub(super) fn text_value_into(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |&byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if !text.is_empty() && text.iter().all(plain) {
        out.extend_from_slice(text);
    } else {
        json_string_into(out, text);
    }
}

/// Appends what `format_args!` made.
pub(super) fn put(out: &mut Vec<u8>, text: Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

fn escaped_into(out: &mut Vec<u8>, text: &str) {
    let mut copied = 0;
    for (at, letter) in text.char_indices() {
        if !letter.is_control() && letter != '"' && letter != '\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[copied..at]);
        copied = at + letter.len_utf8();
        match letter {
            '"' | '\\' => out.extend_from_slice(&[b'\\', if letter == '"' { b'"' } else { b'\\' }]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => put(out, format_args!("\\u{:04x}", u32::from(letter))),
        }
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn json(text: &[u8]) -> String {
        let mut out = Vec::new();
        json_string_into(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn check_text(input: &str, expected: &str) {
        let mut out = Vec::new();
        text_value_into(&mut out, input.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_json_string_holds_any_bytes_on_one_line() {
        assert_eq!(json(b"plain"), r#""plain""#);
        assert_eq!(json(b"a\"b\\c\n\r\t\x01\x7f"), r#""a\"b\\c\n\r\t\u0001\u007f""#);
        assert_eq!(json("é\u{85}".as_bytes()), r#""é\u0085""#);
        assert_eq!(json(b"x\xff\xc3y"), "\"x\u{fffd}\u{fffd}y\"");
    }

    #[test]
    fn a_text_value_is_quoted_only_where_it_has_to_be() {
        check_text("/v1/orders", "/v1/orders");
        check_text("", "\"\"");
        check_text("two words", "\"two words\"");
        check_text("a=b", "\"a=b\"");
        check_text("x\nlevel=error", "\"x\\nlevel=error\"");
    }

    proptest! {
        #[test]
        fn a_json_parser_reads_back_what_was_written(text in ".{0,60}") {
            let read: String = serde_json::from_str(&json(text.as_bytes())).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}

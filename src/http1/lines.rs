//! Field lines on their way from one head to another: those that stand one behind the other are copied in one go.
//!
//! Called for every field that passes the gateway unchanged, which most do.

use std::ops::Range;

use super::fields::Field;
use super::writer::Writer;

/// Copies field lines of one head.
#[derive(Debug)]
pub struct Lines<'b> {
    head: &'b [u8],
    /// Where the lines stand that are to be copied next.
    run: Range<usize>,
}

impl<'b> Lines<'b> {
    /// For the fields of this head.
    pub const fn of(head: &'b [u8]) -> Self {
        Self { head, run: 0..0 }
    }

    /// The same, with the first `length` bytes of the head to be copied too.
    pub const fn from_start(head: &'b [u8], length: usize) -> Self {
        Self { head, run: 0..length }
    }

    /// Has a field of the head copied, at the latest by [`Lines::finish`].
    pub fn copy(&mut self, field: &Field<'b>, out: &mut Writer<'_>) {
        match self.line(field) {
            Some(line) if line.start == self.run.end => self.run.end = line.end,
            Some(line) => {
                self.finish(out);
                self.run = line;
            }
            None => {
                self.finish(out);
                out.put(&[field.name, b": ", field.value, b"\r\n"]);
            }
        }
    }

    /// Copies what has not been copied yet.
    pub fn finish(&mut self, out: &mut Writer<'_>) {
        let run = std::mem::take(&mut self.run);
        out.put(&[&self.head[run]]);
    }

    /// Where the whole line of a field stands, if it is written as it would be here: `name: value` and nothing else.
    fn line(&self, field: &Field<'b>) -> Option<Range<usize>> {
        let place = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(self.head.as_ptr() as usize);
        let (name, value) = (field.name, field.value);
        let start = place(name);
        let value_start = start.wrapping_add(name.len() + 2);
        let run = start..value_start.wrapping_add(value.len() + 2);
        let line = self.head.get(run.clone())?;
        let is_plain = place(value) == value_start && line[name.len()..].starts_with(b": ") && line.ends_with(b"\r\n");
        is_plain.then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::super::{Buffer, FieldSlots, HeadLimits, RequestHead};
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { max_head_bytes: 60_000, max_fields: 100, max_target_bytes: 1000 };

    fn copied(head: &str, wanted: &[bool]) -> (String, String) {
        let mut slots = FieldSlots::new();
        let parsed = RequestHead::parse(head.as_bytes(), &mut slots, &LIMITS).unwrap();
        let (mut lines, mut out, mut expected) = (Lines::of(parsed.bytes), Buffer::take(), String::new());
        let written = out.write_with(|out| {
            for (field, _) in parsed.fields.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
                lines.copy(field, out);
                let [name, value] = [field.name, field.value].map(String::from_utf8_lossy);
                expected += &format!("{name}: {value}\r\n");
            }
            lines.finish(out);
        });
        assert!(written.is_some());
        (String::from_utf8(out.filled().to_vec()).unwrap(), expected)
    }

    #[test]
    fn lines_that_are_written_in_another_way_come_out_plain() {
        let head = "GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC:  3\r\nD: 4 \r\nE:\r\nF: \r\nG: 5\r\n\r\n";
        let (copied, expected) = copied(head, &[true; 7]);
        assert_eq!(copied, expected);
        assert_eq!(copied, "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: \r\nF: \r\nG: 5\r\n");
    }

    #[test]
    fn lines_that_find_no_room_are_told_of() {
        let head = "GET / HTTP/1.1\r\nA: 1\r\n\r\n";
        let mut slots = FieldSlots::new();
        let parsed = RequestHead::parse(head.as_bytes(), &mut slots, &LIMITS).unwrap();
        let (mut lines, mut out) = (Lines::of(parsed.bytes), Buffer::take());
        out.fill(out.room() - 5);
        let written = out.write_with(|out| {
            lines.copy(&parsed.fields[0], out);
            lines.finish(out);
        });
        assert!(written.is_none() && out.room() == 5);
    }

    proptest! {
        #[test]
        fn any_choice_of_lines_is_copied_as_if_one_by_one(
            fields in vec(("[A-Za-z-]{1,9}", "[ \t]{0,2}", "[!-~]{0,9}", "[ \t]{0,2}", any::<bool>()), 0..20),
        ) {
            let lines = fields.iter().map(|(name, before, value, after, _)| format!("{name}:{before}{value}{after}\r\n"));
            let head = format!("GET / HTTP/1.1\r\n{}\r\n", lines.collect::<String>());
            let wanted: Vec<bool> = fields.iter().map(|field| field.4).collect();
            let (copied, expected) = copied(&head, &wanted);
            prop_assert_eq!(copied, expected);
        }
    }
}

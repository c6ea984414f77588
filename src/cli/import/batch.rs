//! The bodies of `POST /v1/keys:batch` for the rows of a file, each of a size that a gateway takes.
//!
//! A body has secrets in clear and is wiped when dropped. Called by `keygate keys import`.

use zeroize::Zeroizing;

use super::{Candidate, Row, rows};

/// Whether keys are to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are.
    Import,
    /// Only what would become of them is asked.
    DryRun,
}

/// Some keys at once.
pub(crate) struct Batch<'r> {
    /// What is asked.
    pub(crate) body: Zeroizing<Vec<u8>>,
    sent: Vec<(&'r Row, &'r Candidate)>,
}

/// All rows that have a key, in the order of the file.
pub(crate) fn batches(rows: &[Row], mode: Mode) -> impl Iterator<Item = Batch<'_>> {
    let mut left = rows.iter().filter_map(|row| Some((row, row.outcome.as_ref().ok()?))).peekable();
    std::iter::from_fn(move || {
        left.peek()?;
        let mut batch = Batch::new(mode);
        while left.next_if(|sent| batch.has_taken(*sent)).is_some() {}
        batch.body.extend_from_slice(END);
        Some(batch)
    })
}

impl<'r> Batch<'r> {
    /// How many keys it has.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Where its keys are in the file.
    pub(crate) fn place(&self) -> String {
        match self.sent.as_slice() {
            [] => String::new(),
            [(only, _)] => rows::place(only),
            [(first, _), .., (last, _)] => format!("{} to {}", rows::place(first), rows::place(last)),
        }
    }

    /// Whether a text repeats one of its secrets.
    pub(crate) fn is_revealed_by(&self, text: &str) -> bool {
        self.sent.iter().any(|(_, candidate)| candidate.is_revealed_by(text))
    }

    fn new(mode: Mode) -> Self {
        // The whole capacity at once: growing would leave a copy behind that is not wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        body.extend_from_slice(match mode {
            Mode::Import => br#"{"dry_run":false,"keys":["#,
            Mode::DryRun => br#"{"dry_run":true,"keys":["#,
        });
        Self { body, sent: Vec::new() }
    }

    /// Takes a key, if there is room for it.
    fn has_taken(&mut self, (row, candidate): (&'r Row, &'r Candidate)) -> bool {
        let key = Zeroizing::new(candidate.to_batch().to_string());
        let fits = self.body.len() + 1 + key.len() + END.len() <= MAX_BYTES;
        if self.len() == MAX_KEYS || !(fits || self.sent.is_empty()) {
            return false;
        }
        if !self.sent.is_empty() {
            self.body.push(b',');
        }
        self.body.extend_from_slice(key.as_bytes());
        self.sent.push((row, candidate));
        true
    }
}

const END: &[u8] = b"]}";

/// Half of what a gateway takes.
const MAX_KEYS: usize = 500;
/// Half of what a gateway takes; each single key is far below, because longer ones are skipped.
const MAX_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::import::{Kind, read};

    #[test]
    fn a_batch_has_room_for_as_many_keys_as_its_number_and_its_size_allow() {
        let check = |text: &str, mode: Mode, expected: &[usize]| {
            let rows = read(Kind::Csv, text).unwrap();
            let mut lengths = Vec::new();
            for batch in batches(&rows, mode) {
                assert!(batch.body.len() <= MAX_BYTES);
                let body: Value = serde_json::from_slice(&batch.body).unwrap();
                assert_eq!(body["dry_run"], json!(mode == Mode::DryRun));
                assert_eq!(body["keys"].as_array().unwrap().len(), batch.len());
                lengths.push(batch.len());
            }
            assert_eq!(lengths, expected);
        };
        let many: String = (0..1001).map(|n| format!("a,secret-{n}\n")).collect();
        check(&format!("name,secret\n{many}"), Mode::Import, &[500, 500, 1]);
        let long: String = (0..90).map(|n| format!("{},secret-{n}\n", "x".repeat(60_000))).collect();
        check(&format!("name,secret\n{long}"), Mode::DryRun, &[69, 21]);
        check("name,secret\na,\n", Mode::Import, &[]);
    }

    #[test]
    fn a_batch_knows_where_its_keys_are_and_what_they_must_not_say() {
        let rows = read(Kind::Csv, "name,secret\na,secret-one\nb,\nc,secret-two\n").unwrap();
        let batch = batches(&rows, Mode::Import).next().unwrap();
        assert_eq!(batch.place(), "line 2 to line 4");
        assert!(batch.is_revealed_by("not secret-two") && !batch.is_revealed_by("not secret-three"));
    }
}

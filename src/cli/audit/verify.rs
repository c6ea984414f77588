//! `keygate audit verify`: the walk over the audit log in a store's file, whether a gateway has it open or not.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::Exit;
use crate::cli::table::{Output, json, print_fields};
use crate::cli::terminal::{print, say};
use crate::store::{self, Fault, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The store's file
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// How the verdict is printed
    #[arg(long, default_value = "table")]
    output: Output,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let checked = store::check(&self.store)?;
        let Some(verdict) = checked.audit else {
            checked.faults.iter().for_each(|fault| say(fault));
            say("the audit log cannot be read");
            return Ok(Exit::Failed);
        };
        let (is_sound, rows, row) = match verdict {
            Verdict::Sound { rows } => (true, Some(rows), None),
            Verdict::Broken { number, .. } => (false, None, Some(number)),
        };
        let words = verdict_words(&verdict);
        match self.output {
            Output::Json => print(&json(&json!({"sound": is_sound, "rows": rows, "row": row, "verdict": words})))?,
            output => print_fields(output, &[("verdict", words)])?,
        };
        Ok(if is_sound { Exit::Done } else { Exit::Failed })
    }
}

/// What a walk over an audit log found.
pub(in crate::cli) fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Sound { rows: 1 } => "sound, 1 row".to_owned(),
        Verdict::Sound { rows } => format!("sound, {rows} rows"),
        Verdict::Broken { number, fault } => {
            let what = match fault {
                Fault::Changed => "is not as it was written",
                Fault::Missing => "is missing",
                Fault::Inserted => "was not written by keygate",
            };
            format!("broken: row {number} {what}")
        }
    }
}

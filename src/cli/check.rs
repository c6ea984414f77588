//! `keygate check`: what `serve` and a reload would say of a file, without doing anything.

use serde_json::json;

use super::secret_input::without_secrets;
use super::terminal::{print, say};
use super::{ConfigFile, Exit};
use crate::catalog::Rules;
use crate::config::{self, Problem};
use crate::time;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the problems as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let (problems, exit, summary) = match config::load(&arguments.file.config) {
        Ok(loaded) => {
            let settings = loaded.settings;
            let summary = format!(
                "{} is fine: {} routes, {} upstreams, {} plans, {} keys",
                arguments.file.config.display(),
                settings.rules.routes.len(),
                settings.rules.upstreams.len(),
                settings.rules.plans.len(),
                settings.keys.len(),
            );
            Rules::compile(settings.rules, None, time::now())?;
            (loaded.warnings, Exit::Done, summary)
        }
        Err(rejected) => {
            let count = rejected.problems.len();
            let plural = if count == 1 { "" } else { "s" };
            (
                rejected.problems,
                Exit::Invalid,
                format!("{count} problem{plural}; nothing would be changed by this file"),
            )
        }
    };
    if arguments.json {
        let problems: Vec<_> = problems.iter().map(Problem::to_json).collect();
        let told = format!("{:#}\n", json!({"valid": exit == Exit::Done, "problems": problems}));
        print(&without_secrets(&told))?;
    } else {
        problems.iter().for_each(|problem| say(&format!("{problem}\n")));
        say(&summary);
    }
    Ok(exit)
}

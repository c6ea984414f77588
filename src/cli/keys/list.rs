//! `keygate keys list` and `show`.

use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::{COLUMNS, path_of};
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::secret_input::is_secret_like;
use crate::cli::table::{Output, print_list, print_one};
use crate::cli::{Exit, Failure};
use crate::key::{KeyId, Name};

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only of this owner
    #[arg(long)]
    owner: Option<Name>,
    /// Only on this plan
    #[arg(long)]
    plan: Option<Name>,
    /// Only in this state
    #[arg(long, value_parser = PossibleValuesParser::new(["active", "disabled", "revoked"]))]
    state: Option<String>,
    /// Only with this text in id or name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most so many; all if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How they are printed
    #[arg(long)]
    output: Option<Output>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Its id
    id: KeyId,
    /// How it is printed
    #[arg(long)]
    output: Option<Output>,
}

impl List {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        if self.search.as_deref().is_some_and(is_secret_like) {
            return Err(
                Failure::usage("what is searched for looks like a secret, and was not sent: try keys verify").into()
            );
        }
        let wanted = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut keys = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.page(client, cursor.as_deref(), PAGE.min(wanted - keys.len()))?;
            keys.extend(page.keys);
            keys.truncate(wanted);
            if page.next.is_none() || page.next == cursor || keys.len() == wanted {
                return print_list(self.output.or(output).unwrap_or_default(), &COLUMNS, &keys);
            }
            cursor = page.next;
        }
    }

    fn page(&self, client: &Client, cursor: Option<&str>, limit: usize) -> Result<Page, Failure> {
        let call = Call::get("/v1/keys")
            .query("owner", self.owner.as_ref().map(Name::as_str))
            .query("plan", self.plan.as_ref().map(Name::as_str))
            .query("state", self.state.as_deref())
            .query("q", self.search.as_deref())
            .query("cursor", cursor)
            .query("limit", Some(&limit.to_string()));
        crate::cli::table::decoded(&client.send(&call)?.body)
    }
}

#[derive(serde::Deserialize)]
struct Page {
    keys: Vec<Value>,
    next: Option<String>,
}

impl Show {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let answer = client.send(&Call::get(path_of(&self.id)?))?;
        print_one(self.output.or(output).unwrap_or_default(), &COLUMNS, &answer.body["key"])
    }
}

/// The most that a gateway gives at once.
const PAGE: usize = 1000;

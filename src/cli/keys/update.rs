//! `keygate keys update`: what is not named stays, what is named in `--clear` goes.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::create::{extra, network, texts_of, units};
use super::{COLUMNS, path_of};
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::table::{Output, json, print_one};
use crate::cli::terminal::print;
use crate::cli::when::{When, when};
use crate::cli::{Exit, Failure};
use crate::key::{KeyId, Name, Scope};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its id
    id: KeyId,
    /// What the key is for
    #[arg(long)]
    name: Option<String>,
    /// Whom it belongs to
    #[arg(long)]
    owner: Option<Name>,
    /// The plan it is on
    #[arg(long)]
    plan: Option<Name>,
    /// All that it may ask for; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// All client networks that it works from; may be given more than once
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    networks: Vec<IpNet>,
    /// Until when it is valid: a time, or a while from now
    #[arg(long, value_parser = when)]
    expires: Option<When>,
    /// From when on it is valid: a time, or a while from now
    #[arg(long, value_name = "TIME", value_parser = when)]
    not_before: Option<When>,
    /// How much it may use up per day beyond the quota of its plan
    #[arg(long, value_name = "UNITS", value_parser = units())]
    extra_day: Option<u64>,
    /// How much it may use up per month beyond the quota of its plan
    #[arg(long, value_name = "UNITS", value_parser = units())]
    extra_month: Option<u64>,
    /// What it shall have no more
    #[arg(long, value_name = "FIELD", num_args = 1.., value_delimiter = ',')]
    clear: Vec<Field>,
    /// Only if it is still of this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// How it is printed
    #[arg(long)]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Field {
    Owner,
    Plan,
    Scopes,
    Networks,
    Expires,
    NotBefore,
    ExtraAllowance,
}

impl Arguments {
    pub(super) fn run(&self, client: &Client, output: Option<Output>) -> anyhow::Result<Exit> {
        let path = path_of(&self.id)?;
        let call = Call::patch_json(path, &self.body()?).if_revision(self.if_revision);
        let answer = client.send(&call)?;
        match self.output.or(output).unwrap_or_default() {
            Output::Json => print(&json(&answer.body)),
            output => print_one(output, &COLUMNS, &answer.body["key"]),
        }
    }

    fn body(&self) -> Result<Value, Failure> {
        let at = |when: &Option<When>| when.as_ref().and_then(When::at).map(|at| at.to_string().into());
        let set = [
            ("name", self.name.as_ref().map(|name| json!(name))),
            ("owner", self.owner.as_ref().map(|owner| json!(owner.as_str()))),
            ("plan", self.plan.as_ref().map(|plan| json!(plan.as_str()))),
            ("scopes", list(&texts_of(&self.scopes))),
            ("networks", list(&texts_of(&self.networks))),
            ("expires", at(&self.expires)),
            ("not_before", at(&self.not_before)),
            ("extra_allowance", extra(self.extra_day, self.extra_month).map(Value::from)),
        ];
        let mut body: Map<_, _> = set.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        for field in &self.clear {
            if body.insert(field.name().to_owned(), Value::Null).is_some_and(|value| !value.is_null()) {
                return Err(Failure::usage(format!("{} is both set and cleared", field.name())));
            }
        }
        if body.is_empty() {
            return Err(Failure::usage("nothing is to be changed: name what is, such as --plan pro"));
        }
        Ok(body.into())
    }
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Plan => "plan",
            Self::Scopes => "scopes",
            Self::Networks => "networks",
            Self::Expires => "expires",
            Self::NotBefore => "not_before",
            Self::ExtraAllowance => "extra_allowance",
        }
    }
}

fn list(texts: &[String]) -> Option<Value> {
    (!texts.is_empty()).then(|| json!(texts))
}

//! `keygate keys create`: a key in a running gateway; `offline` makes one without.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::offline::Hashing;
use super::{COLUMNS, Key};
use crate::cli::call::Call;
use crate::cli::client::Client;
use crate::cli::reveal::{Made, Reveal, print_secret};
use crate::cli::when::{When, when};
use crate::cli::{Exit, Failure, table};
use crate::key::{Extra, Form, Name, Scope};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the key is for
    #[arg(long)]
    pub(super) name: String,
    /// Whom it belongs to
    #[arg(long)]
    pub(super) owner: Option<Name>,
    /// The plan it is on
    #[arg(long)]
    pub(super) plan: Option<Name>,
    /// What it may ask for; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(super) scopes: Vec<Scope>,
    /// A client network that it works from, `10.0.0.0/8`; may be given more than once
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    pub(super) networks: Vec<IpNet>,
    /// How long it is valid, `90d`, or until when
    #[arg(long, value_parser = when)]
    pub(super) expires: Option<When>,
    /// From when on it is valid: a time, or a while from now
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(super) not_before: Option<When>,
    /// How much it may use up per day beyond the quota of its plan
    #[arg(long, value_name = "UNITS", value_parser = units())]
    pub(super) extra_day: Option<u64>,
    /// How much it may use up per month beyond the quota of its plan
    #[arg(long, value_name = "UNITS", value_parser = units())]
    pub(super) extra_month: Option<u64>,
    /// The environment in its printed form
    #[arg(long, default_value = "live", value_parser = environment)]
    pub(super) env: String,
    /// Make it here and now; the configuration gets only the digest
    #[arg(long)]
    pub(super) offline: bool,
    /// How it is printed
    #[arg(long)]
    pub(super) output: Option<Output>,
    #[command(flatten)]
    pub(super) hashing: Hashing,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Output {
    /// With all that is known of it; what a terminal gets
    Table,
    /// As the API gives it; offline what belongs into a configuration
    Json,
    /// With all there is, by RFC 4180
    Csv,
    /// The secret alone; what is no terminal gets
    Secret,
    /// What belongs into a configuration; offline only, and the default there
    Yaml,
}

impl From<table::Output> for Output {
    fn from(output: table::Output) -> Self {
        match output {
            table::Output::Table => Self::Table,
            table::Output::Json => Self::Json,
            table::Output::Csv => Self::Csv,
        }
    }
}

impl Arguments {
    pub(super) fn run(&self, client: &Client, output: Option<table::Output>) -> anyhow::Result<Exit> {
        let reveal = self.output.or(output.map(Output::from)).map(Output::reveal).transpose()?;
        if self.hashing.is_given() {
            return Err(Failure::usage("--config and --pepper are of use only with --offline").into());
        }
        let answer = client.send(&Call::post_json("/v1/keys", &self.body()).once()?)?;
        let made = Made::<Key> { part: "key", columns: &COLUMNS, remedy: "rotate or revoke it" };
        print_secret(&answer, reveal, &made)
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(self.name));
        let texts = [
            ("owner", self.owner.as_ref().map(ToString::to_string)),
            ("plan", self.plan.as_ref().map(ToString::to_string)),
            ("expires", self.expires.as_ref().map(When::wire)),
            ("not_before", self.not_before.as_ref().and_then(When::at).map(|at| at.to_string())),
        ];
        body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?)))));
        for (name, list) in [("scopes", texts_of(&self.scopes)), ("networks", texts_of(&self.networks))] {
            if !list.is_empty() {
                body.insert(name.to_owned(), list.into());
            }
        }
        body.extend(self.extra().map(|extra| ("extra_allowance".to_owned(), extra.into())));
        body.insert("env".to_owned(), json!(self.env));
        body.into()
    }
}

impl Arguments {
    /// What it has beyond the quotas of its plan.
    pub(super) fn extra(&self) -> Option<Map<String, Value>> {
        extra(self.extra_day, self.extra_month)
    }
}

/// What of an extra allowance is named, as the API and the configuration write it; none: nothing.
pub(super) fn extra(day: Option<u64>, month: Option<u64>) -> Option<Map<String, Value>> {
    let named = [("day", day), ("month", month)];
    let named: Map<_, _> =
        named.into_iter().filter_map(|(name, units)| Some((name.to_owned(), json!(units?)))).collect();
    (!named.is_empty()).then_some(named)
}

/// So many that a key can have them.
pub(super) fn units() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=Extra::MOST)
}

impl Output {
    fn reveal(self) -> Result<Reveal, Failure> {
        match self {
            Self::Table => Ok(Reveal::Table),
            Self::Json => Ok(Reveal::Json),
            Self::Csv => Ok(Reveal::Csv),
            Self::Secret => Ok(Reveal::Secret),
            Self::Yaml => Err(Failure::usage("yaml is what goes into a configuration: add --offline")),
        }
    }
}

/// Each as it is written.
pub(super) fn texts_of<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A CIDR whose host bits are zero, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet =
        text.parse().map_err(|_| "a network is like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32".to_owned())?;
    if network.addr() == network.network() {
        return Ok(network);
    }
    Err(format!("write {} for the whole network or {} for the one address", network.trunc(), network.addr()))
}

/// The environment in a printed key: `[a-z][a-z0-9]{1,7}`.
fn environment(text: &str) -> Result<String, String> {
    Form::default().generate(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_whole_or_one_address() {
        for (text, expected) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("2001:db8::1", "2001:db8::1/128")]
        {
            assert_eq!(network(text).map(|network| network.to_string()).as_deref(), Ok(expected));
        }
        assert_eq!(
            network("10.0.0.1/8").unwrap_err(),
            "write 10.0.0.0/8 for the whole network or 10.0.0.1 for the one address"
        );
        assert!(network("10.0.0.0/33").is_err());
    }
}

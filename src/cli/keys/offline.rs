//! Keys and digests without a running gateway.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::json;

use super::create::{Arguments, Output, texts_of};
use crate::cli::secret_input;
use crate::cli::terminal::{print, say};
use crate::cli::when::When;
use crate::cli::{Exit, Failure, table};
use crate::config;
use crate::key::{
    Form, Hasher, KeyId, Name, PepperId, STRENGTH_WITHOUT_PEPPER_BITS, Secret, StoredDigest, estimated_strength_bits,
};

#[derive(Debug, clap::Args)]
pub(super) struct Hash {
    /// `-`: the secret is read from standard input, never from an argument
    #[arg(value_name = "-", allow_hyphen_values = true)]
    input: String,
    #[command(flatten)]
    hashing: Hashing,
}

/// How a secret is hashed.
#[derive(Debug, clap::Args)]
pub(super) struct Hashing {
    /// The configuration whose brand and peppers are used
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The pepper to hash with, by its id in the configuration
    #[arg(long, value_name = "ID", requires = "config")]
    pepper: Option<PepperId>,
}

/// A key that has just been made.
pub(in crate::cli) struct Made {
    /// The secret.
    pub(in crate::cli) secret: Secret,
    /// The id.
    pub(in crate::cli) id: KeyId,
    /// What is stored.
    pub(in crate::cli) digest: StoredDigest,
}

impl Made {
    /// Makes a key.
    pub(in crate::cli) fn new(
        form: &Form,
        env: &str,
        hasher: &Hasher,
        pepper: Option<&PepperId>,
    ) -> anyhow::Result<Self> {
        let secret = form.generate(env)?;
        let digest = hasher.stored(secret.expose().as_bytes(), pepper).ok_or_else(|| no_such_pepper(pepper))?;
        Ok(Self { secret, id: KeyId::generate()?, digest })
    }
}

/// Makes a key for the configuration.
pub(super) fn create(key: &Arguments, output: Option<table::Output>) -> anyhow::Result<Exit> {
    let (form, hasher) = key.hashing.load()?;
    let made = Made::new(&form, &key.env, &hasher, key.hashing.pepper.as_ref())?;
    let text = match key.output.or(output.map(Output::from)) {
        None | Some(Output::Yaml) => format!("{}\n\n{}", made.secret.expose(), yaml(key, &made)?),
        Some(Output::Json) => json(key, &made),
        Some(Output::Table | Output::Csv | Output::Secret) => {
            return Err(Failure::usage("offline, a key is printed as yaml or json").into());
        }
    };
    say("The secret is shown only this once. Keep it; the configuration gets the part below it.");
    print(&text)
}

impl Hash {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let (form, hasher) = self.hashing.load()?;
        let pepper = self.hashing.pepper.as_ref();
        let input = secret_input::read(&self.input)?;
        let secret = input.as_slice();
        form.check(secret).map_err(|_| anyhow!("this is not a whole key: its form or its checksum is wrong"))?;
        let is_ours = form.is_of_brand(secret);
        if !is_ours && pepper.is_none() && estimated_strength_bits(secret) < STRENGTH_WITHOUT_PEPPER_BITS {
            say(&format!(
                "warning: this secret looks easy to guess (below {STRENGTH_WITHOUT_PEPPER_BITS} bits): whoever gets the digest may \
                 find it. Hash it with a pepper (--config FILE --pepper ID), or make a new key."
            ));
        }
        let digest = hasher.stored(secret, pepper).ok_or_else(|| no_such_pepper(pepper))?;
        print(&format!("{digest}\n"))
    }
}

impl Hashing {
    /// Whether anything is said about it.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some()
    }

    fn load(&self) -> anyhow::Result<(Form, Hasher)> {
        let Some(path) = &self.config else { return Ok((Form::default(), Hasher::default())) };
        let wire = valid(path)?.settings.rules.wire;
        Ok((wire.form, wire.hasher))
    }
}

fn yaml(key: &Arguments, made: &Made) -> anyhow::Result<String> {
    let mut text = format!("keys:\n  {}:\n    name: {}\n", made.id, json!(key.name));
    for (field, value) in [("owner", &key.owner), ("plan", &key.plan)] {
        if let Some(value) = value {
            writeln!(text, "    {field}: {}", json!(value.as_str()))?;
        }
    }
    writeln!(text, "    digest: {}", made.digest)?;
    for (field, list) in [("scopes", texts_of(&key.scopes)), ("networks", texts_of(&key.networks))] {
        if !list.is_empty() {
            let list: Vec<_> = list.iter().map(|text| json!(text).to_string()).collect();
            writeln!(text, "    {field}: [{}]", list.join(", "))?;
        }
    }
    for (field, when) in [("not_before", &key.not_before), ("expires", &key.expires)] {
        if let Some(at) = instant(when.as_ref()) {
            writeln!(text, "    {field}: {at}")?;
        }
    }
    if let Some(extra) = key.extra() {
        let extra: Vec<_> = extra.iter().map(|(period, units)| format!("{period}: {units}")).collect();
        writeln!(text, "    extra_allowance: {{{}}}", extra.join(", "))?;
    }
    Ok(text)
}

fn json(key: &Arguments, made: &Made) -> String {
    let document = json!({
        "id": made.id.as_str(),
        "name": key.name,
        "owner": key.owner.as_ref().map(Name::as_str),
        "plan": key.plan.as_ref().map(Name::as_str),
        "scopes": texts_of(&key.scopes),
        "networks": texts_of(&key.networks),
        "not_before": instant(key.not_before.as_ref()),
        "expires": instant(key.expires.as_ref()),
        "extra_allowance": key.extra(),
        "digest": made.digest.to_string(),
        "secret": made.secret.expose(),
    });
    format!("{document:#}\n")
}

fn instant(when: Option<&When>) -> Option<String> {
    Some(when?.at()?.to_string())
}

/// A configuration that must be valid.
fn valid(path: &Path) -> anyhow::Result<config::Loaded> {
    config::load(path).map_err(|_| anyhow!("{} is not valid; `keygate check` tells why", path.display()))
}

fn no_such_pepper(pepper: Option<&PepperId>) -> anyhow::Error {
    anyhow!("the configuration has no pepper `{}`", pepper.map_or("", PepperId::as_str))
}

//! `keygate keys`: making keys and digests without a running gateway.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use zeroize::Zeroizing;

use super::Exit;
use super::terminal::{print, say};
use crate::config;
use crate::key::{
    Form, Hasher, KeyId, Name, PepperId, STRENGTH_WITHOUT_PEPPER_BITS, Scope, Secret, StoredDigest,
    estimated_strength_bits,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key: prints the secret and what belongs into the configuration
    Create(Create),
    /// Print the digest of a secret that stands on standard input
    Hash {
        /// `-`: the secret is read from standard input, never from an argument
        #[arg(value_name = "-", allow_hyphen_values = true)]
        input: String,
        #[command(flatten)]
        hashing: Hashing,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// What the key is for
    #[arg(long)]
    name: String,
    /// Whom it belongs to
    #[arg(long)]
    owner: Option<Name>,
    /// The plan it is on
    #[arg(long)]
    plan: Option<Name>,
    /// What it may ask for; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// How long it is valid: `90d`, `12h`
    #[arg(long, value_parser = lifetime)]
    expires: Option<SignedDuration>,
    /// The environment in its printed form
    #[arg(long, default_value = "live", value_parser = environment)]
    env: String,
    /// Make it here and now; the configuration gets only the digest
    #[arg(long)]
    offline: bool,
    /// How it is printed
    #[arg(long, default_value = "yaml")]
    output: Output,
    #[command(flatten)]
    hashing: Hashing,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Yaml,
    Json,
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

pub(super) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(create) => create.run(),
        Command::Hash { input, hashing } if input == "-" => hashing.hash_input(),
        // What it was is not repeated: it may be the secret.
        Command::Hash { .. } => {
            say("the secret is read from standard input only: write `keygate keys hash -`");
            Ok(Exit::Invalid)
        }
    }
}

/// A key that has just been made.
pub(super) struct Made {
    /// The secret.
    pub(super) secret: Secret,
    /// The id.
    pub(super) id: KeyId,
    /// What is stored.
    pub(super) digest: StoredDigest,
}

impl Made {
    /// Makes a key.
    pub(super) fn new(form: &Form, env: &str, hasher: &Hasher, pepper: Option<&PepperId>) -> anyhow::Result<Self> {
        let secret = form.generate(env)?;
        let digest = hasher.stored(secret.expose().as_bytes(), pepper).ok_or_else(|| no_such_pepper(pepper))?;
        Ok(Self { secret, id: KeyId::generate()?, digest })
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<Exit> {
        if !self.offline {
            say(
                "keys are made offline only in this version: add --offline, and put the fragment into the configuration",
            );
            return Ok(Exit::Invalid);
        }
        let (form, hasher) = self.hashing.load()?;
        let made = Made::new(&form, &self.env, &hasher, self.hashing.pepper.as_ref())?;
        say("The secret is shown only this once. Keep it; the configuration gets the part below it.");
        match self.output {
            Output::Yaml => print(&format!("{}\n\n{}", made.secret.expose(), self.yaml(&made)?)),
            Output::Json => print(&self.json(&made)),
        }
    }

    fn yaml(&self, made: &Made) -> anyhow::Result<String> {
        let mut text = format!("keys:\n  {}:\n    name: {}\n", made.id, json!(self.name));
        for (field, value) in [("owner", &self.owner), ("plan", &self.plan)] {
            if let Some(value) = value {
                writeln!(text, "    {field}: {}", json!(value.as_str()))?;
            }
        }
        writeln!(text, "    digest: {}", made.digest)?;
        if !self.scopes.is_empty() {
            let scopes: Vec<_> = self.scopes.iter().map(|scope| json!(scope.as_str()).to_string()).collect();
            writeln!(text, "    scopes: [{}]", scopes.join(", "))?;
        }
        if let Some(expires) = self.expires_at() {
            writeln!(text, "    expires: {expires}")?;
        }
        Ok(text)
    }

    fn json(&self, made: &Made) -> String {
        let scopes: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
        let document = json!({
            "id": made.id.as_str(),
            "name": self.name,
            "owner": self.owner.as_ref().map(Name::as_str),
            "plan": self.plan.as_ref().map(Name::as_str),
            "scopes": scopes,
            "expires": self.expires_at().map(|at| at.to_string()),
            "digest": made.digest.to_string(),
            "secret": made.secret.expose(),
        });
        format!("{document:#}\n")
    }

    /// Whole seconds, so that it reads well in the file.
    fn expires_at(&self) -> Option<Timestamp> {
        let now_s = crate::time::wall(crate::time::now()).as_unix_s();
        self.expires.and_then(|lifetime| Timestamp::from_second(now_s.checked_add(lifetime.as_secs())?).ok())
    }
}

impl Hashing {
    fn load(&self) -> anyhow::Result<(Form, Hasher)> {
        let Some(path) = &self.config else { return Ok((Form::default(), Hasher::default())) };
        let wire = valid(path)?.settings.rules.wire;
        Ok((wire.form, wire.hasher))
    }

    fn hash_input(&self) -> anyhow::Result<Exit> {
        let (form, hasher) = self.load()?;
        let mut input = Zeroizing::new(Vec::new());
        std::io::stdin().take(MAX_SECRET_BYTES).read_to_end(&mut input).context("standard input")?;
        let secret = input.trim_ascii();
        if secret.is_empty() {
            bail!("standard input is empty");
        }
        form.check(secret).map_err(|_| anyhow!("this is not a whole key: its form or its checksum is wrong"))?;
        let is_ours = form.is_of_brand(secret);
        if !is_ours && self.pepper.is_none() && estimated_strength_bits(secret) < STRENGTH_WITHOUT_PEPPER_BITS {
            say(&format!(
                "warning: this secret looks easy to guess (below {STRENGTH_WITHOUT_PEPPER_BITS} bits): whoever gets the digest may \
                 find it. Hash it with a pepper (--config FILE --pepper ID), or make a new key."
            ));
        }
        let digest = hasher.stored(secret, self.pepper.as_ref()).ok_or_else(|| no_such_pepper(self.pepper.as_ref()))?;
        print(&format!("{digest}\n"))
    }
}

/// A configuration that must be valid.
fn valid(path: &Path) -> anyhow::Result<config::Loaded> {
    config::load(path).map_err(|_| anyhow!("{} is not valid; `keygate check` tells why", path.display()))
}

fn no_such_pepper(pepper: Option<&PepperId>) -> anyhow::Error {
    anyhow!("the configuration has no pepper `{}`", pepper.map_or("", PepperId::as_str))
}

/// The environment in a printed key: `[a-z][a-z0-9]{1,7}`.
fn environment(text: &str) -> Result<String, String> {
    Form::default().generate(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A duration in days, hours, minutes or seconds.
fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "a lifetime is a number with d, h, m or s: 90d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: i64 = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let count: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let total = count.checked_mul(seconds).filter(|total| *total > 0).ok_or_else(wrong)?;
    Ok(SignedDuration::from_secs(total))
}

/// More than any key has.
const MAX_SECRET_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        assert_eq!(lifetime("90d"), Ok(SignedDuration::from_secs(90 * 86_400)));
        assert_eq!(lifetime("1s"), Ok(SignedDuration::from_secs(1)));
        for bad in ["", "d", "90", "-1d", "0d", "1y", "9223372036854775807d", "1ä"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}

//! Sinks: where usage is sent to.
//!
//! Called by [`super::settings`]. A sink that cannot be made because of a problem is left out.

use std::collections::HashMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Outside;
use crate::config::fields::{FILE_SINK, HTTP_SINK, STRIPE_SINK, USAGE, WEBHOOK_SINK};
use crate::config::node::Entry;
use crate::config::problem::{Mark, Problems, named};
use crate::config::reader::Reader;
use crate::meter::Start;
use crate::sink::{
    Carries, Connection, Credential, CredentialError, Endpoint, FileOptions, Format, HttpOptions, Measure, Options,
    Roots, Select, StripeOptions, Subject, Target, Way, WebhookOptions,
};

pub(super) fn sinks(root: Reader<'_>, outside: &mut Outside<'_>, problems: &mut Problems) -> Vec<Options> {
    let usage = root.object("usage", USAGE);
    let entries = usage.node("sinks").map(|node| node.entries()).unwrap_or_default();
    let mut builder = Builder { outside, problems, files: HashMap::new() };
    entries.iter().filter_map(|entry| builder.sink(entry)).collect()
}

struct Builder<'b, 's> {
    outside: &'b mut Outside<'s>,
    problems: &'b mut Problems,
    /// What begins with the same in the same folder would be the same files.
    files: HashMap<(PathBuf, String), Mark>,
}

impl Builder<'_, '_> {
    fn sink(&mut self, entry: &Entry<'_>) -> Option<Options> {
        let reader = |fields| Reader::new(&entry.node, entry.at, fields);
        let (reader, target) = match entry.node.entry("type")?.text()? {
            "file" => (reader(FILE_SINK), self.file(reader(FILE_SINK)).map(Target::File)),
            "http" => (reader(HTTP_SINK), self.http(entry, reader(HTTP_SINK)).map(Target::Http)),
            "stripe" => (reader(STRIPE_SINK), self.stripe(entry, reader(STRIPE_SINK)).map(Target::Stripe)),
            "webhook" => (reader(WEBHOOK_SINK), self.webhook(entry, reader(WEBHOOK_SINK)).map(Target::Webhook)),
            _ => return None,
        };
        let (backoff, backoff_max) = (reader.duration("backoff")?, reader.duration("backoff_max")?);
        if backoff > backoff_max {
            let message =
                format!("{} has a `backoff` above its `backoff_max`", named(&["usage", "sinks", &entry.name]));
            self.problems.error(reader.at("backoff"), message, "make the longest pause at least as long as the first");
        }
        let from = match reader.text("from")? {
            "beginning" => Start::Beginning,
            _ => Start::End,
        };
        let batch = reader.integer("batch")?;
        Some(Options { name: entry.name.parse().ok()?, from, batch, backoff, backoff_max, target: target? })
    }

    fn file(&mut self, reader: Reader<'_>) -> Option<FileOptions> {
        let at = reader.at("folder");
        let folder = self.outside.path(at, reader.text("folder")?);
        let prefix = reader.text("prefix")?.to_owned();
        if let Some(other) = self.files.insert((folder.clone(), prefix.clone()), at) {
            let message = "two sinks write files of the same names";
            self.problems.conflict(at, other, message, "give one of them another `folder` or `prefix`");
        }
        let format = match reader.text("format")? {
            "csv" => Format::Csv,
            _ => Format::Ndjson,
        };
        Some(FileOptions { folder, prefix, format, max_bytes: reader.size("max_size")? })
    }

    fn http(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<HttpOptions> {
        let token = self.credential(entry, reader, "token", Credential::bearer);
        let connection = self.connection(entry, reader);
        Some(HttpOptions {
            connection: connection?,
            token: if reader.node("token").is_some() { Some(token?) } else { None },
            source: reader.text("source")?.to_owned(),
            kind: reader.text("event_type")?.to_owned(),
            subject: if reader.text("subject")? == "key" { Subject::Key } else { Subject::Owner },
            select: select(reader)?,
            duplicate_window: reader.duration("duplicate_window"),
        })
    }

    fn stripe(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<StripeOptions> {
        let key = self.credential(entry, reader, "key", Credential::bearer);
        let connection = self.connection(entry, reader);
        let customers = reader.node("customers").map(|node| node.entries()).unwrap_or_default();
        let value = match reader.text("value")? {
            "requests" => Measure::Requests,
            "bytes_in" => Measure::BytesIn,
            "bytes_out" => Measure::BytesOut,
            _ => Measure::Units,
        };
        Some(StripeOptions {
            connection: connection?,
            key: key?,
            meter: reader.text("meter")?.to_owned(),
            value,
            customer_field: reader.text("customer_field")?.to_owned(),
            value_field: reader.text("value_field")?.to_owned(),
            customers: customers
                .iter()
                .filter_map(|entry| Some((entry.name.parse().ok()?, entry.node.text()?.to_owned())))
                .collect(),
            calls: reader.integer("calls")?,
        })
    }

    fn webhook(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<WebhookOptions> {
        let connection = self.connection(entry, reader);
        let secret = self.credential(entry, reader, "secret", Credential::signing);
        let previous = self.credential(entry, reader, "previous_secret", Credential::signing);
        let carries = match reader.text("carries")? {
            "usage" => Carries::Usage,
            "events" => Carries::Events,
            _ => Carries::Both,
        };
        Some(WebhookOptions {
            connection: connection?,
            secrets: std::iter::once(secret?).chain(previous).collect(),
            select: select(reader)?,
            carries,
        })
    }

    fn connection(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<Connection> {
        let roots = self.roots(entry, reader);
        let endpoint = self.endpoint(entry, reader)?;
        let roots = if reader.node("ca_file").is_some() { Some(roots?) } else { None };
        Some(Connection { endpoint, timeout: reader.duration("timeout")?, roots })
    }

    fn roots(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<Roots> {
        let node = reader.node("ca_file")?;
        let who = named(&["usage", "sinks", &entry.name, "ca_file"]);
        let pem = self.outside.file(node.at, node.text()?, &who, self.problems)?;
        let roots = Roots::parse(&pem);
        if let Err(error) = &roots {
            let remedy = "name a file with -----BEGIN CERTIFICATE----- in it, once or several times";
            self.problems.error(node.at, format!("the file of {who} {error}"), remedy);
        }
        roots.ok()
    }

    fn endpoint(&mut self, entry: &Entry<'_>, reader: Reader<'_>) -> Option<Endpoint> {
        let endpoint: Endpoint = reader.parsed("url")?;
        if endpoint.way() == Way::Clear && !reader.switch("allow_insecure")? {
            let who = named(&["usage", "sinks", &entry.name]);
            let message = format!("{who} would send usage and secrets in clear to {endpoint}");
            let remedy = "use https, or say `allow_insecure: true` where the way is safe";
            self.problems.error(reader.at("url"), message, remedy);
        }
        Some(endpoint)
    }

    /// What `{file: …}` or `{env: …}` stands for. None: it is absent, or a problem has been noted.
    fn credential(
        &mut self,
        entry: &Entry<'_>,
        reader: Reader<'_>,
        field: &str,
        parse: fn(Zeroizing<Vec<u8>>) -> Result<Credential, CredentialError>,
    ) -> Option<Credential> {
        let node = reader.node(field)?;
        let who = named(&["usage", "sinks", &entry.name, field]);
        let bytes = self.outside.value(node, &who, self.problems)?;
        match parse(bytes) {
            Ok(credential) => Some(credential),
            Err(error) => {
                self.problems.error(node.at, format!("{who} {error}"), error.remedy());
                None
            }
        }
    }
}

fn select(reader: Reader<'_>) -> Option<Select> {
    Some(if reader.text("select")? == "all" { Select::All } else { Select::Billed })
}

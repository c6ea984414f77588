//! A configuration file under construction: every entry can be set, replaced and removed by name.

use std::fmt::Write;
use std::net::SocketAddr;

use super::gateway::Gateway;
use super::keys::{ALICE, TestKey};
use super::upstream::Upstream;

/// What a test's configuration file will say. Starts as: one thread, one upstream `backend`, one route `all` on `/` that
/// asks for a key, and Alice's key without a plan.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    address: String,
    operations: String,
    threads: usize,
    top: Vec<String>,
    upstreams: Section,
    routes: Section,
    plans: Section,
    keys: Section,
    revoked: Vec<String>,
}

type Section = Vec<(String, Vec<String>)>;

impl Settings {
    /// A gateway before one upstream.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        Self::before_address(upstream.address())
    }

    /// The same, with the address of whatever is there.
    pub(crate) fn before_address(target: SocketAddr) -> Self {
        let empty = Self {
            address: "127.0.0.1:0".to_owned(),
            operations: "127.0.0.1:0".to_owned(),
            threads: 1,
            top: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
            plans: Vec::new(),
            keys: Vec::new(),
            revoked: Vec::new(),
        };
        empty.upstream("backend", &[target], &[]).route("all", &["path: /"]).key(ALICE, &[])
    }

    /// The route `all` asks for no key.
    pub(crate) fn public(self) -> Self {
        self.route("all", &["path: /", "access: public"])
    }

    /// Alice's key is on a plan `basic` with these lines.
    pub(crate) fn plan_for_alice(self, lines: &[&str]) -> Self {
        self.plan("basic", lines).key(ALICE, &["plan: basic"])
    }

    /// A listener of the data plane at a fixed address.
    pub(crate) fn listen_at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// The operations listener at a fixed address.
    pub(crate) fn operations_at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.operations);
        self
    }

    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// A line (or several) at the top level of the file.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        self.top.push(lines.to_owned());
        self
    }

    pub(crate) fn upstream(self, name: &str, targets: &[SocketAddr], lines: &[&str]) -> Self {
        let urls: Vec<String> = targets.iter().map(|target| format!("http://{target}")).collect();
        self.upstream_at(name, &urls, lines)
    }

    /// An upstream whose targets are given as URLs.
    pub(crate) fn upstream_at(mut self, name: &str, urls: &[String], lines: &[&str]) -> Self {
        let targets =
            format!("targets: [{}]", urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", "));
        let mut all = vec![targets.as_str()];
        all.extend_from_slice(lines);
        set(&mut self.upstreams, name, &all);
        self
    }

    /// A route to `backend`, unless a line says `upstream:`.
    pub(crate) fn route(mut self, name: &str, lines: &[&str]) -> Self {
        let mut all = lines.to_vec();
        if !lines.iter().any(|line| line.starts_with("upstream:")) {
            all.push("upstream: backend");
        }
        set(&mut self.routes, name, &all);
        self
    }

    pub(crate) fn plan(mut self, name: &str, lines: &[&str]) -> Self {
        set(&mut self.plans, name, lines);
        self
    }

    pub(crate) fn key(self, key: TestKey, lines: &[&str]) -> Self {
        self.key_with_digest(key.id, key.digest, lines)
    }

    pub(crate) fn key_with_digest(self, id: &str, digest: &str, lines: &[&str]) -> Self {
        let digest = format!("digest: \"{digest}\"");
        let mut all = vec![digest.as_str()];
        all.extend_from_slice(lines);
        self.key_lines(id, &all)
    }

    /// A key with nothing but these lines.
    pub(crate) fn key_lines(mut self, id: &str, lines: &[&str]) -> Self {
        set(&mut self.keys, id, lines);
        self
    }

    pub(crate) fn without_key(mut self, id: &str) -> Self {
        self.keys.retain(|(own, _)| own != id);
        self
    }

    pub(crate) fn without_route(mut self, name: &str) -> Self {
        self.routes.retain(|(own, _)| own != name);
        self
    }

    pub(crate) fn revoke(mut self, id: &str) -> Self {
        self.revoked.push(id.to_owned());
        self
    }

    /// The file.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = format!(
            "listeners:\n  - address: {}\noperations:\n  address: {}\nthreads: {}\n",
            self.address, self.operations, self.threads
        );
        self.top.iter().for_each(|lines| push_line(&mut yaml, lines));
        for (name, section) in
            [("upstreams", &self.upstreams), ("routes", &self.routes), ("plans", &self.plans), ("keys", &self.keys)]
        {
            push_section(&mut yaml, name, section);
        }
        if !self.revoked.is_empty() {
            push_line(&mut yaml, &format!("revoked: [{}]", self.revoked.join(", ")));
        }
        yaml
    }

    /// Starts a gateway with this file and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Gateway {
        Gateway::start(self)
    }
}

fn set(section: &mut Section, name: &str, lines: &[&str]) {
    let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    match section.iter_mut().find(|(own, _)| own == name) {
        Some((_, old)) => *old = lines,
        None => section.push((name.to_owned(), lines)),
    }
}

fn push_section(yaml: &mut String, name: &str, section: &Section) {
    if section.is_empty() {
        return;
    }
    push_line(yaml, &format!("{name}:"));
    for (entry, lines) in section {
        push_line(yaml, &format!("  {entry}:"));
        lines.iter().for_each(|line| push_line(yaml, &format!("    {line}")));
    }
}

fn push_line(yaml: &mut String, line: &str) {
    let _ = writeln!(yaml, "{line}");
}

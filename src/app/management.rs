//! The admin API of a running gateway: its tokens, its listener, and what it is given to work with.
//!
//! The admin API knows neither the data plane nor the configuration; here it is handed what it may ask of both. Called by
//! `control` at the start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::metering::Works;
use super::reload::{InForce, Stage};
use crate::admin::{self, Allowance, Credential, Explanation, Limits, Outcome, Parts, Question, QuotaLeft, Sinks};
use crate::catalog::{Catalog, FileKey, Follower};
use crate::key::Digest;
use crate::meter::Quotas;
use crate::store::UsageQuery;
use crate::telemetry::log;
use crate::{config, gateway, time};

/// The keys of the file, as the admin API shows them.
pub(super) type FileKeys = Arc<ArcSwap<Vec<FileKey>>>;

/// Sees to it that there is an operator token in each file. Blocks.
pub(super) fn provision(follower: &Follower, files: &[PathBuf]) -> anyhow::Result<()> {
    for provisioned in admin::provision(follower, files, time::wall(time::now())).context("the admin API")? {
        let fields: &[(&str, &dyn std::fmt::Display)] =
            &[("file", &provisioned.path.display()), ("token", &provisioned.token)];
        match provisioned.outcome {
            Outcome::Made => log::info("a token for the admin API was made; it is in the file", fields),
            Outcome::TakenIn => log::info("the admin token in the file is new to the store, and valid now", fields),
            Outcome::Known => {}
        }
        provisioned.warnings.iter().for_each(|warning| log::warn(warning, &[]));
    }
    Ok(())
}

/// What the admin API works on.
pub(super) fn parts(
    config: &Path,
    stage: &Stage,
    follower: &Arc<Follower>,
    file_keys: &FileKeys,
    address: SocketAddr,
    in_force: &InForce,
) -> (Parts, mpsc::Receiver<admin::Reload>) {
    let (reload, requests) = mpsc::channel(RELOADS_WAITING);
    let (catalog, config) = (Arc::clone(follower.catalog()), config.to_owned());
    let works = stage.works.clone();
    let quotas = works.as_deref().map(Works::quotas).cloned().unwrap_or_default();
    let of_key = (Arc::clone(&catalog), Arc::clone(&quotas));
    let parts = Parts {
        follower: Arc::clone(follower),
        file_keys: Arc::clone(file_keys),
        explain: Arc::new(move |question| explain(&catalog, &quotas, question)),
        allowance: Arc::new(move |digest| allowance(&of_key.0, &of_key.1, digest)),
        usage_proof: works
            .clone()
            .map(|works| Arc::new(move |from, to| works.prove(from, to)) as Arc<admin::ProveUsage>),
        sinks: works.clone().map(sinks),
        usage: works.map(|works| Arc::new(move |query: &UsageQuery| works.report(query)) as Arc<admin::ReadUsage>),
        reload,
        check: Arc::new(move || problems(&config)),
        state: Arc::clone(&stage.state),
        address,
        console: in_force.console.clone(),
        vault: in_force.vault.clone(),
        sessions: Arc::default(),
        limits: Limits::default(),
    };
    (parts, requests)
}

fn sinks(works: Arc<Works>) -> Sinks {
    let switched = Arc::clone(&works);
    Sinks {
        statuses: Box::new(move || works.exports().statuses()),
        switch: Box::new(move |name, to| switched.exports().switch(name, to)),
    }
}

/// Everything that is wrong or doubtful about the file as it is on disk.
fn problems(config: &Path) -> Vec<String> {
    let problems = match config::load(config) {
        Ok(loaded) => loaded.warnings,
        Err(rejected) => rejected.problems,
    };
    problems.iter().map(ToString::to_string).collect()
}

fn allowance(catalog: &Catalog, quotas: &Quotas, digest: &Digest) -> Allowance {
    let explained = told(gateway::allowance(catalog, quotas, digest, time::now()));
    Allowance { plan: explained.plan, limits: explained.limits, quotas: explained.quotas }
}

fn explain(catalog: &Catalog, quotas: &Quotas, question: &Question) -> Explanation {
    let asked = gateway::Question {
        credential: match &question.credential {
            Credential::None => gateway::Credential::None,
            Credential::Secret(secret) => gateway::Credential::Secret(secret.expose().as_bytes()),
            Credential::Digest(digest) => gateway::Credential::Digest(*digest),
        },
        method: &question.method,
        host: question.host.as_deref().unwrap_or_default(),
        path: &question.path,
        peer: question.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    told(gateway::explain(catalog, quotas, &asked, time::now()))
}

fn told(explained: gateway::Explanation) -> Explanation {
    let text = |name: Option<crate::key::Name>| name.map(|name| name.to_string());
    let upstream = text(explained.upstream);
    let (outcome, status, detail) = match explained.denial {
        None => ("forwarded", 200, format!("it goes to the upstream `{}`", upstream.as_deref().unwrap_or_default())),
        Some(denial) => {
            let (status, code) = (denial.status(), denial.code());
            let detail = format!("{}: the client gets {status} {code}", denial.reason().replace('_', " "));
            (denial.reason(), status, detail)
        }
    };
    let limits = explained.limits.into_iter().map(|limit| admin::LimitLeft {
        name: limit.name.to_string(),
        requests: limit.requests,
        per_seconds: limit.per.as_secs_f64(),
        burst: limit.burst,
        remaining: limit.remaining,
        retry_after_seconds: limit.retry_after.as_secs_f64(),
    });
    Explanation {
        outcome: outcome.to_owned(),
        status,
        detail,
        route: text(explained.route),
        upstream,
        path: explained.path,
        key: explained.key.map(|key| key.to_string()),
        owner: text(explained.owner),
        plan: text(explained.plan),
        limits: limits.collect(),
        quotas: explained.quotas.into_iter().map(quota_left).collect(),
    }
}

fn quota_left(left: gateway::QuotaLeft) -> QuotaLeft {
    let gateway::QuotaLeft { quota, standing, resets } = left;
    QuotaLeft {
        name: quota.name.to_string(),
        period: quota.period.label().to_owned(),
        requests: quota.requests.get(),
        extra: standing.allowed - quota.requests.get(),
        used: standing.used,
        remaining: standing.remaining(),
        resets,
    }
}

/// More requests to reload than this wait for those before them.
const RELOADS_WAITING: usize = 8;

//! What would become of a request, and why: the decision's own functions, without a request and without taking anything.
//!
//! The question is written as the head of a request and read as one, so that nothing here can understand it in another way than
//! the data plane does. Called through `app` by the admin API.

use std::net::IpAddr;

use super::admit::{self, Examined, Refusal};
use super::connection::head_denial;
use super::facts::{self, Scratch};
use super::finish::{DENIALS, OUTCOMES};
use super::local::Local;
use crate::catalog::{Catalog, Found, PlanId, Record, Rules};
use crate::http1::{FieldSlots, RequestHead};
use crate::key::{Digest, KeyId, Name};
use crate::limit;
use crate::meter::{QuotaStanding, Quotas};
use crate::policy::{Denial, Plan, Presented, Quota};
use crate::telemetry::Metrics;
use crate::time::{Instant, Timestamp, wall};

/// A request that nobody sends.
#[derive(Debug)]
pub struct Question<'q> {
    /// What it brings along.
    pub credential: Credential<'q>,
    /// Its method.
    pub method: &'q str,
    /// The host it names.
    pub host: &'q str,
    /// Its path, as a client would send it.
    pub path: &'q str,
    /// Where it comes from.
    pub peer: IpAddr,
}

/// What a request brings along.
#[derive(Clone, Copy)]
pub enum Credential<'q> {
    /// Nothing.
    None,
    /// A secret.
    Secret(&'q [u8]),
    /// The secret with this digest.
    Digest(Digest),
}

/// What would become of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Why it would be refused; none: it would be forwarded.
    pub denial: Option<Denial>,
    /// Its route.
    pub route: Option<Name>,
    /// Where it would go.
    pub upstream: Option<Name>,
    /// Its path in its one form.
    pub path: Option<String>,
    /// Its key.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<Name>,
    /// The plan of the key.
    pub plan: Option<Name>,
    /// The limits of the plan.
    pub limits: Vec<LimitLeft>,
    /// The quotas of the plan.
    pub quotas: Vec<QuotaLeft>,
}

/// What is left of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitLeft {
    /// The limit.
    pub name: Name,
    /// How many requests.
    pub requests: u64,
    /// In what time.
    pub per: std::time::Duration,
    /// How many at once.
    pub burst: u64,
    /// How many of these are left.
    pub remaining: u64,
    /// How long until this request could pass.
    pub retry_after: std::time::Duration,
}

/// What is left of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// The quota.
    pub quota: Quota,
    /// How much the key has, and how much of it is used.
    pub standing: QuotaStanding,
    /// When the next period begins.
    pub resets: Timestamp,
}

/// What a key has left of everything, found by the digest of a secret. Takes nothing.
pub fn allowance(catalog: &Catalog, quotas: &Quotas, digest: &Digest, now: Instant) -> Explanation {
    let mut explanation = Explanation::default();
    let rules = catalog.rules();
    if let Some(found) = catalog.keys().find_under(&rules, digest) {
        explanation.tell_key(&rules, Some(&found.record));
        let plan = rules.plan_of(&found.record).and_then(|id| Some((id, rules.plan(id)?)));
        if let Some(plan) = plan {
            // Whether a request would pass is not the question.
            let _ = explanation.tell_limits(&rules, quotas, &found, plan, 1, now);
        }
    }
    explanation
}

/// Explains what would become of a request under the rules and keys in force. Takes nothing from any limit.
pub fn explain(catalog: &Catalog, quotas: &Quotas, question: &Question<'_>, now: Instant) -> Explanation {
    let metrics = Metrics::new(&OUTCOMES, &DENIALS);
    let local = Local::new(catalog.rules(), None, (&metrics.thread(0), None), None);
    let mut explanation = Explanation::default();
    explanation.denial = decide((catalog, quotas), &local, question, now, &mut explanation).err();
    explanation
}

fn decide(
    (catalog, quotas): (&Catalog, &Quotas),
    local: &Local,
    question: &Question<'_>,
    now: Instant,
    explanation: &mut Explanation,
) -> Result<(), Denial> {
    let head = head(question)?;
    let (mut slots, mut scratch) = (FieldSlots::new(), Scratch::default());
    let head = RequestHead::parse(&head, &mut slots, &local.rules.wire.head).map_err(head_denial)?;
    let mut reading = facts::read(&head, local, question.peer, &mut scratch).map_err(|unfit| unfit.denial)?;
    explanation.path = Some(String::from_utf8_lossy(reading.facts.path).into_owned());
    reading.facts.credential = match question.credential {
        Credential::None => Presented::None,
        Credential::Secret(secret) => Presented::One(secret),
        // Stands for the secret, which nobody knows; what it looks like is checked, but not looked for.
        Credential::Digest(_) => Presented::One(b"-"),
    };
    let examined = admit::examine(local, &reading, now, |presented| match &question.credential {
        Credential::Digest(digest) => catalog.keys().find_under(&local.rules, digest),
        Credential::None | Credential::Secret(_) => admit::look_up(local, catalog.keys(), presented),
    });
    match examined {
        Err(Refusal { denial, route, record, .. }) => {
            explanation.tell_route(local, route);
            explanation.tell_key(&local.rules, record.as_deref());
            Err(denial)
        }
        Ok(Examined { route, key, .. }) => {
            explanation.tell_route(local, Some(route));
            let Some((found, plan)) = key else { return Ok(()) };
            explanation.tell_key(&local.rules, Some(&found.record));
            plan.map_or(Ok(()), |plan| {
                explanation.tell_limits(&local.rules, quotas, &found, plan, local.rules.routes[route].cost, now)
            })
        }
    }
}

impl Explanation {
    fn tell_route(&mut self, local: &Local, route: Option<usize>) {
        let Some(route) = route.map(|route| &local.rules.routes[route]) else { return };
        self.route = Some(route.name.clone());
        self.upstream = Some(local.rules.upstreams[route.upstream].options().name.clone());
    }

    fn tell_key(&mut self, rules: &Rules, record: Option<&Record>) {
        let Some(record) = record else { return };
        self.key = Some(record.id.clone());
        self.owner = record.owner.as_deref().cloned();
        self.plan = rules.plan_of(record).and_then(|plan| rules.plan_name(plan)).cloned();
    }

    fn tell_limits(
        &mut self,
        rules: &Rules,
        quotas: &Quotas,
        found: &Found,
        (id, plan): (PlanId, &Plan),
        cost: u64,
        now: Instant,
    ) -> Result<(), Denial> {
        let state = found.record.entry().limits();
        rules.count_under(id, state, now);
        let (key, extra, wall) = (&found.record.id, found.record.extra(), wall(now));
        let standings = quotas.standings(key, &plan.quotas, extra, wall);
        self.quotas.extend(standings.zip(&plan.quotas).map(|(standing, quota)| {
            let left_ms = i64::try_from(quota.period.left(wall).as_millis()).unwrap_or(i64::MAX / 2);
            let resets = Timestamp::from_unix_ms(wall.as_unix_ms() + left_ms);
            QuotaLeft { quota: quota.clone(), standing, resets }
        }));
        self.limits.extend(plan.limits.iter().map(|limit| {
            let probed = limit::probe(std::slice::from_ref(limit), state, cost, now);
            let (remaining, retry_after) = match probed {
                Ok(allowance) => (allowance.remaining, std::time::Duration::ZERO),
                Err(refused) => (refused.remaining, refused.retry_after),
            };
            LimitLeft {
                name: limit.name().clone(),
                requests: limit.requests(),
                per: limit.per(),
                burst: limit.burst(),
                remaining,
                retry_after,
            }
        }));
        quotas.probe(key, &plan.quotas, extra, cost, wall).map_err(|_| Denial::QuotaExceeded)?;
        if plan.concurrency.is_some_and(|most| state.in_flight() >= most) {
            return Err(Denial::ConcurrencyExceeded);
        }
        limit::probe(&plan.limits, state, cost, now).map_err(|_| Denial::LimitExceeded).map(drop)
    }
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(..)",
            Self::Digest(_) => "Digest(..)",
        })
    }
}

/// The head of such a request. What would end a line is no method, host or path.
fn head(question: &Question<'_>) -> Result<Vec<u8>, Denial> {
    let Question { method, host, path, .. } = question;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !is_plain(method) || !is_plain(path) || !(host.is_empty() || is_plain(host)) {
        return Err(Denial::BadHead);
    }
    Ok(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes())
}

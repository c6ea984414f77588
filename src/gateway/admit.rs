//! The decision: may this request pass? Every check of the product, in order, on one screen.
//!
//! Cheap and certain checks come first; the limits are touched last, because they are the only step with an effect.
//! Called by `connection` for each request; forwarding demands the [`Admitted`] that only this makes.

use super::facts::Reading;
use super::local::Local;
use super::shared::Shared;
use crate::catalog::{Found, Keys, PlanId, Record, RecordRef};
use crate::http1::Length;
use crate::limit::{self, Allowance, Refused};
use crate::meter::QuotaStanding;
use crate::policy::{self, Denial, Permit, Plan, Presented};
use crate::route::{Access, Route};
use crate::time::{Instant, wall};

/// Proof that a request may pass, and what it passed with. Dropped, it gives back its place among the key's concurrent requests.
#[derive(Debug)]
pub(super) struct Admitted {
    _permit: Permit,
    /// The route: an index into the rules.
    pub(super) route: usize,
    /// What was taken from the key's quotas.
    pub(super) charged: u64,
    /// The key; none on a public route.
    pub(super) holder: Option<Holder>,
    _place: Option<Place>,
}

/// The key behind an admitted request.
#[derive(Debug)]
pub(super) struct Holder {
    /// The key's record as it was when the request was admitted, and its entry.
    pub(super) record: RecordRef,
    /// What its use is counted under.
    pub(super) account: u64,
    /// What its limits have left.
    pub(super) allowance: Option<(PlanId, Allowance)>,
    /// How it stands with the quota that is nearest to its end.
    pub(super) quota: Option<(PlanId, QuotaStanding)>,
}

/// Why a request may not pass, and what is known of it.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The reason.
    pub(super) denial: Denial,
    /// The route, if one was found.
    pub(super) route: Option<usize>,
    /// The key, if one was found.
    pub(super) record: Option<RecordRef>,
    /// What its use is counted under.
    pub(super) account: u64,
    /// What of the plan is used up, if that is why.
    pub(super) reached: Option<(PlanId, Reached)>,
}

/// What of a plan is used up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached {
    /// A limit.
    Limit(Refused),
    /// A quota.
    Quota(QuotaStanding),
}

/// What can be said of a request that nothing is against, before anything is taken for it.
pub(super) struct Examined<'l> {
    permit: Permit,
    /// The route: an index into the rules.
    pub(super) route: usize,
    /// The key and its plan; none on a public route.
    pub(super) key: Option<(Found, Option<(PlanId, &'l Plan)>)>,
}

/// Decides on one request. Not inlined, so that a profile shows what the decision costs.
#[inline(never)]
pub(super) fn admit(
    local: &Local,
    shared: &Shared,
    reading: &Reading<'_, '_>,
    now: Instant,
) -> Result<Admitted, Refusal> {
    let find = |presented: &[u8]| look_up(local, shared.catalog.keys(), presented);
    let Examined { permit, route, key } = examine(local, reading, now, find)?;
    let Some((Found { record, secret, account }, plan)) = key else {
        return Ok(Admitted { _permit: permit, route, charged: 0, holder: None, _place: None });
    };
    let known = |denial| Refusal { record: Some(record.clone()), account, ..Refusal::of(denial) };
    let of_key = |denial| Refusal { route: Some(route), ..known(denial) };
    let cost = local.rules.routes[route].cost;
    let charge = plan.filter(|(_, plan)| !plan.quotas.is_empty());
    let used_up =
        |(id, _), quota| Refusal { reached: Some((id, Reached::Quota(quota))), ..of_key(Denial::QuotaExceeded) };
    if let Some(of_plan @ (_, plan)) = charge {
        shared
            .quotas
            .probe(&record.id, &plan.quotas, record.extra(), cost, wall(now))
            .map_err(|quota| used_up(of_plan, quota))?;
    }

    let place = Place::take(&record, plan.map(|(_, plan)| plan)).map_err(of_key)?;
    let allowance = match plan {
        Some((id, plan)) if !plan.limits.is_empty() => {
            local.rules.count_under(id, record.entry().limits(), now);
            let reached =
                |refused| Refusal { reached: Some((id, Reached::Limit(refused))), ..of_key(Denial::LimitExceeded) };
            Some((id, limit::take(&plan.limits, record.entry().limits(), cost, now).map_err(reached)?))
        }
        _ => None,
    };
    let quota = match charge {
        // Only in a race for the last of a quota is something taken from the limits and not from it.
        Some(of_plan @ (id, plan)) => {
            Some((id, shared.charge(&record, plan, cost, now).map_err(|quota| used_up(of_plan, quota))?))
        }
        None => None,
    };
    record.entry().note_use(&record, secret, wall(now));
    let holder = Holder { record, account, allowance, quota };
    let charged = if quota.is_some() { cost } else { 0 };
    Ok(Admitted { _permit: permit, route, charged, holder: Some(holder), _place: place })
}

/// Everything that can be against a request but its key's limits; `find` looks for the key by what the request presents.
pub(super) fn examine<'l>(
    local: &'l Local,
    reading: &Reading<'_, '_>,
    now: Instant,
    find: impl FnOnce(&[u8]) -> Option<Found>,
) -> Result<Examined<'l>, Refusal> {
    let facts = &reading.facts;
    let index =
        local.rules.router.find(facts.host, facts.path, facts.method).ok_or(Refusal::of(Denial::RouteUnknown))?;
    let route = &local.rules.routes[index];
    let on_route = |denial| Refusal { route: Some(index), ..Refusal::of(denial) };

    if route.access == Access::Public {
        let permit = policy::permit_public(route, facts).map_err(on_route)?;
        fitting_body(local, route, reading).map_err(on_route)?;
        return Ok(Examined { permit, route: index, key: None });
    }
    let presented = match facts.credential {
        Presented::One(presented) => presented,
        Presented::None => return Err(on_route(Denial::KeyMissing)),
        Presented::Ambiguous => return Err(on_route(Denial::KeyAmbiguous)),
    };
    local.rules.wire.form.check(presented).map_err(|_| on_route(Denial::KeyMalformed))?;
    let found = find(presented).ok_or_else(|| on_route(Denial::KeyUnknown))?;
    let of_key = |denial| Refusal { record: Some(found.record.clone()), account: found.account, ..on_route(denial) };

    let rights = found.record.rights(&local.rules, found.secret);
    let permit = policy::permit(&rights, route, facts, wall(now)).map_err(of_key)?;
    fitting_body(local, route, reading).map_err(of_key)?;
    let plan = plan_in_force(local, &found.record).map_err(of_key)?;
    Ok(Examined { permit, route: index, key: Some((found, plan)) })
}

/// Digests the credential and looks for it under all of its digests, so that the work never tells whether it was found.
pub(super) fn look_up(local: &Local, keys: &Keys, presented: &[u8]) -> Option<Found> {
    keys.find_secret(&local.rules, &local.rules.wire.hasher.digests(presented))
}

/// The plan of a key; a key whose plan is gone from the rules is refused.
fn plan_in_force<'l>(local: &'l Local, record: &Record) -> Result<Option<(PlanId, &'l Plan)>, Denial> {
    let Some(id) = local.rules.plan_of(record) else { return Ok(None) };
    local.rules.plan(id).map(|plan| Some((id, plan))).ok_or(Denial::PlanNotAllowed)
}

fn fitting_body(local: &Local, route: &Route, reading: &Reading<'_, '_>) -> Result<(), Denial> {
    let most = route.max_body_bytes.or(local.rules.wire.max_body_bytes);
    match (reading.length, most) {
        (Length::Known(bytes), Some(most)) if bytes > most => Err(Denial::BodyTooLarge),
        _ => Ok(()),
    }
}

impl Holder {
    /// Whether there is a limit or a quota.
    pub(super) const fn is_limited(&self) -> bool {
        self.allowance.is_some() || self.quota.is_some()
    }
}

impl Refusal {
    /// A refusal of which nothing more is known.
    pub(super) const fn of(denial: Denial) -> Self {
        Self { denial, route: None, record: None, account: 0, reached: None }
    }

    /// Whether the request costs more than the limit or the quota ever has, so that no waiting helps.
    pub(super) fn is_for_good(&self, local: &Local) -> bool {
        let Some(route) = self.route else { return false };
        let cost = local.rules.routes[route].cost;
        match &self.reached {
            None => false,
            Some((_, Reached::Quota(quota))) => cost > quota.allowed,
            Some((plan, Reached::Limit(refused))) => {
                let limit = local.rules.plan(*plan).and_then(|plan| plan.limits.get(usize::from(refused.index)));
                limit.is_some_and(|limit| cost > limit.burst())
            }
        }
    }
}

/// A place among the concurrent requests of a key; given back when it is dropped, however the request ends.
#[derive(Debug)]
struct Place(RecordRef);

impl Place {
    fn take(record: &RecordRef, plan: Option<&Plan>) -> Result<Option<Self>, Denial> {
        match plan.and_then(|plan| plan.concurrency) {
            None => Ok(None),
            Some(most) if record.entry().limits().enter(most) => Ok(Some(Self(record.clone()))),
            Some(_) => Err(Denial::ConcurrencyExceeded),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.entry().limits().leave();
    }
}

//! Rules: routes, plans, upstreams and wire settings, compiled from one configuration and swapped whole.
//!
//! What stays the same from one configuration to the next keeps its identity: an unchanged upstream is the same object, a plan
//! keeps its id and a limit its cell. Compiled by `app` from what `config` hands over, read by `gateway` for every request.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::changes::Former;
use super::record::Record;
use super::wire::Wire;
use crate::key::Name;
use crate::limit::{self, Limit, MAX_LIMITS};
use crate::policy::Plan;
use crate::route::{Route, RouteConflict, Router};
use crate::time::Instant;
use crate::upstream::{self, Upstream};

/// What `config` hands over: valid, names resolved.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The routes; each names its upstream by the index into `upstreams`.
    pub routes: Vec<Route>,
    /// The plans, each name once, each with limits of different names.
    pub plans: Vec<Plan>,
    /// The upstreams.
    pub upstreams: Vec<upstream::Options>,
    /// The plan of keys that name none.
    pub default_plan: Option<Name>,
    /// Everything else about messages.
    pub wire: Wire,
}

/// One configuration, compiled.
#[derive(Debug)]
pub struct Rules {
    /// Counts configurations; 0 is the empty one that the gateway starts with.
    pub generation: u64,
    /// The routes.
    pub routes: Vec<Route>,
    /// Finds a request's route among them.
    pub router: Router,
    /// The plans by their ids, which stay as long as the process lives; none is a plan that is gone.
    pub plans: Vec<Option<Plan>>,
    /// The upstreams, at the indices that the routes name.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Everything else about messages.
    pub wire: Wire,
    /// The plans by their ids, those that are gone as they last were.
    known: Vec<Plan>,
    default_plan: Option<PlanId>,
    /// Shared with the rules before and after.
    ids: Arc<PlanIds>,
    /// How the keys stood under these rules, once the next ones are being brought into force.
    former: OnceLock<Former>,
}

/// The ids of all plans that were ever heard of: also of those that keys name and no configuration has had yet.
type PlanIds = Mutex<HashMap<Name, PlanId>>;

/// The place of a plan in the rules; the same in all rules of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(NonZeroU32);

/// Why a rule set cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Two routes could answer the same request.
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// A route names an upstream that is not there.
    #[error("route {0} goes to an upstream that does not exist")]
    NoUpstream(Name),
    /// A name stands for two plans.
    #[error("there are two plans {0}")]
    TwoPlans(Name),
    /// More limits than a key has cells for.
    #[error("plan {0} has more than {MAX_LIMITS} limits")]
    TooManyLimits(Name),
}

impl Rules {
    /// No routes, no plans, no upstreams: every request is refused.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            routes: Vec::new(),
            router: Router::default(),
            plans: Vec::new(),
            upstreams: Vec::new(),
            wire: Wire::default(),
            known: Vec::new(),
            default_plan: None,
            ids: Arc::default(),
            former: OnceLock::new(),
        }
    }

    /// The rules that follow on `previous`, which are those in force; limits that change do so at `now`.
    ///
    /// # Errors
    /// [`CompileError`]; `config` has reported all of these before, with their place in the file.
    pub fn compile(set: RuleSet, previous: Option<&Self>, now: Instant) -> Result<Self, CompileError> {
        let router = Router::new(&set.routes)?;
        let lost = set.routes.iter().find(|route| route.upstream >= set.upstreams.len());
        if let Some(route) = lost {
            return Err(CompileError::NoUpstream(route.name.clone()));
        }
        let known_upstreams = previous.map_or(&[][..], |previous| &previous.upstreams);
        let mut rules = Self {
            generation: previous.map_or(0, |previous| previous.generation) + 1,
            routes: set.routes,
            router,
            plans: Vec::new(),
            upstreams: set.upstreams.into_iter().map(|options| keep_or_make(known_upstreams, options)).collect(),
            wire: set.wire,
            known: previous.map_or(Vec::new(), |previous| previous.known.clone()),
            default_plan: None,
            ids: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.ids)),
            former: OnceLock::new(),
        };
        set.plans.into_iter().try_for_each(|plan| rules.put_plan(plan, now))?;
        rules.default_plan = set.default_plan.map(|name| rules.plan_id(&name));
        rules.hear_of_all();
        Ok(rules)
    }

    /// The plan of a record. None: it is gone from the rules, and its keys are to be refused.
    pub fn plan(&self, id: PlanId) -> Option<&Plan> {
        self.plans.get(id.index())?.as_ref()
    }

    /// Has a key's cells counted under this plan. A key that comes from another takes along what it has used.
    pub fn count_under(&self, id: PlanId, state: &limit::State, now: Instant) {
        let former = state.count_under(id.0.get() - 1).and_then(|former| self.known.get(former as usize));
        if let Some(former) = former {
            limit::carry_over(&former.limits, &self.known[id.index()].limits, state, now);
        }
    }

    /// The plan that a key is on; none means no limits.
    pub fn plan_of(&self, record: &Record) -> Option<PlanId> {
        record.plan.or(self.default_plan)
    }

    /// Whether a key that names no plan would have no limits although there are plans.
    pub fn forgets_limits(&self) -> bool {
        self.default_plan.is_none() && self.plans.iter().any(Option::is_some)
    }

    /// The id of the plan with this name; a name that was never heard of gets one, as a plan that is gone.
    pub(super) fn plan_id(&self, name: &Name) -> PlanId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.get(name) {
            return *id;
        }
        let number = u32::try_from(ids.len() + 1).ok().and_then(NonZeroU32::new);
        let id = PlanId(number.expect("a process sees fewer than 2^32 plans"));
        ids.insert(name.clone(), id);
        id
    }

    /// Makes room for every plan that has an id; those without a name yet are gone, and known by it alone.
    pub(super) fn hear_of_all(&mut self) {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = ids.iter().filter(|(_, id)| id.index() >= self.known.len()).collect();
        names.sort_by_key(|(_, id)| id.index());
        let gone = |(name, _): (&Name, &PlanId)| Plan {
            name: name.clone(),
            limits: Vec::new(),
            quotas: Vec::new(),
            billed: None,
            concurrency: None,
        };
        self.known.extend(names.into_iter().map(gone));
        self.plans.resize(self.known.len(), None);
    }

    /// The name of a plan, gone or not; none if these rules have never heard of it.
    pub fn plan_name(&self, id: PlanId) -> Option<&Name> {
        self.known.get(id.index()).map(|plan| &plan.name)
    }

    /// How the keys stood under these rules, if others are following on them.
    pub(super) fn former(&self) -> Option<&Former> {
        self.former.get()
    }

    /// Keeps how the keys stand for the requests that are still decided by these rules.
    pub(super) fn keep_former(&self, former: Former) {
        assert!(self.former.set(former).is_ok(), "rules are followed by others only once");
    }

    fn put_plan(&mut self, plan: Plan, now: Instant) -> Result<(), CompileError> {
        if plan.limits.len() > MAX_LIMITS {
            return Err(CompileError::TooManyLimits(plan.name));
        }
        let index = self.plan_id(&plan.name).index();
        self.hear_of_all();
        if self.plans[index].is_some() {
            return Err(CompileError::TwoPlans(plan.name));
        }
        let limits = with_cells(plan.limits, &self.known[index].limits, now);
        let plan = Plan { limits, ..plan };
        self.known[index] = plan.clone();
        self.plans[index] = Some(plan);
        Ok(())
    }
}

impl PlanId {
    /// Where the plan is in [`Rules::plans`].
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

fn keep_or_make(known: &[Arc<Upstream>], options: upstream::Options) -> Arc<Upstream> {
    let same = known.iter().find(|upstream| *upstream.options() == options);
    same.map_or_else(|| Upstream::new(options), Arc::clone)
}

/// Gives each limit the cell that it had under its name, and new names the lowest cells that are free.
///
/// A limit goes on from the one that had its cell until now, whatever its name: what was used stays used.
fn with_cells(limits: Vec<Limit>, previous: &[Limit], now: Instant) -> Vec<Limit> {
    let namesake = |limit: &Limit| previous.iter().find(|known| known.name() == limit.name());
    let mut is_free = [true; MAX_LIMITS];
    limits.iter().filter_map(namesake).for_each(|known| is_free[known.slot()] = false);
    let mut free = (0..MAX_LIMITS).filter(|slot| is_free[*slot]);
    let place = |limit: Limit| {
        let slot =
            namesake(&limit).map(Limit::slot).or_else(|| free.next()).expect("there are as many cells as limits");
        match previous.iter().find(|known| known.slot() == slot) {
            Some(known) => limit.succeeding(known, now),
            None => limit.with_slot(slot),
        }
    };
    limits.into_iter().map(place).collect()
}

//! Plans: named sets of limits that keys are on.
//!
//! Made by `config`, kept by `catalog`, read by `gateway` for every request.

use super::quota::Quota;
use crate::key::Name;
use crate::limit::{Limit, MAX_LIMITS};
use crate::route::Billed;

/// A named set of limits and quotas.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name in the configuration and in the identity field.
    pub name: Name,
    /// What each key on it may do, each limit with a cell of its own; at most [`MAX_LIMITS`].
    pub limits: Vec<Limit>,
    /// What each key on it may use up; at most one per period.
    pub quotas: Vec<Quota>,
    /// Which answers are billed; none means that the route says, or the general rule.
    pub billed: Option<Billed>,
    /// Requests of one key that may run at once; none means any number.
    pub concurrency: Option<u32>,
}

/// A plan has more limits than a key has cells for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plan has at most {MAX_LIMITS} limits")]
pub struct TooManyLimits;

impl Plan {
    /// A plan whose limits fit into a key's cells.
    ///
    /// # Errors
    /// [`TooManyLimits`] if they do not.
    pub fn new(name: Name, limits: Vec<Limit>, concurrency: Option<u32>) -> Result<Self, TooManyLimits> {
        if limits.len() > MAX_LIMITS {
            return Err(TooManyLimits);
        }
        Ok(Self { name, limits, quotas: Vec::new(), billed: None, concurrency })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_plan_has_as_many_limits_as_a_key_has_cells() {
        let limit = |n: usize| Limit::new(format!("l{n}").parse().unwrap(), 10, Duration::from_secs(1), 10).unwrap();
        let plan = |count: usize| Plan::new("free".parse().unwrap(), (0..count).map(limit).collect(), None);
        assert!(plan(0).is_ok());
        assert!(plan(MAX_LIMITS).is_ok());
        assert_eq!(plan(MAX_LIMITS + 1).err(), Some(TooManyLimits));
    }
}

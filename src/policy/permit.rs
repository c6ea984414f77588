//! The decision: may this key use this route, with this method, from here, now?
//!
//! Nothing else makes a [`Permit`], and nothing is forwarded without one. Called by `gateway::admit`, which has
//! found key and route before and takes from the limits after.

use ipnet::IpNet;

use super::{Denial, Facts, contains};
use crate::key::{Key, Name, Scope, State};
use crate::route::{Access, Route};
use crate::time::Timestamp;

/// Proof that policy let one request through.
#[derive(Debug)]
#[must_use = "a permit that nobody asks for proves nothing"]
pub struct Permit(());

/// What a key is and may, as far as the decision asks.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'k> {
    /// Where it is in its life.
    pub state: State,
    /// Not valid before this time.
    pub not_before: Option<Timestamp>,
    /// Not valid from this time on.
    pub expires: Option<Timestamp>,
    /// The plan it is on.
    pub plan: Option<&'k Name>,
    /// What it may ask for, sorted.
    pub scopes: &'k [Scope],
    /// The client networks it works from; empty means any.
    pub networks: &'k [IpNet],
}

impl<'k> From<&'k Key> for Rights<'k> {
    fn from(key: &'k Key) -> Self {
        Self {
            state: key.state,
            not_before: key.not_before,
            expires: key.expires,
            plan: key.plan.as_ref(),
            scopes: &key.scopes,
            networks: &key.networks,
        }
    }
}

/// Whether a key with these rights may be used on `route`.
///
/// # Errors
/// The first reason for "no", in this order: state and lifetime of the key (one public answer for all of them), then
/// method, scopes, plan and network.
pub fn permit(key: &Rights<'_>, route: &Route, facts: &Facts<'_>, now: Timestamp) -> Result<Permit, Denial> {
    check_state(key.state)?;
    check_lifetime(key, now)?;
    check_method(route, facts)?;
    check_scopes(key, route)?;
    check_plan(key, route)?;
    check_network(key, facts)?;
    Ok(Permit(()))
}

/// Whether anybody may use `route` without a key.
///
/// # Errors
/// [`Denial::KeyMissing`] if the route is not public; [`Denial::MethodNotAllowed`].
pub fn permit_public(route: &Route, facts: &Facts<'_>) -> Result<Permit, Denial> {
    match route.access {
        Access::Key => Err(Denial::KeyMissing),
        Access::Public => check_method(route, facts).map(Permit),
    }
}

fn check_state(state: State) -> Result<(), Denial> {
    match state {
        State::Active => Ok(()),
        State::Disabled => Err(Denial::KeyDisabled),
        State::Revoked => Err(Denial::KeyRevoked),
    }
}

/// A key is valid from the millisecond of `not_before` on, and no longer in that of `expires`.
fn check_lifetime(key: &Rights<'_>, now: Timestamp) -> Result<(), Denial> {
    if key.not_before.is_some_and(|start| now < start) {
        return Err(Denial::KeyNotYetValid);
    }
    if key.expires.is_some_and(|end| now >= end) {
        return Err(Denial::KeyExpired);
    }
    Ok(())
}

fn check_method(route: &Route, facts: &Facts<'_>) -> Result<(), Denial> {
    if route.methods.contains(facts.method) { Ok(()) } else { Err(Denial::MethodNotAllowed) }
}

fn check_scopes(key: &Rights<'_>, route: &Route) -> Result<(), Denial> {
    debug_assert!(key.scopes.is_sorted(), "the scopes of a key are sorted");
    let carried = route.scopes.iter().all(|scope| key.scopes.binary_search(scope).is_ok());
    if carried { Ok(()) } else { Err(Denial::ScopeMissing) }
}

fn check_plan(key: &Rights<'_>, route: &Route) -> Result<(), Denial> {
    let fits = route.plans.is_empty() || key.plan.is_some_and(|plan| route.plans.contains(plan));
    if fits { Ok(()) } else { Err(Denial::PlanNotAllowed) }
}

fn check_network(key: &Rights<'_>, facts: &Facts<'_>) -> Result<(), Denial> {
    let fits = key.networks.is_empty() || contains(key.networks, facts.client);
    if fits { Ok(()) } else { Err(Denial::NetworkNotAllowed) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::Presented;
    use super::*;
    use crate::key::Extra;
    use crate::route::{Method, Methods};

    const START_MS: i64 = 1_000_000;
    const END_MS: i64 = 2_000_000;

    /// A key that fits [`route`] in every way, between `START_MS` and `END_MS`.
    fn key() -> Key {
        Key {
            id: "key_acme".parse().unwrap(),
            name: "Acme".into(),
            owner: None,
            plan: Some("pro".parse().unwrap()),
            scopes: ["a:read", "b:read", "c:read"].map(|scope| scope.parse().unwrap()).into(),
            networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            not_before: Some(Timestamp::from_unix_ms(START_MS)),
            expires: Some(Timestamp::from_unix_ms(END_MS)),
            state: State::Active,
            extra: Extra::default(),
        }
    }

    fn route() -> Route {
        Route {
            methods: Methods::new(["GET"]).unwrap(),
            scopes: vec!["c:read".parse().unwrap(), "a:read".parse().unwrap()],
            plans: vec!["free".parse().unwrap(), "pro".parse().unwrap()],
            ..Route::new("orders".parse().unwrap(), "/v1".parse().unwrap(), 0)
        }
    }

    fn facts() -> Facts<'static> {
        Facts {
            method: Method::Get,
            host: b"h",
            path: b"/v1",
            client: IpAddr::from([10, 0, 0, 1]),
            credential: Presented::None,
        }
    }

    fn check(change: impl Fn(&mut Key, &mut Route, &mut Facts<'_>, &mut i64), expected: Option<Denial>) {
        let (mut key, mut route, mut facts, mut now_ms) = (key(), route(), facts(), START_MS);
        change(&mut key, &mut route, &mut facts, &mut now_ms);
        let found = permit(&Rights::from(&key), &route, &facts, Timestamp::from_unix_ms(now_ms));
        assert_eq!(found.err(), expected);
    }

    #[test]
    fn a_key_that_fits_in_every_way_is_let_through() {
        check(|_, _, _, _| (), None);
    }

    #[test]
    fn a_revoked_or_disabled_key_is_refused() {
        check(|key, _, _, _| key.state = State::Revoked, Some(Denial::KeyRevoked));
        check(|key, _, _, _| key.state = State::Disabled, Some(Denial::KeyDisabled));
    }

    #[test]
    fn a_key_is_valid_from_its_first_millisecond_to_the_one_before_its_end() {
        check(|_, _, _, now| *now = START_MS - 1, Some(Denial::KeyNotYetValid));
        check(|_, _, _, now| *now = START_MS, None);
        check(|_, _, _, now| *now = END_MS - 1, None);
        check(|_, _, _, now| *now = END_MS, Some(Denial::KeyExpired));
        check(|_, _, _, now| *now = i64::MAX, Some(Denial::KeyExpired));
        let unbounded = |now_ms: i64| {
            check(|key, _, _, now| (key.not_before, key.expires, *now) = (None, None, now_ms), None);
        };
        unbounded(i64::MIN);
        unbounded(i64::MAX);
    }

    #[test]
    fn a_method_that_the_route_does_not_name_is_refused() {
        check(|_, _, facts, _| facts.method = Method::Post, Some(Denial::MethodNotAllowed));
        check(|_, _, facts, _| facts.method = Method::Other(b"get"), Some(Denial::MethodNotAllowed));
        check(|_, _, facts, _| facts.method = Method::Head, None);
        check(|_, route, facts, _| (route.methods, facts.method) = (Methods::default(), Method::Post), None);
    }

    #[test]
    fn a_key_carries_every_scope_or_is_refused() {
        check(|key, _, _, _| drop(key.scopes.remove(0)), Some(Denial::ScopeMissing));
        check(|key, _, _, _| drop(key.scopes.remove(2)), Some(Denial::ScopeMissing));
        check(|key, _, _, _| drop(key.scopes.remove(1)), None);
        check(|key, _, _, _| key.scopes.clear(), Some(Denial::ScopeMissing));
        check(|key, route, _, _| (key.scopes, route.scopes) = (vec![], vec![]), None);
    }

    #[test]
    fn a_route_for_some_plans_refuses_keys_on_others() {
        check(|key, _, _, _| key.plan = Some("trial".parse().unwrap()), Some(Denial::PlanNotAllowed));
        check(|key, _, _, _| key.plan = None, Some(Denial::PlanNotAllowed));
        check(|key, route, _, _| (key.plan, route.plans) = (None, vec![]), None);
    }

    #[test]
    fn a_key_works_from_its_networks_only() {
        let from = |client: &str, expected| {
            let client: IpAddr = client.parse().unwrap();
            check(|_, _, facts, _| facts.client = client, expected);
        };
        from("10.255.255.255", None);
        from("::ffff:10.0.0.1", None);
        from("2001:db8::7", None);
        from("11.0.0.1", Some(Denial::NetworkNotAllowed));
        from("2001:db9::7", Some(Denial::NetworkNotAllowed));
        let anywhere = IpAddr::from([203, 0, 113, 9]);
        check(|key, _, facts, _| (key.networks, facts.client) = (vec![], anywhere), None);
    }

    #[test]
    fn of_several_reasons_the_first_in_order_is_given() {
        type Spoil = fn(&mut Key, &mut Route, &mut Facts<'_>, &mut i64);
        let spoils: [(Spoil, Denial); 7] = [
            (|key, _, _, _| key.state = State::Revoked, Denial::KeyRevoked),
            (|key, _, _, _| key.not_before = Some(Timestamp::from_unix_ms(i64::MAX)), Denial::KeyNotYetValid),
            (|key, _, _, _| key.expires = Some(Timestamp::from_unix_ms(0)), Denial::KeyExpired),
            (|_, _, facts, _| facts.method = Method::Put, Denial::MethodNotAllowed),
            (|key, _, _, _| key.scopes.clear(), Denial::ScopeMissing),
            (|key, _, _, _| key.plan = None, Denial::PlanNotAllowed),
            (|_, _, facts, _| facts.client = IpAddr::from([11, 0, 0, 1]), Denial::NetworkNotAllowed),
        ];
        for first in 0..spoils.len() {
            let all_from_here = |key: &mut Key, route: &mut Route, facts: &mut Facts<'_>, now: &mut i64| {
                spoils[first..].iter().for_each(|(spoil, _)| spoil(key, route, facts, now));
            };
            check(all_from_here, Some(spoils[first].1));
        }
    }

    #[test]
    fn only_public_routes_need_no_key() {
        let check = |access, method, expected: Option<Denial>| {
            let route = Route { access, ..route() };
            let found = permit_public(&route, &Facts { method, ..facts() });
            assert_eq!(found.err(), expected);
        };
        check(Access::Public, Method::Get, None);
        check(Access::Public, Method::Post, Some(Denial::MethodNotAllowed));
        check(Access::Key, Method::Get, Some(Denial::KeyMissing));
        check(Access::Key, Method::Post, Some(Denial::KeyMissing));
    }
}

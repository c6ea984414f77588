//! The router: which route a request belongs to, in time that does not grow with the number of routes.
//!
//! Every look-up is by hash, prefixes longest first, and bounded by the deepest path of any route, whatever the
//! client sends. Built by `catalog`, called by `gateway` for every request.

use rustc_hash::FxHashMap;

use super::method::{Method, Methods};
use super::pattern::{HostPattern, MAX_HOST_BYTES, Reach};
use super::{Name, Route};

/// The routes of one configuration, ready to be looked up.
#[derive(Clone, Debug, Default)]
pub struct Router {
    sites: Map<Site>,
    /// Whether any route asks for a host.
    knows_hosts: bool,
    /// The number of segments of the deepest path.
    depth: usize,
    /// Bit n: some path has a length of n, modulo 64. Spares most look-ups that would find nothing.
    lengths: u64,
}

/// A quick hash will do: what is in the maps comes from the configuration, clients only ask.
type Map<T> = FxHashMap<Box<[u8]>, T>;

/// Two routes that could both answer the same request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("routes {first} and {second} have the same host and path, and a method in common")]
pub struct RouteConflict {
    /// The route that stands first.
    pub first: Name,
    /// The route that comes later and would never be reached.
    pub second: Name,
}

impl Router {
    /// The router over `routes`; what it finds are indices into them.
    ///
    /// # Errors
    /// The first conflict of [`Router::conflicts`].
    pub fn new(routes: &[Route]) -> Result<Self, RouteConflict> {
        let mut router = Self::default();
        for (index, route) in routes.iter().enumerate() {
            if let Some(first) = router.insert(index, route) {
                return Err(conflict(&routes[first], route));
            }
        }
        Ok(router)
    }

    /// Every route that has host, path and a method in common with one before it.
    pub fn conflicts(routes: &[Route]) -> Vec<RouteConflict> {
        let mut router = Self::default();
        let pairs = routes.iter().enumerate();
        pairs.filter_map(|(index, route)| Some(conflict(&routes[router.insert(index, route)?], route))).collect()
    }

    /// The index of the route for a request.
    ///
    /// The longest path wins; among equal paths the exact host, then the longest wildcard, then no host; among equal
    /// hosts the route that allows the method, or the first of them if none does. `host` is what the Host field says,
    /// without port and in any case; `path` is normalised.
    pub fn find(&self, host: &[u8], path: &[u8], method: Method<'_>) -> Option<usize> {
        let below_root = path.strip_prefix(b"/")?;
        if self.knows_hosts {
            let mut space = [0; MAX_HOST_BYTES];
            self.find_on(lowered(host, &mut space), path, below_root, method)
        } else {
            self.find_on(b"", path, below_root, method)
        }
    }

    /// `host` is in lower case.
    fn find_on(&self, host: &[u8], path: &[u8], below_root: &[u8], method: Method<'_>) -> Option<usize> {
        let mut end = match self.depth.checked_sub(1) {
            None => 0,
            Some(before) => memchr::memchr_iter(b'/', below_root).nth(before).map_or(path.len(), |at| at + 1),
        };
        loop {
            if let Some(choices) = self.site(&path[..end]).and_then(|site| site.choices(host)) {
                return choose(choices, method);
            }
            end = memchr::memrchr(b'/', &path[..end])?;
        }
    }

    fn site(&self, prefix: &[u8]) -> Option<&Site> {
        if self.lengths & length_bit(prefix) == 0 { None } else { self.sites.get(prefix) }
    }

    /// The index of the route that it conflicts with, which stays; or none, and it is in.
    fn insert(&mut self, index: usize, route: &Route) -> Option<usize> {
        self.depth = self.depth.max(route.path.segments());
        self.lengths |= length_bit(route.path.prefix());
        self.knows_hosts |= route.host.is_some();
        let site = self.sites.entry(route.path.prefix().into()).or_default();
        let choices = site.choices_of(route.host.as_ref());
        let taken = choices.iter().find(|choice| choice.methods.overlaps(&route.methods));
        if let Some(choice) = taken {
            return Some(choice.route);
        }
        choices.push(Choice { methods: route.methods.clone(), route: index });
        None
    }
}

fn length_bit(prefix: &[u8]) -> u64 {
    1 << (prefix.len() % 64)
}

fn conflict(first: &Route, second: &Route) -> RouteConflict {
    RouteConflict { first: first.name.clone(), second: second.name.clone() }
}

/// The routes of one path, by host.
#[derive(Clone, Debug, Default)]
struct Site {
    exact: Map<Vec<Choice>>,
    below: Map<Vec<Choice>>,
    any: Vec<Choice>,
}

impl Site {
    fn choices(&self, host: &[u8]) -> Option<&[Choice]> {
        let choices = self.exact(host).or_else(|| self.below(host)).unwrap_or(&self.any);
        (!choices.is_empty()).then_some(choices)
    }

    fn exact(&self, host: &[u8]) -> Option<&Vec<Choice>> {
        if self.exact.is_empty() { None } else { self.exact.get(host) }
    }

    fn below(&self, host: &[u8]) -> Option<&Vec<Choice>> {
        if self.below.is_empty() {
            return None;
        }
        let dots = memchr::memchr_iter(b'.', host).filter(|at| *at > 0);
        dots.map(|at| &host[at + 1..]).find_map(|domain| self.below.get(domain))
    }

    fn choices_of(&mut self, host: Option<&HostPattern>) -> &mut Vec<Choice> {
        let Some(host) = host else {
            return &mut self.any;
        };
        let by_name = match host.reach() {
            Reach::Exact => &mut self.exact,
            Reach::Below => &mut self.below,
        };
        by_name.entry(host.name().as_bytes().into()).or_default()
    }
}

/// A route among those of one path and host; no two of them share a method.
#[derive(Clone, Debug)]
struct Choice {
    methods: Methods,
    route: usize,
}

fn choose(choices: &[Choice], method: Method<'_>) -> Option<usize> {
    let fitting = choices.iter().find(|choice| choice.methods.contains(method));
    fitting.or(choices.first()).map(|choice| choice.route)
}

/// A host in lower case and without the root's dot; empty if it is longer than any name, and so matches no pattern.
fn lowered<'s>(host: &[u8], space: &'s mut [u8; MAX_HOST_BYTES]) -> &'s [u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let Some(lower) = space.get_mut(..host.len()) else { return b"" };
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    lower
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};

    use super::*;

    fn route(index: usize, host: &str, path: &str, methods: &[&str]) -> Route {
        let name = format!("r{index}").parse().unwrap();
        Route {
            host: (!host.is_empty()).then(|| host.parse().unwrap()),
            methods: Methods::new(methods.iter().copied()).unwrap(),
            ..Route::new(name, path.parse().unwrap(), 0)
        }
    }

    fn routes(table: &[(&str, &str, &[&str])]) -> Vec<Route> {
        table.iter().enumerate().map(|(index, (host, path, methods))| route(index, host, path, methods)).collect()
    }

    fn check(router: &Router, method: &str, host: &str, path: &str, expected: Option<usize>) {
        let found = router.find(host.as_bytes(), path.as_bytes(), Method::from_bytes(method.as_bytes()));
        assert_eq!(found, expected, "{method} {host} {path}");
    }

    #[test]
    fn the_longest_path_wins_on_segment_borders() {
        let table = routes(&[("", "/v1", &[]), ("", "/v1/orders", &[]), ("", "/v1/orders/7/lines", &[])]);
        let router = Router::new(&table).unwrap();
        for (path, expected) in [
            ("/", None),
            ("/v1", Some(0)),
            ("/v1/", Some(0)),
            ("/v1x", None),
            ("/v1/x", Some(0)),
            ("/v1/orders", Some(1)),
            ("/v1/orders/", Some(1)),
            ("/v1/ordersX", Some(0)),
            ("/v1/orders/7", Some(1)),
            ("/v1/orders/7/lines", Some(2)),
            ("/v1/orders/7/lines/8/9", Some(2)),
            ("/v1//orders", Some(0)),
            ("//v1", None),
            ("", None),
            ("*", None),
        ] {
            check(&router, "GET", "h", path, expected);
        }
    }

    #[test]
    fn the_root_covers_what_nothing_else_does() {
        let router = Router::new(&routes(&[("", "/v1", &[]), ("", "/", &[])])).unwrap();
        check(&router, "GET", "h", "/", Some(1));
        check(&router, "GET", "h", "/v1/x", Some(0));
        check(&router, "GET", "h", "/v2/x", Some(1));
        check(&router, "GET", "h", "//v1", Some(1));
        let alone = Router::new(&routes(&[("", "/", &[])])).unwrap();
        check(&alone, "GET", "h", &"/a".repeat(4_000), Some(0));
        check(&Router::default(), "GET", "h", "/", None);
    }

    #[test]
    fn the_nearer_host_wins_among_equal_paths() {
        let table = routes(&[
            ("", "/v1", &[]),
            ("*.example.com", "/v1", &[]),
            ("*.eu.example.com", "/v1", &[]),
            ("api.example.com", "/v1", &[]),
            ("", "/v1/any", &[]),
        ]);
        let router = Router::new(&table).unwrap();
        for (host, expected) in [
            ("api.example.com", 3),
            ("API.Example.Com.", 3),
            ("x.api.example.com", 1),
            ("www.example.com", 1),
            ("a.eu.example.com", 2),
            ("a.b.EU.example.com", 2),
            ("eu.example.com", 1),
            ("example.com", 0),
            (".example.com", 0),
            ("notexample.com", 0),
            ("example.com.org", 0),
            ("", 0),
        ] {
            check(&router, "GET", host, "/v1/x", Some(expected));
        }
        check(&router, "GET", &format!("{}.example.com", "a".repeat(300)), "/v1/x", Some(0));
        check(&router, "GET", "api.example.com", "/v1/any", Some(4));
    }

    #[test]
    fn a_path_of_another_host_does_not_hide_a_shorter_one() {
        let router = Router::new(&routes(&[("a.com", "/v1/x", &[]), ("", "/v1", &[]), ("b.com", "/", &[])])).unwrap();
        check(&router, "GET", "b.com", "/v1/x", Some(1));
        check(&router, "GET", "b.com", "/", Some(2));
        check(&router, "GET", "c.com", "/", None);
    }

    #[test]
    fn methods_choose_among_routes_of_one_path() {
        let table = routes(&[("", "/v1", &["GET"]), ("", "/v1", &["POST", "PURGE"]), ("h", "/v1", &["PUT"])]);
        let router = Router::new(&table).unwrap();
        check(&router, "GET", "", "/v1", Some(0));
        check(&router, "HEAD", "", "/v1", Some(0));
        check(&router, "POST", "", "/v1", Some(1));
        check(&router, "PURGE", "", "/v1", Some(1));
        check(&router, "DELETE", "", "/v1", Some(0));
        check(&router, "GET", "h", "/v1", Some(2));
    }

    #[test]
    fn routes_that_share_a_request_are_a_conflict() {
        let table = routes(&[
            ("", "/v1", &["GET"]),
            ("h", "/v1", &["GET"]),
            ("", "/v1", &["HEAD"]),
            ("H", "/v1/", &[]),
            ("*.h", "/v1", &[]),
        ]);
        let name = |index: usize| table[index].name.clone();
        let expected =
            vec![RouteConflict { first: name(0), second: name(2) }, RouteConflict { first: name(1), second: name(3) }];
        assert_eq!(Router::conflicts(&table), expected);
        assert_eq!(Router::new(&table).unwrap_err(), expected[0]);
        assert_eq!(expected[0].to_string(), "routes r0 and r2 have the same host and path, and a method in common");
    }

    /// The same rules without any index: looks at every route.
    fn naive(routes: &[Route], host: &str, path: &str, method: Method<'_>) -> Option<usize> {
        let rank = |route: &Route| Some((path_rank(route, path)?, host_rank(route, host)?));
        let best = routes.iter().filter_map(rank).max()?;
        let mut equals = (0..routes.len()).filter(|index| rank(&routes[*index]) == Some(best));
        let first = equals.clone().next();
        equals.find(|index| routes[*index].methods.contains(method)).or(first)
    }

    fn path_rank(route: &Route, path: &str) -> Option<usize> {
        let pattern = route.path.as_str();
        let covers = pattern == "/" || path == pattern || path.starts_with(&format!("{pattern}/"));
        covers.then_some(pattern.len())
    }

    fn host_rank(route: &Route, host: &str) -> Option<usize> {
        let host = host.to_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let Some(pattern) = &route.host else {
            return Some(0);
        };
        let pattern = pattern.to_string();
        match pattern.strip_prefix('*') {
            Some(suffix) => (host.ends_with(suffix) && host.len() > suffix.len()).then_some(suffix.len()),
            None => (host == pattern).then_some(usize::MAX),
        }
    }

    fn any_path() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "aa"]);
        prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    fn any_routes() -> impl Strategy<Value = Vec<Route>> {
        let host = prop::sample::select(vec!["", "", "x.com", "a.x.com", "*.x.com", "*.a.x.com"]);
        let methods = prop::sample::select(vec![&[][..], &["GET"], &["POST"], &["PUT", "MOVE"], &["DELETE"]]);
        prop::collection::vec((host, any_path(), methods), 0..40).prop_map(|drawn| {
            let mut routes: Vec<Route> = Vec::new();
            for (host, path, methods) in drawn {
                routes.push(route(routes.len(), host, &path, methods));
                if Router::new(&routes).is_err() {
                    routes.pop();
                }
            }
            routes
        })
    }

    proptest! {
        #[test]
        fn the_router_agrees_with_a_look_at_every_route(
            routes in any_routes(),
            host in prop::sample::select(vec!["", "x.com", "X.COM.", "a.x.com", "b.A.x.com", "c.b.a.x.com", "y.org"]),
            path in any_path(),
            method in prop::sample::select(vec!["GET", "HEAD", "POST", "MOVE", "COPY"]),
        ) {
            let method = Method::from_bytes(method.as_bytes());
            let found = Router::new(&routes).unwrap().find(host.as_bytes(), path.as_bytes(), method);
            prop_assert_eq!(found, naive(&routes, host, &path, method));
        }
    }
}

//! The way of a request from the bytes of its head to the bytes for the upstream, without sockets: for benches and tests.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::admit;
use super::connection::decide;
use super::facts::{self, Scratch};
use super::finish::{self, DENIALS, OUTCOMES};
use super::shared::Shared;
use super::thread::Thread;
use crate::catalog::Catalog;
use crate::http1::{FieldSlots, RequestHead};
use crate::meter::ledger::Book;
use crate::policy::{Denial, Presented};
use crate::telemetry::access::AccessLog;
use crate::telemetry::{self, AccessLogOptions, LogFormat, LogOutput, Metrics};
use crate::time::Instant;

/// A data thread that nobody is connected to.
#[derive(Debug)]
pub struct Desk {
    thread: Rc<Thread>,
    peer: IpAddr,
}

impl Desk {
    /// A desk under the rules and keys in force, for clients at `peer`, that counts no usage.
    pub fn new(catalog: Arc<Catalog>, peer: IpAddr) -> Self {
        Self::counting_in(catalog, peer, None)
    }

    /// The same with a book to count usage in.
    pub fn counting_in(catalog: Arc<Catalog>, peer: IpAddr, book: Option<Book>) -> Self {
        let metrics = Metrics::new(&OUTCOMES, &DENIALS);
        let of_thread = metrics.thread(0);
        let off = AccessLogOptions { output: LogOutput::Off, sample: 0.0 };
        let options = telemetry::Options { format: LogFormat::Json, access: off };
        let (log, _) = AccessLog::open(&options, metrics).expect("a log that is off opens nothing");
        let sender = log.sender(Arc::clone(&of_thread));
        let thread = Thread::new(0, Shared::new(catalog, Arc::default(), 1, None), of_thread, sender, book, 1);
        Self { thread: thread.expect("a system that gives an epoll"), peer }
    }

    /// Parses a head, reads it, decides on it, and writes the head for the upstream: how many bytes that has.
    ///
    /// # Errors
    /// The reason why the request may not pass.
    pub fn decide(&self, head: &[u8], now: Instant) -> Result<usize, Denial> {
        let (request, decision) = decide(self.peer, head, &self.thread, now);
        decision.map(|_| request.out.len() - request.trail.len()).map_err(|refusal| refusal.denial)
    }

    /// Decides on a head and counts it as answered with 200 at once: whether it may pass.
    pub fn account(&self, head: &[u8], now: Instant) -> bool {
        let (mut request, decision) = decide(self.peer, head, &self.thread, now);
        request.trail.ended = Some(now);
        finish::record(&self.thread, &mut request, 200, finish::End::Forwarded);
        decision.is_ok()
    }

    /// Reads one head, and hands `work` the decision on it with any secret in the place of its own: whether it may pass.
    ///
    /// # Panics
    /// If the head is no request in order.
    pub fn admitting<'s, T>(
        &self,
        head: &'s [u8],
        now: Instant,
        work: impl FnOnce(&mut dyn FnMut(&'s [u8]) -> bool) -> T,
    ) -> T {
        let local = self.thread.local();
        let (mut slots, mut scratch) = (FieldSlots::new(), Scratch::default());
        let head = RequestHead::parse(head, &mut slots, &local.rules.wire.head).expect("a head in order");
        let mut reading = facts::read(&head, &local, self.peer, &mut scratch).expect("a head in order");
        work(&mut |secret| {
            reading.facts.credential = Presented::One(secret);
            admit::admit(&local, &self.thread.shared, &reading, now).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::{FileKey, RuleSet, Rules, Wire};
    use crate::key::{Extra, Key, State};
    use crate::policy::Plan;
    use crate::route::Route;
    use crate::upstream;

    const NOW: Instant = Instant::from_ns(1 << 50);
    const SECRET: &str = "a-secret-of-another-form";

    fn apply(catalog: &Catalog, plans: Vec<Plan>) {
        let upstream = upstream::Options {
            name: "u".parse().unwrap(),
            targets: vec!["127.0.0.1:1".parse().unwrap()],
            connect_timeout: Duration::from_secs(1),
            response_timeout: None,
            idle_timeout: Duration::from_secs(1),
            keep_alive: 1,
            preserve_host: true,
        };
        let routes = vec![Route::new("all".parse().unwrap(), "/".parse().unwrap(), 0)];
        let set = RuleSet { routes, plans, upstreams: vec![upstream], default_plan: None, wire: Wire::default() };
        let digest = set.wire.hasher.digests(SECRET.as_bytes()).iter().next().copied().unwrap();
        let key = Key {
            id: "key_a".parse().unwrap(),
            name: String::new(),
            owner: None,
            plan: Some("p".parse().unwrap()),
            scopes: Vec::new(),
            networks: Vec::new(),
            not_before: None,
            expires: None,
            state: State::Active,
            extra: Extra::default(),
        };
        let rules = Rules::compile(set, Some(&catalog.rules()), NOW).unwrap();
        catalog.apply(rules, vec![FileKey { key, digests: vec![digest] }]);
    }

    #[test]
    fn a_key_whose_plan_is_gone_is_refused_until_it_is_back() {
        let catalog = Arc::new(Catalog::new());
        let desk = Desk::new(Arc::clone(&catalog), IpAddr::from([127, 0, 0, 1]));
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX-API-Key: {SECRET}\r\n\r\n");
        let plan = || Plan::new("p".parse().unwrap(), Vec::new(), None).unwrap();
        for plans in [vec![plan()], vec![], vec![plan()]] {
            let expected = if plans.is_empty() { Some(Denial::PlanNotAllowed) } else { None };
            apply(&catalog, plans);
            assert_eq!(desk.decide(head.as_bytes(), NOW).err(), expected);
        }
    }
}

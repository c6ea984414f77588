//! The catalog from the outside: what is in force after each configuration, and while one is being brought into force.

mod rotated;
mod sources;
mod unreadable;

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use super::*;
use crate::key::{Digest, Extra, Key, State};
use crate::limit::{self, Limit};
use crate::policy::Plan;
use crate::route::Route;
use crate::time::Instant;
use crate::upstream;

const NOW: Instant = Instant::from_ns(1 << 50);

fn digest(n: u64) -> Digest {
    let mut bytes = [0; 32];
    let words = bytes.as_chunks_mut::<8>().0.iter_mut().zip(1..);
    words.for_each(|(chunk, factor)| *chunk = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * factor).to_le_bytes());
    Digest::from(bytes)
}

fn key(id: &str, plan: Option<&str>) -> Key {
    Key {
        id: id.parse().unwrap(),
        name: String::new(),
        owner: None,
        plan: plan.map(|plan| plan.parse().unwrap()),
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Active,
        extra: Extra::default(),
    }
}

fn file_key(id: &str, plan: Option<&str>, digests: &[u64]) -> FileKey {
    FileKey { key: key(id, plan), digests: digests.iter().copied().map(digest).collect() }
}

fn in_state(id: &str, n: u64, state: State) -> FileKey {
    let mut file_key = file_key(id, None, &[n]);
    file_key.key.state = state;
    file_key
}

fn limit(name: &str, per_s: u64) -> Limit {
    Limit::new(name.parse().unwrap(), 10, Duration::from_secs(per_s), 10).unwrap()
}

fn plan(name: &str, limits: &[&str]) -> Plan {
    let limits = limits.iter().map(|name| limit(name, 3600)).collect();
    Plan { name: name.parse().unwrap(), limits, quotas: Vec::new(), billed: None, concurrency: None }
}

fn upstream(name: &str, target: &str) -> upstream::Options {
    upstream::Options {
        name: name.parse().unwrap(),
        targets: vec![target.parse().unwrap()],
        connect_timeout: Duration::from_secs(1),
        response_timeout: None,
        idle_timeout: Duration::from_secs(1),
        keep_alive: 1,
        preserve_host: true,
    }
}

fn route(name: &str, path: &str) -> Route {
    Route::new(name.parse().unwrap(), path.parse().unwrap(), 0)
}

fn rule_set(plans: &[Plan]) -> RuleSet {
    RuleSet {
        routes: vec![route("all", "/")],
        plans: plans.to_vec(),
        upstreams: vec![upstream("u", "127.0.0.1:1")],
        default_plan: None,
        wire: Wire::default(),
    }
}

fn apply(catalog: &Catalog, plans: &[Plan], keys: &[FileKey]) -> Applied {
    let rules = Rules::compile(rule_set(plans), Some(&catalog.rules()), NOW).unwrap();
    catalog.apply(rules, keys.to_vec())
}

fn find(catalog: &Catalog, n: u64) -> Option<Found> {
    catalog.keys().find_under(&catalog.rules(), &digest(n))
}

/// The id that a digest leads to, `-` for none.
fn id(catalog: &Catalog, n: u64) -> String {
    find(catalog, n).map_or("-".into(), |found| found.record.id.to_string())
}

fn use_up(catalog: &Catalog, n: u64) {
    let found = find(catalog, n).unwrap();
    let rules = catalog.rules();
    let plan = rules.plan(found.record.plan.unwrap()).unwrap();
    limit::take(&plan.limits, found.record.entry().limits(), 10, NOW).unwrap();
}

fn remaining(catalog: &Catalog, n: u64) -> u64 {
    let found = find(catalog, n).unwrap();
    let rules = catalog.rules();
    let plan = rules.plan(found.record.plan.unwrap()).unwrap();
    limit::peek(&plan.limits, found.record.entry().limits(), NOW).remaining
}

fn numbers(applied: Applied) -> [usize; 4] {
    [applied.added, applied.changed, applied.removed, applied.unchanged]
}

#[test]
fn keys_of_the_file_are_found_by_each_of_their_digests() {
    let catalog = Catalog::new();
    let applied = apply(&catalog, &[], &[file_key("b", None, &[1, 2]), file_key("a", None, &[3])]);
    assert_eq!((numbers(applied), applied.generation, catalog.generation()), ([2, 0, 0, 0], 1, 1));
    assert_eq!([1, 2, 3, 4].map(|n| id(&catalog, n)), ["b", "b", "a", "-"]);
    assert!(ptr::eq(find(&catalog, 1).unwrap().record.entry(), find(&catalog, 2).unwrap().record.entry()));
}

#[test]
fn the_same_file_again_changes_nothing_but_the_generation() {
    let catalog = Catalog::new();
    let keys = [file_key("a", Some("p"), &[1]), file_key("b", None, &[2])];
    apply(&catalog, &[plan("p", &["l"])], &keys);
    let before = find(&catalog, 1).unwrap();
    let applied = apply(&catalog, &[plan("p", &["l"])], &keys);
    let after = find(&catalog, 1).unwrap();
    assert_eq!((numbers(applied), applied.generation), ([0, 0, 0, 2], 2));
    assert!(ptr::eq(&*before.record, &*after.record) && ptr::eq(before.record.entry(), after.record.entry()));
    assert!(catalog.rules().former().is_none());
}

#[test]
fn a_changed_key_has_its_new_record_and_its_old_counters() {
    let catalog = Catalog::new();
    let plans = [plan("p", &["l"])];
    apply(&catalog, &plans, &[file_key("a", Some("p"), &[1])]);
    use_up(&catalog, 1);
    let mut changed = file_key("a", Some("p"), &[1]);
    changed.key.owner = Some("acme".parse().unwrap());
    assert_eq!(numbers(apply(&catalog, &plans, &[changed])), [0, 1, 0, 0]);
    assert_eq!(find(&catalog, 1).unwrap().record.owner.as_deref(), Some(&"acme".parse().unwrap()));
    assert_eq!(remaining(&catalog, 1), 0);
}

#[test]
fn a_key_with_a_new_secret_keeps_its_counters_and_loses_the_old_secret() {
    let catalog = Catalog::new();
    let plans = [plan("p", &["l"])];
    apply(&catalog, &plans, &[file_key("a", Some("p"), &[1])]);
    use_up(&catalog, 1);
    for (digests, expected) in [([1, 2].as_slice(), ["a", "a"]), (&[2], ["-", "a"])] {
        assert_eq!(numbers(apply(&catalog, &plans, &[file_key("a", Some("p"), digests)])), [0, 1, 0, 0]);
        assert_eq!([1, 2].map(|n| id(&catalog, n)), expected);
        assert_eq!(remaining(&catalog, 2), 0);
    }
}

#[test]
fn a_digest_can_go_from_one_key_to_another() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[file_key("a", None, &[1]), file_key("b", None, &[2])]);
    apply(&catalog, &[], &[file_key("a", None, &[2]), file_key("b", None, &[1])]);
    assert_eq!([1, 2].map(|n| id(&catalog, n)), ["b", "a"]);
    apply(&catalog, &[], &[file_key("c", None, &[1]), file_key("b", None, &[2])]);
    assert_eq!([1, 2].map(|n| id(&catalog, n)), ["c", "b"]);
}

#[test]
fn removed_keys_are_gone_and_come_back_as_new_ones() {
    let catalog = Catalog::new();
    let plans = [plan("p", &["l"])];
    apply(&catalog, &plans, &[file_key("a", Some("p"), &[1]), file_key("b", None, &[2])]);
    use_up(&catalog, 1);
    assert_eq!(numbers(apply(&catalog, &plans, &[file_key("b", None, &[2])])), [0, 0, 1, 1]);
    assert_eq!((id(&catalog, 1).as_str(), catalog.keys().len()), ("-", 1));
    assert!(catalog.keys().find(&digest(1)).is_none());
    apply(&catalog, &plans, &[file_key("a", Some("p"), &[1])]);
    assert_eq!(remaining(&catalog, 1), 10);
}

#[test]
fn keys_are_counted_by_state() {
    let catalog = Catalog::new();
    let counts = || [State::Active, State::Disabled, State::Revoked].map(|state| catalog.keys().count(state));
    assert!(catalog.keys().is_empty());
    apply(
        &catalog,
        &[],
        &[in_state("a", 1, State::Active), in_state("b", 2, State::Disabled), in_state("c", 3, State::Active)],
    );
    assert_eq!(counts(), [2, 1, 0]);
    apply(&catalog, &[], &[in_state("a", 1, State::Revoked), in_state("b", 2, State::Active)]);
    assert_eq!((counts(), catalog.keys().len()), ([1, 0, 1], 2));
}

#[test]
fn a_key_whose_plan_is_gone_has_none_until_it_is_back() {
    let catalog = Catalog::new();
    let keys = [file_key("a", Some("p"), &[1])];
    let standing = |catalog: &Catalog| {
        let id = find(catalog, 1).unwrap().record.plan.unwrap();
        (id, catalog.rules().plan(id).is_some())
    };
    apply(&catalog, &[plan("q", &[]), plan("p", &["l", "m"])], &keys);
    use_up(&catalog, 1);
    let (id, there) = standing(&catalog);
    assert!(there);
    assert_eq!(numbers(apply(&catalog, &[plan("q", &[])], &keys)), [0, 0, 0, 1]);
    assert_eq!(standing(&catalog), (id, false));
    apply(&catalog, &[plan("p", &["m"]), plan("r", &[])], &keys);
    assert_eq!(standing(&catalog), (id, true));
    assert_eq!(remaining(&catalog, 1), 0, "the limit m has its cell again");
}

#[test]
fn a_key_on_a_plan_that_never_was_is_not_a_key_without_a_plan() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[file_key("a", Some("p"), &[1])]);
    let found = find(&catalog, 1).unwrap();
    let id = found.record.plan.unwrap();
    assert!(catalog.rules().plan(id).is_none());
    assert_eq!(found.record.rights(&catalog.rules(), found.secret).plan, Some(&"p".parse().unwrap()));
    apply(&catalog, &[plan("p", &[])], &[file_key("a", Some("p"), &[1])]);
    assert_eq!((find(&catalog, 1).unwrap().record.plan, catalog.rules().plan(id).is_some()), (Some(id), true));
}

#[test]
fn a_revoked_key_is_revoked_with_the_next_look_up() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[in_state("a", 1, State::Active)]);
    let kept = find(&catalog, 1).unwrap().record;
    apply(&catalog, &[], &[in_state("a", 1, State::Revoked)]);
    assert_eq!(find(&catalog, 1).unwrap().record.state, State::Revoked);
    assert_eq!(kept.entry().state(), State::Revoked, "whoever holds the entry sees it too");
}

fn slots(rules: &Rules, plan: &str) -> Vec<(String, usize)> {
    let plan = rules.plans.iter().flatten().find(|known| known.name.as_str() == plan).unwrap();
    plan.limits.iter().map(|limit| (limit.name().to_string(), limit.slot())).collect()
}

#[test]
fn limits_keep_their_cells_by_name_and_new_ones_get_the_lowest_free() {
    let mut rules = Rules::empty();
    let mut check = |limits: &[&str], expected: &[usize]| {
        rules = Rules::compile(rule_set(&[plan("other", &["x"]), plan("p", limits)]), Some(&rules), NOW).unwrap();
        let expected: Vec<_> = limits.iter().map(|name| name.to_string()).zip(expected.iter().copied()).collect();
        assert_eq!(slots(&rules, "p"), expected);
    };
    check(&["a", "b", "c"], &[0, 1, 2]);
    check(&["c", "a", "b"], &[2, 0, 1]);
    check(&["d", "c"], &[0, 2]);
    check(&["a", "b", "c", "d"], &[1, 3, 2, 0]);
    check(&["e", "f", "g", "h"], &[0, 1, 2, 3]);
}

#[test]
fn a_limit_that_is_changed_gives_no_fresh_allowance() {
    let catalog = Catalog::new();
    let keys = [file_key("a", Some("p"), &[1])];
    apply(&catalog, &[plan("p", &["l"])], &keys);
    use_up(&catalog, 1);
    let slower = Plan { limits: vec![limit("new", 60), limit("l", 7200)], ..plan("p", &[]) };
    apply(&catalog, &[slower], &keys);
    assert_eq!(remaining(&catalog, 1), 0);
}

#[test]
fn unchanged_upstreams_live_on() {
    let first =
        RuleSet { upstreams: vec![upstream("a", "127.0.0.1:1"), upstream("b", "127.0.0.1:2")], ..rule_set(&[]) };
    let second =
        RuleSet { upstreams: vec![upstream("b", "127.0.0.1:2"), upstream("a", "127.0.0.1:3")], ..rule_set(&[]) };
    let first = Rules::compile(first, None, NOW).unwrap();
    let second = Rules::compile(second, Some(&first), NOW).unwrap();
    assert!(Arc::ptr_eq(&first.upstreams[1], &second.upstreams[0]));
    assert!(!Arc::ptr_eq(&first.upstreams[0], &second.upstreams[1]));
    assert_eq!(second.upstreams[1].options(), &upstream("a", "127.0.0.1:3"));
}

fn refused(change: impl FnOnce(&mut RuleSet), expected: &str) {
    let mut set = rule_set(&[]);
    change(&mut set);
    assert_eq!(Rules::compile(set, None, NOW).unwrap_err().to_string(), expected);
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    refused(
        |set| set.routes.push(route("b", "/")),
        "routes all and b have the same host and path, and a method in common",
    );
    refused(|set| set.upstreams.clear(), "route all goes to an upstream that does not exist");
    refused(|set| set.plans = vec![plan("p", &[]), plan("p", &[])], "there are two plans p");
    refused(|set| set.plans = vec![plan("p", &["a", "b", "c", "d", "e"])], "plan p has more than 4 limits");
}

#[test]
fn requests_under_the_old_rules_see_the_old_keys() {
    let catalog = Catalog::new();
    let before = [
        in_state("changed", 1, State::Active),
        file_key("moved", None, &[2]),
        file_key("gone", None, &[3]),
        file_key("kept", None, &[5]),
    ];
    apply(&catalog, &[], &before);
    let old = catalog.rules();
    let after = [
        in_state("changed", 1, State::Disabled),
        file_key("new", None, &[2]),
        file_key("moved", None, &[4]),
        file_key("kept", None, &[5]),
    ];
    apply(&catalog, &[], &after);
    let seen = |rules: &Rules| {
        [1, 2, 3, 4, 5].map(|n| match catalog.keys().find_under(rules, &digest(n)) {
            None => "-".into(),
            Some(found) => format!("{} {:?}", found.record.id, found.record.state),
        })
    };
    assert_eq!(seen(&old), ["changed Active", "moved Active", "gone Active", "-", "kept Active"]);
    assert_eq!(seen(&catalog.rules()), ["changed Disabled", "new Active", "-", "moved Active", "kept Active"]);
}

/// Two configurations take turns; each key of the first is changed, moved or removed in the second.
fn turn(second: bool, count: u64) -> Vec<FileKey> {
    let owner = if second { "second" } else { "first" };
    let keys = (0..count).filter(|n| !second || n % 3 != 0).map(|n| {
        let secret = if second && n % 3 == 1 { n + count } else { n };
        let mut file_key = file_key(&format!("key_{n}"), None, &[secret]);
        file_key.key.owner = Some(owner.parse().unwrap());
        file_key
    });
    keys.collect()
}

#[test]
fn readers_see_every_key_as_the_generation_of_their_rules_has_it() {
    const COUNT: u64 = 100_000;
    let catalog = Catalog::new();
    apply(&catalog, &[], &turn(false, COUNT));
    let running = AtomicBool::new(true);
    let read = |start: u64| {
        let mut seen = [0_u64; 2];
        let mut n = start;
        while running.load(Ordering::Relaxed) {
            n = (n + 7919) % COUNT;
            let generation = catalog.generation();
            let rules = catalog.rules();
            assert!(rules.generation >= generation, "the generation moves last");
            let second = rules.generation.is_multiple_of(2);
            let owner = |n| {
                let found = catalog.keys().find_under(&rules, &digest(n))?;
                found.record.owner.as_ref().map(ToString::to_string)
            };
            let (first_secret, second_secret) = match (second, n % 3) {
                (false, _) => (Some("first"), None),
                (true, 0) => (None, None),
                (true, 1) => (None, Some("second")),
                (true, _) => (Some("second"), None),
            };
            assert_eq!((owner(n).as_deref(), owner(n + COUNT).as_deref()), (first_secret, second_secret), "key {n}");
            seen[usize::from(second)] += 1;
        }
        seen
    };
    let seen = thread::scope(|scope| {
        let readers = [0, COUNT / 2].map(|start| scope.spawn(move || read(start)));
        for nth in 1..=2 {
            apply(&catalog, &[], &turn(nth % 2 == 1, COUNT));
        }
        running.store(false, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(seen.iter().flatten().sum::<u64>() > 0);
}

#[test]
fn whoever_sees_a_generation_gets_its_rules_and_its_keys() {
    let catalog = Catalog::new();
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                let generation = catalog.generation();
                assert!(catalog.rules().generation >= generation);
                let owner = catalog.keys().find(&digest(1)).and_then(|found| found.record.owner.clone());
                assert!(owner.map_or(0, |owner| owner.as_str().parse().unwrap()) >= generation);
            }
        });
        for n in 1..=2_000 {
            let mut numbered = file_key("a", None, &[1]);
            numbered.key.owner = Some(n.to_string().parse().unwrap());
            apply(&catalog, &[], &[numbered]);
        }
        running.store(false, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

/// Files of up to 12 keys, each on one of two plans or on none, with digests that wander between them.
fn files() -> impl Strategy<Value = Vec<BTreeMap<u8, (u8, u8)>>> {
    let file = proptest::collection::btree_map(0..12_u8, (0..16_u8, any::<u8>()), 0..12);
    proptest::collection::vec(file, 1..6)
}

proptest! {
    #[test]
    fn after_any_files_the_index_is_what_the_last_one_says(files in files()) {
        let catalog = Catalog::new();
        for file in files {
            let mut expected = BTreeMap::new();
            let mut keys = Vec::new();
            for (n, (digest, kind)) in file {
                if expected.contains_key(&digest) {
                    continue;
                }
                let plan = ["p", "q"].get(usize::from(kind % 3)).copied();
                keys.push(file_key(&format!("k{n}"), plan, &[digest.into()]));
                expected.insert(digest, (format!("k{n}"), plan.map(str::to_owned)));
            }
            keys.reverse();
            apply(&catalog, &[plan("p", &[])], &keys);
            prop_assert_eq!(catalog.keys().len(), expected.len());
            for digest in 0..16 {
                let found = find(&catalog, digest.into());
                let rules = catalog.rules();
                if let Some(found) = &found {
                    let in_force = found.record.plan.map(|id| rules.plan(id).map(|plan| plan.name.to_string()));
                    let expected = found.record.rights(&rules, found.secret).plan.map(|name| (name.as_str() == "p").then(|| "p".to_owned()));
                    prop_assert_eq!(in_force, expected);
                }
                let found = found.map(|f| (f.record.id.to_string(), f.record.rights(&rules, f.secret).plan.map(ToString::to_string)));
                prop_assert_eq!(found.as_ref(), expected.get(&digest));
            }
        }
    }
}

//! Keys created, changed, rotated, used and revoked in any order, with restarts between: the store agrees with a model.
//!
//! The model knows only what a reader of the documentation knows. A follower that asks for changes now and then must end
//! up with the same keys.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use proptest::{collection, sample};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        id: u8,
        digests: Vec<u8>,
        state: State,
        expect: Expectation,
    },
    Revoke {
        id: u8,
    },
    /// Keys with one secret each, all or none.
    Batch(Vec<(u8, u8)>),
    Use {
        digest: u8,
        s: i64,
    },
    Follow,
    Restart,
}

/// What a put expects, relative to how the key stands.
#[derive(Clone, Copy, Debug)]
enum Expectation {
    Nothing,
    Absent,
    AsItIs,
    Stale,
}

#[derive(Clone, Debug, PartialEq)]
struct ModelKey {
    revision: u64,
    state: State,
    /// With the second of the last use.
    digests: Vec<(u8, Option<i64>)>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    revision: u64,
    keys: BTreeMap<u8, ModelKey>,
}

impl Model {
    /// Whether a put is made; and if so, what the key is then.
    fn put(&mut self, id: u8, digests: &[u8], state: State, expect: Expect) -> bool {
        let before = self.keys.get(&id);
        let fits = match expect {
            Expect::Anything => true,
            Expect::Absent => before.is_none(),
            Expect::Revision(revision) => before.is_some_and(|key| key.revision == revision.0),
        };
        let revoked = before.is_some_and(|key| key.state == State::Revoked);
        let held = |digest: &u8| {
            let mut others = self.keys.iter().filter(|(other, _)| **other != id);
            others.any(|(_, key)| key.digests.iter().any(|(known, _)| known == digest))
        };
        let twice = digests.iter().collect::<BTreeSet<_>>().len() < digests.len();
        if !fits || revoked || twice || digests.iter().any(held) {
            return false;
        }
        let former = before.map(|key| key.digests.clone()).unwrap_or_default();
        let used = |digest: u8| former.iter().find(|(known, _)| *known == digest).and_then(|(_, used)| *used);
        let mut digests: Vec<_> = digests.iter().map(|digest| (*digest, used(*digest))).collect();
        if state == State::Revoked {
            let lost = former.into_iter().filter(|(known, _)| !digests.iter().any(|(digest, _)| digest == known));
            digests.extend(lost.collect::<Vec<_>>());
        }
        self.revision += 1;
        self.keys.insert(id, ModelKey { revision: self.revision, state, digests });
        true
    }

    fn revoke(&mut self, id: u8) -> bool {
        match self.keys.get_mut(&id).filter(|key| key.state != State::Revoked) {
            None => false,
            Some(key) => {
                self.revision += 1;
                (key.revision, key.state) = (self.revision, State::Revoked);
                true
            }
        }
    }

    fn note_use(&mut self, digest: u8, s: i64) {
        let digests = self.keys.values_mut().flat_map(|key| &mut key.digests);
        digests.filter(|(known, _)| *known == digest).for_each(|(_, used)| *used = (*used).max(Some(s)));
    }

    fn expect(&self, id: u8, expectation: Expectation) -> Expect {
        let revision = self.keys.get(&id).map_or(0, |key| key.revision);
        match expectation {
            Expectation::Nothing => Expect::Anything,
            Expectation::Absent => Expect::Absent,
            Expectation::AsItIs => Expect::Revision(Revision(revision)),
            Expectation::Stale => Expect::Revision(Revision(revision + 1)),
        }
    }
}

/// What a store holds, in the model's words.
fn modelled(records: Vec<(Revision, Record)>) -> BTreeMap<u8, ModelKey> {
    let keys = records.into_iter().map(|(revision, record)| {
        let Record::Key(StoredKey { key, secrets, .. }) = record else { panic!("no tokens were put") };
        let used = |secret: &StoredSecret| secret.last_used.map(|used| used.as_unix_s() - NOW.as_unix_s());
        let digests = secrets.iter().map(|secret| (secret.digest.digest.as_bytes()[0], used(secret))).collect();
        let id = key.id.as_str().strip_prefix("key_").unwrap().parse().unwrap();
        (id, ModelKey { revision: revision.0, state: key.state, digests })
    });
    keys.collect()
}

fn without_use(mut keys: BTreeMap<u8, ModelKey>) -> BTreeMap<u8, ModelKey> {
    keys.values_mut().flat_map(|key| &mut key.digests).for_each(|(_, used)| *used = None);
    keys
}

/// Follows a store by its changes alone. When a secret was last used is no change, so it does not get to know it.
#[derive(Default)]
struct Follower {
    reached: Revision,
    keys: BTreeMap<u8, ModelKey>,
}

impl Follower {
    fn follow(&mut self, store: &dyn Store) {
        let mut changed = Vec::new();
        let newest =
            store.changes_since(self.reached, &mut |revision, record| changed.push((revision, record.unwrap())));
        self.reached = newest.unwrap().unwrap();
        self.keys.extend(without_use(modelled(changed)));
        assert_eq!(self.keys, without_use(modelled(loaded(store))));
    }
}

/// Both stores are taken through the same steps.
struct Run {
    folder: tempfile::TempDir,
    memory: MemoryStore,
    file: Option<SqliteStore>,
    model: Model,
    follower: Follower,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(open(folder.path()));
        Self { folder, memory: MemoryStore::new(), file, model: Model::default(), follower: Follower::default() }
    }

    fn stores(&self) -> [&dyn Store; 2] {
        [&self.memory, self.file.as_ref().unwrap()]
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put { id, digests, state, expect } => {
                let expect = self.model.expect(id, expect);
                let commit = Commit { expect, ..put(in_state(key_with(id, &digests), state)) };
                let made = self.model.put(id, &digests, state, expect);
                self.commit(&[commit], made);
            }
            Step::Revoke { id } => {
                let made = self.model.revoke(id);
                self.commit(&[revoke(id)], made);
            }
            Step::Batch(keys) => {
                let mut model = self.model.clone();
                let made = keys.iter().all(|(id, digest)| model.put(*id, &[*digest], State::Active, Expect::Anything));
                let commits: Vec<_> = keys.iter().map(|(id, digest)| put(key_with(*id, &[*digest]))).collect();
                if made {
                    self.model = model;
                }
                self.commit(&commits, made);
            }
            Step::Use { digest: n, s } => {
                self.model.note_use(n, s);
                self.stores().iter().for_each(|store| store.note_used(&[(digest(n), at(s))]).unwrap());
            }
            Step::Follow => self.follower.follow(self.file.as_ref().unwrap()),
            Step::Restart => {
                self.file = None;
                self.file = Some(open(self.folder.path()));
            }
        }
    }

    fn commit(&self, commits: &[Commit], made: bool) {
        for store in self.stores() {
            let outcome = store.commit_all(commits.to_vec());
            match outcome {
                Ok(revisions) => assert!(made && revisions.last().is_none_or(|last| last.0 == self.model.revision)),
                Err(CommitError::Refused { .. }) => assert!(!made, "{commits:?}"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn check(&mut self) {
        for store in self.stores() {
            assert_eq!(store.revision().0, self.model.revision);
            assert_eq!(modelled(loaded(store)), self.model.keys);
            assert_eq!(store.verify_audit().unwrap(), Verdict::Sound { rows: self.model.revision });
        }
        self.step(Step::Follow);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = sample::select(vec![
        Expectation::Nothing,
        Expectation::Nothing,
        Expectation::Absent,
        Expectation::AsItIs,
        Expectation::Stale,
    ]);
    let state = sample::select(vec![State::Active, State::Active, State::Disabled, State::Revoked]);
    let put = (0..5_u8, collection::vec(0..9_u8, 1..=2), state, expect)
        .prop_map(|(id, digests, state, expect)| Step::Put { id, digests, state, expect });
    let batch = collection::vec((0..5_u8, 0..9_u8), 0..4).prop_map(Step::Batch);
    let step = prop_oneof![
        8 => put,
        2 => (0..5_u8).prop_map(|id| Step::Revoke { id }),
        2 => batch,
        2 => (0..9_u8, 0..50_i64).prop_map(|(digest, s)| Step::Use { digest, s }),
        2 => Just(Step::Follow),
        1 => Just(Step::Restart),
    ];
    collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_agrees_with_the_model(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.check();
        run.step(Step::Restart);
        run.check();
    }
}

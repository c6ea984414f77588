//! The store in memory, for tests: the same rules, nothing durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use super::Store;
use super::audit::{AuditRow, Chain, Entry, Verdict, Walk};
use super::change::{Answer, Commit, Event, Idempotency, Replay};
use super::decide::{Decided, View, answer_expires, decide};
use super::error::{CommitError, StoreError};
use super::record::{Damaged, Filter, Record, Recoverable, Revision, StoredKey, StoredSecret, Token};
use crate::key::{Digest, KeyId, State, TokenId};
use crate::time::Timestamp;

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    revision: Revision,
    keys: BTreeMap<KeyId, (Revision, StoredKey)>,
    holders: HashMap<Digest, KeyId>,
    recoverable: HashMap<Digest, Recoverable>,
    tokens: BTreeMap<TokenId, (Revision, Token)>,
    answers: HashMap<(String, String), Kept>,
    chain: Chain,
    audit: Vec<AuditRow>,
}

#[derive(Clone, Debug)]
struct Kept {
    answer: Answer,
    revision: Revision,
    expires: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no call ends half way")
    }

    /// The newest revision, and copies of what changed after one: their receiver may call the store.
    fn since(&self, revision: Revision) -> (Revision, Vec<(Revision, Record)>) {
        let content = self.content();
        (content.revision, content.records_since(revision))
    }
}

impl Store for MemoryStore {
    fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        let mut content = self.content();
        // A single one is refused before it writes anything.
        let before = (commits.len() > 1).then(|| content.clone());
        let outcome = content.commit_all(commits);
        if let (Err(_), Some(before)) = (&outcome, before) {
            *content = before;
        }
        outcome
    }

    fn record_event(&self, event: Event) -> Result<(), StoreError> {
        self.content().append(&Entry::of_event(&event));
        Ok(())
    }

    fn note_used(&self, used: &[(Digest, Timestamp)]) -> Result<(), StoreError> {
        let mut content = self.content();
        let Content { keys, holders, .. } = &mut *content;
        for (digest, at) in used {
            let Some((_, key)) = holders.get(digest).and_then(|id| keys.get_mut(id)) else { continue };
            let mut secrets = key.secrets.iter_mut();
            if let Some(secret) = secrets.find(|secret| secret.digest.digest == *digest) {
                secret.last_used = secret.last_used.max(Some(*at));
            }
        }
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.content().revision
    }

    fn load(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<Revision, StoreError> {
        let (newest, records) = self.since(Revision::default());
        records.into_iter().for_each(|(revision, record)| each(revision, Ok(record)));
        Ok(newest)
    }

    fn changes_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<Option<Revision>, StoreError> {
        let (newest, mut records) = self.since(revision);
        if revision > newest {
            return Ok(None);
        }
        records.sort_by_key(|(changed, _)| *changed);
        records.into_iter().for_each(|(changed, record)| each(changed, Ok(record)));
        Ok(Some(newest))
    }

    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        self.content().key(id)
    }

    fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError> {
        let content = self.content();
        let later = content.keys.values().filter(|(_, key)| after.is_none_or(|after| key.key.id > *after));
        Ok(later.filter(|(_, key)| passes(filter, key)).take(limit).cloned().collect())
    }

    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        self.content().token(id)
    }

    fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError> {
        let content = self.content();
        let later = content.tokens.values().filter(|(_, token)| after.is_none_or(|after| token.id > *after));
        Ok(later.take(limit).cloned().collect())
    }

    fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError> {
        Ok(self.content().recoverable.get(digest).cloned())
    }

    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        self.content().replay(who, key, now)
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let content = self.content();
        Ok(content.audit.iter().filter(|row| row.number > after).take(limit).cloned().collect())
    }

    fn audit_end(&self) -> Result<Chain, StoreError> {
        Ok(self.content().chain)
    }

    fn verify_audit(&self) -> Result<Verdict, StoreError> {
        let content = self.content();
        let mut walk = Walk::to(content.chain);
        content.audit.iter().for_each(|row| walk.step(row));
        Ok(walk.verdict())
    }
}

impl View for Content {
    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        Ok(self.keys.get(id).cloned())
    }

    fn holder(&self, digest: &Digest) -> Result<Option<(KeyId, State)>, StoreError> {
        Ok(self.holders.get(digest).map(|id| (id.clone(), self.keys[id].1.key.state)))
    }

    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        Ok(self.tokens.get(id).cloned())
    }

    fn token_holder(&self, digest: &Digest) -> Result<Option<TokenId>, StoreError> {
        Ok(self.tokens.values().find(|(_, token)| token.digest == *digest).map(|(_, token)| token.id.clone()))
    }

    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        let kept = self.answers.get(&(who.to_owned(), key.to_owned())).filter(|kept| kept.expires > now);
        Ok(kept.map(|kept| Replay { answer: kept.answer.clone(), revision: kept.revision }))
    }
}

impl Content {
    fn commit_all(&mut self, commits: Vec<Commit>) -> Result<Vec<Revision>, CommitError> {
        let mut revisions = Vec::with_capacity(commits.len());
        for (place, commit) in commits.into_iter().enumerate() {
            let decided = decide(self, &commit)?.map_err(|refusal| CommitError::Refused { place, refusal })?;
            self.write(commit, decided);
            revisions.push(self.revision);
        }
        Ok(revisions)
    }

    fn write(&mut self, commit: Commit, decided: Decided) {
        self.revision = self.revision.next();
        let revision = self.revision;
        self.append(&Entry::of_commit(&commit, revision, &decided));
        match decided.after {
            Record::Key(key) => self.put_key(revision, key),
            Record::Token(token) => {
                self.tokens.insert(token.id.clone(), (revision, token));
            }
        }
        if let Some(Idempotency { who, key, answer }) = commit.idempotency {
            let now = commit.origin.at;
            self.answers.retain(|_, kept| kept.expires > now);
            self.answers.insert((who, key), Kept { answer, revision, expires: answer_expires(now) });
        }
    }

    fn put_key(&mut self, revision: Revision, mut key: StoredKey) {
        let id = key.key.id.clone();
        let digests = |key: &StoredKey| key.secrets.iter().map(|secret| secret.digest.digest).collect::<Vec<_>>();
        let new = digests(&key);
        let hidden = |secret: &mut StoredSecret| Some((secret.digest.digest, secret.recoverable.take()?));
        self.recoverable.extend(key.secrets.iter_mut().filter_map(hidden));
        let is_shown = |secret: &&StoredSecret| key.key.state != State::Revoked && secret.is_live(key.changed);
        let shown: Vec<Digest> = key.secrets.iter().filter(is_shown).map(|secret| secret.digest.digest).collect();
        let former = self.keys.insert(id.clone(), (revision, key)).map(|(_, former)| digests(&former));
        let former = former.unwrap_or_default();
        former.iter().for_each(|digest| drop(self.holders.remove(digest)));
        for gone in former.iter().chain(&new).filter(|digest| !shown.contains(digest)) {
            self.recoverable.remove(gone);
        }
        self.holders.extend(new.into_iter().map(|digest| (digest, id.clone())));
    }

    fn append(&mut self, entry: &Entry<'_>) {
        let row = self.chain.append(entry);
        self.audit.push(row);
    }

    fn records_since(&self, revision: Revision) -> Vec<(Revision, Record)> {
        let keys = self.keys.values().map(|(changed, key)| (*changed, Record::Key(key.clone())));
        let tokens = self.tokens.values().map(|(changed, token)| (*changed, Record::Token(token.clone())));
        keys.chain(tokens).filter(|(changed, _)| *changed > revision).collect()
    }
}

fn passes(filter: &Filter, StoredKey { key, .. }: &StoredKey) -> bool {
    let contains = |text: &str| {
        let text = text.to_ascii_lowercase();
        key.id.as_str().to_ascii_lowercase().contains(&text) || key.name.to_ascii_lowercase().contains(&text)
    };
    filter.owner.as_ref().is_none_or(|owner| key.owner.as_ref() == Some(owner))
        && filter.plan.as_ref().is_none_or(|plan| key.plan.as_ref() == Some(plan))
        && filter.state.is_none_or(|state| key.state == state)
        && filter.text.as_deref().is_none_or(contains)
}

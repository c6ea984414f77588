//! Reading: single records, pages, and all there is, in one pass over the rows.
//!
//! The writer's decisions read here too, inside its transaction; everybody else gives a connection that only reads.

use rusqlite::{Connection, Params, Row, Rows, ToSql, params};

use super::row::{
    self, ANSWER_COLUMNS, AUDIT_COLUMNS, HEAD_COLUMNS, KEY_COLUMNS, MaybeSecret, RECOVERABLE_COLUMNS, SECRET_COLUMNS,
    Secrets, TOKEN_COLUMNS, corrupt,
};
use crate::key::{Digest, KeyId, State, TokenId};
use crate::store::StoreError;
use crate::store::audit::{AuditRow, Chain, Verdict, Walk};
use crate::store::change::Replay;
use crate::store::decide::View;
use crate::store::record::{Damaged, Filter, Record, Recoverable, Revision, StoredKey, Token, state_word};
use crate::time::Timestamp;

/// The tables, as one connection sees them.
#[derive(Clone, Copy)]
pub(super) struct Tables<'c>(pub(super) &'c Connection);

impl View for Tables<'_> {
    fn key(&self, id: &KeyId) -> Result<Option<(Revision, StoredKey)>, StoreError> {
        self.one(&format!("SELECT {KEY_COLUMNS} FROM keys WHERE id = ?"), [id.as_str()], |row| self.key_of(row))
    }

    fn holder(&self, digest: &Digest) -> Result<Option<(KeyId, State)>, StoreError> {
        let sql = "SELECT keys.number, id, state FROM secrets JOIN keys ON keys.number = secrets.key WHERE digest = ?";
        self.one(sql, [digest.as_bytes()], row::holder)
    }

    fn token(&self, id: &TokenId) -> Result<Option<(Revision, Token)>, StoreError> {
        self.one(&format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?"), [id.as_str()], token_of)
    }

    fn token_holder(&self, digest: &Digest) -> Result<Option<TokenId>, StoreError> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE digest = ?");
        Ok(self.one(&sql, [digest.as_bytes()], token_of)?.map(|(_, token)| token.id))
    }

    fn replay(&self, who: &str, key: &str, now: Timestamp) -> Result<Option<Replay>, StoreError> {
        let sql = format!("SELECT {ANSWER_COLUMNS} FROM answers WHERE token = ? AND key = ? AND expires > ?");
        self.one(&sql, params![who, key, now.as_unix_ms()], row::replay)
    }
}

impl Tables<'_> {
    /// The newest revision, and the end of the audit log.
    pub(super) fn head(&self) -> Result<(Revision, Chain), StoreError> {
        let head = self.one(&format!("SELECT {HEAD_COLUMNS} FROM head"), [], row::head)?;
        head.ok_or_else(|| corrupt("head", 1, "the row is gone"))
    }

    /// The number of the newest key.
    pub(super) fn highest_number(&self) -> Result<usize, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) FROM keys";
        let number: i64 = self.0.query_row(sql, [], |row| row.get(0))?;
        Ok(usize::try_from(number).unwrap_or(0))
    }

    /// All keys and tokens: two walks side by side in the order of numbers, because a look-up per key would double the time.
    pub(super) fn each(&self, each: &mut dyn FnMut(Revision, Result<Record, Damaged>)) -> Result<(), StoreError> {
        let mut keys = self.0.prepare(&format!("SELECT {KEY_COLUMNS} FROM keys ORDER BY number"))?;
        let mut secrets = self.0.prepare(&format!("SELECT {SECRET_COLUMNS} FROM secrets ORDER BY key, place"))?;
        let (mut keys, mut secrets) = (keys.query([])?, SecretsInOrder::new(secrets.query([])?)?);
        while let Some(row) = keys.next()? {
            let (revision, key, error) = row::key_or_remains(row, secrets.of(row.get(0)?)?)?;
            each(revision, whole(Record::Key(key), error));
        }
        secrets.end()?;
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens");
        let tokens = self.list(&sql, [], row::token_or_remains)?;
        tokens.into_iter().for_each(|(revision, token, error)| each(revision, whole(Record::Token(token), error)));
        Ok(())
    }

    /// The keys and tokens that changed after a revision, in the order of their last changes.
    pub(super) fn each_since(
        &self,
        revision: Revision,
        each: &mut dyn FnMut(Revision, Result<Record, Damaged>),
    ) -> Result<(), StoreError> {
        let revision = [revision.0.cast_signed()];
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE revision > ? ORDER BY revision");
        let mut tokens = self.list(&sql, revision, row::token_or_remains)?.into_iter().peekable();
        let sql = format!("SELECT {KEY_COLUMNS} FROM keys WHERE revision > ? ORDER BY revision");
        self.walk(&sql, revision, |row| {
            let (changed, key, error) = row::key_or_remains(row, self.secrets_of(row)?)?;
            while let Some((earlier, token, error)) = tokens.next_if(|(at, ..)| *at < changed) {
                each(earlier, whole(Record::Token(token), error));
            }
            each(changed, whole(Record::Key(key), error));
            Ok(())
        })?;
        tokens.for_each(|(changed, token, error)| each(changed, whole(Record::Token(token), error)));
        Ok(())
    }

    pub(super) fn keys(
        &self,
        filter: &Filter,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<(Revision, StoredKey)>, StoreError> {
        let (conditions, values) = conditions(filter);
        let sql = format!("SELECT {KEY_COLUMNS} FROM keys WHERE id > ? {conditions} ORDER BY id LIMIT ?");
        let (after, limit) = (after.map_or("", KeyId::as_str), sql_limit(limit));
        let mut params: Vec<&dyn ToSql> = vec![&after];
        params.extend(values.iter().map(|value| value as &dyn ToSql));
        params.push(&limit);
        self.list(&sql, params.as_slice(), |row| self.key_of(row))
    }

    pub(super) fn tokens(&self, after: Option<&TokenId>, limit: usize) -> Result<Vec<(Revision, Token)>, StoreError> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM tokens WHERE id > ? ORDER BY id LIMIT ?");
        self.list(&sql, params![after.map_or("", TokenId::as_str), sql_limit(limit)], token_of)
    }

    /// What is kept of a secret so that it can be shown again.
    pub(super) fn recoverable(&self, digest: &Digest) -> Result<Option<Recoverable>, StoreError> {
        let sql = format!("SELECT {RECOVERABLE_COLUMNS} FROM recoverable WHERE digest = ?");
        self.one(&sql, [digest.as_bytes()], row::recoverable)
    }

    /// How many keys are in each state.
    pub(super) fn key_counts(&self) -> Result<[(State, u64); 3], StoreError> {
        let mut counts = [(State::Active, 0), (State::Disabled, 0), (State::Revoked, 0)];
        for (state, count) in &mut counts {
            let sql = "SELECT count(*) FROM keys WHERE state = ?";
            *count = self.0.query_row(sql, [state_word(*state)], |row| row.get::<_, i64>(0))?.cast_unsigned();
        }
        Ok(counts)
    }

    pub(super) fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        // Beyond the largest number that SQLite knows there is nothing.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE number > ? ORDER BY number LIMIT ?");
        self.list(&sql, [after, sql_limit(limit)], row::audit)
    }

    pub(super) fn verify_audit(&self) -> Result<Verdict, StoreError> {
        let (_, end) = self.head()?;
        let mut walk = Walk::to(end);
        self.walk(&format!("SELECT {AUDIT_COLUMNS} FROM audit ORDER BY number"), [], |row| {
            walk.step(&row::audit(row)?);
            Ok(())
        })?;
        Ok(walk.verdict())
    }

    /// A row of `keys`, with its secrets looked up; of one that is damaged what is in force of it, so that nothing changes it.
    fn key_of(&self, row: &Row<'_>) -> Result<(Revision, StoredKey), StoreError> {
        let (revision, key, _) = row::key_or_remains(row, self.secrets_of(row)?)?;
        Ok((revision, key))
    }

    /// The secrets of a row of `keys`.
    fn secrets_of(&self, row: &Row<'_>) -> Result<Secrets, StoreError> {
        let number: i64 = row.get(0)?;
        let sql = format!("SELECT {SECRET_COLUMNS} FROM secrets WHERE key = ? ORDER BY place");
        let mut secrets = Secrets::default();
        self.walk(&sql, [number], |row| {
            secrets.add(row::secret_or_remains(row)?.1);
            Ok(())
        })?;
        Ok(secrets)
    }

    /// The first row, if there is one.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// All rows.
    fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.walk(sql, params, |row| {
            all.push(read(row)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// One row after the other.
    fn walk(
        &self,
        sql: &str,
        params: impl Params,
        mut step: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            step(row)?;
        }
        Ok(())
    }
}

/// A row of `tokens`; likewise.
fn token_of(row: &Row<'_>) -> Result<(Revision, Token), StoreError> {
    let (revision, token, _) = row::token_or_remains(row)?;
    Ok((revision, token))
}

fn whole(record: Record, error: Option<StoreError>) -> Result<Record, Damaged> {
    match error {
        None => Ok(record),
        Some(error) => Err(Damaged { remains: Box::new(record), error }),
    }
}

/// The rows of `secrets` in the order of their keys, taken key by key.
struct SecretsInOrder<'s> {
    rows: Rows<'s>,
    next: Option<(i64, MaybeSecret)>,
}

impl<'s> SecretsInOrder<'s> {
    fn new(rows: Rows<'s>) -> Result<Self, StoreError> {
        let mut secrets = Self { rows, next: None };
        secrets.step()?;
        Ok(secrets)
    }

    /// The secrets of the next key.
    fn of(&mut self, number: i64) -> Result<Secrets, StoreError> {
        let mut secrets = Secrets::default();
        while let Some((_, secret)) = self.next.take_if(|(key, _)| *key == number) {
            secrets.add(secret);
            self.step()?;
        }
        self.check_none_before(number)?;
        Ok(secrets)
    }

    fn end(&self) -> Result<(), StoreError> {
        self.check_none_before(i64::MAX)
    }

    fn check_none_before(&self, number: i64) -> Result<(), StoreError> {
        match &self.next {
            Some((key, _)) if *key < number => Err(corrupt("secrets", key, "there is no such key")),
            _ => Ok(()),
        }
    }

    fn step(&mut self) -> Result<(), StoreError> {
        self.next = self.rows.next()?.map(row::secret_or_remains).transpose()?;
        Ok(())
    }
}

/// What a filter asks for, as SQL and its values.
fn conditions(filter: &Filter) -> (String, Vec<String>) {
    let text = filter.text.as_ref().map(|text| text.to_ascii_lowercase());
    let asked = [
        ("AND owner = ?", filter.owner.as_ref().map(ToString::to_string)),
        ("AND plan = ?", filter.plan.as_ref().map(ToString::to_string)),
        ("AND state = ?", filter.state.map(|state| state_word(state).to_owned())),
        // Without the separator, which is in no id, a text could match across both.
        ("AND instr(lower(id || char(10) || name), ?)", text),
    ];
    let asked: Vec<_> = asked.into_iter().filter_map(|(sql, value)| Some((sql, value?))).collect();
    (asked.iter().map(|(sql, _)| *sql).collect::<Vec<_>>().join(" "), asked.into_iter().map(|(_, v)| v).collect())
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

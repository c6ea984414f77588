//! Writing inside one transaction: the change, its audit row, the answer to remember, and the new head.
//!
//! Called on the writer's thread alone. Statements are prepared once and kept by the connection.

use rusqlite::{Connection, params};

use super::read::Tables;
use crate::key::{Digest, State};
use crate::store::StoreError;
use crate::store::audit::{AuditRow, Chain, Entry};
use crate::store::change::{Commit, Event, Idempotency};
use crate::store::decide::{answer_expires, decide};
use crate::store::error::Refusal;
use crate::store::record::{Record, Revision, StoredKey, StoredSecret, Token, state_word};
use crate::time::Timestamp;

/// The newest revision and the end of the audit log, as they are once the transaction is committed.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) chain: Chain,
}

impl Head {
    /// As it was written last.
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let (revision, chain) = Tables(connection).head()?;
        Ok(Self { revision, chain })
    }

    /// Writes it, at the end of a transaction.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let sql = "UPDATE head SET revision = ?, audit_rows = ?, audit_hash = ?";
        let Self { revision, chain } = self;
        let params = params![revision.0.cast_signed(), chain.rows.cast_signed(), chain.hash];
        connection.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }

    /// Makes one change, if nothing is against it.
    pub(super) fn commit(
        &mut self,
        connection: &Connection,
        commit: &Commit,
    ) -> Result<Result<Revision, Refusal>, StoreError> {
        let decided = match decide(&Tables(connection), commit)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.revision = self.revision.next();
        match &decided.after {
            Record::Key(key) if decided.before.is_some() => put_key(connection, UPDATE_KEY, self.revision, key)?,
            Record::Key(key) => put_key(connection, INSERT_KEY, self.revision, key)?,
            Record::Token(token) => put_token(connection, self.revision, token)?,
        }
        if let Some(idempotency) = &commit.idempotency {
            put_answer(connection, self.revision, idempotency, commit.origin.at)?;
        }
        put_audit(connection, &self.chain.append(&Entry::of_commit(commit, self.revision, &decided)))?;
        Ok(Ok(self.revision))
    }

    /// Adds an audit row for something that changes nothing.
    pub(super) fn record_event(&mut self, connection: &Connection, event: &Event) -> Result<(), StoreError> {
        put_audit(connection, &self.chain.append(&Entry::of_event(event)))
    }
}

/// Notes when secrets were used, where that is later than what is known.
pub(super) fn note_used(connection: &Connection, used: &[(Digest, Timestamp)]) -> Result<(), StoreError> {
    let sql = "UPDATE secrets SET last_used = ?2 WHERE digest = ?1 AND (last_used IS NULL OR last_used < ?2)";
    let mut update = connection.prepare_cached(sql)?;
    for (digest, at) in used {
        update.execute(params![digest.as_bytes(), at.as_unix_ms()])?;
    }
    Ok(())
}

fn put_key(connection: &Connection, sql: &str, revision: Revision, stored: &StoredKey) -> Result<(), StoreError> {
    let StoredKey { key, secrets, created, changed } = stored;
    let params = params![
        revision.0.cast_signed(),
        key.id.as_str(),
        key.name,
        key.owner.as_ref().map(|owner| owner.as_str()),
        key.plan.as_ref().map(|plan| plan.as_str()),
        spaced(&key.scopes),
        spaced(&key.networks),
        instant(key.not_before),
        instant(key.expires),
        state_word(key.state),
        created.as_unix_ms(),
        changed.as_unix_ms(),
        key.extra.day.cast_signed(),
        key.extra.month.cast_signed(),
    ];
    connection.prepare_cached(sql)?.execute(params)?;
    let sql = "SELECT number FROM keys WHERE id = ?";
    let number = connection.prepare_cached(sql)?.query_row([key.id.as_str()], |row| row.get(0))?;
    put_secrets(connection, number, secrets)?;
    put_recoverable(connection, number, stored)
}

/// Keeps what was handed in, and forgets what nobody may be shown any more.
fn put_recoverable(connection: &Connection, key: i64, stored: &StoredKey) -> Result<(), StoreError> {
    let sql = "DELETE FROM recoverable WHERE key = ?1 AND (?2 OR digest NOT IN
        (SELECT digest FROM secrets WHERE key = ?1 AND (until IS NULL OR until > ?3)))";
    let is_revoked = stored.key.state == State::Revoked;
    connection.prepare_cached(sql)?.execute(params![key, is_revoked, stored.changed.as_unix_ms()])?;
    let sql = "INSERT OR REPLACE INTO recoverable (digest, key, hidden) VALUES (?, ?, ?)";
    for secret in &stored.secrets {
        if let Some(hidden) = &secret.recoverable {
            let params = params![secret.digest.digest.as_bytes(), key, hidden.as_bytes()];
            connection.prepare_cached(sql)?.execute(params)?;
        }
    }
    Ok(())
}

/// Secrets change their places in a rotation, so all of them are written anew.
fn put_secrets(connection: &Connection, key: i64, secrets: &[StoredSecret]) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM secrets WHERE key = ?")?.execute([key])?;
    let sql = "
        INSERT INTO secrets (key, place, digest, pepper, hint, since, until, last_used)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = connection.prepare_cached(sql)?;
    for (place, secret) in (0_i64..).zip(secrets) {
        insert.execute(params![
            key,
            place,
            secret.digest.digest.as_bytes(),
            secret.digest.pepper.as_ref().map(|pepper| pepper.as_str()),
            secret.hint,
            secret.since.as_unix_ms(),
            instant(secret.until),
            instant(secret.last_used),
        ])?;
    }
    Ok(())
}

fn put_token(connection: &Connection, revision: Revision, token: &Token) -> Result<(), StoreError> {
    let sql = "
        INSERT INTO tokens (revision, id, digest, name, role, created, expires, revoked)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET
            revision = excluded.revision, digest = excluded.digest, name = excluded.name, role = excluded.role,
            created = excluded.created, expires = excluded.expires, revoked = excluded.revoked";
    connection.prepare_cached(sql)?.execute(params![
        revision.0.cast_signed(),
        token.id.as_str(),
        token.digest.as_bytes(),
        token.name,
        token.role.to_string(),
        token.created.as_unix_ms(),
        instant(token.expires),
        instant(token.revoked),
    ])?;
    Ok(())
}

/// Each new answer takes two that have expired with it, so that they never become many.
fn put_answer(
    connection: &Connection,
    revision: Revision,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM answers WHERE (token, key) IN
        (SELECT token, key FROM answers WHERE expires <= ? ORDER BY expires LIMIT 2)";
    connection.prepare_cached(sql)?.execute([now.as_unix_ms()])?;
    let sql = "
        INSERT OR REPLACE INTO answers (token, key, request, status, body, revision, expires)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let Idempotency { who, key, answer } = idempotency;
    connection.prepare_cached(sql)?.execute(params![
        who,
        key,
        answer.request,
        answer.status,
        answer.body,
        revision.0.cast_signed(),
        answer_expires(now).as_unix_ms(),
    ])?;
    Ok(())
}

fn put_audit(connection: &Connection, row: &AuditRow) -> Result<(), StoreError> {
    let sql = "
        INSERT INTO audit (number, revision, at, actor, remote, action, target, before, after, request_id, hash)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(sql)?.execute(params![
        row.number.cast_signed(),
        row.revision.map(|revision| revision.0.cast_signed()),
        row.at.as_unix_ms(),
        row.actor,
        row.remote,
        row.action,
        row.target,
        row.before,
        row.after,
        row.request_id,
        row.hash,
    ])?;
    Ok(())
}

fn instant(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_unix_ms)
}

fn spaced(words: &[impl ToString]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

// Not one upsert: that would put each page aside before it changes it, at a fifth of the time of an import.
const INSERT_KEY: &str = "
    INSERT INTO keys (revision, id, name, owner, plan, scopes, networks, not_before, expires, state, created, changed,
        extra_day, extra_month)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
const UPDATE_KEY: &str = "
    UPDATE keys SET revision = ?1, name = ?3, owner = ?4, plan = ?5, scopes = ?6, networks = ?7, not_before = ?8,
        expires = ?9, state = ?10, created = ?11, changed = ?12, extra_day = ?13, extra_month = ?14
    WHERE id = ?2";

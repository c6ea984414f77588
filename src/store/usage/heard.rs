//! How far the sinks have been told of changes of keys, kept beside the events that came of them.
//!
//! Both are written in one transaction: so a change is told once, however often its row of the audit log is read.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::UsageStore;
use super::outbox::{EVENTS, publish};
use super::used::column;
use crate::meter::Event;
use crate::store::StoreError;
use crate::store::audit::Chain;

impl UsageStore {
    /// Up to where the audit log has been told; none: nobody listens.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn heard(&self) -> Result<Option<Chain>, StoreError> {
        let read = |row: &Row<'_>| Ok(Chain { rows: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)? });
        let snapshot = self.snapshot()?;
        Ok(snapshot.connection().query_row("SELECT rows, hash FROM heard", [], read).optional()?)
    }

    /// Adds events to their queue, and notes up to where the audit log has been told with them; none: nobody listens any more.
    ///
    /// # Errors
    /// Nothing was added or noted.
    pub fn hear(&self, events: &[Event], heard: Option<Chain>) -> Result<(), StoreError> {
        self.write(|transaction| {
            publish(transaction, events)?;
            note(transaction, heard)
        })
    }

    /// How many events wait for the sink that is ahead of all others.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events_ahead(&self) -> Result<u64, StoreError> {
        let sql = "SELECT event - coalesce((SELECT max(acknowledged) FROM sinks WHERE queue = ?), event) FROM head";
        let ahead: i64 = self.snapshot()?.connection().query_row(sql, [EVENTS.name], |row| row.get(0))?;
        Ok(u64::try_from(ahead).unwrap_or(0))
    }
}

fn note(connection: &Connection, heard: Option<Chain>) -> Result<(), StoreError> {
    match heard {
        None => connection.execute("DELETE FROM heard", [])?,
        Some(Chain { rows, hash }) => {
            let sql = "INSERT OR REPLACE INTO heard (only, rows, hash) VALUES (1, ?, ?)";
            connection.prepare_cached(sql)?.execute(params![column(rows), hash])?
        }
    };
    Ok(())
}

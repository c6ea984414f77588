//! Which tables a file of SQLite has, in which version, and the way from one version to the next.
//!
//! A version is the number of steps that a file has seen, kept in `PRAGMA user_version`. A step that was released is never
//! edited; changes are new steps at the end.

use rusqlite::{Connection, TransactionBehavior};

/// What a kind of store has in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// Marks an SQLite file as of this kind.
    pub(super) application_id: i32,
    /// The steps from an empty file to the newest version, each in a transaction of its own.
    pub(super) steps: &'static [&'static str],
    /// The tables whose pages are checked each time that the file is opened.
    pub(super) vital: &'static [&'static str],
}

impl Schema {
    /// The version that this program works with.
    pub(super) const fn version(&self) -> i64 {
        self.steps.len() as i64
    }

    /// Takes a file of ours, or an empty one, through the steps that it has not seen.
    pub(super) fn migrate(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let seen = Self::seen(connection)?;
        for (number, step) in (1..).zip(self.steps).skip_while(|(number, _)| *number <= seen) {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "application_id", self.application_id)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// The version of a file.
    pub(super) fn seen(connection: &Connection) -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, "user_version", |row| row.get(0))
    }
}

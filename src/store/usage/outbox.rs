//! The queues to the sinks: buckets in `minutes`, events in `events`, and how far each sink has come in each.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

use super::UsageStore;
use super::names::{Account, account, class_numbered, corrupt, route};
use super::used::{SUMS, Used, column};
use crate::key::{KeyId, Name};
use crate::meter::ledger::{Epoch, Minute};
use crate::meter::{Backlog, Bucket, BucketId, Event, Outbox, OutboxError, Progress, SetAside, Start};
use crate::store::StoreError;
use crate::time::Timestamp;

/// One of the queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) name: &'static str,
    pub(super) table: &'static str,
    /// The column of `head` with its last place.
    last: &'static str,
    /// When something was, in milliseconds.
    at: &'static str,
}

pub(super) const BUCKETS: Queue = Queue { name: "buckets", table: "minutes", last: "bucket", at: "start * 60000" };
pub(super) const EVENTS: Queue = Queue { name: "events", table: "events", last: "event", at: "at" };

impl Outbox<Bucket> for UsageStore {
    fn next(&self, after: u64, limit: usize) -> Result<Vec<Bucket>, OutboxError> {
        self.look(|connection| buckets(connection, after, limit))
    }

    fn progress(&self, sink: &Name, from: Start) -> Result<Progress, OutboxError> {
        self.progress_in(BUCKETS, sink, from)
    }

    fn advance(&self, sink: &Name, progress: &Progress, set_aside: &[SetAside]) -> Result<(), OutboxError> {
        self.change(|connection| BUCKETS.advance(connection, sink, progress, set_aside))
    }

    fn backlog(&self, sink: &Name) -> Result<Backlog, OutboxError> {
        self.look(|connection| BUCKETS.backlog(connection, sink))
    }

    fn retain(&self, sinks: &[Name]) -> Result<(), OutboxError> {
        self.change(|connection| BUCKETS.retain(connection, sinks))
    }
}

impl Outbox<Event> for UsageStore {
    fn next(&self, after: u64, limit: usize) -> Result<Vec<Event>, OutboxError> {
        self.look(|connection| events(connection, after, limit))
    }

    fn progress(&self, sink: &Name, from: Start) -> Result<Progress, OutboxError> {
        self.progress_in(EVENTS, sink, from)
    }

    fn advance(&self, sink: &Name, progress: &Progress, set_aside: &[SetAside]) -> Result<(), OutboxError> {
        self.change(|connection| EVENTS.advance(connection, sink, progress, set_aside))
    }

    fn backlog(&self, sink: &Name) -> Result<Backlog, OutboxError> {
        self.look(|connection| EVENTS.backlog(connection, sink))
    }

    fn retain(&self, sinks: &[Name]) -> Result<(), OutboxError> {
        self.change(|connection| EVENTS.retain(connection, sinks))
    }
}

impl UsageStore {
    fn progress_in(&self, queue: Queue, sink: &Name, from: Start) -> Result<Progress, OutboxError> {
        match self.look(|connection| queue.progress(connection, sink))? {
            Some(progress) => Ok(progress),
            None => self.change(|connection| queue.begin(connection, sink, from)),
        }
    }

    fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, OutboxError> {
        let snapshot = self.snapshot().map_err(failed)?;
        look(snapshot.connection()).map_err(failed)
    }

    fn change<T>(&self, change: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, OutboxError> {
        self.write(|transaction| change(transaction)).map_err(failed)
    }
}

impl Queue {
    fn progress(self, connection: &Connection, sink: &Name) -> Result<Option<Progress>, StoreError> {
        let sql = "SELECT acknowledged, note FROM sinks WHERE queue = ? AND name = ?";
        let read =
            |row: &Row<'_>| Ok(Progress { acknowledged: row.get::<_, i64>(0)?.cast_unsigned(), note: row.get(1)? });
        let mut find = connection.prepare_cached(sql)?;
        Ok(find.query_row([self.name, sink.as_str()], read).optional()?)
    }

    /// Makes a sink's place, if nobody else has meanwhile.
    fn begin(self, connection: &Connection, sink: &Name, from: Start) -> Result<Progress, StoreError> {
        let Self { name, table, last, .. } = self;
        let begin = match from {
            Start::End => format!("SELECT {last} FROM head"),
            Start::Beginning => format!("SELECT coalesce((SELECT min(seq) - 1 FROM {table}), {last}) FROM head"),
        };
        let began: i64 = connection.query_row(&begin, [], |row| row.get(0))?;
        let sql = "INSERT OR IGNORE INTO sinks (queue, name, began, acknowledged, note) VALUES (?1, ?2, ?3, ?3, '')";
        connection.execute(sql, params![name, sink.as_str(), began])?;
        self.progress(connection, sink)?.ok_or_else(|| corrupt("sinks", sink, "the row is gone"))
    }

    fn advance(
        self,
        connection: &Connection,
        sink: &Name,
        progress: &Progress,
        set_aside: &[SetAside],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO sinks (queue, name, began, acknowledged, note) VALUES (?, ?, 0, ?, ?)
            ON CONFLICT DO UPDATE SET acknowledged = max(acknowledged, excluded.acknowledged), note = excluded.note";
        let params = params![self.name, sink.as_str(), column(progress.acknowledged), progress.note];
        connection.prepare_cached(sql)?.execute(params)?;
        let sql = "INSERT OR IGNORE INTO set_aside (queue, sink, seq, cause) VALUES (?, ?, ?, ?)";
        let mut note = connection.prepare_cached(sql)?;
        for SetAside { seq, cause } in set_aside {
            note.execute(params![self.name, sink.as_str(), column(*seq), cause.label()])?;
        }
        Ok(())
    }

    fn backlog(self, connection: &Connection, sink: &Name) -> Result<Backlog, StoreError> {
        let Some(Progress { acknowledged, .. }) = self.progress(connection, sink)? else {
            return Ok(Backlog::default());
        };
        let sql = format!("SELECT {} FROM {} WHERE seq > ? ORDER BY seq LIMIT 1", self.at, self.table);
        let mut first = connection.prepare_cached(&sql)?;
        let oldest = first.query_row([column(acknowledged)], |row| row.get(0)).optional()?;
        let sql = "SELECT count(*) FROM set_aside WHERE queue = ? AND sink = ?";
        let set_aside: i64 = connection.prepare_cached(sql)?.query_row([self.name, sink.as_str()], |row| row.get(0))?;
        Ok(Backlog {
            waiting: self.waiting(connection, acknowledged)?,
            oldest: oldest.map(Timestamp::from_unix_ms),
            set_aside: set_aside.cast_unsigned(),
        })
    }

    /// How many stand behind a place. Where they are very many, gaps in the queue are counted too.
    fn waiting(self, connection: &Connection, after: u64) -> Result<u64, StoreError> {
        let Self { table, last, .. } = self;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE seq > ? LIMIT {COUNTED})");
        let counted: i64 = connection.prepare_cached(&sql)?.query_row([column(after)], |row| row.get(0))?;
        if counted < COUNTED {
            return Ok(counted.cast_unsigned());
        }
        let sql = format!("SELECT {last} - max(?, (SELECT min(seq) - 1 FROM {table})) FROM head");
        let spanned: i64 = connection.prepare_cached(&sql)?.query_row([column(after)], |row| row.get(0))?;
        Ok(spanned.cast_unsigned())
    }

    fn retain(self, connection: &Connection, sinks: &[Name]) -> Result<(), StoreError> {
        let mut statement = connection.prepare("SELECT name FROM sinks WHERE queue = ?")?;
        let known = statement.query_map([self.name], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        for gone in known.iter().filter(|known| !sinks.iter().any(|sink| sink.as_str() == **known)) {
            for (table, column) in [("sinks", "name"), ("set_aside", "sink"), ("overruns", "sink")] {
                let sql = format!("DELETE FROM {table} WHERE queue = ? AND {column} = ?");
                connection.execute(&sql, [self.name, gone.as_str()])?;
            }
        }
        Ok(())
    }
}

/// Adds events to the end of their queue.
pub(super) fn publish(connection: &Connection, events: &[Event]) -> Result<(), StoreError> {
    let mut last: i64 = connection.query_row("SELECT event FROM head", [], |row| row.get(0))?;
    let sql = "INSERT OR IGNORE INTO events (seq, id, kind, at, subject, data) VALUES (?, ?, ?, ?, ?, ?)";
    let mut insert = connection.prepare_cached(sql)?;
    for Event { id, kind, at, subject, data, .. } in events {
        let added = insert.execute(params![last + 1, id, kind, at.as_unix_ms(), subject, data.to_string()])?;
        last += added as i64;
    }
    connection.execute("UPDATE head SET event = ?", [last])?;
    Ok(())
}

fn events(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
    let sql = "SELECT seq, id, kind, at, subject, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([column(after), column(limit as u64)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let data: String = row.get(5)?;
        events.push(Event {
            seq: seq.cast_unsigned(),
            id: row.get(1)?,
            kind: row.get(2)?,
            at: Timestamp::from_unix_ms(row.get(3)?),
            subject: row.get(4)?,
            data: serde_json::from_str(&data).map_err(|error| corrupt("events", seq, error))?,
        });
    }
    Ok(events)
}

fn buckets(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Bucket>, StoreError> {
    let columns = format!("seq, start, account, route, class, life, doubtful, {SUMS}");
    let sql = format!("SELECT {columns} FROM minutes WHERE seq > ? ORDER BY seq LIMIT ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([column(after), column(limit as u64)])?;
    let (mut routes, mut lives, mut buckets) = (HashMap::new(), HashMap::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let (number, life): (u32, u32) = (row.get(3)?, row.get(5)?);
        let route = match routes.get(&number) {
            Some(route) => Option::clone(route),
            None => routes.entry(number).or_insert(route(connection, number)?).clone(),
        };
        let epoch = match lives.get(&life) {
            Some(epoch) => *epoch,
            None => *lives.entry(life).or_insert(epoch(connection, life)?),
        };
        buckets.push(bucket(row, account(connection, row.get(2)?)?, route, epoch)?);
    }
    Ok(buckets)
}

fn bucket(row: &Row<'_>, (key, owner, plan): Account, route: Option<Name>, epoch: Epoch) -> Result<Bucket, StoreError> {
    let used = Used::read(row, 7)?;
    let mut bucket = Bucket {
        id: BucketId([0; 16]),
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        minute: Minute::from_unix(row.get(1)?),
        key,
        owner,
        plan,
        route,
        class: class_numbered(row.get(4)?)?,
        amount: used.amount(),
        took: used.took,
        is_doubtful: row.get_ref(6)? != ValueRef::Integer(0),
    };
    bucket.id = id(&bucket, epoch);
    Ok(bucket)
}

/// The first half of the SHA-256 of all that makes a bucket what it is. It must be the same for ever.
fn id(bucket: &Bucket, epoch: Epoch) -> BucketId {
    let mut hash = Sha256::new();
    hash.update(epoch.id.to_le_bytes());
    hash.update(epoch.started_ms.to_le_bytes());
    hash.update(bucket.minute.as_unix().to_le_bytes());
    hash.update([bucket.class.number()]);
    let name = |name: &Option<Name>| name.as_ref().map_or_else(String::new, ToString::to_string);
    let key = bucket.key.as_ref().map_or("", KeyId::as_str).to_owned();
    for text in [key, name(&bucket.owner), name(&bucket.plan), name(&bucket.route)] {
        // Names have up to 128 bytes.
        hash.update([text.len() as u8]);
        hash.update(text);
    }
    let hash = hash.finalize();
    BucketId(*hash.first_chunk().expect("it has twice as many bytes"))
}

fn epoch(connection: &Connection, life: u32) -> Result<Epoch, StoreError> {
    let mut find = connection.prepare_cached("SELECT epoch, started FROM sealed WHERE number = ?")?;
    let read = |row: &Row<'_>| Ok(Epoch { id: row.get::<_, i64>(0)?.cast_unsigned(), started_ms: row.get(1)? });
    find.query_row([life], read).optional()?.ok_or_else(|| corrupt("sealed", life, "the row is gone"))
}

fn failed(error: StoreError) -> OutboxError {
    OutboxError(Box::new(error))
}

/// So many are counted one by one, in a few milliseconds.
const COUNTED: i64 = 100_000;

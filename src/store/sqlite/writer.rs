//! The writer: one thread that owns the connection, and a queue to it.
//!
//! What waits in the queue at the same time becomes one transaction, and so one write to disk; each job has its own
//! outcome, and is answered only when that is on disk. A batch has a transaction of its own, since it may be refused half way.
//! Savepoints would allow more and cost a fifth of the time of an import. When SQLite fails, the whole transaction is lost.

use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};

use super::write::{Head, note_used};
use crate::key::Digest;
use crate::store::change::{Commit, Event};
use crate::store::error::{Refusal, StoreError};
use crate::store::record::Revision;
use crate::time::Timestamp;

/// What the writer is asked to do.
pub(super) enum Work {
    /// All of them or none.
    Commit(Vec<Commit>),
    Event(Event),
    Used(Vec<(Digest, Timestamp)>),
}

/// The revisions of the commits; or the place of the one that is refused, and why.
pub(super) type Outcome = Result<Vec<Revision>, (usize, Refusal)>;

/// The way to the writer's thread. Ends it when dropped, after what is in the queue.
pub(super) struct Writer {
    /// Only taken away to end the thread.
    queue: Option<SyncSender<Job>>,
    newest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    work: Work,
    reply: SyncSender<Result<Outcome, StoreError>>,
}

/// The thread's side.
struct Scribe {
    connection: Connection,
    head: Head,
    newest: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(connection: Connection, head: Head) -> io::Result<Self> {
        let newest = Arc::new(AtomicU64::new(head.revision.0));
        let scribe = Scribe { connection, head, newest: Arc::clone(&newest) };
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || scribe.run(&jobs))?;
        Ok(Self { queue: Some(queue), newest, thread: Some(thread) })
    }

    /// Waits until the work is done and on disk.
    pub(super) fn ask(&self, work: Work) -> Result<Outcome, StoreError> {
        let (reply, answer) = sync_channel(1);
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Job { work, reply }).map_err(|_| StoreError::Closed)?;
        answer.recv().map_err(|_| StoreError::Closed)?
    }

    /// Whether the thread is gone although nobody has told it to end.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The newest revision that is on disk.
    pub(super) fn newest(&self) -> Revision {
        Revision(self.newest.load(Ordering::Acquire))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // A panic there has answered all who waited with `Closed`.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Scribe {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let waiting: Vec<Job> = iter::once(first).chain(jobs.try_iter()).take(GROUP).collect();
            for group in waiting.chunk_by(|one, next| !one.is_batch() && !next.is_batch()) {
                self.serve(group);
            }
        }
    }

    fn serve(&mut self, group: &[Job]) {
        let outcomes = self.transact(group);
        for (place, job) in group.iter().enumerate() {
            let outcome = match &outcomes {
                Ok(outcomes) => Ok(outcomes[place].clone()),
                Err(error) => Err(error.clone()),
            };
            // Who has gone does not want to know.
            let _ = job.reply.send(outcome);
        }
    }

    /// The outcome of each job, once all are on disk. An error: none is.
    fn transact(&mut self, group: &[Job]) -> Result<Vec<Outcome>, StoreError> {
        let mut head = self.head.clone();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            outcomes.push(run(&transaction, &mut head, &job.work)?);
        }
        if outcomes.iter().all(Result::is_err) {
            // A batch may be refused half way; all others are before they have written anything.
            transaction.rollback()?;
            return Ok(outcomes);
        }
        head.write(&transaction)?;
        transaction.commit()?;
        self.newest.store(head.revision.0, Ordering::Release);
        self.head = head;
        Ok(outcomes)
    }
}

impl Job {
    /// Whether it can be refused after it has written something.
    fn is_batch(&self) -> bool {
        matches!(&self.work, Work::Commit(commits) if commits.len() > 1)
    }
}

fn run(connection: &Connection, head: &mut Head, work: &Work) -> Result<Outcome, StoreError> {
    match work {
        Work::Commit(commits) => commit_all(connection, head, commits),
        Work::Event(event) => head.record_event(connection, event).map(|()| Ok(Vec::new())),
        Work::Used(used) => note_used(connection, used).map(|()| Ok(Vec::new())),
    }
}

fn commit_all(connection: &Connection, head: &mut Head, commits: &[Commit]) -> Result<Outcome, StoreError> {
    let mut revisions = Vec::with_capacity(commits.len());
    for (place, commit) in commits.iter().enumerate() {
        match head.commit(connection, commit)? {
            Ok(revision) => revisions.push(revision),
            Err(refusal) => return Ok(Err((place, refusal))),
        }
    }
    Ok(Ok(revisions))
}

/// Jobs that may wait; more make their callers wait to be taken in.
const QUEUE: usize = 1024;
/// Jobs that share a transaction.
const GROUP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file;
    use crate::store::sqlite::schema::SCHEMA;
    use crate::store::tests::{create, revoke};

    fn jobs(work: impl IntoIterator<Item = Vec<Commit>>) -> Vec<Job> {
        let job = |commits| Job { work: Work::Commit(commits), reply: sync_channel(1).0 };
        work.into_iter().map(job).collect()
    }

    fn scribe(folder: &tempfile::TempDir) -> Scribe {
        let (_lock, connection) = file::open(&folder.path().join("store.db"), &SCHEMA).unwrap();
        let head = Head::read(&connection).unwrap();
        Scribe { connection, head, newest: Arc::default() }
    }

    #[test]
    fn each_job_of_a_group_has_its_own_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let mut scribe = scribe(&folder);
        let outcomes = scribe.transact(&jobs([vec![create(1)], vec![create(1)], vec![create(2)]])).unwrap();
        assert_eq!(outcomes, [Ok(vec![Revision(1)]), Err((0, Refusal::Exists(Revision(1)))), Ok(vec![Revision(2)])]);
        assert_eq!(Head::read(&scribe.connection).unwrap().revision, Revision(2));
    }

    #[test]
    fn a_thread_that_panics_is_told_and_answers_nobody() {
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let thread = thread::spawn(move || {
            let _job = jobs.recv();
            panic!("as a defect would");
        });
        let writer = Writer { queue: Some(queue), newest: Arc::default(), thread: Some(thread) };
        assert!(!writer.has_ended());
        for _ in 0..2 {
            assert!(matches!(writer.ask(Work::Used(Vec::new())), Err(StoreError::Closed)));
        }
        while !writer.has_ended() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_database_refuses_the_whole_group_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let mut scribe = scribe(&folder);
        let pages: i64 = scribe.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        scribe.connection.pragma_update(None, "max_page_count", pages + 2).unwrap();
        let group: Vec<Job> = jobs((0..=u8::MAX).map(|n| vec![create(n)]));
        let StoreError::Failed(error) = scribe.transact(&group).unwrap_err() else { panic!("another error") };
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
        assert_eq!((scribe.head.revision, scribe.newest.load(Ordering::Relaxed)), (Revision(0), 0));

        scribe.connection.pragma_update(None, "max_page_count", 1 << 30).unwrap();
        let outcomes = scribe.transact(&group).unwrap();
        assert!(outcomes.iter().flatten().flatten().copied().eq((1..=256).map(Revision)));
        let batch = jobs([vec![create(9), revoke(9)]]);
        assert_eq!(scribe.transact(&batch).unwrap(), [Err((0, Refusal::Exists(Revision(10))))]);
    }
}

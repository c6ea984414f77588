//! The outbox in memory, for tests: the same promises, nothing durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use super::{Backlog, Cause, Outbox, OutboxError, Progress, Queued, SetAside, Start};
use crate::key::Name;

/// An outbox that forgets everything when it is dropped, and deletes nothing.
#[derive(Debug)]
pub struct MemoryOutbox<T> {
    content: Mutex<Content<T>>,
}

#[derive(Debug)]
struct Content<T> {
    queue: Vec<T>,
    sinks: HashMap<Name, Place>,
}

#[derive(Debug, Default)]
struct Place {
    progress: Progress,
    set_aside: BTreeMap<u64, Cause>,
}

impl<T> Default for MemoryOutbox<T> {
    fn default() -> Self {
        Self { content: Mutex::new(Content { queue: Vec::new(), sinks: HashMap::new() }) }
    }
}

impl<T: Queued> MemoryOutbox<T> {
    /// Adds something to the end of the queue.
    pub fn push(&self, item: T) {
        let mut content = self.content();
        debug_assert!(content.last_seq() < item.seq(), "places only grow");
        content.queue.push(item);
    }

    /// What has been set aside for a sink, by place.
    pub fn set_aside(&self, sink: &Name) -> Vec<SetAside> {
        let content = self.content();
        let noted = content.sinks.get(sink).map(|place| &place.set_aside);
        noted.into_iter().flatten().map(|(&seq, &cause)| SetAside { seq, cause }).collect()
    }

    fn content(&self) -> MutexGuard<'_, Content<T>> {
        self.content.lock().expect("no call ends half way")
    }
}

impl<T: Queued> Content<T> {
    fn last_seq(&self) -> u64 {
        self.queue.last().map_or(0, Queued::seq)
    }

    fn after(&self, seq: u64) -> impl Iterator<Item = &T> {
        let from = self.queue.partition_point(|item| item.seq() <= seq);
        self.queue[from..].iter()
    }
}

impl<T: Queued> Outbox<T> for MemoryOutbox<T> {
    fn next(&self, after: u64, limit: usize) -> Result<Vec<T>, OutboxError> {
        Ok(self.content().after(after).take(limit).cloned().collect())
    }

    fn progress(&self, sink: &Name, from: Start) -> Result<Progress, OutboxError> {
        let mut content = self.content();
        let acknowledged = match from {
            Start::End => content.last_seq(),
            Start::Beginning => 0,
        };
        let fresh = || Place { progress: Progress { acknowledged, ..Progress::default() }, ..Place::default() };
        Ok(content.sinks.entry(sink.clone()).or_insert_with(fresh).progress.clone())
    }

    fn advance(&self, sink: &Name, progress: &Progress, set_aside: &[SetAside]) -> Result<(), OutboxError> {
        let mut content = self.content();
        let place = content.sinks.entry(sink.clone()).or_default();
        debug_assert!(place.progress.acknowledged <= progress.acknowledged, "progress never moves back");
        place.progress = progress.clone();
        for SetAside { seq, cause } in set_aside {
            place.set_aside.entry(*seq).or_insert(*cause);
        }
        Ok(())
    }

    fn backlog(&self, sink: &Name) -> Result<Backlog, OutboxError> {
        let content = self.content();
        let Some(place) = content.sinks.get(sink) else { return Ok(Backlog::default()) };
        let mut waiting = content.after(place.progress.acknowledged);
        let oldest = waiting.next().map(Queued::at);
        let waiting = waiting.count() as u64 + u64::from(oldest.is_some());
        Ok(Backlog { waiting, oldest, set_aside: place.set_aside.len() as u64 })
    }

    fn retain(&self, sinks: &[Name]) -> Result<(), OutboxError> {
        self.content().sinks.retain(|name, _| sinks.contains(name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Event;
    use crate::time::Timestamp;

    fn event(seq: u64) -> Event {
        let at = Timestamp::from_unix_ms(1000 * seq.cast_signed());
        let data = serde_json::Value::Null;
        Event { seq, id: seq.to_string(), kind: "key.created".into(), at, subject: "key_a".into(), data }
    }

    #[test]
    fn each_sink_has_its_own_place() {
        let (late, early): (Name, Name) = ("late".parse().unwrap(), "early".parse().unwrap());
        let outbox = MemoryOutbox::default();
        outbox.push(event(3));
        outbox.push(event(7));
        assert_eq!(outbox.progress(&late, Start::End).unwrap().acknowledged, 7);
        assert_eq!(outbox.progress(&early, Start::Beginning).unwrap().acknowledged, 0);
        outbox.push(event(8));
        let moved = Progress { acknowledged: 3, note: "{}".into() };
        outbox.advance(&early, &moved, &[SetAside { seq: 3, cause: Cause::Refused }]).unwrap();
        assert_eq!(outbox.progress(&early, Start::Beginning).unwrap(), moved);
        let waiting = |sink| outbox.backlog(sink).unwrap();
        assert_eq!(waiting(&late), Backlog { waiting: 1, oldest: Some(event(8).at), set_aside: 0 });
        assert_eq!(waiting(&early), Backlog { waiting: 2, oldest: Some(event(7).at), set_aside: 1 });
        assert_eq!(outbox.next(3, 1).unwrap(), [event(7)]);
        outbox.retain(std::slice::from_ref(&late)).unwrap();
        assert_eq!(waiting(&early), Backlog::default());
    }

    #[test]
    fn causes_are_read_back_from_their_labels() {
        for cause in Cause::ALL {
            assert_eq!(Cause::labelled(cause.label()), Some(cause));
        }
        assert_eq!(Cause::labelled("late"), None);
    }
}

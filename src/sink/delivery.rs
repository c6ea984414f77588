//! One queue on its way to one sink, step by step: claim, send, settle.
//!
//! Claiming and settling are durable before they return. A delivery may be dropped between any two steps, or within one, and
//! opened again. Time is an argument. Called by [`super::running`], and by tests that kill it.

use std::sync::Arc;
use std::time::Duration;

use super::note::Note;
use super::{Guarantee, Outcome, Sent, Sink, Trouble};
use crate::key::Name;
use crate::meter::{Cause, Outbox, OutboxError, Progress, Queued, SetAside, Start};
use crate::time::Timestamp;

/// One queue on its way to one sink.
pub struct Delivery<T: Queued> {
    name: Name,
    outbox: Arc<dyn Outbox<T>>,
    sink: Box<dyn Sink<T>>,
    pace: Pace,
    acknowledged: u64,
    note: Note,
    stage: Stage<T>,
    /// Most items of the next batch: fewer than the pace allows after the sink found one too large.
    limit: usize,
    failures: u32,
    tally: Tally,
    jitter: u64,
}

/// How much at once, and how long to wait after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Most items in one batch, at least 1.
    pub batch: usize,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the next one.
    Next,
    /// Nothing waits.
    Idle,
    /// The sink failed: take the next one after a pause.
    Pause(Duration),
}

/// What was done since the delivery was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items that the sink took.
    pub taken: u64,
    /// Items that were nothing for this sink.
    pub passed_over: u64,
    /// Items that were set aside.
    pub set_aside: u64,
    /// The last of them.
    pub last_set_aside: Option<SetAside>,
    /// Batches that were sent, again or for the first time.
    pub batches: u64,
    /// Batches with trouble.
    pub failures: u64,
    /// The trouble that the last batch had, if it had one, and when.
    pub trouble: Option<(Timestamp, Trouble)>,
}

/// What the next step is.
enum Stage<T> {
    /// Claim.
    Resting,
    /// Send: what is not settled of the claim, and how it stood before.
    Claimed { items: Vec<T>, before: Note },
    /// Settle.
    Answered { items: Vec<T>, before: Note, sent: Sent },
}

impl<T: Queued> Delivery<T> {
    /// Takes up where the sink of this name is.
    ///
    /// # Errors
    /// The outbox cannot be read, or a newer program has written what the sink was doing.
    pub fn open(
        name: Name,
        outbox: Arc<dyn Outbox<T>>,
        sink: Box<dyn Sink<T>>,
        from: Start,
        pace: Pace,
    ) -> Result<Self, OutboxError> {
        let Progress { acknowledged, note } = outbox.progress(&name, from)?;
        let note = Note::read(&note)?;
        let jitter = name.as_str().bytes().fold(acknowledged, |sum, byte| sum.rotate_left(8) ^ u64::from(byte));
        let (stage, tally) = (Stage::Resting, Tally::default());
        Ok(Self { name, outbox, sink, pace, acknowledged, note, stage, limit: pace.batch, failures: 0, tally, jitter })
    }

    /// One step: claims, sends or settles.
    ///
    /// # Errors
    /// The outbox cannot be read or written. Nothing is lost: the step can be taken again.
    pub fn step(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::Resting => self.claim(now),
            // The machine may have slept since the claim: the next one will see that it is too late.
            Stage::Claimed { before, .. } if self.is_out_of_window(before.since, now) => Ok(Step::Next),
            Stage::Claimed { items, before } => {
                let sent = self.sink.send(&items, &self.note.mark, now);
                debug_assert_eq!(sent.outcomes.len(), items.len(), "one outcome for each item");
                self.stage = Stage::Answered { items, before, sent };
                Ok(Step::Next)
            }
            Stage::Answered { items, before, sent } => self.settle(items, before, sent, now),
        }
    }

    /// Whether nothing is under way: what waits can wait longer.
    pub fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting)
    }

    /// Whether the next step sends, and leaves the outbox alone.
    pub fn is_sending(&self) -> bool {
        matches!(self.stage, Stage::Claimed { .. })
    }

    /// The sink.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What was done since it was opened.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What becomes of something that is sent twice.
    pub fn guarantee(&self) -> Guarantee {
        self.sink.guarantee()
    }

    fn claim(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        let items = self.open_items()?;
        let Some((first, last)) = items.first().map(Queued::seq).zip(items.last().map(Queued::seq)) else {
            // The outbox may have dropped what was claimed: there is nothing left to do for it.
            return if self.note.until.is_some() { self.close() } else { Ok(Step::Idle) };
        };
        let mut before = self.note.clone();
        before.since = before.doubt(first);
        if self.is_out_of_window(before.since, now) {
            return self.give_up(&items);
        }
        let until = self.note.until.unwrap_or(last);
        let mut note = self.note.clone();
        note.claim(first, until, now);
        self.write(self.acknowledged, note, &[])?;
        self.stage = Stage::Claimed { items, before };
        Ok(Step::Next)
    }

    /// What is not settled of the claim; without a claim, what the next one is for.
    fn open_items(&self) -> Result<Vec<T>, OutboxError> {
        let Some(until) = self.note.until else { return self.next_items() };
        let (mut items, mut after) = (Vec::new(), self.acknowledged);
        loop {
            let page = self.outbox.next(after, self.pace.batch)?;
            let Some(last) = page.last().map(Queued::seq) else { break };
            items.extend(
                page.into_iter().filter(|item| item.seq() <= until && !self.note.settled.contains(&item.seq())),
            );
            if last >= until {
                break;
            }
            after = last;
        }
        Ok(items)
    }

    /// What a new claim is for. What was in a larger claim before is not mixed with what was in none.
    fn next_items(&self) -> Result<Vec<T>, OutboxError> {
        let mut items = self.outbox.next(self.acknowledged, self.limit)?;
        if let Some((end, _)) = self.note.earlier
            && items.first().is_some_and(|first| first.seq() <= end)
        {
            items.retain(|item| item.seq() <= end);
        }
        Ok(items)
    }

    /// Whether the sink would no longer recognise what may have been sent.
    fn is_out_of_window(&self, since: Option<i64>, now: Timestamp) -> bool {
        let Guarantee::RemovesDuplicates { window } = self.sink.guarantee() else { return false };
        let age = |since: i64| Duration::from_millis(u64::try_from(now.as_unix_ms() - since).unwrap_or(0));
        since.is_some_and(|since| age(since) >= window)
    }

    /// Sets aside what may have been sent too long ago; the rest of the claim is as if it had never been sent.
    fn give_up(&mut self, items: &[T]) -> Result<Step, OutboxError> {
        let doubtful: Vec<u64> = items.iter().map(Queued::seq).filter(|seq| !self.note.clear.contains(seq)).collect();
        let set_aside: Vec<_> = doubtful.iter().map(|&seq| SetAside { seq, cause: Cause::Doubtful }).collect();
        let mut note = self.note.clone();
        note.since = None;
        note.settled.extend(&doubtful);
        let last = items.last().map_or(self.acknowledged, Queued::seq);
        note.until = note.until.or(Some(last));
        let acknowledged = self.place(&mut note, items);
        self.write(acknowledged, note, &set_aside)?;
        self.count_set_aside(&set_aside);
        Ok(Step::Next)
    }

    fn settle(&mut self, items: Vec<T>, before: Note, sent: Sent, now: Timestamp) -> Result<Step, OutboxError> {
        let mut note = self.note.clone();
        let set_aside = settled_into(&mut note, &items, &before, &sent);
        if sent.outcomes.contains(&Outcome::Split) && note.settled.is_empty() {
            note.shrink(items[items.len().div_ceil(2).saturating_sub(1)].seq());
        }
        let acknowledged = self.place(&mut note, &items);
        let has_moved = acknowledged > self.acknowledged || note.settled.len() > self.note.settled.len();
        let has_moved = has_moved || note.mark != self.note.mark;
        if let Err(error) = self.write(acknowledged, note, &set_aside) {
            self.stage = Stage::Answered { items, before, sent };
            return Err(error);
        }
        self.count(&sent);
        self.count_set_aside(&set_aside);
        Ok(self.pause_after(sent, has_moved, now))
    }

    /// How far everything is settled now; closes the claim if that is all of it.
    fn place(&self, note: &mut Note, items: &[T]) -> u64 {
        let until = note.until.unwrap_or(self.acknowledged);
        let within: Vec<u64> = items.iter().map(Queued::seq).filter(|seq| *seq <= until).collect();
        let open = within.iter().position(|seq| !note.settled.contains(seq));
        match open {
            None => {
                note.close();
                until
            }
            Some(0) => self.acknowledged,
            Some(first) => {
                note.forget(within[first - 1]);
                within[first - 1]
            }
        }
    }

    fn pause_after(&mut self, sent: Sent, has_moved: bool, now: Timestamp) -> Step {
        let is_split = sent.outcomes.contains(&Outcome::Split);
        self.limit = match is_split {
            true => sent.outcomes.len().div_ceil(2).max(1),
            false if sent.trouble.is_none() => self.limit.saturating_mul(2).min(self.pace.batch),
            false => self.limit,
        };
        if has_moved || is_split {
            self.failures = 0;
        }
        let is_open = sent.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Untaken | Outcome::Unknown));
        let retry_after = sent.trouble.as_ref().and_then(|trouble| trouble.retry_after).unwrap_or_default();
        let has_trouble = sent.trouble.is_some();
        self.tally.trouble = sent.trouble.map(|trouble| (now, trouble));
        if !has_trouble || !is_open {
            return Step::Next;
        }
        self.failures = self.failures.saturating_add(1);
        Step::Pause(self.pause().max(retry_after.min(LONGEST_RETRY_AFTER)))
    }

    /// Between half of the back-off and all of it, so that several gateways do not come back at once.
    fn pause(&mut self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1));
        let whole = self.pace.backoff.saturating_mul(doubled).min(self.pace.backoff_max);
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = u32::try_from(self.jitter >> 48).unwrap_or(0);
        whole / 2 + whole / 2 * share / 0xffff
    }

    fn close(&mut self) -> Result<Step, OutboxError> {
        let mut note = self.note.clone();
        let acknowledged = note.until.unwrap_or(self.acknowledged);
        note.close();
        self.write(acknowledged, note, &[])?;
        Ok(Step::Next)
    }

    fn write(&mut self, acknowledged: u64, note: Note, set_aside: &[SetAside]) -> Result<(), OutboxError> {
        let progress = Progress { acknowledged, note: note.write()? };
        self.outbox.advance(&self.name, &progress, set_aside)?;
        (self.acknowledged, self.note) = (acknowledged, note);
        Ok(())
    }

    fn count(&mut self, sent: &Sent) {
        let number = |outcome| sent.outcomes.iter().filter(|other| **other == outcome).count() as u64;
        self.tally.batches += 1;
        self.tally.failures += u64::from(sent.trouble.is_some());
        self.tally.taken += number(Outcome::Taken);
        self.tally.passed_over += number(Outcome::PassedOver);
    }

    fn count_set_aside(&mut self, set_aside: &[SetAside]) {
        self.tally.set_aside += set_aside.len() as u64;
        self.tally.last_set_aside = set_aside.last().cloned().or(self.tally.last_set_aside.take());
    }
}

/// Notes what the sink said of each item, and gives what is to be set aside.
fn settled_into<T: Queued>(note: &mut Note, items: &[T], before: &Note, sent: &Sent) -> Vec<SetAside> {
    let mut set_aside = Vec::new();
    for (item, outcome) in items.iter().zip(&sent.outcomes) {
        let seq = item.seq();
        match outcome {
            Outcome::Taken | Outcome::PassedOver => drop(note.settled.insert(seq)),
            Outcome::Refused(cause) => {
                note.settled.insert(seq);
                set_aside.push(SetAside { seq, cause: *cause });
            }
            // What was in doubt before stays so: it may be an earlier sending that arrives.
            Outcome::Untaken | Outcome::Split if before.since.is_none() || before.clear.contains(&seq) => {
                note.clear.insert(seq);
            }
            Outcome::Untaken | Outcome::Split | Outcome::Unknown => {}
        }
    }
    let in_doubt = |item: &T| !note.settled.contains(&item.seq()) && !note.clear.contains(&item.seq());
    if !items.iter().any(in_doubt) {
        note.since = None;
        note.clear.clear();
    }
    note.mark = sent.mark.clone().unwrap_or_else(|| note.mark.clone());
    set_aside
}

/// Who asks for more has set it aside without saying so.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

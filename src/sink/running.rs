//! Sinks at work: a thread for each queue of each sink, and what others may ask of it.
//!
//! A thread that is stopped or paused ends its batch first, so that nothing is left in doubt; that takes two time-outs of the
//! sink at most. Whoever cannot wait so long loses nothing: the claim stands in the outbox. Called by `app`.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::cloudevents::CloudEvents;
use super::delivery::{Delivery, Pace, Step, Tally};
use super::file::Files;
use super::status::{Queue, State, Status};
use super::stripe::Stripe;
use super::webhook::Webhook;
use super::{Carries, Guarantee, Options, Sink, Target};
use crate::key::Name;
use crate::meter::{Backlog, Bucket, Event, Outbox, OutboxError, Queued};
use crate::telemetry::log;
use crate::time;

/// Where everything waits.
#[derive(Clone)]
pub struct Queues {
    /// Sealed usage.
    pub buckets: Arc<dyn Outbox<Bucket>>,
    /// Events of keys and quotas.
    pub events: Arc<dyn Outbox<Event>>,
}

/// A sink that runs, until it is stopped. Dropped, it is stopped and nobody waits for it.
pub struct Running {
    options: Options,
    lanes: Vec<Lane>,
}

/// Why a sink does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody knows where it was.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// There is no thread for it.
    #[error("the thread of a usage sink does not start: {0}")]
    Thread(#[from] io::Error),
}

/// A thread, and how to reach it.
struct Lane {
    queue: Queue,
    guarantee: Guarantee,
    shared: Arc<Shared>,
    backlog: Box<dyn Fn() -> Result<Backlog, OutboxError> + Send + Sync>,
    thread: JoinHandle<()>,
}

struct Shared {
    control: Mutex<Control>,
    bell: Condvar,
    /// Held while the outbox is written, so that nothing is written once it is true.
    is_given_up: Mutex<bool>,
}

struct Control {
    wish: Wish,
    /// There may be something new.
    is_woken: bool,
    /// Do not wait out a pause.
    is_hurried: bool,
    state: State,
    tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    Stop,
}

/// Starts a sink on threads of its own: one for usage, one for events.
///
/// # Errors
/// The outbox cannot be read, or there are no threads left. Nothing runs then.
pub fn start(options: &Options, queues: &Queues) -> Result<Running, StartError> {
    let mut lanes = Vec::new();
    if let Some(sink) = usage_sink(&options.target) {
        lanes.push(Lane::start(options, Queue::Usage, &queues.buckets, sink)?);
    }
    if let Some(sink) = event_sink(&options.target) {
        lanes.push(Lane::start(options, Queue::Events, &queues.events, sink)?);
    }
    Ok(Running { options: options.clone(), lanes })
}

impl Queues {
    /// Forgets the places of all sinks but these.
    pub fn retain(&self, sinks: &[Options]) -> Result<(), OutboxError> {
        let of = |carries: fn(&Target) -> bool| -> Vec<Name> {
            sinks.iter().filter(|options| carries(&options.target)).map(|options| options.name.clone()).collect()
        };
        self.buckets.retain(&of(carries_usage))?;
        self.events.retain(&of(Target::carries_events))
    }
}

impl Target {
    /// Whether events are sent there.
    pub fn carries_events(&self) -> bool {
        matches!(self, Self::Webhook(options) if options.carries != Carries::Usage)
    }
}

impl Running {
    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// There may be something new: what is idle looks at once.
    pub fn wake(&self) {
        self.tell(|control| control.is_woken = true);
    }

    /// Ends the batch at hand and waits.
    pub fn pause(&self) {
        self.tell(|control| control.wish = Wish::Pause);
    }

    /// Goes on, at once even after failures.
    pub fn resume(&self) {
        self.tell(|control| {
            control.wish = Wish::Run;
            control.is_hurried = true;
        });
    }

    /// Ends the batch at hand and then the threads. Does not wait: see [`Running::join`].
    pub fn stop(&self) {
        self.tell(|control| control.wish = Wish::Stop);
    }

    /// Waits for the threads of a sink that was stopped. False: they did not end in time. They note nothing any more,
    /// so the sink may be started again: it takes up what they were sending.
    #[must_use]
    pub fn join(mut self, patience: Duration) -> bool {
        self.stop();
        let deadline = time::now().after(patience);
        let mut all_ended = true;
        for lane in self.lanes.drain(..) {
            let has_ended = lane.shared.wait_for_end(deadline.since(time::now()));
            *lane.shared.is_given_up() = true;
            // A thread that panicked has told so itself.
            all_ended &= has_ended && lane.thread.join().is_ok();
        }
        all_ended
    }

    /// What it is doing, queue by queue. Asks the outbox.
    pub fn status(&self) -> Vec<Status> {
        self.lanes.iter().map(|lane| lane.status(&self.options)).collect()
    }

    fn tell(&self, change: impl Fn(&mut Control)) {
        for lane in &self.lanes {
            change(&mut lane.shared.control());
            lane.shared.bell.notify_all();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Lane {
    fn start<T: Queued + 'static>(
        options: &Options,
        queue: Queue,
        outbox: &Arc<dyn Outbox<T>>,
        sink: Box<dyn Sink<T>>,
    ) -> Result<Self, StartError> {
        let pace = Pace { batch: options.batch, backoff: options.backoff, backoff_max: options.backoff_max };
        let delivery = Delivery::open(options.name.clone(), Arc::clone(outbox), sink, options.from, pace)?;
        let guarantee = delivery.guarantee();
        let shared = Arc::new(Shared::new());
        let (outbox, name) = (Arc::clone(outbox), options.name.clone());
        let ours = Arc::clone(&shared);
        let thread = Builder::new().name(format!("sink {}", options.name.as_str())).spawn(move || {
            let end = End(&ours);
            run(delivery, end.0);
        })?;
        Ok(Self { queue, guarantee, shared, backlog: Box::new(move || outbox.backlog(&name)), thread })
    }

    fn status(&self, options: &Options) -> Status {
        let (state, is_paused, tally) = {
            let control = self.shared.control();
            (control.state, control.wish == Wish::Pause, control.tally.clone())
        };
        Status {
            sink: options.name.clone(),
            kind: options.target.label(),
            queue: self.queue,
            guarantee: self.guarantee,
            state,
            is_paused,
            backlog: (self.backlog)().ok(),
            tally,
        }
    }
}

fn run<T: Queued>(mut delivery: Delivery<T>, shared: &Shared) {
    let (mut told, mut is_outbox_broken) = (Tally::default(), false);
    loop {
        if delivery.is_resting() {
            match shared.wish() {
                Wish::Stop => return,
                Wish::Pause => {
                    shared.rest(State::Paused, None);
                    continue;
                }
                Wish::Run => {}
            }
        }
        let Some(step) = step(&mut delivery, shared) else { return };
        if let Err(error) = &step
            && !is_outbox_broken
        {
            log::error("a usage sink cannot go on", &[("sink", &delivery.name().as_str()), ("why", error)]);
        }
        is_outbox_broken = step.is_err();
        tell(delivery.name(), &told, delivery.tally());
        told.clone_from(delivery.tally());
        shared.tally(&told);
        match step {
            Ok(Step::Next) => shared.state(State::Sending),
            Ok(Step::Idle) => shared.rest(State::Idle, Some(LOOK)),
            Ok(Step::Pause(pause)) => shared.rest(State::Retrying, Some(pause)),
            Err(_) if shared.wish() == Wish::Stop => return,
            Err(_) => shared.rest(State::Retrying, Some(LOOK)),
        }
    }
}

/// None: somebody else may have taken over, and this thread writes nothing any more.
fn step<T: Queued>(delivery: &mut Delivery<T>, shared: &Shared) -> Option<Result<Step, OutboxError>> {
    let now = time::wall(time::now());
    if delivery.is_sending() {
        return Some(delivery.step(now));
    }
    let is_given_up = shared.is_given_up();
    (!*is_given_up).then(|| delivery.step(now))
}

/// Logs what is set aside, trouble that is new and trouble that is over; not what goes on.
fn tell(sink: &Name, old: &Tally, new: &Tally) {
    let number = new.set_aside - old.set_aside;
    if let Some(last) = new.last_set_aside.as_ref().filter(|_| number > 0) {
        let fields: &log::Fields<'_> =
            &[("sink", &sink.as_str()), ("number", &number), ("cause", &last.cause.label()), ("last", &last.seq)];
        log::error("usage was set aside, and will not be sent to this sink", fields);
    }
    let kind = |tally: &Tally| tally.trouble.as_ref().map(|(_, trouble)| trouble.kind);
    match &new.trouble {
        _ if kind(old) == kind(new) => {}
        None => log::info("a usage sink works again", &[("sink", &sink.as_str())]),
        Some((_, trouble)) => {
            let write = if trouble.kind.is_alarming() { log::error } else { log::warn };
            let fields: &log::Fields<'_> =
                &[("sink", &sink.as_str()), ("kind", &trouble.kind.label()), ("why", &trouble.words)];
            write("a usage sink does not take what is sent", fields);
        }
    }
}

impl Shared {
    fn new() -> Self {
        let (wish, state, tally) = (Wish::Run, State::Sending, Tally::default());
        Self {
            control: Mutex::new(Control { wish, is_woken: false, is_hurried: false, state, tally }),
            bell: Condvar::new(),
            is_given_up: Mutex::new(false),
        }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect("no thread panics with it")
    }

    fn is_given_up(&self) -> MutexGuard<'_, bool> {
        self.is_given_up.lock().expect("no thread panics with it")
    }

    fn wish(&self) -> Wish {
        self.control().wish
    }

    fn state(&self, state: State) {
        self.control().state = state;
    }

    fn tally(&self, tally: &Tally) {
        self.control().tally.clone_from(tally);
    }

    /// Waits for a time, or until told otherwise; without a time, for as long as the thread is to pause.
    fn rest(&self, state: State, time: Option<Duration>) {
        let mut control = self.control();
        control.state = state;
        let goes_on = |control: &mut Control| {
            let is_called = control.is_hurried || (state == State::Idle && control.is_woken);
            match time {
                Some(_) => control.wish == Wish::Run && !is_called,
                None => control.wish == Wish::Pause,
            }
        };
        let wait = time.unwrap_or(Duration::MAX);
        let (mut control, _) = self.bell.wait_timeout_while(control, wait, goes_on).expect("no thread panics with it");
        (control.is_woken, control.is_hurried) = (false, false);
    }

    fn wait_for_end(&self, patience: Duration) -> bool {
        let is_there = |control: &mut Control| control.state != State::Ended;
        let waited = self.bell.wait_timeout_while(self.control(), patience, is_there);
        waited.expect("no thread panics with it").0.state == State::Ended
    }
}

/// Says that a thread has ended, however it did.
struct End<'s>(&'s Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state(State::Ended);
        self.0.bell.notify_all();
    }
}

fn usage_sink(target: &Target) -> Option<Box<dyn Sink<Bucket>>> {
    match target.clone() {
        Target::File(options) => Some(Box::new(Files::new(options))),
        Target::Http(options) => Some(Box::new(CloudEvents::new(options))),
        Target::Stripe(options) => Some(Box::new(Stripe::new(options))),
        Target::Webhook(options) => carries_usage(target).then(|| Box::new(Webhook::new(options)) as _),
    }
}

fn event_sink(target: &Target) -> Option<Box<dyn Sink<Event>>> {
    match target {
        Target::Webhook(options) if target.carries_events() => Some(Box::new(Webhook::new(options.clone()))),
        _ => None,
    }
}

fn carries_usage(target: &Target) -> bool {
    !matches!(target, Target::Webhook(options) if options.carries == Carries::Events)
}

/// How long an idle thread waits before it looks again without being woken, and any thread before it asks a broken outbox again.
const LOOK: Duration = Duration::from_secs(5);

//! Waiting for events, for all sockets of one data thread at once.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::source::Source;
use super::tasks::Tasks;

/// What happens to the sockets of one data thread.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    tasks: Rc<Tasks>,
    sources: RefCell<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    places: Vec<Weak<Source>>,
    free: Vec<usize>,
}

impl Reactor {
    /// A reactor without sockets, which wakes these tasks.
    ///
    /// # Errors
    /// If the system gives no epoll.
    pub fn new(tasks: &Rc<Tasks>) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            tasks: Rc::clone(tasks),
            sources: RefCell::default(),
        }))
    }

    /// Waits until something happens or the time, if there is one, is up, and wakes the tasks that it concerns.
    ///
    /// A time costs two readings of the clock and, whenever the thread sleeps, setting a timer up: see [`Source::ticking`].
    ///
    /// # Errors
    /// If the system cannot wait: nothing will ever happen again then.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MOST];
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            events => events?,
        };
        for event in &*events {
            #[expect(clippy::cast_possible_truncation, reason = "it was a usize")]
            let place = event.data.u64() as usize;
            // Let go of the places first: the last one who holds a source gives its place back.
            let source = self.sources.borrow().places[place].upgrade();
            if let Some(seat) = source.and_then(|source| source.take_in(event.flags)) {
                self.tasks.wake(seat);
            }
        }
        Ok(())
    }

    /// Watches the source that `make` makes for its place.
    pub(super) fn watch(&self, make: impl FnOnce(usize) -> Source) -> io::Result<Rc<Source>> {
        let place = {
            let Sources { places, free } = &mut *self.sources.borrow_mut();
            free.pop().unwrap_or_else(|| {
                places.push(Weak::new());
                places.len() - 1
            })
        };
        let source = Rc::new(make(place));
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &*source, EventData::new_u64(place as u64), flags)?;
        self.sources.borrow_mut().places[place] = Rc::downgrade(&source);
        Ok(source)
    }

    /// Gives the place of a source back. The system stops watching it when it is closed.
    pub(super) fn forget(&self, place: usize) {
        let Sources { places, free } = &mut *self.sources.borrow_mut();
        places[place] = Weak::new();
        free.push(place);
    }
}

/// Events that one turn takes in; others are told in the next one.
const EVENTS_MOST: usize = 256;

//! The event loop of one data thread: sockets whose readiness is known without asking, tasks that wait for them, deadlines.
//!
//! A turn has three parts: [`Reactor::wait`] takes in what has happened, and receives the heads that tasks wait for, one
//! right behind the other; [`Tasks::run_woken`] polls the tasks that something has happened to; then the thread sends what
//! they have left to be sent. So the code of each part is in the processor's caches for many requests at once. Nothing here is
//! shared between threads, and a task waits for sockets, deadlines and turns of this thread only. Run by `gateway`.

mod events;
mod source;
mod tasks;

pub use events::Reactor;
pub use source::Source;
pub use tasks::{Elapsed, Seat, TICK, Tasks};

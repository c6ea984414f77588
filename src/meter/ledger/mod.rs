//! The ledger: counts of completed requests that survive the death of the process at any moment.
//!
//! A [`Book`] per data thread counts into cells: one per minute, account, route and class, in files that are mapped, so that
//! the pages belong to the kernel. Counting is a look-up and a few plain stores: no system call, no lock, no allocation.
//! The one [`Keeper`] does everything that may wait: it makes files ahead of need, makes them durable, hands out the cells
//! of minutes that are over, and removes what has been taken over elsewhere. What a dead process left is a [`Replay`].
//!
//! Values are absolute and only grow. A cell may be in several files, after a failed disk or a full one: merging is taking
//! the maximum (`merge`). No minute is written any more once [`Keeper::sealable`] has handed it out, unless in a new life of the
//! ledger ([`Keeper::renew`]), apart from what was there before.
//!
//! `layout` documents the format of the files; `mapping` has all the `unsafe`.

mod book;
mod cell;
mod class;
mod dump;
mod error;
mod folder;
mod keeper;
mod layout;
mod mapping;
mod merge;
mod names;
mod renewal;
mod replay;
mod segment;
mod shelf;
mod table;
#[cfg(test)]
mod tests;
mod usage;

pub use book::{Book, RouteId};
pub use class::{Band, Class};
pub use dump::dump;
pub use error::LedgerError;
pub use keeper::{Figures, Keeper, Options, Sealable};
pub use layout::Epoch;
pub use merge::Cell;
pub use replay::{Damage, Fault, Replay};
pub use usage::{Account, Amount, Minute, Running, Use};

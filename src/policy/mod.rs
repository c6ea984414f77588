//! Policy: may this key use this route, from here, now? And the one table of denials.
//!
//! Pure: facts in, permit or denial out. Called by `gateway::admit`.

mod answer;
mod denial;
mod facts;
mod network;
mod permit;
mod plan;
mod quota;

pub use denial::{Challenge, Denial};
pub use facts::{Facts, Presented};
pub use network::{canonical, client_address, client_network, contains};
pub use permit::{Permit, Rights, permit, permit_public};
pub use plan::{Plan, TooManyLimits};
pub use quota::{Period, Quota};

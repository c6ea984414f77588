//! The data plane: listeners, the connection loop, facts, admit, forward, answer, finish.
//!
//! A request never leaves the thread that accepted its connection. Started and joined by `app`.

mod admit;
mod answer;
mod aside;
mod berth;
mod client;
mod connection;
mod credentials;
mod desk;
mod downlink;
mod exchange;
mod explain;
mod facts;
mod finish;
mod flood;
mod forward;
mod io;
mod limits;
mod listener;
mod local;
mod metering;
mod options;
mod pipe;
mod reply;
mod request;
mod roles;
mod run;
mod sends;
mod shared;
mod thread;
mod trail;
mod trailers;
mod uplink;

#[doc(hidden)]
pub use desk::Desk;
pub use explain::{Credential, Explanation, LimitLeft, Question, QuotaLeft, allowance, explain};
pub use finish::{DENIALS, OUTCOMES};
pub use options::Options;
pub use run::{Gateway, Metering, StartError, start};
pub use shared::{Crossing, RevokedUse};

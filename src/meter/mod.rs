//! Metering: what is used, counted so that it can be billed on.
//!
//! The ledger is where the data threads count; it outlives the process. Time is an argument everywhere.

pub mod ledger;

//! A request under way: what is left of its head once everything has been read off it.

use std::rc::Rc;

use super::local::Local;
use super::trail::Trail;
use crate::http1::{Body, Buffer, Version};

/// A request under way. Kept across waits, so it is small.
#[derive(Debug)]
pub(super) struct Request {
    /// The rules it started with.
    pub(super) local: Rc<Local>,
    /// What its end will be told from.
    pub(super) trail: Trail,
    /// The trail's texts, then what is sent: the head for the upstream, or the gateway's own answer.
    pub(super) out: Buffer,
    /// How many bytes of the client's input its head is; 0 if it could not be read.
    pub(super) head_length: usize,
    /// What is still to be read of its body.
    pub(super) body: Body,
    /// Whether the head in `out` has a Host already.
    pub(super) has_host: bool,
    /// The client's version.
    pub(super) version: Version,
    /// Whether the client's connection can be kept, as far as the client is concerned.
    pub(super) keep_alive: bool,
    /// Whether the method is HEAD.
    pub(super) is_head: bool,
    /// Whether it is a gRPC request.
    pub(super) is_grpc: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the credential came in `Authorization`.
    pub(super) by_authorization: bool,
    /// The most bytes of body, if there is a bound.
    pub(super) max_body_bytes: Option<u64>,
}

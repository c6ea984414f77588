//! The HTTP/1.1 engine: heads, framing, bodies, strict. Knows nothing of keys, and nothing of sockets.
//!
//! Everything here works on bytes that somebody else has read, and says how many of them it used. What it accepts, it
//! accepts in one reading only: where RFC 9112 leaves a choice, the message is refused.
//! Called by `gateway` for both sides of a request.

mod body;
mod buffer;
mod chunked;
mod connection;
mod fields;
mod framing;
mod grammar;
mod lines;
mod request;
mod response;
mod target;
mod writer;

pub use body::{Body, BodyError, Piece};
pub use buffer::{BUFFER_BYTES, Buffer};
pub use chunked::{ChunkError, Chunked, LAST_CHUNK, MAX_CHUNK_HEAD, MAX_TRAILER_BYTES, Step, write_chunk_head};
pub use connection::{Connection, TooManyNamed};
pub use fields::{Field, FieldSlots, MAX_FIELDS, Tokens, eq_folded, parse_trailers};
pub use framing::{Framing, FramingError, Length};
pub use lines::Lines;
pub use request::{HeadError, HeadLimits, HeadScan, RequestHead, Version};
pub use response::{ResponseError, ResponseHead, find_response_end, parse_response, reason_phrase};
pub use target::{HostError, Target, TargetError, host_name, host_without_port, parse_target, valid_host};
pub use writer::Writer;

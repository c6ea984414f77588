//! What clients get to see of a denial: a flat table of public answers.
//!
//! The texts are friendly, tell what to do and promise nothing about our insides; they stand in JSON as they are.
//! Where the type is `about:blank`, the title is the phrase of the status (RFC 9457 section 4.2.1). Named only by
//! [`super::Denial`].

use super::denial::Challenge;

/// One public answer; the fields are the columns behind the methods of [`super::Denial`].
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) problem_type: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
    pub(super) challenge: Challenge,
    pub(super) retries: bool,
    pub(super) grpc_status: u8,
}

pub(super) static KEY_MISSING: Answer = Answer {
    code: "key_missing",
    detail: "This address needs an API key. Send yours with the request, for example as 'Authorization: Bearer <key>'.",
    challenge: Challenge::Bare,
    ..UNAUTHORIZED
};

/// Shared by everything that can be wrong with a key, so that nobody learns which keys exist.
pub(super) static KEY_INVALID: Answer = Answer {
    code: "key_invalid",
    detail: "This API key does not work. Check that it was copied whole, or ask whoever gave it to you for a new one.",
    challenge: Challenge::InvalidToken,
    ..UNAUTHORIZED
};

pub(super) static KEY_AMBIGUOUS: Answer = Answer {
    code: "key_ambiguous",
    detail: "The request holds more than one API key. Send one key, in one place.",
    challenge: Challenge::InvalidRequest,
    ..BAD_REQUEST
};

pub(super) static SCOPE_MISSING: Answer = Answer {
    detail: "Your API key does not have a scope that this address needs. Ask for a key that does.",
    ..NOT_PERMITTED
};

pub(super) static PLAN_NOT_ALLOWED: Answer = Answer {
    detail: "The plan of your API key does not include this address. Ask for a plan that does.",
    ..NOT_PERMITTED
};

pub(super) static METHOD_NOT_ALLOWED: Answer = Answer {
    detail: "This address cannot be used with this method. The documentation of the API says which ones can.",
    ..NOT_PERMITTED
};

pub(super) static NETWORK_NOT_ALLOWED: Answer = Answer {
    detail: "Your API key cannot be used from your network. Use it from a network that it was made for, or have yours added.",
    ..NOT_PERMITTED
};

pub(super) static LIMIT_EXCEEDED: Answer = Answer {
    code: "limit_exceeded",
    problem_type: PROBLEM_QUOTA_EXCEEDED,
    title: "Limit reached",
    detail: "Your API key has used up a limit of its plan. Try again after the seconds that Retry-After says.",
    retries: true,
    ..TOO_MANY_REQUESTS
};

pub(super) static QUOTA_EXCEEDED: Answer = Answer {
    code: "quota_exceeded",
    problem_type: PROBLEM_QUOTA_EXCEEDED,
    title: "Quota used up",
    detail: "Your API key has used up its quota for this period. The next one begins after the seconds that Retry-After says.",
    retries: true,
    ..TOO_MANY_REQUESTS
};

pub(super) static CONCURRENCY_EXCEEDED: Answer = Answer {
    code: "concurrency_exceeded",
    problem_type: PROBLEM_QUOTA_EXCEEDED,
    title: "Too many requests at once",
    detail: "As many requests of your API key are running as its plan allows. Wait for one of them to end, then try again.",
    ..TOO_MANY_REQUESTS
};

pub(super) static TOO_MANY_FAILURES: Answer = Answer {
    code: "too_many_failures",
    problem_type: PROBLEM_QUOTA_EXCEEDED,
    title: "Too many failed attempts",
    detail: "Too many requests without a working API key came from your network. Check your key before you try again.",
    retries: true,
    ..TOO_MANY_REQUESTS
};

pub(super) static ROUTE_UNKNOWN: Answer = Answer {
    status: 404,
    code: "route_unknown",
    title: "Not Found",
    detail: "There is nothing at this address. Check the host and the path.",
    grpc_status: UNIMPLEMENTED,
    ..PLAIN
};

pub(super) static UPSTREAM_FAILED: Answer = Answer {
    status: 502,
    code: "upstream_failed",
    title: "Bad Gateway",
    detail: "The service behind this address did not give a usable answer. If the request can be repeated safely, try again.",
    grpc_status: UNAVAILABLE,
    ..PLAIN
};

pub(super) static UPSTREAM_UNAVAILABLE: Answer = Answer {
    code: "upstream_unavailable",
    detail: "The service behind this address is not available at the moment. Try again a little later.",
    ..SERVICE_UNAVAILABLE
};

pub(super) static UPSTREAM_TIMEOUT: Answer = Answer {
    status: 504,
    code: "upstream_timeout",
    title: "Gateway Timeout",
    detail: "The service behind this address took too long. The request may still have had an effect: check before you repeat it.",
    grpc_status: DEADLINE_EXCEEDED,
    ..PLAIN
};

pub(super) static OVERLOADED: Answer = Answer {
    code: "overloaded",
    detail: "There is too much going on here at the moment. Try again a little later.",
    ..SERVICE_UNAVAILABLE
};

pub(super) static BAD_HEAD: Answer = Answer {
    detail: "The head of the request is not valid HTTP/1.1. Check how your client writes the request line and header fields.",
    ..BAD_REQUEST
};

pub(super) static BAD_TARGET: Answer = Answer {
    detail: "The target of the request is not valid. Send a path that begins with a slash, without spaces and fragments.",
    ..BAD_REQUEST
};

pub(super) static BAD_HOST: Answer =
    Answer { detail: "The request needs exactly one valid Host field.", ..BAD_REQUEST };

pub(super) static BAD_PATH: Answer = Answer {
    code: "bad_path",
    detail: "The path can be read in more than one way. Send it without backslashes, empty segments, and encoded dots, slashes or control characters.",
    ..BAD_REQUEST
};

pub(super) static BAD_FRAMING: Answer = Answer {
    code: "bad_framing",
    detail: "The length of the body is not clear. Send either one Content-Length or 'Transfer-Encoding: chunked'.",
    ..BAD_REQUEST
};

pub(super) static BAD_BODY: Answer = Answer {
    code: "bad_body",
    detail: "The body does not keep to its framing. Check how your client writes chunks.",
    ..BAD_REQUEST
};

pub(super) static UNKNOWN_CODING: Answer = Answer {
    code: "unknown_coding",
    detail: "The body has a transfer coding that is not understood here. Send it with Content-Length or 'Transfer-Encoding: chunked'.",
    ..UNSUPPORTED
};

pub(super) static VERSION_UNSUPPORTED: Answer = Answer {
    status: 505,
    code: "version_unsupported",
    title: "HTTP Version Not Supported",
    detail: "This version of HTTP is not understood here. Use HTTP/1.1.",
    ..UNSUPPORTED
};

pub(super) static METHOD_UNSUPPORTED: Answer = Answer {
    status: 405,
    code: "method_unsupported",
    title: "Method Not Allowed",
    detail: "This method cannot be used here. The Allow field says which ones can.",
    ..UNSUPPORTED
};

pub(super) static HEAD_TOO_LARGE: Answer = Answer {
    status: 431,
    code: "head_too_large",
    title: "Request Header Fields Too Large",
    detail: "The request has too many header fields, or too long ones. Send fewer or shorter ones; large cookies are a usual cause.",
    ..TOO_LARGE
};

pub(super) static TARGET_TOO_LONG: Answer = Answer {
    status: 414,
    code: "target_too_long",
    title: "URI Too Long",
    detail: "The path and query of the request are too long. Send what is long in the body.",
    ..TOO_LARGE
};

pub(super) static HEAD_TIMEOUT: Answer = Answer {
    code: "head_timeout",
    detail: "The head of the request did not come in time. Try again on a new connection.",
    ..REQUEST_TIMEOUT
};

pub(super) static BODY_TIMEOUT: Answer = Answer {
    code: "body_timeout",
    detail: "The body of the request stopped coming. Try again on a new connection.",
    ..REQUEST_TIMEOUT
};

pub(super) static BODY_TOO_LARGE: Answer = Answer {
    code: "body_too_large",
    detail: "The body of the request is larger than this address takes. Send less at once.",
    ..TOO_LARGE
};

pub(super) static EXPECTATION_FAILED: Answer = Answer {
    status: 417,
    code: "expectation_failed",
    title: "Expectation Failed",
    detail: "The only expectation that can be met here is 'Expect: 100-continue'.",
    ..BAD_REQUEST
};

// What the answers above have in common, most general last.

const UNAUTHORIZED: Answer = Answer { status: 401, title: "Unauthorized", grpc_status: UNAUTHENTICATED, ..PLAIN };

const NOT_PERMITTED: Answer = Answer {
    status: 403,
    code: "not_permitted",
    title: "Forbidden",
    challenge: Challenge::InsufficientScope,
    grpc_status: PERMISSION_DENIED,
    ..PLAIN
};

const TOO_MANY_REQUESTS: Answer =
    Answer { status: 429, title: "Too Many Requests", grpc_status: RESOURCE_EXHAUSTED, ..PLAIN };

const SERVICE_UNAVAILABLE: Answer =
    Answer { status: 503, title: "Service Unavailable", retries: true, grpc_status: UNAVAILABLE, ..PLAIN };

const BAD_REQUEST: Answer =
    Answer { status: 400, code: "bad_request", title: "Bad Request", grpc_status: INVALID_ARGUMENT, ..PLAIN };

const REQUEST_TIMEOUT: Answer =
    Answer { status: 408, title: "Request Timeout", grpc_status: DEADLINE_EXCEEDED, ..PLAIN };

const TOO_LARGE: Answer = Answer { status: 413, title: "Content Too Large", grpc_status: RESOURCE_EXHAUSTED, ..PLAIN };

const UNSUPPORTED: Answer = Answer { status: 501, title: "Not Implemented", grpc_status: UNIMPLEMENTED, ..PLAIN };

const PLAIN: Answer = Answer {
    status: 500,
    code: "",
    problem_type: "about:blank",
    title: "",
    detail: "",
    challenge: Challenge::None,
    retries: false,
    grpc_status: INTERNAL,
};

/// draft-ietf-httpapi-ratelimit-headers-11.
const PROBLEM_QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

// Status codes of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

//! The fields of the YAML file: the one table that the checks, the suggestions, the defaults and the schema come from.
//!
//! A field that is not here does not exist: [`super::shape`] refuses it, and [`super::reader`] finds no value for it.

use super::form::{self, Form};
use crate::http1::{BUFFER_BYTES, MAX_FIELDS};
use crate::key::Extra;

/// One field of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    /// One or two sentences for the schema.
    pub(super) doc: &'static str,
}

/// Whether a field must be there, and what holds if it is not.
#[derive(Debug)]
pub(super) enum Need {
    Required,
    Optional,
    Default(Literal),
}

/// A default value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Literal {
    Null,
    Switch(bool),
    Integer(u64),
    Number(f64),
    Text(&'static str),
    Texts(&'static [&'static str]),
}

/// What may stand in a place.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text of a form.
    Text(&'static Form),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// `false` alone, where it means off.
    False,
    /// Nothing, where that means something.
    Null,
    /// A whole number within bounds.
    Integer(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// `10s` and the like, within bounds in milliseconds.
    Duration(u64, u64),
    /// `32KiB` and the like, or a number of bytes, within bounds.
    Size(u64, u64),
    /// A list; the number says how many items it must have at least.
    List(&'static Kind, usize),
    /// A mapping of names to things of a kind; nothing is the same as an empty one.
    Map(&'static Form, &'static Kind),
    /// A mapping with these fields.
    Object(&'static [Field]),
    /// Text of a form that must not be shown, here or elsewhere.
    Secret(&'static Form),
    /// A mapping with exactly one of these fields.
    OneField(&'static [Field]),
    /// A mapping whose field `type` is one of these words, with the fields that go with it.
    Variants(&'static [(&'static str, &'static [Field])]),
    /// Any of these.
    Any(&'static [Kind]),
}

/// The fields of the main file.
pub(super) const ROOT: &[Field] = &[
    required(
        "listeners",
        Kind::List(&Kind::Object(LISTENER), 1),
        "The data plane: where clients connect. A change needs a restart.",
    ),
    optional(
        "operations",
        Kind::Object(OPERATIONS),
        "The operations listener: /metrics, /healthz, /readyz and /status. Off if absent.",
    ),
    optional(
        "admin",
        Kind::Object(ADMIN),
        "The admin API: keys and tokens that are made and revoked while traffic flows. Off if absent.",
    ),
    optional(
        "console",
        Kind::Object(CONSOLE),
        "The web page of the admin listener, and how browsers come in. On with its defaults if `admin` is there. A change needs a restart.",
    ),
    optional(
        "data_dir",
        Kind::Text(&form::FILE),
        "Where keys of the admin API are stored, relative to this file; ./data if `admin` is there. Made if missing. A change needs a restart.",
    ),
    default(
        "threads",
        Kind::Any(&[Kind::Word(&["auto"]), Kind::Integer(1, 1024)]),
        Literal::Text("auto"),
        "Data threads; auto: one per available core. A change needs a restart.",
    ),
    default(
        "max_connections",
        Kind::Any(&[Kind::Null, Kind::Integer(1, 100_000_000)]),
        Literal::Null,
        "Client connections at once over all threads; null: what the file descriptor limit allows.",
    ),
    default(
        "drain_timeout",
        Kind::Duration(0, DAY_MS),
        Literal::Text("30s"),
        "How long running requests may take after the stop signal.",
    ),
    optional(
        "default_plan",
        Kind::Text(&form::NAME),
        "The plan of every key that names none. Without it such a key has no limits.",
    ),
    default("realm", Kind::Text(&form::REALM), Literal::Text("api"), "The realm of WWW-Authenticate."),
    default(
        "brand",
        Kind::Text(&form::BRAND),
        Literal::Text("kg"),
        "What secrets begin with; the checksum of those that do is verified before any look-up.",
    ),
    optional(
        "credentials",
        Kind::Object(CREDENTIALS),
        "Where a request may carry its key. Exactly one place must be used.",
    ),
    optional(
        "identity_headers",
        Kind::Object(IDENTITY),
        "The fields that tell the upstream who is calling; null or false turns one off.",
    ),
    default(
        "limit_headers",
        Kind::Word(&["standard", "legacy", "both", "none"]),
        Literal::Text("standard"),
        "Rate limit fields of answers: RateLimit and RateLimit-Policy, X-RateLimit-*, both or none.",
    ),
    default(
        "trusted_proxies",
        Kind::List(&Kind::Text(&form::NETWORK), 0),
        Literal::Texts(&[]),
        "Peers whose X-Forwarded-For is believed.",
    ),
    optional("hashing", Kind::Object(HASHING), "How secrets become digests."),
    optional("headers", Kind::Object(HEADERS), "Rules for field names."),
    default("via", Kind::Switch, Literal::Switch(true), "Whether `Via: 1.1 keygate` is added to requests."),
    optional("paths", Kind::Object(PATHS), "How paths are normalised."),
    default(
        "max_head_bytes",
        Kind::Size(1 << 10, MAX_HEAD_BYTES),
        Literal::Text("32KiB"),
        "Largest head of a request; above it the answer is 431.",
    ),
    default(
        "max_fields",
        Kind::Integer(1, MAX_FIELDS as u64),
        Literal::Integer(100),
        "Most fields in the head of a request; above it the answer is 431.",
    ),
    default(
        "max_target_bytes",
        Kind::Size(64, MAX_HEAD_BYTES / 2),
        Literal::Text("8KiB"),
        "Longest request target; above it the answer is 414.",
    ),
    default(
        "max_body_bytes",
        Kind::Any(&[Kind::Null, BODY_SIZE]),
        Literal::Null,
        "Largest request body where the route says nothing; null: no bound.",
    ),
    default(
        "head_timeout",
        Kind::Duration(1, DAY_MS),
        Literal::Text("10s"),
        "From the first byte of a head to its end; then the answer is 408.",
    ),
    default(
        "idle_timeout",
        Kind::Duration(1, DAY_MS),
        Literal::Text("75s"),
        "Between two requests of a connection; then it is closed.",
    ),
    default(
        "body_timeout",
        Kind::Duration(1, DAY_MS),
        Literal::Text("60s"),
        "Between two reads or writes of a body on the client's side.",
    ),
    default(
        "on_revocation",
        Kind::Word(&["end", "finish"]),
        Literal::Text("end"),
        "What becomes of the running requests of a key that is revoked: they end within a second, or may finish.",
    ),
    optional(
        "flood_guard",
        Kind::Any(&[Kind::Null, Kind::Word(&["off"]), Kind::Object(FLOOD_GUARD)]),
        "How many failed authentications a client network may cause in a while; null or off: any number.",
    ),
    optional("usage", Kind::Object(USAGE), "How usage is counted and kept; needs `data_dir`."),
    optional("logs", Kind::Object(LOGS), "What is logged, where and how."),
    optional(
        "include",
        Kind::List(&Kind::Text(&form::FILE), 0),
        "More files, relative to this one, with upstreams, routes, plans, keys and revoked. `*` in the last part of a path stands for any characters.",
    ),
    UPSTREAMS,
    ROUTES,
    PLANS,
    KEYS,
    REVOKED,
];

/// The fields of an included file.
pub(super) const INCLUDED: &[Field] = &[UPSTREAMS, ROUTES, PLANS, KEYS, REVOKED];

pub(super) const LISTENER: &[Field] =
    &[required("address", Kind::Text(&form::ADDRESS), "IP address and port; port 0 lets the system choose.")];

pub(super) const OPERATIONS: &[Field] = &[required(
    "address",
    Kind::Text(&form::ADDRESS),
    "IP address and port; port 0 lets the system choose. A change needs a restart.",
)];

pub(super) const ADMIN: &[Field] = &[
    required(
        "address",
        Kind::Text(&form::ADDRESS),
        "IP address and port; port 0 lets the system choose. A change needs a restart.",
    ),
    default(
        "allow_insecure",
        Kind::Switch,
        Literal::Switch(false),
        "Whether an address that other machines can reach is served without TLS.",
    ),
    optional(
        "token_files",
        Kind::List(&Kind::Text(&form::FILE), 0),
        "Files with an operator's token each, relative to this one; one that is missing is made at the start. admin.token in `data_dir` if absent.",
    ),
];

pub(super) const CREDENTIALS: &[Field] = &[
    default(
        "headers",
        Kind::List(&Kind::Text(&form::FIELD_NAME), 0),
        Literal::Texts(&["Authorization", "X-API-Key"]),
        "Header fields; Authorization means the Bearer scheme.",
    ),
    default("query", Kind::List(&Kind::Text(&form::PARAMETER), 0), Literal::Texts(&[]), "Query parameters."),
    default("cookies", Kind::List(&Kind::Text(&form::PARAMETER), 0), Literal::Texts(&[]), "Cookies."),
    default("forward", Kind::Switch, Literal::Switch(false), "Whether the upstream gets to see the credential."),
];

pub(super) const CONSOLE: &[Field] = &[
    default(
        "enabled",
        Kind::Switch,
        Literal::Switch(true),
        "Whether the admin listener serves the page and lets browsers sign in.",
    ),
    optional(
        "public_url",
        Kind::Text(&form::PUBLIC_URL),
        "Where browsers find the page: links lead there, and under other names than this one, localhost and IP addresses nobody is let in.",
    ),
    optional(
        "gateway_url",
        Kind::Text(&form::GATEWAY_URL),
        "Where clients send their requests: the lines of curl that the page offers name it.",
    ),
    optional(
        "trusted_header",
        Kind::Object(TRUSTED_HEADER),
        "A single sign-on proxy in front of the admin listener: whom it lets through is an operator.",
    ),
    optional(
        "recoverable_secrets",
        Kind::Object(RECOVERABLE_SECRETS),
        "New secrets are also stored encrypted, so that they can be shown again. Off if absent: nobody sees a secret twice.",
    ),
];

pub(super) const RECOVERABLE_SECRETS: &[Field] = &[required(
    "key_file",
    Kind::Text(&form::FILE),
    "A file with the key that they are encrypted under, 32 bytes or 64 hexadecimal digits, readable by its owner alone. Relative to this file.",
)];

pub(super) const TRUSTED_HEADER: &[Field] = &[
    required(
        "name",
        Kind::Text(&form::FIELD_NAME),
        "The field in which the proxy names the user; it must take it out of requests.",
    ),
    required(
        "networks",
        Kind::List(&Kind::Text(&form::NETWORK), 1),
        "The addresses that the proxy asks from. Whoever else can ask from there can be an operator.",
    ),
];

pub(super) const IDENTITY: &[Field] = &[
    default("key", HEADER_OR_OFF, Literal::Text("X-Keygate-Key"), "Carries the key's id."),
    default("owner", HEADER_OR_OFF, Literal::Text("X-Keygate-Owner"), "Carries the owner."),
    default("plan", HEADER_OR_OFF, Literal::Text("X-Keygate-Plan"), "Carries the plan."),
];

pub(super) const HASHING: &[Field] = &[optional(
    "peppers",
    Kind::Map(&form::PEPPER_ID, &Kind::Any(&[Kind::Text(&form::FILE), Kind::OneField(ELSEWHERE)])),
    "Peppers for hmac-sha256 digests: id to path of a file with 16 bytes or more. Several can be known, so that one can be retired.",
)];

pub(super) const HEADERS: &[Field] = &[default(
    "allow_underscores",
    Kind::Switch,
    Literal::Switch(false),
    "Whether fields with `_` in their names are forwarded. Many servers take `_` for `-`.",
)];

pub(super) const PATHS: &[Field] = &[
    default("encoded_slashes", Kind::Word(&["reject", "keep"]), Literal::Text("reject"), "What becomes of %2f."),
    default("empty_segments", Kind::Word(&["reject", "merge", "keep"]), Literal::Text("reject"), "What becomes of //."),
];

pub(super) const FLOOD_GUARD: &[Field] = &[
    default(
        "failures",
        Kind::Integer(1, 1_000_000),
        Literal::Integer(100),
        "Failures allowed per interval and client network (/32 or /64).",
    ),
    default("per", Kind::Duration(1000, 60 * 60 * 1000), Literal::Text("10s"), "The interval."),
];

pub(super) const LOGS: &[Field] = &[
    default("format", Kind::Word(&["json", "text"]), Literal::Text("json"), "The form of every log line."),
    default(
        "requests",
        Kind::Any(&[Kind::Word(&["off", "stdout"]), Kind::Object(LOG_FILE)]),
        Literal::Text("stdout"),
        "Where the line of each request goes.",
    ),
    default(
        "sample",
        Kind::Share,
        Literal::Number(1.0),
        "The share of forwarded requests that is logged; denials and failures always are.",
    ),
];

pub(super) const LOG_FILE: &[Field] =
    &[required("file", Kind::Text(&form::FILE), "Lines are appended to this file, relative to this one.")];

/// What kinds of sinks there are.
const SINKS: &[(&str, &[Field])] =
    &[("file", FILE_SINK), ("http", HTTP_SINK), ("stripe", STRIPE_SINK), ("webhook", WEBHOOK_SINK)];

pub(super) const FILE_SINK: &[Field] = &[
    required("type", Kind::Word(&["file"]), "Rows in files, each bucket exactly once."),
    required("folder", Kind::Text(&form::FILE), "The folder of the files, relative to this one; made if missing."),
    default(
        "prefix",
        Kind::Text(&form::FILE_PREFIX),
        Literal::Text("usage"),
        "What the names of the files begin with.",
    ),
    default(
        "format",
        Kind::Word(&["ndjson", "csv"]),
        Literal::Text("ndjson"),
        "A JSON object per line, or CSV with a first line of names.",
    ),
    default(
        "max_size",
        Kind::Size(1 << 10, 1 << 40),
        Literal::Text("64MiB"),
        "A file that has grown to this is followed by another one, as it is each day.",
    ),
    SINK_FROM,
    SINK_BATCH,
    SINK_BACKOFF,
    SINK_BACKOFF_MAX,
];

pub(super) const HTTP_SINK: &[Field] = &[
    required("type", Kind::Word(&["http"]), "CloudEvents 1.0 in batches, as OpenMeter and others take them."),
    required("url", Kind::Secret(&form::ENDPOINT), "Where batches are posted to: https://HOST/PATH."),
    SINK_ALLOW_INSECURE,
    SINK_CA_FILE,
    SINK_TIMEOUT,
    optional("token", Kind::OneField(ELSEWHERE), "What goes out as `Authorization: Bearer`."),
    default("source", Kind::Text(&form::VISIBLE), Literal::Text("keygate"), "The `source` of each event."),
    default("event_type", Kind::Text(&form::VISIBLE), Literal::Text("keygate.usage"), "The `type` of each event."),
    default(
        "subject",
        Kind::Word(&["owner", "key"]),
        Literal::Text("owner"),
        "Whose name the `subject` of each event is.",
    ),
    default("select", SINK_SELECT, Literal::Text("billed"), SELECT_DOC),
    optional(
        "duplicate_window",
        Kind::Duration(60 * 60 * 1000, 400 * DAY_MS),
        "How long the receiver recognises duplicates by `source` and `id`. What was sent without an answer and is older is set aside; without it, it is sent again.",
    ),
    SINK_FROM,
    SINK_BATCH,
    SINK_BACKOFF,
    SINK_BACKOFF_MAX,
];

pub(super) const STRIPE_SINK: &[Field] = &[
    required("type", Kind::Word(&["stripe"]), "Meter events of Stripe Billing."),
    required(
        "key",
        Kind::OneField(ELSEWHERE),
        "The secret key of the account, best a restricted one for meter events.",
    ),
    required("meter", Kind::Text(&form::VISIBLE), "The `event_name` of the meter."),
    default(
        "value",
        Kind::Word(&["units", "requests", "bytes_in", "bytes_out"]),
        Literal::Text("units"),
        "What is billed.",
    ),
    optional(
        "customers",
        Kind::Map(&form::NAME, &Kind::Text(&form::VISIBLE)),
        "Stripe's customer ids by owner. An owner whose name begins with cus_ is such an id itself.",
    ),
    default(
        "customer_field",
        Kind::Text(&form::PAYLOAD_FIELD),
        Literal::Text("stripe_customer_id"),
        "The name of the customer in the payload, as the meter has it.",
    ),
    default(
        "value_field",
        Kind::Text(&form::PAYLOAD_FIELD),
        Literal::Text("value"),
        "The name of the value in the payload, as the meter has it.",
    ),
    default("calls", Kind::Integer(1, 64), Literal::Integer(8), "Calls at the same time, each for another customer."),
    default(
        "url",
        Kind::Secret(&form::ENDPOINT),
        Literal::Text("https://api.stripe.com/v1/billing/meter_events"),
        "Where events are posted to.",
    ),
    SINK_ALLOW_INSECURE,
    SINK_CA_FILE,
    SINK_TIMEOUT,
    SINK_FROM,
    SINK_BATCH,
    SINK_BACKOFF,
    SINK_BACKOFF_MAX,
];

pub(super) const WEBHOOK_SINK: &[Field] = &[
    required("type", Kind::Word(&["webhook"]), "Messages that are signed after Standard Webhooks."),
    required("url", Kind::Secret(&form::ENDPOINT), "Where messages are posted to: https://HOST/PATH."),
    SINK_ALLOW_INSECURE,
    SINK_CA_FILE,
    SINK_TIMEOUT,
    required(
        "secret",
        Kind::OneField(ELSEWHERE),
        "What messages are signed with: whsec_ and base64, or 16 bytes or more as they are.",
    ),
    optional(
        "previous_secret",
        Kind::OneField(ELSEWHERE),
        "Signs messages as well, until all receivers know the other one.",
    ),
    default(
        "carries",
        Kind::Word(&["usage", "events", "both"]),
        Literal::Text("both"),
        "Usage, events of keys and quotas, or both.",
    ),
    default("select", SINK_SELECT, Literal::Text("all"), SELECT_DOC),
    SINK_FROM,
    SINK_BATCH,
    SINK_BACKOFF,
    SINK_BACKOFF_MAX,
];

const SINK_FROM: Field = default(
    "from",
    Kind::Word(&["now", "beginning"]),
    Literal::Text("now"),
    "Where a new sink begins: with what comes, or with the oldest that is still kept.",
);
const SINK_BATCH: Field = default(
    "batch",
    Kind::Integer(1, 5_000),
    Literal::Integer(500),
    "Most buckets in one batch; a receiver to whom it is too large is sent smaller ones.",
);
const SINK_BACKOFF: Field = default(
    "backoff",
    Kind::Duration(10, 60 * 60 * 1000),
    Literal::Text("1s"),
    "The pause after the first failure; it doubles with each further one.",
);
const SINK_BACKOFF_MAX: Field =
    default("backoff_max", Kind::Duration(10, 60 * 60 * 1000), Literal::Text("5m"), "The longest pause.");
const SINK_TIMEOUT: Field = default(
    "timeout",
    Kind::Duration(100, 10 * 60 * 1000),
    Literal::Text("30s"),
    "From the begin of a call to its end.",
);
const SINK_CA_FILE: Field = optional(
    "ca_file",
    Kind::Text(&form::FILE),
    "Certificates in PEM by which the receiver is trusted, instead of those that Mozilla trusts; relative to this file.",
);
const SINK_ALLOW_INSECURE: Field = default(
    "allow_insecure",
    Kind::Switch,
    Literal::Switch(false),
    "Whether usage and secrets may be sent in clear to other machines.",
);
const SINK_SELECT: Kind = Kind::Word(&["billed", "all"]);
const SELECT_DOC: &str = "All buckets, or only those with units whose subject is known; the others are passed over.";

pub(super) const UPSTREAM: &[Field] = &[
    required("targets", Kind::List(&Kind::Text(&form::TARGET), 1), "Where it can be reached: http://HOST:PORT."),
    default(
        "connect_timeout",
        Kind::Duration(1, DAY_MS),
        Literal::Text("2s"),
        "From the begin of a connect to its end.",
    ),
    default(
        "response_timeout",
        Kind::Any(&[Kind::Null, Kind::Duration(1, DAY_MS)]),
        Literal::Text("30s"),
        "From the end of the request to the head of the response; null: no bound.",
    ),
    default("idle_timeout", Kind::Duration(1, DAY_MS), Literal::Text("60s"), "Between two reads or writes of a body."),
    default("keep_alive", Kind::Integer(0, 65_536), Literal::Integer(256), "Idle connections kept per data thread."),
    default(
        "preserve_host",
        Kind::Switch,
        Literal::Switch(true),
        "Whether the client's Host goes upstream; else the target's.",
    ),
];

pub(super) const ROUTE: &[Field] = &[
    required(
        "path",
        Kind::Text(&form::PATH),
        "A path and all below it on segment borders: /v1/orders matches /v1/orders/7, not /v1/ordersX. The longest path wins.",
    ),
    optional(
        "host",
        Kind::Text(&form::HOST),
        "A host without port, or *.example.com. A route with a host beats one without.",
    ),
    optional(
        "methods",
        Kind::List(&Kind::Text(&form::METHOD), 1),
        "The methods that it is for; all if absent. GET includes HEAD.",
    ),
    required("upstream", Kind::Text(&form::NAME), "The name of an upstream."),
    default("access", Kind::Word(&["key", "public"]), Literal::Text("key"), "Whether a key is asked for."),
    default(
        "scopes",
        Kind::List(&Kind::Text(&form::SCOPE), 0),
        Literal::Texts(&[]),
        "Scopes that the key must carry, all of them.",
    ),
    optional(
        "plans",
        Kind::List(&Kind::Text(&form::NAME), 1),
        "Only keys on these plans are let through; all if absent.",
    ),
    default(
        "cost",
        Kind::Integer(1, 1_000_000),
        Literal::Integer(1),
        "What one request takes from each limit and quota, and how many units it is.",
    ),
    default(
        "strip_prefix",
        Kind::Switch,
        Literal::Switch(false),
        "Whether the upstream gets the path without the route's path in front.",
    ),
    optional("max_body_bytes", BODY_SIZE, "Largest request body; overrides the general one."),
    optional("count", BILLED, "Which of its answers are billed; what the plan or `usage` says if absent."),
];

pub(super) const PLAN: &[Field] = &[
    optional(
        "limits",
        Kind::Map(&form::LIMIT_NAME, &Kind::Object(LIMIT)),
        "So many requests per time, refilled continuously; at most four. All of them must allow a request.",
    ),
    optional(
        "quotas",
        Kind::Map(&form::LIMIT_NAME, &Kind::Object(QUOTA)),
        "So many requests per calendar day or month in UTC, at most one of each; needs `data_dir`.",
    ),
    optional("count", BILLED, "Which answers to keys on it are billed; what the route or `usage` says if absent."),
    default(
        "concurrency",
        Kind::Any(&[Kind::Null, Kind::Integer(1, 1_000_000)]),
        Literal::Null,
        "Requests of one key at the same time; null: any number.",
    ),
];

pub(super) const LIMIT: &[Field] = &[
    required("requests", Kind::Integer(1, 1_000_000_000), "How many requests."),
    required("per", Kind::Duration(1, 31 * DAY_MS), "In what time."),
    optional("burst", Kind::Integer(1, 1_000_000_000), "How many at once after a pause; `requests` if absent."),
];

pub(super) const QUOTA: &[Field] = &[
    required("requests", Kind::Integer(1, 1_000_000_000_000), "How many requests, times the cost of their routes."),
    required("period", Kind::Word(&["day", "month"]), "In which calendar period, in UTC."),
];

pub(super) const USAGE: &[Field] = &[
    default(
        "sync_interval",
        Kind::Duration(10, 60_000),
        Literal::Text("200ms"),
        "How often the ledger is made durable: a power failure loses no more than this. A change needs a restart.",
    ),
    optional(
        "units_header",
        Kind::Text(&form::FIELD_NAME),
        "A response field in which the upstream says how many units a request is; the cost of its route otherwise.",
    ),
    default("show_units", Kind::Switch, Literal::Switch(false), "Whether the client gets to see that field."),
    default(
        "count",
        BILLED,
        Literal::Texts(&["1xx", "2xx", "3xx", "4xx", "5xx"]),
        "Which answers are billed: their units count. All requests are counted.",
    ),
    optional("retention", Kind::Object(RETENTION), "How long usage is kept by minutes, hours and days."),
    optional(
        "sinks",
        Kind::Map(&form::SINK_NAME, &Kind::Variants(SINKS)),
        "Where usage is sent to, by name; each sink has a place of its own in the queue of all usage.",
    ),
];

pub(super) const RETENTION: &[Field] = &[
    default("minutes", Kind::Duration(60 * 60_000, 3650 * DAY_MS), Literal::Text("7d"), "By the minute."),
    default("hours", Kind::Duration(DAY_MS, 3650 * DAY_MS), Literal::Text("90d"), "By the hour."),
    default("days", Kind::Duration(31 * DAY_MS, 3650 * DAY_MS), Literal::Text("5y"), "By the day."),
];

const BILLED: Kind = Kind::List(&Kind::Word(&["1xx", "2xx", "3xx", "4xx", "5xx", "client_gone", "upstream_failed"]), 0);

pub(super) const KEY: &[Field] = &[
    optional("name", Kind::Text(&form::FREE_TEXT), "What its holder calls it; the id if absent."),
    optional("owner", Kind::Text(&form::NAME), "Whom it belongs to: the customer who is billed."),
    optional("plan", Kind::Text(&form::NAME), "The plan it is on; default_plan if absent."),
    optional(
        "digest",
        Kind::Any(&[Kind::Secret(&form::DIGEST), Kind::OneField(ELSEWHERE)]),
        "sha256:… or hmac-sha256:PEPPER:… of the secret, as `keygate keys hash -` prints it.",
    ),
    optional(
        "secret",
        Kind::Any(&[Kind::Secret(&form::SECRET), Kind::OneField(ELSEWHERE)]),
        "The secret itself, for development and migration; hashed when the file is loaded. Use digest instead.",
    ),
    default("scopes", Kind::List(&Kind::Text(&form::SCOPE), 0), Literal::Texts(&[]), "What it may ask for."),
    optional(
        "networks",
        Kind::List(&Kind::Text(&form::NETWORK), 1),
        "The client networks it works from; any if absent.",
    ),
    optional("not_before", Kind::Text(&form::TIMESTAMP), "Not valid before this time."),
    optional("expires", Kind::Text(&form::TIMESTAMP), "Not valid from this time on."),
    optional("extra_allowance", Kind::Object(EXTRA), "What it may use up beyond the quotas of its plan."),
    default("disabled", Kind::Switch, Literal::Switch(false), "Refused until this is false again."),
];

pub(super) const EXTRA: &[Field] = &[
    default("day", Kind::Integer(0, Extra::MOST), Literal::Integer(0), "More than each quota of a day gives."),
    default("month", Kind::Integer(0, Extra::MOST), Literal::Integer(0), "More than each quota of a month gives."),
];

/// Where a secret is, if not in the file itself.
pub(super) const ELSEWHERE: &[Field] = &[
    optional(
        "file",
        Kind::Text(&form::FILE),
        "A file that holds the value, relative to this one. A line break at its end does not count.",
    ),
    optional("env", Kind::Text(&form::VARIABLE), "An environment variable that holds the value."),
];

const UPSTREAMS: Field =
    optional("upstreams", Kind::Map(&form::NAME, &Kind::Object(UPSTREAM)), "Named groups of targets.");
const ROUTES: Field =
    optional("routes", Kind::Map(&form::NAME, &Kind::Object(ROUTE)), "Which requests go where, and what they need.");
const PLANS: Field = optional("plans", Kind::Map(&form::NAME, &Kind::Object(PLAN)), "Named sets of limits.");
const KEYS: Field = optional("keys", Kind::Map(&form::KEY_ID, &Kind::Object(KEY)), "Keys by id.");
const REVOKED: Field = optional(
    "revoked",
    Kind::Any(&[Kind::Null, Kind::List(&Kind::Text(&form::KEY_ID), 0)]),
    "Ids of keys that are refused for ever, wherever else they are defined.",
);

const HEADER_OR_OFF: Kind = Kind::Any(&[Kind::Null, Kind::False, Kind::Word(&["off"]), Kind::Text(&form::FIELD_NAME)]);
/// A head, and what the gateway adds to it, must fit into one buffer.
const MAX_HEAD_BYTES: u64 = BUFFER_BYTES as u64 / 8 * 3;
const BODY_SIZE: Kind = Kind::Size(0, 1 << 50);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Required, doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Optional, doc }
}

const fn default(name: &'static str, kind: Kind, value: Literal, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Default(value), doc }
}

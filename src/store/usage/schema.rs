//! The tables of usage.
//!
//! Starts and days are minutes since 1970, of UTC. What is none is empty in `accounts` and `routes`.

use crate::store::schema::Schema;

/// Marked `kgus`. Buckets are most of the file, and are left to a thorough check.
pub(super) const SCHEMA: Schema = Schema {
    application_id: 0x6b67_7573,
    steps: &[FIRST, HEARD],
    vital: &["head", "sealed", "accounts", "routes", "tallies", "sinks"],
};

const FIRST: &str = "
-- One row: the next place in each queue, and for each table of buckets what is in it.
CREATE TABLE head (
    only         INTEGER PRIMARY KEY CHECK (only = 1),
    bucket       INTEGER NOT NULL,   -- the last place in the queue of buckets
    event        INTEGER NOT NULL,   -- the last place in the queue of events
    hours_until  INTEGER NOT NULL,   -- before this everything is in `hours` too
    days_until   INTEGER NOT NULL,   -- before this everything is in `days` too
    minutes_from INTEGER NOT NULL,   -- before this `minutes` is not whole any more
    hours_from   INTEGER NOT NULL,   -- before this `hours` is not whole any more
    days_from    INTEGER NOT NULL    -- before this `days` is not whole any more
) STRICT;
INSERT INTO head VALUES (1, 0, 0, 0, 0, 0, 0, 0);

-- The lives of processes that counted, and up to which minute of theirs all is here.
CREATE TABLE sealed (
    number     INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    UNIQUE (epoch, started)
) STRICT;

CREATE TABLE accounts (
    number     INTEGER PRIMARY KEY,
    key        TEXT NOT NULL,
    owner      TEXT NOT NULL,
    plan       TEXT NOT NULL,
    UNIQUE (key, owner, plan)
) STRICT;
CREATE INDEX accounts_by_owner ON accounts (owner) WHERE owner <> '';

CREATE TABLE routes (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE
) STRICT;

-- The buckets, which are also the queue to the sinks.
CREATE TABLE minutes (
    seq        INTEGER PRIMARY KEY,
    start      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    route      INTEGER NOT NULL,
    class      INTEGER NOT NULL,
    life       INTEGER NOT NULL,   -- a number from `sealed`
    doubtful   INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    bytes_in   INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL,
    latency_ns INTEGER NOT NULL,
    under_10ms INTEGER NOT NULL,
    under_100ms INTEGER NOT NULL,
    under_1s   INTEGER NOT NULL,
    over_1s    INTEGER NOT NULL
) STRICT;
CREATE INDEX minutes_by_start ON minutes (start, account);

CREATE TABLE hours (
    start      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    route      INTEGER NOT NULL,
    class      INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    bytes_in   INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL,
    latency_ns INTEGER NOT NULL,
    under_10ms INTEGER NOT NULL,
    under_100ms INTEGER NOT NULL,
    under_1s   INTEGER NOT NULL,
    over_1s    INTEGER NOT NULL,
    PRIMARY KEY (start, account, route, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE days (
    start      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    route      INTEGER NOT NULL,
    class      INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    bytes_in   INTEGER NOT NULL,
    bytes_out  INTEGER NOT NULL,
    latency_ns INTEGER NOT NULL,
    under_10ms INTEGER NOT NULL,
    under_100ms INTEGER NOT NULL,
    under_1s   INTEGER NOT NULL,
    over_1s    INTEGER NOT NULL,
    PRIMARY KEY (start, account, route, class)
) STRICT, WITHOUT ROWID;

-- What was sealed each day, noted apart: what the tables above are held against.
CREATE TABLE tallies (
    day        INTEGER PRIMARY KEY,
    buckets    INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    units      INTEGER NOT NULL
) STRICT;

-- What quotas were charged with.
CREATE TABLE quotas (
    period     TEXT NOT NULL CHECK (period IN ('day', 'month')),
    start      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    PRIMARY KEY (period, start, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    at         INTEGER NOT NULL,   -- milliseconds since 1970
    subject    TEXT NOT NULL,
    data       TEXT NOT NULL       -- JSON
) STRICT;

-- How far each sink has come in each queue.
CREATE TABLE sinks (
    queue        TEXT NOT NULL CHECK (queue IN ('buckets', 'events')),
    name         TEXT NOT NULL,
    began        INTEGER NOT NULL,   -- what is up to here was never meant for it
    acknowledged INTEGER NOT NULL,
    note         TEXT NOT NULL,
    PRIMARY KEY (queue, name)
) STRICT, WITHOUT ROWID;

-- What a sink will not get, as long as it is kept.
CREATE TABLE set_aside (
    queue      TEXT NOT NULL,
    sink       TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    cause      TEXT NOT NULL,
    PRIMARY KEY (queue, sink, seq)
) STRICT, WITHOUT ROWID;

-- What was deleted before a sink had taken it, because the queue was full.
CREATE TABLE overruns (
    queue      TEXT NOT NULL,
    sink       TEXT NOT NULL,
    day        INTEGER NOT NULL,
    lost       INTEGER NOT NULL,
    PRIMARY KEY (queue, sink, day)
) STRICT, WITHOUT ROWID;
";

/// One row while webhooks listen: up to where the audit log of the keys was told to them.
const HEARD: &str = "
CREATE TABLE heard (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    rows       INTEGER NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
";

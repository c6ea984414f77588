//! The tables of keys, admin tokens and the audit log.

use crate::store::schema::Schema;

/// Marked `kgat`.
pub(super) const SCHEMA: Schema = Schema {
    application_id: 0x6b67_6174,
    steps: &[FIRST, RECOVERABLE, EXTRA],
    vital: &["keys", "secrets", "tokens", "head"],
};

/// Instants are milliseconds since 1970. A revision touches one record, so the records are the log of changes too.
const FIRST: &str = "
CREATE TABLE keys (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    owner      TEXT,
    plan       TEXT,
    scopes     TEXT NOT NULL,   -- with spaces between them
    networks   TEXT NOT NULL,   -- with spaces between them
    not_before INTEGER,
    expires    INTEGER,
    state      TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    created    INTEGER NOT NULL,
    changed    INTEGER NOT NULL,
    revision   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX keys_by_revision ON keys (revision);
CREATE INDEX keys_by_owner ON keys (owner, id) WHERE owner IS NOT NULL;

CREATE TABLE secrets (
    key        INTEGER NOT NULL REFERENCES keys (number),
    place      INTEGER NOT NULL,   -- 0 is the newest
    digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    pepper     TEXT,               -- of the HMAC-SHA-256; none: plain SHA-256
    hint       TEXT NOT NULL,
    since      INTEGER NOT NULL,
    until      INTEGER,
    last_used  INTEGER,
    PRIMARY KEY (key, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id         TEXT NOT NULL PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER,
    revoked    INTEGER,
    revision   INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE answers (
    token      TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    BLOB NOT NULL CHECK (length(request) = 32),
    status     INTEGER NOT NULL,
    body       TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_end ON answers (expires);

CREATE TABLE audit (
    number     INTEGER PRIMARY KEY,
    revision   INTEGER,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    remote     TEXT,
    action     TEXT NOT NULL,
    target     TEXT,
    before     TEXT,
    after      TEXT,
    request_id TEXT,
    hash       BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;

-- The newest revision, and the end of the audit log.
CREATE TABLE head (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    revision   INTEGER NOT NULL,
    audit_rows INTEGER NOT NULL,
    audit_hash BLOB NOT NULL CHECK (length(audit_hash) = 32)
) STRICT;
INSERT INTO head VALUES (1, 0, 0, zeroblob(32));
";

/// Secrets that can be shown again. Apart from `secrets`, so that nobody reads them who only wants to know a key.
const RECOVERABLE: &str = "
CREATE TABLE recoverable (
    digest     BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    key        INTEGER NOT NULL REFERENCES keys (number),
    hidden     BLOB NOT NULL       -- encrypted; the key for it is not in this file
) STRICT, WITHOUT ROWID;
CREATE INDEX recoverable_by_key ON recoverable (key);
";

/// What keys may use up beyond the quotas of their plans.
const EXTRA: &str = "
ALTER TABLE keys ADD COLUMN extra_day INTEGER NOT NULL DEFAULT 0 CHECK (extra_day >= 0);
ALTER TABLE keys ADD COLUMN extra_month INTEGER NOT NULL DEFAULT 0 CHECK (extra_month >= 0);
";

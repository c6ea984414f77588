//! From rows to records: whatever is not as this program writes it is damage, told with its table and row.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::key::{Digest, Extra, Key, KeyId, State, StoredDigest, TokenId};
use crate::store::StoreError;
use crate::store::audit::{AuditRow, Chain};
use crate::store::change::{Answer, Replay};
use crate::store::record::{Recoverable, Revision, Role, StoredKey, StoredSecret, Token};
use crate::time::Timestamp;

/// The columns of [`key`], from `keys`.
pub(super) const KEY_COLUMNS: &str = "number, revision, id, name, owner, plan, scopes, networks, not_before, expires, \
    state, created, changed, extra_day, extra_month";
/// The columns of [`secret`], from `secrets`.
pub(super) const SECRET_COLUMNS: &str = "key, pepper, digest, hint, since, until, last_used";
/// The columns of [`recoverable`], from `recoverable`.
pub(super) const RECOVERABLE_COLUMNS: &str = "digest, hidden";
/// The columns of [`token`], from `tokens`.
pub(super) const TOKEN_COLUMNS: &str = "id, revision, digest, name, role, created, expires, revoked";
/// The columns of [`replay`], from `answers`.
pub(super) const ANSWER_COLUMNS: &str = "key, request, status, body, revision";
/// The columns of [`audit`], from `audit`.
pub(super) const AUDIT_COLUMNS: &str =
    "number, revision, at, actor, remote, action, target, before, after, request_id, hash";
/// The columns of [`head`], from `head`.
pub(super) const HEAD_COLUMNS: &str = "only, revision, audit_rows, audit_hash";

/// The rows of `secrets` of one key, as far as they can be read.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    found: Vec<StoredSecret>,
    /// What is wrong with the first that is damaged.
    error: Option<StoreError>,
}

/// A row of `secrets`, or what is left of it.
pub(super) type MaybeSecret = Result<StoredSecret, (Option<StoredSecret>, StoreError)>;

impl Secrets {
    /// Takes one more, or what is left of it.
    pub(super) fn add(&mut self, secret: MaybeSecret) {
        match secret {
            Ok(secret) => self.found.push(secret),
            Err((remains, error)) => {
                self.found.extend(remains);
                self.error.get_or_insert(error);
            }
        }
    }
}

/// A row of `keys` with its rows of `secrets`; or what is left of them, as revoked, with what is wrong with it.
pub(super) fn key_or_remains(
    row: &Row<'_>,
    Secrets { found, error }: Secrets,
) -> Result<(Revision, StoredKey, Option<StoreError>), StoreError> {
    let cells = Cells { table: "keys", row };
    let error = match (key(row), error) {
        (Ok((revision, key)), None) => return Ok((revision, StoredKey { secrets: found, ..key }, None)),
        (Err(error @ StoreError::Corrupt { .. }), _) | (Ok(_), Some(error)) => error,
        (Err(error), _) => return Err(error),
    };
    let id = cells.parse(2).or_else(|_| {
        let id = format!("unreadable-key-{}", cells.integer(0)?).parse();
        Ok::<_, StoreError>(id.expect("a number makes it an id"))
    })?;
    let key = Key {
        id,
        name: String::new(),
        owner: cells.parse_or_null(4).ok().flatten(),
        plan: None,
        scopes: Vec::new(),
        networks: Vec::new(),
        not_before: None,
        expires: None,
        state: State::Revoked,
        extra: Extra::default(),
    };
    let remains = StoredKey { key, secrets: found, created: UNKNOWN, changed: UNKNOWN };
    Ok((cells.revision(1)?, remains, Some(error)))
}

/// A row of `keys`, without its secrets.
fn key(row: &Row<'_>) -> Result<(Revision, StoredKey), StoreError> {
    let cells = Cells { table: "keys", row };
    let key = Key {
        id: cells.parse(2)?,
        name: cells.text(3)?.to_owned(),
        owner: cells.parse_or_null(4)?,
        plan: cells.parse_or_null(5)?,
        scopes: cells.list(6)?,
        networks: cells.list(7)?,
        not_before: cells.instant_or_null(8)?,
        expires: cells.instant_or_null(9)?,
        state: cells.state(10)?,
        extra: Extra { day: cells.natural(13)?, month: cells.natural(14)? },
    };
    let stored = StoredKey { key, secrets: Vec::new(), created: cells.instant(11)?, changed: cells.instant(12)? };
    Ok((cells.revision(1)?, stored))
}

/// A row of `secrets`, with the number of its key.
fn secret(row: &Row<'_>) -> Result<(i64, StoredSecret), StoreError> {
    let cells = Cells { table: "secrets", row };
    let secret = StoredSecret {
        digest: StoredDigest { pepper: cells.parse_or_null(1)?, digest: cells.digest(2)? },
        hint: cells.text(3)?.to_owned(),
        since: cells.instant(4)?,
        until: cells.instant_or_null(5)?,
        last_used: cells.instant_or_null(6)?,
        recoverable: None,
    };
    Ok((cells.integer(0)?, secret))
}

/// A row of `secrets`, with the number of its key; of one that is damaged, what is left: its digest.
pub(super) fn secret_or_remains(row: &Row<'_>) -> Result<(i64, MaybeSecret), StoreError> {
    let error = match secret(row) {
        Ok((key, secret)) => return Ok((key, Ok(secret))),
        Err(error @ StoreError::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    let cells = Cells { table: "secrets", row };
    let remains = |digest| StoredSecret {
        digest: StoredDigest { pepper: None, digest },
        hint: String::new(),
        since: UNKNOWN,
        until: None,
        last_used: None,
        recoverable: None,
    };
    Ok((cells.integer(0)?, Err((cells.digest(2).ok().map(remains), error))))
}

/// A row of `tokens`; or what is left of it, as revoked, with what is wrong with it.
pub(super) fn token_or_remains(row: &Row<'_>) -> Result<(Revision, Token, Option<StoreError>), StoreError> {
    let error = match token(row) {
        Ok((revision, token)) => return Ok((revision, token, None)),
        Err(error @ StoreError::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    let cells = Cells { table: "tokens", row };
    let revision = cells.revision(1)?;
    let unknown = || format!("tok_unreadable{:06}", revision.0 % 1_000_000).parse().expect("a number makes it an id");
    let id: TokenId = cells.parse(0).unwrap_or_else(|_| unknown());
    // Without a digest of its own it has one that no token has.
    let digest = cells.digest(2).unwrap_or_else(|_| Digest::of(id.as_str().as_bytes()));
    let name = String::new();
    let remains =
        Token { id, name, digest, role: Role::Viewer, created: UNKNOWN, expires: None, revoked: Some(UNKNOWN) };
    Ok((revision, remains, Some(error)))
}

/// A row of `recoverable`.
pub(super) fn recoverable(row: &Row<'_>) -> Result<Recoverable, StoreError> {
    let cells = Cells { table: "recoverable", row };
    let hidden = cells.value(1)?.as_blob().map_err(|error| cells.corrupt(1, error))?;
    Ok(Recoverable::new(hidden.to_vec()))
}

/// A row of `tokens`.
fn token(row: &Row<'_>) -> Result<(Revision, Token), StoreError> {
    let cells = Cells { table: "tokens", row };
    let token = Token {
        id: cells.parse(0)?,
        digest: cells.digest(2)?,
        name: cells.text(3)?.to_owned(),
        role: cells.parse(4)?,
        created: cells.instant(5)?,
        expires: cells.instant_or_null(6)?,
        revoked: cells.instant_or_null(7)?,
    };
    Ok((cells.revision(1)?, token))
}

/// A row of `answers`.
pub(super) fn replay(row: &Row<'_>) -> Result<Replay, StoreError> {
    let cells = Cells { table: "answers", row };
    let status = u16::try_from(cells.integer(2)?).map_err(|error| cells.corrupt(2, error))?;
    let answer = Answer { request: cells.hash(1)?, status, body: cells.text(3)?.to_owned() };
    Ok(Replay { answer, revision: cells.revision(4)? })
}

/// A row of `audit`.
pub(super) fn audit(row: &Row<'_>) -> Result<AuditRow, StoreError> {
    let cells = Cells { table: "audit", row };
    Ok(AuditRow {
        number: cells.integer(0)?.cast_unsigned(),
        revision: cells.integer_or_null(1)?.map(|revision| Revision(revision.cast_unsigned())),
        at: cells.instant(2)?,
        actor: cells.text(3)?.to_owned(),
        remote: cells.text_or_null(4)?.map(str::to_owned),
        action: cells.text(5)?.to_owned(),
        target: cells.text_or_null(6)?.map(str::to_owned),
        before: cells.text_or_null(7)?.map(str::to_owned),
        after: cells.text_or_null(8)?.map(str::to_owned),
        request_id: cells.text_or_null(9)?.map(str::to_owned),
        hash: cells.hash(10)?,
    })
}

/// The row of `head`.
pub(super) fn head(row: &Row<'_>) -> Result<(Revision, Chain), StoreError> {
    let cells = Cells { table: "head", row };
    let chain = Chain { rows: cells.integer(2)?.cast_unsigned(), hash: cells.hash(3)? };
    Ok((cells.revision(1)?, chain))
}

/// Number, id and state of a key.
pub(super) fn holder(row: &Row<'_>) -> Result<(KeyId, State), StoreError> {
    let cells = Cells { table: "keys", row };
    Ok((cells.parse(1)?, cells.state(2)?))
}

/// What cannot be: two tables that do not agree.
pub(super) fn corrupt(table: &'static str, row: impl Display, reason: &str) -> StoreError {
    StoreError::Corrupt { table, row: row.to_string(), reason: reason.to_owned() }
}

/// When something happened of which nobody knows any more.
const UNKNOWN: Timestamp = Timestamp::from_unix_ms(0);

/// The cells of one row, by column.
struct Cells<'r> {
    table: &'static str,
    row: &'r Row<'r>,
}

impl<'r> Cells<'r> {
    fn value(&self, column: usize) -> Result<ValueRef<'r>, StoreError> {
        Ok(self.row.get_ref(column)?)
    }

    fn text(&self, column: usize) -> Result<&'r str, StoreError> {
        self.value(column)?.as_str().map_err(|error| self.corrupt(column, error))
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&'r str>, StoreError> {
        self.value(column)?.as_str_or_null().map_err(|error| self.corrupt(column, error))
    }

    fn integer(&self, column: usize) -> Result<i64, StoreError> {
        self.value(column)?.as_i64().map_err(|error| self.corrupt(column, error))
    }

    fn integer_or_null(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.value(column)?.as_i64_or_null().map_err(|error| self.corrupt(column, error))
    }

    fn natural(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.integer(column)?).map_err(|error| self.corrupt(column, error))
    }

    fn revision(&self, column: usize) -> Result<Revision, StoreError> {
        self.integer(column).map(|revision| Revision(revision.cast_unsigned()))
    }

    fn instant(&self, column: usize) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp::from_unix_ms)
    }

    fn instant_or_null(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.integer_or_null(column)?.map(Timestamp::from_unix_ms))
    }

    fn hash(&self, column: usize) -> Result<[u8; 32], StoreError> {
        let bytes = self.value(column)?.as_blob().map_err(|error| self.corrupt(column, error))?;
        bytes.try_into().map_err(|error| self.corrupt(column, error))
    }

    fn digest(&self, column: usize) -> Result<Digest, StoreError> {
        self.hash(column).map(Digest::from)
    }

    fn parse<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|error| self.corrupt(column, error))
    }

    fn parse_or_null<T: FromStr<Err: Display>>(&self, column: usize) -> Result<Option<T>, StoreError> {
        let text = self.text_or_null(column)?;
        text.map(|text| text.parse().map_err(|error| self.corrupt(column, error))).transpose()
    }

    /// What stands in one cell with spaces between.
    fn list<T: FromStr<Err: Display>>(&self, column: usize) -> Result<Vec<T>, StoreError> {
        let words = self.text(column)?.split_ascii_whitespace();
        words.map(|word| word.parse().map_err(|error| self.corrupt(column, error))).collect()
    }

    fn state(&self, column: usize) -> Result<State, StoreError> {
        match self.text(column)? {
            "active" => Ok(State::Active),
            "disabled" => Ok(State::Disabled),
            "revoked" => Ok(State::Revoked),
            _ => Err(self.corrupt(column, "a state is active, disabled or revoked")),
        }
    }

    fn corrupt(&self, column: usize, reason: impl Display) -> StoreError {
        let name = self.row.as_ref().column_name(column).unwrap_or("?");
        let row = match self.value(0) {
            Ok(ValueRef::Integer(number)) => number.to_string(),
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => "?".to_owned(),
        };
        corrupt(self.table, row, &format!("column `{name}`: {reason}"))
    }
}

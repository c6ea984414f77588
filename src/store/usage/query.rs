//! What can be asked about usage, and what the answer looks like.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::calendar::{ceil, floor, minute};
use super::read::Step;
use super::used::Used;
use crate::key::{KeyId, Name};
use crate::meter::ledger::{Cell, Class};
use crate::time::Timestamp;

/// Which usage, and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// From when on; cut to the begin of its step.
    pub from: Timestamp,
    /// Until when; made whole to the end of its step.
    pub to: Timestamp,
    /// How finely.
    pub by: Step,
    /// Of this owner alone.
    pub owner: Option<Name>,
    /// Of this key alone.
    pub key: Option<KeyId>,
    /// On this route alone.
    pub route: Option<Name>,
    /// Under this plan alone.
    pub plan: Option<Name>,
    /// What rows are told apart by, besides time.
    pub group: BTreeSet<Dimension>,
    /// The page begins after this row.
    pub after: Option<UsageCursor>,
    /// Rows of a page.
    pub limit: usize,
}

/// What usage can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The key.
    Key,
    /// Whom the key belonged to.
    Owner,
    /// The plan the key was on.
    Plan,
    /// The route.
    Route,
    /// How the requests ended.
    Class,
}

/// A page of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// Where the time begins that was asked for, cut to the step.
    pub from: Timestamp,
    /// Where it ends.
    pub to: Timestamp,
    /// In the order of starts, then of keys, owners, plans, routes and classes. Times in which nothing was used have none.
    pub rows: Vec<UsageRow>,
    /// The sum of all rows, those of other pages included.
    pub totals: Used,
    /// After which row the next page begins, if there is one.
    pub next: Option<UsageCursor>,
}

/// What was used in one step of time. Only what rows are told apart by is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Where the step begins.
    pub start: Timestamp,
    /// The key; none if none was known.
    pub key: Option<KeyId>,
    /// Whom the key belonged to.
    pub owner: Option<Name>,
    /// The plan the key was on.
    pub plan: Option<Name>,
    /// The route; none if none was found.
    pub route: Option<Name>,
    /// How the requests ended.
    pub class: Option<Class>,
    /// How much.
    pub used: Used,
}

/// The place of a row among all rows; in print a word of letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageCursor {
    pub(super) start: u32,
    pub(super) line: Line,
}

/// What was printed is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a cursor that was given out before")]
pub struct CursorError;

/// What a row is about, besides time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) key: Option<KeyId>,
    pub(super) owner: Option<Name>,
    pub(super) plan: Option<Name>,
    pub(super) route: Option<Name>,
    pub(super) class: Option<u8>,
}

impl UsageQuery {
    /// Whether a cell is of the owner, key, route and plan that are asked for.
    pub fn is_about(&self, cell: &Cell) -> bool {
        fn fits<T: PartialEq>(asked: &Option<T>, is: &Option<T>) -> bool {
            asked.is_none() || asked == is
        }
        fits(&self.owner, &cell.owner)
            && fits(&self.key, &cell.key)
            && fits(&self.route, &cell.route)
            && fits(&self.plan, &cell.plan)
    }

    /// The time asked for, in whole steps.
    pub(super) fn time(&self) -> Range<u32> {
        let span = self.by.span();
        floor(minute(self.from), span)..ceil(minute_after(self.to), span)
    }

    pub(super) fn tells(&self, dimension: Dimension) -> bool {
        self.group.contains(&dimension)
    }
}

/// The first minute that has not begun before.
fn minute_after(at: Timestamp) -> u32 {
    minute(Timestamp::from_unix_ms(at.as_unix_ms().saturating_add(59_999)))
}

impl fmt::Display for UsageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { key, owner, plan, route, class } = &self.line;
        let name = |name: &Option<Name>| name.as_ref().map_or_else(String::new, ToString::to_string);
        // No name has a line's end in it.
        let parts = [
            self.start.to_string(),
            key.as_ref().map_or_else(String::new, ToString::to_string),
            name(owner),
            name(plan),
            name(route),
            class.map_or_else(String::new, |class| class.to_string()),
        ];
        f.write_str(&URL_SAFE_NO_PAD.encode(parts.join("\n")))
    }
}

impl FromStr for UsageCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let parts: Vec<&str> = text.split('\n').collect();
        let [start, key, owner, plan, route, class] = parts[..] else { return Err(CursorError) };
        let line =
            Line { key: part(key)?, owner: part(owner)?, plan: part(plan)?, route: part(route)?, class: part(class)? };
        Ok(Self { start: start.parse().map_err(|_| CursorError)?, line })
    }
}

fn part<T: FromStr>(text: &str) -> Result<Option<T>, CursorError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| CursorError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_printed_and_nothing_else_is() {
        let line = Line {
            key: Some("key_a".parse().unwrap()),
            plan: Some("a plan/with = and \\".parse().unwrap()),
            class: Some(51),
            ..Line::default()
        };
        let cursor = UsageCursor { start: 29_715_120, line };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "MQ", "****", "MQoKCgoKNTE0NDQ"] {
            assert_eq!(text.parse::<UsageCursor>(), Err(CursorError), "{text}");
        }
    }
}

//! A key as the admin API tells of it, and what is shown of it.

use serde::Deserialize;

use crate::cli::table::{Column, Columns, seconds};

/// A key. Fields that this program does not know are ignored, those that it can do without may be missing.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) name: String,
    owner: Option<String>,
    plan: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    networks: Vec<String>,
    not_before: Option<String>,
    expires: Option<String>,
    state: String,
    #[serde(default)]
    extra_allowance: Extra,
    source: Option<String>,
    #[serde(default)]
    secrets: Vec<KeySecret>,
    pub(super) last_used: Option<String>,
    created: Option<String>,
    changed: Option<String>,
    revision: Option<u64>,
    conflict: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Extra {
    day: u64,
    month: u64,
}

#[derive(Debug, Deserialize)]
struct KeySecret {
    hint: Option<String>,
    until: Option<String>,
    last_used: Option<String>,
}

impl KeySecret {
    fn shown(&self) -> String {
        let mut text = self.hint.clone().unwrap_or_default();
        if let Some(until) = &self.until {
            text.push_str(&format!(" until {}", seconds(Some(until))));
        }
        if let Some(last_used) = &self.last_used {
            text.push_str(&format!(" last used {}", seconds(Some(last_used))));
        }
        text
    }
}

/// What is shown of a key.
pub(super) const COLUMNS: Columns<Key> = Columns {
    all: &[
        Column { name: "id", cell: |key| key.id.clone() },
        Column { name: "name", cell: |key| key.name.clone() },
        Column { name: "owner", cell: |key| key.owner.clone().unwrap_or_default() },
        Column { name: "plan", cell: |key| key.plan.clone().unwrap_or_default() },
        Column { name: "state", cell: |key| key.state.clone() },
        Column { name: "expires", cell: |key| seconds(key.expires.as_deref()) },
        Column { name: "last_used", cell: |key| seconds(key.last_used.as_deref()) },
        Column { name: "source", cell: |key| key.source.clone().unwrap_or_default() },
        Column { name: "scopes", cell: |key| key.scopes.join(" ") },
        Column { name: "networks", cell: |key| key.networks.join(" ") },
        Column { name: "extra_day", cell: |key| units(key.extra_allowance.day) },
        Column { name: "extra_month", cell: |key| units(key.extra_allowance.month) },
        Column { name: "not_before", cell: |key| seconds(key.not_before.as_deref()) },
        Column { name: "created", cell: |key| seconds(key.created.as_deref()) },
        Column { name: "changed", cell: |key| seconds(key.changed.as_deref()) },
        Column { name: "revision", cell: |key| key.revision.map(|revision| revision.to_string()).unwrap_or_default() },
        Column { name: "secrets", cell: |key| secrets(&key.secrets) },
        Column { name: "conflict", cell: |key| key.conflict.clone().unwrap_or_default() },
    ],
    in_table: 8,
};

fn units(units: u64) -> String {
    if units > 0 { units.to_string() } else { String::new() }
}

fn secrets(secrets: &[KeySecret]) -> String {
    let shown: Vec<_> = secrets.iter().map(KeySecret::shown).filter(|shown| !shown.is_empty()).collect();
    shown.join(", ")
}

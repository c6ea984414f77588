//! Pages of keys: those of the store and of the file as one list, in the order of ids.
//!
//! Both are filtered alike. A page looks at a bounded number of keys, so it can be short, or empty, and yet not be the last.
//! Called by [`super::keys`].

use std::collections::BTreeMap;

use super::Api;
use super::auth::Caller;
use super::problem::Problem;
use super::sources::{Found, Shown};
use crate::catalog::FileKey;
use crate::key::{Key, KeyId, State};
use crate::store::{Filter, Revision, StoredKey};

/// Some keys, and after which id the next page begins; none if there is nothing more.
pub(super) struct Page {
    pub(super) keys: Vec<Shown>,
    pub(super) next: Option<KeyId>,
}

/// What the sources have within a stretch of ids.
struct Stretch {
    keys: BTreeMap<KeyId, Found>,
    is_last: bool,
}

/// The first `limit` keys after an id that pass the filter.
pub(super) fn page(
    api: &Api,
    caller: &Caller,
    filter: &Filter,
    mut after: Option<KeyId>,
    limit: usize,
) -> Result<Page, Problem> {
    let (mut keys, mut looked_at) = (Vec::new(), 0);
    loop {
        let stretch = stretch(api, filter, after.as_ref(), limit)?;
        for (id, found) in stretch.keys {
            let shown = api.show(&found, caller.now());
            if passes(filter, &shown.key) {
                if keys.len() == limit {
                    return Ok(Page { keys, next: after });
                }
                keys.push(shown);
            }
            looked_at += 1;
            after = Some(id);
        }
        if stretch.is_last {
            return Ok(Page { keys, next: None });
        }
        if looked_at >= MOST_LOOKED_AT {
            return Ok(Page { keys, next: after });
        }
    }
}

/// What comes after an id in both sources, up to where both are known.
fn stretch(api: &Api, filter: &Filter, after: Option<&KeyId>, limit: usize) -> Result<Stretch, Problem> {
    let store = api.parts.follower.store();
    // A key that is active in the store can be revoked in force, but not the other way round.
    let in_store = Filter { state: filter.state.filter(|state| *state != State::Revoked), ..filter.clone() };
    let wanted = limit + 1;
    let mut stored = store.keys(&in_store, after, wanted)?;
    let file_keys = api.parts.file_keys.load();
    let begin = file_keys.partition_point(|known| after.is_some_and(|after| known.key.id <= *after));
    let in_file: Vec<&FileKey> =
        file_keys[begin..].iter().filter(|known| passes_but_for_state(filter, &known.key)).take(wanted).collect();
    let end = [
        stored.last().filter(|_| stored.len() == wanted).map(|(_, key)| key.key.id.clone()),
        in_file.last().filter(|_| in_file.len() == wanted).map(|known| known.key.id.clone()),
    ];
    let end = end.into_iter().flatten().min();
    let within = |id: &KeyId| end.as_ref().is_none_or(|end| id <= end);
    stored.retain(|(_, stored)| within(&stored.key.id));
    let mut keys: BTreeMap<KeyId, Found> = stored.into_iter().map(|stored| with_file(api, stored)).collect();
    for known in in_file.into_iter().filter(|known| within(&known.key.id)) {
        let id = &known.key.id;
        keys.insert(id.clone(), Found { file: Some(known.clone()), stored: store.key(id)? });
    }
    Ok(Stretch { keys, is_last: end.is_none() })
}

fn with_file(api: &Api, stored: (Revision, StoredKey)) -> (KeyId, Found) {
    let id = stored.1.key.id.clone();
    (id.clone(), Found { file: api.in_file(&id), stored: Some(stored) })
}

fn passes(filter: &Filter, key: &Key) -> bool {
    passes_but_for_state(filter, key) && filter.state.is_none_or(|state| key.state == state)
}

fn passes_but_for_state(filter: &Filter, key: &Key) -> bool {
    let contains = |text: &str| {
        let text = text.to_ascii_lowercase();
        key.id.as_str().to_ascii_lowercase().contains(&text) || key.name.to_ascii_lowercase().contains(&text)
    };
    filter.owner.as_ref().is_none_or(|owner| key.owner.as_ref() == Some(owner))
        && filter.plan.as_ref().is_none_or(|plan| key.plan.as_ref() == Some(plan))
        && filter.text.as_deref().is_none_or(contains)
}

const MOST_LOOKED_AT: usize = 10_000;

//! Upstreams: named groups of targets.
//!
//! Called by [`super::settings`]; routes refer to what it gives by index.

use crate::config::fields::UPSTREAM;
use crate::config::node::Entry;
use crate::config::problem::{Problems, named, shown};
use crate::config::reader::Reader;
use crate::config::scalar;
use crate::upstream::{Authority, Options};

pub(super) fn upstreams(entries: &[&Entry<'_>], problems: &mut Problems) -> Vec<Options> {
    entries.iter().filter_map(|entry| upstream(entry, problems)).collect()
}

fn upstream(entry: &Entry<'_>, problems: &mut Problems) -> Option<Options> {
    let reader = Reader::new(&entry.node, entry.at, UPSTREAM);
    Some(Options {
        name: entry.name.parse().ok()?,
        targets: targets(entry, reader, problems),
        connect_timeout: reader.duration("connect_timeout")?,
        response_timeout: reader.duration("response_timeout"),
        idle_timeout: reader.duration("idle_timeout")?,
        keep_alive: reader.integer("keep_alive")?,
        preserve_host: reader.switch("preserve_host")?,
    })
}

fn targets(entry: &Entry<'_>, reader: Reader<'_>, problems: &mut Problems) -> Vec<Authority> {
    let mut targets: Vec<Authority> = Vec::new();
    for (text, at) in reader.texts("targets") {
        let Ok(target) = scalar::target(text) else { continue };
        if targets.contains(&target) {
            let message = format!("{} names the target {} twice", named(&["upstreams", &entry.name]), shown(text));
            problems.error(at, message, "take one of the two out: all targets get the same share of requests");
            continue;
        }
        targets.push(target);
    }
    targets
}

//! The sections that may stand in several files, put together: upstreams, routes, plans, keys, revoked.
//!
//! A name that is defined in two files is a problem; the first definition is kept. Called by [`super::settings`].

use std::collections::{HashMap, HashSet};

use crate::config::node::{Entry, Node};
use crate::config::problem::{Mark, Problems, named, shown};
use crate::config::suggest::nearest;

/// The entries of all files, those of the main file first, each name once.
pub(super) struct Sections<'n> {
    pub(super) upstreams: Vec<&'n Entry<'n>>,
    pub(super) routes: Vec<&'n Entry<'n>>,
    pub(super) plans: Vec<&'n Entry<'n>>,
    pub(super) keys: Vec<&'n Entry<'n>>,
    pub(super) revoked: Vec<&'n Node<'n>>,
}

/// The names of one section: finds out what refers to nothing.
pub(super) struct Names<'n> {
    section: &'static str,
    index: HashMap<&'n str, usize>,
    /// Remedies by wrong name: a plan that is gone may be missed by 100,000 keys.
    remedies: HashMap<String, String>,
}

impl<'n> Sections<'n> {
    pub(super) fn gather(main: &'n Node<'n>, included: &'n [Node<'n>], problems: &mut Problems) -> Self {
        let mut all = |section| gather_section(section, main, included, problems);
        Self {
            upstreams: all("upstreams"),
            routes: all("routes"),
            plans: all("plans"),
            keys: all("keys"),
            revoked: roots(main, included).filter_map(|root| root.entry("revoked")).flat_map(Node::items).collect(),
        }
    }

    pub(super) fn names_of_upstreams(&self) -> Names<'n> {
        Names::new("upstreams", &self.upstreams)
    }

    pub(super) fn names_of_plans(&self) -> Names<'n> {
        Names::new("plans", &self.plans)
    }

    /// An upstream without a route gets no request: rarely what was meant.
    pub(super) fn warn_of_unused_upstreams(&self, problems: &mut Problems) {
        let used: HashSet<&str> = self.routes.iter().filter_map(|route| route.node.entry("upstream")?.text()).collect();
        for upstream in self.upstreams.iter().filter(|upstream| !used.contains(&*upstream.name)) {
            let message = format!("no route leads to {}", named(&["upstreams", &upstream.name]));
            problems.warn(upstream.at, message, "add a route with this upstream, or take it out");
        }
    }
}

impl<'n> Names<'n> {
    fn new(section: &'static str, entries: &[&'n Entry<'n>]) -> Self {
        let index = entries.iter().enumerate().map(|(index, entry)| (&*entry.name, index)).collect();
        Self { section, index, remedies: HashMap::new() }
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The index of a name in its section; if it is not there, `who` refers to nothing, which is a problem.
    pub(super) fn resolve(&mut self, name: &str, at: Mark, who: &str, problems: &mut Problems) -> Option<usize> {
        if let Some(index) = self.index.get(name) {
            return Some(*index);
        }
        let section = self.section;
        if !self.remedies.contains_key(name) {
            self.remedies.insert(name.to_owned(), self.remedy(name));
        }
        let remedy = self.remedies[name].clone();
        problems.error(at, format!("{who} refers to {}, which is not among the {section}", shown(name)), remedy);
        None
    }

    fn remedy(&self, name: &str) -> String {
        let section = self.section;
        if let Some(meant) = nearest(name, self.index.keys().copied()) {
            return format!("did you mean {}?", shown(meant));
        }
        let mut known: Vec<&str> = self.index.keys().copied().collect();
        known.sort_unstable();
        let listed: Vec<String> = known.iter().take(LISTED).map(|name| shown(name)).collect();
        match known.len() {
            0 => format!("define it under `{section}:`"),
            n if n > LISTED => format!("define it under `{section}:`, or take one of {}, …", listed.join(", ")),
            _ => format!("define it under `{section}:`, or take one of {}", listed.join(", ")),
        }
    }
}

fn roots<'n>(main: &'n Node<'n>, included: &'n [Node<'n>]) -> impl Iterator<Item = &'n Node<'n>> {
    std::iter::once(main).chain(included)
}

fn gather_section<'n>(
    section: &str,
    main: &'n Node<'n>,
    included: &'n [Node<'n>],
    problems: &mut Problems,
) -> Vec<&'n Entry<'n>> {
    let entries = roots(main, included).filter_map(|root| root.entry(section)).flat_map(Node::entries);
    let mut first: HashMap<&str, Mark> = HashMap::new();
    let mut kept = Vec::new();
    for entry in entries {
        match first.get(&*entry.name) {
            None => {
                first.insert(&entry.name, entry.at);
                kept.push(entry);
            }
            // Within one file the shape check has said so.
            Some(place) if place.file == entry.at.file => {}
            Some(place) => {
                let message = format!("{} is defined twice", named(&[section, &entry.name]));
                problems.conflict(entry.at, *place, message, "take one of the two out, or give it another name");
            }
        }
    }
    kept
}

const LISTED: usize = 8;

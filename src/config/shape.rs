//! The shape check: walks the tree along the table of fields and notes everything that does not fit it.
//!
//! After it, every value that the table does not allow has been noted. It says nothing of what values mean
//! together: that is for the parts of [`super::build`]. Called by `config::load` once per file.

use std::collections::HashMap;
use std::fmt;

use super::expect::{describe, found, range_remedy, type_remedy};
use super::fields::{Field, Kind, Need, ROOT};
use super::form::{Fault, Form};
use super::node::{Entry, Node, Scalar, Value};
use super::problem::{Mark, Problems, named, shown};
use super::scalar;
use super::suggest::nearest;

/// The names on the way from the root of the file to a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
}

/// Notes every part of `root` that does not fit `fields`.
pub(super) fn check_file(root: &Node<'_>, fields: &'static [Field], problems: &mut Problems) {
    let spot = Spot { node: root, at: Mark::whole(root.at.file), place: Place { parent: None, name: "" } };
    match &root.value {
        Value::Map(entries) => Checker { problems }.object(spot, fields, entries),
        _ => {
            let message = format!("the file must be a mapping, found {}", found(root, false));
            problems.error(root.at, message, "write `name: value` lines, as in `listeners:`");
        }
    }
}

/// A value, the mark of what names it, and its place.
#[derive(Clone, Copy)]
struct Spot<'a, 's> {
    node: &'a Node<'s>,
    at: Mark,
    place: Place<'a>,
}

struct Checker<'p> {
    problems: &'p mut Problems,
}

impl Checker<'_> {
    fn check(&mut self, spot: Spot<'_, '_>, kind: &'static Kind) {
        self.check_part(spot, kind, kind);
    }

    /// Checks against one alternative of `whole`, which is what messages describe.
    fn check_part(&mut self, spot: Spot<'_, '_>, kind: &'static Kind, whole: &'static Kind) {
        match (kind, &spot.node.value, spot.node.scalar()) {
            (Kind::Any(kinds), ..) => self.any(spot, kinds, whole),
            (Kind::Secret(form), _, Some(Scalar::Text(text))) => {
                self.problems.hide(spot.node.at, spot.node.end);
                self.form(spot, form, text, |_| "other text".to_owned());
            }
            (Kind::Text(form), _, Some(Scalar::Text(text))) => self.form(spot, form, text, shown),
            (Kind::Word(words), _, Some(Scalar::Text(text))) => self.word(spot, words, text, whole),
            (Kind::Integer(min, max), _, Some(Scalar::Integer(number))) => self.range(spot, kind, number, *min, *max),
            (Kind::Duration(min, max), _, Some(Scalar::Text(text))) => {
                let ms = scalar::duration(text).map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
                self.measured(spot, (kind, whole), ms, *min, *max);
            }
            (Kind::Size(min, max), _, Some(Scalar::Text(text))) => {
                self.measured(spot, (kind, whole), scalar::size(text), *min, *max);
            }
            (Kind::Size(min, max), _, Some(Scalar::Integer(bytes))) => self.range(spot, kind, bytes, *min, *max),
            (Kind::List(of, least), Value::List(items), _) => self.list(spot, of, *least, items),
            (Kind::Map(form, of), Value::Map(entries), _) => self.map(spot, form, of, entries),
            (Kind::Object(fields), Value::Map(entries), _) => self.object(spot, fields, entries),
            (Kind::OneField(fields), Value::Map(entries), _) => self.one_field(spot, fields, entries),
            (Kind::Variants(variants), Value::Map(entries), _) => self.variant(spot, variants, entries),
            _ if accepts(kind, spot.node) => {}
            _ => self.wrong_type(spot, whole),
        }
    }

    fn any(&mut self, spot: Spot<'_, '_>, kinds: &'static [Kind], whole: &'static Kind) {
        let fitting: Vec<&'static Kind> = kinds.iter().filter(|kind| accepts(kind, spot.node)).collect();
        let clean = |kind: &&'static Kind| {
            let mut probe = Problems::default();
            Checker { problems: &mut probe }.check(spot, kind);
            !probe.any_error()
        };
        let chosen = match fitting.as_slice() {
            [] => return self.wrong_type(spot, whole),
            [only] => only,
            several => several.iter().find(|kind| clean(kind)).unwrap_or(&several[several.len() - 1]),
        };
        self.check_part(spot, chosen, whole);
    }

    fn wrong_type(&mut self, spot: Spot<'_, '_>, whole: &'static Kind) {
        // Where one of two places is to be named, the secret itself is what somebody may have written.
        let secret = matches!(whole, Kind::Secret(_) | Kind::OneField(_) | Kind::Any([Kind::Secret(_), ..]));
        if secret {
            self.problems.hide(spot.node.at, spot.node.end);
        }
        let what =
            if secret && spot.node.text().is_some() { "other text".to_owned() } else { found(spot.node, secret) };
        let message = format!("{} must be {}, found {what}", spot.place, describe(whole));
        self.problems.error(spot.mark(), message, type_remedy(whole, spot.node, secret));
    }

    /// Checks a text; `quote` makes of it what a message may say.
    fn form(&mut self, spot: Spot<'_, '_>, form: &Form, text: &str, quote: fn(&str) -> String) {
        let Err(fault) = (form.check)(text) else { return };
        let remedy = match fault {
            Fault::Form => form.remedy.to_owned(),
            Fault::Remedy(remedy) => remedy,
        };
        let message = format!("{} must be {}, found {}", spot.place, form.what, quote(text));
        self.problems.error(spot.mark(), message, remedy);
    }

    fn word(&mut self, spot: Spot<'_, '_>, words: &[&'static str], text: &str, whole: &'static Kind) {
        if words.contains(&text) {
            return;
        }
        let remedy = match nearest(text, words.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write {}", describe(whole)),
        };
        let message = format!("{} must be {}, found {}", spot.place, describe(whole), shown(text));
        self.problems.error(spot.mark(), message, remedy);
    }

    /// Checks a value with a unit against one alternative of a whole.
    fn measured(
        &mut self,
        spot: Spot<'_, '_>,
        (kind, whole): (&'static Kind, &'static Kind),
        value: Result<u64, Fault>,
        min: u64,
        max: u64,
    ) {
        match value {
            Ok(value) => self.range(spot, kind, value, min, max),
            Err(fault) => {
                let remedy = match fault {
                    Fault::Form => type_remedy(whole, spot.node, false),
                    Fault::Remedy(remedy) => remedy,
                };
                let message = format!("{} must be {}, found {}", spot.place, describe(whole), found(spot.node, false));
                self.problems.error(spot.mark(), message, remedy);
            }
        }
    }

    fn range(&mut self, spot: Spot<'_, '_>, kind: &'static Kind, value: u64, min: u64, max: u64) {
        if (min..=max).contains(&value) {
            return;
        }
        let (bound, remedy) = range_remedy(kind, value, min, max);
        let message = format!("{} must be {bound}, found {}", spot.place, found(spot.node, false));
        self.problems.error(spot.mark(), message, remedy);
    }

    fn list(&mut self, spot: Spot<'_, '_>, of: &'static Kind, least: usize, items: &[Node<'_>]) {
        if items.len() < least {
            let remedy = "add one, or take the field out if it is optional";
            self.problems.error(spot.mark(), format!("{} is an empty list", spot.place), remedy);
        }
        for item in items {
            self.check(Spot { node: item, at: item.at, place: spot.place }, of);
        }
    }

    fn map(&mut self, spot: Spot<'_, '_>, form: &Form, of: &'static Kind, entries: &[Entry<'_>]) {
        self.duplicates(spot.place, entries);
        for entry in entries {
            let place = Place { parent: Some(&spot.place), name: &entry.name };
            if let Err(fault) = (form.check)(&entry.name) {
                let remedy = if let Fault::Remedy(remedy) = fault { remedy } else { form.remedy.to_owned() };
                let message = format!("{} is not {} for {}", shown(&entry.name), form.what, spot.place);
                self.problems.error(entry.at, message, remedy);
            }
            self.check(Spot { node: &entry.node, at: entry.at, place }, of);
        }
    }

    fn object(&mut self, spot: Spot<'_, '_>, fields: &'static [Field], entries: &[Entry<'_>]) {
        self.duplicates(spot.place, entries);
        let mut meant = Vec::new();
        for entry in entries {
            match fields.iter().find(|field| field.name == entry.name) {
                Some(field) => {
                    let place = Place { parent: Some(&spot.place), name: field.name };
                    self.check(Spot { node: &entry.node, at: entry.at, place }, &field.kind);
                }
                None => meant.extend(self.unknown_field(spot.place, fields, entry)),
            }
        }
        for field in fields.iter().filter(|field| matches!(field.need, Need::Required)) {
            if !meant.contains(&field.name) && !entries.iter().any(|entry| entry.name == field.name) {
                let message = format!("{} has no `{}`", spot.place, field.name);
                self.problems.error(spot.at, message, format!("add `{}:`. {}", field.name, field.doc));
            }
        }
    }

    fn one_field(&mut self, spot: Spot<'_, '_>, fields: &'static [Field], entries: &[Entry<'_>]) {
        self.object(spot, fields, entries);
        if entries.len() != 1 {
            let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
            let message = format!("{} must have one field, found {}", spot.place, entries.len());
            self.problems.error(spot.at, message, format!("write one of {}", names.join(" and ")));
        }
    }

    fn variant(
        &mut self,
        spot: Spot<'_, '_>,
        variants: &'static [(&'static str, &'static [Field])],
        entries: &[Entry<'_>],
    ) {
        let types = || variants.iter().map(|(word, _)| *word);
        let Some(named) = entries.iter().find(|entry| entry.name == "type") else {
            self.hide_all(entries);
            let words = types().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            let message = format!("{} has no `type`", spot.place);
            return self.problems.error(spot.at, message, format!("add `type:`, one of {words}"));
        };
        if let Some((_, fields)) = variants.iter().find(|(word, _)| named.node.text() == Some(word)) {
            return self.object(spot, fields, entries);
        }
        self.hide_all(entries);
        let remedy = match nearest(named.node.text().unwrap_or_default(), types()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the types are {}", types().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{} has no such `type`: {}", spot.place, found(&named.node, false));
        self.problems.error(named.node.at, message, remedy);
    }

    /// Whatever stands there may be a secret.
    fn hide_all(&mut self, entries: &[Entry<'_>]) {
        for entry in entries.iter().filter(|entry| entry.name != "type") {
            self.problems.hide(entry.node.at, entry.node.end);
        }
    }

    /// Gives the field that was probably meant, so that it is not called missing as well.
    fn unknown_field(&mut self, place: Place<'_>, fields: &'static [Field], entry: &Entry<'_>) -> Option<&'static str> {
        // It may be a secret under a mistyped name.
        if matches!(entry.node.scalar(), None | Some(Scalar::Text(_))) {
            self.problems.hide(entry.node.at, entry.node.end);
        }
        let names = || fields.iter().map(|field| field.name);
        let top = place.parent.is_none();
        let meant = nearest(&entry.name, names());
        let remedy = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if top && ROOT.iter().any(|field| field.name == entry.name) => {
                format!("move it to the main file; an included file holds {}", names().collect::<Vec<_>>().join(", "))
            }
            None => format!("take it out; the fields here are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{place} has an unknown field {}", shown(&entry.name));
        self.problems.error(entry.at, message, remedy);
        meant
    }

    fn duplicates(&mut self, place: Place<'_>, entries: &[Entry<'_>]) {
        let mut seen: HashMap<&str, Mark> = HashMap::new();
        let few = entries.len() <= FEW;
        for (index, entry) in entries.iter().enumerate() {
            let first = if few {
                entries[..index].iter().find(|earlier| earlier.name == entry.name).map(|earlier| earlier.at)
            } else {
                let first = seen.get(&*entry.name).copied();
                seen.entry(&entry.name).or_insert(entry.at);
                first
            };
            if let Some(first) = first {
                self.problems.hide(entry.node.at, entry.node.end);
                let name = Place { parent: Some(&place), name: &entry.name };
                let remedy = "take one of the two out, or give it another name";
                self.problems.conflict(entry.at, first, format!("{name} is defined twice"), remedy);
            }
        }
    }
}

impl Spot<'_, '_> {
    /// Where a problem with the value is shown: at its name, if it has no text of its own.
    fn mark(&self) -> Mark {
        match self.node.scalar() {
            Some(Scalar::Null) if self.at.line > 0 => self.at,
            _ => self.node.at,
        }
    }
}

/// Whether the kind can be told from the type of the node alone.
fn accepts(kind: &Kind, node: &Node<'_>) -> bool {
    match (kind, &node.value, node.scalar()) {
        (
            Kind::Text(_) | Kind::Secret(_) | Kind::Word(_) | Kind::Duration(..) | Kind::Size(..),
            _,
            Some(Scalar::Text(_)),
        )
        | (Kind::Switch, _, Some(Scalar::Switch(_)))
        | (Kind::False, _, Some(Scalar::Switch(false)))
        | (Kind::Null | Kind::Map(..), _, Some(Scalar::Null))
        | (Kind::Integer(..) | Kind::Size(..), _, Some(Scalar::Integer(_)))
        | (Kind::Share, _, Some(Scalar::Integer(0 | 1)))
        | (Kind::List(..), Value::List(_), _)
        | (Kind::Map(..) | Kind::Object(_) | Kind::OneField(_) | Kind::Variants(_), Value::Map(_), _) => true,
        (Kind::Share, _, Some(Scalar::Number(number))) => (0.0..=1.0).contains(&number),
        (Kind::Any(kinds), ..) => kinds.iter().any(|kind| accepts(kind, node)),
        _ => false,
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent.is_none() {
            return f.write_str("the file");
        }
        let mut names = vec![self.name];
        let mut next = self.parent;
        while let Some(place) = next.filter(|place| place.parent.is_some()) {
            names.push(place.name);
            next = place.parent;
        }
        names.reverse();
        f.write_str(&named(&names))
    }
}

const FEW: usize = 16;

//! Readers: the values of one mapping by field name, with the defaults of the table.
//!
//! A value that the shape check has refused reads as `None`, without a word: it has been reported. Called by the parts
//! of [`super::build`].

use std::str::FromStr;
use std::time::Duration;

use super::fields::{Field, Literal, Need};
use super::node::{Node, Scalar};
use super::problem::Mark;
use super::scalar;

/// The values of one mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'n> {
    node: Option<&'n Node<'n>>,
    fields: &'static [Field],
    at: Mark,
}

impl<'n> Reader<'n> {
    /// A reader of what `node` says; `at` is the mark of what names it.
    pub(super) fn new(node: &'n Node<'n>, at: Mark, fields: &'static [Field]) -> Self {
        Self { node: Some(node), fields, at }
    }

    /// A reader of a mapping within this one; if it is absent, all its fields have their defaults.
    pub(super) fn object(&self, name: &str, fields: &'static [Field]) -> Self {
        Self { node: self.node(name), fields, at: self.at(name) }
    }

    /// The value, if the file has one.
    pub(super) fn node(&self, name: &str) -> Option<&'n Node<'n>> {
        debug_assert!(self.fields.iter().any(|field| field.name == name), "no field {name} in the table");
        self.node?.entry(name)
    }

    /// The mark of a value, or of what names the mapping if the value is not in the file.
    pub(super) fn at(&self, name: &str) -> Mark {
        self.node(name).map_or(self.at, |node| node.at)
    }

    /// The scalar in the file, or the default.
    pub(super) fn scalar(&self, name: &str) -> Option<Scalar<'n>> {
        if let Some(node) = self.node(name) {
            return node.scalar();
        }
        match self.default(name)? {
            Literal::Null => Some(Scalar::Null),
            Literal::Switch(switch) => Some(Scalar::Switch(switch)),
            Literal::Integer(number) => Some(Scalar::Integer(number)),
            Literal::Number(number) => Some(Scalar::Number(number)),
            Literal::Text(text) => Some(Scalar::Text(text)),
            Literal::Texts(_) => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&'n str> {
        match self.scalar(name)? {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        match self.scalar(name)? {
            Scalar::Switch(switch) => Some(switch),
            _ => None,
        }
    }

    pub(super) fn integer<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.scalar(name)? {
            Scalar::Integer(number) => T::try_from(number).ok(),
            _ => None,
        }
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self, name: &str) -> Option<f64> {
        match self.scalar(name)? {
            Scalar::Number(number) => Some(number),
            Scalar::Integer(0) => Some(0.0),
            Scalar::Integer(1) => Some(1.0),
            _ => None,
        }
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        scalar::duration(self.text(name)?).ok()
    }

    /// A size in bytes.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        match self.scalar(name)? {
            Scalar::Integer(bytes) => Some(bytes),
            Scalar::Text(text) => scalar::size(text).ok(),
            _ => None,
        }
    }

    /// The texts of a list, each with its mark; those of the default have the mark of the mapping.
    pub(super) fn texts(&self, name: &str) -> Vec<(&'n str, Mark)> {
        match (self.node(name), self.default(name)) {
            (Some(node), _) => node.items().iter().filter_map(|item| Some((item.text()?, item.at))).collect(),
            (None, Some(Literal::Texts(texts))) => texts.iter().map(|text| (*text, self.at)).collect(),
            _ => Vec::new(),
        }
    }

    /// The items of a list of texts, parsed; `None` if one does not parse, which has been reported.
    ///
    /// Never some of them: a list of conditions that lost one would let more in.
    pub(super) fn list<T: FromStr>(&self, name: &str) -> Option<Vec<T>> {
        self.texts(name).into_iter().map(|(text, _)| text.parse().ok()).collect()
    }

    fn default(&self, name: &str) -> Option<Literal> {
        match self.fields.iter().find(|field| field.name == name)?.need {
            Need::Default(literal) => Some(literal),
            Need::Required | Need::Optional => None,
        }
    }
}

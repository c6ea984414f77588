//! Trees out of YAML and JSON: every scalar as the text that stands in the file, and the line it stands on.
//!
//! Texts only, because a secret such as `1e5` or `007` must not become a number on the way. Names that are there twice,
//! deep nesting and aliases that multiply are errors, and no error quotes the file. Called by [`super::kong`],
//! [`super::apisix`] and [`super::looks`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, options};
use zeroize::Zeroizing;

use super::FileError;

/// A value and the line of the file it begins on; 0 in JSON.
#[derive(Clone)]
pub(super) struct Node<'s> {
    pub(super) line: usize,
    value: Value<'s>,
}

#[derive(Clone)]
enum Value<'s> {
    Null,
    Text(Text<'s>),
    List(Vec<Node<'s>>),
    Map(Vec<Entry<'s>>),
}

type Entry<'s> = (Text<'s>, Node<'s>);

/// A text of the file, or a copy that is wiped when dropped.
#[derive(Clone)]
enum Text<'s> {
    Borrowed(&'s str),
    Owned(Zeroizing<String>),
}

/// The tree of a file with one document.
pub(super) fn parse(text: &str) -> Result<Node<'_>, FileError> {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(text)
    {
        return Ok(from_json(json));
    }
    from_yaml(text)
}

impl Node<'_> {
    /// The value of a name of a mapping, its own or one that `<<` brings in; none if it is null.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        let own = self.entries().find(|(key, _)| *key == name).map(|(_, node)| node);
        own.or_else(|| self.merged().find_map(|map| map.entry(name))).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The names and values of a mapping, without those that `<<` brings in.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = if let Value::Map(entries) = &self.value { entries.as_slice() } else { &[] };
        entries.iter().map(|(name, node)| (&**name, node))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The text of an entry.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.entry(name)?.text()
    }

    /// The items of an entry.
    pub(super) fn items_of(&self, name: &str) -> &[Self] {
        self.entry(name).map_or(&[], Self::items)
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    fn merged(&self) -> impl Iterator<Item = &Self> {
        let merges = self.entries().filter(|(name, _)| *name == MERGE);
        merges.flat_map(|(_, node)| if node.is_map() { std::slice::from_ref(node) } else { node.items() })
    }

    /// What a copy costs, in nodes or their worth of text.
    fn size(&self) -> usize {
        match &self.value {
            Value::Null => 1,
            Value::Text(text) => text.size(),
            Value::List(items) => items.iter().fold(1, |sum, item| sum + item.size()),
            Value::Map(entries) => entries.iter().fold(1, |sum, (name, node)| sum + name.size() + node.size()),
        }
    }
}

impl Text<'_> {
    fn size(&self) -> usize {
        1 + self.len() / TEXT_BYTES_PER_NODE
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl<'s> From<Cow<'s, str>> for Text<'s> {
    fn from(text: Cow<'s, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Owned(Zeroizing::new(text)),
        }
    }
}

fn from_json(json: serde_json::Value) -> Node<'static> {
    let owned = |text: String| Text::Owned(Zeroizing::new(text));
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(switch) => Value::Text(Text::Borrowed(if switch { "true" } else { "false" })),
        serde_json::Value::Number(number) => Value::Text(owned(number.to_string())),
        serde_json::Value::String(text) => Value::Text(owned(text)),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.into_iter().map(|(name, value)| (owned(name), from_json(value))).collect())
        }
    };
    Node { line: 0, value }
}

fn from_yaml(text: &str) -> Result<Node<'_>, FileError> {
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut builder = Builder { open: Vec::new(), anchors: HashMap::new(), copied: 0, root: None };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| FileError::NotYaml { line: error.marker().line() })?;
        builder.take(event, span.start.line())?;
    }
    builder.root.map(|(root, _)| root).ok_or(FileError::Empty)
}

struct Builder<'s> {
    open: Vec<Frame<'s>>,
    anchors: HashMap<usize, Deep<'s>>,
    copied: usize,
    root: Option<Deep<'s>>,
}

/// A node and the number of levels below it.
type Deep<'s> = (Node<'s>, usize);

/// A list or mapping whose end has not come yet.
struct Frame<'s> {
    line: usize,
    anchor: usize,
    height: usize,
    content: Content<'s>,
}

enum Content<'s> {
    List(Vec<Node<'s>>),
    /// With the name whose value has not come yet.
    Map(Vec<Entry<'s>>, Option<Text<'s>>),
}

impl<'s> Builder<'s> {
    fn take(&mut self, event: Event<'s>, line: usize) -> Result<(), FileError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && NULLS.contains(&&*text);
                let value = if is_null { Value::Null } else { Value::Text(text.into()) };
                self.place(Node { line, value }, 0, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.enter(line, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.enter(line, anchor, Content::Map(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.leave(line),
            Event::Alias(anchor) => self.copy(anchor, line),
            Event::DocumentStart(..) if self.root.is_some() => Err(FileError::SecondDocument { line }),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, line: usize, anchor: usize, content: Content<'s>) -> Result<(), FileError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(FileError::TooDeep { line });
        }
        self.open.push(Frame { line, anchor, height: 0, content });
        Ok(())
    }

    fn leave(&mut self, line: usize) -> Result<(), FileError> {
        let frame = self.open.pop().ok_or(FileError::NotYaml { line })?;
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map(entries, _) => {
                names_differ(&entries)?;
                Value::Map(entries)
            }
        };
        self.place(Node { line: frame.line, value }, frame.height + 1, frame.anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node<'s>, height: usize, anchor: usize) -> Result<(), FileError> {
        if anchor != 0 {
            self.spend(&node, node.line)?;
            self.anchors.insert(anchor, (node.clone(), height));
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some((node, height));
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map(entries, pending) => match (pending.take(), node.value) {
                (Some(name), value) => entries.push((name, Node { line: node.line, value })),
                (None, Value::Text(name)) => *pending = Some(name),
                (None, Value::Null) => *pending = Some(Text::Borrowed("")),
                (None, _) => return Err(FileError::NotYaml { line: node.line }),
            },
        }
        Ok(())
    }

    /// Puts a copy of an anchored node in the place of an alias.
    fn copy(&mut self, anchor: usize, line: usize) -> Result<(), FileError> {
        let (node, height) = self.anchors.remove(&anchor).ok_or(FileError::NotYaml { line })?;
        self.spend(&node, line)?;
        if self.open.len() + height > MAX_DEPTH {
            return Err(FileError::TooDeep { line });
        }
        let copy = Node { line, value: node.value.clone() };
        self.anchors.insert(anchor, (node, height));
        self.place(copy, height, 0)
    }

    /// Counts what anchors and aliases copy, which bounds what a small file can grow to.
    fn spend(&mut self, node: &Node<'_>, line: usize) -> Result<(), FileError> {
        self.copied += node.size();
        if self.copied > MAX_COPIED_NODES { Err(FileError::TooManyAliases { line }) } else { Ok(()) }
    }
}

/// A name that is there twice leaves it open which value holds, so it is an error; `<<` may be repeated.
fn names_differ(entries: &[Entry<'_>]) -> Result<(), FileError> {
    let mut names: Vec<(&str, usize)> = entries.iter().map(|(name, node)| (&**name, node.line)).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].0 != MERGE) {
        Some(pair) => Err(FileError::NameTwice { line: pair[1].1 }),
        None => Ok(()),
    }
}

const MERGE: &str = "<<";
const NULLS: [&str; 5] = ["", "~", "null", "Null", "NULL"];
const MAX_DEPTH: usize = 64;
const MAX_COPIED_NODES: usize = 1_000_000;
const TEXT_BYTES_PER_NODE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> FileError {
        parse(text).err().unwrap()
    }

    #[test]
    fn scalars_stay_the_texts_they_are() {
        let root = parse("a: 007\nb: 1e5\nc: \"x\\ty\"\nd: ~\ne: '~'\nf: true\n").unwrap();
        let text = |name: &str| root.text_of(name);
        assert_eq!((text("a"), text("b"), text("c")), (Some("007"), Some("1e5"), Some("x\ty")));
        assert_eq!((text("d"), text("e"), text("f")), (None, Some("~"), Some("true")));
        assert_eq!(root.entry("b").unwrap().line, 2);
    }

    #[test]
    fn json_and_yaml_give_the_same_tree() {
        for text in [r#"{"a": [{"b": "x\/y"}], "c": null, "d": 12, "e": true}"#, "a: [{b: x/y}]\nc:\nd: 12\ne: true"] {
            let root = parse(text).unwrap();
            assert_eq!(root.items_of("a")[0].text_of("b"), Some("x/y"));
            assert!(root.entry("c").is_none());
            assert_eq!((root.text_of("d"), root.text_of("e")), (Some("12"), Some("true")));
        }
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let root = parse("base: &b {x: 1, y: 2}\nitem: {<<: *b, y: 3}\nagain: *b").unwrap();
        let item = root.entry("item").unwrap();
        assert_eq!((item.text_of("x"), item.text_of("y")), (Some("1"), Some("3")));
        assert_eq!(root.entry("again").unwrap().text_of("y"), Some("2"));
    }

    #[test]
    fn aliases_that_multiply_are_stopped() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let inside = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{inside}]\n"));
        }
        assert!(matches!(error(&bomb), FileError::TooManyAliases { line: 1..=12 }));
        let long = format!("a: &a \"{}\\n\"\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
        assert!(matches!(error(&long), FileError::TooManyAliases { line: 2 }));
    }

    #[test]
    fn what_is_no_single_document_is_refused_by_its_line() {
        assert!(matches!(error(""), FileError::Empty));
        assert!(matches!(error("a: 1\na: 2\n"), FileError::NameTwice { line: 2 }));
        assert!(matches!(error("a: 1\n---\nb: 2\n"), FileError::SecondDocument { line: 2 }));
        assert!(matches!(error("a: 'x\n"), FileError::NotYaml { .. }));
        assert!(matches!(error(&"[".repeat(100_000)), FileError::NotYaml { .. } | FileError::TooDeep { .. }));
    }
}

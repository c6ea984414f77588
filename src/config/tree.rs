//! From a text to its tree: built from the parser's events in one pass.
//!
//! Aliases and merge keys are resolved here, within a budget. Called by `config::load` once per file.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag, options};

use super::node::{Entry, Node, Value};
use super::problem::{Mark, Problems, shown};

/// Parses one document. `None`: it is empty, or it is not YAML, which then is among the problems.
pub(super) fn parse<'s>(file: u16, text: &'s str, problems: &mut Problems) -> Option<Node<'s>> {
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut builder = Builder {
        file,
        problems,
        open: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
        anchors: HashMap::new(),
        copied: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => builder.syntax_error(&error),
        };
        step?;
    }
    builder.root.map(|(root, _)| root)
}

struct Builder<'s, 'p> {
    file: u16,
    problems: &'p mut Problems,
    open: Vec<Frame<'s>>,
    /// The items of all open lists and the entries of all open mappings, those of the innermost last: a finished one gets
    /// a vector without slack, which halves the memory of a file with many keys.
    items: Vec<Node<'s>>,
    entries: Vec<Entry<'s>>,
    anchors: HashMap<usize, Anchored<'s>>,
    copied: usize,
    root: Option<Anchored<'s>>,
}

/// A node and the number of levels below it.
type Anchored<'s> = (Node<'s>, usize);

/// A list or mapping whose end has not come yet.
struct Frame<'s> {
    at: Mark,
    anchor: usize,
    height: usize,
    content: Content<'s>,
}

/// The number of items or entries that belong to the frames around it; what comes after them is its own.
enum Content<'s> {
    List(usize),
    Map(usize, Pending<'s>),
}

/// What a mapping waits for.
enum Pending<'s> {
    Name,
    Value(Mark, Cow<'s, str>),
    /// The value of a name that has been refused.
    Nothing,
}

impl<'s> Builder<'s, '_> {
    /// Takes one event; `None` stops.
    fn take(&mut self, event: Event<'s>, span: &Span) -> Option<()> {
        let at = self.mark(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || self.forces_text(tag.as_deref(), at);
                let value = if quoted { Value::Quoted(text) } else { Value::Plain(text) };
                self.place(Node { at, end: offset_of(span.end.byte_offset()), value }, 0, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.forces_text(tag.as_deref(), at);
                self.enter(at, anchor, Content::List(self.items.len()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.forces_text(tag.as_deref(), at);
                self.enter(at, anchor, Content::Map(self.entries.len(), Pending::Name))
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(offset_of(span.end.byte_offset())),
            Event::Alias(anchor) => self.copy(anchor, at),
            Event::DocumentStart(..) if self.root.is_some() => {
                let remedy = "keep one document per file; `include:` splits a configuration over several files";
                self.problems.error(at, "a second YAML document begins here", remedy);
                None
            }
            _ => Some(()),
        }
    }

    fn enter(&mut self, at: Mark, anchor: usize, content: Content<'s>) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            return self.too_deep(at);
        }
        self.open.push(Frame { at, anchor, height: 0, content });
        Some(())
    }

    fn leave(&mut self, end: u32) -> Option<()> {
        let frame = self.open.pop().expect("the parser pairs begins and ends");
        let value = match frame.content {
            Content::List(before) => Value::List(self.items.drain(before..).collect()),
            Content::Map(before, _) => {
                let entries = self.entries.drain(before..).collect();
                Value::Map(self.merged(entries))
            }
        };
        self.place(Node { at: frame.at, end, value }, frame.height + 1, frame.anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node<'s>, height: usize, anchor: usize) -> Option<()> {
        if anchor != 0 {
            self.spend(size(&node), node.at)?;
            self.anchors.insert(anchor, (node.clone(), height));
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some((node, height));
            return Some(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.content {
            Content::List(_) => self.items.push(node),
            Content::Map(_, pending) => match std::mem::replace(pending, Pending::Name) {
                Pending::Name => *pending = name_of(node, self.problems),
                Pending::Value(at, name) => self.entries.push(Entry { name, at, node }),
                Pending::Nothing => {}
            },
        }
        Some(())
    }

    /// Puts a copy of an anchored node in the place of an alias.
    fn copy(&mut self, anchor: usize, at: Mark) -> Option<()> {
        let Some((node, _)) = self.anchors.get(&anchor) else {
            self.problems.error(at, "this alias refers to the very thing it stands in", "write the value out");
            return None;
        };
        let size = size(node);
        self.spend(size, at)?;
        let (node, height) = self.anchors.get(&anchor)?;
        if self.open.len() + height > MAX_DEPTH {
            return self.too_deep(at);
        }
        let (node, height) = (node.clone(), *height);
        self.place(node, height, 0)
    }

    /// Counts the values that anchors and aliases copy, which bounds what a small file can grow to.
    fn spend(&mut self, nodes: usize, at: Mark) -> Option<()> {
        self.copied += nodes;
        if self.copied <= MAX_COPIED_NODES {
            return Some(());
        }
        let message = format!("anchors and aliases make more than {MAX_COPIED_NODES} values of this file");
        self.problems.error(at, message, "write the values out, or use fewer aliases within aliases");
        None
    }

    /// Resolves `<<:` entries: what they bring in never replaces what the mapping says itself.
    fn merged(&mut self, entries: Vec<Entry<'s>>) -> Vec<Entry<'s>> {
        if !entries.iter().any(|entry| entry.name == MERGE) {
            return entries;
        }
        let (merges, mut kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.name == MERGE);
        let mut names: HashSet<Cow<'s, str>> = kept.iter().map(|entry| entry.name.clone()).collect();
        for merge in merges {
            let maps = match merge.node.value {
                Value::List(items) => items,
                _ => vec![merge.node],
            };
            for map in maps {
                match map.value {
                    Value::Map(brought) => kept.extend(brought.into_iter().filter(|e| names.insert(e.name.clone()))),
                    _ => self.problems.error(
                        merge.at,
                        "`<<` needs a mapping",
                        "write `<<: *name` with the name of an anchored mapping",
                    ),
                }
            }
        }
        kept
    }

    /// Whether a tag makes text of a scalar. Tags that mean nothing here are problems.
    fn forces_text(&mut self, tag: Option<&Tag>, at: Mark) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_custom() && tag.parts() != ("", "!") && tag.parts() != ("!", "") {
            let message = format!("the tag {} means nothing here", shown(&tag.original()));
            self.problems.error(
                at,
                message,
                "write the value without a tag; a secret can be given as {file: PATH} or {env: NAME}",
            );
        }
        tag.is_yaml_core_schema_tag("str") || tag.is_custom()
    }

    fn too_deep(&mut self, at: Mark) -> Option<()> {
        let message = format!("nested more than {MAX_DEPTH} levels deep");
        self.problems.error(at, message, "no part of a configuration is nested that deep: look for a bracket too many");
        None
    }

    fn syntax_error(&mut self, error: &ScanError) -> Option<()> {
        let marker = error.marker();
        let at = self.mark(&Span::empty(*marker));
        let message = match error.kind() {
            ErrorKind::UnknownAnchor => "this alias refers to an anchor that is not defined above".to_owned(),
            kind => format!("not valid YAML: {kind}"),
        };
        self.problems.error(at, message, syntax_remedy(error.kind()));
        None
    }

    fn mark(&self, span: &Span) -> Mark {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let start = &span.start;
        Mark {
            file: self.file,
            offset: offset_of(start.byte_offset()),
            line: narrow(start.line()),
            column: narrow(start.col() + 1),
        }
    }
}

fn name_of<'s>(node: Node<'s>, problems: &mut Problems) -> Pending<'s> {
    match node.value {
        Value::Plain(name) | Value::Quoted(name) => Pending::Value(node.at, name),
        Value::List(_) | Value::Map(_) => {
            problems.error(
                node.at,
                "a name must be text, not a list or a mapping",
                "text that begins with `[`, `{` or `?` needs quotes",
            );
            Pending::Nothing
        }
    }
}

fn size(node: &Node<'_>) -> usize {
    let below: usize = match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
        Value::Plain(_) | Value::Quoted(_) => 0,
    };
    1 + below
}

fn offset_of(bytes: Option<usize>) -> u32 {
    bytes.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX)
}

fn syntax_remedy(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => "indent with spaces, not with tabs",
        ErrorKind::UnclosedQuotedScalar => "close the quote that opens here",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => "look for a missing comma or closing bracket",
        ErrorKind::MappingValueNotAllowed => {
            "put text that contains `: ` in quotes, and give each `name: value` a line of its own"
        }
        ErrorKind::SimpleKeyExpected => "write `name: value`, with a colon and a space",
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockSequenceEntry => {
            "entries of one mapping or list begin in the same column: check the indentation of this line and of the one above"
        }
        ErrorKind::UnknownAnchor => {
            "define the anchor (`&name`) before its use, or put text that begins with `*` in quotes"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put text that begins with this character in quotes",
        _ => "check indentation, quotes and brackets here and on the line above",
    }
}

const MERGE: &str = "<<";
const MAX_DEPTH: usize = 64;
const MAX_COPIED_NODES: usize = 1_000_000;

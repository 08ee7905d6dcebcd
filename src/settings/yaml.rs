//! Parses one YAML file into a [`Node`] tree.
//!
//! Uses the parser's events rather than a loaded document, because only then every key has its line, every scalar keeps
//! its text, duplicate keys are detected, and nesting and aliases are bounded before any recursion.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::fault::{Faults, Place};
use super::source_file::SourceFile;
use super::tree::{KeyPath, Kind, Node, Step, Texts};

/// Deeper than any setting; keeps recursion over the tree within the stack.
const DEPTH_MAX: usize = 32;

/// Maximum nodes of one file, aliases expanded.
const NODES_MAX: usize = 100_000;

/// Fewer keys than these are compared one by one.
const KEYS_FEW: usize = 16;

/// Maximum bytes of text in one file, aliases expanded; much more than the file itself.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// The source cannot be read; its fault has been added.
pub(crate) struct Unreadable;

/// The settings of `source`; null for an empty file. `texts` are those of the files before.
pub(crate) fn parse(source: &SourceFile, texts: &mut Texts, faults: &mut Faults) -> Result<Node, Unreadable> {
    let mut builder =
        Builder { source, texts, faults, frames: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, bytes: 0 };
    for event in Parser::new_from_str(source.text.trim_start_matches('\u{feff}')) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span.start),
            // The scanner is ahead of the tree, so its position has a line but no key.
            Err(error) => Err(Stop { keyless: true, ..Stop::at(*error.marker(), explain(&error)) }),
        };
        if let Err(stop) = outcome {
            let path = if stop.keyless { KeyPath::default() } else { builder.path() };
            builder.fault(stop.line, &path, stop.message);
            return Err(Unreadable);
        }
    }
    Ok(builder.root.unwrap_or_else(|| Node::new(source.place(0), Kind::Null)))
}

/// The scanner's message, with what to write instead if that is known.
fn explain(error: &ScanError) -> String {
    let info = error.info();
    let lower = info.to_lowercase();
    let remedy = if lower.contains("tab") {
        "; indent with spaces, not tabs"
    } else if lower.contains("alias") || lower.contains("anchor") {
        "; a value that begins with `*` or `&` needs quotes: `\"*\"`, `\"*/5 * * * *\"`"
    } else if lower.contains("unexpected character") || lower.contains("cannot start any token") {
        "; a value that begins with `@`, `%` or a backtick needs quotes: `\"@hourly\"`"
    } else if lower.contains("mapping values") {
        "; a value that contains `: ` needs quotes"
    } else {
        ""
    };
    format!("is not valid YAML: {info}{remedy}")
}

/// The file cannot be parsed further.
struct Stop {
    line: usize,
    message: String,
    keyless: bool,
}

impl Stop {
    fn at(mark: Marker, message: impl Into<String>) -> Self {
        Self { line: mark.line(), message: message.into(), keyless: false }
    }
}

/// An unfinished list or map.
struct Frame {
    node: Node,
    anchor: usize,
    /// In a map: the key whose value comes next.
    key: Option<(Arc<str>, Place)>,
    /// In a map with many keys: the line of each.
    seen: HashMap<Arc<str>, usize>,
    /// In a map: the key is a duplicate, so its value is ignored.
    repeated: bool,
}

struct Builder<'a> {
    source: &'a SourceFile,
    texts: &'a mut Texts,
    faults: &'a mut Faults,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, mark: Marker) -> Result<(), Stop> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(false)
            | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(true) if self.root.is_none() => Ok(()),
            Event::DocumentStart(true) => {
                Err(Stop::at(mark, "holds a second document; write one document per file, without `---` between"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.as_deref().is_none_or(|tag| tag.suffix != "str");
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                self.check_tag(tag.as_deref(), mark);
                let at_key = self.frames.last().is_some_and(|f| matches!(f.node.kind, Kind::Map(_)) && f.key.is_none());
                let kind = if null && !at_key { Kind::Null } else { Kind::Scalar(self.texts.share(&text)) };
                self.insert(Node::new(self.place(mark), kind), anchor, mark)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(Stop::at(mark, "refers to an anchor from inside it; write the value out"));
                };
                let size = node.measure();
                self.nodes = self.nodes.saturating_add(size.nodes - 1);
                self.bytes = self.bytes.saturating_add(size.bytes);
                if self.frames.len() + size.depth > DEPTH_MAX {
                    return Err(too_deep(mark));
                }
                // Checked before the copy.
                if self.bytes > TEXT_BYTES_MAX {
                    return Err(Stop::at(mark, format!("holds more than {TEXT_BYTES_MAX} bytes, aliases expanded")));
                }
                let node = node.clone();
                self.insert(node, 0, mark)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), mark);
                self.open(Kind::List(Vec::new()), anchor, mark)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), mark);
                self.open(Kind::Map(Vec::new()), anchor, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(mut frame) => {
                    frame.node.kind.shrink_to_fit();
                    self.insert(frame.node, frame.anchor, mark)
                }
                None => Ok(()),
            },
        }
    }

    fn open(&mut self, kind: Kind, anchor: usize, mark: Marker) -> Result<(), Stop> {
        if self.frames.last().is_some_and(|frame| matches!(frame.node.kind, Kind::Map(_)) && frame.key.is_none()) {
            return Err(Stop::at(
                mark,
                "has a map or list where a key belongs; write a name, and quote a value that begins with `{` or `[`",
            ));
        }
        if self.frames.len() >= DEPTH_MAX {
            return Err(too_deep(mark));
        }
        let node = Node::new(self.place(mark), kind);
        self.frames.push(Frame { node, anchor, key: None, seen: HashMap::new(), repeated: false });
        Ok(())
    }

    /// Adds a finished node to its parent.
    fn insert(&mut self, mut node: Node, anchor: usize, mark: Marker) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            return Err(Stop::at(mark, format!("holds more than {NODES_MAX} values, aliases expanded; split it up")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let place = self.place(mark);
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match frame.key.take() {
                Some(_) if std::mem::take(&mut frame.repeated) => {}
                Some((key, place)) => {
                    node.place = place;
                    entries.push((key, node));
                }
                None => {
                    let Kind::Scalar(key) = node.kind else {
                        return Err(Stop::at(mark, "has a key that is not a name; write a name"));
                    };
                    let first = line_of(&key, entries, &mut frame.seen);
                    frame.key = Some((key, place));
                    frame.repeated = first.is_some();
                    if let Some(first) = first {
                        let path = self.path();
                        self.fault(mark.line(), &path, format!("defined twice; line {first} has it already: keep one"));
                    }
                }
            },
            Kind::Null | Kind::Scalar(_) => {}
        }
        Ok(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, mark: Marker) {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            let path = self.path();
            let message =
                "YAML tags are not supported; write the value itself, or `${file:/path}` for one kept in a file";
            self.fault(mark.line(), &path, message.to_owned());
        }
    }

    fn place(&self, mark: Marker) -> Place {
        self.source.place(mark.line())
    }

    fn fault(&mut self, line: usize, path: &KeyPath, message: String) {
        self.faults.add(self.source.place(line), path.to_string(), message);
    }

    /// The builder's current position in the tree.
    fn path(&self) -> KeyPath {
        let steps = self.frames.iter().filter_map(|frame| match &frame.node.kind {
            Kind::List(items) => Some(Step::Index(items.len())),
            _ => frame.key.as_ref().map(|(key, _)| Step::Key(Arc::clone(key))),
        });
        KeyPath(steps.collect())
    }
}

/// The line of `key` in `entries`, if it is there. `seen` has what was found out before.
fn line_of(key: &str, entries: &[(Arc<str>, Node)], seen: &mut HashMap<Arc<str>, usize>) -> Option<usize> {
    // Most maps have few keys, and there are thousands of maps.
    if entries.len() < KEYS_FEW {
        return entries.iter().find(|(known, _)| **known == *key).and_then(|(_, node)| node.place.line());
    }
    for (known, node) in &entries[seen.len()..] {
        seen.insert(Arc::clone(known), node.place.line().unwrap_or_default());
    }
    seen.get(key).copied()
}

fn too_deep(mark: Marker) -> Stop {
    Stop { keyless: true, ..Stop::at(mark, format!("nests deeper than {DEPTH_MAX} levels; no setting does")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_key_that_is_defined_twice_is_found_among_few_and_among_many() {
        for keys in [2, 15, 16, 17, 40] {
            let lines: Vec<String> = (0..keys).map(|n| format!("key{n}: 1")).collect();
            let text = lines.join("\n") + "\nkey1: 2\nkey1: 3\n";
            let mut faults = Faults::default();
            let node = parse(&SourceFile::new(0, "a.yaml", text), &mut Texts::default(), &mut faults);
            let Ok(Node { kind: Kind::Map(entries), .. }) = node else { panic!("a map is read") };
            assert_eq!(entries.len(), keys);
            let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let twice = |line: usize| format!("a.yaml:{line}: key1: defined twice; line 2 has it already: keep one");
            assert_eq!(found, [twice(keys + 1), twice(keys + 2)]);
        }
    }
}

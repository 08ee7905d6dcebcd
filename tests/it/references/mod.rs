//! The target of every reference in code, tests, migrations, samples and documents exists (CONTRIBUTING.md#references).

use std::collections::BTreeMap;
use std::path::Path;

mod scan;
mod tree;

use tree::{FACTS, FOLDERS, Tree};

/// A section for each promise, by its number.
const PROMISES: &str = "docs/promises.md";

/// The number of resolved references by kind, and the references without a target.
#[derive(Default)]
struct Findings {
    resolved: BTreeMap<&'static str, usize>,
    dangling: Vec<String>,
}

impl Findings {
    fn note(&mut self, kind: &'static str, place: Place<'_>, reference: &str, found: Result<(), String>) {
        match found {
            Ok(()) => *self.resolved.entry(kind).or_default() += 1,
            Err(reason) => self.dangling.push(format!("{}:{}: {kind} {reference}: {reason}", place.file, place.line)),
        }
    }
}

/// The place of a reference.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    line: usize,
}

#[test]
fn every_reference_leads_somewhere() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut findings = Findings::default();
    for (file, text) in &tree.texts {
        for (line, words) in scan::prose(file, text) {
            let place = Place { file, line };
            sections(&tree, place, words, &mut findings);
            files(&tree, place, words, &mut findings);
            for number in scan::promises(words) {
                findings.note("promise", place, number, tree.section(PROMISES, number));
            }
            if scan::is_page(file) {
                links(&tree, place, words, &mut findings);
            }
        }
        numbered_tests(&tree, file, text, &mut findings);
    }
    println!("{:?}", findings.resolved);
    assert!(findings.dangling.is_empty(), "these lead nowhere:\n{}", findings.dangling.join("\n"));
    // A scanner that finds nothing would find nothing wrong either.
    for (kind, least) in [("section", 300), ("file", 200), ("link", 150), ("mark", 500), ("promise", 30), ("test", 100)]
    {
        let resolved = findings.resolved.get(kind).copied().unwrap_or_default();
        assert!(resolved >= least, "only {resolved} references of the kind {kind}");
    }
}

/// `facts/lynn.md §3.1`, or only a number, which is a section of the page that the file names.
fn sections(tree: &Tree, place: Place<'_>, words: &str, findings: &mut Findings) {
    for (before, number) in scan::sections(words) {
        let found = match scan::page_before(before) {
            Some(rfc) if rfc.starts_with("RFC") => Ok(()),
            Some(name) => tree.page(place.file, name).and_then(|page| tree.section(&page, number)),
            None => tree.own_page(place.file).and_then(|page| tree.section(&page, number)),
        };
        findings.note("section", place, number, found);
    }
}

/// Names of files and folders, with or without a heading: `src/clock.rs`, `docs/warehouse.md#names`.
fn files(tree: &Tree, place: Place<'_>, words: &str, findings: &mut Findings) {
    let words = scan::without_targets(words);
    for name in scan::names(&words) {
        let (path, anchor) = name.split_once('#').map_or((name, None), |(path, anchor)| (path, Some(anchor)));
        let found = if scan::is_page(path) {
            tree.page(place.file, path).and_then(|page| anchor.map_or(Ok(()), |anchor| tree.anchor(&page, anchor)))
        } else if FOLDERS.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))) {
            tree.exists(path)
        } else if scan::is_page(place.file) && scan::is_rust(path) {
            tree.code(path)
        } else {
            continue;
        };
        findings.note("file", place, name, found);
    }
}

/// Links of Markdown, and the marks of sources in the pages of facts.
fn links(tree: &Tree, place: Place<'_>, words: &str, findings: &mut Findings) {
    let words = scan::without_code(words);
    for target in scan::targets(&words).into_iter().filter(|target| !target.contains("://")) {
        let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let found = match (path, anchor) {
            ("", Some(anchor)) => tree.anchor(place.file, anchor),
            (path, Some(anchor)) => tree.beside(place.file, path).and_then(|page| tree.anchor(&page, anchor)),
            (path, None) => tree.beside(place.file, path).map(drop),
        };
        findings.note("link", place, target, found);
    }
    if place.file.starts_with(FACTS) {
        for mark in scan::marks(&words) {
            findings.note("mark", place, mark, tree.definition(place.file, mark));
        }
    }
}

/// Tests are named by the promise that they belong to: `p4_…`.
fn numbered_tests(tree: &Tree, file: &str, text: &str, findings: &mut Findings) {
    if !scan::is_rust(file) {
        return;
    }
    for (line, code) in (1..).zip(text.lines()) {
        let name = code.trim_start().trim_start_matches("async ").strip_prefix("fn p");
        let number = name.and_then(|name| name.split_once('_')).map(|(number, _)| number);
        if let Some(number) = number.filter(|number| number.parse::<u8>().is_ok()) {
            findings.note("test", Place { file, line }, number, tree.section(PROMISES, number));
        }
    }
}

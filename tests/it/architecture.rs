//! The dependencies between the folders of `src` are those in ARCHITECTURE.md, and none is circular.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each folder (or file of `src`), what it uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Whether a file is compiled only for tests.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.to_string_lossy();
        let part = part.trim_end_matches(".rs");
        matches!(part, "tests" | "test_kit" | "fuzz") || part.ends_with("_tests") || part.ends_with("_fuzz")
    })
}

/// The source code without comments and without its test module.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The path of a file's module: `crate`, `connector`, `lynn`, `wire`.
fn module(path: &Path) -> Vec<String> {
    let inner = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let parts = inner.iter().map(|part| part.to_string_lossy().into_owned()).filter(|part| part != "mod");
    std::iter::once("crate".to_owned()).chain(parts).collect()
}

/// The code of a module, with `crate::…` instead of every path that begins with `super::`.
fn resolved(code: &str, module: &[String]) -> String {
    let (mut text, mut rest) = (String::new(), code);
    while let Some(at) = rest.find("super::") {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut path = module;
        while let Some(after) = rest.strip_prefix("super::") {
            (path, rest) = (&path[..path.len() - 1], after);
        }
        for part in path {
            text.extend([part, "::"]);
        }
    }
    text + rest
}

/// The names that follow `prefix`: one, or several in braces.
fn names_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let mut names = Vec::new();
    for part in text.split(prefix).skip(1) {
        match part.strip_prefix('{') {
            // Only the outermost names of a group are folders.
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            names.push(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => names.push(word(part)),
        }
    }
    names
}

/// The dependencies of files below `folder` on the modules named after `prefix`.
fn arrows(folder: &Path, prefix: &str) -> Arrows {
    let (mut files, mut arrows) = (Vec::new(), Arrows::new());
    sources(folder, &mut files);
    for file in files {
        let inner = file.strip_prefix(folder).unwrap().to_path_buf();
        let from = inner.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if is_test(&inner) || matches!(from.as_str(), "lib" | "main" | "mod") {
            continue;
        }
        let code = resolved(&code(&file), &module(&file));
        let to = names_after(&code, prefix)
            .into_iter()
            .filter(|to| *to != from && !["", "fuzz", "test_kit"].contains(to))
            .map(str::to_owned);
        arrows.entry(from.clone()).or_default().extend(to);
    }
    arrows
}

/// A path from `from` back to itself.
fn circle(arrows: &Arrows, from: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in arrows.get(way.last().unwrap()).into_iter().flatten() {
            if next == from {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push(way.iter().chain([next]).cloned().collect());
            }
        }
    }
    None
}

/// The table below the heading "Arrows" of ARCHITECTURE.md: what each folder uses, in the order of the rows.
fn allowed() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## Arrows\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let to: BTreeSet<String> = names(cells[2]).into_iter().collect();
        names(cells[1]).into_iter().map(move |from| (from, to.clone()))
    })
    .collect()
}

#[test]
fn the_folders_use_exactly_what_the_table_of_arrows_says() {
    let (found, rows) = (arrows(&root().join("src"), "crate::"), allowed());
    let allowed: Arrows = rows.iter().cloned().collect();
    assert_eq!(allowed.len(), rows.len(), "a folder has two rows");
    assert_eq!(found.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>());
    for (from, to) in &found {
        assert_eq!(to, &allowed[from], "what `{from}` uses (left) and what ARCHITECTURE.md says (right)");
    }
}

#[test]
fn each_folder_uses_only_folders_below_it_in_the_table() {
    let rows = allowed();
    let place = |name: &str| rows.iter().position(|(folder, _)| folder == name);
    for (from, to) in &rows {
        let above: Vec<_> = to.iter().filter(|to| place(to) <= place(from)).collect();
        assert!(above.is_empty(), "`{from}` uses {above:?}, which must have rows below it");
    }
}

#[test]
fn no_folder_is_part_of_a_cycle() {
    let src = root().join("src");
    let all = arrows(&src, "crate::");
    let circles: Vec<_> = all.keys().filter_map(|from| circle(&all, from)).collect();
    assert!(circles.is_empty(), "{circles:?}");
    // The vendors among each other.
    let connectors = arrows(&src.join("connector"), "crate::connector::");
    let circles: Vec<_> = connectors.keys().filter_map(|from| circle(&connectors, from)).collect();
    assert!(circles.is_empty(), "{circles:?}");
    // These paths begin with `super::`.
    assert!(connectors["lynn"].contains("lynn_account"), "{connectors:?}");
}

#[test]
fn cycles_and_groups_are_found() {
    let of = |pairs: &[(&str, &str)]| {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        arrows
    };
    assert!(circle(&of(&[("a", "b"), ("b", "c"), ("c", "a")]), "a").is_some());
    assert!(circle(&of(&[("a", "b"), ("b", "c"), ("a", "c")]), "a").is_none());
    let code = "use crate::load::{a, b::{c}};\nuse crate::{quota::Limit, store};\ncrate::http::send()";
    assert_eq!(names_after(code, "crate::"), ["load", "quota", "store", "http"]);
    let module = ["crate", "connector", "lynn", "wire"].map(str::to_owned);
    let code = "use super::super::{body, export};\npub(super) fn a() -> super::cursor::Cursor";
    let expected = "use crate::connector::{body, export};\npub(super) fn a() -> crate::connector::lynn::cursor::Cursor";
    assert_eq!(resolved(code, &module), expected);
}

/// Where a caller bounds what is not bounded itself: the server is asked whether it still works on a statement of a
/// load (`session::watched`), a pass of a periodic task has a deadline, and a person sees what a command does.
const BOUNDED_BY_CALLERS: &[&str] = &[
    "commands/",
    "load/",
    "mart/",
    "postgres/",
    "push/",
    "store/distribution.rs",
    "store/fitness.rs",
    "store/forget.rs",
    "store/keep/",
    "store/migrate.rs",
    "store/partitions.rs",
    "store/prune.rs",
    "store/reconciliation.rs",
    "store/session.rs",
];

/// The calls of sqlx in `code` that are awaited without a deadline, with what follows each.
fn unbounded(code: &str) -> Vec<&str> {
    let calls = [
        ".fetch_one(",
        ".fetch_optional(",
        ".fetch_all(",
        ".execute(",
        ".begin(",
        ".begin_with(",
        ".commit(",
        ".rollback(",
    ];
    let mut found = Vec::new();
    for call in calls {
        for (at, _) in code.match_indices(call) {
            let mut depth = 0;
            let end = code[at..].find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                letter == ')' && depth == 0
            });
            let after = end.map_or("", |end| code[at + end + 1..].trim_start());
            if after.starts_with(".await") {
                found.push(&code[at..at + call.len()]);
            }
        }
    }
    found
}

#[test]
fn p12_every_wait_for_the_database_has_a_deadline() {
    assert_eq!(unbounded("query(\"(\").bind(f(1)).fetch_one(g(pool)).await?"), [".fetch_one("]);
    assert_eq!(unbounded("pool.begin()\n    .await"), [".begin("]);
    assert!(
        unbounded("query.fetch_one(&mut *(conn)).in_time().await; watched(pool, backend, page.commit(&after)).await")
            .is_empty()
    );
    let mut all = Vec::new();
    sources(&root().join("src"), &mut all);
    for path in all.iter().filter(|path| !is_test(path)) {
        let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
        if !BOUNDED_BY_CALLERS.iter().any(|bounded| name.starts_with(bounded)) {
            let text = code(path);
            let found = unbounded(&text);
            assert!(found.is_empty(), "{name}: {found:?} without `in_time()`");
        }
    }
}

/// Where connectors use a vendor's text without quoting it: it is compared, quoted by the caller or cut before it is
/// quoted, or part of no error.
const UNQUOTED: [&str; 4] =
    ["khoros/wire.rs", "lynn_account/info.rs", "lynn_outbound/load.rs", "lynn_outbound/wire.rs"];

/// Messages to targets leave out quotations only.
#[test]
fn p7_connectors_quote_what_a_vendor_wrote() {
    let folder = root().join("src/connector");
    let mut all = Vec::new();
    sources(&folder, &mut all);
    let cleaning: BTreeSet<String> = all
        .iter()
        .filter(|path| !is_test(path) && code(path).contains(".clean("))
        .map(|path| path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(cleaning, UNQUOTED.map(str::to_owned).into(), "use `Redactor::quote` for errors and states");
}

#[test]
fn the_simulator_imports_nothing_of_the_product() {
    let manifest = fs::read_to_string(root().join("simulator/Cargo.toml")).unwrap();
    assert!(!manifest.contains("tidegate\""), "{manifest}");
    let mut files = Vec::new();
    sources(&root().join("simulator/src"), &mut files);
    let using: Vec<_> = files.iter().filter(|file| code(file).contains("tidegate::")).collect();
    assert!(files.len() > 40 && using.is_empty(), "{using:?}");
}

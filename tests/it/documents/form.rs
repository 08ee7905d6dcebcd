//! The form of the documents: lines of prose end at 100 columns, and the paths of files exist. Comments in Rust end at
//! 120 columns.

use std::fs;
use std::path::{Path, PathBuf};

use super::markdown::{code, names};
use super::{document, documents, root};

const COLUMNS: usize = 100;
const COMMENT_COLUMNS: usize = 120;
/// Folders with Rust code.
const CODE: [&str; 4] = ["src", "tests", "examples", "simulator/src"];
/// Beginnings of paths.
const FOLDERS: [&str; 7] = ["src/", "tests/", "examples/", "docs/", "config/", "deploy/", "simulator/"];

/// The lines of prose that are too long. Tables, code blocks, definitions of links and words that cannot be broken may
/// be longer.
fn long_lines(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let words = line.split_whitespace().count();
        let is_link = line.starts_with('[') && line.contains("]: ");
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code
            && !line.trim_start().starts_with('|')
            && !is_link
            && words > 1
            && line.chars().count() > COLUMNS
        {
            found.push(line);
        }
    }
    found
}

#[test]
fn lines_of_prose_end_at_100_columns() {
    let mut faults = Vec::new();
    for path in documents() {
        let text = document(&path);
        faults.extend(long_lines(&text).iter().map(|line| format!("{path}: {line}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_long_line_is_noticed() {
    let long = "word ".repeat(21);
    let url = "x".repeat(101);
    assert_eq!(long_lines(&format!("{long}\n| {long} |\n```\n{long}\n```\n{url}\n[a]: {url}\n- {long}")).len(), 2);
}

/// The lines of comments that are too long. Code blocks, tables and words that cannot be broken may be longer.
fn long_comments(code: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in code.lines() {
        let trimmed = line.trim_start();
        let Some(comment) = trimmed.strip_prefix("//") else { continue };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            in_code = !in_code;
        } else if !in_code
            && !comment.starts_with('|')
            && comment.contains(' ')
            && line.chars().count() > COMMENT_COLUMNS
        {
            found.push(line);
        }
    }
    found
}

/// Every file of Rust code.
fn code_files() -> Vec<PathBuf> {
    let mut found = vec![root().join("build.rs")];
    let mut folders: Vec<PathBuf> = CODE.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 300, "{}", found.len());
    found
}

#[test]
fn comment_lines_end_at_120_columns() {
    let mut faults = Vec::new();
    for path in code_files() {
        let code = fs::read_to_string(&path).unwrap();
        faults.extend(long_comments(&code).iter().map(|line| format!("{}: {line}", path.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_long_comment_is_noticed() {
    let long = "word ".repeat(24);
    let word = "x".repeat(121);
    let code =
        format!("/// {long}\n    // {long}\n//! ```\n//! {long}\n//! ```\n// {word}\n// | {long} |\nlet a = {long};");
    assert_eq!(long_comments(&code).len(), 2);
}

/// The paths in the code of a document that do not exist. A path may be relative to the root or to `src`.
fn missing_paths(text: &str) -> Vec<String> {
    let is_path = |code: &String| {
        let placeholder = code.contains([' ', '*', '<', '{', '$', '…']) || names(code).contains(&"NAME");
        let path = FOLDERS.iter().any(|folder| code.starts_with(folder))
            || code.contains('/') && Path::new(code).extension().is_some_and(|extension| extension == "rs");
        path && !placeholder
    };
    let exists = |path: &String| {
        let file = path.split('#').next().unwrap();
        root().join(file).exists() || root().join("src").join(file).exists()
    };
    code(text).into_iter().filter(is_path).filter(|path| !exists(path)).collect()
}

#[test]
fn paths_in_documents_exist() {
    let faults: Vec<_> = documents()
        .into_iter()
        .flat_map(|path| missing_paths(&document(&path)).into_iter().map(move |missing| format!("{path}: {missing}")))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_path_that_leads_nowhere_is_noticed() {
    let text = "`src/main.rs`, `load/sql.rs`, `docs/vendors/NAME.md`, `src/room.rs`, `load/room.rs`, `tests/it/none`";
    assert_eq!(missing_paths(text), ["src/room.rs", "load/room.rs", "tests/it/none"]);
}

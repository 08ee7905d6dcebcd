//! The documents agree with the program: with its configuration keys, metrics, commands, libraries and tables.
//!
//! Every check is a function of the documents' texts. Its test calls it with the real documents, and with documents in
//! which one line is changed: the check must then fail.

mod alerts;
mod commands;
mod configuration;
mod form;
mod lists;
mod markdown;
mod metrics;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a document, by its path in the repository.
fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every Markdown file of the repository, by its path.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.path().is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "data") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
}

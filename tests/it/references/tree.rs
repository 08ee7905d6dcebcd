//! The files of this repository, and the references that lead to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::scan;

/// The folders in which references are searched, and to which they lead.
pub(super) const FOLDERS: [&str; 10] =
    [".ci", ".github", "config", "deploy", "docs", "examples", "migrations", "simulator", "src", "tests"];
/// The pages whose sections code refers to by number.
pub(super) const FACTS: &str = "docs/vendors/facts/";

/// The files at the top in which references are searched, in addition to the documents.
const AT_THE_TOP: [&str; 5] = ["Cargo.toml", "Dockerfile", "NOTICE", "deny.toml", "docker-compose.yml"];

const KINDS: [&str; 8] = ["md", "rs", "service", "sh", "sql", "toml", "yaml", "yml"];

/// The possible references to a page.
#[derive(Default)]
struct Page {
    /// The numbers at the beginning of headings.
    sections: BTreeSet<String>,
    /// The anchors of headings.
    anchors: BTreeSet<String>,
    /// Names of sources, defined at the end.
    definitions: BTreeSet<String>,
}

pub(super) struct Tree {
    root: PathBuf,
    /// By path from the top.
    pub(super) texts: BTreeMap<String, String>,
    pages: BTreeMap<String, Page>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Self {
        let mut texts = BTreeMap::new();
        for folder in FOLDERS {
            add_folder(root, folder, &mut texts);
        }
        for entry in fs::read_dir(root).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if scan::is_page(&name) || AT_THE_TOP.contains(&&*name) {
                texts.insert(name.clone(), fs::read_to_string(root.join(&name)).unwrap());
            }
        }
        let pages = texts
            .iter()
            .filter(|(file, _)| scan::is_page(file))
            .map(|(file, text)| (file.clone(), Page::of(text)))
            .collect();
        Self { root: root.to_owned(), texts, pages }
    }

    pub(super) fn exists(&self, path: &str) -> Result<(), String> {
        if self.root.join(path).exists() { Ok(()) } else { Err("there is no such file".to_owned()) }
    }

    /// The target of a link, as a path from the top.
    pub(super) fn beside(&self, file: &str, path: &str) -> Result<String, String> {
        let mut parts: Vec<&str> = file.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let path = parts.join("/");
        self.exists(&path).map(|()| path)
    }

    /// A document, named from the top, from the file's folder, or by a short name of a page of facts.
    pub(super) fn page(&self, file: &str, name: &str) -> Result<String, String> {
        let beside = self.beside(file, name).unwrap_or_default();
        let facts = name
            .strip_prefix("facts/")
            // Migrations keep their text, because checksums of them are stored.
            .or_else(|| name.strip_prefix("vendors/").filter(|_| file.starts_with("migrations/")))
            .map(|page| format!("{FACTS}{page}"));
        [Some(name.to_owned()), Some(beside), facts]
            .into_iter()
            .flatten()
            .find(|path| self.pages.contains_key(path))
            .ok_or_else(|| format!("there is no page {name}"))
    }

    /// The page of facts that a file names, or otherwise the module of its folder.
    pub(super) fn own_page(&self, file: &str) -> Result<String, String> {
        if file.starts_with(FACTS) {
            return Ok(file.to_owned());
        }
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for module in [file.to_owned(), format!("{folder}/mod.rs"), format!("{folder}.rs")] {
            let Some(text) = self.texts.get(&module) else { continue };
            let named: BTreeSet<String> = scan::prose(&module, text)
                .into_iter()
                .flat_map(|(_, words)| scan::names(words))
                .filter(|name| scan::is_page(name))
                .filter_map(|name| self.page(&module, name).ok())
                .filter(|page| page.starts_with(FACTS))
                .collect();
            match named.len() {
                0 => {}
                1 => return named.into_iter().next().ok_or_else(String::new),
                _ => return Err(format!("{module} names several pages of facts: say which one")),
            }
        }
        Err("neither the file nor its module names a page of facts".to_owned())
    }

    pub(super) fn section(&self, page: &str, number: &str) -> Result<(), String> {
        self.has(page, "section", number, |page| &page.sections)
    }

    pub(super) fn anchor(&self, page: &str, anchor: &str) -> Result<(), String> {
        self.has(page, "heading", anchor, |page| &page.anchors)
    }

    pub(super) fn definition(&self, page: &str, name: &str) -> Result<(), String> {
        self.has(page, "source", name, |page| &page.definitions)
    }

    fn has(&self, page: &str, what: &str, name: &str, of: fn(&Page) -> &BTreeSet<String>) -> Result<(), String> {
        let found = self.pages.get(page).is_some_and(|page| of(page).contains(name));
        if found { Ok(()) } else { Err(format!("{page} has no {what} {name}")) }
    }

    /// A file of Rust, named by the end of its path: `worker/policy.rs`.
    pub(super) fn code(&self, end: &str) -> Result<(), String> {
        let end = format!("/{end}");
        let found = self.texts.keys().any(|file| format!("/{file}").ends_with(&end));
        if found { Ok(()) } else { Err("there is no such file".to_owned()) }
    }
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (_, line) in scan::prose("page.md", text) {
            if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
                page.definitions.insert(name.to_owned());
            }
            let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) else {
                continue;
            };
            let number = heading.split(' ').next().unwrap_or_default().trim_end_matches('.');
            if number.starts_with(|c: char| c.is_ascii_digit()) {
                page.sections.insert(number.to_owned());
            }
            let anchor = anchor(heading);
            let before = seen.entry(anchor.clone()).or_default();
            page.anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
            *before += 1;
        }
        page
    }
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn add_folder(root: &Path, folder: &str, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            add_folder(root, &path, texts);
            continue;
        }
        // The scripts in `.ci` have no extension.
        let file = entry.path();
        let kind = file.extension().map(|kind| kind.to_str().unwrap());
        if kind.map_or(folder == ".ci", |kind| KINDS.contains(&kind)) {
            texts.insert(path, fs::read_to_string(file).unwrap());
        }
    }
}

//! Reads the files of a configuration and merges them into one tree.
//!
//! Maps of different files are merged; a setting that two files give is a fault that names both. Everything read from
//! disk is bounded.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Faults, Place};
use super::tree::{KeyPath, Kind, Node};
use super::yaml;

/// A job takes some 500 bytes; a file past this is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Job files in one folder.
const FILES_MAX: usize = 1_000;

/// One file: its name as faults show it, its place in the order of reading, its text.
pub(super) struct Source {
    name: Arc<str>,
    order: usize,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(order: usize, name: &str, text: String) -> Self {
        Self { name: name.into(), order, text }
    }

    pub(super) fn place(&self, line: usize) -> Place {
        Place::File { order: self.order, name: Arc::clone(&self.name), line }
    }
}

/// Reads what `path` names: a file, or a folder's `tidegate.yaml` and `jobs/*.yaml`.
pub(super) fn read(path: &Path, faults: &mut Faults) -> Vec<Source> {
    let files = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path, faults),
        Ok(_) => vec![path.to_owned()],
        Err(error) => {
            let remedy = "name a file or a folder with `--config PATH` or `TIDEGATE_CONFIG`";
            refuse(path, format!("{}; {remedy}", cannot_read(&error)), faults);
            return Vec::new();
        }
    };
    let mut sources = Vec::new();
    for (order, file) in files.iter().enumerate() {
        match read_bounded(file, FILE_BYTES_MAX) {
            Ok(text) => sources.push(Source::new(order, &file.display().to_string(), text)),
            Err(problem) => refuse(file, problem, faults),
        }
    }
    sources
}

/// The files of a folder, in the order in which they are read.
fn folder(path: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let main = path.join("tidegate.yaml");
    let mut files: Vec<PathBuf> = main.exists().then(|| main.clone()).into_iter().collect();
    if path.join("tidegate.yml").exists() {
        refuse(&path.join("tidegate.yml"), "is not read; rename it to `tidegate.yaml`".to_owned(), faults);
    }
    let jobs = path.join("jobs");
    if jobs.is_dir() {
        match job_files(&jobs, faults) {
            Ok(found) => files.extend(found),
            Err(error) => refuse(&jobs, cannot_read(&error), faults),
        }
    }
    if files.is_empty() && faults.is_empty() {
        refuse(
            path,
            "holds neither `tidegate.yaml` nor `jobs/*.yaml`; write one, or name another folder".to_owned(),
            faults,
        );
    }
    files
}

fn job_files(jobs: &Path, faults: &mut Faults) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(jobs)? {
        let file = entry?.path();
        // Editors and mounted config maps keep hidden files beside the real ones.
        if file.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with('.')) {
            continue;
        }
        match file.extension().and_then(OsStr::to_str) {
            Some("yaml") => files.push(file),
            Some("yml") => refuse(&file, "is not read; rename it to end in `.yaml`".to_owned(), faults),
            _ => {}
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        refuse(jobs, format!("holds more than {FILES_MAX} files; put several jobs into one file"), faults);
        files.truncate(FILES_MAX);
    }
    Ok(files)
}

/// The text of a regular file of at most `bytes_max`. The error is what a fault says after the file's name.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let open = || -> io::Result<Option<Vec<u8>>> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes = open().map_err(|error| cannot_read(&error))?;
    let bytes = bytes.ok_or_else(|| "is no regular file; write the path of one".to_owned())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes; is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("is not valid UTF-8 in line {line}; save it as UTF-8")
    })
}

fn cannot_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user; check its permissions".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}

fn refuse(path: &Path, problem: String, faults: &mut Faults) {
    let place = Source::new(0, &path.display().to_string(), String::new()).place(0);
    faults.add(place, String::new(), problem);
}

/// Parses every source and merges them: sections by key, connections and jobs by name. None if one cannot be read:
/// what it holds would only be missed elsewhere.
pub(super) fn merge(sources: &[Source], faults: &mut Faults) -> Option<Node> {
    let start = sources.first().map_or_else(|| Source::new(0, "configuration", String::new()).place(0), |s| s.place(0));
    let mut merged: Vec<(String, Node)> = Vec::new();
    let mut whole = true;
    for source in sources {
        let Ok(root) = yaml::parse(source, faults) else {
            whole = false;
            continue;
        };
        match root.kind {
            Kind::Null => {}
            Kind::Map(sections) => {
                for (name, section) in sections {
                    add_section(&mut merged, name, section, faults);
                }
            }
            other => {
                let message =
                    format!("is {}, not settings; write for instance `connections:` and `jobs:`", other.name());
                faults.add(root.place, String::new(), message);
            }
        }
    }
    whole.then(|| Node::new(start, Kind::Map(merged)))
}

fn add_section(merged: &mut Vec<(String, Node)>, name: String, section: Node, faults: &mut Faults) {
    let Some((_, before)) = merged.iter_mut().find(|(other, _)| *other == name) else {
        merged.push((name, section));
        return;
    };
    let path = KeyPath::default().key(&name);
    match (&mut before.kind, section.kind) {
        (_, Kind::Null) => {}
        (Kind::Null, kind) => {
            before.kind = kind;
            before.place = section.place;
        }
        (Kind::Map(entries), Kind::Map(more)) => {
            for (key, node) in more {
                match entries.iter().find(|(other, _)| *other == key) {
                    Some((_, first)) => twice(&path.key(&key), node.place, &first.place, faults),
                    None => entries.push((key, node)),
                }
            }
        }
        _ => twice(&path, section.place, &before.place, faults),
    }
}

fn twice(path: &KeyPath, place: Place, first: &Place, faults: &mut Faults) {
    faults.add(place, path.to_string(), format!("defined twice; {first} has it already: keep one"));
}

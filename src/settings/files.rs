//! Reads the files of a configuration and merges them into one tree.
//!
//! Maps of different files are merged; a setting in two files is a fault that names both. Everything read from disk is
//! bounded.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Faults, Place};
use super::source_file::SourceFile;
use super::tree::{KeyPath, Kind, Node, Texts};
use super::{suggest, yaml};

/// A job takes about 500 bytes; a larger file is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Maximum number of job files in one folder.
const FILES_MAX: usize = 1_000;

/// The file with the process's settings in a folder, and the folder of its job files.
const MAIN: &str = "tidegate.yaml";
const JOBS: &str = "jobs";
/// Words in folder names that suggest job files.
const CONNECTIONS: &str = "connections";

/// A disk that is full leaves such files, and their settings would be gone without a word.
const EMPTY: &str =
    "is empty; restore what it held, or, if nothing is to be set in it, remove it or write a comment into it";

/// How deep subfolders of `jobs` are searched for files that would not be read.
const DEPTH_MAX: usize = 8;

/// Reads `path`: a file, or a folder with `tidegate.yaml` and `jobs/*.yaml`.
pub fn read(path: &Path, faults: &mut Faults) -> Vec<SourceFile> {
    let files = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path, faults),
        Ok(_) => vec![path.to_owned()],
        Err(error) => {
            let remedy = "name a file or a folder with `--config PATH` or `TIDEGATE_CONFIG`";
            refuse(path, format!("{}; {remedy}", cannot_read(path, &error)), faults);
            return Vec::new();
        }
    };
    let mut sources = Vec::new();
    for (order, file) in files.iter().enumerate() {
        match read_bounded(file, FILE_BYTES_MAX) {
            Ok(text) => sources.push(SourceFile::new(order, &file.display().to_string(), text)),
            Err(problem) => refuse(file, problem, faults),
        }
    }
    sources
}

/// The files of a folder in reading order. A file that would not be read is a fault, because a silently missing job is
/// noticed too late.
fn folder(path: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let main = path.join(MAIN);
    if is_present(&main, faults) {
        files.push(main);
    }
    if let Err(error) = refuse_unread(path, faults) {
        refuse(path, cannot_read(path, &error), faults);
    }
    let jobs = path.join(JOBS);
    if is_present(&jobs, faults) {
        match fs::metadata(&jobs) {
            Ok(metadata) if metadata.is_dir() => match job_files(&jobs, faults) {
                Ok(found) => files.extend(found),
                Err(error) => refuse(&jobs, cannot_read(&jobs, &error), faults),
            },
            Ok(_) => refuse(&jobs, "is not a folder; make it one, and put the job files into it".to_owned(), faults),
            Err(error) => refuse(&jobs, cannot_read(&jobs, &error), faults),
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

/// Whether something has this name, including a dangling symbolic link.
fn is_present(path: &Path, faults: &mut Faults) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                refuse(path, cannot_read(path, &error), faults);
            }
            false
        }
    }
}

/// Refuses files next to `tidegate.yaml` that look like configuration but are not read.
fn refuse_unread(folder: &Path, faults: &mut Faults) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let Some(name) = visible_name(&file) else { continue };
        if name == MAIN || name == JOBS {
            continue;
        }
        if name.eq_ignore_ascii_case(JOBS) {
            refuse(&file, "is not read; rename it to `jobs`".to_owned(), faults);
        } else if looks_like_yaml(&file) && !file.is_dir() {
            let is_main = file.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("tidegate"));
            let remedy =
                if is_main { "rename it to `tidegate.yaml`" } else { "move it into the folder `jobs`, or elsewhere" };
            refuse(&file, format!("is not read; {remedy}"), faults);
        }
    }
    Ok(())
}

/// Warnings for folders next to `jobs` that appear to contain job files but are not read: they contain YAML files and
/// have a telling name. Other folders are ignored.
pub fn unread_folders(folder: &Path) -> Vec<String> {
    let has_yaml = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(FILES_MAX);
        entries.map(|entry| entry.path()).any(|file| visible_name(&file).is_some() && looks_like_yaml(&file))
    };
    let looks_read = |path: &Path| {
        let name = visible_name(path).map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let resembles = suggest::closest(&name, [JOBS, CONNECTIONS]).is_some();
        name != JOBS && (resembles || name.starts_with("job")) && path.is_dir() && has_yaml(path)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| looks_read(path)).collect();
    found.sort();
    let sentence = |path: PathBuf| {
        let remedy =
            "of a folder, `tidegate.yaml` and `jobs/*.yaml` are read; move the files into `jobs`, or elsewhere";
        format!("the YAML files in `{}` are not read: {remedy}", path.display())
    };
    found.into_iter().map(sentence).collect()
}

fn job_files(jobs: &Path, faults: &mut Faults) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(jobs)? {
        let file = entry?.path();
        if visible_name(&file).is_none() {
            continue;
        }
        if file.extension() == Some(OsStr::new("yaml")) {
            files.push(file);
        } else if file.is_dir() {
            let mut left = FILES_MAX;
            refuse_nested(&file, DEPTH_MAX, &mut left, faults);
        } else if looks_like_yaml(&file) {
            refuse(&file, "is not read; rename it to end in `.yaml`".to_owned(), faults);
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        refuse(jobs, format!("holds more than {FILES_MAX} files; put several jobs into one file"), faults);
        files.truncate(FILES_MAX);
    }
    Ok(files)
}

/// Refuses every YAML file in a subfolder of `jobs`. `left` bounds the number of entries examined.
fn refuse_nested(folder: &Path, depth: usize, left: &mut usize, faults: &mut Faults) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return refuse(folder, cannot_read(folder, &error), faults),
    };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let file = entry.path();
        if visible_name(&file).is_none() {
            continue;
        }
        if looks_like_yaml(&file) {
            refuse(
                &file,
                "is not read: subfolders are not searched; move it into the folder `jobs`".to_owned(),
                faults,
            );
        } else if depth > 1 && file.is_dir() {
            refuse_nested(&file, depth - 1, left, faults);
        }
    }
}

/// The last part of `path`; `None` if it is hidden. Editors and mounted config maps keep hidden entries next to the
/// real ones.
fn visible_name(path: &Path) -> Option<&OsStr> {
    path.file_name().filter(|name| !name.as_encoded_bytes().starts_with(b"."))
}

fn looks_like_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml"))
}

/// The text of a regular file of at most `bytes_max`. The error follows the file's name in a fault.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let open = || -> io::Result<Option<Vec<u8>>> {
        // Checked before opening: opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    let bytes = open().map_err(|error| cannot_read(path, &error))?;
    let bytes = bytes.ok_or_else(|| "is not a regular file; write the path of one".to_owned())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes; is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("is not valid UTF-8 in line {line}; save it as UTF-8")
    })
}

/// The fault for a `path` that failed with `error`.
pub fn cannot_read(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            "is a symbolic link to something that does not exist; repair or remove it".to_owned()
        }
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user; check its permissions".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn refuse(path: &Path, problem: String, faults: &mut Faults) {
    let place = SourceFile::new(0, &path.display().to_string(), String::new()).place(0);
    faults.add(place, String::new(), problem);
}

/// Parses all sources and merges them: sections by key, connections and jobs by name. Also returns whether all of them
/// could be read; the content of one that could not would cause further faults elsewhere. Drops each text once it is
/// parsed.
pub fn merge(sources: Vec<SourceFile>, faults: &mut Faults) -> (Node, bool) {
    let start =
        sources.first().map_or_else(|| SourceFile::new(0, "configuration", String::new()).place(0), |s| s.place(0));
    let mut merged: Vec<(Arc<str>, Node)> = Vec::new();
    let mut texts = Texts::default();
    let mut places = Places::new();
    let mut whole = true;
    for source in sources {
        if source.text.trim_start_matches('\u{feff}').trim().is_empty() {
            faults.add(source.place(0), String::new(), EMPTY.to_owned());
            whole = false;
            continue;
        }
        let Ok(root) = yaml::parse(&source, &mut texts, faults) else {
            whole = false;
            continue;
        };
        match root.kind {
            Kind::Null => {}
            Kind::Map(sections) => {
                for (name, section) in sections {
                    add_section(&mut merged, &mut places, name, section, faults);
                }
            }
            other => {
                let message =
                    format!("is {}, not settings; write for instance `connections:` and `jobs:`", other.name());
                faults.add(root.place, String::new(), message);
            }
        }
    }
    for (_, section) in &mut merged {
        section.kind.shrink_to_fit();
    }
    (Node::new(start, Kind::Map(merged)), whole)
}

/// Where each key of each section is, so that thousands of them need not be searched for each further one.
type Places = HashMap<Arc<str>, HashMap<Arc<str>, Place>>;

fn add_section(
    merged: &mut Vec<(Arc<str>, Node)>,
    places: &mut Places,
    name: Arc<str>,
    section: Node,
    faults: &mut Faults,
) {
    let places = places.entry(Arc::clone(&name)).or_default();
    let mut remember = |kind: &Kind| {
        if let Kind::Map(entries) = kind {
            places.extend(entries.iter().map(|(key, node)| (Arc::clone(key), node.place.clone())));
        }
    };
    let Some((_, before)) = merged.iter_mut().find(|(other, _)| *other == name) else {
        remember(&section.kind);
        merged.push((name, section));
        return;
    };
    let path = KeyPath::default().key(&name);
    match (&mut before.kind, section.kind) {
        (_, Kind::Null) => {}
        (Kind::Null, kind) => {
            remember(&kind);
            before.kind = kind;
            before.place = section.place;
        }
        (Kind::Map(entries), Kind::Map(more)) => {
            for (key, node) in more {
                if let Some(first) = places.get(&key) {
                    twice(&path.key(&key), node.place, first, faults);
                } else {
                    places.insert(Arc::clone(&key), node.place.clone());
                    entries.push((key, node));
                }
            }
        }
        _ => twice(&path, section.place, &before.place, faults),
    }
}

fn twice(path: &KeyPath, place: Place, first: &Place, faults: &mut Faults) {
    faults.add(place, path.to_string(), format!("defined twice; {first} has it already: keep one"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_of_all_files_are_in_memory_once() {
        let texts = ["one: { zone: America/Lima }", "two: { zone: America/Lima }"].into_iter().enumerate();
        let sources = texts.map(|(order, text)| SourceFile::new(order, "a.yaml", text.to_owned())).collect();
        let (tree, is_whole) = merge(sources, &mut Faults::default());
        let entry = |section: &str| match &tree.get(section).unwrap().kind {
            Kind::Map(entries) => match entries.as_slice() {
                [(key, Node { kind: Kind::Scalar(value), .. })] => (Arc::clone(key), Arc::clone(value)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let (one, two) = (entry("one"), entry("two"));
        assert!(is_whole && Arc::ptr_eq(&one.0, &two.0) && Arc::ptr_eq(&one.1, &two.1));
    }
}

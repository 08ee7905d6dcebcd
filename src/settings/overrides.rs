//! `TIDEGATE__SECTION__KEY`: settings from the environment, on top of the files.
//!
//! The `config` crate reads the variables (prefix, separator). The layering is done here, because `config` would lose
//! what a clear error needs: its layers replace each other silently, so a duplicate name is not detected; it records
//! the origin of a value, not of a key, so an unknown key has no line; it lower-cases variable names, so `Acme-Lynn`
//! could not be addressed; it reads dots in a name as a path; and it stops at the first fault.

use std::collections::BTreeMap;

use config::{Environment, Source as _};

use super::fault::{Faults, Place};
use super::suggest;
use super::tree::{KeyPath, Kind, Node};

const PREFIX: &str = "TIDEGATE";
const SEPARATOR: &str = "__";

/// Settings that are lists; an override separates their items with commas.
const LISTS: &[&str] = &["streams", "allowed_hosts", "enabled_streams"];

/// Sections whose entries are named; an override changes an existing entry and never creates one.
const NAMED: &[&str] = &["connections", "jobs"];

/// Applies every override to `root`.
pub fn apply(root: &mut Node, env: &BTreeMap<String, String>, faults: &mut Faults) {
    for (name, value) in collect(env) {
        let place = Place::Environment(name);
        if let Err((path, problem)) = set(root, &place, &value.0, value.1) {
            faults.add(place, path.to_string(), problem);
        }
    }
}

/// The override variables: name, steps, value; a section comes before its contents.
fn collect(env: &BTreeMap<String, String>) -> BTreeMap<String, (Vec<String>, String)> {
    let source = env.clone().into_iter().collect();
    let variables = Environment::with_prefix(PREFIX).separator(SEPARATOR).source(Some(source)).collect();
    let original = |folded: &str| {
        let name = format!("{PREFIX}{SEPARATOR}{}", folded.replace('.', SEPARATOR));
        env.keys().find(|key| key.eq_ignore_ascii_case(&name)).cloned().unwrap_or(name)
    };
    let steps = |folded: &str| folded.split('.').map(str::to_owned).collect();
    variables
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, value)| Some((original(&key), (steps(&key), value.into_string().ok()?))))
        .collect()
}

fn set(root: &mut Node, place: &Place, steps: &[String], value: String) -> Result<(), (KeyPath, String)> {
    let mut node = root;
    let mut path = KeyPath::default();
    if steps.iter().any(String::is_empty) {
        return Err((path, "names no setting; write `TIDEGATE__SECTION__KEY`".to_owned()));
    }
    for (depth, step) in steps.iter().enumerate() {
        let entry_must_exist = depth == 1 && NAMED.contains(&steps[0].as_str());
        let key = resolve(node, step, entry_must_exist).map_err(|problem| (path.clone(), problem))?;
        path = path.key(&key);
        node = entry(node, key, place).map_err(|problem| (path.clone(), problem))?;
    }
    let list = steps.last().is_some_and(|last| LISTS.contains(&last.as_str())) && value != "*";
    node.kind = if list {
        let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
        Kind::List(items.map(|item| scalar(place, item.to_owned())).collect())
    } else {
        Kind::Scalar(value.into())
    };
    node.place = place.clone();
    node.hidden = true;
    Ok(())
}

fn scalar(place: &Place, text: String) -> Node {
    Node { place: place.clone(), kind: Kind::Scalar(text.into()), hidden: true }
}

/// The key in `node` that `step` means. Case, dashes and dots are ignored, since variable names cannot contain them.
fn resolve(node: &Node, step: &str, must_exist: bool) -> Result<String, String> {
    let names = || match &node.kind {
        Kind::Map(entries) => entries.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let wanted = suggest::fold(step);
    let found: Vec<&str> = names().into_iter().filter(|name| suggest::fold(name) == wanted).collect();
    match found.as_slice() {
        [name] => Ok((*name).to_owned()),
        [] if must_exist => {
            Err(format!("no entry is named `{step}`; write it in a file first{}", suggest::hint(step, names())))
        }
        [] => Ok(step.to_owned()),
        [first, second, ..] => Err(format!("`{step}` could be `{first}` or `{second}`; rename one of them")),
    }
}

/// The value at `key` of `node`, created if missing.
fn entry<'a>(node: &'a mut Node, key: String, place: &Place) -> Result<&'a mut Node, String> {
    if matches!(node.kind, Kind::Null) {
        node.kind = Kind::Map(Vec::new());
    }
    let kind = node.kind.name();
    let Kind::Map(entries) = &mut node.kind else {
        return Err(format!("{kind} has no keys; set it as a whole"));
    };
    let index = entries.iter().position(|(name, _)| **name == *key).unwrap_or_else(|| {
        entries.push((key.into(), Node::new(place.clone(), Kind::Null)));
        entries.len() - 1
    });
    Ok(&mut entries[index].1)
}

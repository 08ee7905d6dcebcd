//! `${VAR}`, `${VAR:-default}` and `${file:/path}` in values.
//!
//! Substituted text is never parsed as YAML or expanded again, so a password of digits stays text and one with `${`
//! stays unchanged. `$${` produces a literal `${`.
//!
//! An empty variable or file is a fault, like a missing one, because it is rarely intended. `${VAR:-}` allows an empty
//! value.

use std::collections::BTreeMap;
use std::path::Path;

use super::fault::{Faults, Place};
use super::files::read_bounded;
use super::tree::{KeyPath, Kind, Node, shown};

/// Credentials are short; certificates fit too.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Total size that all references may substitute. A hundred credential files fit.
const EXPANDED_BYTES_MAX: usize = 8 << 20;

/// Replaces the references in every value of `node` that came from a file. A value that cannot be replaced is removed,
/// with a fault.
pub fn apply(node: &mut Node, path: &KeyPath, env: &BTreeMap<String, String>, faults: &mut Faults) {
    replace(node, path, &mut Expansion { env, left: EXPANDED_BYTES_MAX }, faults);
}

/// The sources of values, and how many bytes may still be substituted.
struct Expansion<'a> {
    env: &'a BTreeMap<String, String>,
    left: usize,
}

fn replace(node: &mut Node, path: &KeyPath, expansion: &mut Expansion<'_>, faults: &mut Faults) {
    match &mut node.kind {
        Kind::Null => {}
        // Overrides are used unchanged.
        Kind::Scalar(_) if matches!(node.place, Place::Environment(_)) => {}
        Kind::Scalar(text) => {
            if !text.contains("${") {
                return;
            }
            match expand(text, expansion) {
                Ok(expanded) => {
                    node.hidden = expanded != text.replace("$${", "${");
                    *text = expanded.into();
                }
                Err(problem) => {
                    faults.add(node.place.clone(), path.to_string(), problem);
                    node.kind = Kind::Null;
                }
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| has_reference(item)) {
                replace(item, &path.index(index), expansion, faults);
            }
        }
        Kind::Map(entries) => {
            for (key, value) in entries.iter_mut().filter(|(_, value)| has_reference(value)) {
                replace(value, &path.key(key), expansion, faults);
            }
        }
    }
}

/// Whether there is a reference in `node`. Thousands of jobs have none, and need no path for a fault.
fn has_reference(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => false,
        Kind::Scalar(text) => text.contains("${"),
        Kind::List(items) => items.iter().any(has_reference),
        Kind::Map(entries) => entries.iter().any(|(_, value)| has_reference(value)),
    }
}

fn expand(text: &str, expansion: &mut Expansion<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            expanded.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some((reference, after)) = after.split_once('}') else {
                return Err("has a `${` without its `}`; close it, or write `$${` for a plain `${`".to_owned());
            };
            let value = resolve(reference, expansion.env)?;
            expansion.left = expansion.left.checked_sub(value.len()).ok_or_else(|| {
                format!(
                    "has references that expand to more than {EXPANDED_BYTES_MAX} bytes together with earlier ones; leave some out"
                )
            })?;
            expanded.push_str(&value);
            rest = after;
        } else {
            expanded.push('$');
            rest = &rest[1..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn resolve(reference: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read_file(path);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(letter) {
        return Err("has a `${…}` that names no variable; write `${NAME}`, `${NAME:-default}` or `${file:/path}`, \
                    or `$${` for a plain `${`"
            .to_owned());
    }
    match (env.get(name), default) {
        (Some(value), None) if value.trim().is_empty() => {
            let name = shown(name);
            let remedy = format!("give it a value, or write `${{{name}:-}}` to allow an empty value");
            Err(format!("environment variable `{name}` is empty; {remedy}"))
        }
        (Some(value), None) => Ok(value.clone()),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.clone()),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let name = shown(name);
            Err(format!("environment variable `{name}` is not set; set it, or give a default: `${{{name}:-…}}`"))
        }
    }
}

fn read_file(path: &str) -> Result<String, String> {
    let name = shown(path);
    if !Path::new(path).is_absolute() {
        return Err(format!("`${{file:{name}}}` is not an absolute path; write `${{file:/path}}`"));
    }
    let text = read_bounded(Path::new(path), FILE_BYTES_MAX).map_err(|problem| format!("file `{name}` {problem}"))?;
    if text.trim().is_empty() {
        return Err(format!("file `{name}` is empty; write the value into it"));
    }
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_with(text: &str) -> Result<String, String> {
        let env =
            [("A", "1"), ("EMPTY", ""), ("BLANK", " \n"), ("B", "x${A}")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        expand(text, &mut Expansion { env: &BTreeMap::from(env), left: 100 })
    }

    #[test]
    fn references_expand_to_a_bounded_length() {
        assert_eq!(expand_with(&"${A}".repeat(100)).unwrap().len(), 100);
        assert!(expand_with(&"${A}".repeat(101)).unwrap_err().starts_with("has references that expand to more than"));
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(expand_with("${A}").as_deref(), Ok("1"));
        assert_eq!(expand_with("a${A}b${A}").as_deref(), Ok("a1b1"));
        assert_eq!(expand_with("${B}").as_deref(), Ok("x${A}"), "substituted text is not expanded again");
        assert_eq!(expand_with("${NONE:-d}").as_deref(), Ok("d"));
        assert_eq!(expand_with("${NONE:-}").as_deref(), Ok(""));
        assert_eq!(expand_with("${EMPTY:-d}").as_deref(), Ok("d"));
        assert_eq!(expand_with("${EMPTY:-}").as_deref(), Ok(""));
        assert_eq!(expand_with("$${A} $A $ $$").as_deref(), Ok("${A} $A $ $$"));
    }

    #[test]
    fn an_unresolvable_reference_is_a_fault() {
        for text in ["${NONE}", "${", "${}", "${a b}", "${1}", "${file:relative}", "${file:/nonexistent}"] {
            assert!(expand_with(text).is_err(), "{text}");
        }
    }

    #[test]
    fn p9_an_empty_value_is_a_fault_unless_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = format!("${{file:{}}}", path.display());
        for text in ["", "\n", " \t\r\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(expand_with(&file).unwrap_err().ends_with("is empty; write the value into it"), "{text:?}");
        }
        let empty = "is empty; give it a value, or write `${EMPTY:-}` to allow an empty value";
        for text in ["${EMPTY}", "a${EMPTY}b"] {
            assert_eq!(expand_with(text).unwrap_err(), format!("environment variable `EMPTY` {empty}"));
        }
        assert!(expand_with("${BLANK}").unwrap_err().starts_with("environment variable `BLANK` is empty"));
    }

    #[test]
    fn the_line_break_that_ends_a_file_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "a b \r\n").unwrap();
        assert_eq!(expand_with(&format!("${{file:{}}}", path.display())).as_deref(), Ok("a b "));
        std::fs::write(&path, "a\n\n").unwrap();
        assert_eq!(expand_with(&format!("${{file:{}}}", path.display())).as_deref(), Ok("a\n"));
    }
}

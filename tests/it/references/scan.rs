//! Finds the references in a line of text.

use std::path::Path;

/// The lines of a file that people read, with their numbers: comments in code, documents without code blocks, and all
/// lines of other files.
pub(super) fn prose<'a>(file: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let lines = (1..).zip(text.lines());
    if is_rust(file) {
        return lines.filter_map(|(number, line)| Some((number, comment(line)?))).collect();
    }
    if !is_page(file) {
        return lines.collect();
    }
    let mut is_sample = false;
    lines
        .filter(|(_, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_sample ^= is_fence;
            !is_sample && !is_fence
        })
        .collect()
}

fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("//") { Some(line) } else { line.split_once(" // ").map(|(_, comment)| comment) }
}

/// The numbers after each `§`, with the text before it.
pub(super) fn sections(words: &str) -> Vec<(&str, &str)> {
    words
        .match_indices('§')
        .filter_map(|(at, sign)| {
            let number = leading(&words[at + sign.len()..], |c| c.is_ascii_digit() || c == '.').trim_end_matches('.');
            (!number.is_empty()).then_some((&words[..at], number))
        })
        .collect()
}

/// The page that a section belongs to, if it is named directly before it: `facts/lynn.md §8.3, §8.4`, `RFC 9110, §8.6`.
pub(super) fn page_before(before: &str) -> Option<&str> {
    let mut before = before;
    loop {
        let trimmed = before.trim_end_matches([' ', ',', '-', '`']);
        let Some((rest, last)) = trimmed.rsplit_once('§') else { return page_at_end(trimmed) };
        if last.is_empty() || !last.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return page_at_end(trimmed);
        }
        before = rest;
    }
}

fn page_at_end(words: &str) -> Option<&str> {
    let start =
        words.rfind(|c| !is_of_name(c)).map_or(0, |at| at + words[at..].chars().next().map_or(0, char::len_utf8));
    let name = &words[start..];
    if is_page(name) {
        return Some(name);
    }
    let rfc = words[..start].trim_end().strip_suffix("RFC")?;
    Some(&words[rfc.len()..])
}

/// The numbers of promises: "promise 4", "promises 3 and 7".
pub(super) fn promises(words: &str) -> Vec<&str> {
    let mut numbers = Vec::new();
    let mut follows = false;
    for word in words.split_whitespace() {
        let word = word.trim_start_matches(['(', '[', '"']);
        let number = leading(word, |c| c.is_ascii_digit());
        if follows && !number.is_empty() {
            numbers.push(number);
        }
        follows = ["promise", "promises", "Promise", "Promises"].contains(&word)
            || follows && (word == "and" || word == "to" || !number.is_empty() && word.ends_with(','))
            || follows && word == number;
    }
    numbers
}

/// Words that may name a file. Not URLs, absolute paths and placeholders such as `docs/vendors/NAME.md`.
pub(super) fn names(words: &str) -> Vec<&str> {
    words
        .split(|c| !is_of_name(c) && c != '#')
        .map(|name| name.trim_end_matches(['.', '-', '#']))
        .filter(|name| !name.starts_with('/') && !name.contains("NAME") && name.len() > ".md".len())
        .map(|name| name.strip_prefix("./").unwrap_or(name))
        .filter(|name| {
            !name.starts_with('.') || ["../", ".ci/", ".github/"].iter().any(|start| name.starts_with(start))
        })
        .collect()
}

/// The targets of links, and of their definitions at the end of a page.
pub(super) fn targets(words: &str) -> Vec<&str> {
    let inline = words.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let defined = words.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    inline.chain(defined).collect()
}

/// Marks such as `[D1]`, which a definition at the end of the page explains.
pub(super) fn marks(words: &str) -> Vec<&str> {
    words
        .match_indices('[')
        .filter_map(|(at, _)| words[at + 1..].split_once(']'))
        .filter(|(mark, _)| !mark.is_empty() && mark.chars().all(char::is_alphanumeric))
        .filter(|(_, after)| !after.starts_with(['(', ':', '[']))
        .map(|(mark, _)| mark)
        .collect()
}

/// The line without the targets of its links.
pub(super) fn without_targets(words: &str) -> String {
    if words.starts_with('[') && words.contains("]: ") {
        return String::new();
    }
    let mut parts = words.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + " " + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// The line without the text in backticks.
pub(super) fn without_code(words: &str) -> String {
    words.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// A document.
pub(super) fn is_page(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

pub(super) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['_', '.', '/', '-'].contains(&c)
}

fn leading(text: &str, is_part: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())]
}

#[test]
fn a_page_is_named_directly_before_its_sections() {
    let named =
        |words| sections(words).into_iter().map(|(before, number)| (page_before(before), number)).collect::<Vec<_>>();
    assert_eq!(named("(`facts/lynn.md §2, §8.4`)"), [(Some("facts/lynn.md"), "2"), (Some("facts/lynn.md"), "8.4")]);
    assert_eq!(named("facts/jaicp.md §3-§10."), [(Some("facts/jaicp.md"), "3"), (Some("facts/jaicp.md"), "10")]);
    assert_eq!(named("no length (RFC 9110, §8.6)."), [(Some("RFC 9110"), "8.6")]);
    assert_eq!(named("facts/lynn.md says so, and `§9` too; §N"), [(None, "9")]);
}

#[test]
fn references_are_told_from_other_words() {
    assert_eq!(promises("tests of promises 3 and 7, (promise 10). A promise of 5"), ["3", "7", "10"]);
    let words = "see https://host.example/docs/a.md, /etc/docs/b.md, `docs/NAME.md`, *.md and docs/warehouse.md#names.";
    assert_eq!(names(words).last(), Some(&"docs/warehouse.md#names"));
    assert!(names(words).iter().all(|name| !is_page(name)));
    assert_eq!(names("run `.ci/run` in ./docs/x or ./.env"), [".ci/run", "docs/x"]);
    assert_eq!(targets("[a](b.md#c) and [d](https://e.example)"), ["b.md#c", "https://e.example"]);
    assert_eq!(marks("so [D1] [inferred], not [that](x) or [other][D2]"), ["D1", "inferred", "D2"]);
    assert_eq!(without_code("a `[b](c)` d"), "a   d");
}

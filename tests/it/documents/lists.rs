//! Lists in the documents: the libraries of Cargo.toml, the tables of the schema `tidegate`, and the variables that the
//! sample configuration needs.

use std::collections::BTreeSet;
use std::fs;

use super::markdown::{Block, blocks, spans};
use super::{document, root};
use crate::cli::shell::Shell;

/// The text below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    section.split("\n## ").next().unwrap()
}

/// The code spans in the first column of the tables.
fn first_column(section: &str) -> BTreeSet<String> {
    let tables = blocks(section).into_iter().filter_map(|block| match block {
        Block::Table(table) => Some(table),
        _ => None,
    });
    tables
        .flat_map(|table| table.rows)
        .flat_map(|row| spans(&row[0]).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The libraries that the product uses, in tests too.
fn dependencies() -> BTreeSet<String> {
    let manifest = document("Cargo.toml");
    let mut is_list = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_list = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| is_list) {
            found.extend((!value.contains("path = ")).then(|| name.to_owned()));
        }
    }
    found
}

/// The libraries that a section names: those of its table, and those that the sentences before it list after a colon.
fn libraries(section: &str) -> BTreeSet<String> {
    let mut found = first_column(section);
    let text = section.split_once("\n|").unwrap().0.replace('\n', " ");
    for sentence in text.split(". ") {
        let list = sentence.split_once(": ").map_or("", |(_, list)| list);
        let outside = list.split('(').enumerate().map(|(at, part)| match part.split_once(')') {
            Some((_, after)) if at > 0 => after,
            _ => part,
        });
        let list = outside.collect::<String>().replace(" and ", ", ");
        found.extend(list.split(", ").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    }
    found
}

#[test]
fn the_architecture_names_each_library_of_the_manifest() {
    let text = document("ARCHITECTURE.md");
    let section = section(&text, "Libraries");
    let dependencies = dependencies();
    assert!(dependencies.len() > 50, "{dependencies:?}");
    let named = libraries(section);
    let missing: Vec<_> = dependencies.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&dependencies).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not named: {missing:?}; not a dependency: {unknown:?}");
    assert!(!libraries(&section.replace("| `itoa` |", "| |")).contains("itoa"));
    assert!(!libraries(&section.replace("uuid,", "")).contains("uuid"));
}

/// The tables and views that the migrations create in the schema `tidegate`, and the list of migrations.
fn control_tables() -> BTreeSet<String> {
    let mut found = BTreeSet::from(["_sqlx_migrations".to_owned()]);
    for entry in fs::read_dir(root().join("migrations")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for kind in ["table", "unlogged table", "view"] {
            let names = text.lines().filter_map(|line| line.strip_prefix(&format!("create {kind} tidegate.")));
            found.extend(names.map(|line| line.split(' ').next().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn the_architecture_names_each_control_table() {
    let tables = control_tables();
    assert!(tables.len() > 20, "{tables:?}");
    assert_eq!(first_column(section(&document("ARCHITECTURE.md"), "Control tables")), tables);
}

#[test]
fn the_section_about_backups_names_each_control_table() {
    let text = document("docs/operations.md");
    let named = spans(section(&text, "Backup"));
    let is_named = |table: &str| {
        named.iter().any(|name| name.strip_suffix('*').map_or(*name == table, |start| table.starts_with(start)))
    };
    // They have no data of their own.
    let is_view =
        |table: &str| matches!(table, "stream_state" | "stream_wait" | "held_range" | "open_problem" | "mart_in_force");
    let missing: Vec<_> = control_tables().into_iter().filter(|table| !is_view(table) && !is_named(table)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn the_environment_for_compose_has_every_variable_that_the_samples_need() {
    let example = document("deploy/compose/env.example");
    let config = root().join("config");
    let with = |without: &str| {
        let names = example.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        names
            .filter(|name| !name.starts_with('#') && *name != without)
            .fold(Shell::without_credentials(), |shell, name| shell.with(name, "0b7f3a52-hunter2"))
    };
    let args = ["--config", config.to_str().unwrap(), "check", "--offline"];
    with("").run(&args).await.expect(0);
    let refused = with("JAICP_TOKEN").run(&args).await.expect(2);
    assert!(refused.stderr.contains("JAICP_TOKEN"), "{refused:?}");
}

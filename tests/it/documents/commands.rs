//! Command lines in documents and help texts are valid, and the README has every command.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, Parser as _};
use tidegate::commands::Cli;

use super::markdown::{Block, blocks, code, spans};
use super::{document, documents};

/// The words of a command line, without a comment, a redirection or an ampersand at its end.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap();
    line.split_whitespace()
        .take_while(|word| !matches!(*word, "&" | ">" | ">>" | "|" | "&&" | "2>" | "<"))
        .map(str::to_owned)
        .collect()
}

/// Replaces a placeholder with a value of its kind.
fn value(word: &str) -> String {
    match word.trim_end_matches('…') {
        "D" | "DATE" => "2026-01-01",
        "ID" => "4711",
        "N" => "3",
        "ADDR" => "127.0.0.1:8080",
        "COMMAND" => "status",
        word => word,
    }
    .to_owned()
}

/// A line with optional parts, such as `runs [JOB] [--limit N]`, without these parts and with all of them.
fn alternatives(line: &str) -> Vec<Vec<String>> {
    let mut depth = 0;
    let (mut short, mut long) = (String::new(), String::new());
    for c in line.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c => {
                long.push(c);
                if depth == 0 {
                    short.push(c);
                }
            }
        }
    }
    [short, long].iter().map(|line| words(line).iter().map(|word| value(word)).collect()).collect()
}

/// Whether the words are the name of a command without any argument, as in a sentence about the command.
fn is_name(words: &[String]) -> bool {
    let mut command = Cli::command();
    words.iter().skip(1).all(|word| match command.find_subcommand(word).cloned() {
        Some(inner) => {
            command = inner;
            true
        }
        None => false,
    })
}

/// The error of clap for a command line that begins with `tidegate`.
fn fault(line: &str) -> Option<String> {
    alternatives(line).into_iter().find_map(|words| match Cli::try_parse_from(&words) {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument && is_name(&words) => None,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => None,
        Err(error) => Some(format!("`{line}`: {error}")),
    })
}

/// The command lines of a document: code that begins with the name of the program or with `cargo run`.
fn command_lines(text: &str) -> Vec<String> {
    let run = |code: &String| match code.strip_prefix("cargo run --release -- ") {
        Some(arguments) => Some(format!("tidegate {arguments}")),
        None => code.starts_with("tidegate ").then(|| code.clone()),
    };
    code(text).iter().filter_map(run).collect()
}

/// The first cells of the README's table of commands.
fn table_of_commands(readme: &str) -> Vec<String> {
    let table = blocks(readme).into_iter().find_map(|block| match block {
        Block::Table(table) if table.header[0] == "command" => Some(table),
        _ => None,
    });
    let rows = table.unwrap().rows;
    rows.iter().flat_map(|row| spans(&row[0])).map(|line| format!("tidegate {line}")).collect()
}

/// Every command in the help, such as `runs cancel`. A command with subcommands is included too.
fn commands(command: &Command, path: &str, found: &mut BTreeSet<String>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let path = format!("{path} {}", command.get_name());
        commands(command, &path, found);
        found.insert(path);
    }
}

/// The commands with which no line of the table begins.
fn not_in_table(readme: &str) -> Vec<String> {
    let mut all = BTreeSet::new();
    commands(&Cli::command(), "tidegate", &mut all);
    assert!(all.contains("tidegate cursors reset") && all.len() > 20, "{all:?}");
    let mut table = table_of_commands(readme);
    // Longer names first, so that `runs cancel` does not count as `runs`.
    let mut missing = Vec::new();
    for command in all.into_iter().rev() {
        let of_command =
            |line: &String| line.strip_prefix(&command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        if table.iter().any(of_command) {
            table.retain(|line| !of_command(line));
        } else {
            missing.push(command);
        }
    }
    missing
}

/// The examples in the help of a command and of its subcommands.
fn examples(command: &Command, found: &mut Vec<String>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = help.lines().filter_map(|line| line.strip_prefix("  tidegate "));
    // Two spaces separate the line from what it does.
    found.extend(examples.map(|line| format!("tidegate {}", line.split("  ").next().unwrap())));
    command.get_subcommands().for_each(|command| self::examples(command, found));
}

#[test]
fn every_command_line_in_the_documents_is_understood() {
    let mut seen = 0;
    let mut faults = Vec::new();
    for path in documents() {
        let lines = command_lines(&document(&path));
        seen += lines.len();
        faults.extend(lines.iter().filter_map(|line| fault(line)).map(|fault| format!("{path}: {fault}")));
    }
    assert!(seen > 100, "{seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_command_is_in_the_table_of_the_readme_and_every_row_is_understood() {
    let readme = document("README.md");
    assert_eq!(not_in_table(&readme), [""; 0]);
    let table = table_of_commands(&readme);
    let faults: Vec<_> = table.iter().filter_map(|line| fault(line)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_example_of_a_help_text_is_understood() {
    let mut lines = Vec::new();
    examples(&Cli::command(), &mut lines);
    assert!(lines.len() > 25, "{lines:?}");
    let faults: Vec<_> = lines.iter().filter_map(|line| fault(line)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_command_line_that_is_not_understood_and_a_missing_row_are_noticed() {
    assert_eq!(fault("tidegate cursors reset JOB [--stream S] [--to D]   # a comment"), None);
    assert_eq!(fault("tidegate schema > config/tidegate.schema.json"), None);
    assert_eq!(fault("tidegate [--config PATH] COMMAND"), None);
    assert_eq!(fault("tidegate held release"), None, "the name of a command");
    for line in [
        "tidegate chek",
        "tidegate check --ofline",
        "tidegate runs cancel JOB",
        "tidegate sync [--json=3]",
        "tidegate backfill JOB",
    ] {
        assert!(fault(line).is_some(), "{line}");
    }
    assert_eq!(
        command_lines("Run `tidegate\nstatus`.\n\n```sh\ntidegate run\nls\n```"),
        ["tidegate status", "tidegate run"]
    );
    let readme = document("README.md");
    let of_table: Vec<&str> = readme.lines().skip_while(|line| *line != "| command | does |").skip(2).collect();
    let rows: Vec<_> = of_table.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10);
    for row in rows {
        let without = readme.replacen(&format!("{row}\n"), "", 1);
        assert!(!not_in_table(&without).is_empty(), "nobody misses: {row}");
    }
}

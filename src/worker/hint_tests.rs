//! The hint of every error of every connector, and of every message in their sources, names only settings that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use clap::CommandFactory as _;
use serde_json::Value;

use super::*;
use crate::config::json_schema;
use crate::connector::Connector;
use crate::decode::DecodeError;
use crate::http::Excerpt;
use crate::load::LoadError;
use crate::quota::LedgerError;

/// Keys of a job that have no effect on a stream without windows.
const OF_WINDOWS: [&str; 4] = ["slice", "settle", "lookback", "start"];
/// The vendors' own words in messages of their connectors, such as fields of responses.
const OF_VENDORS: [&str; 6] = ["result", "stats", "states", "timestamp", "complete", "Unauthorized"];

/// Every kind of step error. A new variant makes the match below incomplete: add it to both.
fn step_errors() -> Vec<StepError> {
    let status = |status| HttpError::Status { status, excerpt: Excerpt::default() };
    let (limit, until) = ("requests".to_owned(), Utc::now());
    let connection = "acme".to_owned();
    let database = || sqlx::Error::PoolTimedOut;
    let http = [
        HttpError::OwnQuota { limit: limit.clone(), until },
        HttpError::RefusedForQuota { status: 429, limit: limit.clone(), until },
        status(404),
        status(503),
        HttpError::Transport { what: "it timed out", source: None },
        HttpError::TooLarge { max: 1 },
        HttpError::Ledger(LedgerError::Database { connection: connection.clone(), source: database() }),
        HttpError::Ledger(LedgerError::Timeout { connection: connection.clone() }),
        HttpError::Ledger(LedgerError::InvalidLimit { connection: connection.clone(), limit: limit.clone() }),
        HttpError::Ledger(LedgerError::UnknownLimit { connection: connection.clone(), limit }),
        HttpError::Ledger(LedgerError::Gone { connection }),
        HttpError::Request("the path leads to another host".to_owned()),
        HttpError::Host { host: "files.example".to_owned(), why: "it is not https" },
    ];
    let (start, end) = (String::new(), String::new());
    let own = [
        StepError::Unreadable(DecodeError::Empty),
        StepError::Missing("result"),
        StepError::Credentials,
        StepError::Forbidden,
        StepError::DatesRefused { start: start.clone(), end: end.clone() },
        StepError::NotServed(404),
        StepError::Failed(String::new()),
        StepError::Shape(String::new()),
        StepError::ExportFailed { times: 3, said: String::new() },
        StepError::ExportOverdue { deadline: Duration::from_hours(6), said: String::new() },
        StepError::Unsteady { found: 1, announced: 2, start, end },
        StepError::CursorStuck,
        StepError::PagesMissing { page: 2, pages: 3, why: "is empty" },
        StepError::Endless(1),
        StepError::CursorUnknown,
        StepError::LoadStopped,
    ];
    for error in &own {
        match error {
            StepError::Http(_)
            | StepError::Unreadable(_)
            | StepError::Missing(_)
            | StepError::Credentials
            | StepError::Forbidden
            | StepError::DatesRefused { .. }
            | StepError::NotServed(_)
            | StepError::Failed(_)
            // Its hint is the connector's: see the sources below.
            | StepError::Refused { .. }
            | StepError::Shape(_)
            | StepError::ExportFailed { .. }
            | StepError::ExportOverdue { .. }
            | StepError::Unsteady { .. }
            | StepError::CursorStuck
            | StepError::PagesMissing { .. }
            | StepError::Endless(_)
            | StepError::CursorUnknown
            | StepError::LoadStopped => {}
        }
    }
    http.into_iter().map(StepError::Http).chain(own).collect()
}

/// Every kind of task error, in the same way.
fn task_errors() -> Vec<TaskError> {
    let own = [
        TaskError::Load(LoadError::Fenced),
        TaskError::Load(LoadError::Moved),
        TaskError::Load(LoadError::SeenLost),
        TaskError::Load(LoadError::Rearranged),
        TaskError::Load(LoadError::Locked { table: "lynn.t".to_owned() }),
        TaskError::Load(LoadError::Database(sqlx::Error::PoolTimedOut)),
        TaskError::Database(sqlx::Error::PoolTimedOut),
        TaskError::Grid { stored: "1d in UTC".to_owned(), wanted: "1h in UTC".to_owned() },
        TaskError::UnknownStream,
        TaskError::OtherAccount("it was first read with another `company_key`".to_owned()),
        TaskError::Timeout,
    ];
    for error in &own {
        match error {
            TaskError::Step(_)
            | TaskError::Load(
                LoadError::Fenced
                | LoadError::Moved
                | LoadError::SeenLost
                | LoadError::Rearranged
                | LoadError::Database(_)
                | LoadError::Altered { .. }
                | LoadError::Locked { .. }
                | LoadError::Unfit { .. }
                | LoadError::Key { .. }
                | LoadError::NotATable { .. }
                | LoadError::Required { .. }
                | LoadError::Rule { .. },
            )
            | TaskError::Database(_)
            | TaskError::Grid { .. }
            | TaskError::UnknownStream
            | TaskError::OtherAccount(_)
            | TaskError::Timeout => {}
        }
    }
    step_errors().into_iter().map(TaskError::Step).chain(own).collect()
}

/// What a hint may name.
#[derive(Debug)]
struct Known {
    vendor: &'static str,
    /// Keys of the configuration; nested keys with and without their path: `polling`, `deadline`, `polling.deadline`.
    keys: BTreeSet<String>,
    /// Words that are values of some key.
    values: BTreeSet<String>,
    streams: BTreeSet<String>,
}

impl Known {
    /// The names that exist for a connection of `vendor` and a job that reads it, window by window or not.
    fn of(vendor: Vendor, windowed: bool) -> Self {
        let schema = json_schema();
        let mut keys = BTreeSet::new();
        let mut values = BTreeSet::new();
        let cases = schema["properties"]["connections"]["additionalProperties"]["allOf"].as_array().unwrap();
        let case = cases.iter().find(|case| case["if"]["properties"]["vendor"]["const"] == vendor.name()).unwrap();
        gather("", &case["then"], &mut keys, &mut values);
        gather("", &schema["properties"]["jobs"]["additionalProperties"], &mut keys, &mut values);
        if !windowed {
            keys.retain(|key| !OF_WINDOWS.contains(&key.as_str()));
        }
        let streams = connector::streams(vendor).iter().map(|stream| stream.name.to_string()).collect();
        Self { vendor: vendor.name(), keys, values, streams }
    }

    /// The faults of a text for operators.
    fn problem(&self, text: &str) -> Option<String> {
        let ticked = text.split('`').skip(1).step_by(2);
        let plain = text.split('`').step_by(2).flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let plain = plain.filter(|word| word.contains('_'));
        let unknown = ticked.chain(plain).find(|word| !self.knows(word))?;
        Some(format!("{}: `{unknown}` in {text:?}", self.vendor))
    }

    fn knows(&self, word: &str) -> bool {
        if let Some(command) = word.strip_prefix("tidegate ") {
            return is_command(command);
        }
        if let Some(option) = word.strip_prefix("--") {
            return is_option(&crate::commands::Cli::command(), option);
        }
        let (key, value) = word.split_once(": ").map_or((word, None), |(key, value)| (key, Some(value)));
        let is_key = self.keys.contains(key) && value.is_none_or(|value| self.values.contains(value));
        // Placeholders of a message or a path, moments and addresses.
        let is_placeholder = word.starts_with(['{', '/', '2']) || word.starts_with("https://");
        is_key
            || is_placeholder
            || (value.is_none() && self.values.contains(key))
            || self.streams.contains(word)
            || OF_VENDORS.contains(&word)
    }
}

/// Collects the keys and values of a schema, at any depth.
fn gather(path: &str, schema: &Value, keys: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let whole = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        gather(&whole, schema, keys, values);
        keys.extend([name.clone(), whole]);
    }
    for part in ["anyOf", "allOf", "oneOf"] {
        schema[part].as_array().into_iter().flatten().for_each(|part| gather(path, part, keys, values));
    }
    for part in [schema.get("items"), schema.get("additionalProperties")].into_iter().flatten() {
        gather(path, part, keys, values);
    }
    let words = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
    values.extend(words.filter_map(Value::as_str).map(str::to_owned));
}

/// Whether a command such as `cursors reset JOB --stream S` is valid after its placeholders are replaced.
fn is_command(text: &str) -> bool {
    let mut command = crate::commands::Cli::command();
    text.split_whitespace().all(|word| {
        if word.chars().all(char::is_uppercase) {
            return true;
        }
        if let Some(option) = word.strip_prefix("--") {
            return command.get_arguments().any(|argument| argument.get_long() == Some(option));
        }
        let found = command.find_subcommand(word).cloned();
        found.is_some_and(|found| {
            command = found;
            true
        })
    })
}

fn is_option(command: &clap::Command, option: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(option))
        || command.get_subcommands().any(|command| is_option(command, option))
}

#[test]
fn p9_a_hint_names_settings_that_the_vendor_has_and_commands_that_there_are() {
    let mut problems = Vec::new();
    for vendor in connector::ALL.iter().map(|connector| connector.vendor) {
        for windowed in [true, false] {
            let known = Known::of(vendor, windowed);
            let errors = task_errors().into_iter().filter(|error| windowed || !matches!(error, TaskError::Grid { .. }));
            for error in errors {
                let text = hint(&error, Subject::stream(vendor, windowed));
                assert!(!text.is_empty() && !text.ends_with('.'), "{error:?}");
                problems.extend(known.problem(text).map(|problem| format!("{problem}, for {error:?}")));
            }
        }
    }
    // If the vendor is not known, only keys that every vendor has are named.
    for vendor in connector::ALL.iter().map(|connector| connector.vendor) {
        let known = Known::of(vendor, false);
        let texts = task_errors().into_iter().filter(|error| !matches!(error, TaskError::Grid { .. }));
        problems.extend(texts.filter_map(|error| known.problem(hint(&error, Subject::default()))));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The vendor's part of `src`: its folder of `src/connector`, the folders without streams that it uses, and `src/push`
/// if it takes records.
fn folders(source: &Path, connector: &Connector) -> Vec<PathBuf> {
    let all = std::fs::read_dir(source.join("connector")).unwrap().map(|entry| entry.unwrap().path());
    let (vendors, shared): (Vec<_>, Vec<_>) =
        all.filter(|path| path.is_dir()).partition(|folder| folder.join("streams.rs").exists());
    let read = |folder: &Path, file| std::fs::read_to_string(folder.join(file)).unwrap();
    let declared = format!("Vendor::new(\"{}\")", connector.vendor.name());
    let own = vendors.into_iter().find(|folder| read(folder, "streams.rs").contains(&declared)).unwrap();
    let module = read(&own, "mod.rs");
    let name = |folder: &Path| folder.file_name().unwrap().to_string_lossy().into_owned();
    let used = shared.into_iter().filter(|folder| module.contains(&format!("super::{}::", name(folder))));
    let used: Vec<_> = used.chain(connector.takes_records.then(|| source.join("push"))).collect();
    std::iter::once(own).chain(used).collect()
}

/// The texts with backticks, or with a name such as `base_url`, in the sources below a folder, without tests.
fn messages(folder: &Path) -> Vec<String> {
    let mut messages = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() {
            messages.extend(self::messages(&entry));
        } else if !name.contains("tests")
            && !name.contains("fuzz")
            && name != "test_kit.rs"
            && !matches!(&*name, "config.rs" | "parameters.rs" | "streams.rs" | "columns.rs")
        {
            let source = std::fs::read_to_string(&entry).unwrap();
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            messages.extend(literals(code).into_iter().filter(|text| text.contains('`') && text.contains(' ')));
        }
    }
    messages
}

/// The string literals of a source. Raw strings are not messages.
fn literals(code: &str) -> Vec<String> {
    let (mut literals, mut rest) = (Vec::new(), code);
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, found) = rest.split_at(at);
        let next = found.chars().nth(1);
        if found.starts_with("//") {
            rest = found.split_once('\n').map_or("", |(_, rest)| rest);
        } else if found.starts_with("'\"'") || found.starts_with("'\\") {
            let end = found[2..].find('\'').map_or(found.len(), |end| end + 3);
            rest = &found[end..];
        } else if !found.starts_with('"') || next.is_none() {
            rest = &found[1..];
        } else if before.ends_with('#') {
            rest = found.split_once("\"#").map_or("", |(_, rest)| rest);
        } else {
            let (mut text, mut chars) = (String::new(), found[1..].char_indices());
            let mut end = found.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    '\\' => {
                        if chars.next().is_some_and(|(_, c)| c == '\n') {
                            let indent = chars.as_str().len() - chars.as_str().trim_start().len();
                            (0..indent).for_each(|_| _ = chars.next());
                        } else {
                            text.push('"');
                        }
                    }
                    c => text.push(c),
                }
            }
            literals.push(text);
            rest = &found[end..];
        }
    }
    literals
}

#[test]
fn string_literals_of_a_source_are_found() {
    let code = "let a = \"x `a` \\\n      y\"; // \"no\"\nlet b = ['\"', 'c']; let c = r#\"raw \"x\" `y` z\"#; f(\"q \\\"b\\\"\", '\\'')";
    assert_eq!(literals(code), ["x `a` y", "q \"b\""]);
}

#[test]
fn p9_messages_of_a_connector_name_settings_that_it_has() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    let mut of_accounts = 0;
    for connector in connector::ALL {
        let vendor = connector.vendor;
        let mut known = Known::of(vendor, true);
        // Of a job that sends.
        known.keys.extend(["query", "push"].map(str::to_owned));
        let folders = folders(&source, connector);
        of_accounts += usize::from(folders.iter().any(|folder| folder.ends_with("lynn_account")));
        let messages: Vec<String> = folders.iter().flat_map(|folder| messages(folder)).collect();
        problems.extend(messages.iter().filter_map(|message| known.problem(message)));
        let hints = messages.iter().filter(|text| text.starts_with("check `")).count();
        assert!(hints > 0 || !matches!(vendor.name(), "khoros_care" | "lexer_activity"), "{vendor:?}");
    }
    assert_eq!(of_accounts, 2, "both connectors of Lynn use its folder");
    assert!(problems.is_empty(), "{problems:#?}");
}

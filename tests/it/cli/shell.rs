//! Runs the binary in its own folder and environment.

use std::fs;
use std::process::{ExitStatus, Stdio};

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{TestDatabase, clock, programs};

pub const TOKEN: &str = "7c01d94ab3e2f5";
pub const SECRET: &str = "0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111";

pub const CONFIG: &str = r#"
database: { url: "${DATABASE_URL}", max_connections: 4 }
connections:
  acme-lynn:
    vendor: lynn_reporting
    base_url: ${LYNN_URL:-http://127.0.0.1:9}
    tenant: 4411
    access_token: ${LYNN_ACCESS_TOKEN}
    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}
jobs:
  lynn-yearly:
    connection: acme-lynn
    streams: [survey_result, navigation_marks]
    schedule: "15 4 1 1 *"
    timezone: America/Santiago
    start: 2026-01-01
  lynn-by-hand:
    connection: acme-lynn
    streams: [show_error]
    start: 2026-01-01
"#;

/// A folder with a configuration, and the required variables.
pub struct Shell {
    folder: TempDir,
    env: Vec<(String, String)>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Shell {
    /// Uses a database URL without a server, for commands that need none.
    pub fn without_database() -> Self {
        Self::at("postgres://tidegate:pg-hunter2@127.0.0.1:9/nowhere")
    }

    pub fn on(database: &TestDatabase) -> Self {
        Self::at(database.url())
    }

    pub fn at(database_url: &str) -> Self {
        let shell = Self { folder: TempDir::new().unwrap(), env: Vec::new() };
        shell.write_config(CONFIG);
        shell
            .with("DATABASE_URL", database_url)
            .with("LYNN_ACCESS_TOKEN", TOKEN)
            .with("LYNN_ACCESS_TOKEN_SECRET", SECRET)
    }

    /// Has no configuration and sets no variables.
    pub fn without_credentials() -> Self {
        Self { folder: TempDir::new().unwrap(), env: Vec::new() }
    }

    /// Sets a variable for all later commands.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn write_config(&self, text: &str) {
        fs::create_dir_all(self.folder.path().join("config")).unwrap();
        fs::write(self.folder.path().join("config/tidegate.yaml"), text).unwrap();
    }

    pub fn remove_config(&self) {
        fs::remove_dir_all(self.folder.path().join("config")).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(clock::shift())
            .envs(programs::env())
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Outcome {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    /// Standard output parsed as a single JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output and standard error.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// `text` without what differs from day to day: times, durations, and the widths that depend on them.
pub fn timeless(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let columns: Vec<String> = line.split("  ").filter(|column| !column.trim().is_empty()).map(column).collect();
        lines.push(format!("{}{}", " ".repeat(indent.min(2)), columns.join(" | ")));
    }
    lines.join("\n")
}

fn column(text: &str) -> String {
    let words: Vec<&str> = text.trim().split(' ').collect();
    let mut seen = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let bare = word.trim_end_matches(',');
        let after_in = place > 0 && words[place - 1] == "in";
        if DateTime::parse_from_rfc3339(bare).is_ok() {
            seen.push(word.replace(bare, "TIME"));
        } else if NaiveDate::parse_from_str(bare, "%Y-%m-%d").is_ok() {
            seen.push(word.replace(bare, "DATE"));
        } else if NaiveTime::parse_from_str(bare, "%H:%M:%S").is_ok() {
            seen.push(word.replace(bare, "CLOCK"));
        } else if after_in && bare.starts_with(|c: char| c.is_ascii_digit()) {
            seen.push("SPAN".to_owned());
        } else {
            seen.push((*word).to_owned());
        }
    }
    seen.join(" ")
}

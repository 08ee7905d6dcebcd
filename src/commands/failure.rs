//! How a command reports an error: one readable message on standard error, and the exit code.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::Exit;
use crate::http::Redactor;
use crate::secret::Secret;
use crate::settings::Faults;
use crate::store::fitness::Unfit;
use crate::store::session;
use crate::store::trouble::{causes, is_read_only};
use crate::text::{self, plain};

/// Maximum number of causes to show, after the first.
const CAUSES_MAX: usize = 8;

/// The errors of commands themselves.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line names something that does not exist or cannot be used. Exit code 2.
    #[error("{0}")]
    Usage(String),
    #[error("{message}")]
    Failed { message: String, hint: String },
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: hint.into() }
    }
}

/// Prints `error`. Returns how the process ends.
pub fn report(error: &anyhow::Error, secrets: &[Secret]) -> Exit {
    say(&render(error, secrets));
    exit_of(error)
}

/// Prints `text` to standard error, without control characters. Ignores a closed standard error.
pub fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text::lines(text).as_bytes());
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let usage = matches!(error.downcast_ref(), Some(CommandError::Usage(_)));
    if usage || error.is::<Faults>() { Exit::Usage } else { Exit::Failed }
}

fn render(error: &anyhow::Error, secrets: &[Secret]) -> String {
    let mut text = String::new();
    if let Some(faults) = error.downcast_ref::<Faults>() {
        let faults_are = if faults.len() == 1 { "1 fault" } else { &format!("{} faults", faults.len()) };
        let _ = writeln!(text, "error: the configuration has {faults_are}; nothing was done\n{faults}");
        return hide(&text, secrets);
    }
    for (place, cause) in causes(error.as_ref()).iter().take(1 + CAUSES_MAX).enumerate() {
        let _ = writeln!(text, "{}{}", if place == 0 { "error: " } else { "  because: " }, plain(cause));
    }
    if let Some(CommandError::Failed { hint, .. }) = error.downcast_ref() {
        let _ = writeln!(text, "hint: {}", plain(hint));
    }
    if is_read_only(error.as_ref()) {
        let _ = writeln!(text, "hint: {}", session::ONLY_READS_HINT);
    }
    if let Some(unfit) = error.chain().find_map(|cause| cause.downcast_ref::<Unfit>()) {
        text.push_str(&remedy(&unfit.hint, &unfit.statements));
    }
    hide(&text, secrets)
}

/// A hint and the SQL that it mentions, one statement per line.
pub fn remedy(hint: &str, statements: &[String]) -> String {
    let colon = if statements.is_empty() { "" } else { ":" };
    let mut text = format!("hint: {}{colon}\n", plain(hint));
    for statement in statements {
        let _ = writeln!(text, "    {}", plain(statement));
    }
    text
}

/// An additional protection (promise 7): errors are built without secrets, whatever a server returns.
pub fn hide(text: &str, secrets: &[Secret]) -> String {
    Redactor::of_whole(secrets.to_vec()).without_secrets(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_causes_once_and_the_remedy() {
        let cause = anyhow::anyhow!("connection refused");
        let error = cause.context("cannot connect: connection refused").context("the database is away");
        let expected = "error: the database is away\n  because: cannot connect: connection refused\n";
        assert_eq!(render(&error, &[]), expected);
        let error = CommandError::failed("the schema is missing", "run `tidegate migrate`").into();
        assert_eq!(render(&error, &[]), "error: the schema is missing\nhint: run `tidegate migrate`\n");
        assert_eq!(exit_of(&error), Exit::Failed);
        assert_eq!(exit_of(&CommandError::Usage("unknown job".to_owned()).into()), Exit::Usage);
    }

    #[test]
    fn p7_a_report_holds_no_secret() {
        let error = anyhow::anyhow!("password s3cret-value is wrong").context("login with s3cret-value failed");
        let text = render(&error, &[Secret::new("s3cret-value"), Secret::new("a")]);
        assert_eq!(text, "error: login with *** failed\n  because: password *** is wrong\n");
        let error = anyhow::anyhow!("S3cret%2Dvalue").context("login with s3c\u{200b}ret-value and czNjcmV0LXZhbHVl");
        let text = render(&error, &[Secret::new("s3cret-value")]);
        assert_eq!(text, "error: login with *** and ***\n  because: ***\n");
    }

    #[test]
    fn p7_a_cause_neither_steers_a_terminal_nor_begins_a_line() {
        let error = anyhow::anyhow!("a\u{1b}[2J\nerror: forged").context("b\u{202e}c\r\u{200b}");
        let expected = "error: b\u{fffd}c \u{fffd}\n  because: a\u{fffd}[2J error: forged\n";
        assert_eq!(render(&error, &[]), expected);
    }
}

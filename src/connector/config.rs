//! Keys that several connectors have: the format of CSV files, and the polling of export jobs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::export::Polling;
use crate::decode::csv::CsvSplitter;
use crate::decode::text::Charset;
use crate::settings::{DurationText, KeyPath, Report, secs};

/// Format of a connection's CSV files; what is not set is detected from each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvForm {
    /// Separator of fields: an ASCII character.
    pub delimiter: Option<u8>,
    /// Quote character: another ASCII character.
    pub quote: u8,
    /// Charset, whatever the Content-Type says. A byte order mark takes precedence.
    pub charset: Option<Charset>,
}

impl Default for CsvForm {
    fn default() -> Self {
        Self { delimiter: None, quote: b'"', charset: None }
    }
}

impl CsvForm {
    /// The splitter for a file. `delimiter` applies if the connection has none.
    pub(super) fn splitter(&self, delimiter: Option<u8>) -> CsvSplitter {
        CsvSplitter::quoted(self.delimiter.or(delimiter), self.quote)
    }
}

/// Format of CSV files; what is left out is detected from each file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvKeys {
    /// Separator of fields, one ASCII character; if left out, detected from the header and the first lines.
    #[schemars(length(min = 1, max = 1))]
    delimiter: Option<String>,
    /// Quote character of fields that hold a delimiter or a line end, one ASCII character.
    #[schemars(length(min = 1, max = 1), extend("default" = "\""))]
    quote: Option<String>,
    /// Charset, such as `windows-1252`; if left out, the one that the file's Content-Type names, else UTF-8. A byte
    /// order mark takes precedence.
    charset: Option<String>,
}

/// Polling of export jobs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PollingKeys {
    /// Pause from the submission of a job to the first poll; doubles with every poll.
    #[schemars(extend("default" = "5s"))]
    initial: Option<DurationText>,
    /// The longest pause between two polls.
    #[schemars(extend("default" = "1m"))]
    max: Option<DurationText>,
    /// A job that takes longer is given up, and requested again.
    #[schemars(extend("default" = "6h"))]
    deadline: Option<DurationText>,
}

/// Polling of export jobs.
pub(super) fn polling(raw: Option<PollingKeys>, path: &KeyPath, report: &mut Report<'_>) -> Polling {
    let (raw, path, default) = (raw.unwrap_or_default(), path.key("polling"), Polling::default());
    let range = Duration::from_millis(1)..=secs(7 * 86_400);
    let polling = Polling {
        initial: report.duration(&path.key("initial"), raw.initial, &range, default.initial),
        max: report.duration(&path.key("max"), raw.max, &range, default.max),
        deadline: report.duration(&path.key("deadline"), raw.deadline, &range, default.deadline),
    };
    if polling.initial > polling.max || polling.max > polling.deadline {
        report.state(&path, "does not fit: `initial` is at most `max`, and `max` at most `deadline`");
    }
    polling
}

/// Format of CSV files.
pub(super) fn csv(raw: Option<CsvKeys>, path: &KeyPath, report: &mut Report<'_>) -> CsvForm {
    let (raw, path, default) = (raw.unwrap_or_default(), path.key("csv"), CsvForm::default());
    let mut character = |key: &str, raw: Option<&str>, remedy: &str| {
        let text = raw?;
        let fit = |byte: u8| byte == b'\t' || (byte.is_ascii_punctuation() || byte == b' ');
        match text.as_bytes() {
            [byte] if fit(*byte) => Some(*byte),
            _ => {
                let what = "is not a single ASCII character that separates or surrounds fields";
                report.refuse(&path.key(key), format!("{what}; {remedy}"));
                None
            }
        }
    };
    let delimiter =
        character("delimiter", raw.delimiter.as_deref(), "write for instance `\";\"`, or `\"\\t\"` for a tab");
    let quote = character("quote", raw.quote.as_deref(), "write for instance `\"'\"`; the default is `'\"'`");
    let quote = quote.unwrap_or(default.quote);
    if delimiter == Some(quote) {
        report.state(&path, "does not fit: `delimiter` and `quote` are the same character; change one of them");
    }
    let charset = raw.charset.as_deref().and_then(|name| {
        let charset = Charset::named(name.trim());
        if charset.is_none() {
            let known = "`utf-8`, `windows-1252`, `iso-8859-2`, `utf-16le` or `shift_jis`";
            report.refuse(&path.key("charset"), format!("is not a charset that is known; write for instance {known}"));
        }
        charset
    });
    CsvForm { delimiter, quote, charset }
}

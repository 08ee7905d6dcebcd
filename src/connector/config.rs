//! Keys that several connectors have: how CSV files are written, and how patiently export jobs are asked after.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::export::Polling;
use crate::decode::csv::CsvSplitter;
use crate::decode::text::Charset;
use crate::settings::{DurationText, KeyPath, Report, secs};

/// How a connection says that its CSV files are written; what it does not say is told from each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvForm {
    /// What separates fields: an ASCII character.
    pub delimiter: Option<u8>,
    /// What surrounds fields: another one.
    pub quote: u8,
    /// What the text is in, whatever a Content-Type says. A byte order mark says more.
    pub charset: Option<Charset>,
}

impl Default for CsvForm {
    fn default() -> Self {
        Self { delimiter: None, quote: b'"', charset: None }
    }
}

impl CsvForm {
    /// What splits such a file; `delimiter` is the one of files of which the connection says none.
    pub(super) fn splitter(&self, delimiter: Option<u8>) -> CsvSplitter {
        CsvSplitter::quoted(self.delimiter.or(delimiter), self.quote)
    }
}

/// How CSV files are written; what is left out is told from each file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvKeys {
    /// What separates fields, one ASCII character; left out, found from the header and the first lines.
    #[schemars(length(min = 1, max = 1))]
    delimiter: Option<String>,
    /// What surrounds fields that hold a delimiter or a line end, one ASCII character.
    #[schemars(length(min = 1, max = 1), extend("default" = "\""))]
    quote: Option<String>,
    /// What the text is in, such as `windows-1252`; left out, what the file's Content-Type names, else UTF-8. A byte order
    /// mark says more.
    charset: Option<String>,
}

/// How patiently export jobs are asked after.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollingKeys {
    /// From the submission of a job to the first question after it; doubles with every further one.
    #[schemars(extend("default" = "5s"))]
    initial: Option<DurationText>,
    /// The longest pause between two questions.
    #[schemars(extend("default" = "1m"))]
    max: Option<DurationText>,
    /// A job that takes longer is given up, and requested again.
    #[schemars(extend("default" = "6h"))]
    deadline: Option<DurationText>,
}

/// How patiently export jobs are asked after.
pub fn polling(raw: Option<PollingKeys>, path: &KeyPath, report: &mut Report<'_>) -> Polling {
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

/// How CSV files are written.
pub fn csv(raw: Option<CsvKeys>, path: &KeyPath, report: &mut Report<'_>) -> CsvForm {
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

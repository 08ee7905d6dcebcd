//! Converts records on their way to the loader: notes their ids, adds a zone to times, removes what the vendor has
//! erased, and removes the token.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use memchr::memmem::Finder;
use xxhash_rust::xxh3::xxh3_64;

use super::super::{Records, StepError, Window};
use super::times;
use crate::clock;
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::raw::Raw;
use crate::decode::{DecodeError, Sink};
use crate::secret::Secret;

/// Members of a message with personal data; they are removed when the vendor erases the message (`facts/jaicp.md §5`).
/// States, classes and times stay, as at the vendor.
const PERSONAL: &[&str] = &[
    "question",
    "textAnswer",
    "comment",
    "operatorInfo",
    "requestData",
    "data",
    "responseData",
    "utterancesJson",
    "exception",
];

/// Maximum number of rows of a page, because their ids are held in memory. At most a thousand are requested.
const PAGE_ROWS_MAX: usize = 1_000_000;

/// The kind of records in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// The members that identify a record; `botId` of a client may be missing (`§6`).
    key: &'static [&'static str],
    times: &'static [&'static str],
}

pub(super) const SESSION: Kind = Kind { key: &["projectShortName", "sessionId"], times: &["startTime"] };
pub(super) const MESSAGE: Kind =
    Kind { key: &["projectShortName", "sessionId", "questionId"], times: &["timestamp", "sessionStartTime"] };
pub(super) const CLIENT: Kind = Kind {
    key: &["projectShortName", "channelType", "botId", "id"],
    times: &["joinDate", "lastVisitDate", "blockDate"],
};
/// Without a key: records of another list or of a file.
pub(super) const OTHER: Kind = Kind { key: &[], times: &[] };

/// Finds the token in records: links to recordings may contain it (`§1`).
#[derive(Debug)]
pub(super) struct TokenFinder(Vec<Finder<'static>>);

impl TokenFinder {
    pub(super) fn new(token: &Secret) -> Self {
        let plain = token.expose();
        let encoded = plain.replace(':', "%3A");
        let mut spellings = vec![plain.to_owned(), encoded.to_lowercase(), encoded];
        spellings.sort();
        spellings.dedup();
        Self(spellings.iter().filter(|text| !text.is_empty()).map(|text| Finder::new(text).into_owned()).collect())
    }

    /// The text without the token. Returns `None` if the text does not contain the token.
    fn without(&self, record: &[u8]) -> Option<Vec<u8>> {
        let mut cleaned: Option<Vec<u8>> = None;
        for finder in &self.0 {
            let text = cleaned.as_deref().unwrap_or(record);
            let Some(first) = finder.find(text) else { continue };
            let mut kept = text[..first].to_vec();
            let mut rest = &text[first..];
            while let Some(at) = finder.find(rest) {
                kept.extend_from_slice(&rest[..at]);
                kept.extend_from_slice(b"***");
                rest = &rest[at + finder.needle().len()..];
            }
            kept.extend_from_slice(rest);
            cleaned = Some(kept);
        }
        cleaned
    }
}

/// The session of the messages, whose ids they lack, and the window that is wanted (`§5`).
#[derive(Debug, Clone, Copy)]
pub(super) struct OfSession<'a> {
    pub(super) project: &'a str,
    pub(super) id: &'a str,
    pub(super) window: Window,
}

/// See the module's documentation. Collects the ids of one page.
pub(super) struct RecordWriter<'r, R: ?Sized> {
    pub(super) records: &'r mut R,
    pub(super) ids: Vec<u64>,
    kind: Kind,
    of_session: Option<OfSession<'r>>,
    token: &'r TokenFinder,
    /// Whether the warning about times without a zone was logged.
    warned: &'r AtomicBool,
    now: DateTime<Utc>,
    writer: ObjectWriter,
    /// Number of the page. Makes records without an id distinct from those of other pages.
    page: u64,
}

impl<'r, R: Records + ?Sized> RecordWriter<'r, R> {
    pub(super) fn new(records: &'r mut R, kind: Kind, token: &'r TokenFinder, warned: &'r AtomicBool) -> Self {
        let (ids, writer) = (Vec::new(), ObjectWriter::default());
        Self { records, ids, kind, of_session: None, token, warned, now: clock::now(), writer, page: 0 }
    }

    pub(super) fn of(self, page: u64, of_session: Option<OfSession<'r>>) -> Self {
        Self { of_session, page, ..self }
    }

    fn pass(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        match self.token.without(record) {
            None => self.records.record(record),
            Some(cleaned) => self.records.record(&cleaned),
        }
    }

    /// A hash of the members that identify the record. A record without an id cannot become a row, but the vendor
    /// counts it, so its position identifies it.
    fn id(&self, members: Option<&Members<'_>>) -> u64 {
        let mut key = Vec::new();
        for name in self.kind.key {
            let raw = members.and_then(|members| members.get(name)).filter(|raw| raw.is_json()).map(Raw::get);
            let is_missing = raw.is_none() && *name != "botId" && self.of_session.is_none();
            if is_missing {
                key.clear();
                break;
            }
            key.extend_from_slice(raw.unwrap_or_default().as_bytes());
            key.push(0);
        }
        if key.is_empty() {
            key.extend_from_slice(&self.page.to_le_bytes());
            key.extend_from_slice(&self.ids.len().to_le_bytes());
        }
        xxh3_64(&key)
    }

    /// Whether a message of a session lies in the window.
    fn is_wanted(&self, members: &Members<'_>) -> bool {
        let Some(OfSession { window, .. }) = self.of_session else { return true };
        let text = members.text("timestamp");
        let at = text.as_deref().and_then(|text| {
            if times::is_naive(text) { times::parse(&format!("{text}Z")) } else { times::parse(text) }
        });
        at.is_none_or(|at| (window.start..window.end).contains(&at))
    }

    /// Rewrites the record into `writer` if it must change. Returns whether it did.
    fn reshaped(&mut self, members: &Members<'_>) -> bool {
        let is_erased = self.kind == MESSAGE && members.is_true("cleaned");
        let naive = |name: &str| {
            let text = if self.kind.times.contains(&name) { members.text(name) } else { None };
            text.filter(|text| times::is_naive(text))
        };
        let is_foreign = self.of_session.is_some();
        if !is_erased && !is_foreign && !self.kind.times.iter().any(|name| naive(name).is_some()) {
            return false;
        }
        self.writer.begin();
        if let Some(session) = self.of_session {
            for (name, text) in [("projectShortName", session.project), ("sessionId", session.id)] {
                if members.get(name).is_none() {
                    self.writer.member_str(name, text);
                }
            }
        }
        for (name, raw) in members.iter().filter(|(name, _)| !(is_erased && PERSONAL.contains(name))) {
            if let Some(text) = naive(name) {
                self.writer.member_str(name, &format!("{text}Z"));
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the vendor sends times without a zone; UTC is assumed");
                }
            } else if raw.get() != "null" {
                self.writer.member_raw(name, raw);
            }
        }
        if is_erased {
            self.writer.member_str("cleanedAt", &times::text(self.now));
        }
        true
    }
}

#[async_trait::async_trait]
impl<R: Records + ?Sized> Records for RecordWriter<'_, R> {
    fn begin(&mut self, window: Window) {
        self.ids.clear();
        self.records.begin(window);
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        self.records.flush().await
    }
}

impl<R: Records + ?Sized> Sink for RecordWriter<'_, R> {
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        self.records.header(titles, added)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        if self.ids.len() == PAGE_ROWS_MAX {
            return Err(DecodeError::Shape("a page of more than 1,000,000 rows"));
        }
        let members = Members::parse(record);
        self.ids.push(self.id(members.as_ref()));
        let Some(members) = members else { return self.pass(record) };
        if !self.is_wanted(&members) {
            return Ok(());
        }
        if !self.reshaped(&members) {
            return self.pass(record);
        }
        let reshaped = self.writer.end().to_vec();
        self.pass(&reshaped)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        match self.token.without(record) {
            None => self.records.refuse(reason, record),
            Some(cleaned) => self.records.refuse(reason, &cleaned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::Collected;

    fn shaped(kind: Kind, of: Option<OfSession<'_>>, records: &[&str]) -> (Vec<String>, Vec<u64>) {
        let (token, warned, mut kept) =
            (TokenFinder::new(&"ab12:cd".into()), AtomicBool::default(), Collected::default());
        let mut writer = RecordWriter::new(&mut kept, kind, &token, &warned);
        writer.of_session = of;
        for record in records {
            writer.record(record.as_bytes()).unwrap();
        }
        let ids = writer.ids;
        (kept.accepted(), ids)
    }

    #[test]
    fn p6_the_rows_of_a_page_are_bounded() {
        let (token, warned, mut kept) = (TokenFinder::new(&"t".into()), AtomicBool::default(), Collected::default());
        let mut writer = RecordWriter::new(&mut kept, SESSION, &token, &warned);
        writer.ids = vec![0; PAGE_ROWS_MAX - 1];
        assert!(writer.record(b"{}").is_ok() && writer.record(b"{}").is_err());
    }

    #[test]
    fn a_record_without_a_change_stays_identical() {
        let record =
            r#"{ "sessionId":"s", "questionCount":9007199254740993.0, "startTime":"2024-05-01T08:00:00+0000" }"#;
        assert_eq!(shaped(SESSION, None, &[record, "7"]).0, [record, "7"]);
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        let (kept, _) = shaped(CLIENT, None, &[r#"{"id":1,"joinDate":"2024-05-01T08:00:00","blockDate":null}"#]);
        assert_eq!(kept, [r#"{"id":1,"joinDate":"2024-05-01T08:00:00Z"}"#]);
    }

    #[test]
    fn only_the_fields_of_the_key_are_ids() {
        let records = [
            r#"{"projectShortName":"p","sessionId":"a","x":1}"#,
            r#"{"sessionId":"a","projectShortName":"p","x":2}"#,
            r#"{"projectShortName":"p","sessionId":"b","x":2}"#,
            r#"{"sessionId":"a"}"#,
            r#"{"sessionId":"a"}"#,
            "7",
            "7",
        ];
        let (_, ids) = shaped(SESSION, None, &records);
        assert_eq!(ids[0], ids[1]);
        assert_eq!(
            ids.into_iter().collect::<std::collections::HashSet<_>>().len(),
            6,
            "records without an id are distinguished by their position"
        );
    }

    #[test]
    fn content_that_the_vendor_erased_is_removed_and_the_row_stays() {
        let erased = r#"{"questionId":"q","question":"message has been deleted","operatorInfo":{"id":"7"},"cleaned":true,
            "nlpInfo":{"nlpState":"/A"},"data":{"a":1}}"#;
        let (kept, _) = shaped(MESSAGE, None, &[erased]);
        let row: serde_json::Value = serde_json::from_str(&kept[0]).unwrap();
        let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["cleaned", "cleanedAt", "nlpInfo", "questionId"]);
        assert!(times::parse(row["cleanedAt"].as_str().unwrap()).is_some());
    }

    #[test]
    fn p7_the_token_is_removed_from_rows_in_every_spelling() {
        let row = r#"{"audioFileUrl":"https://h/p/ab12:cd/a?ab12%3Acd","b":"ab12%3acd ab12"}"#;
        assert_eq!(shaped(OTHER, None, &[row]).0, [r#"{"audioFileUrl":"https://h/p/***/a?***","b":"*** ab12"}"#]);
    }

    #[test]
    fn messages_of_a_session_are_limited_to_the_window_and_get_their_missing_key() {
        let window =
            Window { start: "2024-05-01T00:00:00Z".parse().unwrap(), end: "2024-05-02T00:00:00Z".parse().unwrap() };
        let of = OfSession { project: "p", id: "s", window };
        let records = [
            r#"{"questionId":"1","sessionId":"s","timestamp":"2024-05-01T08:00:00.000Z","status":"READ"}"#,
            r#"{"questionId":"2","timestamp":"2024-05-01T23:59:59.999"}"#,
            r#"{"questionId":"3","timestamp":"2024-05-02T00:00:00.000Z"}"#,
            r#"{"questionId":"4","timestamp":"2024-04-30T23:59:59+0000"}"#,
            r#"{"questionId":"5"}"#,
        ];
        let (kept, ids) = shaped(MESSAGE, Some(of), &records);
        assert_eq!(
            kept,
            [
                r#"{"projectShortName":"p","questionId":"1","sessionId":"s","timestamp":"2024-05-01T08:00:00.000Z","status":"READ"}"#,
                r#"{"projectShortName":"p","sessionId":"s","questionId":"2","timestamp":"2024-05-01T23:59:59.999Z"}"#,
                r#"{"projectShortName":"p","sessionId":"s","questionId":"5"}"#,
            ]
        );
        assert_eq!(ids.len(), 5);
    }
}

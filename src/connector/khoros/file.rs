//! From a finished job to its rows: the download redirects to a storage, and the file is parsed while it arrives
//! (`§3.3, §7`).

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::super::body;
use super::super::{CsvForm, Records, StepError, StepRequest};
use super::config::ReportFormat;
use super::streams::{CLOSED_TIME, CONVERSATION_ID};
use super::{File, Khoros, may_pass};
use crate::catalogue::column_name;
use crate::decode::csv::{self, CsvSplitter};
use crate::decode::json::{Envelope, Splitter};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, Sink};
use crate::http::{Body, HttpError, Redactor, Reply, Session};
use crate::quota::CallKind;

/// Maximum uncompressed size of a file, which also stops a small file that unpacks without end.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Maximum number of redirects to a file.
const HOPS_MAX: u32 = 2;
/// Repetitions of a failed download: the link to a file expires soon, and each attempt creates a new one (`§3.3`).
const AGAIN_MAX: u32 = 2;

const ANEW: &str = "no data was lost, and a new export is requested; if this lasts, ask the vendor";

/// Why a file was not read.
enum Fault {
    Step(StepError),
    /// Status of the storage's response.
    Storage(u16),
}

impl<E: Into<StepError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Step(error.into())
    }
}

impl Khoros {
    /// Passes the file's rows to `records`. Returns the bytes of the file.
    pub(super) async fn fetch(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        file: &File,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let mut retry = session.retry(CallKind::Data);
        let mut again = AGAIN_MAX;
        loop {
            records.begin(request.window);
            let fault = match self.try_fetch(session, request, file, records).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => fault,
            };
            match fault {
                Fault::Step(StepError::Http(error)) => {
                    if !retry.again(&error).await {
                        return Err(self.not_there(error));
                    }
                }
                Fault::Step(StepError::Unreadable(error)) if again > 0 && may_pass(&error) => again -= 1,
                Fault::Step(error) => return Err(error),
                Fault::Storage(_) if again > 0 => again -= 1,
                Fault::Storage(status) => {
                    let what = format!("the file storage responded with status {status}");
                    return Err(StepError::Refused { what, hint: ANEW });
                }
            }
        }
    }

    /// A file may be deleted before it was fetched (`§8`); then another job is needed.
    fn not_there(&self, error: HttpError) -> StepError {
        match error {
            HttpError::Status { status: status @ (404 | 410), .. } => {
                StepError::ExportFailed { times: 1, said: format!("its file is gone (status {status})") }
            }
            other => self.refused(other),
        }
    }

    async fn try_fetch(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        file: &File,
        records: &mut dyn Records,
    ) -> Result<u64, Fault> {
        let call = self.get(&file.handle.path("download"), &self.query(file.token.as_ref()), FILE_BYTES_MAX)?;
        let mut reply = session.send_or_redirect(call).await?;
        let mut hops = 0;
        loop {
            let location = match reply {
                Reply::Body(body) => return self.rows(body, request, records).await,
                Reply::Redirect(location) => location,
            };
            hops += 1;
            if hops > HOPS_MAX {
                let what = format!("the file has more than {HOPS_MAX} redirects");
                return Err(StepError::Refused { what, hint: ANEW }.into());
            }
            // Without the credentials: the storage would refuse them (`§3.3`).
            let vetted = session.hosts().foreign(&location)?;
            reply = match session.fetch(&vetted, FILE_BYTES_MAX).await {
                Err(HttpError::Status { status: status @ (400..=407 | 409..=428 | 430..=499), .. }) => {
                    return Err(Fault::Storage(status));
                }
                other => other?,
            };
        }
    }

    async fn rows(&self, body: Body<'_>, request: &StepRequest<'_>, records: &mut dyn Records) -> Result<u64, Fault> {
        let known = (request.stream.name == "conversation").then_some(spelling as csv::Spelling);
        let form = &self.settings.csv;
        let mut rows = Rows::new(self.settings.report_format, form, known, self.settings.timezone_offset);
        let arrived =
            body::read_file(body, form, &self.redactor, records, |text, records| rows.feed(text, records)).await?;
        let ((), bytes) = arrived.end(rows.finish(records, &self.redactor)).await?;
        Ok(bytes)
    }
}

/// The catalogue's spelling of a title for the same column: `Conversation ID` is `CONVERSATION_ID` (`§7`).
fn spelling(title: &str) -> Option<&'static str> {
    match column_name(title).as_str() {
        "conversation_id" => Some(CONVERSATION_ID),
        "closed_time" => Some(CLOSED_TIME),
        _ => None,
    }
}

/// Parses the rows of a file in either format. An empty file has no rows (`§7`).
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per file")]
enum Rows {
    Json(Splitter, Spelling),
    Csv(CsvSplitter, Spelling),
}

impl Rows {
    /// `offset`: UTC offset of times without a zone, in milliseconds.
    fn new(format: ReportFormat, form: &CsvForm, known: Option<csv::Spelling>, offset: i64) -> Self {
        let spelling = Spelling::new(known, offset);
        match format {
            ReportFormat::Json => Self::Json(Splitter::bare(), spelling),
            ReportFormat::Csv => {
                let splitter = form.splitter(None);
                let splitter = match known {
                    Some(known) => splitter.spelt(known),
                    None => splitter,
                };
                Self::Csv(splitter, spelling)
            }
        }
    }

    fn feed(&mut self, chunk: &[u8], records: &mut dyn Sink) -> Result<(), DecodeError> {
        match self {
            Self::Json(splitter, spelling) => splitter.feed(chunk, &mut Respelt { records, spelling }),
            Self::Csv(splitter, spelling) => splitter.feed(chunk, &mut Respelt { records, spelling }),
        }
    }

    fn finish(self, records: &mut dyn Sink, redactor: &Redactor) -> Result<(), StepError> {
        match self {
            Self::Csv(splitter, mut spelling) => {
                splitter.finish(&mut Respelt { records, spelling: &mut spelling })?;
            }
            Self::Json(splitter, _) => match splitter.finish() {
                Err(DecodeError::Empty) => {}
                Err(error) => return Err(error.into()),
                Ok(envelope) if envelope.has_records => {}
                // A response of the API in place of a file.
                Ok(envelope) => {
                    check_list(&envelope, redactor)?;
                }
            },
        }
        Ok(())
    }
}

/// Checks a response whose `result` should be a list (`§9`).
pub(super) fn check_list(envelope: &Envelope, redactor: &Redactor) -> Result<(), StepError> {
    let hint = "try again later; if it lasts, ask the vendor";
    let text = |name: &str| envelope.parsed::<String>(name);
    if let Some(said) = text("result") {
        return Err(StepError::Refused { what: redactor.quote(&said), hint });
    }
    match text("status") {
        Some(status) if status != "PASS" => {
            let said = text("message").map(|message| redactor.quote(&message));
            let what = said.unwrap_or_else(|| format!("status {}", redactor.quote(&status)));
            return Err(StepError::Refused { what, hint });
        }
        _ => {}
    }
    if envelope.has_records {
        return Ok(());
    }
    Err(StepError::Shape("an object in place of an array of rows".to_owned()))
}

/// Renames the fields that the catalogue knows, and rewrites times without a zone.
#[derive(Debug)]
struct Spelling {
    known: Option<csv::Spelling>,
    offset: i64,
    /// Names in the records, with quotes, and their replacements.
    met: Vec<(String, &'static str)>,
    writer: ObjectWriter,
    respelt: Vec<u8>,
}

impl Spelling {
    fn new(known: Option<csv::Spelling>, offset: i64) -> Self {
        Self { known, offset, met: Vec::new(), writer: ObjectWriter::default(), respelt: Vec::new() }
    }

    /// The record with the catalogue's names. Once a file's spelling is known, a record is parsed only if it lacks one
    /// of the fields, or has a time that must be rewritten.
    fn apply<'r>(&'r mut self, record: &'r [u8]) -> &'r [u8] {
        let Some(known) = self.known else { return record };
        if let Some(places) = self.places(record) {
            return self.renamed(record, places);
        }
        let Some(members) = Members::parse(record) else { return record };
        let found = |name: &str| known(name);
        self.met = members.iter().filter_map(|(name, _)| Some((format!("\"{name}\""), found(name)?))).collect();
        let is_time = |name: &str| found(name) == Some(CLOSED_TIME);
        let spelt = |name: &str| found(name).is_none_or(|wanted| name.eq_ignore_ascii_case(wanted));
        if members.iter().all(|(name, raw)| spelt(name) && !(is_time(name) && needs_writing(raw.get()))) {
            return record;
        }
        self.writer.begin();
        for (name, raw) in members.iter() {
            let name = if spelt(name) { name } else { found(name).unwrap_or(name) };
            match is_time(name).then(|| closed_time(raw.get(), self.offset)).flatten() {
                // An open conversation has no closing time.
                Some(at) if at.is_empty() => {}
                Some(at) => self.writer.member_str(name, &at),
                None => self.writer.member_raw(name, raw),
            }
        }
        self.writer.end()
    }

    /// Positions of the fields in this file's spelling, in order. Returns `None` if the record must be parsed.
    fn places(&self, record: &[u8]) -> Option<Vec<(usize, usize)>> {
        let places =
            self.met.iter().enumerate().map(|(field, (met, wanted))| Some((place(record, met, wanted)?, field)));
        let mut places: Vec<(usize, usize)> = places.collect::<Option<_>>()?;
        places.sort_unstable();
        (!places.is_empty()).then_some(places)
    }

    /// The record with the catalogue's names at these positions; everything else is unchanged.
    fn renamed<'r>(&'r mut self, record: &'r [u8], places: Vec<(usize, usize)>) -> &'r [u8] {
        // The loader ignores letter case.
        if self.met.iter().all(|(met, wanted)| met[1..met.len() - 1].eq_ignore_ascii_case(wanted)) {
            return record;
        }
        self.respelt.clear();
        let mut done = 0;
        for (at, field) in places {
            let (met, wanted) = &self.met[field];
            self.respelt.extend_from_slice(&record[done..=at]);
            self.respelt.extend_from_slice(wanted.as_bytes());
            done = at + met.len() - 1;
        }
        self.respelt.extend_from_slice(&record[done..]);
        &self.respelt
    }
}

/// Position of the field in a record, if its column accepts the value.
fn place(record: &[u8], met: &str, wanted: &str) -> Option<usize> {
    let at = member(record, met)?;
    if wanted != CLOSED_TIME {
        return Some(at);
    }
    let value = record[at + met.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let end = value.iter().skip(1).position(|byte| *byte == b'"')? + 2;
    let raw = std::str::from_utf8(&value[..end]).ok()?;
    (raw.starts_with('"') && !needs_writing(raw)).then_some(at)
}

/// Whether a time has no zone. `raw` is JSON.
fn needs_writing(raw: &str) -> bool {
    let text = raw.trim_matches('"');
    raw != "null" && {
        let zone = text.get(19..).unwrap_or_default();
        !(zone.ends_with('Z') || zone.contains(['+', '-']))
    }
}

/// The closing time of a conversation as its column accepts it; empty for never. Returns `None` if the value stays
/// unchanged: it has a zone, or its format is unknown, since the vendor formats dates by locale and documents no format
/// (`§14`).
fn closed_time(raw: &str, offset: i64) -> Option<String> {
    let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
    let text = text.trim();
    if text.is_empty() {
        return Some(String::new());
    }
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    // Thirteen digits are milliseconds, like the vendor's own times (`§4`).
    if text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return DateTime::from_timestamp_millis(text.parse().ok()?).map(shown);
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let local = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    local.and_utc().checked_sub_signed(TimeDelta::try_milliseconds(offset)?).map(shown)
}

/// Position of a quoted name that is followed by a colon. Returns `None` if it may belong to an object inside the
/// record.
fn member(record: &[u8], quoted: &str) -> Option<usize> {
    let at = memchr::memmem::find_iter(record, quoted.as_bytes())
        .find(|at| record[at + quoted.len()..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':'))?;
    memchr::memchr(b'{', record.get(1..at)?).is_none().then_some(at)
}

/// Passes records on with the catalogue's names.
struct Respelt<'a, S: ?Sized> {
    records: &'a mut S,
    spelling: &'a mut Spelling,
}

impl<S: Sink + ?Sized> Sink for Respelt<'_, S> {
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        self.records.header(titles, added)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.records.record(self.spelling.apply(record))
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.records.refuse(reason, record)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(super) mod tests;

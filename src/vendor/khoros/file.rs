//! From a finished job to its rows: the download leads to a storage, and what is there is read while it arrives
//! (`§3.3, §7`).

use super::super::body;
use super::super::{CsvForm, Records, StepError, StepRequest};
use super::settings::ReportFormat;
use super::{File, Khoros, may_pass};
use crate::catalogue::{CONVERSATION_ID, column_name};
use crate::decode::csv::{self, CsvSplitter};
use crate::decode::json::{Envelope, Splitter};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, Sink};
use crate::http::{Answered, Body, HttpError, Redactor, Session};
use crate::quota::CallKind;

/// A file beyond this is none; uncompressed, so that a small file that unpacks without end ends here.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Redirects on the way to a file.
const HOPS_MAX: u32 = 2;
/// So often a file is asked for again that came to nothing: its link ends soon, and is made anew each time (`§3.3`).
const AGAIN_MAX: u32 = 2;

const ANEW: &str = "nothing was lost, the export is asked for anew; if this lasts, ask the vendor";

/// Why a file was not read.
enum Fault {
    Step(StepError),
    /// What the storage answered instead.
    Storage(u16),
}

impl<E: Into<StepError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Step(error.into())
    }
}

impl Khoros {
    /// Hands over the file's rows; answers its bytes.
    pub(super) async fn fetch(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        file: &File,
        records: &mut impl Records,
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
                    let what = format!("the file storage answered with status {status}");
                    return Err(StepError::Refused { what, hint: ANEW });
                }
            }
        }
    }

    /// A file may go before it was fetched (`§8`): then it takes another job.
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
        records: &mut impl Records,
    ) -> Result<u64, Fault> {
        let call = self.get(&file.handle.path("download"), &self.query(file.token.as_ref()), FILE_BYTES_MAX)?;
        let mut answered = session.send_or_redirect(call).await?;
        let mut hops = 0;
        loop {
            let location = match answered {
                Answered::Body(body) => return self.rows(body, request, records).await,
                Answered::Redirect(location) => location,
            };
            hops += 1;
            if hops > HOPS_MAX {
                let what = format!("the file is behind more than {HOPS_MAX} redirects");
                return Err(StepError::Refused { what, hint: ANEW }.into());
            }
            // Without the credentials: they are not the storage's, and it would refuse them (`§3.3`).
            let vetted = session.hosts().foreign(&location)?;
            answered = match session.fetch(&vetted, FILE_BYTES_MAX).await {
                Err(HttpError::Status { status: status @ (400..=407 | 409..=428 | 430..=499), .. }) => {
                    return Err(Fault::Storage(status));
                }
                other => other?,
            };
        }
    }

    async fn rows(&self, body: Body<'_>, request: &StepRequest<'_>, records: &mut impl Records) -> Result<u64, Fault> {
        let known = (request.stream.name == "conversation").then_some(spelling as csv::Spelling);
        let form = &self.settings.csv;
        let mut rows = Rows::new(self.settings.report_format, form, known);
        let bytes =
            body::read_file(body, form, &self.redactor, records, |text, records| rows.feed(text, records)).await?;
        rows.finish(records, &self.redactor)?;
        Ok(bytes)
    }
}

/// The catalogue's spelling of a title for the same column: `Conversation ID` is `CONVERSATION_ID` (`§7`).
fn spelling(title: &str) -> Option<&'static str> {
    (column_name(title) == "conversation_id").then_some(CONVERSATION_ID)
}

/// The rows of a file of either format. An empty file has none (`§7`).
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per file")]
enum Rows {
    Json(Splitter, Spelling),
    Csv(CsvSplitter),
}

impl Rows {
    fn new(format: ReportFormat, form: &CsvForm, known: Option<csv::Spelling>) -> Self {
        match format {
            ReportFormat::Json => Self::Json(Splitter::bare(), Spelling::new(known)),
            ReportFormat::Csv => {
                let splitter = form.splitter(None);
                Self::Csv(match known {
                    Some(known) => splitter.spelt(known),
                    None => splitter,
                })
            }
        }
    }

    fn feed(&mut self, chunk: &[u8], records: &mut impl Sink) -> Result<(), DecodeError> {
        match self {
            Self::Json(splitter, spelling) => splitter.feed(chunk, &mut Respelt { records, spelling }),
            Self::Csv(splitter) => splitter.feed(chunk, records),
        }
    }

    fn finish(self, records: &mut impl Sink, redactor: &Redactor) -> Result<(), StepError> {
        match self {
            Self::Csv(splitter) => _ = splitter.finish(records)?,
            Self::Json(splitter, _) => match splitter.finish() {
                Err(DecodeError::Empty) => {}
                Err(error) => return Err(error.into()),
                Ok(envelope) if envelope.has_records => {}
                // The API's own words in the place of a file.
                Ok(envelope) => {
                    judge_list(&envelope, redactor)?;
                }
            },
        }
        Ok(())
    }
}

/// Judges an answer whose `result` should have been a list (`§9`).
pub(super) fn judge_list(envelope: &Envelope, redactor: &Redactor) -> Result<(), StepError> {
    let hint = "try again later; if it lasts, ask the vendor";
    let text = |name: &str| envelope.parsed::<String>(name).map(|text| redactor.clean(&text));
    if let Some(what) = text("result") {
        return Err(StepError::Refused { what, hint });
    }
    match text("status") {
        Some(status) if status != "PASS" => {
            let what = text("message").unwrap_or_else(|| format!("status `{status}`"));
            return Err(StepError::Refused { what, hint });
        }
        _ => {}
    }
    if envelope.has_records {
        return Ok(());
    }
    Err(StepError::Shape("an object where an array of rows should be".to_owned()))
}

/// How a file spells the fields that the catalogue knows.
#[derive(Debug)]
struct Spelling {
    known: Option<csv::Spelling>,
    /// As it stands in the records, with quotes, and what is to stand there.
    met: Option<(String, &'static str)>,
    writer: ObjectWriter,
    respelt: Vec<u8>,
}

impl Spelling {
    fn new(known: Option<csv::Spelling>) -> Self {
        Self { known, met: None, writer: ObjectWriter::default(), respelt: Vec::new() }
    }

    /// The record under the catalogue's names. Once a file's spelling was met, no record is taken apart.
    fn apply<'r>(&'r mut self, record: &'r [u8]) -> &'r [u8] {
        let Some(known) = self.known else { return record };
        if let Some((met, wanted)) = &self.met
            && let Some(at) = member(record, met)
        {
            // Whoever loads it finds a field in any case of letters.
            if met[1..met.len() - 1].eq_ignore_ascii_case(wanted) {
                return record;
            }
            self.respelt.clear();
            self.respelt.extend_from_slice(&record[..=at]);
            self.respelt.extend_from_slice(wanted.as_bytes());
            self.respelt.extend_from_slice(&record[at + met.len() - 1..]);
            return &self.respelt;
        }
        let Some(members) = Members::parse(record) else { return record };
        let found = members.iter().find_map(|(name, _)| Some((name.to_owned(), known(name)?)));
        let Some((name, wanted)) = found else { return record };
        self.met = Some((format!("\"{name}\""), wanted));
        if name.eq_ignore_ascii_case(wanted) {
            return record;
        }
        self.writer.begin();
        for (other, raw) in members.iter() {
            self.writer.member_raw(if other == name { wanted } else { other }, raw);
        }
        self.writer.end()
    }
}

/// Where a quoted name stands that is followed by a colon; none where it may be that of an object inside the record.
fn member(record: &[u8], quoted: &str) -> Option<usize> {
    let at = memchr::memmem::find_iter(record, quoted.as_bytes())
        .find(|at| record[at + quoted.len()..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':'))?;
    memchr::memchr(b'{', record.get(1..at)?).is_none().then_some(at)
}

/// Hands records on under the catalogue's names.
struct Respelt<'a, S> {
    records: &'a mut S,
    spelling: &'a mut Spelling,
}

impl<S: Sink> Sink for Respelt<'_, S> {
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

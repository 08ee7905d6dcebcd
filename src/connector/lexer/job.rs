//! CSV jobs (`facts/lexer.md §6`): created at one host and polled at another. The file is fetched from the host in
//! its URL, without credentials.
//!
//! The job's token gives access to its file, so it is stored sealed. A file's URL is never stored: a restart requests
//! the status again.

use std::borrow::Cow;

use super::super::body;
use super::super::request::{self, Attempts};
use super::cells::{self, Cell};
use super::wire::{JobResponse, classify};
use super::{Lexer, ask, config, gone, warn_of_missing_columns};
use crate::connector::export::{ExportApi, JobState, Polling, Started};
use crate::connector::{Records, StepError, StepRequest, Window};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, Sink};
use crate::http::{Body, Call, HttpError, Payload, Reply, Session};
use crate::quota::CallKind;
use crate::secret::Secret;

/// Maximum size of a file.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Maximum number of redirects of a file's URL, each of which is checked.
const REDIRECTS_MAX: u32 = 5;

impl ExportApi for Lexer {
    /// The job's token, sealed.
    type Handle = String;
    type File = Secret;

    fn polling(&self) -> Polling {
        self.settings.polling
    }

    /// A single job, or one for each form.
    async fn parts(&self, session: &Session<'_>, request: &StepRequest<'_>) -> Result<Vec<String>, StepError> {
        if request.stream.name != "nps_submissions" {
            return Ok(vec![String::new()]);
        }
        Ok(self.nps_forms(session).await?.iter().map(ToString::to_string).collect())
    }

    async fn submit(&self, session: &Session<'_>, request: &StepRequest<'_>, part: &str) -> Result<String, StepError> {
        match self.start(session, request, part).await? {
            Started::Job(handle) => Ok(handle),
            Started::Ready(_) => Err(StepError::Shape("a file where a job was expected".to_owned())),
        }
    }

    async fn start(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &str,
    ) -> Result<Started<String, Secret>, StepError> {
        let range = (request.window, self.settings.utc_offset.at(request.window.start));
        let body = ask::body(&request.stream.vendor_id, range, form_of(part)?, &self.settings)?;
        let mut retry = session.retry(CallKind::Data);
        let response = loop {
            match self.post(session, body.clone()).await {
                Ok(response) => break response,
                // Repeated only without a response: a call with a response may have created the job.
                Err(StepError::Http(error @ HttpError::Transport { .. })) if retry.again(&error).await => {}
                Err(error) => return Err(classify(error)),
            }
        };
        let job = JobResponse::read(&response).ok_or_else(|| not_a_job(&response))?;
        match (job.status.as_str(), job.token, job.url) {
            ("complete", _, Some(url)) => Ok(Started::Ready(url)),
            ("pending", Some(token), _) => {
                self.seal.as_ref().and_then(|seal| seal.close(&token)).map(Started::Job).ok_or(StepError::CursorUnknown)
            }
            ("pending", None, _) => Err(StepError::Shape("a job without a token".to_owned())),
            (status, token, _) => Err(StepError::ExportFailed { times: 1, said: self.said(status, token.as_ref()) }),
        }
    }

    async fn poll(
        &self,
        session: &Session<'_>,
        _: &StepRequest<'_>,
        handle: &String,
    ) -> Result<JobState<Secret>, StepError> {
        let Some(token) = self.seal.as_ref().and_then(|seal| seal.open(handle)) else {
            return Ok(JobState::Failed("it was created with another API token".to_owned()));
        };
        let call = || Ok(Call { headers: self.settings.headers(), ..Call::get(self.settings.status_url(&token)?) });
        let response = match request::small(session, Attempts::new(session), call, |_| Ok(()), None).await {
            Ok(((), response)) => response,
            Err(StepError::Http(HttpError::Status { status: 404, .. })) => {
                return Ok(JobState::Failed("the vendor does not know it any more (status 404)".to_owned()));
            }
            Err(error) => return Err(classify(error)),
        };
        let job = JobResponse::read(&response).ok_or_else(|| not_a_job(&response))?;
        Ok(match (job.status.as_str(), job.url) {
            ("pending", _) => JobState::Running("pending".to_owned()),
            ("complete", Some(url)) => JobState::Ready(url),
            (status, _) => JobState::Failed(self.said(status, Some(&token))),
        })
    }

    async fn download(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &str,
        file: Secret,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let prefix = self.prefix(request, form_of(part)?);
        let mut attempts = Attempts::new(session);
        loop {
            records.begin(request.window);
            match self.fetch(session, request, &file, &prefix, records).await {
                Ok(bytes) => return Ok(bytes),
                Err(StepError::Unreadable(error)) if error.is_of_settings() => return Err(error.into()),
                Err(error) if attempts.again(&error).await => {}
                // The file stays unreadable, so a new job is needed.
                Err(StepError::Unreadable(error)) => {
                    let said = format!("its file cannot be read: {error}");
                    return Err(StepError::ExportFailed { times: 1, said });
                }
                Err(error) => return Err(gone(error)),
            }
        }
    }
}

impl Lexer {
    async fn post(&self, session: &Session<'_>, body: Vec<u8>) -> Result<Vec<u8>, StepError> {
        let url = config::reports_url(&self.base_url)?;
        let call = Call { headers: self.settings.headers(), ..Call::post(url, Payload::Json(body)) };
        Ok(request::whole(session, call).await?)
    }

    /// The vendor's state of a job; the states are not documented.
    pub(super) fn said(&self, status: &str, token: Option<&Secret>) -> String {
        let redactor = token.map_or_else(|| self.redactor.clone(), |token| self.redactor.and(token));
        match status {
            "complete" => "`complete`, but no file".to_owned(),
            other => redactor.quote(other),
        }
    }

    /// The members that every record of a file gets, as JSON without braces.
    fn prefix(&self, request: &StepRequest<'_>, form: Option<i64>) -> Vec<u8> {
        let mut members = serde_json::Map::new();
        members.insert("window_end".to_owned(), super::figures::instant(request.window.end).into());
        if let Some(form) = form {
            members.insert("form_id".to_owned(), form.into());
            members.insert("nps_category".to_owned(), self.settings.nps_category.clone().into());
        }
        let text = serde_json::Value::Object(members).to_string();
        text.as_bytes()[1..text.len() - 1].to_vec()
    }

    /// Fetches the file and follows redirects.
    async fn fetch(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        file: &Secret,
        prefix: &[u8],
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let mut url = file.clone();
        for _ in 0..=REDIRECTS_MAX {
            let target = session.hosts().foreign(url.expose())?;
            match session.fetch(&target, FILE_BYTES_MAX).await? {
                Reply::Redirect(location) => url = Secret::new(location),
                Reply::Body(body) => return self.read(body, request, prefix, records).await,
            }
        }
        Err(StepError::Refused {
            what: format!("to say where the file is: more than {REDIRECTS_MAX} redirects"),
            hint: "ask Lexer about the export; the next run polls the job again",
        })
    }

    async fn read(
        &self,
        body: Body<'_>,
        request: &StepRequest<'_>,
        prefix: &[u8],
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let form = &self.settings.csv;
        let mut splitter = form.splitter(None);
        let typed = (request.stream.name == "mention_sla_export").then(ObjectWriter::default);
        let mut tagged = Tagged { inner: records, prefix, typed, record: Vec::new() };
        let arrived =
            body::read_file(body, form, &self.redactor, &mut tagged, |text, tagged| splitter.feed(text, tagged))
                .await?;
        let (end, bytes) = arrived.end(splitter.finish(&mut tagged)).await?;
        warn_of_missing_columns(request.stream, &end);
        Ok(bytes)
    }
}

/// A part is a form's id, or empty.
fn form_of(part: &str) -> Result<Option<i64>, StepError> {
    if part.is_empty() {
        return Ok(None);
    }
    part.parse().map(Some).map_err(|_| StepError::CursorUnknown)
}

/// The error for a response that does not describe a job.
pub(super) fn not_a_job(response: &[u8]) -> StepError {
    match response.trim_ascii_start().first() {
        None => DecodeError::Empty.into(),
        Some(b'{' | b'[') => StepError::Shape("JSON that does not describe a job".to_owned()),
        Some(b'<') => DecodeError::NotJson("HTML or XML").into(),
        Some(_) => DecodeError::NotJson("text").into(),
    }
}

/// Adds the request's members to each record of a file, and converts the cells of the SLA file to the types of their
/// columns.
struct Tagged<'r, R: ?Sized> {
    inner: &'r mut R,
    prefix: &'r [u8],
    /// `None` if no column is documented.
    typed: Option<ObjectWriter>,
    record: Vec<u8>,
}

#[async_trait::async_trait]
impl<R: Records + ?Sized> Records for Tagged<'_, R> {
    fn begin(&mut self, window: Window) {
        self.inner.begin(window);
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        self.inner.flush().await
    }
}

impl<R: Sink + ?Sized> Sink for Tagged<'_, R> {
    fn header(&mut self, titles: &[String], _: &[&str]) -> Result<(), DecodeError> {
        let titles: Vec<String> = titles.iter().map(|title| cells::title(title).to_owned()).collect();
        let object = [b"{", self.prefix, b"}"].concat();
        let members = Members::parse(&object);
        let added: Vec<&str> = members.iter().flat_map(Members::iter).map(|(name, _)| name).collect();
        self.inner.header(&titles, &added)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.record.clear();
        self.record.push(b'{');
        self.record.extend_from_slice(self.prefix);
        let members = record.get(1..).unwrap_or_default();
        if members.len() > 1 {
            self.record.push(b',');
        }
        match self.typed.as_mut().zip(Members::parse(record)) {
            Some((writer, cells)) => self.record.extend_from_slice(&typed(writer, &cells)[1..]),
            None => self.record.extend_from_slice(members),
        }
        self.inner.record(&self.record)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.inner.refuse(reason, record)
    }
}

/// A record of the SLA file with the documented titles, and with typed times and flags.
fn typed<'w>(writer: &'w mut ObjectWriter, cells: &Members<'_>) -> &'w [u8] {
    writer.begin();
    for (name, raw) in cells.iter() {
        let title = cells::title(name);
        let text = || serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned);
        match cells::read(title, text) {
            Some(Cell::Moment(at)) => writer.member_str(title, &at),
            Some(Cell::Flag(value)) => writer.member_raw(title, super::figures::flag(value)),
            None => writer.member_raw(title, raw),
        }
    }
    writer.end()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::decode::csv::CsvSplitter;
    use crate::fuzz;
    use crate::test_kit::Collected;

    /// The records of a file, in pieces of those lengths.
    pub(in super::super) fn tagged(body: &[u8], cuts: &[usize]) -> Collected {
        let mut kept = Collected::default();
        let typed = Some(ObjectWriter::default());
        let mut tagged = Tagged { inner: &mut kept, prefix: br#""w":1"#, typed, record: Vec::new() };
        let mut splitter = CsvSplitter::new(None);
        if fuzz::pieces(body, cuts).try_for_each(|piece| splitter.feed(piece, &mut tagged)).is_ok() {
            let _ = splitter.finish(&mut tagged);
        }
        kept
    }

    #[test]
    fn every_record_of_a_file_contains_the_request_and_both_spellings_fill_one_column() {
        let mut taken = Collected::default();
        let typed = Some(ObjectWriter::default());
        let mut tagged = Tagged { inner: &mut taken, prefix: br#""w":1"#, typed, record: Vec::new() };
        for record in [
            "{}",
            r#"{"Agent Response Date (UTC)":"x"}"#,
            r#"{"a":"{\"Agent Response Date (UTC)\":","Agent Response Date (UTC)":"y"}"#,
            r#"{"a":",\"Agent Response Date (UTC)\":1"}"#,
            r#"{"Within Agent SLA":"Yes","Agent Response Date (UTC)":"2025-03-01 09:15:00","In Queue (min)":"3.50"}"#,
        ] {
            tagged.record(record.as_bytes()).unwrap();
        }
        assert_eq!(
            taken.accepted(),
            [
                r#"{"w":1}"#,
                r#"{"w":1,"Agent Reponse Date (UTC)":"x"}"#,
                r#"{"w":1,"a":"{\"Agent Response Date (UTC)\":","Agent Reponse Date (UTC)":"y"}"#,
                r#"{"w":1,"a":",\"Agent Response Date (UTC)\":1"}"#,
                r#"{"w":1,"Within Agent SLA":true,"Agent Reponse Date (UTC)":"2025-03-01T09:15:00Z","In Queue (min)":"3.50"}"#,
            ]
        );
        for text in taken.texts() {
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
    }
}

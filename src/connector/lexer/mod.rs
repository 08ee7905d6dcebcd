//! Lexer Activity (`facts/lexer.md`).
//!
//! One endpoint returns most reports immediately, and creates jobs for three of them. Lists and reports have no pages;
//! an NPS report is read form by form, and each form is a page of its slice. The window, the form and the offset of the
//! labels, which the responses lack, are added to each record.

mod ask;
mod cells;
mod config;
mod figures;
#[cfg(test)]
mod fuzz;
mod job;
mod streams;
mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use self::config::DEFAULT_BASE_URL;
pub use self::config::{Intervals, Settings};
use self::figures::Figures;
pub use self::streams::VENDOR;
use self::wire::{JobResponse, classify, unexpected_job};
use super::request::{self, Attempts};
use super::sealed::Seal;
use super::{Connector, Outcome, Records, Source, StepError, StepRequest, Window, export};
use crate::catalogue::Stream;
use crate::clock;
use crate::decode::csv::CsvEnd;
use crate::decode::list::{self, Lone};
use crate::decode::object::Members;
use crate::decode::raw::Raw;
use crate::http::{Call, HttpError, Payload, Redactor, Session};

/// Entry of the list of connectors.
pub(super) const CONNECTOR: Connector = Connector {
    vendor: VENDOR,
    default_base_url: DEFAULT_BASE_URL,
    required_keys: &["vendor", "api_token"],
    schema: config::schema,
    streams: streams::streams,
    read: config::check,
    takes_records: false,
    hint,
};

fn hint(error: &StepError, windowed: bool) -> Option<&'static str> {
    Some(match error {
        StepError::Credentials => "check `api_token`. A running daemon loads a corrected file as soon as it is saved",
        StepError::NotServed(_) => "check `base_url`, and that the account has the report",
        error => return export::hint(error, windowed),
    })
}

/// How long the list of forms is reused, so that not every slice requests it.
const FORMS_KEPT: Duration = Duration::from_mins(10);
/// Maximum number of forms of an account.
const FORMS_MAX: usize = 10_000;

/// One account.
struct Lexer {
    base_url: Url,
    settings: Settings,
    redactor: Redactor,
    /// Encrypts the tokens of jobs for storage.
    seal: Option<Seal>,
    forms: Mutex<Option<(Instant, Vec<i64>)>>,
}

impl fmt::Debug for Lexer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lexer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Progress within a slice that is read form by form; stored as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Forms {
    forms: Vec<i64>,
    /// Index of the current form.
    at: usize,
}

impl Forms {
    fn parse(text: &str) -> Result<Self, StepError> {
        let forms: Option<Self> = serde_json::from_str(text).ok();
        forms.filter(|cursor| cursor.forms.len() <= FORMS_MAX).ok_or(StepError::CursorUnknown)
    }

    fn text(&self) -> String {
        // Numbers can always be serialised.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn following(self) -> Option<Self> {
        let at = self.at.saturating_add(1);
        (at < self.forms.len()).then_some(Self { at, ..self })
    }
}

#[async_trait]
impl Source for Lexer {
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        match &*request.stream.name {
            name @ ("users" | "groups" | "forms") => self.list(session, name, request.window, records).await,
            "nps_summary" | "nps_volume" => self.form_by_form(session, &request, records).await,
            name if ask::is_by_hours(name, &self.settings) => self.hour_by_hour(session, &request, records).await,
            _ if request.stream.exported => export::step(self, session, request, records).await,
            _ => {
                let bytes = self.report(session, &request, request.window, None, records).await?;
                Ok(Outcome::Page { next: None, bytes })
            }
        }
    }

    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        let body = self.get(session, "groups").await?;
        rows(&body).map(|_| ())
    }
}

impl Lexer {
    fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        let seal = Seal::new(&settings.api_token, "lexer job");
        Self { base_url, settings, redactor, seal, forms: Mutex::default() }
    }

    async fn list(
        &self,
        session: &Session<'_>,
        name: &str,
        window: Window,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let body = self.get(session, name).await?;
        records.begin(window);
        for row in rows_if_any(&body)? {
            records.record(row.get().as_bytes())?;
            records.flush().await?;
        }
        Ok(Outcome::Page { next: None, bytes: body.len() as u64 })
    }

    async fn get(&self, session: &Session<'_>, list: &str) -> Result<Vec<u8>, StepError> {
        let url = config::list_url(&self.base_url, list)?;
        let call = || Call { headers: self.settings.headers(), ..Call::get(url.clone()) };
        ask(session, call, |body| rows(body).map(|_| ())).await
    }

    /// Each form is a page; the forms are listed once for a slice (`§2`, `§9` no. 18).
    async fn form_by_form(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let cursor = match request.cursor {
            Some(text) => Forms::parse(text)?,
            None => Forms { forms: self.nps_forms(session).await?, at: 0 },
        };
        let Some(&form) = cursor.forms.get(cursor.at) else {
            records.begin(request.window);
            return Ok(Outcome::Page { next: None, bytes: 0 });
        };
        let bytes = self.report(session, request, request.window, Some(form), records).await?;
        Ok(Outcome::Page { next: cursor.following().map(|next| next.text()), bytes })
    }

    /// Reads a slice by hours, in as many calls as necessary. The cursor is the start of the next part.
    async fn hour_by_hour(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let parts = ask::parts(request.window, self.settings.utc_offset.at(request.window.start));
        let at = match request.cursor {
            None => 0,
            Some(text) => {
                let start: Option<DateTime<Utc>> = serde_json::from_str(text).ok();
                let known = start.and_then(|start| parts.iter().position(|part| part.start == start));
                known.ok_or(StepError::CursorUnknown)?
            }
        };
        let bytes = self.report(session, request, parts[at], None, records).await?;
        let next = parts.get(at + 1).map(|part| serde_json::to_string(&part.start));
        Ok(Outcome::Page { next: next.transpose().map_err(|_| StepError::CursorUnknown)?, bytes })
    }

    /// The configured forms, or those that the vendor lists as NPS surveys.
    async fn nps_forms(&self, session: &Session<'_>) -> Result<Vec<i64>, StepError> {
        if !self.settings.forms.is_empty() {
            return Ok(self.settings.forms.clone());
        }
        let mut known = self.forms.lock().await;
        if let Some((asked, forms)) = known.as_ref()
            && asked.elapsed() < FORMS_KEPT
        {
            return Ok(forms.clone());
        }
        let body = self.get(session, "forms").await?;
        let forms = surveys(&body)?;
        if forms.is_empty() {
            tracing::warn!("the vendor lists no form as an NPS survey; name them under `forms` if that is wrong");
        }
        *known = Some((Instant::now(), forms.clone()));
        Ok(forms)
    }

    /// Reads a part of a slice of a report without a job. The call only reads, so it may be repeated (`§7`).
    async fn report(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: Window,
        form: Option<i64>,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let (stream, now) = (request.stream, clock::now());
        let kind = match &*stream.name {
            "workflow_states" => &self.settings.workflow_states_type,
            _ => &*stream.vendor_id,
        };
        let offset = self.settings.utc_offset.at(request.window.start);
        let by_hours = ask::is_by_hours(&stream.name, &self.settings);
        let range = if by_hours { ask::hours(part, offset, now) } else { ask::range(&stream.name, part, offset, now) };
        let body = ask::body(kind, (range, offset), form, &self.settings)?;
        let url = config::reports_url(&self.base_url)?;
        let call = || Call { headers: self.settings.headers(), ..Call::post(url.clone(), Payload::Json(body.clone())) };
        let response = ask(session, call, figures::look).await?;
        if JobResponse::read(&response).is_some() {
            return Err(unexpected_job());
        }
        let figures = Figures {
            stream,
            window: request.window,
            part,
            range,
            offset,
            zone: self.settings.utc_offset,
            intervals: if by_hours { Intervals::Hour } else { Intervals::Day },
            nps: form.map(|form| (form, self.settings.nps_category.as_str())),
            unit: self.settings.response_volume_unit,
            now,
        };
        records.begin(part);
        if !is_blank(&response) {
            figures.write_records(&response, records).await?;
        }
        Ok(response.len() as u64)
    }
}

/// Sends a call whose response may be empty. Returns the body, once `look` finds that it can be read.
async fn ask(
    session: &Session<'_>,
    call: impl Fn() -> Call,
    look: impl Fn(&[u8]) -> Result<(), StepError>,
) -> Result<Vec<u8>, StepError> {
    let asked = request::small(session, Attempts::new(session), || Ok(call()), look, Some(|| ())).await;
    asked.map(|((), body)| body).map_err(classify)
}

/// The rows of a list: an array, or a single row, as in the examples (`§2`).
fn rows(body: &[u8]) -> Result<Vec<Raw<'_>>, StepError> {
    list::read(body, Lone::Row { key: "id" }).map_err(Into::into)
}

/// Like [`rows`], but a blank list has no rows.
fn rows_if_any(body: &[u8]) -> Result<Vec<Raw<'_>>, StepError> {
    if is_blank(body) { Ok(Vec::new()) } else { rows(body) }
}

fn is_blank(body: &[u8]) -> bool {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii().is_empty()
}

/// The ids of the forms in a list that are NPS surveys.
fn surveys(body: &[u8]) -> Result<Vec<i64>, StepError> {
    let mut forms = Vec::new();
    for row in rows_if_any(body)? {
        let form = Members::parse(row.get().as_bytes());
        let form = form.ok_or_else(|| StepError::Shape("a list whose elements are not forms".to_owned()))?;
        if form.is_true("nps") {
            forms.push(form.i64("id").ok_or(StepError::Missing("id"))?);
        }
    }
    if forms.len() > FORMS_MAX {
        return Err(StepError::Endless(FORMS_MAX as u64));
    }
    Ok(forms)
}

/// The error for a file that cannot be fetched. If it does not exist any more, a new job is needed.
fn gone(error: StepError) -> StepError {
    match error {
        StepError::Http(HttpError::Status { status: status @ (400..=499), .. }) => {
            StepError::ExportFailed { times: 1, said: format!("its file is gone (status {status})") }
        }
        error => error,
    }
}

/// Warns if a file lacks documented columns. Further columns are created.
fn warn_of_missing_columns(stream: &Stream, end: &CsvEnd) {
    let columns = stream.columns.iter().filter(|column| column.field.contains(' ') || column.field == "State");
    let has = |name: &str| end.titles.iter().any(|title| crate::catalogue::column_name(title) == name);
    let missing: Vec<&str> = columns.filter(|column| !has(&column.name)).map(|column| column.field.as_ref()).collect();
    if !missing.is_empty() && !end.titles.is_empty() {
        tracing::warn!(stream = &*stream.name, ?missing, "the file lacks documented columns; they stay empty");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::FixedOffset;

    use super::config::{DEFAULT_NPS_CATEGORY, DEFAULT_STATUS_BASE_URL, DEFAULT_WORKFLOW_STATES_TYPE, ResponseUnit};
    use super::*;
    use crate::connector::export::Polling;
    use crate::secret::Secret;

    pub(super) fn settings() -> Settings {
        Settings {
            polling: Polling::default(),
            api_token: Secret::new("1d8a6c7e-30f5-4b92-8e41-6f2b9a07c553"),
            status_base_url: DEFAULT_STATUS_BASE_URL.parse().unwrap(),
            forms: Vec::new(),
            nps_category: DEFAULT_NPS_CATEGORY.to_owned(),
            utc_offset: crate::connector::UtcOffset::Fixed(FixedOffset::east_opt(0).unwrap()),
            intervals: Intervals::Day,
            parameters: BTreeMap::new(),
            workflow_states_type: DEFAULT_WORKFLOW_STATES_TYPE.to_owned(),
            response_volume_unit: ResponseUnit::Unknown,
            csv: crate::connector::CsvForm::default(),
        }
    }
}

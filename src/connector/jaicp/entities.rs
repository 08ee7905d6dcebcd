//! Sessions, messages and clients: lists by a range of times, in pages whose rows must match the vendor's count
//! (`facts/jaicp.md §4-§6`).

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use serde_json::json;

use super::super::{Outcome, Records, StepError, StepRequest, Window};
use super::config::{Api, BySession, Settings};
use super::endpoint::{Endpoint, Request};
use super::page::Page;
use super::paging::{Cursor, Next};
use super::record::{self, Kind, OfSession};
use super::status::{self, NextRequest, SESSIONS_PER_PAGE, SessionId, has_status};
use super::{Jaicp, times};
use crate::decode::object::Members;
use crate::decode::{DecodeError, Sink};
use crate::http::{HttpError, Session};

/// It is not documented whether a range includes its ends, so ranges overlap; keys make rows unique (`§4`).
const OVERLAP: TimeDelta = TimeDelta::seconds(1);
/// Maximum size of a page.
const PAGE_BYTES_MAX: u64 = 1 << 30;
/// The list of sessions, for its ids only.
const SESSIONS: List = List {
    endpoint: Endpoint::Sessions,
    filter: "MESSAGE_TIME",
    member: "sessions",
    kind: record::SESSION,
    whole: false,
};

/// One of the lists.
#[derive(Debug, Clone, Copy)]
struct List {
    endpoint: Endpoint,
    /// Key of the filter for the range.
    filter: &'static str,
    /// Member of the response that holds the rows.
    member: &'static str,
    kind: Kind,
    /// Whether to request labels and data of sessions, which are optional.
    whole: bool,
}

impl List {
    /// Sessions have no end, so they are selected by their messages, not by their start (`§4`).
    fn of(stream: &str) -> Option<Self> {
        Some(match stream {
            "sessions" => Self { whole: true, ..SESSIONS },
            "messages" => Self {
                endpoint: Endpoint::Messages,
                filter: "MESSAGE_TIME",
                member: "messages",
                kind: record::MESSAGE,
                whole: false,
            },
            "clients" => Self {
                endpoint: Endpoint::Clients,
                filter: "CLIENT_LAST_ACTIVITY_TIME",
                member: "clients",
                kind: record::CLIENT,
                whole: false,
            },
            _ => return None,
        })
    }

    fn ask(
        self,
        part: Window,
        (page, size): (u64, u32),
        settings: &Settings,
        request: &StepRequest<'_>,
    ) -> Result<Request, StepError> {
        let dated = times::filter(self.filter, part.start - OVERLAP, part.end);
        let filters = settings.filters(&request.stream.name, dated);
        let body = serde_json::to_vec(&json!({ "filters": filters })).map_err(|_| StepError::CursorUnknown)?;
        let mut ask =
            Request::new(self.endpoint).query("page", page.to_string()).query("size", size.to_string()).body(body);
        if self.whole {
            ask = ask.query("needToReturnSessionLabels", "true");
        }
        // The legacy API has no such parameter, and always sends the data (`§12`).
        if self.whole && settings.api == Api::V1 {
            ask = ask.query("needToReturnSessionData", "true");
        }
        Ok(Request { bytes_expected: request.expected.page_bytes, bytes_max: PAGE_BYTES_MAX, ..ask })
    }
}

impl Jaicp {
    /// Reads a page of a list, or of a session's messages. Returns `None` if the stream is not such a list.
    pub(super) async fn entity_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Option<Result<Outcome, StepError>> {
        let list = List::of(&request.stream.name)?;
        Some(self.list_step(session, request, list, records).await)
    }

    async fn list_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        list: List,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let cursor = match request.cursor {
            Some(text) => Cursor::parse(text)?,
            None => Cursor::begin(request.window, self.settings.page_size),
        };
        if cursor.statuses.is_some() {
            return self.status_step(session, request, cursor, records).await;
        }
        let ask = list.ask(cursor.part(), (cursor.page, cursor.size), &self.settings, request)?;
        let format = PageFormat {
            member: list.member,
            kind: list.kind,
            of_session: None,
            window: cursor.part(),
            page: cursor.page,
        };
        let page = match self.page(session, &ask, cursor.size > 1, format, records).await {
            Ok(page) => page,
            Err(error) => return self.smaller(&cursor, error, records),
        };
        let next = match cursor.after(&page)? {
            Next::Page(cursor) => Some(cursor),
            Next::Complete(cursor) if self.settings.message_status && list.endpoint == Endpoint::Messages => {
                Some(cursor.with_statuses())
            }
            Next::Complete(cursor) => cursor.following(request.window),
        };
        paged(next.as_ref(), page.bytes)
    }

    /// Continues with smaller pages after an error that their size may have caused. Returns any other error.
    fn smaller(&self, cursor: &Cursor, error: StepError, records: &mut dyn Records) -> Result<Outcome, StepError> {
        if let StepError::Http(HttpError::Status { status, .. }) = &error
            && let Some(smaller) = cursor.smaller(*status)
        {
            tracing::info!(status, size = smaller.size, until = %smaller.to, "the page was refused, requesting a smaller one");
            records.begin(cursor.part());
            return paged(Some(&smaller), 0);
        }
        Err(self.explained(error))
    }

    /// Sends one call for the delivery statuses of a part.
    async fn status_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        mut cursor: Cursor,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let statuses = cursor.statuses.take().unwrap_or_default();
        let (statuses, bytes) = match statuses.wanted() {
            NextRequest::Sessions(number) => {
                let size = SESSIONS_PER_PAGE.min(cursor.size);
                let ask = SESSIONS.ask(cursor.part(), (number, size), &self.settings, request)?;
                let (page, sessions) = self.sessions_with_status(session, &ask, cursor.part(), records).await?;
                (statuses.listed(&page, sessions), page.bytes)
            }
            NextRequest::Messages(of, number) => {
                match self.messages_of(session, &of, number, &cursor, records).await? {
                    Some(page) => (statuses.read(&page), page.bytes),
                    None => (statuses.skip(), 0),
                }
            }
            NextRequest::Nothing => (statuses, 0),
        };
        if statuses.wanted() == NextRequest::Nothing {
            if bytes == 0 {
                records.begin(cursor.part());
            }
            return paged(cursor.following(request.window).as_ref(), bytes);
        }
        cursor.statuses = Some(statuses);
        paged(Some(&cursor), bytes)
    }

    /// Reads a page of the list of sessions, for the ids of those with statuses. The rows belong to another stream.
    async fn sessions_with_status(
        &self,
        session: &Session<'_>,
        ask: &Request,
        part: Window,
        records: &mut dyn Records,
    ) -> Result<(Page, Vec<SessionId>), StepError> {
        records.begin(part);
        let mut found = StatusSessions { records, sessions: Vec::new() };
        let format = PageFormat { member: "sessions", kind: record::SESSION, of_session: None, window: part, page: 0 };
        let page = self.page(session, ask, false, format, &mut found).await.map_err(|error| self.explained(error))?;
        // The next session is taken from the end.
        found.sessions.reverse();
        Ok((page, found.sessions))
    }

    /// Reads a page of a session's messages. Returns `None` if the vendor does not know the session any more.
    async fn messages_of(
        &self,
        session: &Session<'_>,
        of: &SessionId,
        number: u64,
        cursor: &Cursor,
        records: &mut dyn Records,
    ) -> Result<Option<Page>, StepError> {
        let mut is_unknown = false;
        let mut refusal = None;
        for endpoint in self.by_session_endpoints() {
            let mut ask = Request::new(endpoint)
                .query("sessionId", of.id.as_str())
                .query("page", number.to_string())
                .query("size", cursor.size.to_string());
            if endpoint == Endpoint::BySessionPosted {
                ask = ask.body(b"{}".to_vec());
            }
            ask.bytes_max = PAGE_BYTES_MAX;
            let of_session = Some(OfSession { project: &of.project, id: &of.id, window: cursor.part() });
            let format = PageFormat {
                member: "messages",
                kind: record::MESSAGE,
                of_session,
                window: cursor.part(),
                page: number,
            };
            match self.page(session, &ask, false, format, records).await {
                Ok(page) => {
                    self.by_session.store(endpoint == Endpoint::BySessionPosted, &self.settings);
                    return Ok(Some(page));
                }
                // 401 and 403 do not show that the method is wrong (`§5`).
                Err(StepError::Http(HttpError::Status { status: status @ (404 | 405 | 501), .. })) => {
                    is_unknown |= status == 404;
                    refusal = Some(status);
                }
                Err(error) => return Err(self.explained(error)),
            }
        }
        match refusal {
            Some(status) if !is_unknown => Err(StepError::NotServed(status)),
            _ => {
                tracing::debug!("the vendor does not know a session any more; its messages keep their status");
                records.begin(cursor.part());
                Ok(None)
            }
        }
    }

    fn by_session_endpoints(&self) -> Vec<Endpoint> {
        match (self.settings.by_session_method, self.by_session.known()) {
            (BySession::Get, _) | (BySession::Auto, Some(false)) => vec![Endpoint::BySession],
            (BySession::Post, _) | (BySession::Auto, Some(true)) => vec![Endpoint::BySessionPosted],
            (BySession::Auto, None) => vec![Endpoint::BySession, Endpoint::BySessionPosted],
        }
    }
}

/// How to read the rows of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageFormat<'a> {
    pub(super) member: &'static str,
    pub(super) kind: Kind,
    pub(super) of_session: Option<OfSession<'a>>,
    pub(super) window: Window,
    /// Number of the page.
    pub(super) page: u64,
}

/// Collects the sessions with statuses; passes no rows on.
struct StatusSessions<'r, R: ?Sized> {
    records: &'r mut R,
    sessions: Vec<SessionId>,
}

impl<R: Records + ?Sized> Sink for StatusSessions<'_, R> {
    fn header(&mut self, _: &[String], _: &[&str]) -> Result<(), DecodeError> {
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        let Some(members) = Members::parse(record) else { return Ok(()) };
        if let (Some(project), Some(id)) = (members.text("projectShortName"), members.text("sessionId"))
            && members.text("channelType").is_some_and(|channel| has_status(&channel))
            && let Some(session) = SessionId::of(&project, &id)
        {
            return status::keep(&mut self.sessions, session);
        }
        Ok(())
    }

    fn refuse(&mut self, _: &str, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl<R: Records + ?Sized> Records for StatusSessions<'_, R> {
    fn begin(&mut self, window: Window) {
        self.sessions.clear();
        self.records.begin(window);
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        self.records.flush().await
    }
}

fn paged(next: Option<&Cursor>, bytes: u64) -> Result<Outcome, StepError> {
    Ok(Outcome::Page { next: next.map(Cursor::text).transpose()?, bytes })
}

/// The method of `messages/by-session` that the vendor supports, once known.
#[derive(Debug, Default)]
pub(super) struct KnownVerb(std::sync::atomic::AtomicU8);

impl KnownVerb {
    /// Whether it is POST.
    fn known(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            found => Some(found == 2),
        }
    }

    fn store(&self, is_post: bool, settings: &Settings) {
        if settings.by_session_method == BySession::Auto {
            self.0.store(1 + u8::from(is_post), Ordering::Relaxed);
        }
    }
}
